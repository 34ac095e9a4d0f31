//! A SET, read and verified (RFC 8417 §2).

use std::collections::BTreeSet;

use super::{Effect, Event, EventKind, Failed, Subject};
use crate::ids::{Issuer, KeyId, TokenId};
use crate::jose::SignatureAlgorithm;
use crate::jose::json::{Object, Value};
use crate::jose::jwk::KeySet;
use crate::jose::jws::{self, Unverified};
use crate::time::{Lifetime, UnixTime};

/// Largest SET, in bytes.
pub const SET_BYTES: usize = 16 * 1024;
/// Most events of one SET.
pub const EVENTS: usize = 8;
/// Latest accepted date, as for access tokens.
const LATEST: i64 = 253_402_300_799;

/// What we hold true about one transmitter. From configuration only.
#[derive(Clone, Debug)]
pub struct Transmitter {
    /// `iss` of its SETs, compared as a string.
    pub issuer: Issuer,
    /// `aud` of SETs for us.
    pub audience: Box<str>,
    /// Algorithms accepted from it.
    pub algorithms: BTreeSet<SignatureAlgorithm>,
    /// Issuers of whose users it may say that they are revoked.
    pub speaks_for: BTreeSet<Issuer>,
    /// What its sessions are here.
    pub sessions: Sessions,
    /// Accepted difference of clocks.
    pub skew: Lifetime,
    /// How old a SET may be. What is older concerns nothing that is accepted any more.
    pub oldest: Lifetime,
}

/// What the sessions of a transmitter are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// Tokens name the session that they are of.
    NamedByTokens,
    /// No token says of which session it is.
    Unknown,
}

impl Transmitter {
    /// The issuer that it speaks for, if that is one.
    pub(super) fn only_issuer(&self) -> Option<&Issuer> {
        let mut issuers = self.speaks_for.iter();
        let only = issuers.next()?;
        issuers.next().is_none().then_some(only)
    }
}

/// A SET split into its parts, and not believed.
#[derive(Debug)]
pub struct Candidate<'t>(Unverified<'t>);

impl<'t> Candidate<'t> {
    /// Splits and reads the header.
    ///
    /// # Errors
    /// [`Failed::TooLarge`], [`Failed::Malformed`], [`Failed::Algorithm`].
    pub fn parse(text: &'t str) -> Result<Self, Failed> {
        if text.len() > SET_BYTES {
            return Err(Failed::TooLarge);
        }
        Ok(Self(Unverified::parse(text)?))
    }

    /// The named key.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.0.kid()
    }
}

/// What a transmitter says, verified. Made by [`verify`] and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvents {
    /// `jti`, unique within the transmitter.
    pub id: TokenId,
    /// The events, in the order in which they stand.
    pub events: Vec<Event>,
    /// `state` of a verification event (Shared Signals Framework 1.0 §8.1.4.1).
    pub state: Option<Box<str>>,
}

/// Verifies a SET against the trust and keys of the transmitter whose credential came with it.
///
/// # Errors
/// [`Failed`], naming the check.
pub fn verify(
    candidate: &Candidate<'_>,
    of: &Transmitter,
    keys: &KeySet,
    now: UnixTime,
) -> Result<SecurityEvents, Failed> {
    let algorithm = candidate.0.algorithm();
    if !of.algorithms.contains(&algorithm) {
        return Err(Failed::Algorithm);
    }
    let key = keys.find(candidate.kid(), algorithm).ok_or(Failed::Key)?;
    let held = candidate.0.verify(key)?;
    // RFC 8417 §2.3: explicit typing, so that no other token of the same issuer passes for a SET.
    let typ = held.typ().ok_or(Failed::Type)?;
    let typ = typ.strip_prefix("application/").unwrap_or(typ);
    if typ != "secevent+jwt" {
        return Err(Failed::Type);
    }
    let claims = Object::parse(held.payload()).map_err(|_| Failed::Malformed)?;
    let text = |name: &'static str| {
        claims
            .get(name)
            .and_then(Value::as_text)
            .ok_or(Failed::Claim(name))
    };
    if text("iss")? != of.issuer.as_str() {
        return Err(Failed::Issuer);
    }
    if !names(claims.get("aud"), &of.audience) {
        return Err(Failed::Audience);
    }
    let id = TokenId::parse(text("jti")?).map_err(|_| Failed::Claim("jti"))?;
    let issued = date(claims.get("iat")).ok_or(Failed::Claim("iat"))?;
    if issued.minus(of.skew) > now || issued.plus(of.oldest) < now {
        return Err(Failed::Time);
    }
    // RFC 8417 §2.2: no `exp` that makes it an access token; where there is one it holds.
    if let Some(expires) = claims.get("exp") {
        let expires = date(Some(expires)).ok_or(Failed::Claim("exp"))?;
        if expires.plus(of.skew) <= now {
            return Err(Failed::Time);
        }
    }
    let mut state = None;
    let events = events(&claims, of, issued, &mut state)?;
    Ok(SecurityEvents { id, events, state })
}

fn events(
    claims: &Object<'_>,
    of: &Transmitter,
    issued: UnixTime,
    state: &mut Option<Box<str>>,
) -> Result<Vec<Event>, Failed> {
    let Some(Value::Object(members)) = claims.get("events") else {
        return Err(Failed::Claim("events"));
    };
    let common = claims.get("sub_id");
    let mut events = Vec::new();
    for (uri, payload) in members.iter() {
        let Value::Object(payload) = payload else {
            return Err(Failed::Claim("events"));
        };
        if events.len() >= EVENTS {
            return Err(Failed::Claim("events"));
        }
        let kind = EventKind::read(uri, payload);
        if kind == EventKind::Verification {
            *state = payload.get("state").and_then(Value::as_text).map(Into::into);
        }
        // RFC 9493 §4, and what transmitters of before it have in the event.
        let subject = match common.or_else(|| payload.get("subject")) {
            Some(value) => Subject::read(value, of, kind).ok_or(Failed::Claim("sub_id"))?,
            None => match kind.effect() {
                Effect::Revokes => return Err(Failed::Claim("sub_id")),
                Effect::None => Subject::default(),
            },
        };
        // CAEP 1.0 §2: seconds; never later than the SET itself. By the transmitter's clock, as `iat` of the tokens is by its issuer's.
        let at = match payload.get("event_timestamp") {
            Some(value) => date(Some(value))
                .ok_or(Failed::Claim("event_timestamp"))?
                .min(issued),
            None => issued,
        };
        events.push(Event { kind, subject, at });
    }
    if events.is_empty() {
        return Err(Failed::Claim("events"));
    }
    Ok(events)
}

/// RFC 7519 §4.1.3: the receiver is one of those that are named.
fn names(audience: Option<&Value<'_>>, ours: &str) -> bool {
    match audience {
        Some(Value::Array(items)) => items.iter().any(|item| item.as_text() == Some(ours)),
        Some(value) => value.as_text() == Some(ours),
        None => false,
    }
}

/// Whole seconds; some transmitters send milliseconds with a fraction, which are no date here.
fn date(value: Option<&Value<'_>>) -> Option<UnixTime> {
    match value {
        Some(Value::Integer(secs)) if (0..=LATEST).contains(secs) => Some(UnixTime::from_secs(*secs)),
        Some(_) | None => None,
    }
}

impl From<jws::Error> for Failed {
    fn from(error: jws::Error) -> Self {
        match error {
            jws::Error::NotCompact | jws::Error::Header | jws::Error::Refused(_) => Self::Malformed,
            jws::Error::TooLarge => Self::TooLarge,
            jws::Error::Algorithm => Self::Algorithm,
            jws::Error::OtherAlgorithm => Self::Key,
            jws::Error::Signature => Self::Signature,
        }
    }
}
