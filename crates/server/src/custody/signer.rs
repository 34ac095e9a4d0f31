//! Keys that sign what is no token: the CA's, and those that sign a request for their own certificate.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::PublicKey;
use portcullis_core::jose::jws::TokenSigner;
use portcullis_core::keys::SubjectKey;
use rcgen::PublicKeyData;
use zeroize::Zeroizing;

use super::Error;

/// Makes a P-256 key in its PKCS#8 form.
pub(super) fn generate() -> Result<Zeroizing<Vec<u8>>, Error> {
    let pair =
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| Error::Crypto("make a key"))?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| Error::Crypto("make a key"))?;
    Ok(Zeroizing::new(pkcs8.as_ref().to_vec()))
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

/// A token signing key that signs the request for its own certificate (RFC 2986 §3), wherever it is.
pub(super) struct RequestSigner<'a> {
    signer: &'a dyn TokenSigner,
    public: SubjectKey,
    algorithm: &'static rcgen::SignatureAlgorithm,
}

impl<'a> RequestSigner<'a> {
    /// `None` for an algorithm in which no request can be signed here.
    pub(super) fn new(signer: &'a dyn TokenSigner, key: &PublicKey) -> Option<Self> {
        let algorithm = match signer.algorithm() {
            SignatureAlgorithm::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            SignatureAlgorithm::Es384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            SignatureAlgorithm::Es512 => &rcgen::PKCS_ECDSA_P521_SHA512,
            SignatureAlgorithm::EdDsa => &rcgen::PKCS_ED25519,
            SignatureAlgorithm::Rs256 => &rcgen::PKCS_RSA_SHA256,
            SignatureAlgorithm::Rs384 => &rcgen::PKCS_RSA_SHA384,
            SignatureAlgorithm::Rs512 => &rcgen::PKCS_RSA_SHA512,
            SignatureAlgorithm::MlDsa65 => &rcgen::PKCS_ML_DSA_65,
            SignatureAlgorithm::Ps256 | SignatureAlgorithm::Ps384 | SignatureAlgorithm::Ps512 => return None,
        };
        Some(Self {
            signer,
            public: SubjectKey::new(key)?,
            algorithm,
        })
    }
}

impl PublicKeyData for RequestSigner<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for RequestSigner<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self
            .signer
            .sign(message)
            .map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(match self.signer.algorithm() {
            // A JWS has r ‖ s, X.509 the DER form (RFC 5480 appendix A).
            SignatureAlgorithm::Es256 | SignatureAlgorithm::Es384 | SignatureAlgorithm::Es512 => {
                let (r, s) = signature
                    .split_at_checked(signature.len() / 2)
                    .ok_or(rcgen::Error::RemoteKeyError)?;
                let (r, s) = (integer(r), integer(s));
                sequence(&[r, s].concat())
            }
            SignatureAlgorithm::EdDsa
            | SignatureAlgorithm::Rs256
            | SignatureAlgorithm::Rs384
            | SignatureAlgorithm::Rs512
            | SignatureAlgorithm::Ps256
            | SignatureAlgorithm::Ps384
            | SignatureAlgorithm::Ps512
            | SignatureAlgorithm::MlDsa65 => signature,
        })
    }
}

/// A DER INTEGER of an unsigned big-endian number of at most 66 bytes.
fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    let pad = digits.first().is_none_or(|first| first & 0x80 != 0);
    let length = digits.len() + usize::from(pad);
    let mut out = vec![2, u8::try_from(length).unwrap_or(0)];
    if pad {
        out.push(0);
    }
    out.extend_from_slice(digits);
    out
}

/// A DER SEQUENCE of at most 255 bytes.
fn sequence(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(0);
    let mut out = if length < 0x80 {
        vec![0x30, length]
    } else {
        vec![0x30, 0x81, length]
    };
    out.extend_from_slice(content);
    out
}
