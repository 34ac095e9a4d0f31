//! What one message of a server's is, as every client reads it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::list::InvalidList;
use crate::wire::entries::Entries;

/// One JSON-RPC message of a server's, told apart by the names on its first level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// A request or a notification.
    OnTheWay {
        /// Its method.
        method: String,
        /// The task that its `params` name.
        task: Option<String>,
    },
    /// The result of a call.
    Result {
        /// Of which.
        id: Value,
        /// The task as which the result comes, or of which it tells.
        task: Option<String>,
    },
    /// What went wrong with a call.
    Error {
        /// With which; nothing where that could not be read.
        id: Option<Value>,
    },
}

impl ServerMessage {
    /// Reads the first level.
    ///
    /// # Errors
    /// [`InvalidList::NotJson`] for what is not one object; [`InvalidList::Ambiguous`] for what is more than one of request,
    /// result and error (JSON-RPC 2.0 §5), or none of them, or has a name twice or in another case: a client could read
    /// another message than the one that was looked at.
    pub fn read(message: &[u8]) -> Result<Self, InvalidList> {
        let text = std::str::from_utf8(message).map_err(|_| InvalidList::NotJson)?;
        let message = Entries::read(text, &["jsonrpc", "id", "method", "params", "result", "error"])?;
        let id = match message.raw("id").map(RawValue::get) {
            None | Some("null") => None,
            Some(id) => Some(serde_json::from_str(id).map_err(|_| InvalidList::NotJson)?),
        };
        match (message.raw("method"), message.raw("result"), message.raw("error")) {
            (Some(method), None, None) => Ok(Self::OnTheWay {
                method: serde_json::from_str(method.get()).map_err(|_| InvalidList::Ambiguous)?,
                task: message.raw("params").and_then(task),
            }),
            (None, Some(result), None) => Ok(Self::Result {
                id: id.ok_or(InvalidList::Ambiguous)?,
                task: task(result),
            }),
            (None, None, Some(_)) => Ok(Self::Error { id }),
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (None, Some(_), Some(_)) | (None, None, None) => {
                Err(InvalidList::Ambiguous)
            }
        }
    }
}

/// The task that a result or `params` name: `taskId`, or before 2026-07-28 `task.taskId`.
fn task(of: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, rename = "taskId")]
        id: Option<Cow<'a, str>>,
        #[serde(borrow)]
        task: Option<&'a RawValue>,
    }
    let named: Named<'_> = serde_json::from_str(of.get()).ok()?;
    match (named.id, named.task) {
        (Some(id), _) => Some(id.into_owned()),
        (None, Some(task)) => {
            let inner: Named<'_> = serde_json::from_str(task.get()).ok()?;
            inner.id.map(Cow::into_owned)
        }
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_one_of_request_result_and_error() {
        let task = |task: &str| Some(task.to_owned());
        for (text, message) in [
            (
                r#"{"jsonrpc":"2.0","m\u0065thod":"notifications/tasks","params":{"taskId":"t","result":{}}}"#,
                ServerMessage::OnTheWay {
                    method: "notifications/tasks".to_owned(),
                    task: task("t"),
                },
            ),
            (
                r#"{"id":"a\u0062","result":{"task":{"taskId":"t"}}}"#,
                ServerMessage::Result {
                    id: json!("ab"),
                    task: task("t"),
                },
            ),
            (
                r#"{"id":7,"result":[1]}"#,
                ServerMessage::Result {
                    id: json!(7),
                    task: None,
                },
            ),
            (r#"{"id":null,"error":{}}"#, ServerMessage::Error { id: None }),
        ] {
            assert_eq!(ServerMessage::read(text.as_bytes()), Ok(message), "{text}");
        }
    }

    #[test]
    fn what_could_be_read_as_another_message_is_none() {
        for text in [
            r#"{"id":1,"result":{},"error":{}}"#,
            r#"{"id":1,"result":{},"err\u006fr":{}}"#,
            r#"{"id":1}"#,
            r#"{"id":1,"result":{},"method":"x"}"#,
            r#"{"id":1,"method":"x","error":{}}"#,
            r#"{"id":1,"method":1}"#,
            r#"{"result":{}}"#,
            r#"{"id":1,"result":{},"Result":{}}"#,
            r#"{"id":1,"Result":{}}"#,
            r#"{"id":1,"id":2,"result":{}}"#,
        ] {
            assert_eq!(
                ServerMessage::read(text.as_bytes()),
                Err(InvalidList::Ambiguous),
                "{text}"
            );
        }
        for text in [
            "",
            "[]",
            "1",
            r#"[{"id":1,"result":{}}]"#,
            r#"{"id":1,"result":{}} {}"#,
        ] {
            assert_eq!(
                ServerMessage::read(text.as_bytes()),
                Err(InvalidList::NotJson),
                "{text}"
            );
        }
    }
}
