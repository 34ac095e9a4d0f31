//! The record of a delivery of security events.

use serde::Serialize;

use super::TokenHash;
use super::event::fault;
use crate::fault::Fault;

/// A delivery of security events (RFC 8935) that brought its transmitter's credential. What was revoked by it has records of its own.
#[derive(Clone, Debug, Serialize)]
pub struct Signal {
    /// The operator's name for the transmitter.
    pub transmitter: String,
    /// Which SET, by the hash of its `jti`; absent when it was not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<TokenHash>,
    /// What happened, as far as it is known here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<&'static str>,
    /// How many revocations it means.
    pub revoked: usize,
    /// `state` of a verification event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `ok`, or the stable code of the refusal.
    pub result: &'static str,
    /// Who has to act, for a refusal.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "fault")]
    pub fault: Option<Fault>,
    /// IP address of the transmitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}
