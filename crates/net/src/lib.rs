//! The outside world in small: what every other room uses to reach it.
//!
//! Takes: requests, addresses. Gives: responses within limits, keys of issuers, the time, randomness.
//! May use: `portcullis-core`. Never: decides whether a caller is allowed, keeps a secret longer than a request.

pub mod clock;
pub mod discovery;
pub mod fetch;
pub mod offload;
pub mod random;
