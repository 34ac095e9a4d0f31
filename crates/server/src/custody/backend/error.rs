//! What can go wrong where private keys are.

use portcullis_core::fault::Fault;

/// A key that cannot be made, found or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The place does not answer: the HSM is away, the network is down. It may be back later without a restart.
    #[error("the private keys cannot be reached now: {0}; it is tried again with the next use")]
    Unavailable(String),
    /// The place can never do what was asked.
    #[error("{0}")]
    Refused(String),
    /// What was configured does not fit: no such module, token, PIN, region or credentials.
    #[error("{0}")]
    Configuration(String),
    /// No key under this handle.
    #[error("the private key `{0}` is not there any more; restore it from a backup, or revoke the key")]
    Missing(String),
    /// The handle is not of this place, or leads to a key of another purpose.
    #[error("a key's handle is not usable: {0}")]
    Damaged(String),
    /// The handle was encrypted under another master key.
    #[error(
        "a private key was encrypted under another master key; restore the `master.key` that belongs to it"
    )]
    OtherMasterKey,
    /// The crypto library or the system's randomness failed.
    #[error("the crypto library failed to {0}")]
    Crypto(&'static str),
}

impl BackendError {
    /// Stable slug.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "keys.unavailable",
            Self::Refused(_) => "keys.refused",
            Self::Configuration(_) => "keys.configuration",
            Self::Missing(_) => "keys.missing",
            Self::Damaged(_) => "keys.handle",
            Self::OtherMasterKey => "keys.other-master-key",
            Self::Crypto(_) => "keys.crypto",
        }
    }

    /// Whose fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unavailable(_) => Fault::Peer,
            Self::Refused(_)
            | Self::Configuration(_)
            | Self::Missing(_)
            | Self::Damaged(_)
            | Self::OtherMasterKey
            | Self::Crypto(_) => Fault::Operator,
        }
    }

    /// Whether the same may work later without anybody changing anything.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
