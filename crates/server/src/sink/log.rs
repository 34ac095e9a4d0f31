//! The open log: a queue in front, a thread behind.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis_core::audit::{Chain, Event, System};
use portcullis_core::random::SecureRandom;
use portcullis_guard::recorder::{Durability, Recorder, RecorderUnavailable, Recording};
use portcullis_net::clock::Clock;

use super::folder::{self, Error};
use super::queue::{Batch, Queue};
use super::writer::Writer;

/// How large files and queue grow.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    file_bytes: u64,
    queue_bytes: usize,
}

const BOUNDS: Bounds = Bounds {
    file_bytes: 64 * 1024 * 1024,
    queue_bytes: 8 * 1024 * 1024,
};
/// The most that is written without being synced, in bytes: it is kept in memory.
const UNSYNCED_BYTES: usize = 1024 * 1024;
/// The longest that records of reads stay unsynced.
const UNSYNCED_TIME: Duration = Duration::from_secs(1);
/// Between two attempts to write after a failure.
const RETRY: Duration = Duration::from_millis(250);

/// An audit log, open for writing by this process alone.
pub struct AuditLog {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    thread: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: Queue,
    closing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, or for the time to pass. Which of them it was does not matter: the caller looks.
    fn wait<'s>(&'s self, state: MutexGuard<'s, State>, at_most: Option<Duration>) -> MutexGuard<'s, State> {
        match at_most {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                self.changed
                    .wait_timeout(state, time)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        }
    }
}

impl AuditLog {
    /// Opens the log in `dir`, or begins one; the folder is made if it is not there.
    ///
    /// A last line without line feed, as a crash leaves it, is repaired first: what is no whole record goes to a file
    /// `audit-….torn-N` beside the log, and a `system` record `log.repaired` says so. Whatever else does not hold in
    /// the newest two files is no crash's doing: nothing is changed then, and nothing opened.
    ///
    /// # Errors
    /// `audit.in-use`, `audit.file`, `audit.start`; `audit.broken` and `audit.missing` when records were changed or
    /// taken away.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>, random: &dyn SecureRandom) -> Result<Self, Error> {
        Self::open_bounded(dir, clock, random, BOUNDS)
    }

    fn open_bounded(
        dir: &Path,
        clock: Arc<dyn Clock>,
        random: &dyn SecureRandom,
        bounds: Bounds,
    ) -> Result<Self, Error> {
        let lock = folder::lock(dir)?;
        let mut end = folder::end(dir)?;
        let repairs = std::mem::take(&mut end.repairs);
        let chain = match end.chain.take() {
            Some(chain) => chain,
            None => {
                let mut log_id = [0; 32];
                random
                    .fill(&mut log_id)
                    .map_err(|error| Error::Start(error.to_string()))?;
                Chain::start(log_id)
            }
        };
        let mut queue = Queue::new(chain, bounds.queue_bytes);
        for detail in repairs {
            tracing::warn!(%detail, "the end of the audit log was repaired");
            let event = System {
                what: "log.repaired",
                detail,
            }
            .into();
            // Nobody waits for this one.
            drop(
                queue
                    .push(&event, clock.now(), Durability::Synced)
                    .map_err(|error| Error::Start(error.to_string()))?,
            );
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue,
                closing: false,
            }),
            changed: Condvar::new(),
        });
        let writer = Writer::new(dir.to_owned(), end, bounds.file_bytes);
        let thread = std::thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || {
                    Scribe {
                        shared,
                        writer,
                        _lock: lock,
                    }
                    .run()
                }
            })
            .map_err(|error| Error::Start(error.to_string()))?;
        Ok(Self {
            shared,
            clock,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Why nothing can be recorded now, if so: for readiness.
    #[must_use]
    pub fn unavailable(&self) -> Option<RecorderUnavailable> {
        self.shared.lock().queue.refusing().cloned()
    }

    /// Writes and syncs all that waits, and takes no more. Blocks for as long as that takes. Dropping does the same.
    ///
    /// # Errors
    /// `audit.unwritten`: the disk failed, and one more attempt failed as well.
    pub fn close(&self) -> Result<(), Error> {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::Unwritten("the writing thread was lost".to_owned())))
    }
}

impl Recorder for AuditLog {
    fn record<'a>(&'a self, event: Event, durability: Durability) -> Recording<'a> {
        let receipt = {
            let mut state = self.shared.lock();
            if state.closing {
                Err(RecorderUnavailable("the log is closed".to_owned()))
            } else {
                // The time is read under the lock, so that it grows with the sequence number.
                state.queue.push(&event, self.clock.now(), durability)
            }
        };
        self.shared.changed.notify_all();
        Box::pin(async move {
            receipt?
                .await
                .unwrap_or_else(|_| Err(RecorderUnavailable("the writing thread was lost".to_owned())))
        })
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "audit records are lost");
        }
    }
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditLog")
            .field("unavailable", &self.unavailable())
            .finish_non_exhaustive()
    }
}

/// The thread that writes.
struct Scribe {
    shared: Arc<Shared>,
    writer: Writer,
    _lock: File,
}

impl Scribe {
    fn run(mut self) -> Result<(), Error> {
        let mut batch = Batch::default();
        while self.next(&mut batch) {
            if let Err(error) = self.keep(&mut batch) {
                self.try_again(&mut batch, error)?;
            }
            batch.clear();
        }
        Ok(())
    }

    /// Waits for something to do: lines to write, or old ones to sync (then the batch is empty). Ends with the log.
    fn next(&mut self, batch: &mut Batch) -> bool {
        let mut state = self.shared.lock();
        if state.queue.is_empty() && !state.closing {
            let unsynced = self.writer.unsynced() > 0;
            state = self.shared.wait(state, unsynced.then_some(UNSYNCED_TIME));
        }
        let ended = state.closing && state.queue.is_empty() && self.writer.unsynced() == 0;
        state.queue.take(batch);
        !ended
    }

    /// Writes a batch, syncs it where somebody asked for it, and tells those who wait.
    fn keep(&mut self, batch: &mut Batch) -> io::Result<()> {
        if !batch.is_empty() {
            self.writer.write(&batch.lines, batch.first_seq)?;
            // Written once; should the sync fail, the writer has the lines.
            batch.lines.clear();
            batch.acknowledge(Durability::Queued);
            if !batch.wants_sync() && self.writer.unsynced() < UNSYNCED_BYTES {
                return Ok(());
            }
        }
        self.writer.sync()?;
        batch.acknowledge(Durability::Synced);
        Ok(())
    }

    /// Refuses all records until writing works again. When the log is closed meanwhile, one more attempt is the last.
    fn try_again(&mut self, batch: &mut Batch, mut error: io::Error) -> Result<(), Error> {
        tracing::error!(%error, "the audit log cannot be written: every call is refused until it can");
        let closed = loop {
            let why = RecorderUnavailable(error.to_string());
            // First the state, then those who wait: whoever was refused finds the log unavailable.
            let mut state = self.shared.lock();
            state.queue.refuse(why.clone());
            batch.refuse(&why);
            if !state.closing {
                state = self.shared.wait(state, Some(RETRY));
            }
            let closing = state.closing;
            drop(state);
            match self.keep(batch).and_then(|()| self.writer.sync()) {
                Ok(()) => break Ok(()),
                Err(again) if closing => break Err(Error::Unwritten(again.to_string())),
                Err(again) => error = again,
            }
        };
        if closed.is_ok() {
            self.shared.lock().queue.accept();
            tracing::info!("the audit log can be written again");
        }
        closed
    }
}

impl Drop for Scribe {
    /// However the thread ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.shared
            .lock()
            .queue
            .refuse(RecorderUnavailable("the log is closed".to_owned()));
    }
}

#[cfg(test)]
mod tests;
