//! A ring in a folder: one file per key.
//!
//! `KID.json` for each key, `generation` with the number of the last change, `change` with the whole of it, `lock` and
//! `lease` for `flock`. A change is written to `change` first, whole and synced: from that moment it has happened.
//! Then the key files follow, and `generation` is last. Whoever finds a `change` that is newer than `generation`
//! finishes it. The file stays afterwards, so that a key file that was torn under us can be written again.

use std::collections::BTreeSet;
use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use portcullis_core::ids::KeyId;
use portcullis_net::random::System;
use serde::{Deserialize, Serialize};

use super::record::{Shape, Unreadable};
use super::{Changed, KeyRecord, Lease, Shelf, Shelved};
use crate::custody::{Error, files};

const GENERATION: &str = "generation";
const CHANGE: &str = "change";
const LEASE: &str = "lease";
const NOTHING: &[KeyRecord] = &[];

/// A folder with the keys of one ring.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

/// The whole of a change, as it is written before the key files are.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    generation: u64,
    removed: Vec<KeyId>,
    records: Vec<Shape>,
}

impl Folder {
    /// The folder, made for its owner alone when it is not there. What a process that died left half done is finished.
    ///
    /// # Errors
    /// [`Error`]: the disk, or a damaged file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        files::private_folder(path)?;
        let folder = Self {
            path: path.to_owned(),
        };
        let _held = files::lock(path)?;
        folder.recover()?;
        Ok(folder)
    }

    /// The folder as it is. Changes nothing until something is to be changed.
    #[must_use]
    pub fn existing(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Where a key is kept.
    #[must_use]
    pub fn file_of(&self, kid: &KeyId) -> PathBuf {
        self.path.join(format!("{kid}.json"))
    }

    /// Under the exclusive lock: removes unfinished files, finishes a change, repairs torn key files and those that
    /// undo a revocation.
    fn recover(&self) -> Result<(), Error> {
        files::remove_unfinished(&self.path)?;
        let change = match self.last_change()? {
            Some(Ok(change)) => change,
            Some(Err(detail)) => {
                // It was renamed into place after a sync: what is torn now never began to be carried out, or was
                // carried out long ago. The key files are whole either way.
                let path = self.path.join(CHANGE);
                tracing::warn!(path = %path.display(), detail, "removing a torn change");
                return fs::remove_file(&path).map_err(Error::io("remove", &path));
            }
            None => return Ok(()),
        };
        let generation = self.generation()?;
        if change.generation > generation {
            tracing::info!(folder = %self.path.display(), generation = change.generation, "finishing a change of keys");
            return self.carry_out(change);
        }
        if change.generation == generation {
            for record in self.records_of(change)? {
                let path = self.file_of(&record.kid);
                let there = match fs::read(&path) {
                    Ok(text) => KeyRecord::from_json(&text),
                    Err(_) => continue,
                };
                let why = match there {
                    Err(Unreadable::Torn(detail)) => detail,
                    Ok(there) if record.revoked.is_some() && there.revoked.is_none() => {
                        "it is from before the revocation of its key".to_owned()
                    }
                    Ok(_) | Err(Unreadable::Damaged(_)) => continue,
                };
                tracing::warn!(path = %path.display(), why, "writing a key file again");
                files::replace(&path, record.to_json().as_bytes(), &System)?;
            }
        }
        Ok(())
    }

    /// The last change, when there is one and it is whole.
    fn last_change(&self) -> Result<Option<Result<Change, String>>, Error> {
        let path = self.path.join(CHANGE);
        match fs::read(&path) {
            Ok(text) => Ok(Some(
                serde_json::from_slice(&text).map_err(|error| error.to_string()),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("read", &path)(source)),
        }
    }

    fn records_of(&self, change: Change) -> Result<Vec<KeyRecord>, Error> {
        let path = self.path.join(CHANGE);
        let record = |shape: Shape| {
            KeyRecord::try_from(shape).map_err(|unreadable| Error::Damaged {
                path: path.clone(),
                detail: unreadable.into_detail(),
            })
        };
        change.records.into_iter().map(record).collect()
    }

    fn carry_out(&self, change: Change) -> Result<(), Error> {
        let (generation, removed) = (change.generation, change.removed.clone());
        for record in self.records_of(change)? {
            let path = self.file_of(&record.kid);
            let text = record.to_json();
            if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                continue;
            }
            files::replace(&path, text.as_bytes(), &System)?;
        }
        for kid in removed {
            let path = self.file_of(&kid);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io("remove", &path)(source)),
            }
        }
        files::replace(
            &self.path.join(GENERATION),
            format!("{generation}\n").as_bytes(),
            &System,
        )
    }

    /// All key files. Files of other kinds are left alone. One that was torn is read from the change that wrote it, if
    /// that is the last one: the next to open the folder for writing mends it.
    fn read_files(&self, written: &[KeyRecord]) -> Result<Vec<KeyRecord>, Error> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(Error::io("read the folder", &self.path))? {
            let path = entry.map_err(Error::io("read the folder", &self.path))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                records.push(read_file(&path, written)?);
            }
        }
        records.sort_by(|a, b| a.kid.cmp(&b.kid));
        Ok(records)
    }
}

/// Puts the tombstones of a change in their places: a key file from before a revocation does not undo it.
fn bury_again(records: &mut Vec<KeyRecord>, written: &[KeyRecord]) {
    for tombstone in written.iter().filter(|record| record.revoked.is_some()) {
        match records.iter_mut().find(|record| record.kid == tombstone.kid) {
            Some(record) if record.revoked.is_some() => {}
            Some(record) => {
                tracing::error!(
                    kid = %record.kid,
                    "the file of a revoked key is one from before the revocation: the key stays revoked"
                );
                *record = tombstone.clone();
            }
            None => records.push(tombstone.clone()),
        }
    }
}

fn read_file(path: &Path, written: &[KeyRecord]) -> Result<KeyRecord, Error> {
    let damaged = |detail: String| Error::Damaged {
        path: path.to_owned(),
        detail,
    };
    let text = fs::read(path).map_err(Error::io("read", path))?;
    let record = match KeyRecord::from_json(&text) {
        Ok(record) => record,
        Err(Unreadable::Torn(detail)) => {
            let named =
                |record: &&KeyRecord| path.file_stem().is_some_and(|stem| stem == record.kid.as_str());
            let Some(record) = written.iter().find(named) else {
                return Err(damaged(detail));
            };
            tracing::warn!(path = %path.display(), detail, "a key file is torn; reading its copy in the last change");
            record.clone()
        }
        Err(Unreadable::Damaged(detail)) => return Err(damaged(detail)),
    };
    if path.file_stem().is_none_or(|stem| stem != record.kid.as_str()) {
        return Err(damaged(format!(
            "it holds key `{}`, which is not its name",
            record.kid
        )));
    }
    Ok(record)
}

impl Shelf for Folder {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn generation(&self) -> Result<u64, Error> {
        let path = self.path.join(GENERATION);
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| Error::Damaged {
                path,
                detail: "it is not a number".to_owned(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(Error::io("read", &path)(source)),
        }
    }

    fn read(&self) -> Result<Shelved, Error> {
        // Nobody changes the files while this is held. A folder that cannot be written has nobody who could.
        let _held = files::lock_shared(&self.path)?;
        let generation = self.generation()?;
        let mut written = Vec::new();
        let mut copies = NOTHING;
        if let Some(Ok(change)) = self.last_change()? {
            let of = change.generation;
            written = self.records_of(change)?;
            if of > generation {
                // Its writer died before it was carried out; it has happened all the same.
                return Ok(Shelved {
                    generation: of,
                    records: written,
                });
            }
            // A copy in an older change may be older than the file.
            copies = if of == generation { &written } else { NOTHING };
        }
        let mut records = self.read_files(copies)?;
        bury_again(&mut records, &written);
        records.sort_by(|a, b| a.kid.cmp(&b.kid));
        Ok(Shelved { generation, records })
    }

    fn change(&self, expected: u64, records: &[KeyRecord]) -> Result<Changed, Error> {
        let _held = files::lock(&self.path)?;
        self.recover()?;
        if self.generation()? != expected {
            return Ok(Changed::Conflict);
        }
        let kept: BTreeSet<&KeyId> = records.iter().map(|record| &record.kid).collect();
        let mut removed: Vec<KeyId> = self
            .read_files(&[])?
            .into_iter()
            .map(|record| record.kid)
            .collect();
        removed.retain(|kid| !kept.contains(kid));
        let generation = expected.saturating_add(1);
        let change = Change {
            generation,
            removed,
            records: records.iter().map(Shape::from).collect(),
        };
        let text = serde_json::to_vec(&change).map_err(|_| Error::Crypto("write keys as JSON"))?;
        files::replace(&self.path.join(CHANGE), &text, &System)?;
        self.carry_out(change)?;
        Ok(Changed::To(generation))
    }

    fn lease(&self) -> Result<Option<Lease>, Error> {
        let path = self.path.join(LEASE);
        let file = files::lockable(&path).map_err(Error::io("open", &path))?;
        match file.try_lock() {
            // The operating system frees it with the file.
            Ok(()) => Ok(Some(Lease::new(move || drop(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(Error::io("lock", &path)(source)),
        }
    }
}
