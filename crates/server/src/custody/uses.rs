//! How often each key was used.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::ids::KeyId;

use super::shelf::KeyPurpose;

/// Counters of one ring. They begin at 0 with the process and outlive the handles that count.
#[derive(Clone, Debug, Default)]
pub struct Uses(Arc<Mutex<Counters>>);

#[derive(Debug, Default)]
struct Counters {
    of: BTreeMap<(KeyPurpose, KeyId), Arc<AtomicU64>>,
}

/// How often one key was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUses {
    /// What for: signing, opening, or signing certificates.
    pub purpose: KeyPurpose,
    /// Which key.
    pub kid: KeyId,
    /// How often, failures included.
    pub count: u64,
}

impl Uses {
    /// The counter of a key.
    pub(super) fn counter(&self, purpose: KeyPurpose, kid: &KeyId) -> Arc<AtomicU64> {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counters.of.entry((purpose, kid.clone())).or_default())
    }

    /// All counts since the start of the process.
    #[must_use]
    pub fn counts(&self) -> Vec<KeyUses> {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counters
            .of
            .iter()
            .map(|((purpose, kid), counter)| KeyUses {
                purpose: *purpose,
                kid: kid.clone(),
                count: counter.load(Ordering::Relaxed),
            })
            .collect()
    }

    /// What was counted since `before`, which is brought up to now.
    pub(super) fn since(&self, before: &mut BTreeMap<(KeyPurpose, KeyId), u64>) -> Vec<KeyUses> {
        let mut more = Vec::new();
        for uses in self.counts() {
            let last = before.entry((uses.purpose, uses.kid.clone())).or_default();
            let count = uses.count.saturating_sub(*last);
            *last = uses.count;
            if count > 0 {
                more.push(KeyUses { count, ..uses });
            }
        }
        more
    }
}

/// The counters of all rings of a process, as a metrics page shows them (Prometheus text format).
#[must_use]
pub fn metrics<'a>(rings: impl IntoIterator<Item = (&'a str, &'a Uses)>) -> String {
    let mut page = String::from(
        "# HELP portcullis_key_uses_total Uses of a private key.\n# TYPE portcullis_key_uses_total counter\n",
    );
    for (role, uses) in rings {
        for KeyUses { purpose, kid, count } in uses.counts() {
            // Roles and purposes are ours; a kid is text without quotes or backslashes only because we made it.
            let kid = kid.as_str().replace('\\', "\\\\").replace('"', "\\\"");
            let purpose = purpose.name();
            let _ = writeln!(
                page,
                "portcullis_key_uses_total{{role=\"{role}\",purpose=\"{purpose}\",kid=\"{kid}\"}} {count}"
            );
        }
    }
    page
}
