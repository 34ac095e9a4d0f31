//! Metadata of authorization servers, and the keys of issuers: fetched, bounded, refreshed, one fetch at a time.
//!
//! Takes: an issuer from configuration, a fetcher. Gives: its metadata, its [`KeySet`]. May use: `fetch`, `clock`, `offload`.
//! Never: fetches what a token names, gives up the last good set because the issuer stumbles, asks more often than allowed.
//!
//! [`KeySet`]: portcullis_core::jose::jwk::KeySet

mod freshness;
mod keys;
mod metadata;

pub use keys::{IssuerKeys, KeysFrom, KeysUnavailable};
pub use metadata::{MetadataError, authorization_server_metadata};

#[cfg(test)]
mod tests;
