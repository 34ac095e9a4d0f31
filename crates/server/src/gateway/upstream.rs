//! The guarded server behind the gateway, however it is reached.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::HeaderValue;
use http::Uri;
use http::header::USER_AGENT;
use portcullis_core::forward::{Outbound, UpstreamCredential};
use portcullis_net::fetch::{self, Body, Fetcher};

pub use portcullis_guard::exchange::CallInfo;
pub use portcullis_guard::{Principal, UpstreamError};

/// An upstream's answer, as soon as its head is there; the body may go on for as long as a stream does.
/// Dropping the future, or the body, cancels the call.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<http::Response<Body>, UpstreamError>> + Send + 'a>>;

/// A guarded MCP server. Its answers are those of Streamable HTTP whatever it speaks itself: status, content
/// type (`application/json` or `text/event-stream`), and `Mcp-Session-Id` on the answer to a legacy
/// `initialize`.
pub trait Upstream: fmt::Debug + Send + Sync {
    /// What the gateway shows it of itself.
    fn credential(&self) -> &UpstreamCredential;

    /// Sends one call for one principal. Sessions of different principals must not meet.
    fn call<'a>(&'a self, principal: &'a Principal, outbound: Outbound, info: &'a CallInfo) -> Answer<'a>;

    /// Sends a question that the server may not understand, and that shall leave nothing behind at one which does not.
    fn probe<'a>(&'a self, principal: &'a Principal, outbound: Outbound, info: &'a CallInfo) -> Answer<'a> {
        self.call(principal, outbound, info)
    }
}

/// An MCP server spoken to over Streamable HTTP.
#[derive(Debug)]
pub struct HttpUpstream {
    url: Uri,
    credential: UpstreamCredential,
    fetcher: Fetcher,
    head_time: Duration,
}

/// Longest wait for the head of an answer. A tool that runs for longer can answer with a stream at once (MCP,
/// Streamable HTTP).
pub const HEAD_TIME: Duration = Duration::from_secs(300);

impl HttpUpstream {
    /// A server at a URL, reached through `fetcher`.
    #[must_use]
    pub fn new(url: Uri, credential: UpstreamCredential, fetcher: Fetcher) -> Self {
        Self {
            url,
            credential,
            fetcher,
            head_time: HEAD_TIME,
        }
    }

    /// The same with another longest wait for the head of an answer.
    #[must_use]
    pub fn with_head_time(self, head_time: Duration) -> Self {
        Self { head_time, ..self }
    }
}

impl Upstream for HttpUpstream {
    fn credential(&self) -> &UpstreamCredential {
        &self.credential
    }

    fn call<'a>(&'a self, _principal: &'a Principal, outbound: Outbound, _info: &'a CallInfo) -> Answer<'a> {
        Box::pin(async move {
            let mut request = http::Request::new(fetch::full(outbound.body));
            *request.method_mut() = outbound.method;
            *request.uri_mut() = self.url.clone();
            *request.headers_mut() = outbound.headers;
            request
                .headers_mut()
                .entry(USER_AGENT)
                .or_insert(HeaderValue::from_static("portcullis"));
            self.fetcher.open(request, self.head_time).await.map_err(failed)
        })
    }
}

fn failed(error: fetch::Error) -> UpstreamError {
    if matches!(error, fetch::Error::TimedOut { .. }) {
        UpstreamError::TimedOut
    } else {
        UpstreamError::Unreachable {
            detail: error.to_string(),
        }
    }
}
