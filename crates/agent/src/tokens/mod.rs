//! Where grants are kept: one encrypted file, changed by one process at a time, and never half written.
//!
//! The file is AES-256-GCM under a key in a file beside it, both readable by their owner alone, in a folder of mode
//! 0700. That keeps tokens out of whatever copies or shows single files: a search index, a mistaken upload, a log, a
//! backup that leaves the key out. It does not keep them from someone who can read the whole folder as this user: such a
//! one can run this program as well.
//!
//! Two locks: `lock`, held for as long as one change of the file takes, and one per grant, held while its refresh token
//! is being spent, so that of several processes exactly one spends it and the others find the new one.

mod file;
mod record;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::fault::Fault;
use portcullis_core::jose::base64url;
use portcullis_net::offload;
use tokio::time::sleep;

pub(crate) use record::{ClientRecord, Grant, Kept, KeysRecord};

/// How often the lock of a grant is asked for, and how many times: its holder waits for an authorization server, which has
/// 20 seconds.
const TURN: Duration = Duration::from_millis(20);
const TURNS: usize = 6_000;

/// Why tokens cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Others can read a secret file, or write to its folder.
    #[error("{path} is open to other users (mode {mode:03o})")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A symbolic link where a file of ours should be.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// The tokens do not open with the key, or are not what this version writes.
    #[error("the kept tokens in {path} cannot be read: {detail}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it; nothing of its content.
        detail: &'static str,
    },
    /// The crypto library failed.
    #[error("the crypto library could not encrypt")]
    Crypto,
    /// The process is stopping.
    #[error("the work was lost while the process was stopping")]
    Lost,
}

impl StoreError {
    /// The stable slug.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "tokens.io",
            Self::Exposed { .. } => "tokens.exposed",
            Self::NotAFile { .. } => "tokens.not-a-file",
            Self::Damaged { .. } => "tokens.damaged",
            Self::Crypto => "tokens.crypto",
            Self::Lost => "tokens.lost",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Io { .. } | Self::Exposed { .. } | Self::NotAFile { .. } | Self::Damaged { .. } => {
                Fault::Operator
            }
            Self::Crypto | Self::Lost => Fault::Bug,
        }
    }
}

/// The kept grants of one folder. Cloning shares the folder; so may other processes.
#[derive(Clone, Debug)]
pub(crate) struct TokenStore {
    folder: Arc<Path>,
}

/// The right to spend a grant's refresh token, until dropped.
#[derive(Debug)]
pub(crate) struct GrantLock {
    _file: File,
}

impl TokenStore {
    /// Keeps tokens in this folder, making it and its key when they are not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn open(folder: PathBuf) -> Result<Self, StoreError> {
        let store = Self {
            folder: Arc::from(folder),
        };
        store
            .clone()
            .blocking(|store| file::prepare(&store.folder))
            .await?;
        Ok(store)
    }

    /// Everything kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn read(&self) -> Result<Kept, StoreError> {
        self.clone().blocking(|store| file::read(&store.folder)).await
    }

    /// The grant for this server.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn grant(&self, server: &str) -> Result<Option<Grant>, StoreError> {
        Ok(self.read().await?.grants.remove(server))
    }

    /// Changes what is kept. When this returns, the change is on the disk.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed.
    pub(crate) async fn update<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Kept) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.clone()
            .blocking(move |store| {
                let _lock = file::lock(&store.folder.join("lock"))?;
                let mut kept = file::read(&store.folder)?;
                let result = change(&mut kept);
                file::write(&store.folder, &kept)?;
                Ok(result)
            })
            .await
    }

    /// Waits for the right to spend the refresh token of this server's grant, two minutes at most.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn hold(&self, server: &str) -> Result<GrantLock, StoreError> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, server.as_bytes());
        let path = self
            .folder
            .join(format!("grant-{}.lock", base64url::encode(digest)));
        for _ in 0..TURNS {
            // Nobody waits on a thread: there are few, and whoever holds the lock needs one to go on and give it back.
            let wanted = path.clone();
            let taken = self.clone().blocking(move |_| file::try_lock(&wanted)).await?;
            if let Some(file) = taken {
                return Ok(GrantLock { _file: file });
            }
            sleep(TURN).await;
        }
        Err(StoreError::Io {
            action: "lock",
            path,
            source: std::io::ErrorKind::TimedOut.into(),
        })
    }

    async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        offload::run(move || work(self))
            .await
            .map_err(|_| StoreError::Lost)?
    }
}

#[cfg(test)]
mod tests;
