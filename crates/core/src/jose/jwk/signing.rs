//! One private key that signs, in memory.

use std::fmt;

use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, ML_DSA_65_SIGNING, PqdsaKeyPair,
    RsaKeyPair, RsaSignatureEncoding,
};
use zeroize::Zeroizing;

use super::members::{self, Intent, private_of};
use super::public::bytes;
use super::verification::{self, ML_DSA_65_SIGNATURE};
use super::{KeyProblem, PublicKey};
use crate::ids::KeyId;
use crate::jose::SignatureAlgorithm::{
    self, EdDsa, Es256, Es384, Es512, MlDsa65, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512,
};
use crate::jose::json::Object;
use crate::jose::jws::{SigningUnavailable, TokenSigner};

/// A private key that signs, parsed once. Of one algorithm, for `sig` only. The crypto library overwrites the memory
/// of the key when this is dropped.
///
/// It makes its keys, its ECDSA nonces and its PSS salts from the crypto library's own randomness, the one source in
/// this crate that is not an argument: the library offers no other way, and a nonce that a caller could choose would
/// give the key away.
pub struct SigningKey {
    kid: KeyId,
    public: PublicKey,
    algorithm: SignatureAlgorithm,
    pair: Pair,
}

/// As large as the library's own types are; there are few of them.
enum Pair {
    Ec(EcdsaKeyPair, &'static digest::Algorithm),
    Ed(Ed25519KeyPair),
    Rsa(
        RsaKeyPair,
        &'static RsaSignatureEncoding,
        &'static digest::Algorithm,
    ),
    MlDsa(PqdsaKeyPair),
}

/// The crypto library could not make a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the crypto library could not make a key")]
pub struct NotGenerated;

impl SigningKey {
    /// Makes a key, and shows its PKCS#8 form this once, for custody to encrypt. RSA gets 3072 bits (128 bits of
    /// strength, which the others have or exceed).
    ///
    /// # Errors
    /// [`NotGenerated`] when the crypto library fails.
    pub fn generate(
        kid: KeyId,
        algorithm: SignatureAlgorithm,
    ) -> Result<(Self, Zeroizing<Vec<u8>>), NotGenerated> {
        let pair = match algorithm {
            Es256 | Es384 | Es512 => elliptic(algorithm).and_then(|(parameters, digest)| {
                let pair = EcdsaKeyPair::generate(parameters).ok()?;
                Some(Pair::Ec(pair, digest))
            }),
            EdDsa => Ed25519KeyPair::generate().ok().map(Pair::Ed),
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => rsa(algorithm).and_then(|(encoding, digest)| {
                let pair = RsaKeyPair::generate(KeySize::Rsa3072).ok()?;
                Some(Pair::Rsa(pair, encoding, digest))
            }),
            MlDsa65 => PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).ok().map(Pair::MlDsa),
        };
        let key = pair
            .and_then(|pair| Self::new(Some(kid), algorithm, pair).ok())
            .ok_or(NotGenerated)?;
        let pkcs8 = key.dangerous_to_pkcs8()?;
        Ok((key, pkcs8))
    }

    /// From a private key in PKCS#8 (RFC 5208, RFC 8410 §7, RFC 9881 §6), unencrypted.
    ///
    /// # Errors
    /// [`KeyProblem::Unacceptable`] for bytes that are not such a key of this algorithm, and for RSA under 2048 bits.
    pub fn from_pkcs8(kid: KeyId, algorithm: SignatureAlgorithm, pkcs8: &[u8]) -> Result<Self, KeyProblem> {
        let pair = match algorithm {
            Es256 | Es384 | Es512 => elliptic(algorithm).and_then(|(parameters, digest)| {
                let pair = EcdsaKeyPair::from_pkcs8(parameters, pkcs8).ok()?;
                Some(Pair::Ec(pair, digest))
            }),
            EdDsa => Ed25519KeyPair::from_pkcs8(pkcs8).ok().map(Pair::Ed),
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => rsa(algorithm).and_then(|(encoding, digest)| {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).ok()?;
                Some(Pair::Rsa(pair, encoding, digest))
            }),
            MlDsa65 => PqdsaKeyPair::from_pkcs8(&ML_DSA_65_SIGNING, pkcs8)
                .ok()
                .map(Pair::MlDsa),
        };
        Self::new(Some(kid), algorithm, pair.ok_or(KeyProblem::Unacceptable)?)
    }

    /// From a private JWK (RFC 7517 §4). Without `alg` the key is for [`PublicKey::signature_algorithm`]; without `kid`
    /// its name is its thumbprint.
    ///
    /// # Errors
    /// [`KeyProblem`]: malformed, public, for another purpose, or two halves of two keys.
    pub fn from_jwk(jwk: &[u8]) -> Result<Self, KeyProblem> {
        let jwk = Object::parse(jwk).map_err(|_| KeyProblem::Malformed)?;
        let kid = members::kid(&jwk)?;
        Intent::SIGN.check(&jwk)?;
        let named = verification::algorithm(&jwk, KeyProblem::NotForSigning)?;
        let public = PublicKey::public_half(&jwk)?;
        let algorithm = named
            .or_else(|| public.signature_algorithm())
            .ok_or(KeyProblem::Unsupported)?;
        if !public.fits(algorithm) {
            return Err(KeyProblem::AlgorithmMismatch);
        }
        if !members::holds_private_material(&jwk) {
            return Err(KeyProblem::Public);
        }
        let key = Self::new(kid, algorithm, pair_of(&jwk, &public, algorithm)?)?;
        // The library compared the halves; this holds whatever it compares in its next version.
        if key.public == public {
            Ok(key)
        } else {
            Err(KeyProblem::Inconsistent)
        }
    }

    /// The same key under another name.
    #[must_use]
    pub fn named(self, kid: KeyId) -> Self {
        Self { kid, ..self }
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The private key in PKCS#8, unencrypted: for custody, which encrypts it.
    ///
    /// # Errors
    /// [`NotGenerated`] when the crypto library fails, and for an ML-DSA key that was read from its expanded form alone:
    /// the seed cannot be found from it.
    pub fn dangerous_to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, NotGenerated> {
        let document = match &self.pair {
            Pair::Ec(pair, _) => pair.to_pkcs8v1(),
            // Version 1 of the format, which every other program reads (RFC 8410 §7).
            Pair::Ed(pair) => pair.to_pkcs8v1(),
            Pair::MlDsa(pair) => pair.to_pkcs8v1(),
            Pair::Rsa(pair, ..) => {
                let der = pair.as_der().map_err(|_| NotGenerated)?;
                return Ok(Zeroizing::new(der.as_ref().to_vec()));
            }
        };
        let document = document.map_err(|_| NotGenerated)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    fn new(kid: Option<KeyId>, algorithm: SignatureAlgorithm, pair: Pair) -> Result<Self, KeyProblem> {
        let spki = match &pair {
            Pair::Ec(pair, _) => pair.public_key().as_der(),
            Pair::Ed(pair) => pair.public_key().as_der(),
            Pair::Rsa(pair, ..) => pair.public_key().as_der(),
            Pair::MlDsa(pair) => pair.public_key().as_der(),
        };
        let spki = spki.map_err(|_| KeyProblem::Unacceptable)?;
        // The same bounds for our own keys as for those of others: RSA has 2048 bits or more.
        let public = PublicKey::from_spki(spki.as_ref()).ok_or(KeyProblem::Unacceptable)?;
        if !public.fits(algorithm) {
            return Err(KeyProblem::AlgorithmMismatch);
        }
        Ok(Self {
            kid: members::name_of(kid, &public)?,
            public,
            algorithm,
            pair,
        })
    }
}

impl TokenSigner for SigningKey {
    fn kid(&self) -> &KeyId {
        &self.kid
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
        let failed = |_| SigningUnavailable(format!("the crypto library refused key `{}`", self.kid));
        match &self.pair {
            Pair::Ec(pair, algorithm) => {
                let signature = pair.sign_digest(&digest(algorithm, message)).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair, encoding, algorithm) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(*encoding, &digest(algorithm, message), &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Pair::MlDsa(pair) => {
                let mut signature = vec![0; ML_DSA_65_SIGNATURE];
                let length = pair.sign(message, &mut signature).map_err(failed)?;
                signature.truncate(length);
                Ok(signature)
            }
        }
    }

    /// RSA takes so long that it would hold up others on a thread for I/O.
    fn is_quick(&self) -> bool {
        !matches!(self.pair, Pair::Rsa(..))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The key pair of a private JWK. The library compares the two halves.
fn pair_of(jwk: &Object<'_>, public: &PublicKey, algorithm: SignatureAlgorithm) -> Result<Pair, KeyProblem> {
    match public {
        PublicKey::Ec { curve, .. } => {
            let (parameters, digest) = elliptic(algorithm).ok_or(KeyProblem::AlgorithmMismatch)?;
            // RFC 7518 §6.2.2.1: exactly as long as the group's order.
            let scalar = private_of(jwk, "d", curve.bytes())?;
            let point = public.uncompressed().unwrap_or_default();
            EcdsaKeyPair::from_private_key_and_public_key(parameters, scalar.as_ref(), &point)
                .map(|pair| Pair::Ec(pair, digest))
                .map_err(|_| KeyProblem::Inconsistent)
        }
        PublicKey::Okp { x, .. } => {
            let seed = private_of(jwk, "d", 32)?;
            Ed25519KeyPair::from_seed_and_public_key(seed.as_ref(), &bytes(x))
                .map(Pair::Ed)
                .map_err(|_| KeyProblem::Inconsistent)
        }
        PublicKey::Akp { .. } => {
            // RFC 9964 §3: `priv` is the seed.
            let seed = private_of(jwk, "priv", ML_DSA_65_SIGNING.seed_len())?;
            PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, seed.as_ref())
                .map(Pair::MlDsa)
                .map_err(|_| KeyProblem::Unacceptable)
        }
        PublicKey::Rsa { .. } => {
            let (encoding, digest) = rsa(algorithm).ok_or(KeyProblem::AlgorithmMismatch)?;
            RsaKeyPair::from_components(&members::rsa(jwk)?)
                .map(|pair| Pair::Rsa(pair, encoding, digest))
                .map_err(|_| KeyProblem::Inconsistent)
        }
    }
}

fn elliptic(
    algorithm: SignatureAlgorithm,
) -> Option<(&'static EcdsaSigningAlgorithm, &'static digest::Algorithm)> {
    match algorithm {
        Es256 => Some((&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &digest::SHA256)),
        Es384 => Some((&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &digest::SHA384)),
        Es512 => Some((&signature::ECDSA_P521_SHA512_FIXED_SIGNING, &digest::SHA512)),
        EdDsa | MlDsa65 | Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => None,
    }
}

fn rsa(algorithm: SignatureAlgorithm) -> Option<(&'static RsaSignatureEncoding, &'static digest::Algorithm)> {
    match algorithm {
        Rs256 => Some((&signature::RSA_PKCS1_SHA256, &digest::SHA256)),
        Rs384 => Some((&signature::RSA_PKCS1_SHA384, &digest::SHA384)),
        Rs512 => Some((&signature::RSA_PKCS1_SHA512, &digest::SHA512)),
        Ps256 => Some((&signature::RSA_PSS_SHA256, &digest::SHA256)),
        Ps384 => Some((&signature::RSA_PSS_SHA384, &digest::SHA384)),
        Ps512 => Some((&signature::RSA_PSS_SHA512, &digest::SHA512)),
        EdDsa | MlDsa65 | Es256 | Es384 | Es512 => None,
    }
}
