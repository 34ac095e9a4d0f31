//! Answers of Streamable HTTP, made of messages that came another way.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use portcullis_core::wire::{Era, RequestId};
use portcullis_net::fetch::{self, Body};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often a silent stream shows that it is alive; a client that is gone without a word is found out by it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(fetch::full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// A refusal of our own, told to whoever asked with an id.
pub(super) fn refused(status: StatusCode, id: Option<&RequestId>, message: &'static str) -> Response<Body> {
    match id {
        Some(id) => {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32600,"message":"{message}"}}}}"#,
                id.as_json()
            );
            json(status, Bytes::from(body))
        }
        None => empty(status),
    }
}

/// The whole answer, which came before anything else.
pub(super) fn whole(era: Era, body: Bytes, error: Option<i64>) -> Response<Body> {
    json(status(era, error), body)
}

/// Why a stream ends before its time.
pub(super) type Broken = Box<dyn StdError + Send + Sync>;

/// The answer to a request that was cancelled: a stream without one (MCP 2025-11-25, Cancellation).
pub(super) fn none() -> Response<Body> {
    stream(None, |_| Poll::Ready(None))
}

/// A stream of messages, each on one line, that begins with `first`; `next` gives the others. It is dropped with the body.
pub(super) fn stream<N>(first: Option<Bytes>, next: N) -> Response<Body>
where
    N: FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> + Send + Sync + Unpin + 'static,
{
    let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = EventStream {
        first,
        next,
        keep_alive,
    };
    let mut response = Response::new(events.boxed());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A reverse proxy that waits for a buffer to fill would keep the events (MCP 2026-07-28, Streamable HTTP).
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(fetch::full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// MCP 2026-07-28 has a status for these errors over HTTP, of which a stdio server knows nothing.
fn status(era: Era, error: Option<i64>) -> StatusCode {
    match (era, error) {
        (Era::Modern, Some(-32601)) => StatusCode::NOT_FOUND,
        (Era::Modern, Some(-32022..=-32020)) => StatusCode::BAD_REQUEST,
        (Era::Modern | Era::Legacy, _) => StatusCode::OK,
    }
}

struct EventStream<N> {
    first: Option<Bytes>,
    next: N,
    keep_alive: Interval,
}

impl<N> http_body::Body for EventStream<N>
where
    N: FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> + Unpin,
{
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(encoded(&first)))));
        }
        match (self.next)(cx) {
            Poll::Ready(Some(Ok(json))) => {
                self.keep_alive.reset();
                Poll::Ready(Some(Ok(Frame::data(encoded(&json)))))
            }
            Poll::Ready(Some(Err(broken))) => Poll::Ready(Some(Err(broken))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self
                .keep_alive
                .poll_tick(cx)
                .map(|_| Some(Ok(Frame::data(Bytes::from_static(b":\r\n\r\n"))))),
        }
    }
}

/// One event. The message is on one line, so nothing in it can begin another field (WHATWG HTML §9.2).
fn encoded(json: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(json.len().saturating_add(32));
    frame.put_slice(b"event: message\ndata: ");
    frame.put_slice(json);
    frame.put_slice(b"\n\n");
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_status_in_the_modern_era_only() {
        for (error, modern) in [
            (None, 200),
            (Some(-32601), 404),
            (Some(-32019), 200),
            (Some(-32020), 400),
            (Some(-32021), 400),
            (Some(-32022), 400),
            (Some(-32023), 200),
            (Some(-32602), 200),
        ] {
            assert_eq!(status(Era::Modern, error), modern, "{error:?}");
            assert_eq!(status(Era::Legacy, error), 200, "{error:?}");
        }
    }
}
