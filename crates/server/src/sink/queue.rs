//! What waits to be written: chained when it comes in, acknowledged when it is safe.

use portcullis_core::audit::{Chain, Event};
use portcullis_core::time::UnixTime;
use portcullis_guard::recorder::{Durability, RecorderUnavailable};
use tokio::sync::oneshot;

/// Gets the sequence number of one record once it is safe.
pub(super) type Receipt = oneshot::Receiver<Result<u64, RecorderUnavailable>>;

struct Waiter {
    seq: u64,
    durability: Durability,
    done: oneshot::Sender<Result<u64, RecorderUnavailable>>,
}

/// Lines to write together, and who waits for them.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) lines: Vec<u8>,
    pub(super) first_seq: u64,
    waiters: Vec<Waiter>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether somebody waits for the disk.
    pub(super) fn wants_sync(&self) -> bool {
        self.waiters
            .iter()
            .any(|waiter| waiter.durability == Durability::Synced)
    }

    /// Tells those whom this much is enough.
    pub(super) fn acknowledge(&mut self, reached: Durability) {
        for waiter in self.waiters.extract_if(.., |waiter| waiter.durability <= reached) {
            // Whoever no longer waits needs no answer; the record is made all the same.
            drop(waiter.done.send(Ok(waiter.seq)));
        }
    }

    /// Tells all who wait that it did not work. The lines stay: some of them may be known to be written.
    pub(super) fn refuse(&mut self, why: &RecorderUnavailable) {
        for waiter in self.waiters.drain(..) {
            // As above.
            drop(waiter.done.send(Err(why.clone())));
        }
    }

    /// Empty again, keeping its memory.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.waiters.clear();
    }
}

/// The queue, bounded in bytes.
pub(super) struct Queue {
    chain: Chain,
    waiting: Batch,
    bytes: usize,
    refusing: Option<RecorderUnavailable>,
}

impl Queue {
    pub(super) fn new(chain: Chain, bytes: usize) -> Self {
        Self {
            chain,
            waiting: Batch::default(),
            bytes,
            refusing: None,
        }
    }

    /// Chains one event and puts it last.
    pub(super) fn push(
        &mut self,
        event: &Event,
        now: UnixTime,
        durability: Durability,
    ) -> Result<Receipt, RecorderUnavailable> {
        if let Some(why) = &self.refusing {
            return Err(why.clone());
        }
        if self.waiting.lines.len() >= self.bytes {
            return Err(RecorderUnavailable("the queue is full".to_owned()));
        }
        let seq = self
            .chain
            .append(event, now, &mut self.waiting.lines)
            .map_err(|error| RecorderUnavailable(error.to_string()))?;
        if self.waiting.first_seq == 0 {
            self.waiting.first_seq = seq;
        }
        let (done, receipt) = oneshot::channel();
        self.waiting.waiters.push(Waiter {
            seq,
            durability,
            done,
        });
        Ok(receipt)
    }

    /// Hands out all that waits, for an empty batch in return.
    pub(super) fn take(&mut self, batch: &mut Batch) {
        batch.first_seq = 0;
        std::mem::swap(&mut self.waiting, batch);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// From now on nothing is taken, and all who wait are told.
    pub(super) fn refuse(&mut self, why: RecorderUnavailable) {
        self.waiting.refuse(&why);
        self.refusing = Some(why);
    }

    /// Takes events again.
    pub(super) fn accept(&mut self) {
        self.refusing = None;
    }

    /// Why nothing is taken.
    pub(super) fn refusing(&self) -> Option<&RecorderUnavailable> {
        self.refusing.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::audit::System;

    use super::*;

    fn event() -> Event {
        System {
            what: "start",
            detail: "x".repeat(1000),
        }
        .into()
    }

    #[test]
    fn a_full_queue_refuses_at_once_and_takes_again_when_it_was_emptied() {
        let mut queue = Queue::new(Chain::start([0; 32]), 3000);
        let push = |queue: &mut Queue| {
            queue
                .push(&event(), UnixTime::from_secs(0), Durability::Queued)
                .map(drop)
        };
        // Three lines are more than the limit, two are less.
        for expected in [true, true, true, false, false] {
            assert_eq!(push(&mut queue).is_ok(), expected);
        }
        let mut batch = Batch::default();
        queue.take(&mut batch);
        assert_eq!((batch.first_seq, queue.is_empty()), (1, true));
        push(&mut queue).unwrap();
        queue.take(&mut batch);
        assert_eq!(batch.first_seq, 4, "what was refused has no number");
    }

    #[test]
    fn each_waiter_hears_when_its_own_durability_is_reached() {
        let mut queue = Queue::new(Chain::start([0; 32]), 10_000);
        let mut push = |durability| queue.push(&event(), UnixTime::from_secs(0), durability).unwrap();
        let (mut read, mut write) = (push(Durability::Queued), push(Durability::Synced));
        let mut batch = Batch::default();
        queue.take(&mut batch);
        assert!(batch.wants_sync());
        batch.acknowledge(Durability::Queued);
        assert_eq!(read.try_recv(), Ok(Ok(1)));
        assert!(write.try_recv().is_err());
        batch.acknowledge(Durability::Synced);
        assert_eq!(write.try_recv(), Ok(Ok(2)));
    }
}
