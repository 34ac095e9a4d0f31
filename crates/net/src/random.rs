//! The one source of randomness: the crypto library's, seeded by the operating system.

use portcullis_core::random::{RandomUnavailable, SecureRandom};

/// The system's source.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl SecureRandom for System {
    #[expect(clippy::disallowed_methods, reason = "this is the one source of randomness")]
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        aws_lc_rs::rand::fill(out).map_err(|_| RandomUnavailable)
    }
}
