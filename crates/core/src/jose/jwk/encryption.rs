//! One public key that is encrypted to.

use std::fmt;

use aws_lc_rs::agreement::ParsedPublicKey;
use aws_lc_rs::rsa::{OaepPublicEncryptingKey, PublicEncryptingKey};
use zeroize::Zeroizing;

use super::members::{Intent, kid, required, required_bytes, text};
use super::{KeyProblem, PublicKey, Thumbprint};
use crate::ids::KeyId;
use crate::jose::json::Object;
use crate::jose::jwe::{self, KeyManagement};

/// Encrypting a content key to an RSA key. Some sets say `encrypt` where RFC 7517 §4.3 means `wrapKey`.
const WRAP: Intent = Intent {
    purpose: "enc",
    needed: &["wrapKey", "encrypt"],
    tolerated: &["unwrapKey", "decrypt"],
    otherwise: KeyProblem::NotForEncrypting,
};
/// Agreeing on a key: nothing is done with the public half by itself, so `key_ops` may be empty.
const AGREE: Intent = Intent {
    purpose: "enc",
    needed: &[],
    tolerated: &["deriveKey", "deriveBits"],
    otherwise: KeyProblem::NotForEncrypting,
};

/// A recipient: a public key that content keys are encrypted to. Of one algorithm, for `enc` only.
pub struct EncryptionKey {
    kid: Option<KeyId>,
    algorithm: KeyManagement,
    thumbprint: Thumbprint,
    public: PublicKey,
    recipient: Recipient,
}

/// The key in the form of the library.
pub(in crate::jose) enum Recipient {
    Agreement(ParsedPublicKey),
    Rsa(OaepPublicEncryptingKey),
}

impl EncryptionKey {
    /// Reads one public JWK (RFC 7517 §4). Without `alg`, an RSA key is for RSA-OAEP-256 and one of a curve for ECDH-ES.
    ///
    /// # Errors
    /// [`KeyProblem`].
    pub fn parse(jwk: &[u8]) -> Result<Self, KeyProblem> {
        Self::from_object(&Object::parse(jwk).map_err(|_| KeyProblem::Malformed)?, None)
    }

    /// As [`Self::parse`]; without `alg` it is for `wanted`.
    pub(in crate::jose) fn from_object(
        jwk: &Object<'_>,
        wanted: Option<KeyManagement>,
    ) -> Result<Self, KeyProblem> {
        let public = PublicKey::from_jwk(jwk)?;
        check(jwk, &public, [WRAP, AGREE])?;
        let algorithm = match algorithm(jwk)? {
            Some(named) => named,
            None => wanted.unwrap_or(usual(&public)?),
        };
        Self::from_public(public, algorithm, kid(jwk)?)
    }

    /// Of a key that is known.
    ///
    /// # Errors
    /// [`KeyProblem::AlgorithmMismatch`] when the key is not of a type that does this, [`KeyProblem::Unsupported`] for a
    /// curve that is not offered, [`KeyProblem::Unacceptable`] when the crypto library refuses it.
    pub fn from_public(
        public: PublicKey,
        algorithm: KeyManagement,
        kid: Option<KeyId>,
    ) -> Result<Self, KeyProblem> {
        fits(&public, algorithm)?;
        let recipient = if let PublicKey::Rsa { .. } = public {
            let key = PublicEncryptingKey::from_der(&public.to_spki())
                .ok()
                .and_then(|key| OaepPublicEncryptingKey::new(key).ok())
                .ok_or(KeyProblem::Unacceptable)?;
            Recipient::Rsa(key)
        } else {
            let key = jwe::parsed(&public).ok_or(KeyProblem::Unacceptable)?;
            Recipient::Agreement(key)
        };
        Ok(Self {
            kid,
            algorithm,
            thumbprint: public.thumbprint(),
            public,
            recipient,
        })
    }

    /// Its `kid`, if it has one.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> KeyManagement {
        self.algorithm
    }

    /// Its RFC 7638 thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// The key itself.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(in crate::jose) fn recipient(&self) -> &Recipient {
        &self.recipient
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

/// What `use` and `key_ops` say, for a key of this type.
pub(super) fn check(jwk: &Object<'_>, key: &PublicKey, [wrap, agree]: [Intent; 2]) -> Result<(), KeyProblem> {
    match key {
        PublicKey::Rsa { .. } => wrap.check(jwk),
        PublicKey::Ec { .. } | PublicKey::Okp { .. } | PublicKey::Akp { .. } => agree.check(jwk),
    }
}

/// What `alg` says. A name that is no key management is of a key for something else, or of one that is not offered.
pub(super) fn algorithm(jwk: &Object<'_>) -> Result<Option<KeyManagement>, KeyProblem> {
    let Some(name) = text(jwk, "alg")? else {
        return Ok(None);
    };
    KeyManagement::from_name(name)
        .map(Some)
        .ok_or(KeyProblem::Unsupported)
}

/// Whether a key of this type can be for this algorithm.
pub(super) fn fits(key: &PublicKey, algorithm: KeyManagement) -> Result<(), KeyProblem> {
    let fits = match algorithm {
        KeyManagement::RsaOaep256 => matches!(key, PublicKey::Rsa { .. }),
        KeyManagement::EcdhEs | KeyManagement::EcdhEsA128Kw | KeyManagement::EcdhEsA256Kw => {
            match usual(key)? {
                KeyManagement::RsaOaep256 => false,
                KeyManagement::EcdhEs
                | KeyManagement::EcdhEsA128Kw
                | KeyManagement::EcdhEsA256Kw
                | KeyManagement::Dir => true,
            }
        }
        // A shared key is no key pair: see `SharedKey`.
        KeyManagement::Dir => false,
    };
    if fits {
        Ok(())
    } else {
        Err(KeyProblem::AlgorithmMismatch)
    }
}

/// The algorithm of a key that names none.
pub(super) fn usual(key: &PublicKey) -> Result<KeyManagement, KeyProblem> {
    if let PublicKey::Rsa { .. } = key {
        return Ok(KeyManagement::RsaOaep256);
    }
    jwe::primitive(key)
        .map(|_| KeyManagement::EcdhEs)
        .ok_or(KeyProblem::Unsupported)
}

/// A symmetric key for encryption (RFC 7518 §6.4).
pub(in crate::jose) struct Symmetric<'o> {
    pub(in crate::jose) kid: Option<KeyId>,
    /// What `alg` says.
    pub(in crate::jose) algorithm: Option<&'o str>,
    pub(in crate::jose) key: Zeroizing<Vec<u8>>,
}

impl<'o> Symmetric<'o> {
    pub(in crate::jose) fn read(jwk: &'o Object<'_>) -> Result<Self, KeyProblem> {
        const BOTH: Intent = Intent {
            purpose: "enc",
            needed: &["encrypt", "decrypt"],
            tolerated: &[],
            otherwise: KeyProblem::NotForEncrypting,
        };
        if required(jwk, "kty")? != "oct" {
            return Err(KeyProblem::Unsupported);
        }
        BOTH.check(jwk)?;
        Ok(Self {
            kid: kid(jwk)?,
            algorithm: text(jwk, "alg")?,
            key: Zeroizing::new(required_bytes(jwk, "k")?),
        })
    }
}
