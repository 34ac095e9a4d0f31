//! Getting the content key to its recipient and back (RFC 7518 §4).

use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesBlockCipher, AesKek, KeyWrap as _};
use aws_lc_rs::rsa::OAEP_SHA256_MGF1SHA256;
use zeroize::Zeroizing;

use super::content::ContentKey;
use super::header::Header;
use super::opener::{OpeningFailed, PayloadOpener, Wrapped};
use super::{ContentEncryption, Error, KeyManagement, agree};
use crate::jose::jwk::{EncryptionKey, PublicKey, Recipient};
use crate::random::SecureRandom;

/// What AES key wrap adds (RFC 3394 §2.2.1).
const WRAP_BYTES: usize = 8;

/// What a message carries for one recipient.
pub(super) struct ForRecipient {
    pub(super) encrypted_key: Vec<u8>,
    pub(super) epk: Option<PublicKey>,
}

/// Agrees on a content key (ECDH-ES, RFC 7518 §4.6).
pub(super) fn agreed(
    key: &EncryptionKey,
    encryption: ContentEncryption,
    parties: (&[u8], &[u8]),
    random: &dyn SecureRandom,
) -> Result<(ContentKey, ForRecipient), Error> {
    let (z, epk) = ephemeral(key, random)?;
    // RFC 7518 §4.6.2: with direct agreement the AlgorithmID is the value of `enc`.
    let content_key = agree::concat_kdf(&z, encryption.name(), parties, encryption.key_bytes())?;
    let carried = ForRecipient {
        encrypted_key: Vec::new(),
        epk: Some(epk),
    };
    Ok((content_key, carried))
}

/// Wraps a content key.
pub(super) fn wrapped(
    key: &EncryptionKey,
    content_key: &[u8],
    parties: (&[u8], &[u8]),
    random: &dyn SecureRandom,
) -> Result<ForRecipient, Error> {
    let Some(cipher) = wrap_cipher(key.algorithm()) else {
        let Recipient::Rsa(public) = key.recipient() else {
            return Err(Error::OtherAlgorithm);
        };
        // The seed of the padding (RFC 8017 §7.1.1) is drawn by the library.
        let mut encrypted_key = vec![0; public.ciphertext_size()];
        let length = public
            .encrypt(&OAEP_SHA256_MGF1SHA256, content_key, &mut encrypted_key, None)
            .map_err(|_| Error::Primitive("encrypt the content key"))?
            .len();
        encrypted_key.truncate(length);
        return Ok(ForRecipient {
            encrypted_key,
            epk: None,
        });
    };
    let (z, epk) = ephemeral(key, random)?;
    let kek = key_encryption_key(&z, key.algorithm(), cipher, parties)?;
    let mut encrypted_key = vec![0; content_key.len() + WRAP_BYTES];
    kek.wrap(content_key, &mut encrypted_key)
        .map_err(|_| Error::Primitive("wrap the content key"))?;
    Ok(ForRecipient {
        encrypted_key,
        epk: Some(epk),
    })
}

/// The content key of a message for the owner of `opener`. A key that does not come out is replaced by a random one, so
/// that the tag says no in its place (RFC 7516 §11.5).
pub(super) fn content_key(
    header: &Header,
    encrypted_key: &[u8],
    opener: &dyn PayloadOpener,
) -> Result<ContentKey, Error> {
    let algorithm = header.algorithm;
    if opener.algorithm().is_some_and(|own| own != algorithm) {
        return Err(Error::OtherAlgorithm);
    }
    let bytes = header.encryption.key_bytes();
    let expected = match (algorithm, opener.key()) {
        (KeyManagement::RsaOaep256, PublicKey::Rsa { .. }) => None,
        (KeyManagement::EcdhEs, key) if agree::primitive(key).is_some() => Some(0),
        (KeyManagement::EcdhEsA128Kw | KeyManagement::EcdhEsA256Kw, key)
            if agree::primitive(key).is_some() =>
        {
            Some(bytes + WRAP_BYTES)
        }
        _ => return Err(Error::OtherAlgorithm),
    };
    // What follows from the lengths alone is no secret, so it is said.
    if expected.is_some_and(|expected| expected != encrypted_key.len()) {
        return Err(Error::Length("encrypted key"));
    }
    // Drawn whether it is needed or not, so that both ways take the same time.
    let substitute = substitute(bytes)?;
    let recovered = match (algorithm, &header.epk) {
        (KeyManagement::RsaOaep256, _) => opener.recover(Wrapped::RsaOaep256 { encrypted_key }),
        (_, Some(peer)) if same_curve(peer, opener.key()) => opener
            .recover(Wrapped::Agreed { peer })
            .and_then(|z| unwrap(&z, header, encrypted_key).ok_or(OpeningFailed::Invalid)),
        (_, Some(_) | None) => return Err(Error::EphemeralKey),
    };
    match recovered {
        Ok(key) if key.len() == bytes => Ok(key),
        Ok(_) | Err(OpeningFailed::Invalid) => Ok(substitute),
        Err(OpeningFailed::Unavailable(why)) => Err(Error::Unavailable(why)),
    }
}

fn unwrap(z: &[u8], header: &Header, encrypted_key: &[u8]) -> Option<ContentKey> {
    let bytes = header.encryption.key_bytes();
    let parties = (&*header.apu, &*header.apv);
    let Some(cipher) = wrap_cipher(header.algorithm) else {
        return agree::concat_kdf(z, header.encryption.name(), parties, bytes).ok();
    };
    let mut key = Zeroizing::new(vec![0; bytes]);
    key_encryption_key(z, header.algorithm, cipher, parties)
        .ok()?
        .unwrap(encrypted_key, &mut key)
        .ok()?;
    Some(key)
}

/// RFC 7518 §4.6.2: with key wrap the AlgorithmID is the value of `alg`.
fn key_encryption_key(
    z: &[u8],
    algorithm: KeyManagement,
    (cipher, bytes): (&'static AesBlockCipher, usize),
    parties: (&[u8], &[u8]),
) -> Result<AesKek, Error> {
    let key = agree::concat_kdf(z, algorithm.name(), parties, bytes)?;
    AesKek::new(cipher, &key).map_err(|_| Error::Primitive("take the wrapping key"))
}

fn wrap_cipher(algorithm: KeyManagement) -> Option<(&'static AesBlockCipher, usize)> {
    match algorithm {
        KeyManagement::EcdhEsA128Kw => Some((&AES_128, 16)),
        KeyManagement::EcdhEsA256Kw => Some((&AES_256, 32)),
        KeyManagement::EcdhEs | KeyManagement::RsaOaep256 | KeyManagement::Dir => None,
    }
}

/// A key of this moment, and what it and the recipient's key agree on.
fn ephemeral(
    key: &EncryptionKey,
    random: &dyn SecureRandom,
) -> Result<(Zeroizing<Vec<u8>>, PublicKey), Error> {
    const FAILED: Error = Error::Primitive("agree on a key");
    let Recipient::Agreement(peer) = key.recipient() else {
        return Err(Error::OtherAlgorithm);
    };
    let own = agree::draw(peer.alg(), random)?;
    let epk = agree::public_half(&own).ok_or(FAILED)?;
    // A recipient of small order was refused when its key was read.
    let z = agree::shared_secret(&own, peer.clone()).ok_or(FAILED)?;
    Ok((z, epk))
}

fn same_curve(one: &PublicKey, other: &PublicKey) -> bool {
    match (agree::primitive(one), agree::primitive(other)) {
        (Some(one), Some(other)) => one == other,
        (Some(_) | None, _) => false,
    }
}

/// Bytes that nobody can foresee: with a substitute that the sender knows, a message could be made whose tag holds
/// exactly when the key did not come out. Drawn by the library, as the blinding of its RSA is: opening takes no source
/// of randomness, since nothing that it gives depends on one.
fn substitute(bytes: usize) -> Result<ContentKey, Error> {
    const FAILED: Error = Error::Primitive("draw a substitute key");
    let (first, second) = (
        FixedLength::<16>::new().map_err(|_| FAILED)?,
        FixedLength::<16>::new().map_err(|_| FAILED)?,
    );
    let mut key = Zeroizing::new([*first.as_ref(), *second.as_ref()].concat());
    key.truncate(bytes);
    Ok(key)
}
