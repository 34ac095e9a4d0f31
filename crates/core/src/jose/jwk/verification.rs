//! One public key that verifies signatures.

use std::fmt;

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ParsedPublicKey};

use super::members::{self, Intent, text};
use super::public::bytes;
use super::{KeyAlgorithm, KeyProblem, PublicKey, Thumbprint};
use crate::ids::KeyId;
use crate::jose::SignatureAlgorithm;
use crate::jose::json::Object;

/// A public key that verifies, parsed once. Of one algorithm, for `sig` only.
pub struct VerificationKey {
    kid: Option<KeyId>,
    algorithm: SignatureAlgorithm,
    thumbprint: Thumbprint,
    key: ParsedPublicKey,
    signature_bytes: usize,
}

impl VerificationKey {
    /// Reads one public JWK (RFC 7517 §4). Without `alg` the key is for [`PublicKey::signature_algorithm`].
    ///
    /// # Errors
    /// [`KeyProblem`].
    pub fn parse(jwk: &[u8]) -> Result<Self, KeyProblem> {
        Self::from_object(&Object::parse(jwk).map_err(|_| KeyProblem::Malformed)?)
    }

    pub(super) fn from_object(jwk: &Object<'_>) -> Result<Self, KeyProblem> {
        if members::holds_private_material(jwk) {
            return Err(KeyProblem::Private);
        }
        let kid = members::kid(jwk)?;
        Intent::VERIFY.check(jwk)?;
        let named = algorithm(jwk, KeyProblem::NotForVerifying)?;
        let public = PublicKey::from_jwk(jwk)?;
        let algorithm = named
            .or_else(|| public.signature_algorithm())
            .ok_or(KeyProblem::Unsupported)?;
        Self::from_public(&public, algorithm, kid)
    }

    /// As [`Self::parse`], for this algorithm: of a key that came with a message and is for no other.
    ///
    /// # Errors
    /// [`KeyProblem`]; [`KeyProblem::AlgorithmMismatch`] when its `alg` or its type is for another algorithm.
    pub(in crate::jose) fn for_algorithm(
        jwk: &Object<'_>,
        algorithm: SignatureAlgorithm,
    ) -> Result<Self, KeyProblem> {
        let public = PublicKey::from_jwk(jwk)?;
        Intent::VERIFY.check(jwk)?;
        let named = self::algorithm(jwk, KeyProblem::NotForVerifying)?;
        if named.is_some_and(|named| named != algorithm) {
            return Err(KeyProblem::AlgorithmMismatch);
        }
        Self::from_public(&public, algorithm, members::kid(jwk)?)
    }

    /// From a public key and the one algorithm it is for.
    ///
    /// # Errors
    /// [`KeyProblem::AlgorithmMismatch`] when the key cannot be of that algorithm.
    pub fn from_public(
        public: &PublicKey,
        algorithm: SignatureAlgorithm,
        kid: Option<KeyId>,
    ) -> Result<Self, KeyProblem> {
        if !public.fits(algorithm) {
            return Err(KeyProblem::AlgorithmMismatch);
        }
        let (key, signature_bytes) = match public {
            PublicKey::Ec { curve, .. } => {
                let point = public.uncompressed().unwrap_or_default();
                // RFC 7518 §3.4: r and s, each as long as the group's order, which is as long as the field.
                (parsed(elliptic(algorithm)?, &point)?, 2 * curve.bytes())
            }
            PublicKey::Okp { x, .. } => (parsed(&signature::ED25519, &bytes(x))?, 64),
            PublicKey::Akp { public, .. } => (
                parsed(&signature::ML_DSA_65, &bytes(public))?,
                ML_DSA_65_SIGNATURE,
            ),
            PublicKey::Rsa { n, e } => {
                let n = bytes(n);
                // RFC 8017 §8.1.2 and §8.2.2: as long as the modulus.
                let length = n.len();
                let key = PublicKeyComponents { n, e: bytes(e) }
                    .to_parsed_public_key(rsa(algorithm)?)
                    .map_err(|_| KeyProblem::Unacceptable)?;
                (key, length)
            }
        };
        Ok(Self {
            kid,
            algorithm,
            thumbprint: public.thumbprint(),
            key,
            signature_bytes,
        })
    }

    /// Its `kid`, if it has one.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Its RFC 7638 thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// How long every signature of it is, in bytes.
    #[must_use]
    pub fn signature_bytes(&self) -> usize {
        self.signature_bytes
    }

    /// Checks that `signature`, in the JWS form of the algorithm, is of `message` under this key.
    ///
    /// # Errors
    /// [`SignatureInvalid`], for whatever reason.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<SignatureHolds, SignatureInvalid> {
        if signature.len() != self.signature_bytes {
            return Err(SignatureInvalid);
        }
        self.key
            .verify_sig(message, signature)
            .map(|()| SignatureHolds(()))
            .map_err(|_| SignatureInvalid)
    }
}

/// The crypto library checked a signature and it held. Made by [`VerificationKey::verify`] and nowhere else.
#[derive(Debug)]
pub struct SignatureHolds(());

/// The signature is not of this message under this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct SignatureInvalid;

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

/// Length of an ML-DSA-65 signature (FIPS 204, table 2).
pub(crate) const ML_DSA_65_SIGNATURE: usize = 3309;

/// `alg` of a JWK that is meant for signatures (RFC 7517 §4.4).
pub(super) fn algorithm(
    jwk: &Object<'_>,
    for_encryption: KeyProblem,
) -> Result<Option<SignatureAlgorithm>, KeyProblem> {
    let Some(name) = text(jwk, "alg")? else {
        return Ok(None);
    };
    match KeyAlgorithm::from_name(name) {
        Some(KeyAlgorithm::Signature(algorithm)) => Ok(Some(algorithm)),
        Some(KeyAlgorithm::Encryption(_)) => Err(for_encryption),
        None => Err(KeyProblem::Unsupported),
    }
}

fn parsed(
    algorithm: &'static dyn signature::VerificationAlgorithm,
    key: &[u8],
) -> Result<ParsedPublicKey, KeyProblem> {
    ParsedPublicKey::new(algorithm, key).map_err(|_| KeyProblem::Unacceptable)
}

fn elliptic(
    algorithm: SignatureAlgorithm,
) -> Result<&'static signature::EcdsaVerificationAlgorithm, KeyProblem> {
    use SignatureAlgorithm::{EdDsa, Es256, Es384, Es512, MlDsa65, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    match algorithm {
        Es256 => Ok(&signature::ECDSA_P256_SHA256_FIXED),
        Es384 => Ok(&signature::ECDSA_P384_SHA384_FIXED),
        Es512 => Ok(&signature::ECDSA_P521_SHA512_FIXED),
        EdDsa | MlDsa65 | Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => Err(KeyProblem::AlgorithmMismatch),
    }
}

fn rsa(algorithm: SignatureAlgorithm) -> Result<&'static signature::RsaParameters, KeyProblem> {
    use SignatureAlgorithm::{EdDsa, Es256, Es384, Es512, MlDsa65, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    match algorithm {
        Rs256 => Ok(&signature::RSA_PKCS1_2048_8192_SHA256),
        Rs384 => Ok(&signature::RSA_PKCS1_2048_8192_SHA384),
        Rs512 => Ok(&signature::RSA_PKCS1_2048_8192_SHA512),
        Ps256 => Ok(&signature::RSA_PSS_2048_8192_SHA256),
        Ps384 => Ok(&signature::RSA_PSS_2048_8192_SHA384),
        Ps512 => Ok(&signature::RSA_PSS_2048_8192_SHA512),
        EdDsa | MlDsa65 | Es256 | Es384 | Es512 => Err(KeyProblem::AlgorithmMismatch),
    }
}
