//! How forwarded calls ended, recorded without making anyone wait.
//!
//! A decision is recorded before its call goes on, and whoever waits for it waits for the answer anyway. An
//! outcome comes after the answer: it is put in a queue here, and one task hands the queue to the recorder.
//! A call is admitted only when there is room for its outcome, so the queue is bounded by the room there is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::audit::{Ending, Event, Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::recorder::{Durability, Recorder, RecorderUnavailable};

/// Most calls at one time that run, or have ended and are not on record.
const CALLS: usize = 65_536;
/// Longest wait for one of them to be on record.
const WAIT: Duration = Duration::from_secs(1);

/// Room in the queue for the outcome of one call, until it is on record.
#[derive(Debug)]
pub(crate) struct Place(OwnedSemaphorePermit);

#[derive(Debug)]
enum Entry {
    Outcome(Outcome, Place),
    /// Answered when everything before it is recorded.
    Mark(oneshot::Sender<()>),
}

/// The queue. Its task ends when the last ticket and the queue itself are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes {
    entries: mpsc::UnboundedSender<Entry>,
    room: Arc<Semaphore>,
    /// Longest wait for room.
    wait: Duration,
}

impl Outcomes {
    /// Starts the task, on the current runtime.
    pub(crate) fn start(recorder: Arc<dyn Recorder>) -> Self {
        Self::with_room(recorder, CALLS, WAIT)
    }

    fn with_room(recorder: Arc<dyn Recorder>, calls: usize, wait: Duration) -> Self {
        let (sender, mut entries) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(entry) = entries.recv().await {
                match entry {
                    Entry::Outcome(outcome, place) => {
                        let request = outcome.request.clone();
                        if let Err(error) = recorder.record(Event::Outcome(outcome), Durability::Queued).await
                        {
                            tracing::error!(request, %error, "the outcome of a call is not on record");
                        }
                        drop(place.0);
                    }
                    // Nobody waits any more: nothing to do.
                    Entry::Mark(done) => drop(done.send(())),
                }
            }
        });
        Self {
            entries: sender,
            room: Arc::new(Semaphore::new(calls)),
            wait,
        }
    }

    /// Room for one more outcome. Waits a moment when there is none.
    pub(crate) async fn place(&self) -> Result<Place, RecorderUnavailable> {
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            return Ok(Place(permit));
        }
        match tokio::time::timeout(self.wait, Arc::clone(&self.room).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place(permit)),
            Ok(Err(_)) | Err(_) => Err(RecorderUnavailable(
                "too many calls are running or wait for their outcome to be recorded".to_owned(),
            )),
        }
    }

    /// Waits until every outcome that is in the queue now is recorded.
    pub(crate) async fn drained(&self) {
        let (mark, done) = oneshot::channel();
        if self.entries.send(Entry::Mark(mark)).is_ok() {
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
    /// Nothing only while it is dropped.
    place: Option<Place>,
    request: Arc<str>,
    decision_seq: u64,
    opened: Instant,
    upstream_status: Option<u16>,
    bytes_out: u64,
    /// What it means if nothing else is said.
    ending: Ending,
}

impl Ticket {
    pub(crate) fn open(queue: Outcomes, place: Place, request: Arc<str>, decision_seq: u64) -> Self {
        Self {
            queue,
            place: Some(place),
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
        let Some(place) = self.place.take() else { return };
        let outcome = Outcome {
            request: self.request.to_string(),
            decision_seq: self.decision_seq,
            result: self.ending,
            upstream_status: self.upstream_status,
            bytes_out: self.bytes_out,
            millis: u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        if self.queue.entries.send(Entry::Outcome(outcome, place)).is_err() {
            tracing::error!(request = %self.request, "the outcome of a call is not on record: the runtime is stopping");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recording;

    /// Records one event for each permit.
    struct Slow(Semaphore);

    impl Recorder for Slow {
        fn record<'a>(&'a self, _event: Event, _durability: Durability) -> Recording<'a> {
            Box::pin(async {
                self.0.acquire().await.unwrap().forget();
                Ok(1)
            })
        }
    }

    #[tokio::test]
    async fn calls_wait_for_room_and_are_refused_without() {
        let recorder = Arc::new(Slow(Semaphore::new(0)));
        let outcomes = Outcomes::with_room(Arc::<Slow>::clone(&recorder), 2, Duration::ZERO);
        let open = async || {
            let place = outcomes.place().await?;
            Ok::<_, RecorderUnavailable>(Ticket::open(outcomes.clone(), place, "r".into(), 1))
        };
        let running = open().await.unwrap();
        // Ended, but not on record: it still takes its place.
        drop(open().await.unwrap());
        open().await.unwrap_err();
        // On record.
        recorder.0.add_permits(1);
        outcomes.drained().await;
        drop(open().await.unwrap());
        drop(running);
        open().await.unwrap_err();
        recorder.0.add_permits(2);
        outcomes.drained().await;
        assert_eq!(outcomes.room.available_permits(), 2);
    }
}
