//! Revocations between the store that replicas share and the guard of this process.
//!
//! Takes: the log of revocations in the store, and what is revoked here. Gives: to the guard what is revoked, to the audit log a
//! record of each. May use: `store`, `custody` (how files are written whole), the recorder. Never: lets a revocation count that is not
//! on disk in the store, forgets one because the store lost it.
//!
//! A thread reads the log four times a second from where it last was. What it reads is in force at once, then on record, then noted
//! in a ledger beside the audit log. By the ledger a start knows what is on record, and a store that was put back from a backup does
//! not bring back what was revoked since: what is missing there stays in force, is told aloud, and is added again.
//!
//! When the log cannot be read for [`UNREADABLE_AFTER`], the guard refuses everything until it can.

mod follower;
mod ledger;
#[cfg(test)]
mod tests;

use portcullis_core::audit;
use portcullis_core::fault::Fault;
use portcullis_core::random::{self, RandomUnavailable, SecureRandom};
use portcullis_core::revocation::{By, Entry, Extent, RevocationId, Target};
use portcullis_core::time::UnixTime;

pub use follower::{Follower, POLL, Settings, UNREADABLE_AFTER};
pub use ledger::Ledger;

/// Something cannot be revoked, or what is cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The ledger beside the audit log.
    #[error("the ledger of revocations `{path}`: {detail}")]
    Ledger {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The system gives no randomness, or no thread.
    #[error("the system gave no {0}")]
    System(&'static str),
}

impl Error {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Ledger { .. } => "revocation.ledger",
            Self::System(_) => "revocation.system",
        }
    }

    /// Who has to act.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::Operator
    }
}

/// A name for a new entry, which no other has.
///
/// # Errors
/// [`RandomUnavailable`].
pub fn new_id(random: &dyn SecureRandom) -> Result<RevocationId, RandomUnavailable> {
    // A letter first, so that a command takes it for no option. 23 characters are always a name.
    RevocationId::parse(&format!("r{}", random::token::<16>(random)?)).map_err(|_| RandomUnavailable)
}

/// An entry as the audit log has it.
#[must_use]
pub fn event(entry: &Entry) -> audit::Event {
    match entry {
        Entry::Revoke(revocation) => {
            let target = &revocation.target;
            audit::Revocation {
                id: revocation.id.to_string(),
                action: "revoke",
                of: Some(target.kind()),
                issuer: target.issuer().map(ToString::to_string),
                name: Some(target.name().to_owned()),
                extent: Some(target.extent()),
                issued_until: issued_until(target).and_then(instant),
                lifts: None,
                by: revocation.by.as_str().to_owned(),
                reason: revocation.reason.to_string(),
                happened: instant(revocation.at),
            }
        }
        Entry::Lift(lift) => audit::Revocation {
            id: lift.id.to_string(),
            action: "lift",
            of: None,
            issuer: None,
            name: None,
            extent: None,
            issued_until: None,
            lifts: Some(lift.lifts.to_string()),
            by: By::Operator.as_str().to_owned(),
            reason: lift.reason.to_string(),
            happened: instant(lift.at),
        },
    }
    .into()
}

/// Until when what was issued is void, where that is what a revocation says.
#[must_use]
pub const fn issued_until(target: &Target) -> Option<UnixTime> {
    match target {
        Target::User { extent, .. } | Target::Agent { extent, .. } => match extent {
            Extent::IssuedUntil(until) => Some(*until),
            Extent::UntilLifted => None,
        },
        Target::Token { .. } | Target::Grant { .. } | Target::Server { .. } => None,
    }
}

fn instant(at: UnixTime) -> Option<String> {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .ok()
        .map(|at| at.to_string())
}
