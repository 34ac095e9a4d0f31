//! JSON Web Keys and sets (RFC 7517), thumbprints (RFC 7638, RFC 9278).

mod client;
mod decryption;
mod encryption;
mod members;
mod problem;
mod public;
mod published;
mod roca;
mod set;
mod signing;
mod thumbprint;
mod verification;

pub use client::{CLIENT_JWKS, ClientKeys, UnusableKeys};
pub use decryption::{DecryptionKey, DecryptionKind};
pub use encryption::EncryptionKey;
pub(in crate::jose) use encryption::{Recipient, Symmetric};
pub(in crate::jose) use members::holds_private_material;
pub use problem::KeyProblem;
pub use public::{EcCurve, OkpCurve, PublicKey};
pub use published::{KeyAlgorithm, PublicJwk, Use};
pub use set::{Error, KeySet, Skipped};
pub use signing::{NotGenerated, SigningKey};
pub use thumbprint::Thumbprint;
pub(crate) use verification::ML_DSA_65_SIGNATURE;
pub use verification::{SignatureHolds, SignatureInvalid, VerificationKey};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
