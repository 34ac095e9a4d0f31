//! The claims of an access token.

use std::borrow::Cow;
use std::sync::Arc;

use super::{CertificateThumbprint, ClaimName, Failed, Names, TokenProfile};
use crate::ids::{ClientId, GrantId, ScopeSet, Subject, TokenId};
use crate::jose::json::{self, Value};
use crate::jose::jwk::{ClientKeys, Thumbprint};
use crate::jose::jws::Unverified;
use crate::time::UnixTime;

/// Latest accepted date: the last second of the year 9999. Beyond it nothing is a date, and sums could saturate.
pub(super) const LATEST: i64 = 253_402_300_799;

/// A claim as it stands in the payload. "Could not be read" is an answer of its own: CVE-2026-25537 took
/// it for "absent".
#[derive(Debug)]
pub(super) enum Claim<T> {
    Absent,
    Malformed,
    Present(T),
}

impl<T> Claim<T> {
    pub(super) fn as_ref(&self) -> Claim<&T> {
        match self {
            Self::Absent => Claim::Absent,
            Self::Malformed => Claim::Malformed,
            Self::Present(value) => Claim::Present(value),
        }
    }

    pub(super) fn of(value: Option<T>) -> Self {
        value.map_or(Self::Malformed, Self::Present)
    }

    /// The value, if there is one, or the error for one that cannot be read.
    pub(super) fn readable<E>(self, malformed: E) -> Result<Option<T>, E> {
        match self {
            Self::Absent => Ok(None),
            Self::Malformed => Err(malformed),
            Self::Present(value) => Ok(Some(value)),
        }
    }

    /// The value of a claim that RFC 9068 §2.2 requires.
    pub(super) fn required(self, name: ClaimName) -> Result<T, Failed> {
        self.optional(name)?.ok_or(Failed::ClaimMissing(name))
    }

    /// The value of a claim that may be absent.
    pub(super) fn optional(self, name: ClaimName) -> Result<Option<T>, Failed> {
        self.readable(Failed::ClaimMalformed(name))
    }
}

/// `aud`: a string or an array of them (RFC 7519 §4.1.3).
#[derive(Debug)]
pub(super) enum Audience<'p> {
    One(Cow<'p, str>),
    Many(Vec<Cow<'p, str>>),
}

/// What the payload of a token says whose signature held, or the answer of the token's issuer.
#[derive(Debug)]
pub(super) struct Claims<'p> {
    pub(super) issuer: Claim<Cow<'p, str>>,
    pub(super) audience: Claim<Audience<'p>>,
    pub(super) expires: Claim<UnixTime>,
    pub(super) not_before: Claim<UnixTime>,
    pub(super) issued: Claim<UnixTime>,
    pub(super) subject: Claim<Subject>,
    pub(super) client: Claim<ClientId>,
    pub(super) token_id: Claim<TokenId>,
    pub(super) scopes: Claim<ScopeSet>,
    pub(super) client_keys: Claim<ClientKeys>,
    pub(super) groups: Claim<Names>,
    pub(super) roles: Claim<Names>,
    pub(super) tenant: Claim<Arc<str>>,
    pub(super) grant: Claim<GrantId>,
    /// `cnf`: a binding we cannot read is a binding.
    pub(super) confirmation: Claim<Cnf>,
}

impl<'p> Claims<'p> {
    /// Reads a payload whose signature held, or an answer of the issuer. What the issuer's profile refuses is refused here.
    pub(super) fn read(payload: &'p [u8], profile: &TokenProfile) -> Result<Self, Failed> {
        // Where the profile asks for nothing, nothing is missing.
        let mut kind_held = profile.kind().is_none();
        let mut refused = false;
        let mut claims = Self {
            issuer: Claim::Absent,
            audience: Claim::Absent,
            expires: Claim::Absent,
            not_before: Claim::Absent,
            issued: Claim::Absent,
            subject: Claim::Absent,
            client: Claim::Absent,
            token_id: Claim::Absent,
            scopes: Claim::Absent,
            client_keys: Claim::Absent,
            groups: Claim::Absent,
            roles: Claim::Absent,
            tenant: Claim::Absent,
            grant: Claim::Absent,
            confirmation: Claim::Absent,
        };
        json::each_member(payload, |name, value| {
            profile.sources().read(&name, &value, &mut claims);
            refused |= profile.refuses(&name);
            if let Some((kind, accepted)) = profile.kind()
                && kind == &*name
            {
                kind_held = value.as_text().is_some_and(|text| accepted.contains(&text));
            }
            match &*name {
                "iss" => claims.issuer = Claim::of(owned_text(value)),
                "aud" => claims.audience = Claim::of(audience(value)),
                "exp" => claims.expires = Claim::of(date(&value)),
                "nbf" => claims.not_before = Claim::of(date(&value)),
                "iat" => claims.issued = Claim::of(date(&value)),
                "client_keys" => claims.client_keys = Claim::of(ClientKeys::from_claim(&value)),
                "cnf" => claims.confirmation = Claim::of(Cnf::read(&value)),
                _ => {}
            }
        })
        .map_err(|_| Failed::Payload)?;
        if refused || !kind_held {
            return Err(Failed::NotAnAccessToken);
        }
        Ok(claims)
    }
}

/// `cnf` (RFC 7800 §3.1): what the sender of the token has to prove. Every one of them: a confirmation that nobody checks
/// is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cnf {
    /// At least one of the two that we know.
    Known {
        /// The key of DPoP proofs (RFC 9449 §6.1).
        jkt: Option<Thumbprint>,
        /// The client's certificate (RFC 8705 §3.1).
        x5t: Option<CertificateThumbprint>,
    },
    /// With a member that we do not know, so that we cannot tell whether it holds.
    Unknown,
}

impl Cnf {
    fn read(value: &Value<'_>) -> Option<Self> {
        let Value::Object(members) = value else {
            return None;
        };
        let (mut jkt, mut x5t, mut unknown) = (None, None, false);
        for (name, value) in members.iter() {
            match name {
                "jkt" => jkt = Some(Thumbprint::parse(value.as_text()?)?),
                "x5t#S256" => x5t = Some(CertificateThumbprint::parse(value.as_text()?)?),
                _ => unknown = true,
            }
        }
        match (jkt, x5t) {
            _ if unknown => Some(Self::Unknown),
            (None, None) => None,
            (jkt, x5t) => Some(Self::Known { jkt, x5t }),
        }
    }
}

/// Whose token it claims to be: read before the signature, because it says which configuration to look up.
pub(super) fn claimed_issuer(token: &Unverified<'_>) -> Result<Box<str>, Failed> {
    match json::peek(token.dangerous_unverified_payload(), "iss") {
        Ok(Some(value)) => text(&value, |text| Some(text.into())).required(ClaimName::Iss),
        Ok(None) => Err(Failed::ClaimMissing(ClaimName::Iss)),
        Err(_) => Err(Failed::Payload),
    }
}

fn text<T>(value: &Value<'_>, parse: impl FnOnce(&str) -> Option<T>) -> Claim<T> {
    Claim::of(value.as_text().and_then(parse))
}

pub(super) fn owned_text(value: Value<'_>) -> Option<Cow<'_, str>> {
    if let Value::Text(text) = value {
        Some(text)
    } else {
        None
    }
}

fn audience(value: Value<'_>) -> Option<Audience<'_>> {
    let Value::Array(mut items) = value else {
        return owned_text(value).map(Audience::One);
    };
    match items.len() {
        0 => None,
        1 => items.pop().and_then(owned_text).map(Audience::One),
        _ => items
            .into_iter()
            .map(owned_text)
            .collect::<Option<_>>()
            .map(Audience::Many),
    }
}

/// A `NumericDate` (RFC 7519 §2): a JSON number, which may have a fraction.
fn date(value: &Value<'_>) -> Option<UnixTime> {
    match *value {
        Value::Integer(secs) if (0..=LATEST).contains(&secs) => Some(UnixTime::from_secs(secs)),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "the range makes the product fit; a fraction of a millisecond does not matter"
        )]
        Value::Float(secs) if (0.0..=LATEST as f64).contains(&secs) => {
            Some(UnixTime::from_millis((secs * 1000.0) as i64))
        }
        Value::Integer(_)
        | Value::Float(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Text(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    }
}
