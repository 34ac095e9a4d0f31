//! Public keys of our own as the certificate library takes them.

use rcgen::{KeyUsagePurpose, PublicKeyData, SignatureAlgorithm};
use x509_parser::prelude::FromDer as _;

use crate::jose::jwk::{EcCurve, OkpCurve, PublicKey, Use};

/// A public key to be certified: EC, Ed25519, RSA or ML-DSA-65. The library has no name for X25519, so that a key of
/// that kind is published without a certificate.
#[derive(Clone, Debug)]
pub struct SubjectKey {
    algorithm: &'static SignatureAlgorithm,
    bytes: Vec<u8>,
}

impl SubjectKey {
    /// Of this key, if it can be certified.
    #[must_use]
    pub fn new(key: &PublicKey) -> Option<Self> {
        let algorithm = match key {
            PublicKey::Ec { curve, .. } => match curve {
                EcCurve::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
                EcCurve::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
                EcCurve::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            },
            PublicKey::Okp { curve, .. } => match curve {
                OkpCurve::Ed25519 => &rcgen::PKCS_ED25519,
                OkpCurve::X25519 => return None,
            },
            PublicKey::Rsa { .. } => &rcgen::PKCS_RSA_SHA256,
            PublicKey::Akp { .. } => &rcgen::PKCS_ML_DSA_65,
        };
        let spki = key.to_spki();
        let (_, parsed) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&spki).ok()?;
        Some(Self {
            algorithm,
            bytes: parsed.subject_public_key.data.to_vec(),
        })
    }
}

impl PublicKeyData for SubjectKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// What a key of this kind is certified for; none if it cannot be used so. RFC 5280 §4.2.1.3: a key that signs tokens
/// signs nothing else; one that others encrypt to agrees on secrets, or as an RSA key has them encrypted to it.
pub(super) fn usages(algorithm: &'static SignatureAlgorithm, purpose: Use) -> Option<Vec<KeyUsagePurpose>> {
    let is = |one_of: &[&'static SignatureAlgorithm]| one_of.contains(&algorithm);
    let rsa = is(&[
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_RSA_SHA384,
        &rcgen::PKCS_RSA_SHA512,
    ]);
    let ec = is(&[
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA256,
        &rcgen::PKCS_ECDSA_P521_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
    ]);
    match purpose {
        Use::Signature => Some(vec![KeyUsagePurpose::DigitalSignature]),
        Use::Encryption if rsa => Some(vec![KeyUsagePurpose::KeyEncipherment]),
        Use::Encryption if ec => Some(vec![KeyUsagePurpose::KeyAgreement]),
        Use::Encryption => None,
    }
}
