//! How many streams each principal has open at one server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::ids::Principal;

use crate::reason::Reason;

/// Most streams that one principal has open at one server, so that nobody takes all connections. An agent has
/// one for each session and one for each call that runs.
pub const STREAMS_PER_PRINCIPAL: usize = 64;

/// The open streams of one server. A principal without one takes no room here.
#[derive(Debug, Default)]
pub struct Streams(Mutex<HashMap<Principal, usize>>);

/// One open stream, for as long as it is held.
#[derive(Debug)]
pub struct Stream {
    among: Arc<Streams>,
    by: Principal,
}

impl Streams {
    /// Checks that the principal may have one more stream.
    pub(crate) fn check(&self, by: &Principal) -> Result<(), Reason> {
        check(self.open_of().get(by).copied())
    }

    /// Opens a stream that has no end of its own.
    ///
    /// # Errors
    /// [`Reason::TooManyStreams`].
    pub fn open(self: &Arc<Self>, by: Principal) -> Result<Stream, Reason> {
        let mut open = self.open_of();
        check(open.get(&by).copied())?;
        Ok(self.counted(&mut open, by))
    }

    /// Counts a stream that is the answer to a call which was made: refusing it now would lose the answer, not
    /// the call. The next call is refused instead.
    #[must_use]
    pub fn count(self: &Arc<Self>, by: Principal) -> Stream {
        self.counted(&mut self.open_of(), by)
    }

    fn counted(self: &Arc<Self>, open: &mut HashMap<Principal, usize>, by: Principal) -> Stream {
        let count = open.entry(by.clone()).or_default();
        *count = count.saturating_add(1);
        Stream {
            among: Arc::clone(self),
            by,
        }
    }

    fn open_of(&self) -> MutexGuard<'_, HashMap<Principal, usize>> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(open: Option<usize>) -> Result<(), Reason> {
    if open.unwrap_or(0) < STREAMS_PER_PRINCIPAL {
        Ok(())
    } else {
        Err(Reason::TooManyStreams {
            limit: STREAMS_PER_PRINCIPAL,
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.among.open_of();
        let left = open.get(&self.by).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            open.remove(&self.by);
        } else if let Some(count) = open.get_mut(&self.by) {
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
        assert!(
            streams.open_of().is_empty(),
            "nothing is kept of streams that ended"
        );
    }
}
