//! The pure part of Portcullis: what one MCP call is, who makes it, whether they may, and the record of it.
//!
//! ```text
//! bytes ─wire─▶ Presented + Call ─identity─▶ VerifiedIdentity ─policy─▶ Permit | Denial ─forward─▶ upstream request
//!                                                     └────────────────── audit ◀──────────────────┘
//! ```
//!
//! Nothing here reads a clock, opens a socket or a file, or makes randomness: bytes, `now` and a source of
//! randomness come in as arguments (a `clippy.toml` in this crate enforces it). Trust is a value: a
//! [`identity::VerifiedIdentity`] and a `policy::Permit` can be made in one room only, so whoever holds one
//! knows that the check happened.

pub mod audit;
#[cfg(feature = "policy")]
pub mod bridge;
pub mod fault;
#[cfg(feature = "policy")]
pub mod forward;
pub mod identity;
pub mod ids;
pub mod jose;
pub mod keys;
pub mod limits;
pub mod oauth;
#[cfg(feature = "policy")]
pub mod policy;
pub mod random;
pub mod revocation;
pub mod seal;
pub mod secret;
pub mod signals;
pub mod time;
pub mod wire;
