//! A replay log in this process.
//!
//! What is kept of an id is a fingerprint of 128 bits, when it expires, and where its sender is counted: 24 bytes, in tables that are at
//! least two thirds full, so 10 million live ids take 345 MiB at most. The fingerprint is keyed anew in each process: nobody can
//! choose ids that meet or crowd in one place. With 10 million live ids the chance that a new one is taken for one of them is 3·10⁻³².
//!
//! No sender gets more places than are left. One sender alone fills half of the log, two take two thirds, and a newcomer always
//! finds room. Senders are counted in two rows of [`CELLS`] counters, in one counter of each row; the smaller of the two counts. So
//! the counters take no more room the more senders there are, and a sender suffers for others only if those crowd both of its
//! counters: for a given sender, `k` crowders do that with a chance of about (`k`/16384)².

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::time::UnixTime;

use super::{FirstUse, ReplayId, ReplayLog, ReplayUnavailable, Use};

mod table;

use table::{Cells, Entry, Name, Table};

/// How many live ids a log in one process has room for, unless said otherwise.
pub const LOCAL_IDS: usize = 10_000_000;

/// Tables, each with its lock: so many that threads seldom meet and that one is quickly rebuilt.
const PARTS: usize = 256;
/// Counters in each of the two rows; a power of two, and fewer than `u16` counts.
const CELLS: usize = 1 << 14;

/// Remembers in this process. When it is full it refuses: it never forgets an id before its time. Room comes back as ids
/// expire, and their memory with [`Self::forget_some`].
///
/// A process that starts does not know what the one before it knew ([`ReplayLog::since`]), and replicas have one each: whoever runs
/// several shares a log.
pub struct LocalReplayLog {
    capacity: usize,
    since: UnixTime,
    key: RandomState,
    parts: Vec<Mutex<Table>>,
    /// Which part [`Self::forget_some`] looks at next.
    next: AtomicUsize,
    tally: Tally,
}

/// How much is in all the parts, and whose it is.
struct Tally {
    live: AtomicUsize,
    rows: [Vec<AtomicU32>; 2],
}

impl LocalReplayLog {
    /// Room for `capacity` live ids. It takes no memory for those that are not there.
    #[must_use]
    pub fn new(capacity: usize, now: UnixTime) -> Self {
        let row = || (0..CELLS).map(|_| AtomicU32::new(0)).collect();
        Self {
            capacity,
            since: now,
            key: RandomState::new(),
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
            tally: Tally {
                live: AtomicUsize::new(0),
                rows: [row(), row()],
            },
        }
    }

    /// How many ids are remembered, counting those that expired and are not forgotten yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tally.live.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much memory the ids take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| lock(part).bytes()).sum()
    }

    /// Forgets what expired in the next of 256 parts and gives its memory back: a fraction of a millisecond, of which
    /// only askers for that part see anything. Call it for every part within some seconds.
    pub fn forget_some(&self, now: UnixTime) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % PARTS;
        if let Some(part) = self.parts.get(next) {
            self.forget(&mut lock(part), floor(now));
        }
    }

    /// As [`ReplayLog::first_use`], at once.
    ///
    /// # Errors
    /// [`ReplayUnavailable`], never [`ReplayUnavailable::Unreachable`].
    pub fn answer(&self, id: &ReplayId, until: UnixTime, now: UnixTime) -> Result<Use, ReplayUnavailable> {
        if until <= now {
            return Ok(Use::Again);
        }
        let name = Name([0_u8, 1].map(|half| self.key.hash_one((half, id.name))));
        let entry = Entry {
            name,
            until: ceiling(until),
            cells: Cells::of(self.key.hash_one(id.sender), CELLS),
        };
        let now = floor(now);
        match self.used(entry, now) {
            Err(ReplayUnavailable::Full | ReplayUnavailable::SenderFull) => {
                // What expired anywhere makes room. Within one second there is nothing to find a second time.
                for part in &self.parts {
                    self.forget(&mut lock(part), now);
                }
                self.used(entry, now)
            }
            answer => answer,
        }
    }

    fn used(&self, entry: Entry, now: u32) -> Result<Use, ReplayUnavailable> {
        let Some(part) = self.parts.get(entry.name.part(PARTS)) else {
            return Err(ReplayUnavailable::Full);
        };
        let mut table = lock(part);
        if let Some(until) = table.find(entry.name) {
            if until > now {
                return Ok(Use::Again);
            }
            self.forget(&mut table, now);
        }
        if entry.until <= table.forgotten() {
            return Err(ReplayUnavailable::ClockWentBack);
        }
        self.tally.take(entry.cells, self.capacity)?;
        if table.is_crowded() {
            self.forget(&mut table, now);
        }
        table.insert(entry);
        Ok(Use::First)
    }

    fn forget(&self, table: &mut Table, now: u32) {
        table.forget(now, |cells| self.tally.give_back(cells));
    }
}

impl ReplayLog for LocalReplayLog {
    fn first_use(&self, id: ReplayId, until: UnixTime, now: UnixTime) -> FirstUse<'_> {
        FirstUse::known(self.answer(&id, until, now))
    }

    fn since(&self) -> UnixTime {
        self.since
    }

    fn ready(&self) -> Result<(), ReplayUnavailable> {
        if self.len() < self.capacity {
            Ok(())
        } else {
            Err(ReplayUnavailable::Full)
        }
    }
}

impl Tally {
    /// Takes a place for the sender that is counted in these cells.
    fn take(&self, cells: Cells, capacity: usize) -> Result<(), ReplayUnavailable> {
        let live = self.live.fetch_add(1, Ordering::Relaxed);
        let left = capacity.saturating_sub(live);
        let held = self.of(cells).map(|cell| cell.load(Ordering::Relaxed)).min();
        let why = match held {
            _ if left == 0 => ReplayUnavailable::Full,
            Some(held) if usize::try_from(held).is_ok_and(|held| held < left) => {
                for cell in self.of(cells) {
                    cell.fetch_add(1, Ordering::Relaxed);
                }
                return Ok(());
            }
            Some(_) | None => ReplayUnavailable::SenderFull,
        };
        self.live.fetch_sub(1, Ordering::Relaxed);
        Err(why)
    }

    fn give_back(&self, cells: Cells) {
        self.live.fetch_sub(1, Ordering::Relaxed);
        for cell in self.of(cells) {
            cell.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn of(&self, cells: Cells) -> impl Iterator<Item = &AtomicU32> {
        self.rows
            .iter()
            .zip(cells.0)
            .filter_map(|(row, cell)| row.get(usize::from(cell)))
    }
}

fn lock(part: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // Nothing in a table panics half way.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whole seconds, so that an entry is small; never too early for `until`, never too late for `now`.
fn floor(now: UnixTime) -> u32 {
    seconds(now.as_secs())
}

fn ceiling(until: UnixTime) -> u32 {
    seconds(until.as_millis().saturating_add(999).div_euclid(1000))
}

fn seconds(secs: i64) -> u32 {
    u32::try_from(secs.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
