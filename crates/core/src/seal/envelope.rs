//! The claims that every message of this protocol has: `iss aud sub iat exp jti`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::canonical::{self, NotExact};
use super::error::{Bound, Error};
use super::replay::Once;
use crate::ids::{KeyId, TokenId};
use crate::jose::SignatureAlgorithm;
use crate::jose::jwk::{KeySet, VerificationKey};
use crate::random::{self, SecureRandom};
use crate::time::{Lifetime, UnixTime};

/// How long a message can be opened, and the longest that is accepted.
pub const MESSAGE_LIFETIME: Lifetime = Lifetime::from_minutes(5);

/// What time it is, and by how much the sender's clock may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Now.
    pub now: UnixTime,
    /// The accepted difference.
    pub skew: Lifetime,
}

/// The signing keys of the one sender who may have sealed. Never from the message.
#[derive(Clone, Copy, Debug)]
pub enum SenderKeys<'k> {
    /// One key: an agent's, known by its thumbprint. Its `kid` is the sender's own business.
    One(&'k VerificationKey),
    /// A published set: a gateway's, found by `kid`.
    Set(&'k KeySet),
}

impl<'k> SenderKeys<'k> {
    pub(super) fn find(
        self,
        kid: Option<&KeyId>,
        algorithm: SignatureAlgorithm,
    ) -> Result<&'k VerificationKey, Error> {
        match self {
            Self::One(key) if kid.is_none() || key.kid().is_none() || key.kid() == kid => Ok(key),
            Self::One(_) => Err(Error::SenderKey),
            Self::Set(keys) => {
                let kid = kid.ok_or(Error::SenderKey)?;
                keys.find(Some(kid), algorithm).ok_or(Error::SenderKey)
            }
        }
    }
}

/// The claims of a token, or one of them that is an object.
pub(super) type Claims = Map<String, Value>;

/// Reads a payload whose signature held.
pub(super) fn claims(payload: &[u8]) -> Result<Claims, Error> {
    match canonical::read(payload) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) | Err(NotExact::NotJson) => Err(Error::Claims),
        Err(inexact) => Err(inexact.into()),
    }
}

/// The claims of a new message, with those that only this kind of message has. In the order of their names, so that
/// one message has one text whichever map is behind it.
pub(super) fn issue(
    (issuer, audience, sub): (&str, &str, String),
    also: impl IntoIterator<Item = (&'static str, Value)>,
    now: UnixTime,
    random: &dyn SecureRandom,
) -> Result<Claims, Error> {
    let jti = random::token::<16>(random)?;
    let common = [
        ("iss", json!(issuer)),
        ("aud", json!(audience)),
        ("sub", json!(sub)),
        ("iat", json!(now.as_secs())),
        ("exp", json!(now.plus(MESSAGE_LIFETIME).as_secs())),
        ("jti", json!(jti)),
    ];
    let ordered: BTreeMap<&str, Value> = common.into_iter().chain(also).collect();
    Ok(ordered
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// Checks all claims but `also`, which must be there and are the caller's to check.
pub(super) fn check(
    claims: &Claims,
    also: &[&str],
    (issuer, audience, sub): (&str, &str, String),
    moment: Moment,
) -> Result<Once, Error> {
    exactly(claims, &["iss", "aud", "sub", "iat", "exp", "jti"], also)?;
    for (name, expected, bound) in [
        ("iss", issuer, Bound::Issuer),
        ("aud", audience, Bound::Audience),
        ("sub", sub.as_str(), Bound::Principal),
    ] {
        if text(claims, name)? != expected {
            return Err(Error::Other(bound));
        }
    }
    let jti = TokenId::parse(text(claims, "jti")?).map_err(|_| Error::Claims)?;
    let (issued, expires) = (time(claims, "iat")?, time(claims, "exp")?);
    if expires <= issued || expires > issued.plus(MESSAGE_LIFETIME) {
        return Err(Error::Lifetime);
    }
    if moment.now.plus(moment.skew) < issued {
        return Err(Error::NotYet);
    }
    // RFC 7519 §4.1.4: on or after `exp` it is too late.
    let until = expires.plus(moment.skew);
    if moment.now >= until {
        return Err(Error::Expired);
    }
    Ok(Once { jti, issued, until })
}

/// These members and no others.
pub(super) fn exactly(object: &Claims, names: &[&str], also: &[&str]) -> Result<(), Error> {
    let known = |name: &str| names.contains(&name) || also.contains(&name);
    // No member is twice in a strict object, so a count is enough.
    if object.keys().all(|name| known(name)) && object.len() == names.len() + also.len() {
        Ok(())
    } else {
        Err(Error::Claims)
    }
}

/// A claim that is a text.
pub(super) fn text<'o>(object: &'o Claims, name: &str) -> Result<&'o str, Error> {
    object.get(name).and_then(Value::as_str).ok_or(Error::Claims)
}

/// A claim that is an object.
pub(super) fn object<'o>(object: &'o Claims, name: &str) -> Result<&'o Claims, Error> {
    match object.get(name) {
        Some(Value::Object(inner)) => Ok(inner),
        Some(_) | None => Err(Error::Claims),
    }
}

/// A claim that is a time in whole seconds.
pub(super) fn time(object: &Claims, name: &str) -> Result<UnixTime, Error> {
    let secs = object.get(name).and_then(Value::as_i64).ok_or(Error::Claims)?;
    Ok(UnixTime::from_secs(secs))
}
