//! JSON Web Keys and sets (RFC 7517), thumbprints (RFC 7638).

mod public;
mod set;
mod thumbprint;
mod verification;

pub use public::{PublicJwk, PublicKey, Use};
pub use set::{Error, KeySet, Skipped};
pub use thumbprint::Thumbprint;
pub use verification::{KeyProblem, SignatureHolds, SignatureInvalid, VerificationKey};

#[cfg(test)]
mod tests;
