//! Mechanism: JWS, JWK, JWK Sets, thumbprints, over the crypto library's primitives.
//!
//! Takes: bytes and keys. Gives: `Verified` payloads, signed tokens, key documents. May use: `limits`, `ids`.
//! Never: picks an algorithm from a header (the key has it), shows a payload before its signature held, knows time.
//!
//! Readers here are stricter than the RFCs' "ignore what you do not understand": a member that appears twice, a
//! base64url text with a second spelling or a header that brings its own key is refused, since every known
//! confusion between two verifiers started with one of them reading such input differently from the other.

pub mod alg;
pub mod base64url;
pub mod json;
pub mod jwk;
pub mod jws;

pub use alg::SignatureAlgorithm;
