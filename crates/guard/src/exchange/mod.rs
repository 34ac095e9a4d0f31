//! One request at an MCP endpoint, from head to answer, wherever its server is: behind a gateway, or in this process.
//!
//! Takes: a request, and a way to send on what was admitted. Gives: the response, whose outcome goes on record when its last byte
//! is sent. May use: the pipeline. Never: sends a caller's token on, answers for the server, holds back an event of a stream.

mod answer;
mod body;
mod calls;
pub mod catalogue;
mod documents;
pub mod events;
mod info;
mod list;
mod pace;
mod sealed;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use portcullis_core::audit::Ending;
use portcullis_core::forward::{Outbound, UpstreamCredential};
use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::wire::{self, RequestId};
use portcullis_core::{forward, seal};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::arrival::{Arrival, Connection};
use crate::endpoint::Endpoint;
use crate::outcomes::Ticket;
use crate::pipeline::{Admitted, ENDPOINT_METHODS, Guard, SEAL_METHODS};
use crate::reason::{Reason, UpstreamError};
use crate::refusal::{DPOP_NONCE, Refusal};
use crate::streams::Stream;
use answer::Answered;
use calls::{Calls, Whose};
use catalogue::Catalogue;

pub use documents::for_everyone;
pub use info::CallInfo;

/// A body in either direction.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// Largest body with which a sealed session is asked for.
const HANDSHAKE_BYTES: usize = 64 * 1024;

/// A whole body.
#[must_use]
pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// How much one request may take.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Longest wait for a whole request body.
    pub body_time: Duration,
    /// A stream of which nothing was heard from its server for this long is ended.
    pub stream_silence: Duration,
    /// Streams end when it is cancelled.
    pub stop: CancellationToken,
}

/// A call that was admitted, as it goes to the server.
#[derive(Debug)]
pub struct Forwarded {
    /// Exactly what was judged.
    pub outbound: Outbound,
    /// In whose name.
    pub who: Arc<VerifiedIdentity>,
    /// What is known of it beyond its bytes.
    pub info: CallInfo,
}

/// The server's answer, as soon as its head is there. Dropping the future, or the body, cancels the call.
pub type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, UpstreamError>> + Send + 'a>>;

/// One MCP endpoint. Those of one server share what is known of its calls.
#[derive(Clone)]
pub struct Exchange {
    guard: Arc<Guard>,
    endpoint: Endpoint,
    calls: Arc<Calls>,
    catalogue: Arc<Catalogue>,
    bounds: Bounds,
}

impl Exchange {
    /// The first endpoint of a server. Sessions there end when whoever has them is revoked, by a task on the current runtime.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn new(guard: Arc<Guard>, endpoint: Endpoint, catalogue: Arc<Catalogue>, bounds: Bounds) -> Self {
        guard.end_revoked_sessions(&endpoint);
        Self {
            guard,
            endpoint,
            calls: Arc::default(),
            catalogue,
            bounds,
        }
    }

    /// Another one of the same server.
    #[must_use]
    pub fn at(&self, endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            ..self.clone()
        }
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Who judges.
    #[must_use]
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Judges a request, and sends it on if it may go. `send` is called once at most, with nothing of the caller's credentials; `shown`
    /// is what the server gets in their place.
    pub async fn serve<'s>(
        &self,
        from: impl Into<Connection> + Send,
        request: Request<Body>,
        shown: &UpstreamCredential,
        send: impl FnOnce(Forwarded) -> Sent<'s> + Send,
    ) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::POST | Method::DELETE) {
            let allow = ENDPOINT_METHODS;
            return refused(Refusal::outside(&Reason::MethodNotAllowed { allow }));
        }
        let arrival = self.guard.arrival(from);
        let method = request.method().clone();
        match self.judged(&arrival, request, shown, send).await {
            Ok(response) => self.with_nonce(&method, response),
            Err(refusal) => refused(refusal),
        }
    }

    async fn judged<'s>(
        &self,
        arrival: &Arrival,
        request: Request<Body>,
        shown: &UpstreamCredential,
        send: impl FnOnce(Forwarded) -> Sent<'s> + Send,
    ) -> Result<Response<Body>, Refusal> {
        let Self { guard, endpoint, .. } = self;
        let (head, mut body) = request.into_parts();
        let who = guard.authenticate(endpoint, arrival, &head).await?;
        let body = match body::read(&mut body, self.bounds.body_bytes, self.bounds.body_time).await {
            Ok(body) => body,
            Err(reason) => {
                let too_large = matches!(reason, Reason::BodyTooLarge { .. });
                let refusal = guard.refuse(endpoint, arrival, Some(&who), reason).await;
                if too_large {
                    return Ok(body::after(&head, body, refused(refusal)).await);
                }
                return Err(refusal);
            }
        };
        let Admitted {
            permit,
            mut ticket,
            answer,
        } = guard.admit(endpoint, arrival, &who, &head, body).await?;

        let info = CallInfo::of(permit.call());
        let principal = who.principal().clone();
        let endless = matches!(
            info.method,
            wire::Method::OpenStream | wire::Method::SubscriptionsListen
        );
        // There was room for one more when the call was judged. If it is gone now, nothing is sent, and that is what the
        // ticket says.
        let stream = endless
            .then(|| endpoint.sessions().streams().open(principal.clone()))
            .transpose()
            .map_err(|reason| guard.answer(endpoint, arrival, info.id.as_ref(), &reason))?;
        // A message of before 2026-07-28 can be answered again, or later, on a stream of its session.
        let remembered = if let (Some(answer), Some(id), wire::Era::Legacy) = (&answer, &info.id, info.era) {
            let whose = Whose::of(info.session.as_deref(), &principal);
            Some(self.calls.note(&whose, id, answer))
        } else {
            None
        };
        let target = permit.call().target().cloned();
        let outbound = forward::outbound(permit, &unsealed(&head.headers), shown);
        ticket.forwarded();
        let forwarded = Forwarded {
            outbound,
            who: Arc::clone(&who),
            info: info.clone(),
        };
        match send(forwarded).await {
            Ok(response) => {
                let answered = Answered {
                    exchange: self,
                    arrival,
                    who: &who,
                    principal,
                    info,
                    target,
                    sealed: answer,
                    remembered,
                };
                self.pass_on(answered, stream, response, ticket).await
            }
            Err(error) => Err(self.failed(arrival, info.id.as_ref(), error, ticket)),
        }
    }

    /// What is asked of sealed sessions at this endpoint: `POST` agrees on one, `DELETE` ends all that the caller has.
    pub async fn seal_session(
        &self,
        from: impl Into<Connection> + Send,
        request: Request<Body>,
    ) -> Response<Body> {
        if !matches!(*request.method(), Method::POST | Method::DELETE) {
            let allow = SEAL_METHODS;
            return refused(Refusal::outside(&Reason::MethodNotAllowed { allow }));
        }
        let arrival = self.guard.arrival(from);
        let method = request.method().clone();
        match self.agreed(&arrival, request).await {
            Ok(response) => self.with_nonce(&method, response),
            Err(refusal) => refused(refusal),
        }
    }

    async fn agreed(&self, arrival: &Arrival, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let Self { guard, endpoint, .. } = self;
        let (head, mut body) = request.into_parts();
        let who = guard.authenticate(endpoint, arrival, &head).await?;
        let body = match body::read(&mut body, HANDSHAKE_BYTES, self.bounds.body_time).await {
            Ok(body) => body,
            Err(reason) => return Err(guard.refuse(endpoint, arrival, Some(&who), reason).await),
        };
        let answer = guard.seal_session(endpoint, arrival, &who, &head, &body).await?;
        let mut response = match answer {
            Some(answer) => Response::new(full(json!({ "answer": answer }).to_string().into())),
            None => {
                let mut nothing = Response::new(full(Bytes::new()));
                *nothing.status_mut() = StatusCode::NO_CONTENT;
                nothing
            }
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// RFC 9449 §8.2: the nonce for the caller's next proof. No cache may give it to another one later.
    fn with_nonce(&self, method: &Method, mut response: Response<Body>) -> Response<Body> {
        if let Some(nonce) = self.guard.dpop_nonce(&self.endpoint) {
            let headers = response.headers_mut();
            headers.insert(DPOP_NONCE, nonce);
            if *method == Method::GET {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
        }
        response
    }

    async fn pass_on(
        &self,
        answered: Answered<'_>,
        stream: Option<Stream>,
        response: Response<Body>,
        ticket: Ticket,
    ) -> Result<Response<Body>, Refusal> {
        let (arrival, id) = (answered.arrival, answered.info.id.clone());
        match answered.pass_on(response, stream, ticket).await {
            Ok(response) => Ok(response.map(Body::new)),
            Err((error, ticket)) => Err(self.failed(arrival, id.as_ref(), error, ticket)),
        }
    }

    /// The call was allowed, and nothing came of it.
    fn failed(
        &self,
        arrival: &Arrival,
        id: Option<&RequestId>,
        error: UpstreamError,
        ticket: Ticket,
    ) -> Refusal {
        let Self { guard, endpoint, .. } = self;
        tracing::warn!(request = arrival.request(), server = %endpoint.server(), %error, "a forwarded call failed");
        ticket.close(match error {
            UpstreamError::TimedOut => Ending::TimedOut,
            UpstreamError::Unreachable { .. }
            | UpstreamError::Busy
            | UpstreamError::RefusesUs { .. }
            | UpstreamError::BadAnswer { .. } => Ending::UpstreamFailed,
            UpstreamError::Withheld => Ending::Withheld,
        });
        guard.answer(endpoint, arrival, id, &Reason::Upstream(error))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("endpoint", &self.endpoint)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// The response of a refusal.
pub(crate) fn refused(refusal: Refusal) -> Response<Body> {
    refusal.into_response().map(full)
}

/// The headers without those that mirror a sealed argument: the server sees neither ciphertext nor a header that
/// contradicts the body.
fn unsealed(headers: &HeaderMap) -> Cow<'_, HeaderMap> {
    let sealed = |name: &HeaderName, value: &HeaderValue| {
        let value = value.as_bytes();
        name.as_str().starts_with("mcp-param-") && value.starts_with(seal::PREFIX.as_bytes())
    };
    if !headers.iter().any(|(name, value)| sealed(name, value)) {
        return Cow::Borrowed(headers);
    }
    let kept = headers.iter().filter(|(name, value)| !sealed(name, value));
    Cow::Owned(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}
