//! Keeps a ring up to date: notices what others changed, does what is due, puts both on record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use portcullis_core::audit::{Event, KeyUse};
use portcullis_core::ids::KeyId;
use portcullis_core::random::SecureRandom;
use portcullis_guard::recorder::{Durability, Recorder};
use portcullis_net::clock::Clock;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::keyring::Stale;
use super::shelf::KeyPurpose;
use super::{Error, Keyring};

/// How often the shelf is asked for its generation. Everybody is to notice a change within a second.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// How often it is looked what is due.
const PLAN: Duration = Duration::from_secs(10);
/// How often the uses of keys go on record.
const USES: Duration = Duration::from_secs(60);
/// Longest wait after failures to do what is due. There are days for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait after failures to follow a shelf. With one answer's longest wait it is less than
/// [`NOTICE`](portcullis_core::keys::NOTICE), which counts from when the shelf answers again.
pub(super) const FOLLOW: Duration = Duration::from_secs(2);
/// A place for private keys that does not answer is asked again this often: signing stands still until it does.
const REOPEN: Duration = Duration::from_secs(2);

/// What keeps a ring up to date.
pub struct Rotator {
    /// The ring.
    pub keyring: Arc<Keyring>,
    /// Where transitions and uses go on record.
    pub recorder: Arc<dyn Recorder>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For certificates' serial numbers.
    pub random: Arc<dyn SecureRandom>,
}

/// A running [`Rotator`].
#[derive(Debug)]
pub struct Rotating(oneshot::Receiver<()>);

impl Rotating {
    /// Waits until it has stopped, the last uses on record.
    pub async fn finished(self) {
        // A thread that is gone has stopped too.
        let _ = self.0.await;
    }
}

impl Rotator {
    /// Runs until `stop`, on a thread of its own: a ring's shelf and its private keys may take their time.
    ///
    /// # Errors
    /// [`Error::Crypto`] when the system gives no thread.
    pub fn spawn(self, stop: CancellationToken) -> Result<Rotating, Error> {
        let (done, finished) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|_| Error::Crypto("start a thread for the keys"))?;
        std::thread::Builder::new()
            .name(format!("keys-{}", self.keyring.role()))
            .spawn(move || {
                runtime.block_on(self.run(stop));
                // Nobody may be waiting.
                let _ = done.send(());
            })
            .map_err(|_| Error::Crypto("start a thread for the keys"))?;
        Ok(Rotating(finished))
    }

    async fn run(self, stop: CancellationToken) {
        let mut counted = BTreeMap::new();
        let (mut reload, mut plan) = (Backoff::up_to(FOLLOW), Backoff::up_to(PATIENCE));
        let (mut reopened, mut planned, mut used) = (None::<Instant>, Instant::now(), Instant::now());
        self.record_changes().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(POLL) => {}
            }
            if reload.is_due() {
                let outcome = self.follow(&mut reopened);
                reload.note("follow the keys on their shelf", outcome);
            }
            if planned.elapsed() >= PLAN && plan.is_due() {
                planned = Instant::now();
                let outcome = self.keyring.advance(self.clock.now(), &*self.random).map(drop);
                plan.note("do what is due with the keys", outcome);
            }
            self.record_changes().await;
            if used.elapsed() >= USES {
                used = Instant::now();
                self.record_uses(&mut counted).await;
            }
        }
        self.record_changes().await;
        self.record_uses(&mut counted).await;
    }

    /// Takes over what others changed, and opens again what failed.
    fn follow(&self, reopened: &mut Option<Instant>) -> Result<(), Error> {
        match self.keyring.follow(self.clock.now())? {
            Stale::No | Stale::Moved => Ok(()),
            Stale::Failed => {
                if reopened.is_some_and(|last| last.elapsed() < REOPEN) {
                    return Ok(());
                }
                *reopened = Some(Instant::now());
                // A ring that could make no key at its start has none to open again: it is made now.
                self.keyring.advance(self.clock.now(), &*self.random).map(drop)
            }
        }
    }

    async fn record_changes(&self) {
        if let Err(error) = self.keyring.record_changes(&*self.recorder, &|_| false).await {
            tracing::error!(%error, "a change of keys is not on record yet");
        }
    }

    async fn record_uses(&self, counted: &mut BTreeMap<(KeyPurpose, KeyId), u64>) {
        let before = counted.clone();
        for uses in self.keyring.uses().since(counted) {
            let event = Event::KeyUse(KeyUse {
                role: self.keyring.role().to_owned(),
                kid: uses.kid.to_string(),
                purpose: uses.purpose.name(),
                count: uses.count,
            });
            if let Err(error) = self.recorder.record(event, Durability::Queued).await {
                tracing::error!(%error, "uses of keys are not on record yet");
                let key = (uses.purpose, uses.kid);
                let last = before.get(&key).copied().unwrap_or_default();
                counted.insert(key, last);
            }
        }
    }
}

impl std::fmt::Debug for Rotator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rotator")
            .field("keyring", &self.keyring)
            .finish_non_exhaustive()
    }
}

/// Waits longer after each failure, and logs the first and then fewer.
#[derive(Debug)]
pub(super) struct Backoff {
    longest: Duration,
    failures: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    pub(super) const fn up_to(longest: Duration) -> Self {
        Self {
            longest,
            failures: 0,
            not_before: None,
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.not_before.is_none_or(|due| Instant::now() >= due)
    }

    pub(super) fn note(&mut self, what: &str, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!("could {what} again");
                }
                *self = Self::up_to(self.longest);
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let wait = POLL
                    .saturating_mul(1 << self.failures.min(8))
                    .min(if error.may_pass() {
                        REOPEN.min(self.longest)
                    } else {
                        self.longest
                    });
                self.not_before = Some(Instant::now() + wait);
                if self.failures.is_power_of_two() {
                    tracing::warn!(
                        code = error.code(),
                        failures = self.failures,
                        "could not {what}; the keys stay as they were: {error}"
                    );
                }
            }
        }
    }
}

/// Whether the last look at a shelf was a good one, for `/readyz`.
#[derive(Debug, Default)]
pub(super) struct Sight(ArcSwapOption<&'static str>);

impl Sight {
    pub(super) fn note<T>(&self, looked: &Result<T, Error>) {
        let trouble = looked.as_ref().err().map(|error| Arc::new(error.code()));
        self.0.store(trouble);
    }

    /// The code of what went wrong.
    pub(super) fn is_clear(&self) -> Result<(), &'static str> {
        match self.0.load().as_deref() {
            None => Ok(()),
            Some(code) => Err(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::keys::NOTICE;

    use super::*;
    use crate::custody::shelf;

    #[test]
    fn however_often_a_shelf_failed_it_is_looked_at_again_in_time_to_notice() {
        let mut backoff = Backoff::up_to(FOLLOW);
        for _ in 0..100 {
            let error = Error::Store {
                place: "a database".to_owned(),
                detail: "it is away".to_owned(),
            };
            backoff.note("follow the keys", Err(error));
            assert!(backoff.not_before.unwrap() <= Instant::now() + FOLLOW);
        }
        let look = POLL + FOLLOW + shelf::ANSWER;
        assert!(look < Duration::from_secs(NOTICE.as_secs()), "{look:?}");
        backoff.note("follow the keys", Ok(()));
        assert!(backoff.is_due());
    }

    #[test]
    fn a_look_that_failed_is_told_until_one_did_not() {
        let sight = Sight::default();
        assert_eq!(sight.is_clear(), Ok(()));
        sight.note::<()>(&Err(Error::Busy("a folder".to_owned())));
        assert_eq!(sight.is_clear(), Err("keys.busy"));
        sight.note(&Ok(()));
        assert_eq!(sight.is_clear(), Ok(()));
    }
}
