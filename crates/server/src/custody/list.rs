//! What people see of keys. Needs no master key and no lock.

use std::path::{Path, PathBuf};

use portcullis_core::ids::KeyId;
use portcullis_core::keys::{CertificateFacts, State};
use portcullis_core::time::UnixTime;
use serde::Serialize;

use super::Error;
use super::record::Record;

/// One key, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyDescription {
    /// `signing`, `encryption`, or `certificates` for the CA's.
    pub purpose: &'static str,
    /// Its name.
    pub kid: KeyId,
    /// Where it is in its life.
    pub state: State,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub created: UnixTime,
    /// From when its certificate is valid.
    #[serde(serialize_with = "rfc3339")]
    pub not_before: UnixTime,
    /// Until when its certificate is valid.
    #[serde(serialize_with = "rfc3339")]
    pub not_after: UnixTime,
    /// The certificate's serial number in hexadecimal.
    pub serial: String,
    /// The certificate's subject.
    pub subject: String,
    /// The certificate's issuer.
    pub issuer: String,
    /// The server identities in the certificate.
    pub identities: Vec<String>,
    /// Where it is kept.
    pub file: PathBuf,
}

impl KeyDescription {
    pub(super) fn new(record: &Record, facts: &CertificateFacts, file: PathBuf) -> Self {
        Self {
            purpose: record.purpose.name(),
            kid: record.kid.clone(),
            state: record.state,
            created: record.created,
            not_before: facts.not_before,
            not_after: facts.not_after,
            serial: facts.serial.clone(),
            subject: facts.subject.clone(),
            issuer: facts.issuer.clone(),
            identities: facts.identities.clone(),
            file,
        }
    }
}

/// The keys in a keyring's folder (or the CA's), signing keys first. Works while a server uses them.
///
/// # Errors
/// [`Error`]: the folder cannot be read, or a file in it is damaged.
pub fn list(dir: &Path) -> Result<Vec<KeyDescription>, Error> {
    let mut records = Record::read_all(dir)?;
    records.sort_by(|a, b| (a.purpose, &a.kid).cmp(&(b.purpose, &b.kid)));
    records
        .iter()
        .map(|record| {
            let path = record.path(dir);
            Ok(KeyDescription::new(record, &record.certificate(&path)?, path))
        })
        .collect()
}

/// As RFC 3339 writes it, in UTC.
fn rfc3339<S: serde::Serializer>(at: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    let at = jiff::Timestamp::from_second(at.as_secs()).map_err(serde::ser::Error::custom)?;
    serializer.collect_str(&at)
}
