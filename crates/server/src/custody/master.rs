//! The key that encrypts the others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::random::SecureRandom;
use zeroize::Zeroizing;

use super::Error;
use super::files::{self, Creation};

/// Length of the master key, and of each key derived from it, in bytes.
const LENGTH: usize = 32;

const NOT_A_KEY: &str = "is not a master key: 32 bytes, as base64url";
const EXAMPLE: &str = "openssl rand 32 | basenc --base64url";

/// Where the master key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterKeySource {
    /// A file of 32 bytes that its owner alone can read. Made when it is not there.
    File(PathBuf),
    /// An environment variable with 32 bytes as base64url.
    Env(String),
    /// A systemd credential of this name (systemd.exec(5), "Credentials"): 32 bytes, or those as base64url.
    Credential(String),
}

#[expect(
    clippy::disallowed_methods,
    reason = "the configuration names the variable to read"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The master key of a data folder: 32 random bytes in a file that its owner alone can read. Everything else that is
/// secret on disk is encrypted under a key derived from it.
#[derive(Clone)]
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

    /// Reads the key that the configuration names. A file that is not there is made; the others must be.
    ///
    /// # Errors
    /// As [`Self::open`], and [`Error::Master`] for a variable or credential that is missing or no key.
    pub fn from_source(source: &MasterKeySource, random: &dyn SecureRandom) -> Result<Self, Error> {
        match source {
            MasterKeySource::File(path) => Self::open(path, random),
            MasterKeySource::Env(name) => {
                let text = variable(name).map(Zeroizing::new).ok_or_else(|| {
                    Error::Master(format!(
                        "the environment variable `{name}` is not set; it must hold 32 bytes as base64url: {EXAMPLE}"
                    ))
                })?;
                Self::from_text(&text)
                    .ok_or_else(|| Error::Master(format!("the environment variable `{name}` {NOT_A_KEY}")))
            }
            MasterKeySource::Credential(name) => {
                let folder = variable("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    Error::Master(format!(
                        "systemd gave no credentials (`CREDENTIALS_DIRECTORY` is not set); put \
                         `LoadCredential={name}:PATH` or `LoadCredentialEncrypted=` into the unit"
                    ))
                })?;
                if name.contains('/') || name.starts_with('.') {
                    return Err(Error::Master(format!("`{name}` is not the name of a credential")));
                }
                let path = Path::new(&folder).join(name);
                let bytes = fs::read(&path).map(Zeroizing::new).map_err(|error| {
                    Error::Master(format!(
                        "the credential `{}` cannot be read: {error}",
                        path.display()
                    ))
                })?;
                // systemd keeps others out itself, with the mount and an access list instead of the mode.
                if let Ok(bytes) = <&[u8; LENGTH]>::try_from(bytes.as_slice()) {
                    return Ok(Self::from_bytes(bytes));
                }
                std::str::from_utf8(&bytes)
                    .ok()
                    .and_then(Self::from_text)
                    .ok_or_else(|| Error::Master(format!("the credential `{}` {NOT_A_KEY}", path.display())))
            }
        }
    }

    /// From 32 bytes as base64url, padded or not.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim().trim_end_matches('='))
            .map(Zeroizing::new)
            .ok()?;
        <&[u8; LENGTH]>::try_from(bytes.as_slice())
            .ok()
            .map(Self::from_bytes)
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
