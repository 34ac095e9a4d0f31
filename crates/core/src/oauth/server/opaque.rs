//! Unguessable texts: codes, refresh tokens, login sessions, client secrets. Only their hash is ever kept.

use std::hash::{Hash, Hasher};

use aws_lc_rs::{constant_time, digest};

use crate::random::{self, RandomUnavailable, SecureRandom};
use crate::secret::Secret;

/// An unguessable text, whose possession is the whole proof.
#[derive(Clone, Debug)]
pub struct Opaque(Secret);

impl Opaque {
    /// A new one, of 256 random bits.
    ///
    /// # Errors
    /// [`RandomUnavailable`].
    pub fn generate(random: &dyn SecureRandom) -> Result<Self, RandomUnavailable> {
        random::token::<32>(random).map(|text| Self(Secret::new(text)))
    }

    /// One that somebody shows us.
    #[must_use]
    pub fn presented(text: &str) -> Self {
        Self(Secret::new(text))
    }

    /// The text, for the one it is given to.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// What is kept of it. A plain SHA-256 will do: nobody finds 256 random bits by trying.
    #[must_use]
    pub fn hash(&self) -> OpaqueHash {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, self.reveal().as_bytes()).as_ref());
        OpaqueHash(bytes)
    }
}

/// The SHA-256 of an [`Opaque`]: finds it, and does not give it away.
#[derive(Clone, Copy, Debug)]
pub struct OpaqueHash([u8; 32]);

impl OpaqueHash {
    /// From kept bytes; `None` unless there are 32.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes to keep.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for OpaqueHash {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for OpaqueHash {}

impl Hash for OpaqueHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_the_text_and_does_not_show_it() {
        let secret = Opaque::presented("abc");
        // FIPS 180-4, example "abc".
        assert_eq!(secret.hash().as_bytes()[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(
            OpaqueHash::from_bytes(secret.hash().as_bytes()),
            Some(secret.hash())
        );
        assert_ne!(Opaque::presented("abd").hash(), secret.hash());
        assert!(!format!("{secret:?}").contains("abc"));
    }

    #[test]
    fn only_32_bytes_are_a_hash() {
        assert_eq!(OpaqueHash::from_bytes(&[0; 31]), None);
        assert_eq!(OpaqueHash::from_bytes(&[0; 33]), None);
    }
}
