//! Nested JWTs (RFC 7519 §5.2 and appendix A.2): signed, then encrypted.
//!
//! Takes: a signer, a recipient and claims; or a text, a private key and the signer's key. Gives: [`Verified`] claims,
//! which were encrypted to us and signed by that key. May use: `jwe`, `jws`, `jwk`.
//! Never: shows claims before both held, opens a message inside of a message, takes a message that was only encrypted.

use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use super::json;
use super::jwe::{self, ContentEncryption, PayloadOpener, Protected};
use super::jwk::{EncryptionKey, KeySet, VerificationKey};
use super::jws::{self, SigningUnavailable, TokenSigner};
use super::{SignatureAlgorithm, base64url};
use crate::fault::Fault;
use crate::ids::KeyId;
use crate::random::SecureRandom;

/// What the outer header's `cty` says (RFC 7519 §5.2).
const JWT: &str = "JWT";

/// A nested JWT that cannot be made, opened or believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The outer message.
    #[error("the encrypted message: {0}")]
    Jwe(#[from] jwe::Error),
    /// The outer header does not say that a JWT is inside.
    #[error("the message does not say that it holds a signed token: its `cty` must be `JWT`")]
    NotNested,
    /// The inner token, or its signature.
    #[error("the signed token inside: {0}")]
    Jws(#[from] jws::Error),
    /// The inner token says that it holds yet another one.
    #[error("the signed token inside says that it holds another token, which is not opened")]
    Deeper,
    /// No key of the signer has the name and the algorithm of the inner header.
    #[error("the signer has no key of the name and algorithm that the token names")]
    KeyUnknown,
    /// The signing key cannot be used now.
    #[error(transparent)]
    Signing(#[from] SigningUnavailable),
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Jwe(error) => error.fault(),
            Self::Signing(_) => Fault::Operator,
            Self::NotNested | Self::Jws(_) | Self::Deeper | Self::KeyUnknown => Fault::Caller,
        }
    }
}

/// Signs `claims` with the inner header `alg`, `typ`, `kid`, and encrypts the token to the owner of `recipient`.
///
/// # Errors
/// [`Error::Signing`], [`Error::Jwe`].
pub fn seal(
    signer: &dyn TokenSigner,
    recipient: &EncryptionKey,
    encryption: ContentEncryption,
    typ: &str,
    claims: &Map<String, Json>,
    random: &dyn SecureRandom,
) -> Result<String, Error> {
    let token = Zeroizing::new(jws::sign(signer, typ, claims)?);
    let protected = Protected {
        cty: Some(JWT),
        ..Protected::new(encryption)
    };
    Ok(jwe::encrypt(recipient, &protected, token.as_bytes(), random)?)
}

/// A nested JWT that was read and not opened. Shows the outer header.
#[derive(Debug)]
pub struct Unopened<'t>(jwe::Unopened<'t>);

impl<'t> Unopened<'t> {
    /// Reads the outer message, of at most [`jwe::SMALL_BYTES`].
    ///
    /// # Errors
    /// [`Error::Jwe`], [`Error::NotNested`].
    pub fn parse(text: &'t str) -> Result<Self, Error> {
        Self::parse_within(text, jwe::SMALL_BYTES)
    }

    /// Reads the outer message, of at most `limit` bytes of text.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_within(text: &'t str, limit: usize) -> Result<Self, Error> {
        let outer = jwe::Unopened::parse_within(text, limit)?;
        // RFC 7519 §5.2: the value MUST be "JWT"; media types are not case-sensitive, and upper case is recommended.
        if outer.cty().is_some_and(|cty| cty.eq_ignore_ascii_case(JWT)) {
            Ok(Self(outer))
        } else {
            Err(Error::NotNested)
        }
    }

    /// The private key that the outer header names.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.0.kid()
    }

    /// The outer message, for its header.
    #[must_use]
    pub fn outer(&self) -> &jwe::Unopened<'t> {
        &self.0
    }

    /// Opens the outer message and reads the header of the token in it.
    ///
    /// # Errors
    /// [`Error::Jwe`] when it does not open, [`Error::Jws`] and [`Error::Deeper`] when what is in it is no signed token of
    /// claims.
    pub fn open(&self, opener: &dyn PayloadOpener) -> Result<Opened, Error> {
        // The inner token is a credential.
        let inner = Zeroizing::new(self.0.open(opener)?.into_plaintext());
        let token = std::str::from_utf8(&inner).map_err(|_| jws::Error::NotCompact)?;
        let unverified = jws::Unverified::parse(token)?;
        let (kid, algorithm) = (unverified.kid().cloned(), unverified.algorithm());
        drop(Zeroizing::new(unverified.into_payload()));
        // `cty` of the inner header would say JWT again (RFC 7519 §5.2); read strictly just above.
        let header = token.split_once('.').map_or("", |(header, _)| header);
        let header = base64url::decode(header).map_err(|_| jws::Error::NotCompact)?;
        let cty = json::peek(&header, "cty").map_err(|_| jws::Error::Header)?;
        match cty.as_ref().map(json::Value::as_text) {
            None => {}
            Some(None) => return Err(jws::Error::Header.into()),
            Some(Some(cty))
                if cty.eq_ignore_ascii_case(JWT) || cty.eq_ignore_ascii_case("application/jwt") =>
            {
                return Err(Error::Deeper);
            }
            Some(Some(_)) => {}
        }
        let token = Zeroizing::new(token.to_owned());
        Ok(Opened {
            token,
            kid,
            algorithm,
            recipient: opener.kid().clone(),
        })
    }
}

/// A token that was encrypted to us and is not believed. Shows what is needed to find the signer's key.
pub struct Opened {
    token: Zeroizing<String>,
    kid: Option<KeyId>,
    algorithm: SignatureAlgorithm,
    recipient: KeyId,
}

impl Opened {
    /// The signer's key that the inner header names.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// The algorithm that the inner header names. The key decides; this only helps to find it.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Our key that opened it.
    #[must_use]
    pub fn recipient(&self) -> &KeyId {
        &self.recipient
    }

    /// The inner token, for a reader of its own that verifies it. What that reader decodes is not wiped.
    ///
    /// # Errors
    /// [`jws::Error`]; never, since it was read before.
    pub fn unverified(&self) -> Result<jws::Unverified<'_>, jws::Error> {
        jws::Unverified::parse(&self.token)
    }

    /// Checks the signature with the signer's key.
    ///
    /// # Errors
    /// [`Error::Jws`].
    pub fn verify(&self, key: &VerificationKey) -> Result<Verified, Error> {
        let unverified = self.unverified()?;
        let verdict = unverified
            .verify(key)
            .map(|verified| verified.typ().map(str::to_owned));
        // The reader's copy of the claims becomes ours, or is wiped here.
        let payload = Zeroizing::new(unverified.into_payload());
        Ok(Verified {
            typ: verdict?,
            payload,
        })
    }

    /// Checks the signature with the one key of the signer that the inner header names.
    ///
    /// # Errors
    /// [`Error::KeyUnknown`], [`Error::Jws`].
    pub fn verify_with(&self, keys: &KeySet) -> Result<Verified, Error> {
        let key = keys.find(self.kid(), self.algorithm).ok_or(Error::KeyUnknown)?;
        self.verify(key)
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("recipient", &self.recipient)
            .finish_non_exhaustive()
    }
}

/// Claims that were encrypted to us and whose signature held.
pub struct Verified {
    payload: Zeroizing<Vec<u8>>,
    typ: Option<String>,
}

impl Verified {
    /// What was signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What was signed. It is the caller's to wipe.
    #[must_use]
    pub fn into_payload(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.payload)
    }

    /// `typ` of the inner header.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified")
            .field("typ", &self.typ)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
