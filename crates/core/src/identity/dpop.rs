//! DPoP proofs (RFC 9449): that the sender of a request holds a key, and made this request with it.
//!
//! A proof brings its own key. What it shows is that somebody holds it; that it is the key of the token is for
//! [`super::Vouched::confirm`] to say. Whether a proof was seen before needs a memory, which is the caller's:
//! [`ProofHeld::jti`] until [`ProofHeld::until`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;

use super::HttpTarget;
use super::claims::{Claim, LATEST, owned_text};
use crate::fault::Fault;
use crate::jose::json::{self, Value};
use crate::jose::jwk::{KeyProblem, Thumbprint};
use crate::jose::jws::own_key::{self, OwnKey};
use crate::jose::{SignatureAlgorithm, base64url, jws};
use crate::limits;
use crate::time::{Lifetime, UnixTime};
use crate::wire::{AccessToken, Proof};

/// `typ` of a proof (RFC 9449 §4.2).
const TYPE: &str = "dpop+jwt";
/// The algorithms that proofs may be signed with: asymmetric, and of at least 112 bits of strength (RFC 9449 §4.3, check 5).
pub const ALGORITHMS: [SignatureAlgorithm; 6] = [
    SignatureAlgorithm::Es256,
    SignatureAlgorithm::EdDsa,
    SignatureAlgorithm::Es384,
    SignatureAlgorithm::Es512,
    SignatureAlgorithm::Ps256,
    SignatureAlgorithm::Rs256,
];
/// The longest time that a proof is accepted after `iat`, with the difference of clocks in it (RFC 9449 §11.1).
pub const WINDOW: Lifetime = Lifetime::from_secs(60);
/// How far in the future `iat` may be: the clock of the sender may be ahead a little, and a proof made beforehand is worth
/// no more than this (RFC 9449 §11.2).
pub const AHEAD: Lifetime = Lifetime::from_secs(5);

/// A claim of a proof (RFC 9449 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the claim of its name")]
pub enum ProofClaim {
    Jti,
    Htm,
    Htu,
    Iat,
    Ath,
    Nonce,
}

impl fmt::Display for ProofClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jti => "jti",
            Self::Htm => "htm",
            Self::Htu => "htu",
            Self::Iat => "iat",
            Self::Ath => "ath",
            Self::Nonce => "nonce",
        })
    }
}

/// Why a proof was refused. Exhaustive on purpose: the one place that answers must name each. The texts are told to the
/// caller: they help whoever writes a client, and nobody who has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Not a compact JWS (check 2).
    #[error("the proof is not a compact JWS")]
    NotCompact,
    /// The header is not a strict JSON object, or a member of it is not a string.
    #[error("the proof's header is malformed")]
    Header,
    /// The header has a parameter that no proof may bring.
    #[error("the proof's header parameter `{0}` is refused")]
    HeaderRefused(&'static str),
    /// `typ` is not `dpop+jwt` (check 4).
    #[error("the proof's `typ` is not `dpop+jwt`")]
    Type,
    /// `alg` is absent, or none that is accepted: never `none`, never a symmetric one (check 5).
    #[error("the proof's algorithm is not accepted")]
    Algorithm,
    /// No `jwk` in the header (check 3).
    #[error("the proof's header has no `jwk`")]
    KeyMissing,
    /// The `jwk` holds a private or a symmetric key (check 7).
    #[error("the proof's `jwk` holds a private key")]
    KeyPrivate,
    /// The `jwk` is no key of the algorithm, or too weak.
    #[error("the proof's `jwk` is not an acceptable key for its algorithm")]
    Key,
    /// The signature does not hold (check 6).
    #[error("the proof's signature does not hold")]
    Signature,
    /// The payload is not a strict JSON object.
    #[error("the proof's payload is malformed")]
    Payload,
    /// A required claim is absent (check 3).
    #[error("the proof has no `{0}`")]
    ClaimMissing(ProofClaim),
    /// A claim has the wrong JSON type or a length that is not accepted.
    #[error("the proof's `{0}` is malformed")]
    ClaimMalformed(ProofClaim),
    /// `htm` is not the method of the request (check 8).
    #[error("the proof's `htm` is not the request's method")]
    OtherMethod,
    /// `htu` is not the URL of the endpoint, as it is configured (check 9).
    #[error("the proof's `htu` is not this endpoint's public URL")]
    OtherTarget,
    /// `ath` is not the hash of the token (check 12).
    #[error("the proof's `ath` is not the hash of the access token")]
    OtherToken,
    /// `iat` is too long ago (check 11).
    #[error("the proof's `iat` is too old")]
    Stale,
    /// `iat` is in the future (check 11).
    #[error("the proof's `iat` is in the future")]
    Future,
}

impl Failed {
    /// Stable slug, such as `dpop.htu-mismatch`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotCompact => "dpop.not-compact",
            Self::Header => "dpop.header",
            Self::HeaderRefused(_) => "dpop.header-refused",
            Self::Type => "dpop.type",
            Self::Algorithm => "dpop.algorithm",
            Self::KeyMissing => "dpop.key-missing",
            Self::KeyPrivate => "dpop.key-private",
            Self::Key => "dpop.key",
            Self::Signature => "dpop.signature",
            Self::Payload => "dpop.payload",
            Self::ClaimMissing(_) => "dpop.claim-missing",
            Self::ClaimMalformed(_) => "dpop.claim-malformed",
            Self::OtherMethod => "dpop.htm-mismatch",
            Self::OtherTarget => "dpop.htu-mismatch",
            Self::OtherToken => "dpop.ath-mismatch",
            Self::Stale => "dpop.stale",
            Self::Future => "dpop.future",
        }
    }

    /// Whose fault: of whoever made the proof, always.
    #[must_use]
    pub const fn fault(self) -> Fault {
        Fault::Caller
    }
}

impl From<jws::Error> for Failed {
    fn from(error: jws::Error) -> Self {
        match error {
            jws::Error::NotCompact | jws::Error::TooLarge => Self::NotCompact,
            jws::Error::Header => Self::Header,
            jws::Error::Algorithm => Self::Algorithm,
            jws::Error::Refused(name) => Self::HeaderRefused(name),
            jws::Error::OtherAlgorithm | jws::Error::Signature => Self::Signature,
        }
    }
}

impl From<own_key::Error> for Failed {
    fn from(error: own_key::Error) -> Self {
        match error {
            own_key::Error::Jws(error) => error.into(),
            own_key::Error::AlgorithmNotAllowed => Self::Algorithm,
            own_key::Error::KeyMissing => Self::KeyMissing,
            own_key::Error::Key(KeyProblem::Private) => Self::KeyPrivate,
            own_key::Error::Key(_) => Self::Key,
        }
    }
}

/// The SHA-256 of an access token's text (RFC 9449 §4.2, `ath`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AccessTokenHash([u8; 32]);

impl AccessTokenHash {
    /// Of this token.
    #[must_use]
    pub fn of(token: &AccessToken) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.reveal().as_bytes()).as_ref());
        Self(bytes)
    }

    /// Whether this is its base64url text.
    fn is_text(&self, text: &str) -> bool {
        let mut bytes = [0; 32];
        base64url::decode_into(text, &mut bytes).is_ok_and(|bytes| bytes == self.0)
    }
}

impl fmt::Debug for AccessTokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessTokenHash({})", base64url::encode(self.0))
    }
}

/// What a proof has to be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'e> {
    /// The request's method.
    pub method: &'e str,
    /// The URL that was called, from configuration.
    pub target: &'e HttpTarget,
    /// The token that came with it. Without one `ath` is not looked at (RFC 9449 §5).
    pub token: Option<&'e AccessTokenHash>,
    /// How long after `iat` it is accepted. [`WINDOW`] at most counts.
    pub window: Lifetime,
    /// The time.
    pub now: UnixTime,
}

/// A proof that was read and not believed.
#[derive(Debug)]
pub struct Candidate<'p>(own_key::Unverified<'p>);

impl<'p> Candidate<'p> {
    /// Splits and reads.
    ///
    /// # Errors
    /// [`Failed::NotCompact`].
    pub fn parse(proof: &'p Proof) -> Result<Self, Failed> {
        Ok(Self(own_key::Unverified::parse(proof.reveal())?))
    }

    /// The key in its header. A sender has one header for all of its proofs: `known`, if that is it, is not parsed anew.
    ///
    /// # Errors
    /// [`Failed`], for the header.
    pub fn key(&self, known: Option<&Arc<OwnKey>>) -> Result<Arc<OwnKey>, Failed> {
        match known {
            Some(known) if self.0.has(known) => Ok(Arc::clone(known)),
            Some(_) | None => Ok(Arc::new(self.0.own_key(&ALGORITHMS)?)),
        }
    }

    /// Checks everything that RFC 9449 §4.3 has checked and that can be known here: not the nonce, not whether the key is
    /// the token's, and not whether the proof was used before.
    ///
    /// # Errors
    /// [`Failed`], naming the check.
    pub fn verify(&self, key: &OwnKey, expected: &Expected<'_>) -> Result<ProofHeld, Failed> {
        let held = self.0.verify(key)?;
        // Byte for byte: every client writes it so.
        if held.typ() != Some(TYPE) {
            return Err(Failed::Type);
        }
        let claims = Claims::parse(held.payload())?;
        let jti = required(claims.jti, ProofClaim::Jti)?;
        if !(1..=limits::PROOF_ID_BYTES).contains(&jti.len()) {
            return Err(Failed::ClaimMalformed(ProofClaim::Jti));
        }
        // Case-sensitive (RFC 9110 §9.1).
        if required(claims.htm, ProofClaim::Htm)? != expected.method {
            return Err(Failed::OtherMethod);
        }
        if !expected
            .target
            .is_named_by(&required(claims.htu, ProofClaim::Htu)?)
        {
            return Err(Failed::OtherTarget);
        }
        let issued = required(claims.iat, ProofClaim::Iat)?;
        let until = issued.plus(expected.window.min(WINDOW));
        if expected.now >= until {
            return Err(Failed::Stale);
        }
        if issued > expected.now.plus(AHEAD) {
            return Err(Failed::Future);
        }
        if let Some(token) = expected.token
            && !token.is_text(&required(claims.ath, ProofClaim::Ath)?)
        {
            return Err(Failed::OtherToken);
        }
        Ok(ProofHeld {
            key: *key.key().thumbprint(),
            jti: jti.into(),
            issued,
            until,
            nonce: optional(claims.nonce, ProofClaim::Nonce)?.map(Box::from),
            token: expected.token.copied(),
        })
    }
}

/// Whoever sent the request holds this key, and made the request with it, lately. Made by [`Candidate::verify`] and
/// nowhere else.
#[derive(Debug)]
pub struct ProofHeld {
    key: Thumbprint,
    jti: Box<str>,
    issued: UnixTime,
    until: UnixTime,
    nonce: Option<Box<str>>,
    token: Option<AccessTokenHash>,
}

impl ProofHeld {
    /// The thumbprint of the key (RFC 7638, SHA-256), which `jkt` has to be.
    #[must_use]
    pub fn key(&self) -> &Thumbprint {
        &self.key
    }

    /// The proof's own name, 1 to [`limits::PROOF_ID_BYTES`] bytes: to be used once.
    #[must_use]
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// When it was made, by the clock of its maker.
    #[must_use]
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// From then on the proof is refused for its age: so long it is to be remembered.
    #[must_use]
    pub fn until(&self) -> UnixTime {
        self.until
    }

    /// The server's nonce that it has.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// The token that it is for.
    #[must_use]
    pub fn token(&self) -> Option<&AccessTokenHash> {
        self.token.as_ref()
    }
}

fn optional<T>(claim: Claim<T>, name: ProofClaim) -> Result<Option<T>, Failed> {
    claim.readable(Failed::ClaimMalformed(name))
}

fn required<T>(claim: Claim<T>, name: ProofClaim) -> Result<T, Failed> {
    optional(claim, name)?.ok_or(Failed::ClaimMissing(name))
}

struct Claims<'p> {
    jti: Claim<Cow<'p, str>>,
    htm: Claim<Cow<'p, str>>,
    htu: Claim<Cow<'p, str>>,
    iat: Claim<UnixTime>,
    ath: Claim<Cow<'p, str>>,
    nonce: Claim<Cow<'p, str>>,
}

impl<'p> Claims<'p> {
    fn parse(payload: &'p [u8]) -> Result<Self, Failed> {
        let mut claims = Self {
            jti: Claim::Absent,
            htm: Claim::Absent,
            htu: Claim::Absent,
            iat: Claim::Absent,
            ath: Claim::Absent,
            nonce: Claim::Absent,
        };
        json::each_member(payload, |name, value| match &*name {
            "jti" => claims.jti = Claim::of(owned_text(value)),
            "htm" => claims.htm = Claim::of(owned_text(value)),
            "htu" => claims.htu = Claim::of(owned_text(value)),
            "iat" => claims.iat = Claim::of(seconds(&value)),
            "ath" => claims.ath = Claim::of(owned_text(value)),
            "nonce" => claims.nonce = Claim::of(owned_text(value)),
            _ => {}
        })
        .map_err(|_| Failed::Payload)?;
        Ok(claims)
    }
}

/// Whole seconds: a proof's `iat` decides how long it is remembered.
fn seconds(value: &Value<'_>) -> Option<UnixTime> {
    if let Value::Integer(secs) = *value
        && (0..=LATEST).contains(&secs)
    {
        Some(UnixTime::from_secs(secs))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
