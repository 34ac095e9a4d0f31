//! The life of a key, and what the planner sees of it.

use serde::{Deserialize, Serialize};

use super::Use;
use crate::ids::KeyId;
use crate::time::UnixTime;

/// Where a key is in its life. It only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The secondary: known before it is used; not used yet.
    Staged,
    /// The primary: signs, or others encrypt to it.
    Enabled,
    /// Retired: what was made with it can still be read; not used any more.
    Disabled,
    /// Neither published nor used: nothing made with it is accepted.
    Deleted,
}

impl State {
    /// The lower-case name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }

    /// Whether a key in this state is in the JWK Set.
    ///
    /// A signing key is, from before its first signature until after its last token. An encryption key is only while
    /// it is the primary: a sender takes what it finds, so that it must find neither a key that is on its way out nor
    /// one that is not in use yet. A sender with an old copy encrypts to a retired key, which still opens.
    #[must_use]
    pub const fn is_published(self, purpose: Use) -> bool {
        match (self, purpose) {
            (Self::Staged | Self::Enabled | Self::Disabled, Use::Signature)
            | (Self::Enabled, Use::Encryption) => true,
            (Self::Staged | Self::Disabled, Use::Encryption)
            | (Self::Deleted, Use::Signature | Use::Encryption) => false,
        }
    }

    /// Whether a private encryption key in this state still opens what was sealed for it.
    #[must_use]
    pub const fn opens(self) -> bool {
        match self {
            Self::Staged | Self::Enabled | Self::Disabled => true,
            Self::Deleted => false,
        }
    }

    /// Whether a key may go from this state to that one: forward by one, or out.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Staged, Self::Enabled)
                | (Self::Enabled, Self::Disabled)
                | (Self::Staged | Self::Enabled | Self::Disabled, Self::Deleted)
        )
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All that the planner knows of a key. Times are those of the journal: when the state was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its name.
    pub kid: KeyId,
    /// What it is for.
    pub purpose: Use,
    /// Where it is in its life.
    pub state: State,
    /// When it was made or imported.
    pub staged: UnixTime,
    /// When it became the primary.
    pub enabled: Option<UnixTime>,
    /// When it was retired.
    pub disabled: Option<UnixTime>,
    /// Until when its certificate is valid.
    pub not_after: UnixTime,
    /// Somebody asked for a rotation: it becomes the primary as soon as verifiers know it, not when its time comes.
    pub hastened: bool,
}

impl KeyView {
    /// A key that was just made, with a certificate until `not_after`.
    #[must_use]
    pub fn made(kid: KeyId, purpose: Use, birth: Birth, now: UnixTime, not_after: UnixTime) -> Self {
        let enabled = birth == Birth::Enabled;
        Self {
            kid,
            purpose,
            state: birth.state(),
            staged: now,
            enabled: enabled.then_some(now),
            disabled: None,
            not_after,
            hastened: birth == Birth::Hastened,
        }
    }

    /// Whether it belongs into the JWK Set at this moment. Asked at every moment and not only after a transition, so
    /// that no certificate is shown after its end even when nobody plans.
    #[must_use]
    pub fn is_published(&self, now: UnixTime) -> bool {
        self.state.is_published(self.purpose) && now < self.not_after
    }

    /// Moves on, and notes when.
    ///
    /// # Errors
    /// [`NotAllowed`]: backwards, past a state other than by deleting, or nowhere.
    pub fn become_state(&mut self, next: State, now: UnixTime) -> Result<(), NotAllowed> {
        if !self.state.may_become(next) {
            return Err(NotAllowed {
                kid: self.kid.clone(),
                from: self.state,
                to: next,
            });
        }
        match next {
            State::Enabled => self.enabled = Some(now),
            State::Disabled => self.disabled = Some(now),
            State::Staged | State::Deleted => {}
        }
        self.state = next;
        self.hastened = false;
        Ok(())
    }
}

/// The state in which a new key begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Birth {
    /// Staged.
    Staged,
    /// Staged, and [hastened](KeyView::hastened).
    Hastened,
    /// Enabled at once, because there is no other key that could be.
    Enabled,
}

impl Birth {
    /// The state itself.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::Staged | Self::Hastened => State::Staged,
            Self::Enabled => State::Enabled,
        }
    }
}

/// A key cannot go from the one state to the other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key `{kid}` is {from} and cannot become {to}")]
pub struct NotAllowed {
    /// The key.
    pub kid: KeyId,
    /// Its state.
    pub from: State,
    /// The state that was asked for.
    pub to: State,
}
