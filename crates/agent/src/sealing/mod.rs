//! Sealed fields: what of a tool's arguments and result only the gateway and this agent read.
//!
//! Which fields these are, the tool's definition says (`_meta`), and once it said so it is remembered: a later definition
//! that says less is taken for someone's work on the way. The other side's keys come from the metadata of its resource.

pub(crate) mod exchange;
mod gateway;
mod keys;
mod negotiate;

use std::time::Duration;

use portcullis_core::fault::Fault;
use portcullis_core::seal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use gateway::{Known, SWEEP};
pub(crate) use keys::OwnKeys;
pub(crate) use negotiate::{Refusal, Told, agent_capabilities, subject};

/// How long to wait before something is sealed afresh for a gateway that has just started: times are whole seconds.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(1_100);

/// How fields are sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SealMode {
    /// Each by itself, for the gateway's published key.
    #[default]
    EachField,
    /// With the keys of a session that is agreed on first: quicker, and what was recorded cannot be opened later.
    Session,
}

/// Which fields of a tool are sealed, as JSON Pointers in which `*` is every element or member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedFields {
    /// Of its arguments.
    pub arguments: Vec<String>,
    /// Of its result.
    pub result: Vec<String>,
}

/// Why a call with sealed fields came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SealTrouble {
    #[error(transparent)]
    Fields(#[from] seal::Error),
    #[error("the tool wants a sealed field repeated in the header `{0}`, where everybody reads it")]
    Header(String),
    #[error("what it says of sealed fields cannot be read: {0}")]
    Told(&'static str),
    #[error("it answered with a task, whose result would come unsealed")]
    Task,
    #[error("it does not say any more that fields of this tool are sealed")]
    ToldLess,
    #[error("this login has no keys for sealed fields")]
    NoKeys,
    #[error("its keys cannot be had: {0}")]
    Keys(String),
    #[error("it refused: {message}")]
    Refused { code: String, message: String },
}

impl SealTrouble {
    /// Of a JSON-RPC error.
    pub(crate) fn of_error(error: &Value) -> Self {
        let text = |pointer| error.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        Self::Refused {
            code: text("/data/reason").to_owned(),
            message: crate::mcp::words(text("/message")),
        }
    }

    /// Whether it passes by itself, very soon: a gateway that has just started takes nothing that says it was sealed before.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "seal.before-start")
    }

    /// Stable slug.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Fields(error) => error.code(),
            Self::Header(_) => "agent.seal-header",
            Self::Told(_) => "agent.seal-told",
            Self::Task => "agent.seal-task",
            Self::ToldLess => "agent.seal-told-less",
            Self::NoKeys => "agent.seal-no-keys",
            Self::Keys(_) => "agent.seal-keys",
            Self::Refused { .. } => "agent.seal-refused",
        }
    }

    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Fields(error) => match error.fault() {
                // To an agent, whoever sent what was read is the gateway.
                Fault::Caller | Fault::Peer => Fault::Peer,
                Fault::Operator => Fault::Operator,
                Fault::Bug => Fault::Bug,
            },
            Self::Header(_)
            | Self::Told(_)
            | Self::Task
            | Self::ToldLess
            | Self::Keys(_)
            | Self::Refused { .. } => Fault::Peer,
            Self::NoKeys => Fault::Caller,
        }
    }

    /// What would help.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Fields(seal::Error::InClear(_)) => {
                "a field came in clear that should be sealed; it may have been read or changed on the way, so it was not used. Tell the operator of the gateway"
            }
            Self::Fields(_) | Self::Told(_) | Self::Task | Self::Keys(_) => {
                "tell the operator of the gateway"
            }
            Self::Header(_) => {
                "the tool cannot be used with this field sealed; tell the operator of the gateway"
            }
            Self::ToldLess => {
                "nothing was sent, since someone on the way may have taken it out; if the change is right, run `portcullis agent logout` and log in again"
            }
            Self::NoKeys => {
                "log out and in again, so that keys are registered; a client that was registered by hand needs them in its registration"
            }
            Self::Refused { code, .. } if code == "seal.no-keys" || code == "seal.other-keys" => {
                "log out and in again, so that the authorization server puts this agent's keys into its tokens"
            }
            Self::Refused { .. } => "ask whoever runs the gateway",
        }
    }
}
