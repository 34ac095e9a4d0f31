//! A new key does once what it is for, before anything is signed with it or sealed for it.
//!
//! What a token or a service offers and what it does are two things: SoftHSM 2.6 lists RSA-OAEP and does it with SHA-1
//! alone, and a salt of the wrong length is found out by a verifier only.

use aws_lc_rs::agreement::{ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{KeyManagement, OpeningFailed, PayloadOpener, Wrapped};
use portcullis_core::jose::jwk::{EcCurve, EncryptionKey, PublicKey, VerificationKey};
use portcullis_core::jose::jws::TokenSigner;
use zeroize::Zeroizing;

use super::BackendError;

/// What is signed and sealed.
const MESSAGE: [u8; 32] = *b"portcullis tries out a new key\n\n";

/// The name of a key that has none yet.
pub(super) fn kid() -> Result<KeyId, BackendError> {
    KeyId::parse("trial").map_err(|_| BackendError::Crypto("name a key"))
}

/// Whether a key of this kind can be of this algorithm.
pub(super) fn fits(public: &PublicKey, algorithm: SignatureAlgorithm) -> Result<(), BackendError> {
    match VerificationKey::from_public(public, algorithm, None) {
        Ok(_) => Ok(()),
        Err(problem) => Err(BackendError::Damaged(format!(
            "it leads to a key that cannot be of {}: {problem}",
            algorithm.name()
        ))),
    }
}

/// Whether a key of this kind can be of this algorithm.
pub(super) fn opens(public: &PublicKey, algorithm: KeyManagement) -> Result<(), BackendError> {
    match EncryptionKey::from_public(public.clone(), algorithm, None) {
        Ok(_) => Ok(()),
        Err(problem) => Err(BackendError::Damaged(format!(
            "it leads to a key that cannot be of {}: {problem}",
            algorithm.name()
        ))),
    }
}

/// Signs, and checks the signature.
pub(super) fn sign(signer: &dyn TokenSigner, public: &PublicKey) -> Result<(), BackendError> {
    let algorithm = signer.algorithm().name();
    let failed = |detail: &str| {
        Err(BackendError::Refused(format!(
            "a key for {algorithm} was made and cannot be used: {detail}; take another `signing_algorithm` in [keys]"
        )))
    };
    let Ok(key) = VerificationKey::from_public(public, signer.algorithm(), None) else {
        return failed("its public half is of another algorithm");
    };
    match signer.sign(&MESSAGE) {
        Err(error) => failed(&error.0),
        Ok(signature) => match key.verify(&MESSAGE, &signature) {
            Ok(_) => Ok(()),
            Err(_) => failed("its signature does not hold"),
        },
    }
}

/// Seals for the key, and opens.
pub(super) fn open(opener: &dyn PayloadOpener, algorithm: KeyManagement) -> Result<(), BackendError> {
    let failed = |detail: &str| {
        let instead = match algorithm {
            KeyManagement::RsaOaep256 => "take ECDH-ES+A256KW or ECDH-ES",
            KeyManagement::EcdhEs
            | KeyManagement::EcdhEsA128Kw
            | KeyManagement::EcdhEsA256Kw
            | KeyManagement::Dir => "take RSA-OAEP-256",
        };
        Err(BackendError::Refused(format!(
            "a key for {} was made and cannot be used: {detail}; {instead} as `encryption_algorithm` in [keys]",
            algorithm.name()
        )))
    };
    let opened = match opener.key() {
        PublicKey::Ec { curve, .. } => agreed(opener, *curve)?,
        PublicKey::Rsa { .. } => unwrapped(opener)?,
        PublicKey::Okp { .. } | PublicKey::Akp { .. } => return failed("it is of another kind"),
    };
    match opened {
        (wanted, Ok(given)) if verify_slices_are_equal(&wanted, &given).is_ok() => Ok(()),
        (_, Ok(_)) => failed("what it opens is not what was sealed"),
        (_, Err(OpeningFailed::Invalid)) => failed("it does not open what was sealed for it"),
        (_, Err(OpeningFailed::Unavailable(detail))) => failed(&detail),
    }
}

type Opened = (Zeroizing<Vec<u8>>, Result<Zeroizing<Vec<u8>>, OpeningFailed>);

fn agreed(opener: &dyn PayloadOpener, curve: EcCurve) -> Result<Opened, BackendError> {
    let failed = BackendError::Crypto("try out a new key");
    let algorithm = match curve {
        EcCurve::P256 => &ECDH_P256,
        EcCurve::P384 => &ECDH_P384,
        EcCurve::P521 => &ECDH_P521,
    };
    let ours = PrivateKey::generate(algorithm).map_err(|_| failed.clone())?;
    let point = ours.compute_public_key().map_err(|_| failed.clone())?;
    let peer = PublicKey::from_uncompressed(curve, point.as_ref()).ok_or_else(|| failed.clone())?;
    let theirs = opener.key().uncompressed().ok_or_else(|| failed.clone())?;
    let wanted = agree(
        &ours,
        UnparsedPublicKey::new(algorithm, theirs),
        failed,
        |secret| Ok(Zeroizing::new(secret.to_vec())),
    )?;
    Ok((wanted, opener.recover(Wrapped::Agreed { peer: &peer })))
}

fn unwrapped(opener: &dyn PayloadOpener) -> Result<Opened, BackendError> {
    let failed = |_| BackendError::Crypto("try out a new key");
    let key = PublicEncryptingKey::from_der(&opener.key().to_spki())
        .map_err(|_| BackendError::Crypto("read a new RSA key"))?;
    let key = OaepPublicEncryptingKey::new(key).map_err(failed)?;
    let mut room = vec![0; key.ciphertext_size()];
    let encrypted = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, &MESSAGE, &mut room, None)
        .map_err(failed)?;
    let opened = opener.recover(Wrapped::RsaOaep256 {
        encrypted_key: encrypted,
    });
    Ok((Zeroizing::new(MESSAGE.to_vec()), opened))
}

/// `dir` has no public half that could be published.
pub(super) fn no_public_key() -> BackendError {
    BackendError::Refused(
        "`dir` is for a shared key, and a published key is a pair; take ECDH-ES+A256KW or ECDH-ES as \
         `encryption_algorithm` in [keys]"
            .to_owned(),
    )
}
