//! Security events of identity providers: that a session ended, that a credential changed.
//!
//! Takes: a security event token (SET, RFC 8417), what configuration says of its transmitter, the transmitter's keys. Gives: what is to
//! be revoked. May use: `jose`, ids, time, `revocation`. Never: believes anything of a SET before its signature held, lets a transmitter
//! speak of an issuer that it does not speak for.
//!
//! Events are those of CAEP 1.0, RISC 1.0 and the Shared Signals Framework 1.0; subjects are named as RFC 9493 has it. What an event
//! means here is one table ([`EventKind::effect`]). An event that means nothing here, or whose subject is nobody whom a token could be
//! of, is taken and has no effect.

mod event;
mod failed;
mod set;
mod subject;
#[cfg(test)]
mod tests;

pub use event::{Effect, Event, EventKind};
pub use failed::Failed;
pub use set::{Candidate, EVENTS, SET_BYTES, SecurityEvents, Sessions, Transmitter, verify};
pub use subject::{SUBJECTS, Subject};
