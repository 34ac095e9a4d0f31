//! One private key that opens, in memory.

use std::fmt;

use aws_lc_rs::agreement::{self, PrivateKey};
use aws_lc_rs::encoding::{AsBigEndian as _, AsDer, Curve25519SeedBin, Pkcs8V1Der};
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use zeroize::Zeroizing;

use super::encryption::{algorithm, check, fits, usual};
use super::members::{self, Intent, holds_private_material};
use super::{KeyProblem, PublicKey};
use crate::ids::KeyId;
use crate::jose::json::Object;
use crate::jose::jwe::{self, KeyManagement, OpeningFailed, PayloadOpener, Wrapped};
use crate::random::SecureRandom;

const UNWRAP: Intent = Intent {
    purpose: "enc",
    needed: &["unwrapKey", "decrypt"],
    tolerated: &["wrapKey", "encrypt"],
    otherwise: KeyProblem::NotForDecrypting,
};
const DERIVE: Intent = Intent {
    purpose: "enc",
    needed: &["deriveKey", "deriveBits"],
    tolerated: &[],
    otherwise: KeyProblem::NotForDecrypting,
};

/// What comes before the key in the PKCS #8 form of X25519 (RFC 8410 §7), which the library does not read.
const X25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
];
/// The same with the public key after it: `OneAsymmetricKey` (RFC 5958 §2), and what is between the two.
const X25519_PKCS8_V2: ([u8; 16], [u8; 3]) = (
    [
        0x30, 0x51, 0x02, 0x01, 0x01, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
    ],
    [0x81, 0x21, 0x00],
);

/// The kinds of key pair that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DecryptionKind {
    /// P-256.
    P256,
    /// P-384.
    P384,
    /// X25519.
    X25519,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

/// A private key that opens messages, in memory. Of one algorithm; the library wipes it when it is dropped.
pub struct DecryptionKey {
    kid: KeyId,
    algorithm: KeyManagement,
    public: PublicKey,
    key: Private,
}

enum Private {
    Agreement(PrivateKey),
    Rsa(OaepPrivateDecryptingKey, PrivateDecryptingKey),
}

impl DecryptionKey {
    /// Reads an unencrypted PKCS #8 private key (RFC 5208, RFC 5958).
    ///
    /// # Errors
    /// [`KeyProblem::AlgorithmMismatch`] when it is not of a type that does this, [`KeyProblem::Unacceptable`] when it is
    /// no key of ours.
    pub fn from_pkcs8(kid: KeyId, algorithm: KeyManagement, pkcs8: &[u8]) -> Result<Self, KeyProblem> {
        let key = if let Some(seed) = x25519_seed(pkcs8) {
            let key = PrivateKey::from_private_key(&agreement::X25519, seed);
            Private::Agreement(key.map_err(|_| KeyProblem::Unacceptable)?)
        } else if let Some(key) = [&agreement::ECDH_P256, &agreement::ECDH_P384]
            .into_iter()
            .find_map(|curve| PrivateKey::from_private_key_der(curve, pkcs8).ok())
        {
            Private::Agreement(key)
        } else {
            let key = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| KeyProblem::Unacceptable)?;
            Private::rsa(key)?
        };
        Self::new(kid, algorithm, key)
    }

    /// Reads one private JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2). Without `kid`, its thumbprint is its name; without
    /// `alg`, an RSA key is for RSA-OAEP-256 and one of a curve for ECDH-ES.
    ///
    /// # Errors
    /// [`KeyProblem`].
    pub fn from_jwk(jwk: &[u8]) -> Result<Self, KeyProblem> {
        let jwk = &Object::parse(jwk).map_err(|_| KeyProblem::Malformed)?;
        let public = PublicKey::public_half(jwk)?;
        if !holds_private_material(jwk) {
            return Err(KeyProblem::Public);
        }
        check(jwk, &public, [UNWRAP, DERIVE])?;
        let algorithm = match algorithm(jwk)? {
            Some(named) => named,
            None => usual(&public)?,
        };
        fits(&public, algorithm)?;
        let kid = members::name_of(members::kid(jwk)?, &public)?;
        let key = match jwe::primitive(&public) {
            // RFC 7518 §6.2.2.1: as long as the order of the group.
            Some(curve) => {
                let d = members::private(jwk, "d")?;
                let key = PrivateKey::from_private_key(curve, d.as_ref());
                Private::Agreement(key.map_err(|_| KeyProblem::Unacceptable)?)
            }
            None => rsa(jwk)?,
        };
        let own = Self::new(kid, algorithm, key)?;
        // One that encrypts to the public half should reach this private half.
        if own.public == public {
            Ok(own)
        } else {
            Err(KeyProblem::Inconsistent)
        }
    }

    /// A new one. A key of a curve is made of `random`; the primes of RSA are drawn by the library.
    ///
    /// # Errors
    /// [`jwe::Error::Random`]; [`jwe::Error::OtherAlgorithm`] when keys of this kind do not do this;
    /// [`jwe::Error::Primitive`].
    pub fn generate(
        kid: KeyId,
        algorithm: KeyManagement,
        kind: DecryptionKind,
        random: &dyn SecureRandom,
    ) -> Result<Self, jwe::Error> {
        let curve = |curve| jwe::draw(curve, random).map(Private::Agreement);
        let rsa = |size| {
            PrivateDecryptingKey::generate(size)
                .map_err(|_| jwe::Error::Primitive("make an RSA key"))
                .and_then(|key| Private::rsa(key).map_err(|_| jwe::Error::Primitive("take its RSA key")))
        };
        let key = match kind {
            DecryptionKind::P256 => curve(&agreement::ECDH_P256),
            DecryptionKind::P384 => curve(&agreement::ECDH_P384),
            DecryptionKind::X25519 => curve(&agreement::X25519),
            DecryptionKind::Rsa2048 => rsa(KeySize::Rsa2048),
            DecryptionKind::Rsa3072 => rsa(KeySize::Rsa3072),
            DecryptionKind::Rsa4096 => rsa(KeySize::Rsa4096),
        }?;
        Self::new(kid, algorithm, key).map_err(|_| jwe::Error::OtherAlgorithm)
    }

    fn new(kid: KeyId, algorithm: KeyManagement, key: Private) -> Result<Self, KeyProblem> {
        let public = match &key {
            Private::Agreement(key) => jwe::public_half(key),
            Private::Rsa(_, key) => {
                let spki: Result<aws_lc_rs::encoding::PublicKeyX509Der<'_>, _> = key.public_key().as_der();
                spki.ok().and_then(|spki| PublicKey::from_spki(spki.as_ref()))
            }
        };
        let public = public.ok_or(KeyProblem::Unacceptable)?;
        fits(&public, algorithm)?;
        Ok(Self {
            kid,
            algorithm,
            public,
            key,
        })
    }

    /// The PKCS #8 form (RFC 5958), for whoever keeps the key. Every use of this name is a place where a private key
    /// leaves its box. `None` when the library does not give it.
    #[must_use]
    pub fn dangerous_to_pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        let der: Pkcs8V1Der<'_> = match &self.key {
            Private::Agreement(key) if *key.algorithm() == agreement::X25519 => {
                let seed: Curve25519SeedBin<'_> = key.as_be_bytes().ok()?;
                return Some(Zeroizing::new([&X25519_PKCS8[..], seed.as_ref()].concat()));
            }
            Private::Agreement(key) => AsDer::as_der(key).ok()?,
            Private::Rsa(_, key) => key.as_der().ok()?,
        };
        Some(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl PayloadOpener for DecryptionKey {
    fn kid(&self) -> &KeyId {
        &self.kid
    }

    fn key(&self) -> &PublicKey {
        &self.public
    }

    fn algorithm(&self) -> Option<KeyManagement> {
        Some(self.algorithm)
    }

    fn recover(&self, wrapped: Wrapped<'_>) -> Result<Zeroizing<Vec<u8>>, OpeningFailed> {
        match (&self.key, wrapped) {
            (Private::Agreement(key), Wrapped::Agreed { peer }) => jwe::parsed(peer)
                .and_then(|peer| jwe::shared_secret(key, peer))
                .ok_or(OpeningFailed::Invalid),
            (Private::Rsa(key, _), Wrapped::RsaOaep256 { encrypted_key }) => {
                let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
                let length = key
                    .decrypt(&OAEP_SHA256_MGF1SHA256, encrypted_key, &mut buffer, None)
                    .map_err(|_| OpeningFailed::Invalid)?
                    .len();
                buffer.truncate(length);
                Ok(buffer)
            }
            (Private::Agreement(_) | Private::Rsa(..), _) => Err(OpeningFailed::Invalid),
        }
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptionKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Private {
    fn rsa(key: PrivateDecryptingKey) -> Result<Self, KeyProblem> {
        let decrypting = OaepPrivateDecryptingKey::new(key.clone()).map_err(|_| KeyProblem::Unacceptable)?;
        Ok(Self::Rsa(decrypting, key))
    }
}

/// The seed, of either PKCS #8 form; in the second the public key is ours to compute.
fn x25519_seed(pkcs8: &[u8]) -> Option<&[u8]> {
    if let Some(seed) = pkcs8.strip_prefix(&X25519_PKCS8) {
        return (seed.len() == 32).then_some(seed);
    }
    let (seed, rest) = pkcs8.strip_prefix(&X25519_PKCS8_V2.0)?.split_at_checked(32)?;
    (rest.strip_prefix(&X25519_PKCS8_V2.1)?.len() == 32).then_some(seed)
}

fn rsa(jwk: &Object<'_>) -> Result<Private, KeyProblem> {
    let pair = KeyPair::from_components(&members::rsa(jwk)?).map_err(|_| KeyProblem::Unacceptable)?;
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyProblem::Unacceptable)?;
    let key = PrivateDecryptingKey::from_pkcs8(pkcs8.as_ref()).map_err(|_| KeyProblem::Unacceptable)?;
    Private::rsa(key)
}

#[cfg(test)]
mod tests;
