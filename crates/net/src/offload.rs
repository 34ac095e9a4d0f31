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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use tokio::sync::oneshot;

    use super::*;

    type Running = Pin<Box<dyn Future<Output = Result<(), Lost>>>>;

    /// Work that goes on until it is told to end; it runs when this returns.
    async fn running() -> (Running, mpsc::Sender<()>) {
        let (end, ended) = mpsc::channel();
        let (started, starts) = oneshot::channel();
        let mut work: Running = Box::pin(run(move || {
            started.send(()).unwrap();
            ended.recv().unwrap();
        }));
        assert!(!ready(&mut work));
        starts.await.unwrap();
        (work, end)
    }

    fn ready(work: &mut Running) -> bool {
        work.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[tokio::test]
    async fn a_turn_ends_with_its_work_and_not_with_who_waits_for_it() {
        let mut all = Vec::new();
        for _ in 0..PARALLEL {
            all.push(running().await);
        }
        let mut next: Running = Box::pin(run(|| ()));
        assert!(!ready(&mut next), "one more than may run");
        // Nobody waits for the first any more, and it goes on.
        let (first, end) = all.remove(0);
        drop(first);
        tokio::task::yield_now().await;
        assert!(
            !ready(&mut next),
            "the work that nobody waits for still has its turn"
        );
        end.send(()).unwrap();
        assert_eq!(next.await, Ok(()));
        for (work, end) in all {
            end.send(()).unwrap();
            assert_eq!(work.await, Ok(()));
        }
    }
}
