//! Slow work off the I/O threads, bounded: password hashing, file syncs, certificate issuing.

use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;

/// Most pieces of slow work at one time; the rest wait their turn.
pub const PARALLEL: usize = 8;

/// The work was lost: it panicked, or the process is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("background work was lost")]
pub struct Lost;

/// Runs `work` on a thread for blocking work and waits for it.
///
/// # Errors
/// [`Lost`].
#[expect(
    clippy::disallowed_methods,
    reason = "this is the bounded door to the blocking pool"
)]
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Lost> {
    static GATE: OnceLock<Arc<Semaphore>> = OnceLock::new();
    let gate = GATE.get_or_init(|| Arc::new(Semaphore::new(PARALLEL)));
    let turn = Arc::clone(gate).acquire_owned().await.map_err(|_| Lost)?;
    // The turn goes with the work: a caller that gives up does not make room while its work goes on.
    let held = move || {
        let done = work();
        drop(turn);
        done
    };
    tokio::task::spawn_blocking(held).await.map_err(|_| Lost)
}
