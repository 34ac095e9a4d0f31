//! Keys that sign access tokens and DPoP proofs (RFC 9449), also wrong ones. An encoder of its own: what the product
//! would write and read alike, it would get wrong alike.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::{Failure, Outcome, Request};

/// A P-256 key: an issuer's, or an agent's.
pub struct Key {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// When the crypto library fails.
    pub fn generate() -> Outcome<Self> {
        #[expect(clippy::disallowed_methods, reason = "throw-away keys of a test")]
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| Failure::new("no key could be made"))?;
        Ok(Self { pair, random })
    }

    /// Its public half (RFC 7518 §6.2.1).
    #[must_use]
    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
        json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y)})
    }

    /// Its thumbprint (RFC 7638), as `jkt` has it.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let member = |name: &str| jwk.get(name).cloned().unwrap_or_default();
        let members = format!(
            r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#,
            member("x"),
            member("y")
        );
        text(digest(&SHA256, members.as_bytes()).as_ref())
    }

    /// A compact JWS with `alg: ES256`.
    ///
    /// # Errors
    /// When the crypto library fails.
    pub fn sign(&self, header: &Value, payload: &Value) -> Outcome<String> {
        let mut header = header.clone();
        if let Some(header) = header.as_object_mut() {
            header.insert("alg".to_owned(), "ES256".into());
        }
        let input = format!(
            "{}.{}",
            text(header.to_string().as_bytes()),
            text(payload.to_string().as_bytes())
        );
        let signature = self.pair.sign(&self.random, input.as_bytes());
        let signature = signature.map_err(|_| Failure::new("the key does not sign"))?;
        Ok(format!("{input}.{}", text(signature.as_ref())))
    }

    /// A proof for a POST to `htu` with this token, now. `claims` are added, and take the place of those there are.
    ///
    /// # Errors
    /// When the crypto library fails.
    pub fn proof(&self, htu: &str, token: &str, claims: &Value) -> Outcome<String> {
        let mut jti = [0; 16];
        let random = aws_lc_rs::rand::SecureRandom::fill(&self.random, &mut jti);
        random.map_err(|_| Failure::new("no randomness"))?;
        let ath = text(digest(&SHA256, token.as_bytes()).as_ref());
        let mut payload = json!({"jti": text(&jti), "htm": "POST", "htu": htu, "iat": now(), "ath": ath});
        for (name, value) in claims.as_object().into_iter().flatten() {
            if let Some(payload) = payload.as_object_mut() {
                payload.insert(name.clone(), value.clone());
            }
        }
        self.sign(&json!({"typ": "dpop+jwt", "jwk": self.jwk()}), &payload)
    }
}

impl Request {
    /// `Authorization: DPoP token`, with a proof.
    #[must_use]
    pub fn dpop(self, token: &str, proof: &str) -> Self {
        self.header("authorization", format!("DPoP {token}"))
            .header("dpop", proof)
    }
}

/// The time, in whole seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "what a client reads")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
