//! Rooms 2 and 3: a presented credential becomes a [`VerifiedIdentity`], or a reason why not.
//!
//! Takes: [`crate::wire::Presented`], an issuer's trust and keys, `now`. Gives: [`VerifiedIdentity`] or [`Failed`].
//! May use: `wire`, `jose`, `time`, `ids`. Never: knows tools or policy, makes HTTP answers, fetches anything.
//!
//! The order of trust: the issuer comes from configuration (the token only says which one to look up), the key from
//! that issuer, the algorithm from that key. Nothing in a token is looked at as a fact before its signature held.
//!
//! [`verify`] gives what the issuer says ([`Vouched`]), and so does [`introspected()`] for a token that only its issuer can
//! read, and [`x509_svid`] and [`WorkloadToken::verify`] for a workload; [`Vouched::confirm`] makes it an identity when the
//! sender is the one that it is bound to.

mod bearer;
mod certificate;
mod claims;
pub mod dpop;
mod failed;
mod introspected;
mod profile;
mod svid;
mod target;
mod translate;
mod verified;

pub use bearer::{Candidate, IssuerTrust, verify};
pub use certificate::{
    CertificateThumbprint, ClientCertificate, InvalidCertificate, VouchedBy, claimed_domains,
};
pub use dpop::{AccessTokenHash, ProofHeld};
pub use failed::{ClaimName, Failed};
pub use introspected::introspected;
pub use profile::{Profile, TokenProfile, WithoutSubject};
pub use svid::{Bundle, DomainTrust, Grant, InvalidBundle, WorkloadToken, x509_svid};
pub use target::HttpTarget;
pub use translate::{CLAIM_STEPS, ClaimPath, Field, InvalidClaimPath, Names};
pub use verified::{Confirmation, VerifiedIdentity, Vouched};
#[cfg(test)]
mod tests;
