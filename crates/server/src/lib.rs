//! The servers: rooms that touch the world.
//!
//! `gateway` and `authority` never use each other; both use `store`, `custody`, `sink`. `config` is read by the
//! command line alone; every room receives its own validated `Settings`.
pub mod authority;
pub mod config;
pub mod custody;
pub mod ephemeral;
pub mod gateway;
pub mod http;
pub mod revocation;
pub mod signals;
pub mod sink;
pub mod store;
pub mod tls;
