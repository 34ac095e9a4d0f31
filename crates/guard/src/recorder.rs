//! Where decisions go.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use portcullis_core::audit::Event;

/// How safe a record must be before the call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Handed to the operating system: survives the end of this process, at any instant. For reads.
    Queued,
    /// On disk: survives the end of the machine. For writes, irreversible calls and the authority's own acts.
    Synced,
}

/// The record could not be made: the call must not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit record could not be made: {0}")]
pub struct RecorderUnavailable(pub String);

/// A record on its way: the sequence number comes when it is as durable as asked.
pub type Recording<'a> = Pin<Box<dyn Future<Output = Result<u64, RecorderUnavailable>> + Send + 'a>>;

/// Takes events and keeps them. Implemented by the server's audit sink, by tests, and by whoever embeds the guard.
pub trait Recorder: Send + Sync {
    /// Records one event. The record is made even when the future is dropped before it is ready.
    ///
    /// # Errors
    /// [`RecorderUnavailable`] at once, without waiting for better times: the caller refuses what it was about to do.
    fn record<'a>(&'a self, event: Event, durability: Durability) -> Recording<'a>;
}

impl<R: Recorder + ?Sized> Recorder for Arc<R> {
    fn record<'a>(&'a self, event: Event, durability: Durability) -> Recording<'a> {
        (**self).record(event, durability)
    }
}
