//! Starts children: so many at a time, and not again and again what dies at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_core::wire::Era;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::Limits;
use super::child::{Child, Ending, Program};
use crate::gateway::upstream::{Principal, UpstreamError};

/// Most principals whose failed starts are remembered.
const REMEMBERED: usize = 1_024;
/// The wait after the second failed start in a row; it doubles with each one more.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Starts the children of one server.
#[derive(Debug)]
pub(super) struct Launcher {
    program: Program,
    limits: Limits,
    places: Arc<Semaphore>,
    strikes: Arc<Strikes>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

/// Room for one child, until it has ended.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Launcher {
    pub(super) fn new(program: Program, limits: Limits) -> Self {
        let stop = CancellationToken::new();
        Self {
            program,
            limits,
            places: Arc::new(Semaphore::new(limits.children)),
            strikes: Arc::default(),
            tasks: TaskTracker::new(),
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Room for one more child, if there is some now.
    pub(super) fn place(&self) -> Option<Place> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .ok()
            .map(|permit| Place { _permit: permit })
    }

    /// Room for one more child, waiting for one that was told to end.
    pub(super) async fn place_of_ending(&self) -> Option<Place> {
        let patience = self.limits.stop_time.saturating_add(Duration::from_secs(1));
        let permit = timeout(patience, Arc::clone(&self.places).acquire_owned())
            .await
            .ok()?
            .ok()?;
        Some(Place { _permit: permit })
    }

    /// Starts a child for a principal.
    pub(super) fn start(
        &self,
        place: Place,
        principal: &Principal,
        era: Era,
    ) -> Result<Arc<Child>, UpstreamError> {
        let unreachable = |detail| UpstreamError::Unreachable { detail };
        if let Some(wait) = self.strikes.wait(principal, Instant::now()) {
            let seconds = wait.as_secs().saturating_add(1);
            return Err(unreachable(format!(
                "the stdio server keeps ending before it answers; next try in {seconds} s"
            )));
        }
        let strikes = Arc::clone(&self.strikes);
        let owner = principal.clone();
        self.spawn(era, move |ending| {
            strikes.note(&owner, ending, Instant::now());
            drop(place);
        })
    }

    /// Starts a stateless child that may not understand what it is asked, and end: that is held against nobody.
    pub(super) fn try_out(&self, place: Place) -> Result<Arc<Child>, UpstreamError> {
        self.spawn(Era::Modern, move |_| drop(place))
    }

    fn spawn(
        &self,
        era: Era,
        ended: impl FnOnce(Ending) + Send + 'static,
    ) -> Result<Arc<Child>, UpstreamError> {
        let unreachable = |detail| UpstreamError::Unreachable { detail };
        if self.stop.is_cancelled() {
            return Err(unreachable("the gateway is stopping".to_owned()));
        }
        Child::start(
            &self.program,
            era,
            self.limits,
            self.stop.child_token(),
            &self.tasks,
            ended,
        )
        .map_err(|error| unreachable(format!("`{}` could not be started: {error}", self.program.path)))
    }

    /// Ends every child, and waits until they have.
    pub(super) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Failed starts. Each principal has its own, because whoever sends what the server dies of shall not keep the others out.
#[derive(Debug, Default)]
struct Strikes(Mutex<HashMap<Principal, Strike>>);

#[derive(Clone, Copy, Debug)]
struct Strike {
    in_a_row: u32,
    until: Instant,
}

impl Strikes {
    /// How long the principal has to wait still.
    fn wait(&self, principal: &Principal, now: Instant) -> Option<Duration> {
        let until = self.table().get(principal)?.until;
        Some(until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    fn note(&self, principal: &Principal, ending: Ending, now: Instant) {
        let mut table = self.table();
        match ending {
            Ending::Ordinary => {
                table.remove(principal);
            }
            Ending::Stillborn => {
                if !table.contains_key(principal) {
                    make_room(&mut table, now);
                }
                let strike = table.entry(principal.clone()).or_insert(Strike {
                    in_a_row: 0,
                    until: now,
                });
                // A single failed start is tried again at once.
                let wait = strike.in_a_row.checked_sub(1).map_or(Duration::ZERO, |more| {
                    FIRST_WAIT
                        .saturating_mul(2_u32.saturating_pow(more))
                        .min(LONGEST_WAIT)
                });
                strike.in_a_row = strike.in_a_row.saturating_add(1);
                strike.until = now.checked_add(wait).unwrap_or(now);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Principal, Strike>> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets strikes that make nobody wait any more, and all of them if that is not enough.
fn make_room(table: &mut HashMap<Principal, Strike>, now: Instant) {
    if table.len() >= REMEMBERED {
        table.retain(|_, strike| strike.until > now);
    }
    if table.len() >= REMEMBERED {
        table.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::principal;
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_ends_with_a_success() {
        let strikes = Strikes::default();
        let (one, other, now) = (principal("one"), principal("other"), Instant::now());
        strikes.note(&one, Ending::Stillborn, now);
        assert_eq!(strikes.wait(&one, now), None);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            strikes.note(&one, Ending::Stillborn, now);
            assert_eq!(strikes.wait(&one, now), Some(Duration::from_secs(seconds)));
            assert_eq!(strikes.wait(&other, now), None);
        }
        assert_eq!(strikes.wait(&one, now + LONGEST_WAIT), None);
        strikes.note(&one, Ending::Ordinary, now);
        strikes.note(&one, Ending::Stillborn, now);
        assert_eq!(strikes.wait(&one, now), None);
    }

    #[test]
    fn so_many_principals_are_remembered_and_no_more() {
        let strikes = Strikes::default();
        let now = Instant::now();
        for number in 0..=REMEMBERED {
            let who = principal(&format!("p{number}"));
            strikes.note(&who, Ending::Stillborn, now);
            strikes.note(&who, Ending::Stillborn, now);
            assert!(strikes.wait(&who, now).is_some());
            assert!(strikes.table().len() <= REMEMBERED);
        }
        assert_eq!(strikes.table().len(), 1);
    }
}
