//! One request at an MCP endpoint, from head to answer.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use portcullis_core::audit::Ending;
use portcullis_core::wire::{self, RequestId};
use portcullis_core::{forward, seal};
use portcullis_guard::{
    Admitted, Arrival, DPOP_NONCE, ENDPOINT_METHODS, Reason, Refusal, SEAL_METHODS, Stream, Ticket,
};

use serde_json::json;

use super::answer::Answered;
use super::calls::Whose;
use super::upstream::{CallInfo, UpstreamError};
use super::{Entry, refused};
use crate::http::Peer;

/// How much of a body that is too large is taken in before the refusal: many clients read no answer before they
/// have sent everything, and a connection that is closed on unread bytes takes the answer with it (RFC 9112
/// §9.6).
const DISCARDED_BYTES: usize = 64 * 1024 * 1024;
/// Largest body with which a sealed session is asked for.
const HANDSHAKE_BYTES: usize = 64 * 1024;
/// For how long.
const DISCARDED_TIME: Duration = Duration::from_secs(2);

/// Judges a request, and sends it on if it may go.
pub(super) async fn guarded(entry: &Entry, request: Request<Body>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::POST | Method::DELETE) {
        return refused(&Reason::MethodNotAllowed {
            allow: ENDPOINT_METHODS,
        });
    }
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let arrival = entry.shared.guard.arrival(peer);
    let method = request.method().clone();
    match judged(entry, &arrival, request).await {
        Ok(response) => with_nonce(entry, &method, response),
        Err(refusal) => refusal.into_response().map(Body::from),
    }
}

async fn judged(entry: &Entry, arrival: &Arrival, request: Request<Body>) -> Result<Response<Body>, Refusal> {
    let Entry {
        shared,
        endpoint,
        upstream,
        ..
    } = entry;
    let (head, mut body) = request.into_parts();
    let who = shared.guard.authenticate(endpoint, arrival, &head).await?;
    let body = match read(entry, &mut body, shared.body_bytes).await {
        Ok(body) => body,
        Err(reason) => {
            let too_large = matches!(reason, Reason::BodyTooLarge { .. });
            let refusal = shared.guard.refuse(endpoint, arrival, Some(&who), reason).await;
            if too_large {
                return Ok(after_the_body(&head, body, refusal).await);
            }
            return Err(refusal);
        }
    };
    let Admitted {
        permit,
        mut ticket,
        answer,
    } = shared.guard.admit(endpoint, arrival, &who, &head, body).await?;

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
        .map_err(|reason| shared.guard.answer(endpoint, arrival, info.id.as_ref(), &reason))?;
    // A message of before 2026-07-28 can be answered again, or later, on a stream of its session.
    let remembered = if let (Some(answer), Some(id), wire::Era::Legacy) = (&answer, &info.id, info.era) {
        let whose = Whose::of(info.session.as_deref(), &principal);
        Some(entry.calls.note(&whose, id, answer))
    } else {
        None
    };
    let target = permit.call().target().cloned();
    let outbound = forward::outbound(permit, &unsealed(&head.headers), upstream.credential());
    ticket.forwarded();
    match upstream.call(&principal, outbound, &info).await {
        Ok(response) => {
            let answered = Answered {
                entry,
                arrival,
                who: &who,
                principal,
                info,
                target,
                sealed: answer,
                remembered,
            };
            pass_on(answered, stream, response, ticket).await
        }
        Err(error) => Err(failed(entry, arrival, info.id.as_ref(), error, ticket)),
    }
}

/// `POST {path}/seal` agrees on a session for sealed fields, `DELETE` ends all that the caller has.
pub(super) async fn seal_session(entry: &Entry, request: Request<Body>) -> Response<Body> {
    if !matches!(*request.method(), Method::POST | Method::DELETE) {
        return refused(&Reason::MethodNotAllowed { allow: SEAL_METHODS });
    }
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let arrival = entry.shared.guard.arrival(peer);
    let method = request.method().clone();
    match agreed(entry, &arrival, request).await {
        Ok(response) => with_nonce(entry, &method, response),
        Err(refusal) => refusal.into_response().map(Body::from),
    }
}

/// RFC 9449 §8.2: the nonce for the caller's next proof. No cache may give it to another one later.
fn with_nonce(entry: &Entry, method: &Method, mut response: Response<Body>) -> Response<Body> {
    if let Some(nonce) = entry.shared.guard.dpop_nonce(&entry.endpoint) {
        let headers = response.headers_mut();
        headers.insert(DPOP_NONCE, nonce);
        if *method == Method::GET {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    response
}

async fn agreed(entry: &Entry, arrival: &Arrival, request: Request<Body>) -> Result<Response<Body>, Refusal> {
    let Entry { shared, endpoint, .. } = entry;
    let (head, mut body) = request.into_parts();
    let who = shared.guard.authenticate(endpoint, arrival, &head).await?;
    let body = match read(entry, &mut body, HANDSHAKE_BYTES).await {
        Ok(body) => body,
        Err(reason) => return Err(shared.guard.refuse(endpoint, arrival, Some(&who), reason).await),
    };
    let answer = shared
        .guard
        .seal_session(endpoint, arrival, &who, &head, &body)
        .await?;
    let mut response = match answer {
        Some(answer) => Response::new(Body::from(json!({ "answer": answer }).to_string())),
        None => Response::new(Body::empty()),
    };
    if http_body::Body::is_end_stream(response.body()) {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
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

async fn pass_on(
    answered: Answered<'_>,
    stream: Option<Stream>,
    response: Response<portcullis_net::fetch::Body>,
    ticket: Ticket,
) -> Result<Response<Body>, Refusal> {
    let (entry, arrival, id) = (answered.entry, answered.arrival, answered.info.id.clone());
    match answered.pass_on(response, stream, ticket).await {
        Ok(response) => Ok(response.map(Body::new)),
        Err((error, ticket)) => Err(failed(entry, arrival, id.as_ref(), error, ticket)),
    }
}

/// The call was allowed, and nothing came of it.
fn failed(
    entry: &Entry,
    arrival: &Arrival,
    id: Option<&RequestId>,
    error: UpstreamError,
    ticket: Ticket,
) -> Refusal {
    tracing::warn!(request = arrival.request(), server = %entry.endpoint.server(), %error, "a forwarded call failed");
    ticket.close(match error {
        UpstreamError::TimedOut => Ending::TimedOut,
        UpstreamError::Unreachable { .. }
        | UpstreamError::Busy
        | UpstreamError::RefusesUs { .. }
        | UpstreamError::BadAnswer { .. } => Ending::UpstreamFailed,
        UpstreamError::Withheld => Ending::Withheld,
    });
    entry
        .shared
        .guard
        .answer(&entry.endpoint, arrival, id, &Reason::Upstream(error))
}

/// The whole body, within its limits. A declared length past the limit is refused unread.
async fn read(entry: &Entry, body: &mut Body, limit: usize) -> Result<Bytes, Reason> {
    let declared = http_body::Body::size_hint(body).lower();
    if declared > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(Reason::BodyTooLarge { limit });
    }
    match tokio::time::timeout(entry.shared.body_time, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Reason::BodyTooLarge { limit }),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a request body broke off");
            Err(Reason::BodyBroken)
        }
        Err(_) => Err(Reason::BodyTooSlow),
    }
}

/// The answer to a body that is too large, once the caller is done with sending it, or as good as that.
async fn after_the_body(head: &Parts, body: Body, refusal: Refusal) -> Response<Body> {
    // Of a body with a declared length nothing was read. A caller that waits for `100 Continue` has not begun to
    // send it, and reading would ask for it (RFC 9110 §10.1.1).
    let waits = head.headers.contains_key(EXPECT) && http_body::Body::size_hint(&body).lower() > 0;
    // An error is the time that is over.
    if !waits && tokio::time::timeout(DISCARDED_TIME, discard(body)).await.is_err() {
        tracing::debug!("a body that is too large takes too long");
    }
    let mut response = refusal.into_response().map(Body::from);
    // HTTP/2 has no such header, and needs none: a stream is closed alone.
    if head.version < Version::HTTP_2 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn discard(mut body: Body) {
    let mut left = DISCARDED_BYTES;
    while let (1.., Some(Ok(frame))) = (left, body.frame().await) {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}
