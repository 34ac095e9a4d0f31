//! Room 6: the record. Fields, redaction, hash chain.
//!
//! Takes: what happened, as an [`Event`]. Gives: chained lines, and their verification. May use: ids, time.
//! Never: holds a secret or free text as a key, fails quietly, writes (the sink in the server does).
//!
//! A record that only says what the process believed is worth little; a record that cannot be changed afterwards
//! without notice can be shown to others. So each line carries the hash of the line before it, and the whole log is checked
//! by anyone who has the files, without a key and without us.

mod chain;
mod digest;
mod event;
mod signal;

pub use chain::{Broken, Chain, Defect, LINE_BYTES, Summary, Unrecordable, Verifier};
pub use digest::{DigestKey, KeyedDigest, TokenHash};
pub use event::{
    Actor, Consent, Decision, Ending, Event, KeyTransition, KeyUse, Login, Outcome, Refusals, RegisteredBy,
    Registration, Revocation, System, Token, TokenResult, Verdict,
};
pub use signal::Signal;
