//! The outside world in small: what every other room uses to reach it.
//!
//! Takes: requests, addresses. Gives: responses within limits, keys of issuers and what they say of tokens, the time, randomness.
//! May use: `portcullis-core`. Never: decides whether a caller is allowed, keeps a secret longer than a request.

pub mod clock;
pub mod discovery;
pub mod fetch;
pub mod introspection;
pub mod offload;
pub mod random;
