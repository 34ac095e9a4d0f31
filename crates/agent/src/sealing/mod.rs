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

pub(crate) use gateway::{GatewayKeys, Known, SWEEP};
pub(crate) use keys::OwnKeys;
pub(crate) use negotiate::{Refusal, Told, agent_capabilities, subject};

/// Most waits for a gateway that has just started.
const WAITS: u8 = 3;
/// The longest of them together: the accepted difference of clocks, and a little more.
const LONGEST_WAIT: Duration = Duration::from_secs(35);

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
    Refused {
        code: String,
        message: String,
        /// After how many seconds it would not, as it says.
        wait: Option<u64>,
    },
}

/// How often something is sealed afresh, and how long is waited for that: a gateway that has just started takes nothing that
/// says it was sealed before, and a clock that is behind says so for as long as it is behind.
pub(crate) struct Patience {
    waits: u8,
    left: Duration,
    repeats: u8,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            waits: WAITS,
            left: LONGEST_WAIT,
            repeats: 1,
        }
    }
}

impl Patience {
    /// How long to wait before what was refused so is sealed afresh. `None` when that would not help.
    pub(crate) fn with(&mut self, trouble: &SealTrouble) -> Option<Duration> {
        let wait = trouble.passes_after()?;
        self.waits = self.waits.checked_sub(1)?;
        self.left = self.left.checked_sub(wait)?;
        Some(wait)
    }

    /// The same of a call, which is repeated once after any other refusal.
    pub(crate) fn with_call(&mut self, trouble: &SealTrouble) -> Option<Duration> {
        if trouble.passes_after().is_some() {
            return self.with(trouble);
        }
        self.repeats = self.repeats.checked_sub(1)?;
        Some(Duration::ZERO)
    }
}

impl SealTrouble {
    /// Of a JSON-RPC error.
    pub(crate) fn of_error(error: &Value) -> Self {
        let text = |pointer| error.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        Self::Refused {
            code: text("/data/reason").to_owned(),
            message: crate::mcp::words(text("/message")),
            wait: error.pointer("/data/wait").and_then(Value::as_u64),
        }
    }

    /// After how long it has passed by itself, if it does: a gateway that has just started takes nothing that says it was
    /// sealed before.
    fn passes_after(&self) -> Option<Duration> {
        let Self::Refused { code, wait, .. } = self else {
            return None;
        };
        // Times are whole seconds.
        let wait = Duration::from_secs(wait.unwrap_or(1).max(1)).saturating_add(Duration::from_millis(100));
        (code == "seal.before-start").then_some(wait)
    }

    /// Whether it was sealed for a key that the gateway has no more.
    pub(crate) fn is_of_other_key(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "seal.recipient-key")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, wait: Value) -> SealTrouble {
        SealTrouble::of_error(&serde_json::json!({"message": "no", "data": {"reason": code, "wait": wait}}))
    }

    fn started(wait: impl Into<Value>) -> SealTrouble {
        refused("seal.before-start", wait.into())
    }

    #[test]
    fn a_gateway_that_has_just_started_is_waited_for_as_long_as_it_says() {
        let waits = |seconds: u64| Some(Duration::from_millis(seconds * 1_000 + 100));
        // As far as clocks may differ, and then once more since times are whole seconds.
        let mut patience = Patience::default();
        assert_eq!(patience.with(&started(31)), waits(31));
        assert_eq!(patience.with(&started(1)), waits(1));
        // One that does not say how long, and one that says nonsense.
        assert_eq!(Patience::default().with(&started(Value::Null)), waits(1));
        assert_eq!(Patience::default().with(&started(0)), waits(1));
        assert_eq!(Patience::default().with(&started("soon")), waits(1));
    }

    #[test]
    fn waiting_is_bounded_in_number_and_in_all() {
        let mut patience = Patience::default();
        for _ in 0..WAITS {
            assert!(patience.with(&started(1)).is_some());
        }
        assert_eq!(patience.with(&started(1)), None);
        let mut patience = Patience::default();
        assert!(patience.with(&started(20)).is_some());
        assert_eq!(patience.with(&started(20)), None, "more than 35 seconds");
        assert_eq!(Patience::default().with(&started(u64::MAX)), None);
    }

    #[test]
    fn a_call_is_repeated_once_after_any_other_refusal_and_an_offer_never() {
        let expired = refused("seal.expired", Value::from(5));
        let mut patience = Patience::default();
        assert_eq!(patience.with(&expired), None);
        assert_eq!(patience.with_call(&expired), Some(Duration::ZERO));
        assert_eq!(patience.with_call(&expired), None);
        assert!(patience.with_call(&started(1)).is_some());
    }
}
