//! What can go wrong with kept keys.

use std::path::{Path, PathBuf};

use portcullis_core::fault::Fault;
use portcullis_core::ids::KeyId;
use portcullis_core::keys::Flaw;

use super::backend::BackendError;

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
    /// The ledger beside the audit log is not one.
    #[error(
        "`{}` is damaged: {detail}; it says which keys are void, so restore it from a backup; move it away only if the \
         folder of the keys is as it was left", path.display()
    )]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The master key does not open the CA's key.
    #[error("{place} was encrypted under another master key; restore the master key that belongs to it")]
    OtherMasterKey {
        /// The key and where it is.
        place: String,
    },
    /// The master key is not where the configuration says, or is not one.
    #[error("the master key cannot be used: {0}")]
    Master(String),
    /// The private key's place said no.
    #[error("key `{kid}`: {source}")]
    Backend {
        /// The key, or what kind of key was to be made.
        kid: String,
        /// Why.
        source: BackendError,
    },
    /// What an operator asked for cannot be done.
    #[error("{0}")]
    Refused(String),
    /// Another process changed the ring each time that we were about to.
    #[error("the keys in {0} are changed by others all the time; try again")]
    Busy(String),
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
    /// The database of a shelf failed, or cannot be reached.
    #[error("the keys in {place} cannot be used: {detail}")]
    Store {
        /// The database, and the ring where one is meant.
        place: String,
        /// What is wrong.
        detail: String,
    },
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
            Self::Ledger { .. } => "keys.ledger",
            Self::OtherMasterKey { .. } => "keys.other-master-key",
            Self::Exposed { .. } => "keys.exposed",
            Self::Certificate(_) => "keys.certificate",
            Self::Master(_) => "keys.master-key",
            Self::Backend { source, .. } => source.code(),
            Self::Refused(_) => "keys.refused",
            Self::Busy(_) => "keys.busy",
            Self::Store { .. } => "keys.store",
            Self::Crypto(_) => "keys.crypto",
        }
    }

    /// Whose fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Io { .. }
            | Self::Damaged { .. }
            | Self::Ledger { .. }
            | Self::OtherMasterKey { .. }
            | Self::Exposed { .. }
            | Self::Certificate(_)
            | Self::Master(_)
            | Self::Refused(_)
            | Self::Busy(_)
            | Self::Store { .. }
            | Self::Crypto(_) => Fault::Operator,
            Self::Backend { source, .. } => source.fault(),
        }
    }

    /// A record that is not as it should be.
    pub(super) fn record(place: &str, kid: &KeyId, detail: &str) -> Self {
        Self::Damaged {
            path: PathBuf::from(format!("{place}/{kid}.json")),
            detail: detail.to_owned(),
        }
    }

    /// Whether the same may work later without anybody changing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Backend { source, .. } if source.may_pass())
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
