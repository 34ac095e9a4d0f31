//! Encrypting the content: AES-GCM with a 96-bit IV and a 128-bit tag (RFC 7518 §5.3).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{ContentEncryption, Error};
use crate::random::SecureRandom;

/// Length of the initialization vector, in bytes (RFC 7518 §5.3: 96 bits).
pub const IV_BYTES: usize = 12;
/// Length of the tag, in bytes (RFC 7518 §5.3: 128 bits).
pub const TAG_BYTES: usize = 16;

/// A content key: for one message, wiped after it.
pub(super) type ContentKey = Zeroizing<Vec<u8>>;

/// A content key that nobody had before.
pub(super) fn fresh(encryption: ContentEncryption, random: &dyn SecureRandom) -> Result<ContentKey, Error> {
    let mut key = Zeroizing::new(vec![0; encryption.key_bytes()]);
    random.fill(&mut key)?;
    Ok(key)
}

/// An IV. With a fresh content key any would do; under a shared key it must not come twice (RFC 7518 §8.4).
pub(super) fn fresh_iv(random: &dyn SecureRandom) -> Result<[u8; IV_BYTES], Error> {
    let mut iv = [0; IV_BYTES];
    random.fill(&mut iv)?;
    Ok(iv)
}

/// Encrypts where the plaintext is.
pub(super) fn seal_in_place(
    (encryption, key): (ContentEncryption, &[u8]),
    iv: [u8; IV_BYTES],
    aad: &[u8],
    buffer: &mut [u8],
) -> Result<[u8; TAG_BYTES], Error> {
    const FAILED: Error = Error::Primitive("encrypt");
    let tag = cipher(encryption, key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(aad), buffer)
        .map_err(|_| FAILED)?;
    tag.as_ref().try_into().map_err(|_| FAILED)
}

/// Encrypts from one place to another of the same length.
pub(super) fn seal_into(
    (encryption, key): (ContentEncryption, &[u8]),
    iv: [u8; IV_BYTES],
    aad: &[u8],
    plaintext: &[u8],
    ciphertext: &mut [u8],
) -> Result<[u8; TAG_BYTES], Error> {
    let mut tag = [0; TAG_BYTES];
    let nonce = Nonce::assume_unique_for_key(iv);
    cipher(encryption, key)?
        .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, ciphertext, &[], &mut tag)
        .map_err(|_| Error::Primitive("encrypt"))?;
    Ok(tag)
}

/// Decrypts where the ciphertext is. When the tag does not hold, what is in the buffer is nothing.
pub(super) fn open_in_place(
    (encryption, key): (ContentEncryption, &[u8]),
    iv: [u8; IV_BYTES],
    aad: &[u8],
    tag: [u8; TAG_BYTES],
    buffer: &mut [u8],
) -> Result<(), Error> {
    cipher(encryption, key)?
        .open_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(aad), &tag, buffer)
        .map(|_| ())
        .map_err(|_| Error::Opening)
}

fn cipher(encryption: ContentEncryption, key: &[u8]) -> Result<LessSafeKey, Error> {
    let algorithm = match encryption {
        ContentEncryption::A128Gcm => &AES_128_GCM,
        ContentEncryption::A256Gcm => &AES_256_GCM,
    };
    UnboundKey::new(algorithm, key)
        .map(LessSafeKey::new)
        .map_err(|_| Error::Primitive("take the content key"))
}
