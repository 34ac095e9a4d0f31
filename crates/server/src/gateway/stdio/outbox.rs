//! What a child wrote for one HTTP response, until the client has it: a queue that is bounded in bytes and never makes the child wait.
//!
//! A child has one stdout for everyone. Were it held up by one client that does not read, it would be held up for all of the
//! principal's requests. So whoever does not read loses the stream.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// One message for the client, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Event {
    /// A notification, or a request of the server's.
    Message(Bytes),
    /// The answer, after which nothing comes.
    Answer {
        /// The message.
        json: Bytes,
        /// The code, if it is an error.
        error: Option<i64>,
    },
}

impl Event {
    pub(in crate::gateway) fn json(&self) -> &Bytes {
        match self {
            Self::Message(json) | Self::Answer { json, .. } => json,
        }
    }
}

/// Why a stream ends before its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::gateway) enum Broken {
    #[error("{0}")]
    Server(Arc<str>),
    #[error("the client does not read what the server sends")]
    NotRead,
}

/// The queue was full, or had ended: nothing was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Full;

/// The queue. Answers always fit: they are one at most, and no longer than a line.
#[derive(Debug)]
pub(in crate::gateway) struct Outbox {
    limit: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    /// Nothing comes after what is queued.
    end: Option<Result<(), Broken>>,
    /// Counts readers; the newest is the one that reads.
    turn: u64,
    read: bool,
    waker: Option<Waker>,
}

/// What one queued message costs beyond its bytes.
const OVERHEAD: usize = 256;

impl Outbox {
    /// Empty, holding at most `limit` bytes.
    pub(in crate::gateway) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            queue: Mutex::new(Queue::default()),
        })
    }

    /// Puts an event in. An answer ends the stream.
    pub(in crate::gateway) fn push(&self, event: Event) -> Result<(), Full> {
        let mut queue = self.queue();
        if queue.end.is_some() {
            return Err(Full);
        }
        let cost = event.json().len().saturating_add(OVERHEAD);
        match event {
            Event::Message(_) if queue.bytes.saturating_add(cost) > self.limit => return Err(Full),
            Event::Message(_) => {}
            Event::Answer { .. } => queue.end = Some(Ok(())),
        }
        queue.bytes = queue.bytes.saturating_add(cost);
        queue.events.push_back(event);
        queue.wake();
        Ok(())
    }

    /// Ends the stream after what is queued. The first end counts.
    pub(in crate::gateway) fn end(&self, how: Result<(), Broken>) {
        let mut queue = self.queue();
        queue.end.get_or_insert(how);
        queue.wake();
    }

    /// Begins to read. A reader that was there before gets no more.
    pub(in crate::gateway) fn read(self: &Arc<Self>) -> Reader {
        let mut queue = self.queue();
        queue.turn = queue.turn.wrapping_add(1);
        queue.read = true;
        queue.wake();
        Reader {
            outbox: Arc::clone(self),
            turn: queue.turn,
        }
    }

    /// Whether there is a reader.
    pub(in crate::gateway) fn is_read(&self) -> bool {
        self.queue().read
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No step below panics halfway.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Takes events out, in order.
#[derive(Debug)]
pub(in crate::gateway) struct Reader {
    outbox: Arc<Outbox>,
    turn: u64,
}

impl Reader {
    /// The next event; `None` at the end.
    pub(in crate::gateway) async fn next(&mut self) -> Option<Result<Event, Broken>> {
        poll_fn(|cx| self.poll(cx)).await
    }

    pub(in crate::gateway) fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Event, Broken>>> {
        let mut queue = self.outbox.queue();
        if queue.turn != self.turn {
            return Poll::Ready(None);
        }
        if let Some(event) = queue.events.pop_front() {
            queue.bytes = queue
                .bytes
                .saturating_sub(event.json().len().saturating_add(OVERHEAD));
            return Poll::Ready(Some(Ok(event)));
        }
        match &mut queue.end {
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut queue = self.outbox.queue();
        if queue.turn == self.turn {
            queue.read = false;
            queue.waker = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn message(text: &'static str) -> Event {
        Event::Message(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn events_come_in_order_and_then_the_end() {
        let outbox = Outbox::new(10_000);
        let mut reader = outbox.read();
        assert!(reader.next().now_or_never().is_none(), "nothing yet");
        let answer = Event::Answer {
            json: Bytes::from_static(b"b"),
            error: None,
        };
        outbox.push(message("a")).unwrap();
        outbox.push(answer.clone()).unwrap();
        outbox.end(Err(Broken::NotRead));
        assert_eq!(reader.next().now_or_never(), Some(Some(Ok(message("a")))));
        assert_eq!(reader.next().now_or_never(), Some(Some(Ok(answer))));
        assert_eq!(reader.next().now_or_never(), Some(None), "the answer was the end");
    }

    #[test]
    fn it_is_full_at_its_limit_and_an_answer_fits_still() {
        let outbox = Outbox::new(2 * (OVERHEAD + 1));
        outbox.push(message("a")).unwrap();
        outbox.push(message("b")).unwrap();
        assert_eq!(outbox.push(message("c")), Err(Full));
        let mut reader = outbox.read();
        assert!(reader.next().now_or_never().is_some());
        outbox.push(message("d")).unwrap();
        outbox
            .push(Event::Answer {
                json: Bytes::from_static(b"long answer"),
                error: None,
            })
            .unwrap();
        assert_eq!(outbox.queue().events.len(), 3);
    }

    #[test]
    fn a_break_is_told_once_after_what_came_before_it() {
        let outbox = Outbox::new(10_000);
        let mut reader = outbox.read();
        outbox.push(message("a")).unwrap();
        outbox.end(Err(Broken::NotRead));
        assert_eq!(reader.next().now_or_never(), Some(Some(Ok(message("a")))));
        assert_eq!(
            outbox.push(message("b")),
            Err(Full),
            "nothing comes after the end"
        );
        assert_eq!(reader.next().now_or_never(), Some(Some(Err(Broken::NotRead))));
        assert_eq!(reader.next().now_or_never(), Some(None));
    }

    #[tokio::test]
    async fn a_second_reader_takes_over() {
        let outbox = Outbox::new(10_000);
        let mut first = outbox.read();
        let waiting = tokio::spawn(async move { first.next().await });
        tokio::task::yield_now().await;
        let mut second = outbox.read();
        assert_eq!(
            waiting.await.unwrap(),
            None,
            "and the first reader's end does not end the second"
        );
        assert!(outbox.is_read());
        outbox.push(message("a")).unwrap();
        assert_eq!(second.next().await, Some(Ok(message("a"))));
        drop(second);
        assert!(!outbox.is_read());
    }
}
