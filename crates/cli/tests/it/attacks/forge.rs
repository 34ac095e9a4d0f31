//! Keys and tokens of the attacker, and of the issuers that it attacks. An encoder of its own, which lets everything through
//! that a careful one would not.

use aws_lc_rs::digest::{Algorithm, SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_testkit::{Failure, Outcome};
use serde_json::{Value, json};

/// What comes before the point of a P-256 key (RFC 5480 §2), and before an RSA key of 2048 bits (RFC 3279 §2.3.1).
const P256_SPKI: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const RSA_2048_SPKI: &[u8] =
    b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00";

/// A private key that signs anything.
pub(super) enum Key {
    P256(EcdsaKeyPair, Vec<u8>),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

fn random() -> SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "throw-away keys of a test")]
    SystemRandom::new()
}

fn no_key<E>(_: E) -> Failure {
    Failure::new("no key could be made")
}

impl Key {
    pub(super) fn p256() -> Outcome<Self> {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random()).map_err(no_key)?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).map_err(no_key)?;
        Ok(Self::P256(pair, pkcs8.as_ref().to_vec()))
    }

    pub(super) fn p384() -> Outcome<Self> {
        Ok(Self::P384(
            EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(no_key)?,
        ))
    }

    pub(super) fn ed25519() -> Outcome<Self> {
        Ok(Self::Ed(Ed25519KeyPair::generate().map_err(no_key)?))
    }

    pub(super) fn rsa() -> Outcome<Self> {
        Ok(Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(no_key)?))
    }

    /// The signature that the key's usual algorithm makes.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(pair, _) | Self::P384(pair) => pair
                .sign(&random(), message)
                .map(|signature| signature.as_ref().to_vec()),
            Self::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::Rsa(_) => return self.rs(&RSA_PKCS1_SHA256, message),
        }
        .unwrap_or_default()
    }

    pub(super) fn rs512(&self, message: &[u8]) -> Vec<u8> {
        self.rs(&RSA_PKCS1_SHA512, message)
    }

    fn rs(&self, how: &'static aws_lc_rs::signature::RsaSignatureEncoding, message: &[u8]) -> Vec<u8> {
        let Self::Rsa(pair) = self else { return Vec::new() };
        let mut signature = vec![0; pair.public_modulus_len()];
        let signed = pair.sign(how, &random(), message, &mut signature);
        signed.map(|()| signature).unwrap_or_default()
    }

    /// ES256 as an ASN.1 SEQUENCE.
    pub(super) fn der(&self, message: &[u8]) -> Vec<u8> {
        let Self::P256(_, pkcs8) = self else {
            return Vec::new();
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8);
        let signed = pair.ok().and_then(|pair| pair.sign(&random(), message).ok());
        signed
            .map(|signature| signature.as_ref().to_vec())
            .unwrap_or_default()
    }

    /// The public half as a JWK without a name.
    pub(super) fn jwk(&self) -> Value {
        match self {
            Self::P256(pair, _) => curve("P-256", pair.public_key().as_ref()),
            Self::P384(pair) => curve("P-384", pair.public_key().as_ref()),
            Self::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())}),
            Self::Rsa(pair) => {
                // RFC 8017 §A.1.1: of 2048 bits, the modulus stands between two headers of known length.
                let n = pair.public_key().as_ref().get(9..265).unwrap_or_default();
                json!({"kty": "RSA", "n": text(n), "e": "AQAB"})
            }
        }
    }

    /// As an issuer publishes it.
    pub(super) fn published(&self, kid: &str, algorithm: &str) -> Value {
        with(
            self.jwk(),
            &[
                ("kid", json!(kid)),
                ("use", json!("sig")),
                ("alg", json!(algorithm)),
            ],
        )
    }

    /// Every spelling of the public half that somebody took for the secret of an HMAC.
    pub(super) fn as_secrets(&self, jwk: &Value) -> Vec<Vec<u8>> {
        let spki = self.spki();
        let pem = |label: &str, der: &[u8]| {
            let lines: Vec<_> = base64::engine::general_purpose::STANDARD
                .encode(der)
                .into_bytes()
                .chunks(64)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            format!(
                "-----BEGIN {label}-----\n{}\n-----END {label}-----",
                lines.join("\n")
            )
        };
        let mut secrets = vec![Vec::new(), spki.clone(), jwk.to_string().into_bytes()];
        for (label, der) in [("PUBLIC KEY", Some(spki)), ("RSA PUBLIC KEY", self.pkcs1())] {
            let Some(der) = der else { continue };
            let pem = pem(label, &der);
            secrets.push(format!("{pem}\n").into_bytes());
            secrets.push(pem.into_bytes());
            secrets.push(der);
        }
        secrets
    }

    /// `SubjectPublicKeyInfo`, of a P-256 and an RSA key.
    fn spki(&self) -> Vec<u8> {
        match self {
            Self::P256(pair, _) => [P256_SPKI, pair.public_key().as_ref()].concat(),
            Self::Rsa(pair) => [RSA_2048_SPKI, pair.public_key().as_ref()].concat(),
            Self::P384(_) | Self::Ed(_) => Vec::new(),
        }
    }

    fn pkcs1(&self) -> Option<Vec<u8>> {
        if let Self::Rsa(pair) = self {
            Some(pair.public_key().as_ref().to_vec())
        } else {
            None
        }
    }

    /// A compact JWS of this header and payload, whatever they are.
    pub(super) fn token(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        compact(header, payload, |input| self.sign(input))
    }
}

fn curve(name: &str, point: &[u8]) -> Value {
    let point = point.get(1..).unwrap_or_default();
    let (x, y) = point.split_at(point.len() / 2);
    json!({"kty": "EC", "crv": name, "x": text(x), "y": text(y)})
}

/// The thumbprint of a P-256 key (RFC 7638), of these members in this order.
pub(super) fn thumbprint(jwk: &Value, members: &[&str]) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|name| format!("\"{name}\":{}", jwk.get(name).cloned().unwrap_or_default()))
        .collect();
    text(hash(&SHA256, format!("{{{}}}", members.join(",")).as_bytes()))
}

pub(super) fn hash(how: &'static Algorithm, bytes: &[u8]) -> Vec<u8> {
    digest(how, bytes).as_ref().to_vec()
}

pub(super) fn hs256(secret: &[u8], input: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input)
        .as_ref()
        .to_vec()
}

pub(super) fn compact(
    header: impl AsRef<[u8]>,
    payload: impl AsRef<[u8]>,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let input = format!("{}.{}", text(header), text(payload));
    let signature = sign(input.as_bytes());
    format!("{input}.{}", text(signature))
}

/// base64url without padding.
pub(super) fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The object with these members in place of those there are.
pub(super) fn with(mut object: Value, members: &[(&str, Value)]) -> Value {
    if let Some(object) = object.as_object_mut() {
        for (name, value) in members {
            object.insert((*name).to_owned(), value.clone());
        }
    }
    object
}

/// The object without this member.
pub(super) fn without(mut object: Value, name: &str) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.remove(name);
    }
    object
}

/// The array at a JSON pointer, or an empty one.
pub(super) fn list(value: &Value, pointer: &str) -> Vec<Value> {
    let array = value.pointer(pointer).and_then(Value::as_array);
    array.cloned().unwrap_or_default()
}
