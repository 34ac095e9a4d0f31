//! Public keys as we publish them.

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};

use super::Thumbprint;
use crate::ids::KeyId;
use crate::jose::base64url;

/// What a key is for (RFC 7517 §4.2). Never both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Use {
    /// Signing: `use: sig`, `alg: ES256`, `key_ops: ["verify"]`.
    Signature,
    /// Encryption to us: `use: enc`, `alg: ECDH-ES`, `key_ops: []`.
    Encryption,
}

/// A public key of ours: a point of P-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    x: String,
    y: String,
}

impl PublicKey {
    /// From the uncompressed form of a point (SEC 1 §2.3.3): `04 ‖ x ‖ y`.
    #[must_use]
    pub fn from_uncompressed(point: &[u8]) -> Option<Self> {
        let (&form, coordinates) = point.split_first()?;
        if form != 4 || coordinates.len() != 64 {
            return None;
        }
        let (x, y) = coordinates.split_at_checked(32)?;
        Some(Self {
            x: base64url::encode(x),
            y: base64url::encode(y),
        })
    }

    /// The RFC 7638 thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::over(&[("crv", "P-256"), ("kty", "EC"), ("x", &self.x), ("y", &self.y)])
    }
}

/// A public key with all that a JWK Set says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicJwk {
    /// The key.
    pub key: PublicKey,
    /// What it is for.
    pub purpose: Use,
    /// Its name.
    pub kid: KeyId,
    /// Its certificate and those above it, in DER, the key's own first (RFC 7517 §4.7).
    pub chain: Vec<Vec<u8>>,
}

impl PublicJwk {
    /// The JWK (RFC 7517 §4).
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        use base64::Engine as _;
        // RFC 7518 §4.6: the public key of an ECDH-ES recipient takes part in no operation of RFC 7517 §4.3 by itself.
        let (name, algorithm, operations) = match self.purpose {
            Use::Signature => ("sig", "ES256", json!(["verify"])),
            Use::Encryption => ("enc", "ECDH-ES", json!([])),
        };
        let mut jwk = Map::new();
        jwk.insert("kty".to_owned(), "EC".into());
        jwk.insert("use".to_owned(), name.into());
        jwk.insert("alg".to_owned(), algorithm.into());
        jwk.insert("kid".to_owned(), self.kid.as_str().into());
        jwk.insert("key_ops".to_owned(), operations);
        jwk.insert("crv".to_owned(), "P-256".into());
        jwk.insert("x".to_owned(), self.key.x.clone().into());
        jwk.insert("y".to_owned(), self.key.y.clone().into());
        if let Some(own) = self.chain.first() {
            // RFC 7517 §4.7: base64, not base64url.
            let standard = |der: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(der);
            jwk.insert("x5c".to_owned(), self.chain.iter().map(standard).collect());
            jwk.insert(
                "x5t#S256".to_owned(),
                base64url::encode(digest::digest(&digest::SHA256, own)).into(),
            );
        }
        jwk
    }
}
