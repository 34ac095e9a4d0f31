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
pub mod backend;
mod change;
mod emergency;
mod error;
pub(crate) mod files;
mod keyring;
mod ledger;
mod list;
mod maker;
mod master;
mod opened;
pub mod ring;
mod rotator;
pub mod shelf;
mod signer;
mod transition;
mod uses;
mod watcher;

pub use change::KeyChange;
pub use error::Error;
pub use keyring::Keyring;
pub use ledger::Ledger;
pub use list::{KeyDescription, list, list_shelf};
pub use maker::RingSettings;
pub use master::{MasterKey, MasterKeySource};
pub use rotator::{Rotating, Rotator};
pub use uses::{KeyUses, Uses, metrics};
pub use watcher::Watcher;

#[cfg(test)]
pub(crate) mod tests;
