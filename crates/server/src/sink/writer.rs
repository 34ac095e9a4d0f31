//! The end of the log: writes, syncs, begins new files, and writes again after a failure.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

use super::folder::{End, file_name, options, sync_names};

/// Writes whole lines at the end of the log.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    /// Bytes of the file that are on disk for sure.
    synced: u64,
    /// What was written after them.
    unsynced: Vec<u8>,
    /// A write or sync failed: what the file holds after `synced` is not known.
    failed: bool,
    /// A file of so many bytes is followed by a new one.
    file_bytes: u64,
}

impl Writer {
    pub(super) fn new(dir: PathBuf, end: End, file_bytes: u64) -> Self {
        let End { path, file, len, .. } = end;
        Self {
            dir,
            path,
            file,
            synced: len,
            unsynced: Vec::new(),
            failed: false,
            file_bytes,
        }
    }

    /// Writes lines, the first of which has sequence number `first_seq`. After an error, the same lines come again.
    pub(super) fn write(&mut self, lines: &[u8], first_seq: u64) -> io::Result<()> {
        self.in_place()?;
        if self.len() >= self.file_bytes {
            self.sync()?;
            self.begin_file(first_seq)?;
        }
        let written = self.file.write_all_at(lines, self.len());
        self.failed = written.is_err();
        written?;
        self.unsynced.extend_from_slice(lines);
        Ok(())
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.in_place()?;
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let synced = self.file.sync_data();
        self.failed = synced.is_err();
        synced?;
        self.synced = self.len();
        self.unsynced.clear();
        Ok(())
    }

    /// How much was written and not synced.
    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    fn len(&self) -> u64 {
        self.synced
            .saturating_add(u64::try_from(self.unsynced.len()).unwrap_or(u64::MAX))
    }

    /// The file is still the one of its name and holds all that was written. A log that somebody removed, replaced or cut while
    /// it was written would take records that nobody can read.
    fn in_place(&mut self) -> io::Result<()> {
        self.mend()?;
        let held = self.file.metadata()?;
        let found = fs::metadata(&self.path);
        let same = |found: &fs::Metadata| (found.dev(), found.ino()) == (held.dev(), held.ino());
        if found.as_ref().is_ok_and(same) && held.len() >= self.len() {
            return Ok(());
        }
        self.failed = true;
        found?;
        let path = self.path.display();
        Err(io::Error::other(format!(
            "`{path}` was replaced or cut while it was written"
        )))
    }

    /// After a failure: opens the file anew (it may be another one by now, or on a mount that came back), and writes
    /// again all that is not on disk for sure. A failed sync leaves pages that are marked clean and lost.
    fn mend(&mut self) -> io::Result<()> {
        if !self.failed {
            return Ok(());
        }
        let file = options().open(&self.path)?;
        if file.metadata()?.len() < self.synced {
            return Err(io::Error::other(format!(
                "`{}` is shorter than what was written",
                self.path.display()
            )));
        }
        file.write_all_at(&self.unsynced, self.synced)?;
        self.file = file;
        self.failed = false;
        Ok(())
    }

    fn begin_file(&mut self, first_seq: u64) -> io::Result<()> {
        let path = self.dir.join(file_name(first_seq));
        let file = match options().create_new(true).open(&path) {
            // Made by an attempt that failed after it: empty, and ours.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match options().open(&path) {
                Ok(file) if file.metadata()?.len() == 0 => file,
                Ok(_) | Err(_) => return Err(error),
            },
            made => made?,
        };
        sync_names(&self.dir)?;
        (self.path, self.file, self.synced) = (path, file, 0);
        Ok(())
    }
}
