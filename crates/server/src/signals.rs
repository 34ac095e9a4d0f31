//! Where transmitters of security events deliver them: push, as RFC 8935 has it.
//!
//! Takes: SETs of configured transmitters, each with the credential that configuration gives it. Gives: revocations, and a record of
//! each SET. May use: `revocation`, issuer keys, the recorder. Never: acknowledges a SET whose effect is not on disk in the store, or
//! that is not on record.
//!
//! A SET that comes again is acknowledged again, as the transmitter expects that never heard of the first acknowledgement; its
//! revocations have names made of its own, so that they are the same entries. Who brings no credential is told so, and is not on record.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::post;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis_core::audit;
use portcullis_core::fault::Fault;
use portcullis_core::ids::{Issuer, RevocationId};
use portcullis_core::jose::base64url;
use portcullis_core::revocation::{By, Entry, REVOCATIONS, Reason, Target};
use portcullis_core::secret::Secret;
use portcullis_core::signals::{self, Candidate, Effect, EventKind, SET_BYTES, SecurityEvents, Transmitter};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_guard::recorder::{Durability, Recorder};
use portcullis_net::clock::Clock;
use portcullis_net::discovery::IssuerKeys;
use portcullis_net::offload;
use serde_json::json;

use crate::http::Peer;
use crate::revocation::{self, Follower};

/// Longest wait for a SET.
const BODY_TIME: Duration = Duration::from_secs(10);

/// One transmitter, and how it is known.
pub struct Source {
    /// The operator's name for it, and the last step of its address.
    pub name: String,
    /// What is held true about it.
    pub transmitter: Transmitter,
    /// Its keys.
    pub keys: Arc<IssuerKeys>,
    /// What it shows with each delivery.
    pub bearer: Secret,
    /// How long a revocation by it is kept: the longest that a token of the issuers that it speaks for can be accepted, and no less
    /// than its SET can come again, so that it is known by its name then.
    pub kept: Lifetime,
}

/// What all deliveries share.
pub struct Receiver {
    /// Where what they say goes.
    pub follower: Arc<Follower>,
    /// Where each goes on record.
    pub recorder: Arc<dyn Recorder>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why a delivery was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// The credential is missing or wrong.
    Credential,
    /// The body is not declared as a SET, did not come, or is too large.
    Body,
    /// The SET.
    Set(signals::Failed),
    /// We cannot take it now.
    Unavailable(&'static str),
}

impl Refused {
    const fn code(self) -> &'static str {
        match self {
            Self::Credential => "signal.credential",
            Self::Body => "signal.body",
            Self::Set(failed) => failed.code(),
            Self::Unavailable(code) => code,
        }
    }

    const fn fault(self) -> Fault {
        match self {
            Self::Credential | Self::Body => Fault::Peer,
            Self::Set(failed) => failed.fault(),
            Self::Unavailable(_) => Fault::Operator,
        }
    }

    /// RFC 8935 §2.4.
    fn answer(self) -> Response {
        let (err, description) = match self {
            Self::Credential => (
                "authentication_failed",
                "the credential of the transmitter is missing or wrong".to_owned(),
            ),
            Self::Body => (
                "invalid_request",
                "the body is no `application/secevent+jwt` of at most 16 KiB".to_owned(),
            ),
            Self::Set(failed) => (failed.err(), failed.to_string()),
            Self::Unavailable(_) => {
                let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, Body::empty());
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, HeaderValue::from_static("5"));
                return response;
            }
        };
        let body = json!({ "err": err, "description": description }).to_string();
        let mut response = answer(StatusCode::BAD_REQUEST, Body::from(body));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // RFC 8935 §2.3: the language of the description.
        response
            .headers_mut()
            .insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
        response
    }
}

/// The path of a transmitter's deliveries.
#[must_use]
pub fn path(name: &str) -> String {
    format!("/signals/{name}")
}

/// One address for each transmitter.
pub fn routes(receiver: Receiver, sources: Vec<Source>) -> Router {
    let receiver = Arc::new(receiver);
    sources.into_iter().fold(Router::new(), |router, source| {
        let (receiver, source) = (Arc::clone(&receiver), Arc::new(source));
        let path = path(&source.name);
        let taking = post(move |request: Request| {
            let (receiver, source) = (Arc::clone(&receiver), Arc::clone(&source));
            async move { receiver.answer(&source, request).await }
        });
        router.route(&path, taking)
    })
}

impl Receiver {
    async fn answer(&self, source: &Source, request: Request) -> Response {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string());
        let mut record = audit::Signal {
            transmitter: source.name.clone(),
            set: None,
            events: Vec::new(),
            revoked: 0,
            state: None,
            result: "ok",
            fault: None,
            peer,
        };
        if let Err(refused) = authenticate(request.headers(), &source.bearer) {
            // Anybody can be refused as often as they like: that is nothing to fill a disk with.
            tracing::debug!(
                transmitter = source.name,
                "a delivery without the transmitter's credential was refused"
            );
            return refused.answer();
        }
        let taken = self.take(source, request, &mut record).await;
        if let Err(refused) = taken {
            record.result = refused.code();
            record.fault = Some(refused.fault());
            tracing::warn!(
                transmitter = source.name,
                reason = refused.code(),
                "a security event was refused"
            );
        }
        let recorded = self.recorder.record(record.into(), Durability::Synced).await;
        match (taken, recorded) {
            (Err(refused), Ok(_)) => refused.answer(),
            (Ok(()), Ok(_)) => answer(StatusCode::ACCEPTED, Body::empty()),
            (_, Err(error)) => {
                tracing::error!(%error, "a security event could not be recorded");
                Refused::Unavailable("audit.unavailable").answer()
            }
        }
    }

    async fn take(
        &self,
        source: &Source,
        request: Request,
        record: &mut audit::Signal,
    ) -> Result<(), Refused> {
        let (head, body) = request.into_parts();
        if !is_set(&head.headers) {
            return Err(Refused::Body);
        }
        let body = tokio::time::timeout(BODY_TIME, to_bytes(body, SET_BYTES)).await;
        let body = body.ok().and_then(Result::ok).ok_or(Refused::Body)?;
        let text = std::str::from_utf8(&body).map_err(|_| Refused::Set(signals::Failed::Malformed))?;
        let candidate = Candidate::parse(text.trim_end_matches(['\r', '\n'])).map_err(Refused::Set)?;
        let keys = source.keys.for_kid(candidate.kid()).await;
        let keys = keys.map_err(|_| Refused::Unavailable("issuer.keys-unavailable"))?;
        let now = self.clock.now();
        let set = signals::verify(&candidate, &source.transmitter, &keys, now).map_err(Refused::Set)?;
        record.set = Some(audit::TokenHash::of(&set.id));
        record.events = set.events.iter().map(|event| event.kind.name()).collect();
        record.state = set.state.as_deref().map(ToOwned::to_owned);
        let entries = entries(source, &set, now)?;
        record.revoked = entries.len();
        if entries.is_empty() {
            return Ok(());
        }
        let follower = Arc::clone(&self.follower);
        let added = offload::run(move || carry_out(&follower, entries)).await;
        added.map_err(|_| Refused::Unavailable("revocation.system"))?
    }
}

/// All of them, or it comes again: those that were added are known by their names then. Blocks.
fn carry_out(follower: &Follower, entries: Vec<Entry>) -> Result<(), Refused> {
    let failed = |error: revocation::Error| {
        tracing::error!(%error, "a security event could not be carried out");
        Refused::Unavailable(error.code())
    };
    let there = follower.log().count().map_err(|error| failed(error.into()))?;
    if there.saturating_add(entries.len()) > REVOCATIONS {
        tracing::error!(
            "a security event could not be carried out: there are {there} revocations, of {REVOCATIONS} at the most"
        );
        return Err(Refused::Unavailable("revocation.full"));
    }
    for entry in entries {
        follower.add(move || entry).map_err(failed)?;
    }
    Ok(())
}

/// What the events revoke, each under a name of its own.
fn entries(source: &Source, set: &SecurityEvents, now: UnixTime) -> Result<Vec<Entry>, Refused> {
    let mut entries = Vec::new();
    for event in &set.events {
        match event.kind.effect() {
            Effect::None => continue,
            Effect::Revokes => {}
        }
        for target in event.subject.targets(event.at) {
            let id = name_of(&source.transmitter.issuer, set, event.kind, &target)?;
            let reason = Reason::of(event.kind.name());
            let by = By::Transmitter(source.transmitter.issuer.to_string());
            entries.push(Entry::Revoke(target.revoked(id, now, source.kept, reason, by)));
        }
    }
    Ok(entries)
}

/// The same for the same SET, in whatever order it says it.
fn name_of(
    issuer: &Issuer,
    set: &SecurityEvents,
    kind: EventKind,
    target: &Target,
) -> Result<RevocationId, Refused> {
    let mut context = Context::new(&SHA256);
    for part in [
        issuer.as_str(),
        set.id.as_str(),
        kind.name(),
        target.kind(),
        target.issuer().map_or("", Issuer::as_str),
        target.name(),
    ] {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let name: String = base64url::encode(context.finish()).chars().take(22).collect();
    RevocationId::parse(&format!("s{name}")).map_err(|_| Refused::Unavailable("revocation.system"))
}

/// RFC 6750 §2.1.
fn authenticate(headers: &HeaderMap, bearer: &Secret) -> Result<(), Refused> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(Refused::Credential);
    };
    let shown = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| Secret::new(token.trim()))
    });
    match shown {
        Some(shown) if shown == *bearer => Ok(()),
        Some(_) | None => Err(Refused::Credential),
    }
}

/// RFC 8935 §2.1.
fn is_set(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/secevent+jwt")
}

fn answer(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
