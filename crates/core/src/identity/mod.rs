//! Rooms 2 and 3: a presented credential becomes a [`VerifiedIdentity`], or a reason why not.
//!
//! Takes: [`crate::wire::Presented`], an issuer's trust and keys, `now`. Gives: [`VerifiedIdentity`] or [`Failed`].
//! May use: `wire`, `jose`, `time`, `ids`. Never: knows tools or policy, makes HTTP answers, fetches anything.
//!
//! The order of trust: the issuer comes from configuration (the token only says which one to look up), the key from
//! that issuer, the algorithm from that key. Nothing in a token is looked at as a fact before its signature held.

mod bearer;
mod claims;
mod failed;
mod verified;

pub use bearer::{Candidate, IssuerTrust, verify};
pub use failed::{ClaimName, Failed};
pub use verified::{Confirmation, VerifiedIdentity};
#[cfg(test)]
mod tests;
