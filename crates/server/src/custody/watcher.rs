//! The ring of another role, seen from outside: which keys there are and which are void. Needs no master key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_core::ids::KeyId;
use portcullis_core::keys::State;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::change::{States, states_of};
use super::keyring::revoked;
use super::rotator::{Backoff, FOLLOW, POLL, Sight};
use super::shelf::Shelf;
use super::{Error, Ledger};

/// Follows a ring that is not ours. A gateway on the authority's shelf learns of a revoked key within a second.
pub struct Watcher {
    shelf: Arc<dyn Shelf>,
    ledger: Arc<Ledger>,
    seen: ArcSwap<Seen>,
    changed: watch::Sender<u64>,
    sight: Sight,
}

#[derive(Debug)]
struct Seen {
    generation: u64,
    states: States,
    revoked: Arc<BTreeSet<KeyId>>,
}

impl Seen {
    /// A key that was once revoked is, whatever the shelf says of it by now.
    fn of(shelf: &dyn Shelf, ledger: &Ledger) -> Result<Self, Error> {
        let mut shelved = shelf.read()?;
        ledger.mend(&mut shelved.records, &shelf.place());
        ledger.remember(&shelved.records);
        Ok(Self {
            generation: shelved.generation,
            states: states_of(&shelved.records),
            revoked: Arc::new(revoked(&shelved.records)),
        })
    }
}

impl Watcher {
    /// Reads the ring once. `ledger` is this process's own, beside its audit log.
    ///
    /// # Errors
    /// [`Error`]: the shelf cannot be read. Who guards with it must not start then: a revoked key would count.
    pub fn open(shelf: Arc<dyn Shelf>, ledger: Arc<Ledger>) -> Result<Arc<Self>, Error> {
        let seen = Seen::of(&*shelf, &ledger)?;
        let (changed, _) = watch::channel(seen.generation);
        Ok(Arc::new(Self {
            shelf,
            ledger,
            seen: ArcSwap::from_pointee(seen),
            changed,
            sight: Sight::default(),
        }))
    }

    /// Follows the ring until `stop`, on a thread of its own. What cannot be read leaves what was seen last.
    ///
    /// # Errors
    /// [`Error::Crypto`] when the system gives no thread.
    pub fn spawn(self: &Arc<Self>, stop: CancellationToken) -> Result<(), Error> {
        let watcher = Arc::clone(self);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|_| Error::Crypto("start a thread for the keys"))?;
        std::thread::Builder::new()
            .name("keys-watch".to_owned())
            .spawn(move || runtime.block_on(watcher.run(stop)))
            .map(drop)
            .map_err(|_| Error::Crypto("start a thread for the keys"))
    }

    async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut backoff = Backoff::up_to(FOLLOW);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            if backoff.is_due() {
                backoff.note("follow the keys of the other role", self.look());
            }
        }
    }

    /// Looks once. Blocks on the shelf.
    ///
    /// # Errors
    /// [`Error`]: the shelf cannot be read; what was seen last stays.
    pub fn look(&self) -> Result<(), Error> {
        let looked = self.take_over();
        self.sight.note(&looked);
        looked
    }

    /// Whether the last look was a good one. While it is not, a key that was revoked since is not void here.
    ///
    /// # Errors
    /// The stable code of why not.
    pub fn is_followed(&self) -> Result<(), &'static str> {
        self.sight.is_clear()
    }

    fn take_over(&self) -> Result<(), Error> {
        if self.shelf.generation()? == self.seen.load().generation {
            return Ok(());
        }
        let seen = Seen::of(&*self.shelf, &self.ledger)?;
        let generation = seen.generation;
        self.seen.store(Arc::new(seen));
        self.changed.send_replace(generation);
        Ok(())
    }

    /// The keys that were revoked.
    #[must_use]
    pub fn revoked(&self) -> Arc<BTreeSet<KeyId>> {
        Arc::clone(&self.seen.load().revoked)
    }

    /// All keys and their states.
    #[must_use]
    pub fn states(&self) -> BTreeMap<KeyId, State> {
        let seen = self.seen.load();
        seen.states
            .iter()
            .map(|(kid, (_, state))| (kid.clone(), *state))
            .collect()
    }

    /// The generation, and a notice of each new one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher")
            .field("shelf", &self.shelf)
            .finish_non_exhaustive()
    }
}
