//! Which addresses may be reached on a server's word (RFC 9728 §7.7: server-side request forgery by metadata).
//!
//! The person typed the server's address, so that one may be on any network of theirs. What its documents name is a
//! stranger's word: public addresses, and loopback when the server itself is there.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use portcullis_core::limits;
use portcullis_core::oauth::client::ServerUrl;
use portcullis_net::fetch::{self, Fetcher, Limits, Reach};

use crate::agent::Network;
use crate::error::Error;

const LIMITS: Limits = Limits {
    body: limits::METADATA_BYTES,
    time: Duration::from_secs(20),
};

/// The clients for each kind of address.
#[derive(Clone, Debug)]
pub(crate) struct Fetchers {
    typed: Fetcher,
    loopback: Fetcher,
    public: Fetcher,
    network: Network,
}

impl Fetchers {
    pub(crate) fn new(network: Network) -> Result<Self, fetch::Error> {
        Ok(Self {
            typed: Fetcher::new(Reach::Configured)?,
            loopback: Fetcher::new(Reach::LoopbackToo)?,
            public: Fetcher::new(Reach::PublicOnly)?,
            network,
        })
    }

    /// For the address that the person typed.
    pub(crate) fn typed(&self) -> &Fetcher {
        &self.typed
    }

    /// Sends to an address that a document of this server, or of its authorization server, names.
    pub(crate) async fn send(
        &self,
        server: &ServerUrl,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Error> {
        let same_origin = url::Url::parse(&request.uri().to_string())
            .is_ok_and(|url| url.origin() == server.url().origin());
        let fetcher = match self.network {
            Network::Private => &self.typed,
            Network::Public if same_origin => &self.typed,
            Network::Public if server.is_loopback() => &self.loopback,
            Network::Public => &self.public,
        };
        Ok(fetcher.send(request, LIMITS).await?)
    }

    /// The first document of these addresses that is there, with its address.
    pub(crate) async fn document(
        &self,
        server: &ServerUrl,
        urls: &[String],
    ) -> Result<Option<(String, Bytes)>, Error> {
        for url in urls {
            let mut request = Request::new(Bytes::new());
            // A URL that the parser serialised is a URI.
            *request.uri_mut() = url.parse().unwrap_or_default();
            request
                .headers_mut()
                .insert(ACCEPT, HeaderValue::from_static("application/json"));
            let answer = self.send(server, request).await?;
            let status = answer.status();
            if status.is_success() && is_json(&answer) {
                return Ok(Some((url.clone(), answer.into_body())));
            }
            // A page instead of a document is a site that answers every address alike: the document is not there.
            if !status.is_success() && !status.is_client_error() {
                return Err(Error::Status {
                    url: url.clone(),
                    status: status.as_u16(),
                });
            }
        }
        Ok(None)
    }
}

fn is_json(answer: &Response<Bytes>) -> bool {
    let kind = answer
        .headers()
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    kind.split(|b| *b == b';')
        .next()
        .is_some_and(|kind| kind.trim_ascii().to_ascii_lowercase().ends_with(b"json"))
}
