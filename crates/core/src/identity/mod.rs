//! Rooms 2 and 3: a presented credential becomes a [`VerifiedIdentity`], or a reason why not.
//!
//! Takes: [`crate::wire::Presented`], an issuer's trust and keys, `now`. Gives: [`VerifiedIdentity`] or [`Failed`].
//! May use: `wire`, `jose`, `time`, `ids`. Never: knows tools or policy, makes HTTP answers, fetches anything.
//!
//! The order of trust: the issuer comes from configuration (the token only says which one to look up), the key from
//! that issuer, the algorithm from that key. Nothing in a token is looked at as a fact before its signature held.
//!
//! [`verify`] gives what the issuer says ([`Vouched`]), and so does [`introspected()`] for a token that only its issuer can
//! read; [`Vouched::confirm`] makes it an identity when the sender is the one
//! that the token is bound to.

mod bearer;
mod claims;
pub mod dpop;
mod failed;
mod introspected;
mod profile;
mod target;
mod translate;
mod verified;

pub use bearer::{Candidate, IssuerTrust, verify};
pub use dpop::{AccessTokenHash, ProofHeld};
pub use failed::{ClaimName, Failed};
pub use introspected::introspected;
pub use profile::{Profile, TokenProfile, WithoutSubject};
pub use target::HttpTarget;
pub use translate::{CLAIM_STEPS, ClaimPath, Field, InvalidClaimPath, Names};
pub use verified::{CertificateThumbprint, Confirmation, VerifiedIdentity, Vouched};
#[cfg(test)]
mod tests;
