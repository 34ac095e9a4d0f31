//! Between the eras: what one side says, in the other side's words.
//!
//! Takes: messages of one era as bytes, and what is known of the session. Gives: messages of the other. May use: `wire`.
//! Never: decides whether a call may be made, keeps a session, reads a message that could be read in two ways.
//!
//! A modern message (2026-07-28) says with each request what a legacy session (up to 2025-11-25) agrees on once. Only the members
//! that differ are written anew; what a tool is given, and what it gives back, stays byte for byte.

mod changes;
mod discovery;
mod incoming;
mod input;
mod level;
mod outcome;
mod parameters;
mod request;
mod state;

pub use changes::{Change, Filter, log_level, progress_token, stamped, unstamped, with_progress_token};
pub use discovery::{Found, Hello, INITIALIZED, Welcome, discover};
pub use incoming::{Fault, Incoming, notification, request, response};
pub use input::{Ask, Need, input_required};
pub use level::LogLevel;
pub use outcome::{ForModern, Needed, for_legacy, for_modern};
pub use parameters::{Parameter, Parameters, tools_of};
pub use request::{Again, Request, Stamp};
pub use state::{Bound, InvalidState, StateKey};

use serde_json::value::RawValue;

use crate::wire::json::Refused;

/// A message that cannot be translated: it is none of its era, or could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message that has to be translated cannot be read")]
pub struct Unreadable;

impl From<Refused> for Unreadable {
    fn from(_: Refused) -> Self {
        Self
    }
}

impl From<serde_json::Error> for Unreadable {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

/// A value of ours as JSON text.
fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, Unreadable> {
    Ok(serde_json::value::to_raw_value(value)?)
}

/// The text of a JSON string.
fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// `_meta` of a modern message.
pub(crate) mod meta {
    pub(crate) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    pub(crate) const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    pub(crate) const CLIENT: &str = "io.modelcontextprotocol/clientInfo";
    pub(crate) const LEVEL: &str = "io.modelcontextprotocol/logLevel";
    pub(crate) const SERVER: &str = "io.modelcontextprotocol/serverInfo";
    pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    /// All that only a modern request says.
    pub(crate) const MODERN: [&str; 4] = [VERSION, CAPABILITIES, CLIENT, LEVEL];
}
