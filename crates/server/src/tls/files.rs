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
    seen: Mutex<Seen>,
}

/// What the last look found.
#[derive(Default)]
struct Seen {
    /// A digest of the files.
    digest: [u8; 32],
    /// What was wrong with them.
    problem: Option<String>,
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
            seen: Mutex::new(Seen {
                digest: digest(&contents),
                problem: None,
            }),
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
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let made = read(&self.files).and_then(|contents| {
            let digest = digest(&contents);
            if seen.digest == digest && seen.problem.is_none() {
                return Ok(None);
            }
            seen.digest = digest;
            (self.make)(&contents).map(Some)
        });
        match made {
            Ok(None) => {}
            Ok(Some(made)) => {
                self.current.store(Arc::new(made));
                seen.problem = None;
                tracing::info!(files = named(), "files were renewed, and are in use");
            }
            // Told once, and tried again each time: what was half written is whole a moment later.
            Err(error) => {
                let problem = error.to_string();
                if seen.problem.as_ref() != Some(&problem) {
                    let hint = error.hint();
                    tracing::error!(files = named(), %error, hint, "files were renewed and cannot be used; what was read before stays in use");
                }
                seen.problem = Some(problem);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("portcullis-tls-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn followed(path: &Path) -> Result<Followed<String>, TlsError> {
        let make = |contents: &[Contents]| match contents {
            [only] if !only.bytes.is_empty() => Ok(String::from_utf8_lossy(&only.bytes).into_owned()),
            _ => Err(TlsError::Library("empty".to_owned())),
        };
        Followed::open(vec![(path.to_owned(), Readers::Anyone)], Box::new(make))
    }

    #[test]
    fn what_cannot_be_used_leaves_what_there_was_and_is_tried_again() {
        let folder = Folder::new("followed");
        let path = folder.0.join("file");
        assert!(followed(&path).is_err());
        fs::write(&path, "one").unwrap();
        let followed = followed(&path).unwrap();
        let first = followed.current();
        followed.look();
        assert!(Arc::ptr_eq(&first, &followed.current()), "nothing changed");
        for broken in ["", "two"] {
            fs::write(&path, broken).unwrap();
            if broken == "two" {
                fs::remove_file(&path).unwrap();
            }
            followed.look();
            assert!(Arc::ptr_eq(&first, &followed.current()), "{broken:?}");
        }
        // The same as before the trouble: used again, since it was not before.
        fs::write(&path, "two").unwrap();
        followed.look();
        assert_eq!(*followed.current(), "two");
    }

    #[test]
    fn a_file_at_the_limit_and_one_past_it() {
        let folder = Folder::new("limit");
        let path = folder.0.join("file");
        fs::write(&path, vec![b'a'; FILE_BYTES]).unwrap();
        assert!(followed(&path).is_ok());
        fs::write(&path, vec![b'a'; FILE_BYTES + 1]).unwrap();
        assert!(matches!(followed(&path), Err(TlsError::TooLarge { .. })));
    }
}
