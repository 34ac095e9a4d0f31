//! Counts attempts per key within a window, in a table that cannot grow without end.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::time::{Lifetime, UnixTime};

use super::network;

/// Most keys remembered.
pub(crate) const KEYS: usize = 10_000;

/// Where a request comes from, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    /// This machine, under whichever of its loopback addresses.
    Loopback,
    /// Elsewhere, as [`network`] counts callers.
    At(IpAddr),
    /// The listener did not say. All such requests count as one's.
    Unknown,
}

impl Network {
    /// The network of an address.
    pub(crate) fn of(peer: Option<IpAddr>) -> Self {
        match peer {
            None => Self::Unknown,
            Some(peer) if peer.is_loopback() => Self::Loopback,
            Some(peer) => Self::At(network(peer)),
        }
    }
}

/// Attempts per key and window.
pub(crate) struct Throttle<K> {
    window: Lifetime,
    counts: Mutex<HashMap<K, Count>>,
}

#[derive(Clone, Copy)]
struct Count {
    since: UnixTime,
    attempts: u32,
}

impl<K: Eq + Hash + Clone> Throttle<K> {
    pub(crate) fn new(window: Lifetime) -> Self {
        Self {
            window,
            counts: Mutex::new(HashMap::new()),
        }
    }

    /// Counts an attempt, of which a key has at most `limit` within the window, before it is made, so that parallel ones are
    /// all counted. One that is refused does not count.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn attempt(&self, key: &K, limit: u32, now: UnixTime) -> Result<(), Lifetime> {
        let mut counts = self.counts();
        if counts.len() >= KEYS && !counts.contains_key(key) {
            self.make_room(&mut counts, now);
        }
        let count = counts.entry(key.clone()).or_insert(Count {
            since: now,
            attempts: 0,
        });
        if count.since.plus(self.window) <= now {
            *count = Count {
                since: now,
                attempts: 0,
            };
        }
        if count.attempts >= limit {
            let left = count
                .since
                .plus(self.window)
                .as_secs()
                .saturating_sub(now.as_secs());
            return Err(Lifetime::from_secs(
                u64::try_from(left).unwrap_or_default().max(1),
            ));
        }
        count.attempts += 1;
        Ok(())
    }

    /// Takes back one attempt, because it succeeded.
    pub(crate) fn take_back(&self, key: &K) {
        if let Some(count) = self.counts().get_mut(key) {
            count.attempts = count.attempts.saturating_sub(1);
        }
    }

    /// Forgets the key, because an attempt succeeded.
    pub(crate) fn forget(&self, key: &K) {
        self.counts().remove(key);
    }

    /// Drops what is over, else the oldest: whoever floods the table loses their own entries first.
    fn make_room(&self, counts: &mut HashMap<K, Count>, now: UnixTime) {
        counts.retain(|_, count| count.since.plus(self.window) > now);
        if counts.len() >= KEYS {
            let oldest = counts
                .iter()
                .min_by_key(|(_, count)| (count.attempts, count.since));
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                counts.remove(&key);
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<K, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Lifetime = Lifetime::from_minutes(10);
    const START: UnixTime = UnixTime::from_secs(1_000_000);

    #[test]
    fn at_the_limit_one_past_it_and_after_the_window() {
        let throttle = Throttle::new(WINDOW);
        for _ in 0..3 {
            assert_eq!(throttle.attempt(&"a", 3, START), Ok(()));
        }
        assert_eq!(throttle.attempt(&"a", 3, START), Err(WINDOW));
        assert_eq!(throttle.attempt(&"b", 3, START), Ok(()));
        let end = START.plus(WINDOW);
        assert_eq!(
            throttle.attempt(&"a", 3, end.minus(Lifetime::from_secs(1))),
            Err(Lifetime::from_secs(1))
        );
        assert_eq!(throttle.attempt(&"a", 3, end), Ok(()));
    }

    #[test]
    fn success_is_not_held_against_anyone() {
        let throttle = Throttle::new(WINDOW);
        for _ in 0..5 {
            assert_eq!(throttle.attempt(&"a", 1, START), Ok(()));
            throttle.take_back(&"a");
        }
        assert_eq!(throttle.attempt(&"a", 1, START), Ok(()));
        throttle.forget(&"a");
        assert_eq!(throttle.attempt(&"a", 1, START), Ok(()));
    }

    #[test]
    fn the_table_does_not_grow_and_keeps_those_who_tried_most() {
        let throttle = Throttle::new(WINDOW);
        assert_eq!(throttle.attempt(&0, 2, START), Ok(()));
        assert_eq!(throttle.attempt(&0, 2, START), Ok(()));
        for key in 1..=KEYS {
            assert_eq!(throttle.attempt(&key, 2, START), Ok(()));
        }
        assert_eq!(throttle.counts().len(), KEYS);
        assert_eq!(throttle.attempt(&0, 2, START), Err(WINDOW));
    }

    #[test]
    fn one_who_has_many_addresses_counts_once() {
        let of = |peer: &str| Network::of(Some(peer.parse().unwrap()));
        assert_eq!(of("127.0.0.1"), Network::Loopback);
        assert_eq!(
            (of("127.9.9.9"), of("::1")),
            (Network::Loopback, Network::Loopback)
        );
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(Network::of(None), Network::Unknown);
    }
}
