//! What is on record of revocations, beside the audit log that has the records.
//!
//! One line of JSON per entry, added when the entry is on record. A line that a crash left unfinished is not there. What can concern
//! nothing any more leaves at a start.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::revocation::{Entry, RevocationId};
use portcullis_core::time::UnixTime;
use portcullis_net::random::System;

use super::Error;
use crate::custody::files;

/// The name of the file.
const FILE: &str = "revocations.jsonl";

/// The ledger of one audit log. Whoever has the audit log open may add to it, and nobody else.
#[derive(Debug)]
pub struct Ledger {
    file: PathBuf,
    noted: Mutex<HashSet<RevocationId>>,
}

impl Ledger {
    /// The ledger in the folder of an audit log, and what it has. There may be none yet.
    ///
    /// # Errors
    /// [`Error::Ledger`]: it cannot be read, or has a line that is no entry.
    pub fn open(folder: &Path, now: UnixTime) -> Result<(Self, Vec<Entry>), Error> {
        let file = folder.join(FILE);
        let (all, torn) = read(&file)?;
        let count = all.len();
        let live: Vec<Entry> = all.into_iter().filter(|entry| !entry.is_over(now)).collect();
        if live.len() < count || torn {
            let mut text = Vec::new();
            for entry in &live {
                text.extend(line(&file, entry)?);
            }
            files::replace(&file, &text, &System).map_err(|error| failed(&file, &error))?;
        }
        let noted = live.iter().map(|entry| entry.id().clone()).collect();
        let ledger = Self {
            file,
            noted: Mutex::new(noted),
        };
        Ok((ledger, live))
    }

    /// Whether an entry is on record.
    pub(super) fn has(&self, id: &RevocationId) -> bool {
        self.noted().contains(id)
    }

    /// What is in it now.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, Error> {
        read(&self.file).map(|(entries, _)| entries)
    }

    /// Notes that an entry is on record; on disk when this returns.
    ///
    /// # Errors
    /// [`Error::Ledger`]: it is not noted, and may be noted again.
    pub fn note(&self, entry: &Entry) -> Result<(), Error> {
        let mut noted = self.noted();
        if noted.contains(entry.id()) {
            return Ok(());
        }
        let add = |file: &mut File, line: &[u8]| {
            let before = file.metadata()?.len();
            let added = file.write_all(line).and_then(|()| file.sync_data());
            if added.is_err() {
                // Half a line before the next one would make both unreadable.
                file.set_len(before)?;
            }
            added
        };
        let line = line(&self.file, entry)?;
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.file)
            .and_then(|mut file| add(&mut file, &line))
            .map_err(|error| failed(&self.file, &error))?;
        noted.insert(entry.id().clone());
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, HashSet<RevocationId>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries of the file, and whether its last line was left unfinished.
fn read(file: &Path) -> Result<(Vec<Entry>, bool), Error> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
        Err(error) => return Err(failed(file, &error)),
    };
    let (whole, torn) = match text.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => text.split_at(end.saturating_add(1)),
        None => (&[][..], &text[..]),
    };
    let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let entries = lines
        .map(|line| serde_json::from_slice(line).map_err(|error| failed(file, &error)))
        .collect::<Result<_, _>>()?;
    Ok((entries, !torn.is_empty()))
}

fn line(file: &Path, entry: &Entry) -> Result<Vec<u8>, Error> {
    let mut line = serde_json::to_vec(entry).map_err(|error| failed(file, &error))?;
    line.push(b'\n');
    Ok(line)
}

fn failed(file: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Ledger {
        path: file.display().to_string(),
        detail: error.to_string(),
    }
}
