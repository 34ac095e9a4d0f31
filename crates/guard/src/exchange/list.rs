//! Lists of tools on their way to one caller, who sees what they may call and nothing else.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use portcullis_core::forward::{InvalidList, filter_list};
use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::ids::ServerName;

use super::Body;
use super::catalogue::Catalogue;
use super::events::{Event, Splitter};
use crate::pipeline::Guard;
use crate::reason::UpstreamError;
use crate::sealing::Sealing;

/// Largest list that is filtered whole, in bytes.
const LIST_BYTES: usize = 8 * 1024 * 1024;
/// Longest wait for such a list once its head is there.
const LIST_TIME: Duration = Duration::from_secs(60);

/// Leaves out what one caller may not call.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) guard: Arc<Guard>,
    pub(super) who: Arc<VerifiedIdentity>,
    pub(super) server: ServerName,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) sealing: Option<Arc<Sealing>>,
}

impl Filter {
    fn apply(&self, message: &[u8]) -> Result<Vec<u8>, InvalidList> {
        let seals = |tool: &_| self.sealing.as_ref()?.describe(&self.server, tool);
        let list = filter_list(
            message,
            &mut |tool| self.guard.may_list(&self.who, &self.server, tool),
            &seals,
        )?;
        self.catalogue.note(&self.server, list.seen);
        Ok(list.body)
    }

    /// One message of an answer.
    pub(super) fn message(&self, message: &[u8]) -> Result<Vec<u8>, Unfit> {
        self.apply(message).map_err(|error| {
            tracing::warn!(server = %self.server, %error, "a list of tools was not passed on");
            Unfit::Unreadable
        })
    }

    /// A whole JSON answer.
    pub(super) async fn json(&self, body: Body) -> Result<Bytes, UpstreamError> {
        let body = tokio::time::timeout(LIST_TIME, whole(body))
            .await
            .map_err(|_| UpstreamError::TimedOut)??;
        match self.apply(&body) {
            Ok(filtered) => Ok(filtered.into()),
            Err(error) => {
                tracing::warn!(server = %self.server, %error, "a list of tools was not passed on");
                Err(UpstreamError::BadAnswer {
                    detail: "a list of tools cannot be read",
                })
            }
        }
    }
}

pub(super) async fn whole(mut body: Body) -> Result<BytesMut, UpstreamError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "a list of tools broke off");
            UpstreamError::BadAnswer {
                detail: "a message that has to be looked into broke off",
            }
        })?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len().saturating_add(data.len()) > LIST_BYTES {
            return Err(UpstreamError::BadAnswer {
                detail: "a message that has to be looked into is too large",
            });
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// What a stream was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    /// It answers `tools/list`: a result in it is a list of tools, or is not passed on.
    TheList,
    /// It is a session's stream, on which a list can come again after a broken connection (`Last-Event-ID`),
    /// among other results.
    AnySession,
}

/// Why a stream of events ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("an event is too large to be looked into")]
    TooLarge,
    #[error("a list of tools cannot be read")]
    Unreadable,
    #[error("a result cannot be sealed")]
    NotSealed,
}

impl Unfit {
    /// What is said of the server's answer.
    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::TooLarge => "an event is too large to be looked into",
            Self::Unreadable => "a message that has to be looked into cannot be read",
            Self::NotSealed => "its result cannot be sealed, as it has to be",
        }
    }
}

/// A stream of events in which lists of tools are filtered. Everything else passes as it came, when it came.
/// What cannot be looked into ends it with [`Unfit`].
pub(super) struct FilteredEvents {
    body: Body,
    filter: Filter,
    streams: Streams,
    splitter: Splitter,
}

impl FilteredEvents {
    pub(super) fn new(body: Body, filter: Filter, streams: Streams) -> Self {
        Self {
            body,
            filter,
            streams,
            splitter: Splitter::default(),
        }
    }

    fn next(&mut self) -> Result<Option<Bytes>, Unfit> {
        let Some(bytes) = self.splitter.event().map_err(|_| Unfit::TooLarge)? else {
            return Ok(None);
        };
        let event = Event::read(&bytes);
        let data = match &event.data {
            // Comments, and the event that only gives a client an id to come back with.
            None => return Ok(Some(bytes)),
            Some(data) if data.is_empty() => return Ok(Some(bytes)),
            Some(data) => data,
        };
        match (self.filter.apply(data), self.streams) {
            (Ok(filtered), _) if filtered == *data => Ok(Some(bytes)),
            (Ok(filtered), _) => Ok(Some(event.with_data(&filtered))),
            (Err(InvalidList::NotAList), Streams::AnySession) => Ok(Some(bytes)),
            (Err(error), _) => {
                tracing::warn!(server = %self.filter.server, %error, "a stream with a list of tools was ended");
                Err(Unfit::Unreadable)
            }
        }
    }
}

impl HttpBody for FilteredEvents {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            match this.next() {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(Frame::data(event)))),
                Ok(None) => {}
                Err(unfit) => return Poll::Ready(Some(Err(unfit.into()))),
            }
            // What no empty line ended when the stream ends is no event, and is not passed on unseen.
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end @ (Some(Err(_)) | None) => return Poll::Ready(end),
            };
            // The other frames are trailers, which no client of event streams reads.
            if let Some(bytes) = frame.data_ref() {
                this.splitter.push(bytes);
            }
        }
    }
}
