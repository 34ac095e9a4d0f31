//! Keys over time: slots and their states, what to publish, certificate profiles. Never holds private bytes.
//!
//! Takes: public keys, certificates, `now`. Gives: states, JWK Sets, certificate requests that passed lint.
//! May use: `jose`, time. Never: holds a private key, signs what was not linted.
//!
//! A key has one purpose for life, and the purpose is a type ([`Signing`], [`Sealing`]): NIST SP 800-57 part 1 §5.2
//! forbids one key for both, and so does the compiler.

mod certificate;
mod document;
mod purpose;
mod slot;

pub use certificate::{CertificateFacts, Flaw, Linted, Profile, Request, UnreadableCertificate};
pub use document::JwksDocument;
pub use purpose::{Purpose, Sealing, Signing};
pub use slot::{NotAllowed, Slot, State};

#[cfg(test)]
mod tests;
