//! Slow work off the I/O threads, bounded: password hashing, file syncs, certificate issuing.

use std::sync::OnceLock;

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
    static GATE: OnceLock<Semaphore> = OnceLock::new();
    let _turn = GATE
        .get_or_init(|| Semaphore::new(PARALLEL))
        .acquire()
        .await
        .map_err(|_| Lost)?;
    tokio::task::spawn_blocking(work).await.map_err(|_| Lost)
}
