//! Blocking requests over the asynchronous client: a thread with a small runtime of its own.
//!
//! A backend's calls block, and who calls may be on a runtime's thread, where waiting for another future is an error.
//! So the requests go to a thread that belongs to nobody's runtime, and the caller waits for the answer, bounded.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use portcullis_net::fetch::{self, Fetcher, Limits};
use tokio::sync::mpsc;

use super::super::BackendError;

/// Requests that may wait; more are refused at once.
const QUEUE: usize = 256;
/// Bounds of one request. An answer is a key or a signature.
const LIMITS: Limits = Limits {
    body: 256 * 1024,
    time: Duration::from_secs(8),
};
/// Longest wait for an answer: longer than the request itself may take.
const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Result<http::Response<Bytes>, fetch::Error>;

struct Call {
    request: http::Request<Bytes>,
    answer: SyncSender<Answer>,
}

/// The way to the service.
pub(super) struct Line(mpsc::Sender<Call>);

impl Line {
    pub(super) fn open(fetcher: Fetcher) -> Result<Self, BackendError> {
        let (calls, mut queue) = mpsc::channel::<Call>(QUEUE);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| BackendError::Unavailable(format!("no runtime can be started: {error}")))?;
        let serve = async move {
            while let Some(Call { request, answer }) = queue.recv().await {
                let fetcher = fetcher.clone();
                tokio::spawn(async move {
                    // Nobody listens any more when the wait was too long.
                    drop(answer.try_send(fetcher.send(request, LIMITS).await));
                });
            }
        };
        std::thread::Builder::new()
            .name("key-service".to_owned())
            .spawn(move || runtime.block_on(serve))
            .map_err(|error| BackendError::Unavailable(format!("no thread can be started: {error}")))?;
        Ok(Self(calls))
    }

    /// Sends and waits.
    pub(super) fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, BackendError> {
        let (answer, answered) = sync_channel(1);
        self.0.try_send(Call { request, answer }).map_err(|_| {
            BackendError::Unavailable("too many requests to the key service are waiting".to_owned())
        })?;
        match answered.recv_timeout(PATIENCE) {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(BackendError::Unavailable(format!("key service: {error}"))),
            Err(_) => Err(BackendError::Unavailable(
                "the key service does not answer in time".to_owned(),
            )),
        }
    }
}
