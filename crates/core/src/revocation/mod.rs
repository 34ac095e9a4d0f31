//! What was withdrawn before its time: tokens, grants, and what users, agents and servers may do.
//!
//! Takes: revocations, and what a verified token says. Gives: whether it counts any more. May use: ids, time, `audit` (the hash
//! that names a token). Never: believes a claim that nobody verified, forgets a revocation that could still concern something.
//!
//! A revocation is one entry of a log that is only added to. What is void by its name (a token, a grant) stays void. Of a user or an
//! agent either what was issued up to a moment is void, so that a later login counts again, or everything is until the revocation
//! is lifted; a server takes no call until its revocation is lifted. Entries may come in any order, twice, and from several places:
//! together they always say the same.

mod entry;
mod table;

pub use entry::{By, Entry, Extent, Lift, REASON_BYTES, Reason, Revocation, RevocationId, Target};
pub use table::{Claim, REVOCATIONS, Revoked, Table};

#[cfg(test)]
mod tests;
