//! Revoking a key: with all that a ring has, or with its shelf alone.
//!
//! The master key, the CA and the place for private keys make a replacement. What makes a key void is its tombstone on
//! the shelf, and for that nothing else is needed.

use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwk::Use;
use portcullis_core::keys::{Replacement, RotationPolicy, State, Transition, revoke};
use portcullis_core::time::UnixTime;

use super::change::{KeyChange, States, changes_since, states_of};
use super::maker::views_of;
use super::shelf::{Cause, Changed, KeyRecord, Revocation, Shelf, Shelved};
use super::{Error, Ledger};

/// Longest reason for a revocation, in bytes.
const REASON_BYTES: usize = 500;
/// Changes that are tried again because another came first.
const ATTEMPTS: usize = 16;

/// What revoking a key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is revoked, and was before. Nothing was changed.
    Before(Revocation),
    /// It is revoked from now on.
    Now {
        /// What changed: this key, and the one that took its place.
        changes: Vec<KeyChange>,
        /// Why no other key took its place, where one has to.
        unreplaced: Option<String>,
    },
}

/// Revokes a key with nothing but its ring's shelf: no master key, no CA, no private key. A staged key takes its place;
/// where there is none, `why` says what kept us from making one. The private half is destroyed by the servers.
///
/// # Errors
/// [`Error::Refused`] for an unknown key and a reason that is none; the shelf.
pub fn revoke_alone(
    ring: &Alone<'_>,
    kid: &KeyId,
    reason: &str,
    why: &str,
    now: UnixTime,
) -> Result<Revoked, Error> {
    let reason = stated(reason)?;
    let before = ring.shelf.read()?;
    if let Some(revocation) = earlier(&before, kid)? {
        return Ok(Revoked::Before(revocation));
    }
    let after = void(ring.shelf, &ring.policy, kid, reason, now)?;
    if let Some(ledger) = ring.ledger {
        ledger.remember(&after.records);
    }
    Ok(outcome(ring.role, &states_of(&before.records), &after, kid, why))
}

/// As much of a ring as a revocation needs.
pub struct Alone<'a> {
    /// Whose ring.
    pub role: &'a str,
    /// Where it is.
    pub shelf: &'a dyn Shelf,
    /// When keys change.
    pub policy: RotationPolicy,
    /// What is known of it beside the shelf, where that can be had.
    pub ledger: Option<&'a Ledger>,
}

impl std::fmt::Debug for Alone<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alone")
            .field("role", &self.role)
            .field("shelf", &self.shelf)
            .finish_non_exhaustive()
    }
}

/// The operator's words, if they are some.
pub(super) fn stated(reason: &str) -> Result<&str, Error> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > REASON_BYTES || reason.chars().any(char::is_control) {
        return Err(Error::Refused(format!(
            "say why in one line of 1 to {REASON_BYTES} bytes: the reason stays with the key, and goes on record"
        )));
    }
    Ok(reason)
}

/// Whether the key was revoked before.
///
/// # Errors
/// [`Error::Refused`] when there is no such key, or none any more.
pub(super) fn earlier(shelved: &Shelved, kid: &KeyId) -> Result<Option<Revocation>, Error> {
    match shelved.records.iter().find(|record| record.kid == *kid) {
        None => Err(Error::Refused(format!(
            "there is no key `{kid}`: `keys list` names those that there are"
        ))),
        Some(record) if record.revoked.is_some() => Ok(record.revoked.clone()),
        Some(record) if record.state == State::Deleted => Err(Error::Refused(format!(
            "the key `{kid}` is gone already: it retired, and nothing that it made is valid any more"
        ))),
        Some(_) => Ok(None),
    }
}

/// Writes the tombstone, and lets a staged key take the place.
pub(super) fn void(
    shelf: &dyn Shelf,
    policy: &RotationPolicy,
    kid: &KeyId,
    reason: &str,
    now: UnixTime,
) -> Result<Shelved, Error> {
    for _ in 0..ATTEMPTS {
        let mut shelved = shelf.read()?;
        if earlier(&shelved, kid)?.is_some() {
            return Ok(shelved);
        }
        let views = views_of(&shelved.records, &shelf.place())?;
        let successor = match revoke(now, policy, &views, kid) {
            Ok(Transition::Revoke {
                replacement: Replacement::Staged(successor),
                ..
            }) => Some(successor),
            Ok(_) => None,
            Err(error) => return Err(Error::Refused(error.to_string())),
        };
        for record in &mut shelved.records {
            if record.kid == *kid {
                bury(record, reason, now);
            } else if Some(&record.kid) == successor.as_ref() {
                record.state = State::Enabled;
                record.enabled = Some(now);
                record.promote_at = None;
                record.cause = Cause::Emergency;
            }
        }
        if let Changed::To(generation) = shelf.change(shelved.generation, &shelved.records)? {
            return Ok(Shelved {
                generation,
                ..shelved
            });
        }
    }
    Err(Error::Busy(shelf.place()))
}

/// Makes a record a tombstone. Its handle stays until the private key is destroyed.
pub(super) fn bury(record: &mut KeyRecord, reason: &str, now: UnixTime) {
    record.state = State::Deleted;
    record.deleted = Some(now);
    record.promote_at = None;
    record.cause = Cause::Emergency;
    record.revoked = Some(Revocation {
        reason: reason.to_owned(),
        at: now,
    });
}

/// What a revocation came to that did without a new key.
pub(super) fn outcome(role: &str, before: &States, after: &Shelved, kid: &KeyId, why: &str) -> Revoked {
    let was = before.get(kid).copied();
    let purpose = was
        .filter(|(_, state)| *state == State::Enabled)
        .and_then(|(purpose, _)| purpose.jwk_use());
    let has = |purpose: Use| {
        after
            .records
            .iter()
            .any(|record| record.state == State::Enabled && record.purpose.jwk_use() == Some(purpose))
    };
    Revoked::Now {
        changes: changes_since(role, before, &after.records),
        unreplaced: purpose.filter(|purpose| !has(*purpose)).map(|_| why.to_owned()),
    }
}
