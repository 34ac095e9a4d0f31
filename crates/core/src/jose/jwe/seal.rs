//! Making messages.

use super::content::{self, ContentKey, IV_BYTES, TAG_BYTES};
use super::{ContentEncryption, Error, HEADER_BYTES, KeyManagement, Protected, SharedKey, header, wrap};
use crate::jose::base64url;
use crate::jose::jwk::EncryptionKey;
use crate::random::SecureRandom;

/// How many bytes are turned into base64url at once: they fit the fastest cache, and are a multiple of three.
const CHUNK: usize = 3 * 1024;

/// All of a message but its ciphertext, for those who keep the ciphertext apart and as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    /// The protected header as base64url text, as it was authenticated.
    pub header: String,
    /// Empty where the content key is agreed on or shared.
    pub encrypted_key: Vec<u8>,
    /// The initialization vector.
    pub iv: [u8; IV_BYTES],
    /// The authentication tag.
    pub tag: [u8; TAG_BYTES],
}

/// Encrypts `plaintext` to the owner of `key`, as a compact JWE (RFC 7516 §7.1).
///
/// # Errors
/// [`Error::Header`] for a header longer than a reader takes, [`Error::Random`], [`Error::Primitive`].
pub fn encrypt(
    key: &EncryptionKey,
    protected: &Protected<'_>,
    plaintext: &[u8],
    random: &dyn SecureRandom,
) -> Result<String, Error> {
    Prepared::for_key(key, protected, random)?.compact(plaintext)
}

/// Encrypts `plaintext` under a shared key (`dir`), as a compact JWE.
///
/// # Errors
/// [`Error::OtherAlgorithm`] when the key is not for `protected.enc`; as [`encrypt`].
pub fn encrypt_shared(
    key: &SharedKey,
    protected: &Protected<'_>,
    plaintext: &[u8],
    random: &dyn SecureRandom,
) -> Result<String, Error> {
    Prepared::for_shared(key, protected, random)?.compact(plaintext)
}

/// Encrypts `buffer` where it is and gives all the rest of the message: no copy, no text. What the other forms are made
/// of, and what to use for large payloads that travel as bytes.
///
/// # Errors
/// As [`encrypt`]; the buffer is then worth nothing.
pub fn seal_detached(
    key: &EncryptionKey,
    protected: &Protected<'_>,
    buffer: &mut [u8],
    random: &dyn SecureRandom,
) -> Result<Detached, Error> {
    let prepared = Prepared::for_key(key, protected, random)?;
    let tag = content::seal_in_place(
        (prepared.encryption, &prepared.content_key),
        prepared.iv,
        prepared.header.as_bytes(),
        buffer,
    )?;
    Ok(Detached {
        header: prepared.header,
        encrypted_key: prepared.encrypted_key,
        iv: prepared.iv,
        tag,
    })
}

/// A message whose plaintext is still missing.
pub(super) struct Prepared {
    pub(super) encryption: ContentEncryption,
    pub(super) content_key: ContentKey,
    /// The protected header as base64url text.
    pub(super) header: String,
    pub(super) encrypted_key: Vec<u8>,
    pub(super) iv: [u8; IV_BYTES],
}

impl Prepared {
    pub(super) fn for_key(
        key: &EncryptionKey,
        protected: &Protected<'_>,
        random: &dyn SecureRandom,
    ) -> Result<Self, Error> {
        let encryption = protected.enc;
        let parties = (protected.apu, protected.apv);
        let (content_key, carried) = if key.algorithm().carries_content_key() {
            let content_key = content::fresh(encryption, random)?;
            let carried = wrap::wrapped(key, &content_key, parties, random)?;
            (content_key, carried)
        } else {
            wrap::agreed(key, encryption, parties, random)?
        };
        let mut header = header::of_message(key.algorithm(), protected)?;
        header::of_recipient(&mut header, key.kid(), carried.epk.as_ref());
        Ok(Self {
            encryption,
            content_key,
            header: text_of(&header)?,
            encrypted_key: carried.encrypted_key,
            iv: content::fresh_iv(random)?,
        })
    }

    fn for_shared(
        key: &SharedKey,
        protected: &Protected<'_>,
        random: &dyn SecureRandom,
    ) -> Result<Self, Error> {
        if key.encryption() != protected.enc {
            return Err(Error::OtherAlgorithm);
        }
        let mut header = header::of_message(KeyManagement::Dir, protected)?;
        header::of_recipient(&mut header, key.kid(), None);
        Ok(Self {
            encryption: protected.enc,
            content_key: ContentKey::new(key.bytes().to_vec()),
            header: text_of(&header)?,
            encrypted_key: Vec::new(),
            iv: content::fresh_iv(random)?,
        })
    }

    fn compact(self, plaintext: &[u8]) -> Result<String, Error> {
        let mut prefix = self.header.clone();
        for part in [&*self.encrypted_key, &self.iv] {
            prefix.push('.');
            base64url::encode_onto(&mut prefix, part);
        }
        prefix.push('.');
        self.write(&prefix, self.header.as_bytes(), plaintext, [".", ""])
    }

    /// `prefix`, the ciphertext, `between`, the tag, `end`; the two in the middle as base64url.
    ///
    /// One allocation for all of it: the ciphertext is made at the end of the space that its text takes and turned into
    /// that text from there, which never overtakes what it reads since four characters stand for three bytes.
    pub(super) fn write(
        &self,
        prefix: &str,
        aad: &[u8],
        plaintext: &[u8],
        [between, end]: [&str; 2],
    ) -> Result<String, Error> {
        const FAILED: Error = Error::Primitive("write the message");
        let texts = base64url::encoded_len(plaintext.len())
            .zip(base64url::encoded_len(TAG_BYTES))
            .ok_or(FAILED)?;
        let total = [prefix.len(), texts.0, between.len(), texts.1, end.len()]
            .into_iter()
            .try_fold(0_usize, usize::checked_add)
            .ok_or(FAILED)?;
        let mut out = vec![0_u8; total];
        let start = total.checked_sub(plaintext.len()).ok_or(FAILED)?;
        let tag = content::seal_into(
            (self.encryption, &self.content_key),
            self.iv,
            aad,
            plaintext,
            out.get_mut(start..).ok_or(FAILED)?,
        )?;
        let mut written = 0;
        let copy = |out: &mut [u8], text: &str, at: usize| {
            let end = at + text.len();
            out.get_mut(at..end)?.copy_from_slice(text.as_bytes());
            Some(end)
        };
        written = copy(&mut out, prefix, written).ok_or(FAILED)?;
        let mut read = start;
        let mut chunk = [0_u8; CHUNK];
        while read < total {
            let bytes = chunk.get_mut(..CHUNK.min(total - read)).ok_or(FAILED)?;
            let from = out.get(read..read + bytes.len()).ok_or(FAILED)?;
            bytes.copy_from_slice(from);
            read += bytes.len();
            let place = out.get_mut(written..).ok_or(FAILED)?;
            written += base64url::encode_into(bytes, place).ok_or(FAILED)?;
        }
        written = copy(&mut out, between, written).ok_or(FAILED)?;
        written = copy(&mut out, &base64url::encode(tag), written).ok_or(FAILED)?;
        copy(&mut out, end, written).ok_or(FAILED)?;
        String::from_utf8(out).map_err(|_| FAILED)
    }
}

/// A header as base64url text, as long as a reader takes it.
pub(super) fn text_of(header: &serde_json::Map<String, serde_json::Value>) -> Result<String, Error> {
    let json = serde_json::to_vec(header).map_err(|_| Error::Primitive("write the header"))?;
    if json.len() > HEADER_BYTES {
        return Err(Error::Header("it is too long"));
    }
    Ok(base64url::encode(json))
}
