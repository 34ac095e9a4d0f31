//! The life of a key.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::Purpose;
use crate::ids::KeyId;

/// Where a key is in its life. It only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Published, so that every verifier knows it before it is used; not used yet.
    Staged,
    /// Published and used.
    Enabled,
    /// Published, so that what was made with it can still be read; not used any more.
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

    /// Whether the public key is in the JWK Set.
    #[must_use]
    pub const fn is_published(self) -> bool {
        match self {
            Self::Staged | Self::Enabled | Self::Disabled => true,
            Self::Deleted => false,
        }
    }

    const fn may_become(self, next: Self) -> bool {
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

/// A key's name and state, for one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot<P: Purpose> {
    kid: KeyId,
    state: State,
    purpose: PhantomData<P>,
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

impl<P: Purpose> Slot<P> {
    /// A key as it was kept.
    #[must_use]
    pub fn new(kid: KeyId, state: State) -> Self {
        Self {
            kid,
            state,
            purpose: PhantomData,
        }
    }

    /// The key's name.
    #[must_use]
    pub fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Moves on. The old value is gone, so nobody acts on a state that has passed.
    ///
    /// # Errors
    /// [`NotAllowed`]: backwards, past a state other than by deleting, or nowhere.
    pub fn become_state(self, next: State) -> Result<Self, NotAllowed> {
        if self.state.may_become(next) {
            Ok(Self { state: next, ..self })
        } else {
            Err(NotAllowed {
                kid: self.kid,
                from: self.state,
                to: next,
            })
        }
    }
}
