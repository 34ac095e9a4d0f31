//! Session mode: one key agreement, then a symmetric key per direction with a counter.
//!
//! ```text
//! agent  Offer::new ──────── offer (JWS of the agent, its ephemeral key) ───────▶ respond   gateway
//!        Offer::accept ◀──── answer (JWS of the gateway, its ephemeral key) ─────
//!        Session ◀═══════════ same id, same keys, same end ═════════════════════▶ Session
//! ```
//!
//! Both ephemeral private keys are gone when the [`Session`]s exist, and the session's keys are wiped when those are
//! dropped: from then on nobody opens what was recorded, whichever long-lived key leaks (forward secrecy). Within a
//! session there is one key per direction; whoever has it opens all fields of that direction.

mod handshake;
mod keys;
mod traffic;
mod window;

pub use handshake::{Answer, Answering, HANDSHAKE_TYP, Offer, Offering, respond};
pub use keys::{Cipher, Curve};
pub use traffic::{FIELDS, Receiving, Sending, Session, SessionOpener, SessionSealer};
pub use window::WINDOW;

use crate::time::Lifetime;

/// Longest life of a session.
pub const SESSION_LIFETIME: Lifetime = Lifetime::from_hours(24);
