//! JWS (RFC 7515): the compact serialisation (§3.1) for tokens, the JSON serialisations (§7.2) for what several keys sign.
//!
//! Takes: texts and keys. Gives: payloads whose signature held, signed texts. May use: the rest of `jose`.
//! Never: shows a payload whose signature was not checked, reads one serialisation where the other is expected.
//!
//! A token is read into [`Unverified`], which shows its header alone; [`Unverified::verify`] gives [`Verified`], which
//! shows the payload. [`json::UnverifiedJson`] and [`json::VerifiedJson`] are the same for the JSON serialisations. Only
//! [`own_key`] reads a token that brings its own key.

mod compact;
mod header;
pub mod json;
pub mod own_key;
mod sign;

pub use compact::{Unverified, Verified};
pub use sign::{SigningUnavailable, TokenSigner, sign};

use super::base64url;
use super::jwk::{ML_DSA_65_SIGNATURE, SignatureHolds, VerificationKey};
use crate::fault::Fault;
use crate::limits;

/// Largest protected header, in bytes of its JSON.
pub const HEADER_BYTES: usize = 1024;
/// Largest payload, in bytes. What comes in an `Authorization` header is bounded by far less.
pub const PAYLOAD_BYTES: usize = limits::BODY_BYTES;
/// Largest signature, in bytes: ML-DSA-65.
pub const SIGNATURE_BYTES: usize = ML_DSA_65_SIGNATURE;

/// Largest signature that is decoded without an allocation: RSA of 8192 bits.
const SMALL_SIGNATURE_BYTES: usize = 1024;

/// A JWS that cannot be read, or whose signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not three non-empty base64url parts.
    #[error("not a compact JWS")]
    NotCompact,
    /// The payload is larger than [`PAYLOAD_BYTES`].
    #[error("the payload is larger than {PAYLOAD_BYTES} bytes")]
    TooLarge,
    /// The header is not a strict JSON object, too large, or a member of it has the wrong type.
    #[error("the header is malformed")]
    Header,
    /// `alg` is absent or not in our table.
    #[error("the algorithm is not supported")]
    Algorithm,
    /// The header has a parameter that no token may bring.
    #[error("the header parameter `{0}` is refused")]
    Refused(&'static str),
    /// The key is of another algorithm than the header names.
    #[error("the key is of another algorithm")]
    OtherAlgorithm,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature,
}

impl Error {
    /// Whose fault it is: of whoever sent the token.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NotCompact
            | Self::TooLarge
            | Self::Header
            | Self::Algorithm
            | Self::Refused(_)
            | Self::OtherAlgorithm
            | Self::Signature => Fault::Caller,
        }
    }
}

/// Checks one signature in its base64url text.
fn check(signing_input: &str, signature: &str, key: &VerificationKey) -> Result<SignatureHolds, Error> {
    let mut small = [0; SMALL_SIGNATURE_BYTES];
    let large;
    let signature = if key.signature_bytes() <= SMALL_SIGNATURE_BYTES {
        base64url::decode_into(signature, &mut small).map_err(|_| Error::Signature)?
    } else {
        // Not more is decoded than a signature can have.
        if base64url::exceeds(signature, SIGNATURE_BYTES) {
            return Err(Error::Signature);
        }
        large = base64url::decode(signature).map_err(|_| Error::Signature)?;
        large.as_slice()
    };
    key.verify(signing_input.as_bytes(), signature)
        .map_err(|_| Error::Signature)
}

#[cfg(test)]
mod tests;
