//! Follows the log of revocations, for as long as the process runs.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_core::audit;
use portcullis_core::revocation::{Entry, RevocationId};
use portcullis_guard::Revocations;
use portcullis_guard::recorder::{Durability, Recorder, RecorderUnavailable};
use portcullis_net::clock::Clock;
use tokio_util::sync::CancellationToken;

use super::{Error, Ledger, event};
use crate::store::{Page, RevocationLog};

/// How often the log is read. Everybody is to notice a change within a second.
pub const POLL: Duration = Duration::from_millis(250);
/// For how long the log may be unreadable before everything is refused. The last try may take two seconds more.
pub const UNREADABLE_AFTER: Duration = Duration::from_secs(5);
/// How often what can concern nothing any more is forgotten.
const FORGETTING: Duration = Duration::from_secs(60);

/// What a follower works with.
pub struct Settings {
    /// The log in the store.
    pub log: RevocationLog,
    /// The folder of the audit log, where the ledger is.
    pub audit: PathBuf,
    /// Where each entry goes on record.
    pub recorder: Arc<dyn Recorder>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Follows the log of revocations.
pub struct Follower {
    settings: Settings,
    ledger: Ledger,
    revocations: Revocations,
    place: Mutex<Place>,
    unrecorded: Mutex<Unrecorded>,
}

/// Where it is in the log: after the entry of this number and name.
#[derive(Debug, Default)]
struct Place {
    seq: u64,
    last: Option<RevocationId>,
}

#[derive(Debug, Default)]
struct Unrecorded {
    entries: VecDeque<Entry>,
    alarms: VecDeque<String>,
    /// What a process recorded that died before it noted so.
    recorded: BTreeSet<String>,
}

impl Follower {
    /// Reads the whole log once. `recorded` are the names of entries that the newest files of the audit log have.
    ///
    /// # Errors
    /// [`Error`]: the log or the ledger cannot be read. Who guards with it must not start then: what is revoked would count.
    pub fn open(settings: Settings, recorded: BTreeSet<String>) -> Result<Arc<Self>, Error> {
        let now = settings.clock.now();
        let (ledger, known) = Ledger::open(&settings.audit, now)?;
        let revocations = Revocations::new();
        revocations.apply(&known, now);
        let follower = Self {
            settings,
            ledger,
            revocations,
            place: Mutex::default(),
            unrecorded: Mutex::new(Unrecorded {
                recorded,
                ..Unrecorded::default()
            }),
        };
        follower.look()?;
        Ok(Arc::new(follower))
    }

    /// What is revoked, for a guard.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The log that is followed.
    #[must_use]
    pub fn log(&self) -> &RevocationLog {
        &self.settings.log
    }

    /// Adds an entry to the log, which `make` makes of the moment: when this returns it is on disk, and in force here. Blocks.
    ///
    /// # Errors
    /// [`Error`]. It may have been added all the same, if the store was lost right then.
    pub fn add(&self, make: impl FnOnce() -> Entry + Send + 'static) -> Result<Entry, Error> {
        let entry = self.settings.log.add(make)?;
        self.revocations.apply([&entry], self.settings.clock.now());
        Ok(entry)
    }

    /// Reads what is new in the log. Blocks, for a few seconds at most.
    ///
    /// # Errors
    /// [`Error`]: the log cannot be read; what is known stays.
    pub fn look(&self) -> Result<(), Error> {
        let mut place = self.place();
        let mut all = (place.seq == 0).then(HashSet::new);
        loop {
            let page = self.settings.log.read(place.seq)?;
            if !place.is_in(&page) {
                tracing::warn!(
                    store = self.settings.log.place(),
                    "the log of revocations is another than before; it is read from its beginning"
                );
                *place = Place::default();
                all = Some(HashSet::new());
                continue;
            }
            let more = page.is_full();
            let new: Vec<(u64, Entry)> = page
                .entries
                .into_iter()
                .filter(|(seq, _)| *seq > place.seq)
                .collect();
            self.revocations
                .apply(new.iter().map(|(_, entry)| entry), self.settings.clock.now());
            for (seq, entry) in new {
                place.seq = seq;
                place.last = Some(entry.id().clone());
                if let Some(all) = &mut all {
                    all.insert(entry.id().clone());
                }
                if !self.ledger.has(entry.id()) {
                    self.unrecorded().entries.push_back(entry);
                }
            }
            if !more {
                break;
            }
        }
        if let Some(all) = all {
            self.put_back(&all)?;
        }
        self.revocations.readable();
        Ok(())
    }

    /// Adds to the log what the ledger has and the log has not, as after a backup was put in its place.
    fn put_back(&self, there: &HashSet<RevocationId>) -> Result<(), Error> {
        let now = self.settings.clock.now();
        let missing: Vec<Entry> = self
            .ledger
            .entries()?
            .into_iter()
            .filter(|entry| !entry.is_over(now) && !there.contains(entry.id()))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.revocations.apply(&missing, now);
        let count = missing.len();
        for entry in missing {
            self.settings.log.add(move || entry)?;
        }
        let alarm = format!(
            "{count} revocations were missing in {}, as if a backup from before was put in place: they stay in force, and were added again",
            self.settings.log.place()
        );
        tracing::error!("{alarm}");
        self.unrecorded().alarms.push_back(alarm);
        Ok(())
    }

    /// Puts on record what is not yet, each once.
    ///
    /// # Errors
    /// [`RecorderUnavailable`]: the rest waits for the next time.
    pub async fn record(&self) -> Result<(), RecorderUnavailable> {
        while let Some(detail) = self.first_alarm() {
            let what = "revocation.restored";
            let event = audit::System { what, detail }.into();
            self.settings.recorder.record(event, Durability::Synced).await?;
            self.unrecorded().alarms.pop_front();
        }
        while let Some((entry, known)) = self.first_entry() {
            if !known {
                self.settings
                    .recorder
                    .record(event(&entry), Durability::Synced)
                    .await?;
            }
            // If it cannot be noted, a start finds it in the audit log.
            if let Err(error) = self.ledger.note(&entry) {
                tracing::error!(%error, "a revocation is in force and on record, and could not be noted");
            }
            self.unrecorded().entries.pop_front();
        }
        Ok(())
    }

    fn first_alarm(&self) -> Option<String> {
        self.unrecorded().alarms.front().cloned()
    }

    fn first_entry(&self) -> Option<(Entry, bool)> {
        let mut unrecorded = self.unrecorded();
        let entry = unrecorded.entries.front().cloned()?;
        let known = unrecorded.recorded.remove(entry.id().as_str()) || self.ledger.has(entry.id());
        Some((entry, known))
    }

    /// Follows the log until `stop`, on a thread of its own.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn spawn(self: &Arc<Self>, stop: CancellationToken) -> Result<(), Error> {
        let follower = Arc::clone(self);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|_| Error::System("thread"))?;
        std::thread::Builder::new()
            .name("revocations".to_owned())
            .spawn(move || {
                let _blind = Blind(follower.revocations.clone());
                runtime.block_on(follower.run(stop));
            })
            .map(drop)
            .map_err(|_| Error::System("thread"))
    }

    async fn run(&self, stop: CancellationToken) {
        let (mut looked, mut forgot, mut failing) = (Instant::now(), Instant::now(), false);
        loop {
            let outcome = self.look();
            match &outcome {
                Ok(()) => {
                    looked = Instant::now();
                    if failing {
                        tracing::info!("the log of revocations can be read again");
                    }
                }
                Err(error) => {
                    if !failing {
                        tracing::error!(%error, "the log of revocations cannot be read");
                    }
                    if looked.elapsed() >= UNREADABLE_AFTER && self.revocations.ready().is_ok() {
                        tracing::error!("nothing goes on until the log of revocations can be read");
                        self.revocations.unreadable();
                    }
                }
            }
            failing = outcome.is_err();
            if let Err(error) = self.record().await {
                tracing::error!(%error, "a revocation is in force and not on record yet");
            }
            if forgot.elapsed() >= FORGETTING {
                forgot = Instant::now();
                let now = self.settings.clock.now();
                self.revocations.forget(now);
                if let Err(error) = self.settings.log.forget(now) {
                    tracing::warn!(%error, "revocations that are over stay in the store for now");
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                return;
            }
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unrecorded(&self) -> MutexGuard<'_, Unrecorded> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether this page goes on from here: the entry that was the last one is still there.
    fn is_in(&self, page: &Page) -> bool {
        if self.seq == 0 {
            return true;
        }
        let same = |(seq, entry): &(u64, Entry)| *seq == self.seq && Some(entry.id()) == self.last.as_ref();
        page.entries.first().is_some_and(same)
    }
}

/// A thread that died follows nothing.
struct Blind(Revocations);

impl Drop for Blind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.unreadable();
        }
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("log", &self.settings.log)
            .finish_non_exhaustive()
    }
}
