//! Private keys: made, kept encrypted at rest, and handed out as handles that can do one thing.
//!
//! Takes: a folder, the master key, the server's identity, a clock, randomness. Gives: a [`TokenSigner`], the JWK Set,
//! descriptions. May use: `portcullis_core::keys`, files. Never: exports a private key, logs one, uses one for two purposes.
//!
//! A keyring is a folder with one file per key; each file is whole or absent, because it is written beside its place,
//! synced and renamed. A lock file keeps two processes from making the first keys at the same time. Readers
//! (`portcullis keys list`) need neither lock nor master key.
//!
//! [`TokenSigner`]: portcullis_core::jose::jws::TokenSigner

mod authority;
mod error;
mod files;
mod keyring;
mod list;
mod master;
mod record;
mod signer;

pub use error::Error;
pub use keyring::Keyring;
pub use list::{KeyDescription, list};
pub use master::MasterKey;

#[cfg(test)]
mod tests;
