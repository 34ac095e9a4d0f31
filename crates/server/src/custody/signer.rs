//! Private keys in memory, as what they can do.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jws::{SigningUnavailable, TokenSigner};
use rcgen::PublicKeyData;
use zeroize::Zeroizing;

use super::Error;

/// Makes a P-256 key: its PKCS#8 form and its public point.
pub(super) fn generate() -> Result<(Zeroizing<Vec<u8>>, PublicPoint), Error> {
    let pair =
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| Error::Crypto("make a key"))?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| Error::Crypto("make a key"))?;
    Ok((
        Zeroizing::new(pkcs8.as_ref().to_vec()),
        PublicPoint(pair.public_key().as_ref().to_vec()),
    ))
}

/// The uncompressed point of a P-256 public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicPoint(Vec<u8>);

impl PublicPoint {
    /// Of this private key; `None` when the bytes are not one.
    pub(super) fn of(pkcs8: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
        Some(Self(pair.public_key().as_ref().to_vec()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PublicKeyData for PublicPoint {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// Signs tokens with ES256.
pub(super) struct Es256Signer {
    kid: KeyId,
    pair: EcdsaKeyPair,
}

impl Es256Signer {
    /// With this private key; `None` when the bytes are not one.
    pub(super) fn new(kid: KeyId, pkcs8: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
        Some(Self { kid, pair })
    }
}

impl TokenSigner for Es256Signer {
    fn kid(&self) -> &KeyId {
        &self.kid
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Es256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
        let signature = self.pair.sign_digest(&digest(&SHA256, message));
        signature
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| SigningUnavailable(format!("the crypto library refused key `{}`", self.kid)))
    }
}

/// Signs certificates with the CA's key.
pub(super) struct CertificateSigner {
    pair: EcdsaKeyPair,
}

impl CertificateSigner {
    /// With this private key; `None` when the bytes are not one.
    pub(super) fn new(pkcs8: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8)
            .ok()
            .map(|pair| Self { pair })
    }
}

impl PublicKeyData for CertificateSigner {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for CertificateSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.pair.sign_digest(&digest(&SHA256, message));
        signature
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| rcgen::Error::RingUnspecified)
    }
}
