//! Mechanism: JWS, JWE, JWK, JWK Sets, thumbprints, nested JWTs, over the crypto library's primitives.
//!
//! Takes: bytes, keys and randomness. Gives: `Verified` payloads, signed and sealed texts, key documents. May use:
//! `limits`, `ids`, `random`. Never: picks an algorithm from a header (the key has it), shows a payload before its
//! signature or its tag held, gives one key two purposes, knows time.
//!
//! Readers here are stricter than the RFCs' "ignore what you do not understand": a member that appears twice, a
//! base64url text with a second spelling or a header that brings its own key is refused, since every known
//! confusion between two verifiers started with one of them reading such input differently from the other.

pub mod alg;
pub mod base64url;
pub mod json;
pub mod jwe;
pub mod jwk;
pub mod jws;
pub mod nested;

pub use alg::SignatureAlgorithm;

/// Parameters that no header may have, of a JWS or of a JWE: those that would let a message bring its own key (RFC 7515
/// §4.1.2, §4.1.3, §4.1.5, §4.1.6), change what is signed (RFC 7797 §3), have us unpack what may be of any size
/// (RFC 7516 §4.1.3) or compute for as long as it says (RFC 7518 §4.8.1), and those that we would have to understand
/// (RFC 7515 §4.1.11; we understand no extension).
///
/// A parameter of the other kind of message is refused too: no sender has a reason for it, and a reader that takes the
/// one for the other would heed it.
const REFUSED: [&str; 9] = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "p2c", "p2s"];
