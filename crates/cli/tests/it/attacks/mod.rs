//! The attack catalogue, against the real binary: what comes in at a resource server that it should refuse, row by row.
//!
//! [`catalogue`] lists the rows and where each is shown, [`range`] is the gateway that is attacked and the rule by which it is
//! judged, [`expect`] has the right answers, [`forge`] makes what no careful library would. One file for each section; one gateway for each test.

mod catalogue;
mod claims;
mod encoding;
mod encryption;
mod expect;
mod explained;
mod forge;
mod framing;
mod http;
mod http2;
mod keys;
mod proofs;
mod range;
mod signature;
mod transport;
mod values;
