//! Room 1: bytes become a typed request. Parses and believes nothing.
//!
//! Takes: headers, query and body bytes. Gives: [`Presented`] and [`Call`]. May use: `limits`, `ids`, `secret`.
//! Never: trusts, verifies, decides, allocates without a bound.
//!
//! Everything that could be read in two ways is refused here, because the server behind us reads the same bytes
//! with another parser: a name twice, a header that contradicts the body, two credentials.

mod agreement;
mod call;
pub mod challenge;
pub(crate) mod entries;
mod envelope;
mod error;
pub(crate) mod flat;
pub(crate) mod json;
mod method;
mod presented;

pub use agreement::{LEGACY_VERSIONS, MODERN_VERSIONS, encoded};
pub use call::{Call, Kind, RequestId};
pub use challenge::Challenge;
pub use envelope::SEALED_FIELDS;
pub use error::Error;
pub use method::{Era, Method, Target};
pub use presented::{AccessToken, DPOP, Presented, Proof, Scheme};
