//! The key that encrypts the others.

use std::fs;
use std::io;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use portcullis_core::random::SecureRandom;
use zeroize::Zeroizing;

use super::Error;
use super::files::{self, Creation};

/// Length of the master key, and of each key derived from it, in bytes.
const LENGTH: usize = 32;

/// The master key of a data folder: 32 random bytes in a file that its owner alone can read. Everything else that is
/// secret on disk is encrypted under a key derived from it.
pub struct MasterKey(hkdf::Prk);

impl MasterKey {
    /// Reads the file, or makes it. Two processes that make it at the same time get the same key. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error`]: not readable, readable by others, or not 32 bytes long.
    pub fn open(path: &Path, random: &dyn SecureRandom) -> Result<Self, Error> {
        match Self::read(path)? {
            Some(key) => Ok(key),
            None => {
                let mut bytes = Zeroizing::new([0; LENGTH]);
                random
                    .fill(bytes.as_mut())
                    .map_err(|_| Error::Crypto("make randomness"))?;
                if let Some(folder) = path.parent() {
                    files::private_folder(folder)?;
                }
                match files::create(path, bytes.as_ref(), random)? {
                    Creation::Made => Ok(Self::from_bytes(&bytes)),
                    Creation::WasThere => Self::read(path)?.ok_or_else(|| Error::Damaged {
                        path: path.to_owned(),
                        detail: "it came and went while it was read".to_owned(),
                    }),
                }
            }
        }
    }

    fn read(path: &Path) -> Result<Option<Self>, Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(Error::Io {
                    action: "read",
                    path: path.to_owned(),
                    source,
                });
            }
        };
        files::check_private(path)?;
        match <&[u8; LENGTH]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(Some(Self::from_bytes(bytes))),
            Err(_) => Err(Error::Damaged {
                path: path.to_owned(),
                detail: format!("it has {} bytes instead of {LENGTH}", bytes.len()),
            }),
        }
    }

    fn from_bytes(bytes: &[u8; LENGTH]) -> Self {
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, b"portcullis master key v1").extract(bytes))
    }

    /// A key for one purpose, named by `label` (RFC 5869 §3.2): knowing it tells nothing of the others.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn derive(&self, label: &'static str) -> Result<Zeroizing<[u8; 32]>, Error> {
        let mut key = Zeroizing::new([0; LENGTH]);
        self.0
            .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut()))
            .map_err(|_| Error::Crypto("derive a key"))?;
        Ok(key)
    }

    /// Encrypts with AES-256-GCM: nonce ‖ ciphertext ‖ tag. What is named in `context` must be named again to open.
    pub(super) fn seal(
        &self,
        context: &[u8],
        plaintext: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<Vec<u8>, Error> {
        // A random nonce is safe for 2^32 messages (NIST SP 800-38D §8.3); a keyring writes a handful.
        let mut nonce = [0; NONCE_LEN];
        random
            .fill(&mut nonce)
            .map_err(|_| Error::Crypto("make randomness"))?;
        let mut text = Zeroizing::new(plaintext.to_vec());
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut text)
            .map_err(|_| Error::Crypto("encrypt"))?;
        Ok([&nonce, text.as_slice(), tag.as_ref()].concat())
    }

    /// Opens what [`Self::seal`] made; `None` when it is not that, whatever differs.
    pub(super) fn open_sealed(
        &self,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let Some((nonce, ciphertext)) = sealed.split_first_chunk::<NONCE_LEN>() else {
            return Ok(None);
        };
        let mut text = Zeroizing::new(ciphertext.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let Ok(plaintext) = self.cipher()?.open_in_place(nonce, Aad::from(context), &mut text) else {
            return Ok(None);
        };
        let length = plaintext.len();
        text.truncate(length);
        Ok(Some(text))
    }

    fn cipher(&self) -> Result<LessSafeKey, Error> {
        let key = self.derive("private keys at rest")?;
        UnboundKey::new(&AES_256_GCM, key.as_ref())
            .map(LessSafeKey::new)
            .map_err(|_| Error::Crypto("encrypt"))
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}
