//! What to do with the keys of a ring at a moment. Pure: the same moment, policy and keys give the same plan.
//!
//! Every [`Transition`] is one durable write, so that a crash between any two leaves a state from which the next plan
//! goes on. [`plan`] may be asked at any time, as often as wanted, by any number of replicas: where each write is a
//! compare-and-set on the state that was planned on, whoever comes second finds nothing left to do.
//!
//! What is promised, while no two readings of clocks differ from the time between them by more than `clock_skew`, and
//! plans are carried out at least every [`RotationPolicy::longest_gap`]:
//! - there is always exactly one primary of each purpose, and its certificate is valid;
//! - no verifier meets a key that it cannot know, and no token outlives the key that verifies it, after [`rotate_now`] too;
//!   all but the first key, a replacement for a revoked one, and, where a revocation took the staged key, the next one;
//! - three keys of a purpose at most, more only through [`rotate_now`], which stops at [`MOST_KEYS`]; the planner itself
//!   may stage one more after it.
//!
//! After a revocation the promises hold if plans are carried out without gaps until the next key was staged and promoted.
//! After a longer gap, or a clock that was far off, there is a primary again with the first plan; where no key is left
//! that verifiers know, it is one that they learn by fetching the JWK Set.

use super::policy::RotationPolicy;
use super::state::{Birth, KeyView, NotAllowed, State};
use crate::fault::Fault;
use crate::ids::KeyId;
use crate::jose::jwk::Use;
use crate::time::{Lifetime, UnixTime};

/// How many keys of one purpose there may be for [`rotate_now`] to begin another rotation.
pub const MOST_KEYS: usize = 6;

/// No plan is longer. One from any state that rotation itself can reach is far shorter; it bounds what a ring with
/// hundreds of imported keys costs, whose rest is done by the next plan.
const LONGEST_PLAN: usize = 64;

/// One durable write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A new key is made. Where it is born enabled, the primary of its purpose retires in the same write.
    Make {
        /// What it is for.
        purpose: Use,
        /// How it begins.
        birth: Birth,
    },
    /// A staged key becomes the primary, and the primary of its purpose retires in the same write: at no moment there
    /// are two, or none.
    Enable {
        /// The staged key.
        kid: KeyId,
    },
    /// An enabled key that is not the primary retires. Only after something else than this planner enabled a second.
    Disable {
        /// The key.
        kid: KeyId,
    },
    /// The key is gone; its private part is destroyed after the write.
    Delete {
        /// The key.
        kid: KeyId,
    },
    /// A staged key is to become the primary as soon as verifiers know it.
    Hasten {
        /// The staged key.
        kid: KeyId,
    },
    /// The key is gone and everything made with it refused; if it was the primary, another is in the same write.
    Revoke {
        /// The key.
        kid: KeyId,
        /// Who takes its place.
        replacement: Replacement,
    },
}

/// Who takes the place of a revoked key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// It was not the primary.
    NotNeeded,
    /// This staged key.
    Staged(KeyId),
    /// A new key.
    New(Use),
}

/// The one key of this purpose that signs, or that others encrypt to. None only if there is none, or its certificate
/// has ended and no plan was carried out since.
#[must_use]
pub fn primary(now: UnixTime, keys: &[KeyView], purpose: Use) -> Option<&KeyView> {
    newest_enabled(keys, purpose).filter(|key| now < key.not_after)
}

/// What has to be done now, in this order. Carried out at once, the plan of the same moment is empty: for this a new
/// key must get a certificate until `now` + `validity` at least.
#[must_use]
pub fn plan(now: UnixTime, policy: &RotationPolicy, keys: &[KeyView]) -> Vec<Transition> {
    let mut keys = keys.to_vec();
    let mut transitions = Vec::new();
    for purpose in [Use::Signature, Use::Encryption] {
        while transitions.len() < LONGEST_PLAN
            && let Some(next) = next(now, policy, &keys, purpose)
        {
            // A name that no transition can speak of: a key that is made now is changed by a later plan.
            let new = next.birth().and_then(|(purpose, birth)| {
                let kid = KeyId::parse(&format!("planned {}", transitions.len())).ok()?;
                let not_after = now.plus(policy.timing().validity);
                Some(KeyView::made(kid, purpose, birth, now, not_after))
            });
            let applied = next.apply(now, &mut keys, new);
            transitions.push(next);
            if applied.is_err() {
                break;
            }
        }
    }
    transitions
}

/// The next moment at which there is something to do, if the keys stay as they are: what a keeper sleeps until.
#[must_use]
pub fn next_due(now: UnixTime, policy: &RotationPolicy, keys: &[KeyView]) -> Option<UnixTime> {
    let timing = policy.timing();
    // Whatever the planner compares a moment with.
    let mut moments: Vec<UnixTime> = keys
        .iter()
        .filter(|key| key.state != State::Deleted)
        .flat_map(|key| {
            [
                Some(key.staged.plus(policy.maturity())),
                Some(key.staged.plus(timing.promote_after)),
                key.disabled.map(|at| at.plus(timing.grace)),
                key.disabled.map(|at| at.plus(policy.shortest_grace())),
                Some(key.not_after.minus(timing.stage_before)),
                Some(key.not_after.minus(policy.last_use_before_end())),
                Some(key.not_after.minus(timing.clock_skew)),
            ]
        })
        .flatten()
        .filter(|moment| now < *moment)
        .collect();
    moments.push(now);
    moments.sort_unstable();
    moments.dedup();
    moments.into_iter().find(|moment| {
        [Use::Signature, Use::Encryption]
            .iter()
            .any(|purpose| next(*moment, policy, keys, *purpose).is_some())
    })
}

/// Why a key cannot be rotated or revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPossible {
    /// There are many keys that were primary a short time ago.
    #[error(
        "there are {0} keys for this purpose already, because there were many rotations in a short time: wait until retired keys are removed, or revoke one that must go"
    )]
    TooMany(usize),
    /// No such key, or it is gone already.
    #[error("there is no key `{0}`: `keys list` names those that there are")]
    Unknown(KeyId),
}

impl NotPossible {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooMany(_) => "too_many_keys",
            Self::Unknown(_) => "unknown_key",
        }
    }

    /// Whose fault it is: of whoever asked for it.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::TooMany(_) | Self::Unknown(_) => Fault::Caller,
        }
    }
}

/// The graceful rotation that somebody asked for: a staged key becomes the primary as soon as every verifier knows it
/// (which may be at once; the next plan does it), and is made if there is none. None when that is under way already.
///
/// # Errors
/// [`NotPossible::TooMany`].
pub fn rotate_now(
    now: UnixTime,
    policy: &RotationPolicy,
    keys: &[KeyView],
    purpose: Use,
) -> Result<Option<Transition>, NotPossible> {
    let staged = staged(now, policy, keys, purpose).next();
    if staged.is_some_and(|staged| staged.hastened) {
        return Ok(None);
    }
    // Either way there is one key more in the end: where a key is staged as soon as the last one was promoted, hastening
    // it has the planner make the next.
    let count = present(keys, purpose).count();
    if count >= MOST_KEYS {
        return Err(NotPossible::TooMany(count));
    }
    Ok(Some(match staged {
        Some(staged) => Transition::Hasten {
            kid: staged.kid.clone(),
        },
        None => Transition::Make {
            purpose,
            birth: Birth::Hastened,
        },
    }))
}

/// The emergency: the key is gone at once, whatever it was. A primary's place is taken in the same write by the staged
/// key, known to every verifier or not, or by a new one. The next plan sees to the rest.
///
/// # Errors
/// [`NotPossible::Unknown`].
pub fn revoke(
    now: UnixTime,
    policy: &RotationPolicy,
    keys: &[KeyView],
    kid: &KeyId,
) -> Result<Transition, NotPossible> {
    let key = keys
        .iter()
        .find(|key| key.kid == *kid && key.state != State::Deleted)
        .ok_or_else(|| NotPossible::Unknown(kid.clone()))?;
    let replacement = if key.state == State::Enabled {
        match staged(now, policy, keys, key.purpose).next() {
            Some(staged) => Replacement::Staged(staged.kid.clone()),
            None => Replacement::New(key.purpose),
        }
    } else {
        Replacement::NotNeeded
    };
    Ok(Transition::Revoke {
        kid: kid.clone(),
        replacement,
    })
}

/// A transition does not fit the keys: they are not those it was planned on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotApplicable {
    /// No key of that name.
    #[error("there is no key `{0}`")]
    Unknown(KeyId),
    /// Its state does not allow it.
    #[error(transparent)]
    State(#[from] NotAllowed),
    /// A key has to be made and was not given, or the reverse, or it is not as the transition says.
    #[error("the new key is not the one that was planned")]
    New,
}

impl Transition {
    /// The key that has to be made for this, if one has: for what, and how it begins.
    #[must_use]
    pub fn birth(&self) -> Option<(Use, Birth)> {
        match self {
            Self::Make { purpose, birth } => Some((*purpose, *birth)),
            Self::Revoke {
                replacement: Replacement::New(purpose),
                ..
            } => Some((*purpose, Birth::Enabled)),
            Self::Enable { .. }
            | Self::Disable { .. }
            | Self::Delete { .. }
            | Self::Hasten { .. }
            | Self::Revoke { .. } => None,
        }
    }

    /// Changes the keys as this transition says, all in one; `new` is the key that was made for it
    /// ([`KeyView::made`]). On an error nothing is changed.
    ///
    /// # Errors
    /// [`NotApplicable`].
    pub fn apply(
        &self,
        now: UnixTime,
        keys: &mut Vec<KeyView>,
        new: Option<KeyView>,
    ) -> Result<(), NotApplicable> {
        let mut after = keys.clone();
        let fits = match (self.birth(), &new) {
            (None, None) => true,
            (Some((purpose, birth)), Some(new)) => {
                new.purpose == purpose
                    && new.state == birth.state()
                    && new.hastened == (birth == Birth::Hastened)
                    && keys.iter().all(|key| key.kid != new.kid)
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !fits {
            return Err(NotApplicable::New);
        }
        match self {
            Self::Make { purpose, birth } => {
                if *birth == Birth::Enabled {
                    retire(now, &mut after, *purpose)?;
                }
            }
            Self::Enable { kid } => {
                let purpose = find(&mut after, kid)?.purpose;
                retire(now, &mut after, purpose)?;
                find(&mut after, kid)?.become_state(State::Enabled, now)?;
            }
            Self::Disable { kid } => find(&mut after, kid)?.become_state(State::Disabled, now)?,
            Self::Delete { kid } => find(&mut after, kid)?.become_state(State::Deleted, now)?,
            Self::Hasten { kid } => {
                let key = find(&mut after, kid)?;
                if key.state != State::Staged {
                    return Err(NotApplicable::State(NotAllowed {
                        kid: kid.clone(),
                        from: key.state,
                        to: State::Staged,
                    }));
                }
                key.hastened = true;
            }
            Self::Revoke { kid, replacement } => {
                find(&mut after, kid)?.become_state(State::Deleted, now)?;
                if let Replacement::Staged(other) = replacement {
                    find(&mut after, other)?.become_state(State::Enabled, now)?;
                }
            }
        }
        after.extend(new);
        *keys = after;
        Ok(())
    }
}

fn find<'a>(keys: &'a mut [KeyView], kid: &KeyId) -> Result<&'a mut KeyView, NotApplicable> {
    keys.iter_mut()
        .find(|key| key.kid == *kid)
        .ok_or_else(|| NotApplicable::Unknown(kid.clone()))
}

fn retire(now: UnixTime, keys: &mut [KeyView], purpose: Use) -> Result<(), NotAllowed> {
    keys.iter_mut()
        .filter(|key| key.purpose == purpose && key.state == State::Enabled)
        .try_for_each(|key| key.become_state(State::Disabled, now))
}

/// The first thing to do for one purpose.
fn next(now: UnixTime, policy: &RotationPolicy, keys: &[KeyView], purpose: Use) -> Option<Transition> {
    let newest = newest_enabled(keys, purpose);
    second_primary(keys, purpose)
        .or_else(|| promote(now, policy, keys, purpose, newest))
        .or_else(|| delete(now, policy, keys, purpose))
        .or_else(|| stage(now, policy, keys, purpose, newest))
}

/// Never made by this planner; but if something else left two, one of them is the primary.
fn second_primary(keys: &[KeyView], purpose: Use) -> Option<Transition> {
    let newest = newest_enabled(keys, purpose)?;
    let other = present(keys, purpose).find(|key| key.state == State::Enabled && key.kid != newest.kid)?;
    Some(Transition::Disable {
        kid: other.kid.clone(),
    })
}

fn promote(
    now: UnixTime,
    policy: &RotationPolicy,
    keys: &[KeyView],
    purpose: Use,
    primary: Option<&KeyView>,
) -> Option<Transition> {
    let candidate = staged(now, policy, keys, purpose).next();
    let usable = primary.is_some_and(|key| is_usable(now, policy, key));
    match candidate {
        Some(key) if !usable || is_due(now, policy, key) => Some(Transition::Enable { kid: key.kid.clone() }),
        None if !usable => Some(Transition::Make {
            purpose,
            birth: Birth::Enabled,
        }),
        Some(_) | None => None,
    }
}

/// Whether a staged key becomes the primary although there is one that could go on.
fn is_due(now: UnixTime, policy: &RotationPolicy, key: &KeyView) -> bool {
    has_passed(now, key.staged, policy.maturity())
        && (key.hastened || has_passed(now, key.staged, policy.timing().promote_after))
}

fn delete(now: UnixTime, policy: &RotationPolicy, keys: &[KeyView], purpose: Use) -> Option<Transition> {
    let gone = |key: &&KeyView| match key.state {
        // It could not be the primary for a single token.
        State::Staged => !is_usable(now, policy, key),
        State::Disabled => is_over(now, policy, key) || may_go(now, policy, keys, key),
        State::Enabled | State::Deleted => false,
    };
    let key = present(keys, purpose).find(gone)?;
    Some(Transition::Delete { kid: key.kid.clone() })
}

/// Whether a retired key is needed no more.
fn may_go(now: UnixTime, policy: &RotationPolicy, keys: &[KeyView], key: &KeyView) -> bool {
    let Some(since) = key.disabled else { return false };
    let later = retired(keys, key.purpose)
        .filter(|other| (other.disabled, &other.kid) > (Some(since), &key.kid))
        .count();
    // Many rotations in a row: the full grace for the last two, for the others what their tokens need.
    match later {
        0 => false,
        1 => has_passed(now, since, policy.timing().grace),
        _ => has_passed(now, since, policy.shortest_grace()),
    }
}

fn stage(
    now: UnixTime,
    policy: &RotationPolicy,
    keys: &[KeyView],
    purpose: Use,
    primary: Option<&KeyView>,
) -> Option<Transition> {
    let due = primary?.not_after.minus(policy.timing().stage_before);
    if now < due || staged(now, policy, keys, purpose).next().is_some() {
        return None;
    }
    Some(Transition::Make {
        purpose,
        birth: Birth::Staged,
    })
}

fn present(keys: &[KeyView], purpose: Use) -> impl Iterator<Item = &KeyView> {
    keys.iter()
        .filter(move |key| key.purpose == purpose && key.state != State::Deleted)
}

fn retired(keys: &[KeyView], purpose: Use) -> impl Iterator<Item = &KeyView> {
    present(keys, purpose).filter(|key| key.state == State::Disabled)
}

/// The staged keys that may become the primary, the one that is known for longest first.
fn staged<'a>(
    now: UnixTime,
    policy: &RotationPolicy,
    keys: &'a [KeyView],
    purpose: Use,
) -> impl Iterator<Item = &'a KeyView> {
    let mut staged: Vec<&KeyView> = present(keys, purpose)
        .filter(|key| key.state == State::Staged && is_usable(now, policy, key))
        .collect();
    staged.sort_by(|a, b| (a.staged, &a.kid).cmp(&(b.staged, &b.kid)));
    staged.into_iter()
}

fn newest_enabled(keys: &[KeyView], purpose: Use) -> Option<&KeyView> {
    present(keys, purpose)
        .filter(|key| key.state == State::Enabled)
        .max_by(|a, b| (a.enabled, &a.kid).cmp(&(b.enabled, &b.kid)))
}

/// Whether what the key makes now will have been read before its certificate ends.
fn is_usable(now: UnixTime, policy: &RotationPolicy, key: &KeyView) -> bool {
    now < key.not_after.minus(policy.last_use_before_end())
}

/// Whether the certificate has ended on any of our clocks.
fn is_over(now: UnixTime, policy: &RotationPolicy, key: &KeyView) -> bool {
    now >= key.not_after.minus(policy.timing().clock_skew)
}

fn has_passed(now: UnixTime, since: UnixTime, by: Lifetime) -> bool {
    now >= since.plus(by)
}

#[cfg(test)]
mod tests;
