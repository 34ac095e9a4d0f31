//! The buckets of those who sent something lately.
//!
//! Bounded, and never forgiving: only a bucket that is full again is forgotten, which is the same as one that never was. When all
//! places are taken by buckets that are not, whoever is new shares one bucket with all others who are and have the same rate.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::time::{Lifetime, UnixTime};

use super::rate::{FullAt, Rate};

/// Most buckets of one table.
pub(super) const BUCKETS: usize = 65_536;
const SHARDS: usize = 16;

/// Buckets by the hash of their owner under a key that nobody knows: no owner can choose whose bucket it shares.
#[derive(Debug)]
pub(super) struct Table {
    shards: [Mutex<Shard>; SHARDS],
    /// One for each rate, of which configuration has so many: what is little under one is a lot under another.
    shared: Mutex<HashMap<Rate, FullAt>>,
    most: usize,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Shard {
    held: HashMap<u64, FullAt>,
    /// When it was last looked through for buckets that are full.
    swept: Option<UnixTime>,
}

/// One that was taken, to be given back where that is due.
#[derive(Debug)]
pub(super) struct Taken {
    rate: Rate,
    from: From,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Own(u64),
    Shared,
}

impl Table {
    pub(super) fn new() -> Self {
        Self::with_room(BUCKETS)
    }

    fn with_room(buckets: usize) -> Self {
        Self {
            shards: Default::default(),
            shared: Mutex::default(),
            most: buckets.div_ceil(SHARDS),
            hasher: RandomState::new(),
        }
    }

    /// Takes one from the bucket of `owner`.
    ///
    /// # Errors
    /// How long until there is one.
    pub(super) fn take<K: Hash>(&self, owner: &K, rate: Rate, now: UnixTime) -> Result<Taken, Lifetime> {
        let owner = self.hasher.hash_one(owner);
        let mut shard = self.shard(owner);
        if !shard.held.contains_key(&owner) && shard.is_full(self.most, now) {
            drop(shard);
            rate.take(lock(&self.shared).entry(rate).or_default(), now)?;
            return Ok(Taken {
                rate,
                from: From::Shared,
            });
        }
        rate.take(shard.held.entry(owner).or_default(), now)?;
        Ok(Taken {
            rate,
            from: From::Own(owner),
        })
    }

    /// Gives one back.
    pub(super) fn give_back(&self, taken: &Taken) {
        match taken.from {
            From::Own(owner) => {
                // One that is gone was full.
                if let Some(bucket) = self.shard(owner).held.get_mut(&owner) {
                    *bucket = taken.rate.give_back(*bucket);
                }
            }
            From::Shared => {
                if let Some(bucket) = lock(&self.shared).get_mut(&taken.rate) {
                    *bucket = taken.rate.give_back(*bucket);
                }
            }
        }
    }

    fn shard(&self, owner: u64) -> MutexGuard<'_, Shard> {
        let [first, ..] = &self.shards;
        let at = usize::try_from(owner >> 32).unwrap_or_default() % SHARDS;
        lock(self.shards.get(at).unwrap_or(first))
    }
}

impl Shard {
    /// Whether there is no room for one more, even after those that are full are forgotten. Looking for those takes time, so a
    /// flood makes it happen once a second and not for each request.
    fn is_full(&mut self, most: usize, now: UnixTime) -> bool {
        if self.held.len() < most {
            return false;
        }
        if self
            .swept
            .is_none_or(|swept| now < swept || swept.plus(Lifetime::from_secs(1)) <= now)
        {
            self.swept = Some(now);
            self.held.retain(|_, bucket| {
                *bucket = bucket.no_later(now);
                !bucket.is_full(now)
            });
        }
        self.held.len() >= most
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one operation on one value: what a panic left behind is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn held(table: &Table) -> usize {
        table.shards.iter().map(|shard| lock(shard).held.len()).sum()
    }

    #[test]
    fn each_has_its_own_bucket() {
        let table = Table::new();
        let rate = Rate::parse("2/min").unwrap();
        for owner in ["a", "b"] {
            let first = table.take(&owner, rate, START).unwrap();
            table.take(&owner, rate, START).unwrap();
            assert_eq!(
                table.take(&owner, rate, START).err(),
                Some(Lifetime::from_secs(30)),
                "{owner}"
            );
            table.give_back(&first);
            table.take(&owner, rate, START).unwrap();
        }
    }

    #[test]
    fn a_flood_of_senders_forgives_nobody_and_takes_no_more_room() {
        let table = Table::with_room(SHARDS * 4);
        let rate = Rate::parse("3/min").unwrap();
        for _ in 0..3 {
            table.take(&"known", rate, START).unwrap();
        }
        // Newcomers fill all places, and then share three.
        let new: Vec<u32> = (0..10_000)
            .filter(|number| table.take(number, rate, START).is_ok())
            .collect();
        assert!(held(&table) <= SHARDS * 4, "{}", held(&table));
        assert_eq!(new.len(), held(&table) - 1 + 3);
        assert_eq!(
            table.take(&"known", rate, START).err(),
            Some(Lifetime::from_secs(20))
        );
        // A period later those are forgotten that are full again, and nobody is refused for what others did.
        let later = START.plus(Lifetime::from_minutes(1));
        assert!(table.take(&"another", rate, later).is_ok());
        assert!(held(&table) <= SHARDS * 4);
        let shard = table.shard(table.hasher.hash_one("another"));
        assert_eq!(shard.held.len(), 1, "the full ones of its shard are gone");
    }

    #[test]
    fn newcomers_share_with_those_of_their_own_rate() {
        let table = Table::with_room(SHARDS);
        let (slow, quick) = (Rate::parse("1/h").unwrap(), Rate::parse("10/s").unwrap());
        for number in 0..1_000 {
            drop(table.take(&number, slow, START));
        }
        assert!(table.take(&"slow", slow, START).is_err());
        // A quick tool is not stopped for an hour, and does not wipe out what is owed of a slow one.
        let taken: Vec<_> = (0..10).map(|_| table.take(&"quick", quick, START)).collect();
        assert!(taken.iter().all(Result::is_ok));
        assert!(table.take(&"quick", quick, START).is_err());
        assert!(table.take(&"slow", slow, START).is_err());
        for taken in taken.iter().flatten() {
            table.give_back(taken);
        }
        assert!(table.take(&"quick", quick, START).is_ok());
        assert!(table.take(&"slow", slow, START).is_err());
    }

    #[test]
    fn a_clock_that_was_set_back_fills_no_table_for_good() {
        let table = Table::with_room(SHARDS);
        let rate = Rate::parse("1/h").unwrap();
        let far = START.plus(Lifetime::from_days(365));
        for number in 0..1_000 {
            drop(table.take(&number, rate, far));
        }
        assert_eq!(held(&table), SHARDS);
        // Set right again: they are looked at, and gone after the longest period.
        assert!(
            table.take(&"new", rate, START).is_err(),
            "shared with those of before"
        );
        let later = START.plus(Lifetime::from_secs(2 * 60 * 60));
        for number in 2_000..2_100 {
            drop(table.take(&number, rate, START.plus(Lifetime::from_secs(2))));
        }
        assert!(table.take(&"new", rate, later).is_ok());
        let shard = table.shard(table.hasher.hash_one("new"));
        assert_eq!(shard.held.len(), 1, "those of before are gone");
    }
}
