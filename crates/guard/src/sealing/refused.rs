//! Why a call with sealed fields, or without them, does not happen, and what its sender is told to mend it.

use std::sync::Arc;

use portcullis_core::fault::Fault;
use portcullis_core::seal;
use portcullis_core::wire::SEALED_FIELDS;
use serde_json::{Value, json};

use crate::replay::ReplayUnavailable;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealProblem {
    /// The client does not have the extension, and the tool is for clients that do.
    #[error("this tool takes sealed fields only, and the request does not say that its sender has them")]
    Needed,
    /// What the client says of the extension in `_meta` is not what belongs there.
    #[error("what `_meta` says of sealed fields is not a `message` with either two public keys or a session")]
    Said,
    /// The issuer of the token vouches for no keys of this client.
    #[error(
        "the access token names no keys of its client; register `jwks` with one `sig` and one `enc` key, and log in again"
    )]
    NoKeys,
    /// The keys that were shown are not those that the token names.
    #[error(
        "the keys in `_meta` are not those that the access token names; send those that were registered, or log in again"
    )]
    OtherKeys,
    /// Fields, keys, sessions.
    #[error(transparent)]
    Fields(#[from] seal::Error),
    /// What the server answered is no JSON-RPC message that can be told apart from others: more than one of request,
    /// result and error, or none of them.
    #[error("the server's answer is not one of request, result and error")]
    NoMessage,
    /// Made before the memory of what was used began: whether it was used before cannot be told.
    #[error("the fields were sealed before the gateway started; seal the call afresh and repeat it")]
    BeforeStart {
        /// After how many seconds what its sender makes is new enough, by its own clock.
        wait: u64,
    },
    /// Whether it was used before cannot be told now.
    #[error(transparent)]
    Unremembered(#[from] ReplayUnavailable),
    /// As many sessions as there may be.
    #[error("there are too many sealed sessions at the moment")]
    TooManySessions,
    /// The work was lost while the process was stopping.
    #[error("the work was lost while the process was stopping")]
    Lost,
}

impl SealProblem {
    /// Stable slug.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Needed => "seal.needed",
            Self::Said => "seal.said",
            Self::NoKeys => "seal.no-keys",
            Self::OtherKeys => "seal.other-keys",
            Self::Fields(error) => error.code(),
            Self::NoMessage => "seal.no-message",
            Self::BeforeStart { .. } => "seal.before-start",
            Self::Unremembered(error) => error.code(),
            Self::TooManySessions => "seal.too-many-sessions",
            Self::Lost => "seal.lost",
        }
    }

    /// Whose fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Needed | Self::Said | Self::NoKeys | Self::OtherKeys | Self::TooManySessions => {
                Fault::Caller
            }
            Self::Fields(error) => error.fault(),
            Self::NoMessage => Fault::Peer,
            Self::Unremembered(error) => error.fault(),
            Self::BeforeStart { .. } | Self::Lost => Fault::Operator,
        }
    }

    /// Whether its sender helps itself by sealing the call afresh.
    #[must_use]
    pub fn wants_sealing_afresh(&self) -> bool {
        match self {
            Self::Fields(error) => error.wants_sealing_afresh(),
            Self::BeforeStart { .. } => true,
            Self::Needed
            | Self::Said
            | Self::NoKeys
            | Self::OtherKeys
            | Self::NoMessage
            | Self::Unremembered(_)
            | Self::TooManySessions
            | Self::Lost => false,
        }
    }
}

/// A refusal, with what the sender needs to do it right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct SealRefused {
    /// What went wrong.
    pub problem: SealProblem,
    /// What the tool's definition says of sealed fields.
    pub told: Arc<Value>,
}

impl SealRefused {
    /// The members of `error.data`.
    pub(crate) fn data(&self) -> Vec<(&'static str, Value)> {
        let mut data = vec![
            ("extension", json!(SEALED_FIELDS)),
            ("sealed", self.told.as_ref().clone()),
        ];
        if let SealProblem::BeforeStart { wait } = self.problem {
            data.push(("wait", json!(wait)));
        }
        data
    }
}
