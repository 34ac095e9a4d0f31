//! Keys for tests.

use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;
use serde_json::Value;

use super::{PublicJwk, SigningKey};
use crate::ids::KeyId;
use crate::jose::SignatureAlgorithm::{self, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
use crate::jose::jws::TokenSigner as _;

/// A new RSA key in PKCS#8, of 2048 bits: to make 3072 takes half a second.
pub(crate) fn rsa_pkcs8() -> Vec<u8> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    pair.as_der().unwrap().as_ref().to_vec()
}

/// A new key; all RSA keys of one process are the same one.
pub(crate) fn signing_key(kid: &str, algorithm: SignatureAlgorithm) -> SigningKey {
    static RSA: OnceLock<Vec<u8>> = OnceLock::new();
    let kid = KeyId::parse(kid).unwrap();
    if matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512) {
        SigningKey::from_pkcs8(kid, algorithm, RSA.get_or_init(rsa_pkcs8)).unwrap()
    } else {
        SigningKey::generate(kid, algorithm).unwrap().0
    }
}

/// As we would publish it.
pub(crate) fn public_jwk(key: &SigningKey) -> Value {
    let jwk = PublicJwk {
        key: key.public().clone(),
        algorithm: key.algorithm().into(),
        kid: key.kid().clone(),
        chain: Vec::new(),
    };
    jwk.to_json().into()
}
