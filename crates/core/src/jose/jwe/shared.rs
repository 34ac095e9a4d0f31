//! A key that sender and recipient share: for `dir` alone.

use zeroize::Zeroizing;

use super::content::ContentKey;
use super::header::Header;
use super::{ContentEncryption, Error, KeyManagement};
use crate::ids::KeyId;
use crate::jose::json::Object;
use crate::jose::jwk::{KeyProblem, Symmetric};
use crate::random::SecureRandom;

/// A key that both sides hold and that encrypts the content itself (RFC 7518 §4.5). It is not a key pair and does
/// nothing of what one does.
///
/// Every message under it draws a random IV of 96 bits, so it is good for 2^32 messages (NIST SP 800-38D §8.3).
pub struct SharedKey {
    kid: Option<KeyId>,
    encryption: ContentEncryption,
    key: ContentKey,
}

impl SharedKey {
    /// From its bytes. `None` when they are not as many as `encryption` takes.
    #[must_use]
    pub fn from_bytes(kid: Option<KeyId>, encryption: ContentEncryption, key: &[u8]) -> Option<Self> {
        (key.len() == encryption.key_bytes()).then(|| Self {
            kid,
            encryption,
            key: Zeroizing::new(key.to_vec()),
        })
    }

    /// Reads a JWK of type `oct` (RFC 7518 §6.4): its length says with which cipher it is used, and `alg`, where it is
    /// there, is `dir` or the name of that cipher.
    ///
    /// # Errors
    /// [`KeyProblem`].
    pub fn parse(jwk: &[u8]) -> Result<Self, KeyProblem> {
        let jwk = Object::parse(jwk).map_err(|_| KeyProblem::Malformed)?;
        let Symmetric { kid, algorithm, key } = Symmetric::read(&jwk)?;
        let encryption = ContentEncryption::ALL
            .into_iter()
            .find(|encryption| encryption.key_bytes() == key.len())
            .ok_or(KeyProblem::Unacceptable)?;
        match algorithm {
            None => {}
            Some(name) if name == KeyManagement::Dir.name() || name == encryption.name() => {}
            Some(_) => return Err(KeyProblem::AlgorithmMismatch),
        }
        Ok(Self { kid, encryption, key })
    }

    /// A new one.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate(
        kid: Option<KeyId>,
        encryption: ContentEncryption,
        random: &dyn SecureRandom,
    ) -> Result<Self, Error> {
        let key = super::content::fresh(encryption, random)?;
        Ok(Self { kid, encryption, key })
    }

    /// Its name.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// The one cipher it is for.
    #[must_use]
    pub fn encryption(&self) -> ContentEncryption {
        self.encryption
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.key
    }

    /// The content key of a message with this header, which is this key.
    pub(super) fn content_key(&self, header: &Header, encrypted_key: &[u8]) -> Result<&[u8], Error> {
        if header.algorithm != KeyManagement::Dir || header.encryption != self.encryption {
            return Err(Error::OtherAlgorithm);
        }
        // RFC 7518 §4.5.
        if !encrypted_key.is_empty() {
            return Err(Error::Length("encrypted key"));
        }
        Ok(&self.key)
    }
}

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedKey")
            .field("kid", &self.kid)
            .field("encryption", &self.encryption)
            .finish_non_exhaustive()
    }
}
