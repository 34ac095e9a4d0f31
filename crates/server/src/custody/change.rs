//! What became of keys, for the record.

use std::collections::BTreeMap;

use portcullis_core::audit;
use portcullis_core::ids::KeyId;
use portcullis_core::keys::State;
use portcullis_core::time::UnixTime;

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
    /// When, by the key's own record. Not known of one whose record is gone.
    pub at: Option<UnixTime>,
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
            happened: change
                .at
                .and_then(|at| jiff::Timestamp::from_second(at.as_secs()).ok())
                .map(|at| at.to_string()),
        })
    }
}

/// The purpose and the state of each key, at one moment.
pub(super) type States = BTreeMap<KeyId, (KeyPurpose, State)>;

/// The states of these keys.
pub(super) fn states_of(records: &[KeyRecord]) -> States {
    records
        .iter()
        .map(|record| (record.kid.clone(), (record.purpose, record.state)))
        .collect()
}

/// What happened since the keys were in these states.
pub(super) fn changes_since(role: &str, before: &States, after: &[KeyRecord]) -> Vec<KeyChange> {
    let mut changes = Vec::new();
    for record in after {
        let from = before.get(&record.kid).map(|(_, state)| *state);
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
                at: match record.state {
                    State::Staged => Some(record.staged),
                    State::Enabled => record.enabled,
                    State::Disabled => record.disabled,
                    State::Deleted => record
                        .revoked
                        .as_ref()
                        .map(|revocation| revocation.at)
                        .or(record.deleted),
                },
            });
        }
    }
    // A record that is not there any more was that of a deleted key; if nobody looked in between, it is told now.
    for (kid, (purpose, state)) in before {
        if *state != State::Deleted && after.iter().all(|record| record.kid != *kid) {
            changes.push(KeyChange {
                role: role.to_owned(),
                kid: kid.clone(),
                purpose: *purpose,
                from: Some(*state),
                to: State::Deleted,
                cause: Cause::Schedule,
                reason: None,
                at: None,
            });
        }
    }
    changes
}
