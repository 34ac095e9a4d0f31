//! What became of keys, for the record.

use portcullis_core::audit;
use portcullis_core::ids::KeyId;
use portcullis_core::keys::State;

use super::shelf::{Cause, KeyPurpose, KeyRecord};

/// A key went from one state to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// Whose ring.
    pub role: String,
    /// Which key.
    pub kid: KeyId,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Its state before; none when it is new.
    pub from: Option<State>,
    /// Its state now.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// The operator's words, for one that was revoked.
    pub reason: Option<String>,
}

impl KeyChange {
    /// The state before, `none` for a new key.
    #[must_use]
    pub fn from_name(&self) -> &'static str {
        self.from.map_or("none", State::as_str)
    }
}

impl From<KeyChange> for audit::Event {
    fn from(change: KeyChange) -> Self {
        audit::Event::KeyTransition(audit::KeyTransition {
            role: change.role.clone(),
            kid: change.kid.to_string(),
            purpose: change.purpose.name(),
            from: change.from_name(),
            to: change.to.as_str(),
            cause: change.cause.as_str(),
            reason: change.reason,
        })
    }
}

/// What happened between two readings of a shelf.
pub(super) fn changes_between(role: &str, before: &[KeyRecord], after: &[KeyRecord]) -> Vec<KeyChange> {
    let state_in = |records: &[KeyRecord], kid: &KeyId| {
        records
            .iter()
            .find(|record| record.kid == *kid)
            .map(|record| record.state)
    };
    let mut changes = Vec::new();
    for record in after {
        let from = state_in(before, &record.kid);
        if from != Some(record.state) {
            changes.push(KeyChange {
                role: role.to_owned(),
                kid: record.kid.clone(),
                purpose: record.purpose,
                from,
                to: record.state,
                cause: record.cause,
                reason: record
                    .revoked
                    .as_ref()
                    .map(|revocation| revocation.reason.clone()),
            });
        }
    }
    // A record that is not there any more was that of a deleted key; if nobody looked in between, it is told now.
    for record in before.iter().filter(|record| record.state != State::Deleted) {
        if state_in(after, &record.kid).is_none() {
            changes.push(KeyChange {
                role: role.to_owned(),
                kid: record.kid.clone(),
                purpose: record.purpose,
                from: Some(record.state),
                to: State::Deleted,
                cause: Cause::Schedule,
                reason: None,
            });
        }
    }
    changes
}
