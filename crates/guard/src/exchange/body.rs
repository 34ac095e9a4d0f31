//! A request's body, within its limits.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http::{HeaderValue, Response, Version};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;

use super::Body;
use super::pace::{Pace, Unread, read_body};
use crate::reason::Reason;

/// How much of a body that is too large is taken in before the refusal: many clients read no answer before they
/// have sent everything, and a connection that is closed on unread bytes takes the answer with it (RFC 9112
/// §9.6).
const DISCARDED_BYTES: usize = 64 * 1024 * 1024;
/// For how long.
const DISCARDED_TIME: Duration = Duration::from_secs(2);

/// The whole body, within `time` and at a pace. A declared length past the limit is refused unread.
pub(super) async fn read(body: &mut Body, limit: usize, time: Duration) -> Result<Bytes, Reason> {
    read_body(body, limit, Pace::within(time))
        .await
        .map_err(|unread| match unread {
            Unread::TooLarge => Reason::BodyTooLarge { limit },
            Unread::TooSlow => Reason::BodyTooSlow,
            Unread::Broken => Reason::BodyBroken,
        })
}

/// The answer to a body that is too large, once the caller is done with sending it, or as good as that.
pub(super) async fn after(head: &Parts, body: Body, mut refusal: Response<Body>) -> Response<Body> {
    // Of a body with a declared length nothing was read. A caller that waits for `100 Continue` has not begun to
    // send it, and reading would ask for it (RFC 9110 §10.1.1).
    let waits = head.headers.contains_key(EXPECT) && body.size_hint().lower() > 0;
    // An error is the time that is over.
    if !waits && tokio::time::timeout(DISCARDED_TIME, discard(body)).await.is_err() {
        tracing::debug!("a body that is too large takes too long");
    }
    // HTTP/2 has no such header, and needs none: a stream is closed alone.
    if head.version < Version::HTTP_2 {
        refusal
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    refusal
}

async fn discard(mut body: Body) {
    let mut left = DISCARDED_BYTES;
    while let (1.., Some(Ok(frame))) = (left, body.frame().await) {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}
