//! The two ways a secret or a large value enters a record: hashed, or digested under a key.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::ids::TokenId;

/// Names a token without being one: the first 128 bits of the SHA-256 of its `jti`, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TokenHash(String);

impl TokenHash {
    /// The hash of a token's identifier.
    #[must_use]
    pub fn of(id: &TokenId) -> Self {
        Self(hex(digest::digest(&digest::SHA256, id.as_str().as_bytes())
            .as_ref()
            .get(..16)
            .unwrap_or_default()))
    }

    /// A hash as it was written: 32 lower-case hexadecimal characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 32 && text.bytes().all(is_hex)).then(|| Self(text.to_owned()))
    }

    /// 32 hexadecimal characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a token hash"))
    }
}

/// Tells equal values apart from different ones, and nothing else to whoever lacks the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct KeyedDigest(String);

impl KeyedDigest {
    /// 64 hexadecimal characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key of one log's [`KeyedDigest`]s. Without it, short arguments could be found by trying.
pub struct DigestKey(Zeroizing<[u8; 32]>);

impl DigestKey {
    /// Takes 32 random bytes, kept as long as the log is.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// HMAC-SHA-256 (RFC 2104) of the bytes.
    #[must_use]
    pub fn digest(&self, bytes: &[u8]) -> KeyedDigest {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice());
        KeyedDigest(hex(hmac::sign(&key, bytes).as_ref()))
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(hidden)")
    }
}

/// Lower-case hexadecimal text of the bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('?'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_hash_is_half_a_sha_256() {
        // FIPS 180-4 example "abc".
        assert_eq!(
            TokenHash::of(&TokenId::parse("abc").unwrap()).as_str(),
            "ba7816bf8f01cfea414140de5dae2223"
        );
    }

    #[test]
    fn digests_follow_rfc_4231_and_depend_on_the_key() {
        // RFC 4231 §4.3: a short key is padded with zeros, so it is also this 32-byte key.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            DigestKey::new(key)
                .digest(b"what do ya want for nothing?")
                .as_str(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_ne!(
            DigestKey::new([0; 32]).digest(b"x"),
            DigestKey::new([1; 32]).digest(b"x")
        );
        assert_eq!(format!("{:?}", DigestKey::new(key)), "DigestKey(hidden)");
    }
}
