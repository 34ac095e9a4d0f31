//! Which changes of keys, and which revocations, a log has already: for a process that may have died right after a record.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use portcullis_core::audit::LINE_BYTES;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::folder;

/// Files that are looked through, the newest ones: as many as each start checks.
const FILES: usize = 2;

/// A key of a role came into a state. A key only goes forward, so that this happens once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct KeyTransition {
    /// Whose key.
    pub role: String,
    /// The key.
    pub kid: String,
    /// Its state after.
    pub to: String,
}

/// The changes of keys in the newest files of the log in `dir`.
///
/// # Errors
/// When a file cannot be read.
pub fn key_transitions(dir: &Path) -> io::Result<BTreeSet<KeyTransition>> {
    newest(dir, b"\"kind\":\"key_transition\"")
}

/// The names of the revocations in the newest files of the log in `dir`.
///
/// # Errors
/// When a file cannot be read.
pub fn revocations(dir: &Path) -> io::Result<BTreeSet<String>> {
    #[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
    struct Named {
        id: String,
    }
    let found: BTreeSet<Named> = newest(dir, b"\"kind\":\"revocation\"")?;
    Ok(found.into_iter().map(|named| named.id).collect())
}

fn newest<T: DeserializeOwned + Ord>(dir: &Path, kind: &[u8]) -> io::Result<BTreeSet<T>> {
    let mut found = BTreeSet::new();
    for path in folder::files(dir)?.into_iter().rev().take(FILES) {
        let longest = u64::try_from(LINE_BYTES + 1).unwrap_or(u64::MAX);
        let mut reader = BufReader::with_capacity(64 * 1024, File::open(path)?);
        let mut line = Vec::new();
        while reader.by_ref().take(longest).read_until(b'\n', &mut line)? > 0 {
            // Most lines are of other kinds, and not worth a parser's time.
            if line.windows(kind.len()).any(|part| part == kind)
                && let Ok(transition) = serde_json::from_slice(&line)
            {
                found.insert(transition);
            }
            line.clear();
        }
    }
    Ok(found)
}
