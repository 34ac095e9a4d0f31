//! Public keys as we publish them.

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};

use super::PublicKey;
use crate::ids::KeyId;
use crate::jose::jwe::KeyManagement;
use crate::jose::{SignatureAlgorithm, base64url};

/// What a key is for (RFC 7517 §4.2). Never both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Use {
    /// Signing: `use: sig`.
    Signature,
    /// Encryption to us: `use: enc`.
    Encryption,
}

impl Use {
    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "sig",
            Self::Encryption => "enc",
        }
    }
}

/// The one algorithm of a key, and by it the key's purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyAlgorithm {
    /// The key signs.
    Signature(SignatureAlgorithm),
    /// The key opens what was encrypted to it.
    Encryption(KeyManagement),
}

impl KeyAlgorithm {
    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature(algorithm) => algorithm.name(),
            Self::Encryption(algorithm) => algorithm.name(),
        }
    }

    /// The algorithm of this registered name. No name is of both tables.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        SignatureAlgorithm::from_name(name)
            .map(Self::Signature)
            .or_else(|| KeyManagement::from_name(name).map(Self::Encryption))
    }

    /// What a key of this algorithm is for.
    #[must_use]
    pub const fn purpose(self) -> Use {
        match self {
            Self::Signature(_) => Use::Signature,
            Self::Encryption(_) => Use::Encryption,
        }
    }

    /// What others do with the public half (RFC 7517 §4.3).
    ///
    /// Under RSA-OAEP-256 they encrypt a content key, which RFC 7517 §4.3 calls `wrapKey`. `encrypt` stands beside it,
    /// against a SHOULD NOT of that section: Web Cryptography knows no other name for RSA-OAEP over bytes, and npm `jose`
    /// asks for both (with 6.2, a key with `wrapKey` alone is refused, and one with `encrypt` alone is taken in one of two ways
    /// to hand it over). What the SHOULD NOT guards against, one
    /// key under two algorithms, `alg` excludes.
    ///
    /// For ECDH-ES it is nothing: `deriveKey` and `deriveBits` are done with a private key, here the sender's ephemeral
    /// one. `dir` has no public half.
    #[must_use]
    pub const fn public_operations(self) -> &'static [&'static str] {
        match self {
            Self::Signature(_) => &["verify"],
            Self::Encryption(KeyManagement::RsaOaep256) => &["encrypt", "wrapKey"],
            Self::Encryption(
                KeyManagement::EcdhEs
                | KeyManagement::EcdhEsA128Kw
                | KeyManagement::EcdhEsA256Kw
                | KeyManagement::Dir,
            ) => &[],
        }
    }
}

impl From<SignatureAlgorithm> for KeyAlgorithm {
    fn from(algorithm: SignatureAlgorithm) -> Self {
        Self::Signature(algorithm)
    }
}

impl From<KeyManagement> for KeyAlgorithm {
    fn from(algorithm: KeyManagement) -> Self {
        Self::Encryption(algorithm)
    }
}

/// A public key with all that a JWK Set says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicJwk {
    /// The key.
    pub key: PublicKey,
    /// Its algorithm, and by it what it is for.
    pub algorithm: KeyAlgorithm,
    /// Its name.
    pub kid: KeyId,
    /// Its certificate and those above it, in DER, the key's own first (RFC 7517 §4.7).
    pub chain: Vec<Vec<u8>>,
}

impl PublicJwk {
    /// The JWK (RFC 7517 §4).
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let mut jwk = Map::new();
        for (name, value) in self.key.members() {
            jwk.insert(name.to_owned(), value.into());
        }
        jwk.insert("use".to_owned(), self.algorithm.purpose().name().into());
        jwk.insert("alg".to_owned(), self.algorithm.name().into());
        jwk.insert("kid".to_owned(), self.kid.as_str().into());
        jwk.insert("key_ops".to_owned(), json!(self.algorithm.public_operations()));
        if let Some(own) = self.chain.first() {
            // RFC 7517 §4.7: base64, not base64url.
            let standard = |der: &Vec<u8>| base64_simd::STANDARD.encode_to_string(der);
            jwk.insert("x5c".to_owned(), self.chain.iter().map(standard).collect());
            jwk.insert(
                "x5t#S256".to_owned(),
                base64url::encode(digest::digest(&digest::SHA256, own)).into(),
            );
        }
        jwk
    }
}
