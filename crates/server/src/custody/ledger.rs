//! What is known of a ring outside of its shelf: which state of each key is on record, and which keys are void.
//!
//! It lies beside the audit log that it is about. By it a start puts on record what nobody was there to record, and a
//! key folder from before a revocation does not bring the revoked key back. Keys only go forward and a void key stays
//! void, so that two readings of a ledger always join into one: each write takes in what is in the file by then.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::ids::KeyId;
use portcullis_core::keys::State;
use portcullis_net::random::System;
use serde::{Deserialize, Serialize};

use super::change::{KeyChange, States};
use super::shelf::{KeyPurpose, KeyRecord, RecordShape};
use super::{Error, files};

const VERSION: u8 = 1;
/// Alarms that wait for the audit log. What is more is in the process log alone.
const ALARMS: usize = 64;

/// The ledger of one ring and one audit log.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Without a file it lasts as long as the process.
    file: Option<PathBuf>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The last state of each key that is on record.
    states: States,
    /// The tombstones of revoked keys.
    void: BTreeMap<KeyId, KeyRecord>,
    /// Void keys whose tombstones are not on the shelf, as far as somebody was told.
    alarmed: BTreeSet<KeyId>,
    /// What was told and is not on record.
    alarms: Vec<String>,
    /// The file is behind: writing it failed, and is tried again with whatever comes next.
    unwritten: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    version: u8,
    states: Vec<StateShape>,
    revoked: Vec<RecordShape>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateShape {
    kid: KeyId,
    purpose: KeyPurpose,
    state: State,
}

impl Ledger {
    /// The ledger of the ring `role` in the folder of an audit log. There may be none yet.
    ///
    /// # Errors
    /// [`Error`]: a file that cannot be read, or is damaged. It is written whole, so that no crash damages it.
    pub fn open(folder: &Path, role: &str) -> Result<Self, Error> {
        let file = folder.join(format!("keys-{role}.json"));
        let kept = read(&file)?.unwrap_or_default();
        Ok(Self {
            file: Some(file),
            kept: Mutex::new(kept),
        })
    }

    /// The states on record; nothing where there is no file to remember them in.
    pub(super) fn states(&self) -> Option<States> {
        self.file.as_ref()?;
        Some(self.lock().states.clone())
    }

    /// Notes that a change is on record. A file that cannot be written is told of, and written with the next change.
    pub fn note(&self, change: &KeyChange) {
        let mut kept = self.lock();
        advance(&mut kept.states, &change.kid, (change.purpose, change.to));
        self.write(&mut kept);
    }

    /// Takes in the tombstones of a shelf, before anything else is done about them.
    pub(super) fn remember(&self, records: &[KeyRecord]) {
        let mut kept = self.lock();
        let known = kept.void.len();
        for record in records.iter().filter(|record| record.revoked.is_some()) {
            if let Entry::Vacant(place) = kept.void.entry(record.kid.clone()) {
                place.insert(KeyRecord {
                    handle: Vec::new(),
                    ..record.clone()
                });
            }
        }
        if kept.void.len() > known || kept.unwritten {
            self.write(&mut kept);
        }
    }

    /// Puts the tombstones of void keys in their places, where a shelf has lost them. The first time that one is found
    /// missing it is told, aloud.
    pub(super) fn mend(&self, records: &mut Vec<KeyRecord>, place: &str) {
        let mut kept = self.lock();
        let mut missing = BTreeSet::new();
        let mut told = Vec::new();
        for (kid, tombstone) in &kept.void {
            let found = records.iter_mut().find(|record| record.kid == *kid);
            let was = match found {
                Some(record) if record.revoked.is_some() => continue,
                Some(record) => {
                    let was = format!("is {} again", record.state);
                    // Whoever destroys the private key finds it by its handle.
                    *record = KeyRecord {
                        handle: std::mem::take(&mut record.handle),
                        ..tombstone.clone()
                    };
                    was
                }
                None => {
                    records.push(tombstone.clone());
                    "has lost its tombstone".to_owned()
                }
            };
            if !kept.alarmed.contains(kid) {
                told.push(format!(
                    "the revoked key `{kid}` {was} in {place}, as if a backup from before was put in place: it stays revoked"
                ));
            }
            missing.insert(kid.clone());
        }
        if !missing.is_empty() {
            records.sort_by(|a, b| a.kid.cmp(&b.kid));
        }
        kept.alarmed = missing;
        for alarm in told {
            tracing::error!("{alarm}");
            if kept.alarms.len() < ALARMS {
                kept.alarms.push(alarm);
            }
        }
    }

    /// What was told and is not on record.
    pub(super) fn take_alarms(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().alarms)
    }

    /// Gives back what could not be recorded.
    pub(super) fn put_back(&self, mut alarms: Vec<String>) {
        let mut kept = self.lock();
        alarms.append(&mut kept.alarms);
        kept.alarms = alarms;
    }

    /// Forgets keys that ended, and whose records nobody has any more.
    pub(super) fn forget_all_but(&self, records: &[KeyRecord]) {
        self.lock().states.retain(|kid, (_, state)| {
            *state != State::Deleted || records.iter().any(|record| record.kid == *kid)
        });
    }

    fn write(&self, kept: &mut Kept) {
        let Some(file) = &self.file else { return };
        let written = write(file, kept);
        kept.unwritten = written.is_err();
        if let Err(error) = written {
            tracing::error!(%error, "what is on record of keys could not be noted yet");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key goes forward only: of two states the later one holds.
fn advance(states: &mut States, kid: &KeyId, (purpose, state): (KeyPurpose, State)) {
    let known = states.entry(kid.clone()).or_insert((purpose, state));
    known.1 = known.1.max(state);
}

fn read(file: &Path) -> Result<Option<Kept>, Error> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io("read", file)(source)),
    };
    let damaged = |detail: String| Error::Ledger {
        path: file.to_owned(),
        detail,
    };
    let shape: Shape = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if shape.version != VERSION {
        return Err(damaged(format!(
            "its version is {} and this program reads {VERSION}",
            shape.version
        )));
    }
    let mut kept = Kept::default();
    for known in shape.states {
        advance(&mut kept.states, &known.kid, (known.purpose, known.state));
    }
    for record in shape.revoked {
        let record = KeyRecord::try_from(record).map_err(|unreadable| damaged(unreadable.into_detail()))?;
        if record.revoked.is_none() {
            return Err(damaged(format!("the key `{}` in it is not revoked", record.kid)));
        }
        kept.void.insert(record.kid.clone(), record);
    }
    Ok(Some(kept))
}

/// Joins the ledger with what is in the file by now, and writes it in its place.
fn write(file: &Path, kept: &mut Kept) -> Result<(), Error> {
    if let Some(other) = read(file)? {
        for (kid, (purpose, state)) in other.states {
            // What is not known here any more was forgotten in good order.
            if state != State::Deleted || kept.states.contains_key(&kid) {
                advance(&mut kept.states, &kid, (purpose, state));
            }
        }
        for (kid, tombstone) in other.void {
            kept.void.entry(kid).or_insert(tombstone);
        }
    }
    let shape = Shape {
        version: VERSION,
        states: kept
            .states
            .iter()
            .map(|(kid, (purpose, state))| StateShape {
                kid: kid.clone(),
                purpose: *purpose,
                state: *state,
            })
            .collect(),
        revoked: kept.void.values().map(RecordShape::from).collect(),
    };
    let mut text = serde_json::to_vec_pretty(&shape).map_err(|_| Error::Crypto("write keys as JSON"))?;
    text.push(b'\n');
    if let Some(folder) = file.parent() {
        files::private_folder(folder)?;
    }
    files::replace(file, &text, &System)
}
