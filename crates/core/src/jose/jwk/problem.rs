//! Why a key is refused.

/// Why one key cannot be used for what it was read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyProblem {
    /// Not a strict JSON object with the members its type needs, each of the right JSON type.
    #[error("it is malformed")]
    Malformed,
    /// RFC 7517 §9.2: a public set never carries these.
    #[error("it holds private key material")]
    Private,
    /// A key that should be private has only its public half.
    #[error("it holds no private key material")]
    Public,
    /// A key type, curve or `alg` that is not in our table.
    #[error("its type, curve or algorithm is not supported")]
    Unsupported,
    /// `use`, `key_ops` or `alg` says that it is for something else (RFC 7517 §4.2, §4.3 and §4.4), or they disagree.
    #[error("it is not for verifying signatures")]
    NotForVerifying,
    /// As [`Self::NotForVerifying`], for a private key.
    #[error("it is not for signing")]
    NotForSigning,
    /// As [`Self::NotForVerifying`], for the key of a recipient.
    #[error("it is not for encrypting")]
    NotForEncrypting,
    /// As [`Self::NotForVerifying`], for the private key of a recipient.
    #[error("it is not for decrypting")]
    NotForDecrypting,
    /// `alg` belongs to another key type.
    #[error("its `alg` does not fit its type")]
    AlgorithmMismatch,
    /// Not a point of the curve, a point of small order, or a modulus or exponent out of range.
    #[error("its value is not an acceptable key")]
    Unacceptable,
    /// The private half is not that of the public half.
    #[error("its private and its public half are of two keys")]
    Inconsistent,
    /// Another key of the set has the same `kid`: neither can be told from the other.
    #[error("another key has the same `kid`")]
    DuplicateKid,
}
