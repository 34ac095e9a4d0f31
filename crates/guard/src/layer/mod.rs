//! The guard as a tower layer, for an MCP server that is written in Rust: the gateway's pipeline without the hop.
//!
//! Takes: any `tower::Service` of HTTP requests that answers as an MCP server does. Gives: a service that judges each call
//! before the inner one sees a byte of it. May use: `exchange`, `net`. Never: passes on a request that was not judged, or a
//! credential.
//!
//! ```no_run
//! use portcullis_guard::layer::{AuthorizationServer, GuardLayer, JsonLines};
//! use portcullis_guard::Effect;
//!
//! # async fn guarded() -> Result<(), Box<dyn std::error::Error>> {
//! let record = JsonLines::append("decisions.jsonl")?;
//! let issuer = AuthorizationServer::at("https://as.example");
//! let guard = GuardLayer::builder("notes", "https://notes.example/mcp", issuer, record)
//!     .tool("list_notes", Effect::Read)
//!     .tool("add_note", Effect::Write)
//!     .build()?;
//! # Ok(())
//! # }
//! ```

mod builder;
mod issuer;
mod lines;
mod rules;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{HOST, X_CONTENT_TYPE_OPTIONS};
use http::{Extensions, HeaderValue, Request, Response, Uri};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, Full};
use portcullis_core::forward::UpstreamCredential;
use portcullis_core::oauth::metadata::PROTECTED_RESOURCE;
use portcullis_core::policy::Policy;
use tokio_util::sync::CancellationToken;
use tower::util::ServiceExt as _;
use tower::{Layer, Service};

use crate::exchange::{Body, Exchange, Forwarded, Sent, for_everyone, refused};
use crate::pipeline::Guard;
use crate::reason::{Reason, UpstreamError};
use crate::refusal::Refusal;

pub use builder::{GuardBuilder, InvalidGuard};
pub use issuer::AuthorizationServer;
pub use lines::{JsonLines, Unwritable};
pub use portcullis_core::audit::DigestKey;
pub use portcullis_core::identity::Profile;
pub use portcullis_core::jose::SignatureAlgorithm;
pub use portcullis_core::time::Lifetime;
pub use rules::ToolRules;

/// Longest wait for the head of the inner service's answer. A tool that runs for longer answers with a stream at once
/// (MCP, Streamable HTTP).
const HEAD_TIME: Duration = Duration::from_secs(300);

/// What the inner service is given: the bytes that were judged.
pub type Judged = Full<Bytes>;

/// The address that a request came from, for the record. Whoever accepts connections may put it into the extensions of their
/// requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Guards one MCP server at one address. Clones are the same guard.
#[derive(Clone)]
pub struct GuardLayer(Arc<Guarded>);

struct Guarded {
    exchange: Exchange,
    /// The path of the MCP endpoint.
    path: Uri,
    /// The path of the resource's metadata (RFC 9728 §3.1).
    metadata_path: String,
    /// What the inner service gets as `Host`.
    host: HeaderValue,
    policy: Arc<ArcSwap<Policy>>,
    stop: CancellationToken,
}

impl GuardLayer {
    /// A guard for the server of this name (lower-case letters, digits, `-`, `_`; scopes begin with it) whose MCP endpoint has this public
    /// URL, which is also the audience that tokens must name. Tokens are those of `issuer`; decisions go to `recorder`.
    ///
    /// Without more, every tool is irreversible: a call needs the scope `{server}:irreversible`.
    pub fn builder(
        server: &str,
        url: &str,
        issuer: AuthorizationServer,
        recorder: impl crate::recorder::Recorder + 'static,
    ) -> GuardBuilder {
        GuardBuilder::new(server, url, issuer, Arc::new(recorder))
    }

    /// The pipeline, for its tally and its policy.
    #[must_use]
    pub fn guard(&self) -> &Arc<Guard> {
        self.0.exchange.guard()
    }

    /// Judges by these rules from the next call on. Whatever is wrong with them, those of before go on. Reads the files that they
    /// name.
    ///
    /// # Errors
    /// [`InvalidGuard`], with everything that is wrong.
    pub fn replace_rules(&self, rules: &ToolRules) -> Result<(), InvalidGuard> {
        let mut problems = Vec::new();
        match rules.policy(self.0.exchange.endpoint().server(), &mut problems) {
            Some(policy) => {
                self.0.policy.store(Arc::new(policy));
                Ok(())
            }
            None => Err(InvalidGuard { problems }),
        }
    }

    /// Ends the streams that are open: without it, a graceful stop waits for clients that listen.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Waits until the outcomes of all calls that ended are with the recorder. After the last connection is gone.
    pub async fn finished(&self) {
        self.guard().drained().await;
    }
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer")
            .field("endpoint", self.0.exchange.endpoint())
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> GuardService<S> {
        GuardService {
            guarded: Arc::clone(&self.0),
            inner,
        }
    }
}

/// A service behind the guard. It answers at three paths: that of the MCP endpoint, and the two of its metadata. Nothing else gets through
/// to the inner service, so other routes of a server belong beside this one, not inside.
///
/// The inner service gets the path and the body that were judged, the headers that MCP needs, and
/// `Arc<VerifiedIdentity>` among the request's extensions; it never sees `Authorization`, `DPoP`, cookies, or the query.
#[derive(Clone)]
pub struct GuardService<S> {
    guarded: Arc<Guarded>,
    inner: S,
}

impl<S> fmt::Debug for GuardService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardService")
            .field("endpoint", self.guarded.exchange.endpoint())
            .finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for GuardService<S>
where
    S: Service<Request<Judged>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: fmt::Display,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    /// Always: whether the inner service is ready is asked when a call was admitted.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (guarded, inner) = (Arc::clone(&self.guarded), self.inner.clone());
        let request = request.map(boxed);
        Box::pin(async move {
            let send = |request| -> Sent<'static> { Box::pin(sent(inner, request)) };
            let mut response = guarded.answer(request, send).await;
            // What the inner service sends is what its content type says, and no browser is to find a page in it (WHATWG Fetch
            // §3.6).
            response
                .headers_mut()
                .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            Ok(response)
        })
    }
}

/// What the inner service answers to one call.
async fn sent<S, R>(inner: S, request: Request<Judged>) -> Result<Response<Body>, UpstreamError>
where
    S: Service<Request<Judged>, Response = Response<R>>,
    S::Error: fmt::Display,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    match tokio::time::timeout(HEAD_TIME, inner.oneshot(request)).await {
        Ok(Ok(response)) => Ok(response.map(boxed)),
        Ok(Err(error)) => Err(UpstreamError::Unreachable {
            detail: error.to_string(),
        }),
        Err(_) => Err(UpstreamError::TimedOut),
    }
}

fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    body.map_err(Into::into).boxed_unsync()
}

impl Guarded {
    async fn answer(
        &self,
        request: Request<Body>,
        send: impl FnOnce(Request<Judged>) -> Sent<'static> + Send,
    ) -> Response<Body> {
        let path = request.uri().path();
        if path == self.path.path() {
            self.guarded(request, send).await
        } else if path == self.metadata_path || path == PROTECTED_RESOURCE {
            self.metadata(&request)
        } else {
            refused(Refusal::outside(&Reason::NotFound))
        }
    }

    async fn guarded(
        &self,
        mut request: Request<Body>,
        send: impl FnOnce(Request<Judged>) -> Sent<'static> + Send,
    ) -> Response<Body> {
        let extensions = std::mem::take(request.extensions_mut());
        let peer = extensions.get::<Peer>().map(|peer| peer.0);
        let send = |forwarded| send(self.inbound(forwarded, extensions));
        self.exchange
            .serve(peer, request, &UpstreamCredential::None, send)
            .await
    }

    /// What the inner service sees.
    fn inbound(&self, forwarded: Forwarded, mut extensions: Extensions) -> Request<Judged> {
        let Forwarded { outbound, who, .. } = forwarded;
        extensions.insert(who);
        let mut request = Request::new(Full::new(outbound.body));
        *request.method_mut() = outbound.method;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = outbound.headers;
        request.headers_mut().insert(HOST, self.host.clone());
        *request.extensions_mut() = extensions;
        request
    }

    fn metadata(&self, request: &Request<Body>) -> Response<Body> {
        let endpoint = self.exchange.endpoint();
        let read = || {
            let guard = self.exchange.guard();
            guard
                .metadata(endpoint.server(), endpoint.resource(), None)
                .map(Full::new)
        };
        for_everyone(request.method(), read).map(boxed)
    }
}
