//! Keys over time: their states, when they change, what to publish, certificates. Never holds private bytes.
//!
//! Takes: public keys, certificates, `now`. Gives: plans, JWK Sets, certificate requests that passed lint, checked
//! chains. May use: `jose`, time. Never: holds a private key, signs what was not linted, reads a clock.
//!
//! A key has one purpose for life: NIST SP 800-57 part 1 §5.2 forbids one key for both. What holds a private key is a
//! [`TokenSigner`](crate::jose::jws::TokenSigner) or a [`PayloadOpener`](crate::jose::jwe::PayloadOpener) and never
//! both; [`Signing`] and [`Sealing`] name the purposes where keys are made and kept. Each goes where it is wanted:
//!
//! ```
//! use portcullis_core::jose::{jwe::PayloadOpener, jws::TokenSigner};
//!
//! fn sign(_: &dyn TokenSigner) {}
//! fn open(_: &dyn PayloadOpener) {}
//!
//! fn each_for_its_own(signer: &dyn TokenSigner, opener: &dyn PayloadOpener) {
//!     sign(signer);
//!     open(opener);
//! }
//! ```
//!
//! and nowhere else. A signing key opens nothing:
//!
//! ```compile_fail,E0308
//! use portcullis_core::jose::{jwe::PayloadOpener, jws::TokenSigner};
//!
//! fn open(_: &dyn PayloadOpener) {}
//!
//! fn crossed(signer: &dyn TokenSigner) {
//!     open(signer);
//! }
//! ```
//!
//! and an encryption key signs nothing:
//!
//! ```compile_fail,E0308
//! use portcullis_core::jose::{jwe::PayloadOpener, jws::TokenSigner};
//!
//! fn sign(_: &dyn TokenSigner) {}
//!
//! fn crossed(opener: &dyn PayloadOpener) {
//!     sign(opener);
//! }
//! ```

mod certificate;
mod document;
mod plan;
mod policy;
mod purpose;
mod simulate;
mod state;

pub use certificate::{
    CertificateFacts, ChainFlaw, ChainProblem, Checked, Flaw, LONGEST_CERTIFICATE, LONGEST_CHAIN, Linted,
    Profile, Request, SubjectKey, UnreadableCertificate, authority_permits, check_chain,
};
pub use document::JwksDocument;
pub use plan::{
    MOST_KEYS, NotApplicable, NotPossible, Replacement, Transition, next_due, plan, primary, revoke,
    rotate_now,
};
pub use policy::{LONGEST_VALIDITY, NOTICE, PolicyFlaw, RotationPolicy, Timing};
pub use purpose::{Purpose, Sealing, Signing};
pub use simulate::{Broken, Event, MOST_EVENTS, Simulation, Summary, Timeline, Violation, Why};
pub use state::{Birth, KeyView, NotAllowed, State};

pub use crate::jose::jwk::Use;

#[cfg(test)]
mod tests;
