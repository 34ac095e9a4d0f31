//! Answers to a client, made by the bridge.

use bytes::Bytes;
use http::Response;
use portcullis_core::bridge::{Fault, response};
use portcullis_core::wire::Era;
use portcullis_net::fetch::Body;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::gateway::answer;
use crate::gateway::upstream::UpstreamError;

/// JSON-RPC 2.0 §5.1: codes that the bridge itself answers with.
pub(super) const METHOD_NOT_FOUND: i64 = -32601;
pub(super) const INVALID_PARAMS: i64 = -32602;

/// What goes onto a client's stream. One message waits at most: a client that does not read holds up its own call.
pub(super) type Outgoing = mpsc::Sender<Result<Bytes, UpstreamError>>;
pub(super) type Coming = mpsc::Receiver<Result<Bytes, UpstreamError>>;

/// A stream to a client, and its other end.
pub(super) fn channel() -> (Outgoing, Coming) {
    mpsc::channel(1)
}

/// The answer to a request.
pub(super) fn whole(era: Era, id: Option<&RawValue>, answer: Result<&RawValue, &Fault>) -> Response<Body> {
    let code = answer.err().map(|error| error.code);
    answer::whole(era, message(id, answer), code)
}

/// The same as a message of a stream.
pub(super) fn message(id: Option<&RawValue>, answer: Result<&RawValue, &Fault>) -> Bytes {
    on_one_line(response(id, answer.map_err(|error| &*error.json)))
}

/// A stream that begins with a message.
pub(super) fn stream(first: Option<Bytes>, mut coming: Coming) -> Response<Body> {
    answer::stream(first, move |cx| {
        coming.poll_recv(cx).map(|next| Some(next?.map_err(Into::into)))
    })
}

/// A message as it can stand in a stream: between tokens a line's end is white space, and inside a string it is escaped.
pub(super) fn on_one_line(mut message: Vec<u8>) -> Bytes {
    for byte in &mut message {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    message.into()
}

/// A number as JSON.
pub(super) fn number(number: u64) -> Box<RawValue> {
    RawValue::from_string(number.to_string()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// An object without members.
pub(super) fn nothing() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
