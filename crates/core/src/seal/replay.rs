//! Once means once: the memory of `jti`s.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;

use super::error::Error;
use crate::ids::TokenId;
use crate::time::UnixTime;

/// A `jti`, and until when its token could be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// The token.
    pub jti: TokenId,
    /// `iat`, in whole seconds.
    pub issued: UnixTime,
    /// `exp` with the accepted difference of clocks.
    pub until: UnixTime,
}

/// Remembers which tokens were here.
///
/// A memory that is not shared sees what was replayed to it alone. One that cannot answer at once notes the tokens, and asks
/// before anything of the message is believed.
pub trait ReplayMemory: Send + Sync {
    /// Remembers all of them, or none if one of them was here before.
    ///
    /// # Errors
    /// [`Error::Replayed`]; [`Error::MemoryFull`] and [`Error::SenderFull`] when one cannot be remembered;
    /// [`Error::Expired`] for one whose time has passed.
    fn once(&self, sender: &str, tokens: &[Once], now: UnixTime) -> Result<(), Error>;
}

/// A memory in this process. Bounded; when it is full it takes nothing more until something in it expires.
pub struct Seen {
    capacity: usize,
    per_sender: usize,
    entries: Mutex<Entries>,
}

/// Half of a SHA-256: as hard to meet by chance as a `jti` of 128 bits.
type Name = [u8; 16];

#[derive(Default)]
struct Entries {
    until: HashMap<Name, UnixTime>,
    /// By time, with the sender.
    order: BTreeMap<(UnixTime, Name), Name>,
    senders: HashMap<Name, usize>,
    /// What ended before this was forgotten, so a clock that steps back brings nothing back.
    forgotten: Option<UnixTime>,
}

impl Seen {
    /// Remembers at most `capacity` tokens, and `per_sender` of each sender so that none can lock the others out.
    #[must_use]
    pub fn new(capacity: usize, per_sender: usize) -> Self {
        Self {
            capacity,
            per_sender,
            entries: Mutex::default(),
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .until
            .len()
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReplayMemory for Seen {
    fn once(&self, sender: &str, tokens: &[Once], now: UnixTime) -> Result<(), Error> {
        let from = name(&[sender]);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.forget(now);
        let forgotten = entries.forgotten;
        let mut added = BTreeMap::new();
        for token in tokens {
            if token.until <= now || forgotten.is_some_and(|forgotten| token.until <= forgotten) {
                return Err(Error::Expired);
            }
            let name = name(&[sender, token.jti.as_str()]);
            if entries.until.contains_key(&name) || added.insert(name, token.until).is_some() {
                return Err(Error::Replayed);
            }
        }
        let own = entries.senders.get(&from).copied().unwrap_or(0);
        if own.saturating_add(added.len()) > self.per_sender {
            return Err(Error::SenderFull);
        }
        if entries.until.len().saturating_add(added.len()) > self.capacity {
            return Err(Error::MemoryFull);
        }
        if !added.is_empty() {
            entries.senders.insert(from, own.saturating_add(added.len()));
        }
        for (name, until) in added {
            entries.until.insert(name, until);
            entries.order.insert((until, name), from);
        }
        Ok(())
    }
}

impl Entries {
    fn forget(&mut self, now: UnixTime) {
        while let Some(first) = self.order.first_entry() {
            if first.key().0 > now {
                break;
            }
            let ((until, name), sender) = first.remove_entry();
            self.until.remove(&name);
            self.forgotten = self.forgotten.max(Some(until));
            if let Some(count) = self.senders.get_mut(&sender) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.senders.remove(&sender);
                }
            }
        }
    }
}

fn name(parts: &[&str]) -> Name {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(jti: &str, until: i64) -> Once {
        Once {
            jti: TokenId::parse(jti).unwrap(),
            issued: UnixTime::from_secs(until - 10),
            until: UnixTime::from_secs(until),
        }
    }

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn once_per_sender_until_its_time_is_over() {
        let seen = Seen::new(10, 10);
        assert_eq!(seen.once("a", &[token("x", 10)], at(0)), Ok(()));
        assert_eq!(seen.once("a", &[token("x", 10)], at(9)), Err(Error::Replayed));
        assert_eq!(seen.once("b", &[token("x", 10)], at(9)), Ok(()));
        assert_eq!(seen.once("a", &[token("x", 10)], at(10)), Err(Error::Expired));
        assert!(seen.is_empty());
    }

    #[test]
    fn all_or_none() {
        let seen = Seen::new(10, 10);
        assert_eq!(
            seen.once("a", &[token("x", 10), token("x", 10)], at(0)),
            Err(Error::Replayed)
        );
        assert_eq!(
            seen.once("a", &[token("y", 10), token("z", 0)], at(0)),
            Err(Error::Expired)
        );
        assert!(seen.is_empty());
        assert_eq!(seen.once("a", &[token("x", 10), token("y", 10)], at(0)), Ok(()));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_full_memory_takes_nothing_until_something_expires() {
        let seen = Seen::new(3, 2);
        assert_eq!(seen.once("a", &[token("1", 10), token("2", 20)], at(0)), Ok(()));
        assert_eq!(seen.once("a", &[token("3", 20)], at(0)), Err(Error::SenderFull));
        assert_eq!(seen.once("b", &[token("1", 20)], at(0)), Ok(()));
        assert_eq!(seen.once("c", &[token("1", 20)], at(9)), Err(Error::MemoryFull));
        assert_eq!(seen.once("c", &[token("1", 20)], at(10)), Ok(()));
        assert_eq!(seen.once("a", &[token("1", 10)], at(10)), Err(Error::Expired));
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn a_clock_that_steps_back_brings_nothing_back() {
        let seen = Seen::new(3, 3);
        assert_eq!(seen.once("a", &[token("1", 10)], at(0)), Ok(()));
        assert_eq!(seen.once("a", &[token("2", 20)], at(11)), Ok(()));
        assert_eq!(seen.once("a", &[token("1", 10)], at(5)), Err(Error::Expired));
    }
}
