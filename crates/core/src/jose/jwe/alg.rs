//! The two tables of JWE algorithms, and the names that are known and not offered.

/// How the content key reaches the recipient (RFC 7518 §4, RFC 8037 §3.2). The key has one; a message only names it.
///
/// There is no RSA1_5 and no RSA-OAEP with SHA-1, and no password based scheme: the first is an oracle in waiting, the
/// second rests on SHA-1, and in the third the message says how long its reader computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyManagement {
    /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
    RsaOaep256,
    /// Key agreement with an ephemeral key; what comes of it is the content key.
    EcdhEs,
    /// Key agreement with an ephemeral key; what comes of it wraps the content key with 128 bits.
    EcdhEsA128Kw,
    /// Key agreement with an ephemeral key; what comes of it wraps the content key with 256 bits.
    EcdhEsA256Kw,
    /// A shared key is the content key. Never for a key pair.
    Dir,
}

impl KeyManagement {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::RsaOaep256,
        Self::EcdhEs,
        Self::EcdhEsA128Kw,
        Self::EcdhEsA256Kw,
        Self::Dir,
    ];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::EcdhEs => "ECDH-ES",
            Self::EcdhEsA128Kw => "ECDH-ES+A128KW",
            Self::EcdhEsA256Kw => "ECDH-ES+A256KW",
            Self::Dir => "dir",
        }
    }

    /// The algorithm of this registered name, compared byte for byte (RFC 7516 §4.1.1: case-sensitive).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether the sender's ephemeral key is part of the message.
    #[must_use]
    pub const fn agrees(self) -> bool {
        matches!(self, Self::EcdhEs | Self::EcdhEsA128Kw | Self::EcdhEsA256Kw)
    }

    /// Whether the message carries a content key of its own, so that it can have several recipients
    /// (RFC 7516 §5.1: with `dir` and `ECDH-ES` there is none).
    #[must_use]
    pub const fn carries_content_key(self) -> bool {
        matches!(self, Self::RsaOaep256 | Self::EcdhEsA128Kw | Self::EcdhEsA256Kw)
    }
}

/// How the content is encrypted (RFC 7518 §5.3).
///
/// There is no CBC with HMAC: two ciphers of one kind are enough, and these two are one primitive of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContentEncryption {
    /// AES-GCM with 128 bits.
    A128Gcm,
    /// AES-GCM with 256 bits.
    A256Gcm,
}

impl ContentEncryption {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::A128Gcm, Self::A256Gcm];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A128Gcm => "A128GCM",
            Self::A256Gcm => "A256GCM",
        }
    }

    /// The algorithm of this registered name, compared byte for byte.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Length of the content key, in bytes.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            Self::A256Gcm => 32,
        }
    }
}

/// Names that are not offered, registered or in use without (the four with ChaCha20-Poly1305), so that a refusal can say
/// which one it met: the name is one of these and never the sender's text.
const KNOWN: [&str; 22] = [
    "RSA1_5",
    "RSA-OAEP",
    "RSA-OAEP-384",
    "RSA-OAEP-512",
    "A128KW",
    "A192KW",
    "A256KW",
    "ECDH-ES+A192KW",
    "A128GCMKW",
    "A192GCMKW",
    "A256GCMKW",
    "PBES2-HS256+A128KW",
    "PBES2-HS384+A192KW",
    "PBES2-HS512+A256KW",
    "A128CBC-HS256",
    "A192CBC-HS384",
    "A256CBC-HS512",
    "A192GCM",
    "C20P",
    "XC20P",
    "C20PKW",
    "XC20PKW",
];

/// The name to complain about.
pub(super) fn not_offered(name: &str) -> &'static str {
    KNOWN
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or("an unknown algorithm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        for algorithm in KeyManagement::ALL {
            assert_eq!(KeyManagement::from_name(algorithm.name()), Some(algorithm));
            assert_eq!(ContentEncryption::from_name(algorithm.name()), None);
        }
        for algorithm in ContentEncryption::ALL {
            assert_eq!(ContentEncryption::from_name(algorithm.name()), Some(algorithm));
            assert_eq!(KeyManagement::from_name(algorithm.name()), None);
        }
        for other in KNOWN
            .into_iter()
            .chain(["", "none", "DIR", "ecdh-es", "A256gcm", "dir\0"])
        {
            assert_eq!(KeyManagement::from_name(other), None, "{other:?}");
            assert_eq!(ContentEncryption::from_name(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_refusal_never_repeats_the_senders_text() {
        assert_eq!(not_offered("RSA1_5"), "RSA1_5");
        assert_eq!(not_offered("hunter2"), "an unknown algorithm");
    }
}
