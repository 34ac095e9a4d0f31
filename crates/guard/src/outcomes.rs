//! How forwarded calls ended, recorded without making anyone wait.
//!
//! A decision is recorded before its call goes on, and whoever waits for it waits for the answer anyway. An
//! outcome comes after the answer: it is put in a queue here, and one task hands the queue to the recorder.
//! The queue needs no bound of its own: it holds at most one entry for each decision, and without a recorder
//! that takes entries there are no further decisions.

use std::sync::Arc;
use std::time::Instant;

use portcullis_core::audit::{Ending, Event, Outcome};
use tokio::sync::{mpsc, oneshot};

use crate::recorder::{Durability, Recorder};

#[derive(Debug)]
enum Entry {
    Outcome(Outcome),
    /// Answered when everything before it is recorded.
    Mark(oneshot::Sender<()>),
}

/// The queue. Its task ends when the last ticket and the queue itself are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes(mpsc::UnboundedSender<Entry>);

impl Outcomes {
    /// Starts the task, on the current runtime.
    pub(crate) fn start(recorder: Arc<dyn Recorder>) -> Self {
        let (sender, mut entries) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(entry) = entries.recv().await {
                match entry {
                    Entry::Outcome(outcome) => {
                        let request = outcome.request.clone();
                        if let Err(error) = recorder.record(Event::Outcome(outcome), Durability::Queued).await
                        {
                            tracing::error!(request, %error, "the outcome of a call is not on record");
                        }
                    }
                    // Nobody waits any more: nothing to do.
                    Entry::Mark(done) => drop(done.send(())),
                }
            }
        });
        Self(sender)
    }

    /// Waits until every outcome that is in the queue now is recorded.
    pub(crate) async fn drained(&self) {
        let (mark, done) = oneshot::channel();
        if self.0.send(Entry::Mark(mark)).is_ok() {
            // An error means that the task is gone, and with it the queue.
            drop(done.await);
        }
    }
}

/// The open half of a decision's record: exactly one outcome follows, whatever happens. Dropping it is an
/// outcome too.
#[derive(Debug)]
pub struct Ticket {
    queue: Outcomes,
    request: Arc<str>,
    decision_seq: u64,
    opened: Instant,
    upstream_status: Option<u16>,
    bytes_out: u64,
    /// What it means if nothing else is said.
    ending: Ending,
}

impl Ticket {
    pub(crate) fn open(queue: Outcomes, request: Arc<str>, decision_seq: u64) -> Self {
        Self {
            queue,
            request,
            decision_seq,
            opened: Instant::now(),
            upstream_status: None,
            bytes_out: 0,
            ending: Ending::Abandoned,
        }
    }

    /// The request's identifier, for the answer and the log.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    /// From here on the call is with the server, and dropping the ticket means that the caller went away.
    pub fn forwarded(&mut self) {
        self.ending = Ending::Cancelled;
    }

    /// The server answered.
    pub fn answered(&mut self, status: u16) {
        self.upstream_status = Some(status);
    }

    /// So many bytes of the answer's body went to the caller.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes_out = self
            .bytes_out
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// How it ended.
    pub fn close(mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let outcome = Outcome {
            request: self.request.to_string(),
            decision_seq: self.decision_seq,
            result: self.ending,
            upstream_status: self.upstream_status,
            bytes_out: self.bytes_out,
            millis: u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        if self.queue.0.send(Entry::Outcome(outcome)).is_err() {
            tracing::error!(request = %self.request, "the outcome of a call is not on record: the runtime is stopping");
        }
    }
}
