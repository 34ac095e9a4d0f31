//! One key in one file.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::ids::KeyId;
use portcullis_core::keys::{CertificateFacts, State};
use portcullis_core::random::SecureRandom;
use portcullis_core::time::UnixTime;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Error, MasterKey, files};

/// The file format's number; another one is not read.
const VERSION: u8 = 1;

/// What the file says, with the private key still closed.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) purpose: KeyPurpose,
    pub(super) kid: KeyId,
    pub(super) state: State,
    pub(super) created: UnixTime,
    /// DER; the key's own first.
    pub(super) chain: Vec<Vec<u8>>,
    /// PKCS#8, encrypted under the master key.
    pub(super) sealed: Vec<u8>,
}

/// The purposes that a key file can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyPurpose {
    Signing,
    Encryption,
    Certificates,
}

impl KeyPurpose {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Encryption => "encryption",
            Self::Certificates => "certificates",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    version: u8,
    purpose: KeyPurpose,
    kid: KeyId,
    state: State,
    created: i64,
    certificates: Vec<String>,
    private_key: String,
}

impl Record {
    /// A new key, its private part encrypted.
    pub(super) fn seal(
        self,
        pkcs8: &[u8],
        master: &MasterKey,
        random: &dyn SecureRandom,
    ) -> Result<Self, Error> {
        let sealed = master.seal(&self.context(), pkcs8, random)?;
        Ok(Self { sealed, ..self })
    }

    /// The private key.
    pub(super) fn open(&self, folder: &Path, master: &MasterKey) -> Result<Zeroizing<Vec<u8>>, Error> {
        master
            .open_sealed(&self.context(), &self.sealed)?
            .ok_or_else(|| Error::OtherMasterKey {
                path: self.path(folder),
            })
    }

    /// What the ciphertext is bound to: a signing key copied over an encryption key does not open.
    fn context(&self) -> Vec<u8> {
        format!("portcullis key\0{}\0{}", self.purpose.name(), self.kid).into_bytes()
    }

    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.kid))
    }

    /// Puts the file in place, whole.
    pub(super) fn write(&self, folder: &Path, random: &dyn SecureRandom) -> Result<(), Error> {
        let shape = Shape {
            version: VERSION,
            purpose: self.purpose,
            kid: self.kid.clone(),
            state: self.state,
            created: self.created.as_secs(),
            certificates: self.chain.iter().map(|der| STANDARD.encode(der)).collect(),
            private_key: STANDARD.encode(&self.sealed),
        };
        let mut text = serde_json::to_vec_pretty(&shape).map_err(|_| Error::Crypto("write a key as JSON"))?;
        text.push(b'\n');
        files::replace(&self.path(folder), &text, random)
    }

    /// Reads one file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let damaged = |detail: String| Error::Damaged {
            path: path.to_owned(),
            detail,
        };
        let text = fs::read(path).map_err(Error::io("read", path))?;
        let shape: Shape = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if shape.version != VERSION {
            return Err(damaged(format!(
                "its version is {} and this program reads {VERSION}",
                shape.version
            )));
        }
        if path.file_stem().is_none_or(|stem| stem != shape.kid.as_str()) {
            return Err(damaged(format!(
                "it holds key `{}`, which is not its name",
                shape.kid
            )));
        }
        let decode = |text: &String| STANDARD.decode(text).map_err(|error| damaged(error.to_string()));
        let chain = shape
            .certificates
            .iter()
            .map(decode)
            .collect::<Result<Vec<_>, _>>()?;
        let record = Self {
            purpose: shape.purpose,
            kid: shape.kid,
            state: shape.state,
            created: UnixTime::from_secs(shape.created),
            chain,
            sealed: decode(&shape.private_key)?,
        };
        record.certificate(path)?;
        Ok(record)
    }

    /// What the key's own certificate says.
    pub(super) fn certificate(&self, path: &Path) -> Result<CertificateFacts, Error> {
        let damaged = |detail: String| Error::Damaged {
            path: path.to_owned(),
            detail,
        };
        let own = self
            .chain
            .first()
            .ok_or_else(|| damaged("it has no certificate".to_owned()))?;
        CertificateFacts::parse(own).map_err(|error| damaged(error.to_string()))
    }

    /// All keys of a folder, by name. Files of other kinds are left alone.
    pub(super) fn read_all(folder: &Path) -> Result<Vec<Self>, Error> {
        let mut records = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io("read the folder", folder))? {
            let path = entry.map_err(Error::io("read the folder", folder))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                records.push(Self::read(&path)?);
            }
        }
        records.sort_by(|a, b| a.kid.cmp(&b.kid));
        Ok(records)
    }
}
