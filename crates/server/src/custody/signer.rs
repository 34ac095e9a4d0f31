//! Keys that sign what is no token: the CA's, and those that sign a request for their own certificate.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::PublicKey;
use portcullis_core::jose::jws::TokenSigner;
use portcullis_core::keys::SubjectKey;
use rcgen::PublicKeyData;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::Error;
use super::backend::der;

const BIT_STRING: u8 = 3;
const SEQUENCE: u8 = 0x30;

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

/// RSASSA-PSS with SHA-256, MGF1 with the same and a salt of its length (RFC 4055 §3.1; RFC 7518 §3.5).
const PSS_SHA256: &[u8] = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\
    \xa2\x03\x02\x01\x20";
const PSS_SHA384: &[u8] = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa2\x03\x02\x01\x30";
const PSS_SHA512: &[u8] = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\
    \xa2\x03\x02\x01\x40";

/// A token signing key that signs the request for its own certificate (RFC 2986 §3), wherever it is.
pub(super) struct RequestSigner<'a> {
    signer: &'a dyn TokenSigner,
    public: SubjectKey,
    algorithm: &'static rcgen::SignatureAlgorithm,
}

impl<'a> RequestSigner<'a> {
    /// `None` for a key that cannot be certified.
    pub(super) fn new(signer: &'a dyn TokenSigner, key: &PublicKey) -> Option<Self> {
        let algorithm = match signer.algorithm() {
            SignatureAlgorithm::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            SignatureAlgorithm::Es384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            SignatureAlgorithm::Es512 => &rcgen::PKCS_ECDSA_P521_SHA512,
            SignatureAlgorithm::EdDsa => &rcgen::PKCS_ED25519,
            // The library has no name for RSASSA-PSS: `named` puts it in.
            SignatureAlgorithm::Rs256
            | SignatureAlgorithm::Ps256
            | SignatureAlgorithm::Ps384
            | SignatureAlgorithm::Ps512 => &rcgen::PKCS_RSA_SHA256,
            SignatureAlgorithm::Rs384 => &rcgen::PKCS_RSA_SHA384,
            SignatureAlgorithm::Rs512 => &rcgen::PKCS_RSA_SHA512,
            SignatureAlgorithm::MlDsa65 => &rcgen::PKCS_ML_DSA_65,
        };
        Some(Self {
            signer,
            public: SubjectKey::new(key)?,
            algorithm,
        })
    }

    /// The finished request with the signature's own algorithm in it, which is not part of what is signed
    /// (RFC 2986 §4.2). `None` when it is no request.
    pub(super) fn named(&self, request: Vec<u8>) -> Option<Vec<u8>> {
        let algorithm = match self.signer.algorithm() {
            SignatureAlgorithm::Ps256 => PSS_SHA256,
            SignatureAlgorithm::Ps384 => PSS_SHA384,
            SignatureAlgorithm::Ps512 => PSS_SHA512,
            SignatureAlgorithm::Es256
            | SignatureAlgorithm::Es384
            | SignatureAlgorithm::Es512
            | SignatureAlgorithm::EdDsa
            | SignatureAlgorithm::Rs256
            | SignatureAlgorithm::Rs384
            | SignatureAlgorithm::Rs512
            | SignatureAlgorithm::MlDsa65 => return Some(request),
        };
        let (_, parsed) = X509CertificationRequest::from_der(&request).ok()?;
        let signature = [&[0], &*parsed.signature_value.data].concat();
        let signature = der::wrap(BIT_STRING, &signature);
        Some(der::wrap(
            SEQUENCE,
            &[parsed.certification_request_info.raw, algorithm, &signature].concat(),
        ))
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
                der::wrap(SEQUENCE, &[r, s].concat())
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
