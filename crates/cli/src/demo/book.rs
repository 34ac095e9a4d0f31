//! The notes on disk: one JSON file, replaced whole at each change.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

use crate::files::write_private;

/// Longest note, in bytes.
pub(super) const NOTE_BYTES: usize = 10_000;
/// Most notes at one time.
pub(super) const NOTES: usize = 1_000;
/// Largest file read: every note at its longest, each byte escaped to six, and room for the ids.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// One note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Note {
    /// Its number, never given to another.
    pub(super) id: u64,
    /// What it says.
    pub(super) text: String,
}

/// Why a note is not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the note has {bytes} bytes; the longest that is kept has {NOTE_BYTES}")]
    TooLong { bytes: usize },
    #[error("there are {NOTES} notes, and no more are kept: delete them first")]
    Full,
    #[error("the notes could not be written: {0}")]
    Disk(#[from] io::Error),
}

/// All notes. A change that returned is on disk; one that did not, changed nothing.
#[derive(Debug)]
pub(super) struct Book {
    file: PathBuf,
    pages: Mutex<Pages>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pages {
    last_id: u64,
    notes: Vec<Note>,
}

impl Book {
    /// The notes in a folder, which is made when it is not there.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let file = dir.join("notes.json");
        let pages = match fs::metadata(&file) {
            Ok(found) if found.len() > FILE_BYTES => return Err(ErrorKind::FileTooLarge.into()),
            Ok(_) => serde_json::from_slice(&fs::read(&file)?)?,
            Err(error) if error.kind() == ErrorKind::NotFound => Pages::default(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            file,
            pages: Mutex::new(pages),
        })
    }

    /// All of them, oldest first.
    pub(super) fn list(&self) -> Vec<Note> {
        self.pages().notes.clone()
    }

    /// Keeps one more.
    pub(super) fn add(&self, text: String) -> Result<Note, Error> {
        if text.len() > NOTE_BYTES {
            return Err(Error::TooLong { bytes: text.len() });
        }
        let mut pages = self.pages();
        if pages.notes.len() >= NOTES {
            return Err(Error::Full);
        }
        let note = Note {
            id: pages.last_id.saturating_add(1),
            text,
        };
        let mut next = pages.clone();
        next.last_id = note.id;
        next.notes.push(note.clone());
        self.write(&next)?;
        *pages = next;
        Ok(note)
    }

    /// Deletes all of them, and says how many there were.
    pub(super) fn clear(&self) -> Result<usize, Error> {
        let mut pages = self.pages();
        let next = Pages {
            last_id: pages.last_id,
            notes: Vec::new(),
        };
        self.write(&next)?;
        let deleted = pages.notes.len();
        *pages = next;
        Ok(deleted)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Pages change by one assignment, after the disk has them: what a panic left behind is whole.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, pages: &Pages) -> io::Result<()> {
        write_private(&self.file, &serde_json::to_string(pages)?)?;
        // The new name is as durable as the folder that it is in.
        match self.file.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::Scratch;

    use super::*;

    #[test]
    fn notes_are_there_after_a_restart_and_numbers_are_not_reused() {
        let folder = Scratch::new("book-restart").unwrap();
        let dir = folder.path().join("notes");
        let book = Book::open(&dir).unwrap();
        assert_eq!(book.add("one".to_owned()).unwrap().id, 1);
        assert_eq!(book.add("two".to_owned()).unwrap().id, 2);
        assert_eq!(book.clear().unwrap(), 2);
        let kept = book.add("three \u{0} \"".to_owned()).unwrap();
        assert_eq!(kept.id, 3);
        drop(book);
        assert_eq!(Book::open(&dir).unwrap().list(), [kept]);
    }

    #[test]
    fn length_and_number_are_bounded() {
        let folder = Scratch::new("book-bounds").unwrap();
        let dir = folder.path().join("notes");
        let book = Book::open(&dir).unwrap();
        book.add("x".repeat(NOTE_BYTES)).unwrap();
        assert!(matches!(
            book.add("x".repeat(NOTE_BYTES + 1)),
            Err(Error::TooLong { bytes: 10_001 })
        ));
        book.pages().notes = vec![
            Note {
                id: 1,
                text: String::new()
            };
            NOTES - 1
        ];
        book.add(String::new()).unwrap();
        assert!(matches!(book.add(String::new()), Err(Error::Full)));
        assert_eq!(book.list().len(), NOTES);
    }

    #[test]
    fn a_change_that_cannot_be_written_did_not_happen() {
        let folder = Scratch::new("book-disk").unwrap();
        let dir = folder.path().join("notes");
        let book = Book::open(&dir).unwrap();
        book.add("kept".to_owned()).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(book.add("lost".to_owned()), Err(Error::Disk(_))));
        assert!(matches!(book.clear(), Err(Error::Disk(_))));
        assert_eq!(book.list().len(), 1);
    }

    #[test]
    fn a_file_that_is_not_ours_is_left_alone() {
        let folder = Scratch::new("book-foreign").unwrap();
        let dir = folder.path().join("notes");
        fs::create_dir_all(&dir).unwrap();
        for foreign in [
            "",
            "[]",
            "{\"notes\":[]}",
            "{\"last_id\":0,\"notes\":[],\"more\":1}",
        ] {
            fs::write(dir.join("notes.json"), foreign).unwrap();
            assert!(Book::open(&dir).is_err(), "{foreign}");
            assert_eq!(fs::read_to_string(dir.join("notes.json")).unwrap(), foreign);
        }
    }
}
