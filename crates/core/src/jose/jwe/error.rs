//! What can go wrong, and whose fault it is.

use crate::fault::Fault;
use crate::jose::jwk::KeyProblem;
use crate::random::RandomUnavailable;

/// A message that cannot be made, read or opened.
///
/// Everything that depends on a private key is one case, [`Error::Opening`]: a padding that does not hold, a content key
/// that does not unwrap and a wrong tag are the same to whoever sent the message (RFC 7516 §11.5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not five base64url parts.
    #[error("not a compact JWE: it needs five base64url parts without padding")]
    NotCompact,
    /// Not one of the two JSON forms of RFC 7516 §7.2.
    #[error("not a JWE in JSON: {0}")]
    NotJson(&'static str),
    /// Longer than the reader allows.
    #[error("the message is longer than {limit} bytes; send less, or use a reader made for large payloads")]
    TooLarge {
        /// What is allowed, in bytes of the text.
        limit: usize,
    },
    /// More recipients than [`RECIPIENTS`](super::RECIPIENTS), or none.
    #[error("a message has 1 to {limit} recipients", limit = super::RECIPIENTS)]
    Recipients,
    /// The header is not a strict JSON object, too large, or a member of it is missing or has the wrong type.
    #[error("the header is malformed: {0}")]
    Header(&'static str),
    /// `alg` or `enc` names an algorithm that is not in our tables.
    #[error("the algorithm is not offered: {0}")]
    NotOffered(&'static str),
    /// The header has a parameter that no message may bring.
    #[error("the header parameter `{0}` is refused")]
    Refused(&'static str),
    /// A parameter is in two of the headers (RFC 7516 §7.2.1).
    #[error("a header parameter is in two of the headers")]
    Twice,
    /// `epk` is missing, is not a public key of the recipient's curve, or is there where no key is agreed on.
    #[error("the ephemeral key is not one for this key")]
    EphemeralKey,
    /// The encrypted key, the initialization vector or the tag has a length that the algorithms do not have.
    #[error("the {0} has the wrong length")]
    Length(&'static str),
    /// The key is of another algorithm or type than the header names.
    #[error("the key is of another algorithm than the message")]
    OtherAlgorithm,
    /// It cannot be opened with this key: it is for another, or was changed on its way.
    #[error("the message cannot be opened with this key: it is for another key, or it was changed")]
    Opening,
    /// The private key cannot be used now.
    #[error("the decryption key cannot be used: {0}")]
    Unavailable(String),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
    /// The crypto library refused what should not fail.
    #[error("the crypto library failed to {0}; please report this")]
    Primitive(&'static str),
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unavailable(_) | Self::Random(_) => Fault::Operator,
            Self::Primitive(_) => Fault::Bug,
            Self::NotCompact
            | Self::NotJson(_)
            | Self::TooLarge { .. }
            | Self::Recipients
            | Self::Header(_)
            | Self::NotOffered(_)
            | Self::Refused(_)
            | Self::Twice
            | Self::EphemeralKey
            | Self::Length(_)
            | Self::OtherAlgorithm
            | Self::Opening => Fault::Caller,
        }
    }
}

/// Why a JWK Set gave no key to encrypt to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRecipient {
    /// Not a JWK Set that can be used at all.
    #[error("not a usable JWK Set: {0}")]
    NotAKeySet(String),
    /// The set holds private key material (RFC 7517 §9.2).
    #[error("the key set holds private key material: its owner has to replace these keys")]
    Private,
    /// No key of it is for encryption and of the kind that is wanted.
    #[error("the key set has no key with `use` `enc` of the wanted name and algorithm")]
    Missing,
    /// Several are, and nothing says which.
    #[error("the key set has several keys with `use` `enc`: name the `kid` or the algorithm")]
    Several,
    /// The one that was asked for cannot be used.
    #[error("the recipient's key cannot be used: {0}")]
    Key(KeyProblem),
}
