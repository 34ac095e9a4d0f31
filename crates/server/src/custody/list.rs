//! What people see of keys. Needs no master key and no lock.

use std::path::Path;

use portcullis_core::ids::KeyId;
use portcullis_core::keys::State;
use portcullis_core::time::UnixTime;
use serde::Serialize;

use super::Error;
use super::shelf::{Folder, KeyRecord, Shelf};

/// One key, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyDescription {
    /// `signing`, `encryption`, or `certificates` for the CA's.
    pub purpose: &'static str,
    /// Its name.
    pub kid: KeyId,
    /// The JOSE name of its algorithm.
    pub algorithm: &'static str,
    /// Where it is in its life.
    pub state: State,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub created: UnixTime,
    /// When it became the one in use.
    #[serde(serialize_with = "maybe_rfc3339", skip_serializing_if = "Option::is_none")]
    pub enabled: Option<UnixTime>,
    /// When it was retired.
    #[serde(serialize_with = "maybe_rfc3339", skip_serializing_if = "Option::is_none")]
    pub disabled: Option<UnixTime>,
    /// When it ended.
    #[serde(serialize_with = "maybe_rfc3339", skip_serializing_if = "Option::is_none")]
    pub deleted: Option<UnixTime>,
    /// Why it was revoked, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// From when its certificate is valid.
    #[serde(serialize_with = "rfc3339")]
    pub not_before: UnixTime,
    /// Until when its certificate and those above it are valid.
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
    /// `file`, `pkcs11` or `external`: where its private key is.
    pub custody: String,
    /// Where its record is: a folder, or a database and a ring.
    pub place: String,
}

impl KeyDescription {
    pub(super) fn new(record: &KeyRecord, place: &str) -> Result<Self, Error> {
        let damaged = |detail: String| Error::record(place, &record.kid, &detail);
        let facts = record.certificate().map_err(damaged)?;
        Ok(Self {
            purpose: record.purpose.name(),
            kid: record.kid.clone(),
            algorithm: record.algorithm.name(),
            state: record.state,
            created: record.staged,
            enabled: record.enabled,
            disabled: record.disabled,
            deleted: record.deleted,
            revoked: record
                .revoked
                .as_ref()
                .map(|revocation| revocation.reason.clone()),
            not_before: facts.not_before,
            not_after: record.not_after().map_err(damaged)?,
            serial: facts.serial,
            subject: facts.subject,
            issuer: facts.issuer,
            identities: facts.identities,
            custody: record.backend.clone(),
            place: place.to_owned(),
        })
    }
}

/// The keys in a ring's folder (or the CA's), signing keys first. Works while a server uses them.
///
/// # Errors
/// [`Error`]: the folder cannot be read, or a file in it is damaged.
pub fn list(dir: &Path) -> Result<Vec<KeyDescription>, Error> {
    list_shelf(&Folder::existing(dir))
}

/// The keys on a shelf, signing keys first.
///
/// # Errors
/// [`Error`]: the shelf cannot be read, or a record on it is damaged.
pub fn list_shelf(shelf: &dyn Shelf) -> Result<Vec<KeyDescription>, Error> {
    describe(&shelf.read()?.records, &shelf.place())
}

pub(super) fn describe(records: &[KeyRecord], place: &str) -> Result<Vec<KeyDescription>, Error> {
    let mut records: Vec<&KeyRecord> = records.iter().collect();
    records.sort_by(|a, b| (a.purpose, a.staged, &a.kid).cmp(&(b.purpose, b.staged, &b.kid)));
    records
        .into_iter()
        .map(|record| KeyDescription::new(record, place))
        .collect()
}

/// As RFC 3339 writes it, in UTC.
fn rfc3339<S: serde::Serializer>(at: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    let at = jiff::Timestamp::from_second(at.as_secs()).map_err(serde::ser::Error::custom)?;
    serializer.collect_str(&at)
}

fn maybe_rfc3339<S: serde::Serializer>(at: &Option<UnixTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}
