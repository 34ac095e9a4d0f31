//! A compact JWS that brings the key it is signed with in its header (RFC 7515 §4.1.3).
//!
//! Such a signature says that the sender holds a key, and nothing about whose key it is: what the key is worth, the
//! reader has to know from elsewhere. So it is a type of its own, and what reads tokens refuses `jwk`.

use std::fmt;

use super::compact::Parts;
use super::{HEADER_BYTES, Verified, check};
use crate::jose::base64url::exceeds;
use crate::jose::json::{Object, Value};
use crate::jose::jwk::{KeyProblem, VerificationKey};
use crate::jose::{REFUSED, SignatureAlgorithm, base64url};

/// Largest header with a key, in bytes of its JSON: an RSA key of 8192 bits and what else there is.
pub const OWN_HEADER_BYTES: usize = 2 * HEADER_BYTES;
/// Largest payload, in bytes.
pub const OWN_PAYLOAD_BYTES: usize = 4 * 1024;

/// Why such a message cannot be read, or does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message, as any other.
    #[error(transparent)]
    Jws(#[from] super::Error),
    /// The algorithm is none that the reader takes.
    #[error("the algorithm is not accepted")]
    AlgorithmNotAllowed,
    /// The header has no `jwk`.
    #[error("the header has no `jwk`")]
    KeyMissing,
    /// The header's `jwk` is no public key for the algorithm.
    #[error("the key in the header is refused: {0}")]
    Key(KeyProblem),
}

/// What a header says, and its key, parsed once: the same for each message of one sender, who need not be read anew.
pub struct OwnKey {
    text: Box<str>,
    typ: Option<Box<str>>,
    key: VerificationKey,
}

impl OwnKey {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> &VerificationKey {
        &self.key
    }

    fn read(text: &str, algorithms: &[SignatureAlgorithm]) -> Result<Self, Error> {
        const MALFORMED: Error = Error::Jws(super::Error::Header);
        let mut buffer = [0; OWN_HEADER_BYTES];
        if exceeds(text, OWN_HEADER_BYTES) {
            return Err(MALFORMED);
        }
        let json = base64url::decode_into(text, &mut buffer).map_err(|_| super::Error::NotCompact)?;
        let members = Object::parse(json).map_err(|_| MALFORMED)?;
        let refused = REFUSED
            .into_iter()
            .find(|name| *name != "jwk" && members.get(name).is_some());
        if let Some(refused) = refused {
            return Err(super::Error::Refused(refused).into());
        }
        let text_of = |name| members.text(name).map_err(|_| MALFORMED);
        let typ = text_of("typ")?.map(Box::from);
        text_of("kid")?;
        let algorithm = text_of("alg")?.and_then(SignatureAlgorithm::from_name);
        let algorithm = algorithm.ok_or(super::Error::Algorithm)?;
        if !algorithms.contains(&algorithm) {
            return Err(Error::AlgorithmNotAllowed);
        }
        let jwk = match members.get("jwk") {
            None => return Err(Error::KeyMissing),
            // RFC 7518 §6.4.1: a symmetric key is all secret, whatever type the rest says.
            Some(Value::Object(jwk)) if jwk.get("k").is_some() => {
                return Err(Error::Key(KeyProblem::Private));
            }
            Some(Value::Object(jwk)) => jwk,
            Some(_) => return Err(Error::Key(KeyProblem::Malformed)),
        };
        Ok(Self {
            text: text.into(),
            typ,
            key: VerificationKey::for_algorithm(jwk, algorithm).map_err(Error::Key)?,
        })
    }
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A message that was read and not believed.
pub struct Unverified<'t> {
    parts: Parts<'t>,
    payload: Vec<u8>,
}

impl<'t> Unverified<'t> {
    /// Reads the three parts.
    ///
    /// # Errors
    /// [`Error::Jws`]: not three parts of base64url, or too large.
    pub fn parse(message: &'t str) -> Result<Self, Error> {
        let parts = Parts::of(message)?;
        if exceeds(parts.payload, OWN_PAYLOAD_BYTES) {
            return Err(super::Error::TooLarge.into());
        }
        let payload = base64url::decode(parts.payload).map_err(|_| super::Error::NotCompact)?;
        Ok(Self { parts, payload })
    }

    /// Whether this message has exactly the header that was read before.
    #[must_use]
    pub fn has(&self, known: &OwnKey) -> bool {
        *known.text == *self.parts.header
    }

    /// Reads the header and parses its key, which is of one of these algorithms.
    ///
    /// # Errors
    /// [`Error`].
    pub fn own_key(&self, algorithms: &[SignatureAlgorithm]) -> Result<OwnKey, Error> {
        OwnKey::read(self.parts.header, algorithms)
    }

    /// Checks the signature with the message's own key.
    ///
    /// # Errors
    /// [`super::Error::Signature`], also for the key of another header.
    pub fn verify<'u>(&'u self, own: &'u OwnKey) -> Result<Verified<'u>, super::Error> {
        if !self.has(own) {
            return Err(super::Error::Signature);
        }
        let holds = check(self.parts.signing_input, self.parts.signature, &own.key)?;
        Ok(Verified::of(&self.payload, own.typ.as_deref(), &holds))
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unverified(a message with its own key)")
    }
}
