//! What can go wrong with kept keys.

use std::path::{Path, PathBuf};

use portcullis_core::fault::Fault;
use portcullis_core::keys::Flaw;

/// A keyring or master key that cannot be used. Nothing is created in place of what cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system said no.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A key file that is not one: torn, edited, or something else of the same name.
    #[error("`{}` is damaged: {detail}; restore it from a backup, or move it away to start without that key", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A key file that the master key does not open.
    #[error("`{}` was encrypted under another master key; restore the `master.key` that belongs to it", path.display())]
    OtherMasterKey {
        /// The file.
        path: PathBuf,
    },
    /// A file that others can read.
    #[error("`{}` can be read by others (mode {mode:03o}); make it private: chmod 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A certificate that must not be signed: the configuration asks for one, such as a public URL that is no URI.
    #[error("no certificate can be made: {0}")]
    Certificate(#[from] Flaw),
    /// The crypto library or the system's randomness failed.
    #[error("the crypto library failed to {0}")]
    Crypto(&'static str),
}

impl Error {
    /// Stable slug.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "keys.io",
            Self::Damaged { .. } => "keys.damaged",
            Self::OtherMasterKey { .. } => "keys.other-master-key",
            Self::Exposed { .. } => "keys.exposed",
            Self::Certificate(_) => "keys.certificate",
            Self::Crypto(_) => "keys.crypto",
        }
    }

    /// Whose fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Io { .. }
            | Self::Damaged { .. }
            | Self::OtherMasterKey { .. }
            | Self::Exposed { .. }
            | Self::Certificate(_)
            | Self::Crypto(_) => Fault::Operator,
        }
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
