//! A folder that lives as long as a test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io, process, thread};

use crate::{Failure, Outcome};

/// A new empty folder, removed when dropped. A test that panics keeps it, so that its logs can be read.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A folder whose name begins with `name`.
    ///
    /// # Errors
    /// When the temporary folder cannot be written.
    pub fn new(name: &str) -> Outcome<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("portcullis-{name}-{}-{number}", process::id()));
            match fs::create_dir_all(env::temp_dir()).and_then(|()| fs::create_dir(&path)) {
                Ok(()) => return Ok(Self { path }),
                // Left by an earlier process of the same id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::at(&path, &error)),
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !thread::panicking() {
            // A folder that cannot be removed is no reason to fail a test that held.
            drop(fs::remove_dir_all(&self.path));
        }
    }
}
