//! One JSON-RPC message on one line, read as far as it must be to know whose it is, and changed in nothing but the names that are
//! ours to give: request ids, and the tokens that stand for them.
//!
//! A message is never read into a tree and written again: whoever judged or signed its bytes would find others. The new name is put
//! where the old one stood.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A message, borrowed from its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'m> {
    /// Has `method` and `id`.
    Request(Request<'m>),
    /// Has `method`, no `id`.
    Notification(Notification<'m>),
    /// Has `id`, no `method`.
    Response(Response<'m>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'m> {
    /// As its JSON text, like every id and token here.
    pub(super) id: &'m str,
    /// `params._meta.progressToken`.
    pub(super) progress: Option<&'m str>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Notification<'m> {
    pub(super) method: Cow<'m, str>,
    /// `params.progressToken`.
    pub(super) progress: Option<&'m str>,
    /// `params.requestId`.
    pub(super) request: Option<&'m str>,
    /// `params._meta` names the `subscriptions/listen` request it belongs to.
    pub(super) subscription: Option<&'m str>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response<'m> {
    pub(super) id: &'m str,
    /// `result._meta` names the `subscriptions/listen` request that ends.
    pub(super) subscription: Option<&'m str>,
    /// `error.code`.
    pub(super) error: Option<i64>,
}

#[derive(Deserialize)]
struct Envelope<'m> {
    #[serde(borrow)]
    jsonrpc: Cow<'m, str>,
    #[serde(borrow)]
    id: Option<&'m RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'m, str>>,
    #[serde(borrow)]
    params: Option<&'m RawValue>,
    #[serde(borrow)]
    result: Option<&'m RawValue>,
    #[serde(borrow)]
    error: Option<&'m RawValue>,
}

/// `params`, or `result`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'m> {
    #[serde(borrow)]
    progress_token: Option<&'m RawValue>,
    #[serde(borrow)]
    request_id: Option<&'m RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'m RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'m> {
    #[serde(borrow)]
    progress_token: Option<&'m RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<&'m RawValue>,
}

#[derive(Deserialize)]
struct Fault {
    code: i64,
}

impl<'m> Message<'m> {
    /// Reads a message; `None` when the text is none.
    pub(super) fn read(text: &'m str) -> Option<Self> {
        let envelope: Envelope<'m> = object(text)?;
        if envelope.jsonrpc != "2.0" {
            return None;
        }
        let body = envelope
            .params
            .or(envelope.result)
            .and_then(|body| object(body.get()));
        let Body {
            progress_token,
            request_id,
            meta,
        } = body.unwrap_or_default();
        let meta: Meta<'m> = meta.and_then(|meta| object(meta.get())).unwrap_or_default();
        let subscription = meta.subscription.map(RawValue::get);
        match (envelope.method, envelope.id) {
            (Some(_), Some(id)) => Some(Self::Request(Request {
                id: id.get(),
                progress: meta.progress_token.map(RawValue::get),
            })),
            (Some(method), None) => Some(Self::Notification(Notification {
                method,
                progress: progress_token.map(RawValue::get),
                request: request_id.map(RawValue::get),
                subscription,
            })),
            (None, Some(id)) => {
                let error = envelope.error.and_then(|error| object::<Fault>(error.get()));
                Some(Self::Response(Response {
                    id: id.get(),
                    subscription,
                    error: error.map(|error| error.code),
                }))
            }
            (None, None) => None,
        }
    }
}

/// Reads an object. serde would read an array of the members' values just as well.
fn object<'m, T: Deserialize<'m>>(text: &'m str) -> Option<T> {
    if text.trim_start().starts_with('{') {
        serde_json::from_str(text).ok()
    } else {
        None
    }
}

/// One spelling for all JSON texts of the same id or token.
pub(super) fn canonical(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text)
        .map_or_else(|_| text.to_owned(), |value| value.to_string())
}

/// The message on one line, with each `(part, name)` replaced: the parts are parts of the text, as [`Message::read`] found them.
pub(super) fn renamed(text: &str, names: &[(Option<&str>, &str)]) -> Bytes {
    let mut edits: Vec<(Range<usize>, &str)> = names
        .iter()
        .filter_map(|(part, name)| Some((place(text, (*part)?)?, *name)))
        .collect();
    edits.sort_unstable_by_key(|(place, _)| place.start);
    let mut line = Vec::with_capacity(text.len().saturating_add(32));
    let mut done = 0;
    for (place, name) in edits {
        line.extend_from_slice(text.get(done..place.start).unwrap_or_default().as_bytes());
        line.extend_from_slice(name.as_bytes());
        done = place.end;
    }
    line.extend_from_slice(text.get(done..).unwrap_or_default().as_bytes());
    for byte in &mut line {
        // Inside a JSON string these are written as escapes, so here they stand between tokens. A line ends at the first one,
        // and so does a field of an event stream.
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Bytes::from(line)
}

/// Where a part of the text is.
fn place(text: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (text.get(start..end)? == part).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request<'_> {
        match Message::read(text) {
            Some(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_is_known_by_its_members() {
        assert_eq!(
            request(r#"{"jsonrpc":"2.0","id":7,"method":"x"}"#),
            Request {
                id: "7",
                progress: None
            }
        );
        let Some(Message::Notification(note)) = Message::read(
            r#"{"jsonrpc":"2.0","method":"notifications\/progress","params":{"progressToken":"a","requestId":1,"_meta":{"io.modelcontextprotocol/subscriptionId":2}}}"#,
        ) else {
            panic!()
        };
        assert_eq!(note.method, "notifications/progress");
        assert_eq!(
            (note.progress, note.request, note.subscription),
            (Some("\"a\""), Some("1"), Some("2"))
        );
        assert_eq!(
            Message::read(r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32601,"message":"m"}}"#),
            Some(Message::Response(Response {
                id: "\"a\"",
                subscription: None,
                error: Some(-32601)
            }))
        );
        assert_eq!(
            Message::read(
                r#"{"jsonrpc":"2.0","id":3,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":3}}}"#
            ),
            Some(Message::Response(Response {
                id: "3",
                subscription: Some("3"),
                error: None
            }))
        );
    }

    #[test]
    fn what_is_no_message_is_none() {
        for text in [
            "",
            "ready",
            "[]",
            r#"["2.0",1,"x"]"#,
            r#"{"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
            r#"{"id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}} {}"#,
        ] {
            assert_eq!(Message::read(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_names_change_and_the_line_is_one() {
        let text = "{\n \"jsonrpc\":\"2.0\", \"params\":{\"id\":1,\"_meta\":{\"progressToken\": \"1\"}, \"t\":\"\\n1\"},\r\n\"id\": 1 ,\"method\":\"x\"}";
        let read = request(text);
        let line = renamed(text, &[(Some(read.id), "42"), (read.progress, "43")]);
        assert_eq!(
            line,
            "{  \"jsonrpc\":\"2.0\", \"params\":{\"id\":1,\"_meta\":{\"progressToken\": 43}, \"t\":\"\\n1\"},  \"id\": 42 ,\"method\":\"x\"}"
        );
    }

    #[test]
    fn a_part_of_another_text_changes_nothing() {
        let elsewhere = String::from("1");
        assert_eq!(
            renamed("{\"id\":1}", &[(Some(&elsewhere), "2"), (None, "3")]),
            "{\"id\":1}"
        );
    }

    #[test]
    fn ids_are_compared_as_values() {
        assert_eq!(canonical(r#" "\u0061""#), canonical(r#""a""#));
        assert_ne!(canonical("1"), canonical(r#""1""#));
        assert_ne!(canonical("1"), canonical("2"));
    }
}
