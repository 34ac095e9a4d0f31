//! Files that may be renewed while they are in use.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use portcullis_net::offload;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::TlsError;

/// Largest file with a key, certificates or a revocation list, in bytes.
pub(super) const FILE_BYTES: usize = 4 * 1024 * 1024;
/// How often files are looked at.
const LOOKS: Duration = Duration::from_secs(2);

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Anybody: nothing in it is a secret.
    Anyone,
    /// Its owner alone.
    Owner,
}

/// What a file says.
pub(super) struct Contents {
    pub(super) path: PathBuf,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

type Make<T> = Box<dyn Fn(&[Contents]) -> Result<T, TlsError> + Send + Sync>;

/// Something that is made of files, and made anew when one of them changes. While that cannot be done it stays as it was.
pub(super) struct Followed<T> {
    files: Vec<(PathBuf, Readers)>,
    make: Make<T>,
    current: ArcSwap<T>,
    /// A digest of the files, as they were looked at last.
    seen: Mutex<[u8; 32]>,
}

impl<T: Send + Sync + 'static> Followed<T> {
    /// Reads the files and makes it for the first time.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(super) fn open(files: Vec<(PathBuf, Readers)>, make: Make<T>) -> Result<Self, TlsError> {
        let contents = read(&files)?;
        Ok(Self {
            current: ArcSwap::from_pointee(make(&contents)?),
            seen: Mutex::new(digest(&contents)),
            files,
            make,
        })
    }

    /// As the files were when they last could be used.
    pub(super) fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Looks at the files from time to time, until `stop`.
    pub(super) fn follow(self: Arc<Self>, stop: CancellationToken) {
        tokio::spawn(async move {
            while stop
                .run_until_cancelled(tokio::time::sleep(LOOKS))
                .await
                .is_some()
            {
                let this = Arc::clone(&self);
                // Lost work is that of a process that stops.
                let _lost = offload::run(move || this.look()).await;
            }
        });
    }

    fn look(&self) {
        let named = || {
            let paths = self.files.iter().map(|(path, _)| path.display().to_string());
            paths.collect::<Vec<_>>().join(", ")
        };
        let made = read(&self.files).and_then(|contents| {
            let digest = digest(&contents);
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == digest {
                return Ok(None);
            }
            // What is wrong is told once, and tried again when the files change again.
            *seen = digest;
            (self.make)(&contents).map(Some)
        });
        match made {
            Ok(None) => {}
            Ok(Some(made)) => {
                self.current.store(Arc::new(made));
                tracing::info!(files = named(), "files were renewed, and are in use");
            }
            Err(error) => {
                let hint = error.hint();
                tracing::error!(files = named(), %error, hint, "files were renewed and cannot be used; what was read before stays in use");
            }
        }
    }
}

impl<T> std::fmt::Debug for Followed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followed")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn read(files: &[(PathBuf, Readers)]) -> Result<Vec<Contents>, TlsError> {
    files.iter().map(|(path, readers)| one(path, *readers)).collect()
}

fn one(path: &Path, readers: Readers) -> Result<Contents, TlsError> {
    let unreadable = |source: io::Error| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if readers == Readers::Owner && is_exposed(&found) {
        return Err(TlsError::Exposed {
            path: path.to_owned(),
        });
    }
    // As long as it may get, with one more: a vector that grows leaves its old contents behind.
    let expected = usize::try_from(found.len()).unwrap_or(FILE_BYTES).min(FILE_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected.saturating_add(1)));
    Read::by_ref(&mut file)
        .take(FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > FILE_BYTES {
        return Err(TlsError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(Contents {
        path: path.to_owned(),
        bytes,
    })
}

/// A pipe is nobody else's.
fn is_exposed(found: &fs::Metadata) -> bool {
    found.is_file() && found.permissions().mode() & 0o077 != 0
}

fn digest(contents: &[Contents]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for Contents { bytes, .. } in contents {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
