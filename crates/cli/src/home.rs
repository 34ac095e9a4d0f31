//! The data folder of `portcullis up`: where everything it keeps lives, held by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A data folder. Knows where everything in it is, whether or not a server runs on it.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

/// The right to write to a data folder, until dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

impl Home {
    /// The given folder, or the user's own: `$XDG_DATA_HOME/portcullis`, else `~/.local/share/portcullis`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line may read the environment"
    )]
    pub(crate) fn find(given: Option<&Path>) -> Result<Self, Failure> {
        if let Some(given) = given {
            return Ok(Self(std::path::absolute(given)?));
        }
        let base = std::env::var("XDG_DATA_HOME")
            .ok()
            .filter(|dir| dir.starts_with('/'))
            .map(PathBuf::from);
        let base = base.or_else(|| {
            std::env::var("HOME")
                .ok()
                .map(|home| PathBuf::from(home).join(".local/share"))
        });
        base.map(|base| Self(base.join("portcullis"))).ok_or_else(|| {
            Failure::usage("there is no place for data: neither XDG_DATA_HOME nor HOME is set")
                .hint("name a folder with --data DIR")
        })
    }

    /// Creates the folder with mode 0700 when it is not there, and takes it for this process.
    pub(crate) fn hold(&self) -> Result<Held, Failure> {
        let cannot = |what: &str, error: &std::io::Error| {
            Failure::usage(format!(
                "the data folder {} cannot be {what}: {error}",
                self.0.display()
            ))
            .hint("choose another with --data DIR")
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|error| cannot("made", &error))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.0.join("lock"))
            .map_err(|error| cannot("used", &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Held { _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::usage(format!(
                "another portcullis runs on {}",
                self.0.display()
            ))
            .hint("stop it first, or choose another folder with --data DIR")),
            Err(fs::TryLockError::Error(error)) => Err(cannot("locked", &error)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn audit(&self) -> PathBuf {
        self.0.join("audit")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub(crate) fn master_key(&self) -> PathBuf {
        self.0.join("master.key")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("portcullis.db")
    }

    pub(crate) fn notes(&self) -> PathBuf {
        self.0.join("notes")
    }

    pub(crate) fn addresses(&self) -> PathBuf {
        self.0.join("addresses.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_holds_a_folder() {
        let dir = std::env::temp_dir().join(format!("portcullis-home-{}", std::process::id()));
        let home = Home::find(Some(&dir)).unwrap();
        let held = home.hold().unwrap();
        let refused = home.hold().unwrap_err().to_string();
        assert!(refused.contains("another portcullis runs on"), "{refused}");
        drop(held);
        home.hold().unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
