//! One request at an MCP endpoint, from head to answer.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use portcullis_core::audit::Ending;
use portcullis_core::forward;
use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::wire::RequestId;
use portcullis_guard::{Admitted, Arrival, ENDPOINT_METHODS, Reason, Refusal, Ticket};

use super::answer::Answered;
use super::upstream::{CallInfo, Principal, UpstreamError};
use super::{Entry, refused};
use crate::http::Peer;

/// Judges a request, and sends it on if it may go.
pub(super) async fn guarded(entry: &Entry, request: Request<Body>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::POST | Method::DELETE) {
        return refused(&Reason::MethodNotAllowed {
            allow: ENDPOINT_METHODS,
        });
    }
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let arrival = entry.shared.guard.arrival(peer);
    match judged(entry, &arrival, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response().map(Body::from),
    }
}

async fn judged(entry: &Entry, arrival: &Arrival, request: Request<Body>) -> Result<Response<Body>, Refusal> {
    let Entry {
        shared,
        endpoint,
        upstream,
    } = entry;
    let (head, body) = request.into_parts();
    let who = shared.guard.authenticate(endpoint, arrival, &head).await?;
    let body = match read(entry, body).await {
        Ok(body) => body,
        Err(reason) => return Err(shared.guard.refuse(endpoint, arrival, Some(&who), reason).await),
    };
    let Admitted { permit, mut ticket } = shared.guard.admit(endpoint, arrival, &who, &head, body).await?;

    let info = CallInfo::of(permit.call());
    let principal = Principal::of(&who);
    let outbound = forward::outbound(permit, &head.headers, upstream.credential());
    ticket.forwarded();
    match upstream.call(&principal, outbound, &info).await {
        Ok(response) => pass_on(entry, arrival, &who, principal, info, response, ticket).await,
        Err(error) => Err(failed(entry, arrival, info.id.as_ref(), error, ticket)),
    }
}

async fn pass_on(
    entry: &Entry,
    arrival: &Arrival,
    who: &Arc<VerifiedIdentity>,
    principal: Principal,
    info: CallInfo,
    response: Response<portcullis_net::fetch::Body>,
    ticket: Ticket,
) -> Result<Response<Body>, Refusal> {
    let id = info.id.clone();
    let answered = Answered {
        entry,
        arrival,
        who,
        principal,
        info,
    };
    match answered.pass_on(response, ticket).await {
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
    });
    entry
        .shared
        .guard
        .answer(&entry.endpoint, arrival, id, &Reason::Upstream(error))
}

/// The whole body, within its limits. A declared length past the limit is refused unread.
async fn read(entry: &Entry, body: Body) -> Result<Bytes, Reason> {
    let limit = entry.shared.body_bytes;
    let declared = http_body::Body::size_hint(&body).lower();
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
