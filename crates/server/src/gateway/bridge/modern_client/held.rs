//! Calls in which a server asked something, until their client comes back with the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use portcullis_core::bridge::{Bound, StateKey};
use portcullis_core::ids::Principal;
use portcullis_core::random::{RandomUnavailable, SecureRandom};
use portcullis_core::time::Lifetime;
use portcullis_net::clock::Clock;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::running::Running;
use crate::gateway::upstream::UpstreamError;

/// How long a call is held. A person may have to be asked.
const LIFETIME: Lifetime = Lifetime::from_minutes(10);
/// Most calls of one principal that are held. Its own oldest is given up.
const HELD_PER_PRINCIPAL: usize = 16;
/// Most calls that are held.
const HELD: usize = 1_000;

/// The calls of one server that are held.
pub(super) struct Held {
    key: StateKey,
    clock: Arc<dyn Clock>,
    random: Arc<dyn SecureRandom>,
    table: Mutex<HashMap<[u8; 16], Entry>>,
}

#[derive(Debug)]
struct Entry {
    by: Principal,
    waiting: Waiting,
    since: Instant,
    _timer: Timer,
}

/// What waits for the client.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A call that the server has not answered.
    Call(Box<Running>),
    /// Nothing: the call is to be made again.
    Again,
}

/// Ends with its entry.
#[derive(Debug)]
struct Timer(AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Held {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        random: Arc<dyn SecureRandom>,
    ) -> Result<Self, RandomUnavailable> {
        Ok(Self {
            key: StateKey::random(&*random)?,
            clock,
            random,
            table: Mutex::default(),
        })
    }

    /// Holds a call, and gives the state that the client is to bring back.
    pub(super) fn hold(
        self: &Arc<Self>,
        waiting: Waiting,
        bound: Bound<'_>,
    ) -> Result<String, UpstreamError> {
        let until = self.clock.now().plus(LIFETIME);
        let (name, state) =
            self.key
                .seal(&*self.random, bound, until)
                .map_err(|error| UpstreamError::Unreachable {
                    detail: format!("no state can be sealed: {error}"),
                })?;
        let mut table = self.table();
        let own = table.iter().filter(|(_, entry)| entry.by == *bound.principal);
        if own.clone().count() >= HELD_PER_PRINCIPAL
            && let Some(oldest) = own.min_by_key(|(_, entry)| entry.since).map(|(name, _)| *name)
        {
            table.remove(&oldest);
        }
        if table.len() >= HELD {
            return Err(UpstreamError::Busy);
        }
        let entry = Entry {
            by: bound.principal.clone(),
            waiting,
            since: Instant::now(),
            _timer: given_up(Arc::downgrade(self), name),
        };
        table.insert(name, entry);
        Ok(state)
    }

    /// The call that a state names. Once: whoever brings it again finds nothing.
    pub(super) fn take(&self, state: &str, bound: Bound<'_>) -> Option<Waiting> {
        let name = self.key.open(state, bound, self.clock.now()).ok()?;
        Some(self.table().remove(&name)?.waiting)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<[u8; 16], Entry>> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a call up when its time is over, which cancels it at the server.
fn given_up(held: Weak<Held>, name: [u8; 16]) -> Timer {
    let timer = tokio::spawn(async move {
        sleep(Duration::from_secs(LIFETIME.as_secs())).await;
        let entry = held.upgrade().and_then(|held| held.table().remove(&name));
        drop(entry);
    });
    Timer(timer.abort_handle())
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("calls", &self.table().len())
            .finish_non_exhaustive()
    }
}
