//! Private encryption keys held elsewhere.

use zeroize::Zeroizing;

use super::KeyManagement;
use crate::ids::KeyId;
use crate::jose::jwk::PublicKey;

/// A private encryption key held elsewhere (custody): the purpose is in the type, the bytes never come out.
pub trait PayloadOpener: Send + Sync {
    /// The `kid` that senders name it by.
    fn kid(&self) -> &KeyId;
    /// Its public half.
    fn key(&self) -> &PublicKey;
    /// The one algorithm it was made for; `None` for a key that may be used with each that its type has. A message that
    /// names another is refused before the private key is touched.
    fn algorithm(&self) -> Option<KeyManagement> {
        None
    }
    /// Does the one step that needs the private key.
    ///
    /// # Errors
    /// [`OpeningFailed::Invalid`] when the input is not one this key can answer (a point that is not on its curve or
    /// gives an all-zero result, a padding that does not hold), [`OpeningFailed::Unavailable`] when the key cannot be
    /// used now. A caller that opens a message must not tell anybody the first from a wrong tag.
    fn recover(&self, wrapped: Wrapped<'_>) -> Result<Zeroizing<Vec<u8>>, OpeningFailed>;
}

/// The one step that needs the private key.
#[derive(Clone, Copy)]
pub enum Wrapped<'a> {
    /// Key agreement: the raw shared secret Z is asked for (RFC 7518 §4.6), that is the x coordinate for P-256 and
    /// P-384, and the output of X25519.
    Agreed {
        /// The sender's ephemeral key, on the curve of ours.
        peer: &'a PublicKey,
    },
    /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256: the content key is asked for (RFC 7518 §4.3).
    RsaOaep256 {
        /// As long as the modulus.
        encrypted_key: &'a [u8],
    },
}

/// Why a private key gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningFailed {
    /// The input is not one that this key can answer.
    #[error("the message was not made for this key")]
    Invalid,
    /// The key cannot be used now; the text is for the operator.
    #[error("the decryption key cannot be used: {0}")]
    Unavailable(String),
}
