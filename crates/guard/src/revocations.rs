//! What is revoked, as the guard asks at every request.
//!
//! The answer to a request whose token was looked at before is one atomic load: the generation moves with every change, and a
//! remembered token that was found good in this generation still is. In a new one it is looked up again, which is a few lookups in
//! tables. Nobody waits for a disk or a database here; whoever follows one says what changed, and says when it cannot be read.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_core::fault::Fault;
use portcullis_core::revocation::{Claim, Entry, Revoked, Table};
use portcullis_core::time::UnixTime;
use tokio::sync::watch;

/// What is known of revocations. Clones share it: one is the guard's, one belongs to whoever feeds it.
///
/// A new one knows of none and takes that for all there is, which is right for a process that is told of each
/// ([`Self::apply`]). Who follows a store calls [`Self::unreadable`] when it has not been read for too long.
#[derive(Clone, Default)]
pub struct Revocations(Arc<Shared>);

struct Shared {
    /// The last generation in which everything was known; 0 while it is not.
    generation: AtomicU64,
    known: RwLock<Known>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Known {
    table: Table,
    generation: u64,
    unreadable: bool,
}

/// Nobody can say what is revoked: the store that says it could not be read for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is revoked cannot be found out")]
pub struct RevocationsUnreadable;

impl RevocationsUnreadable {
    /// Stable slug.
    #[must_use]
    pub const fn code(self) -> &'static str {
        "revocation.unreadable"
    }

    /// Whose fault.
    #[must_use]
    pub const fn fault(self) -> Fault {
        Fault::Operator
    }
}

/// A moment in what is known. Never made while something is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// Before all others.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            generation: AtomicU64::new(1),
            known: RwLock::new(Known {
                table: Table::new(),
                generation: 1,
                unreadable: false,
            }),
            changed: watch::Sender::new(1),
        }
    }
}

impl Revocations {
    /// None, and that is all there is.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in entries: when this returns, no request that comes is let through that they concern, and streams that they concern
    /// are about to end. Entries may come twice and in any order.
    pub fn apply<'e>(&self, entries: impl IntoIterator<Item = &'e Entry>, now: UnixTime) {
        self.change(|known| {
            for entry in entries {
                known.table.apply(entry, now);
            }
        });
    }

    /// What was known may be out of date: every request is refused until [`Self::readable`], and endless streams end.
    pub fn unreadable(&self) {
        if !self.is_unreadable() {
            self.change(|known| known.unreadable = true);
        }
    }

    /// All that there is was taken in.
    pub fn readable(&self) {
        if self.is_unreadable() {
            self.change(|known| known.unreadable = false);
        }
    }

    /// Forgets what can concern nothing any more. To be called now and then: nothing that counted no more counts again by it.
    pub fn forget(&self, now: UnixTime) {
        self.0
            .known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .table
            .forget(now);
    }

    /// Whether everything is known, for a readiness check.
    ///
    /// # Errors
    /// [`RevocationsUnreadable`].
    pub fn ready(&self) -> Result<(), RevocationsUnreadable> {
        self.generation().map(drop)
    }

    /// How many things are revoked.
    #[must_use]
    pub fn count(&self) -> usize {
        self.read(|known| known.table.count())
    }

    /// Whether this counts no more, and why.
    ///
    /// # Errors
    /// [`RevocationsUnreadable`].
    pub fn judge(&self, claim: &Claim<'_>) -> Result<Option<Revoked>, RevocationsUnreadable> {
        self.read(|known| match known.unreadable {
            true => Err(RevocationsUnreadable),
            false => Ok(known.table.judge(claim)),
        })
    }

    /// The moment. What is judged after this was read is judged by that moment or a later one.
    pub(crate) fn generation(&self) -> Result<Generation, RevocationsUnreadable> {
        match self.0.generation.load(Ordering::Acquire) {
            0 => Err(RevocationsUnreadable),
            number => Ok(Generation(number)),
        }
    }

    /// A notice of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    fn is_unreadable(&self) -> bool {
        self.read(|known| known.unreadable)
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        // What a panic left behind in the table is whole: every change of it is one operation on one entry.
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        known.generation = known.generation.saturating_add(1);
        let shown = if known.unreadable { 0 } else { known.generation };
        // Under the lock, so that no older generation comes after a newer one.
        self.0.generation.store(shown, Ordering::Release);
        self.0.changed.send_replace(known.generation);
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::ids::{ClientId, Issuer, RevocationId, Subject};
    use portcullis_core::revocation::{By, Extent, Reason, Target};
    use portcullis_core::time::Lifetime;

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn entry() -> Entry {
        let target = Target::User {
            issuer: Issuer::parse("https://as.example").unwrap(),
            subject: Subject::parse("ada").unwrap(),
            extent: Extent::UntilLifted,
        };
        let id = RevocationId::parse("r-1").unwrap();
        let reason = Reason::parse("a test").unwrap();
        Entry::Revoke(target.revoked(id, NOW, Lifetime::from_hours(1), reason, By::Operator))
    }

    fn judged(revocations: &Revocations) -> Result<Option<Revoked>, RevocationsUnreadable> {
        revocations.judge(&Claim {
            issuer: &Issuer::parse("https://as.example").unwrap(),
            subject: &Subject::parse("ada").unwrap(),
            client: &ClientId::parse("agent-1").unwrap(),
            token: None,
            grant: None,
            issued: NOW,
            server: None,
        })
    }

    #[test]
    fn every_change_moves_the_generation_and_is_told() {
        let revocations = Revocations::new();
        let mut changes = revocations.changes();
        let first = revocations.generation().unwrap();
        assert_ne!(first, Generation::NONE);
        assert_eq!(judged(&revocations), Ok(None));
        revocations.apply([&entry()], NOW);
        assert_ne!(revocations.generation().unwrap(), first);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!(judged(&revocations), Ok(Some(Revoked::User)));
    }

    #[test]
    fn while_nobody_can_say_nothing_counts_and_no_generation_comes_again() {
        let revocations = Revocations::new();
        let before = revocations.generation().unwrap();
        revocations.unreadable();
        assert_eq!(revocations.generation(), Err(RevocationsUnreadable));
        assert_eq!(revocations.ready(), Err(RevocationsUnreadable));
        assert_eq!(judged(&revocations), Err(RevocationsUnreadable));
        // What is learned meanwhile does not make it readable.
        revocations.apply([&entry()], NOW);
        assert_eq!(judged(&revocations), Err(RevocationsUnreadable));
        revocations.readable();
        assert_ne!(revocations.generation().unwrap(), before);
        assert_eq!(judged(&revocations), Ok(Some(Revoked::User)));
    }
}
