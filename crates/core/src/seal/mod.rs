//! Which fields of a call are encrypted, for whom, and what each is bound to.
//!
//! Takes: tool arguments and results, keys, randomness, `now`. Gives: the same with fields sealed or opened. May use:
//! `jose` for how. Never: picks a recipient or a field from the message.
//!
//! A configured place ([`Pointers`]) of a call's arguments is sealed by the agent for the gateway, and one of the
//! result by the gateway for the agent. What stands there then is one text, which opens in one place of one call
//! only: a field is bound to server, tool, JSON-RPC id, message, place, direction, principal, recipient, and to the rest
//! of the arguments ([`BoundCall`]). Whether a value is sealed is decided by the configuration: a value in clear where a
//! sealed one belongs and a sealed one where none belongs are both refused.
//!
//! # What is safe when a key leaks later
//!
//! *Nested JWT* ([`NestedSealer`], [`NestedOpener`]): every field is encrypted for the recipient's long-lived `enc`
//! key. The sender's half of the agreement is fresh, the recipient's is not, so there is **no forward secrecy**:
//! whoever recorded the traffic and later gets that private key opens all fields that were ever sealed for it. The
//! recording becomes worthless only when the key is deleted without having leaked. Leaked signing keys open nothing.
//!
//! *Session* ([`session`]): both sides bring a fresh key, and long-lived keys only sign. Once both sides have dropped
//! the session (24 hours at the latest), nobody opens what was recorded, whichever long-lived key leaks: **forward
//! secrecy per session**. Inside the session there is none: who has its keys opens every field of it, past and to
//! come. Someone who steals a signing key can pose as its owner in new sessions until the key is revoked, and still
//! opens no old one. Neither mode withstands a quantum computer that reads recorded traffic.
//!
//! In both modes a gateway sees the fields in clear, since policy decides on them; lengths, places and the number of
//! fields are visible to everybody on the way. The protocol for other implementations is `docs/sealed-payloads.md`.

mod binding;
pub mod canonical;
mod envelope;
mod error;
mod field;
mod form;
mod pointer;
mod replay;
pub mod session;
mod token;

pub use binding::{ArgumentsDigest, Binding, BoundCall, Call, CallId, Direction, Parties};
pub use envelope::{MESSAGE_LIFETIME, Moment, SenderKeys};
pub use error::{Bound, Error};
pub use field::{
    Clear, Opened, Opener, Sealer, mode, open_arguments, open_result, refuse_sealed, seal_arguments,
    seal_result,
};
pub use form::{Form, MessageId, Mode, PREFIX, SessionId};
pub use pointer::{
    InvalidPointer, PLACES, POINTER_BYTES, POINTER_STEPS, POINTERS, Place, Pointer, Pointers, TooManyPlaces,
};
pub use replay::{Once, ReplayMemory, Seen};
pub use session::{
    Answer, Answering, Cipher, Curve, Offer, Offering, Receiving, SESSION_LIFETIME, Sending, Session, respond,
};
pub use token::{FIELD_TYP, NestedOpener, NestedSealer, Openers};

#[cfg(test)]
mod tests;
