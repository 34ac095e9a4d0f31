//! How many streams each principal has open at one server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::ids::Principal;

use crate::reason::Reason;

/// Most streams that one principal has open at one server, so that nobody takes all connections. An agent has
/// one for each session and one for each call that runs.
pub const STREAMS_PER_PRINCIPAL: usize = 64;

/// Most streams that are open at one server, unless configured otherwise. The answer to a call counts, and is never refused.
pub const STREAMS: usize = 10_000;

/// The open streams of one server. A principal without one takes no room here.
#[derive(Debug)]
pub struct Streams {
    most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    each: HashMap<Principal, usize>,
    all: usize,
}

impl Default for Streams {
    fn default() -> Self {
        Self::at_most(STREAMS)
    }
}

/// One open stream, for as long as it is held.
#[derive(Debug)]
pub struct Stream {
    among: Arc<Streams>,
    by: Principal,
}

impl Streams {
    /// None yet, and so many at the most.
    #[must_use]
    pub fn at_most(most: usize) -> Self {
        Self {
            most,
            open: Mutex::default(),
        }
    }

    /// Checks that the principal may have one more stream.
    pub(crate) fn check(&self, by: &Principal) -> Result<(), Reason> {
        self.open_of().check(by)
    }

    /// Checks that there may be one more stream that has no end of its own.
    pub(crate) fn check_endless(&self, by: &Principal) -> Result<(), Reason> {
        let open = self.open_of();
        open.check(by)?;
        open.check_all(self.most)
    }

    /// Opens a stream that has no end of its own.
    ///
    /// # Errors
    /// [`Reason::TooManyStreams`], [`Reason::StreamsFull`].
    pub fn open(self: &Arc<Self>, by: Principal) -> Result<Stream, Reason> {
        let mut open = self.open_of();
        open.check(&by)?;
        open.check_all(self.most)?;
        Ok(self.counted(&mut open, by))
    }

    /// Counts a stream that is the answer to a call which was made: refusing it now would lose the answer, not
    /// the call. The next call is refused instead.
    #[must_use]
    pub fn count(self: &Arc<Self>, by: Principal) -> Stream {
        self.counted(&mut self.open_of(), by)
    }

    fn counted(self: &Arc<Self>, open: &mut Open, by: Principal) -> Stream {
        let count = open.each.entry(by.clone()).or_default();
        *count = count.saturating_add(1);
        open.all = open.all.saturating_add(1);
        Stream {
            among: Arc::clone(self),
            by,
        }
    }

    fn open_of(&self) -> MutexGuard<'_, Open> {
        // No change panics halfway: what a panic left behind is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn check(&self, by: &Principal) -> Result<(), Reason> {
        if self.each.get(by).copied().unwrap_or(0) < STREAMS_PER_PRINCIPAL {
            Ok(())
        } else {
            Err(Reason::TooManyStreams {
                limit: STREAMS_PER_PRINCIPAL,
            })
        }
    }

    fn check_all(&self, most: usize) -> Result<(), Reason> {
        if self.all < most {
            Ok(())
        } else {
            Err(Reason::StreamsFull { limit: most })
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.among.open_of();
        open.all = open.all.saturating_sub(1);
        let left = open.each.get(&self.by).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            open.each.remove(&self.by);
        } else if let Some(count) = open.each.get_mut(&self.by) {
            *count = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::ids::{ClientId, Issuer, Subject};

    fn principal(subject: &str) -> Principal {
        Principal {
            issuer: Issuer::parse("https://as.example").unwrap(),
            subject: Subject::parse(subject).unwrap(),
            client: ClientId::parse("agent-1").unwrap(),
        }
    }

    #[test]
    fn one_stream_more_than_the_limit_is_refused_to_that_principal_alone() {
        let streams = Arc::new(Streams::default());
        let (alice, bob) = (principal("alice"), principal("bob"));
        let mut held: Vec<Stream> = (0..STREAMS_PER_PRINCIPAL)
            .map(|_| streams.open(alice.clone()).unwrap())
            .collect();
        let full = Reason::TooManyStreams {
            limit: STREAMS_PER_PRINCIPAL,
        };
        assert_eq!(streams.open(alice.clone()).unwrap_err(), full);
        assert_eq!(streams.check(&alice), Err(full.clone()));
        assert!(streams.open(bob.clone()).is_ok());
        // The answer to a call that was made counts, and is never refused.
        held.push(streams.count(alice.clone()));
        held.pop();
        assert_eq!(streams.check(&alice), Err(full));
        held.pop();
        assert_eq!(streams.check(&alice), Ok(()));
        held.clear();
        let open = streams.open_of();
        assert!(
            open.each.is_empty() && open.all == 0,
            "nothing is kept of streams that ended"
        );
    }

    #[test]
    fn one_endless_stream_more_than_all_may_have_is_refused_and_no_answer_to_a_call() {
        let streams = Arc::new(Streams::at_most(2));
        let (alice, bob) = (principal("alice"), principal("bob"));
        let held = (
            streams.open(alice.clone()).unwrap(),
            streams.open(alice.clone()).unwrap(),
        );
        let full = Reason::StreamsFull { limit: 2 };
        assert_eq!(streams.check_endless(&bob), Err(full.clone()));
        assert_eq!(streams.open(bob.clone()).unwrap_err(), full);
        assert_eq!(streams.check(&bob), Ok(()), "who calls is answered");
        drop(streams.count(bob.clone()));
        drop(held.0);
        assert_eq!(streams.check_endless(&bob), Ok(()));
    }
}
