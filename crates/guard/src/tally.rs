//! How often each decision was made, for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts decisions by reason. Reasons are stable slugs from the code, so there are never more than a few
/// dozen.
#[derive(Debug, Default)]
pub struct Tally {
    allowed: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tally {
    pub(crate) fn allowed(&self) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let count = refused.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    /// Each reason with its count, in order; `ok` is for calls that were allowed.
    #[must_use]
    pub fn read(&self) -> Vec<(&'static str, u64)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = vec![("ok", self.allowed.load(Ordering::Relaxed))];
        counts.extend(refused.iter().map(|(reason, count)| (*reason, *count)));
        counts
    }
}
