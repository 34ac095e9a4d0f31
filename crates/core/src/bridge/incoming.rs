//! One message of a server's.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Unreadable, string};
use crate::wire::entries::Entries;

/// What a server said, as far as it must be told apart; values are as it wrote them.
#[derive(Debug)]
pub enum Incoming {
    /// A request was answered.
    Result {
        /// Which.
        id: Box<RawValue>,
        /// With what.
        result: Box<RawValue>,
    },
    /// A request was refused.
    Error {
        /// Which; nothing where the server could not read that.
        id: Option<Box<RawValue>>,
        /// Why.
        error: Fault,
    },
    /// The server asks something itself: legacy only.
    Request {
        /// What the answer must echo.
        id: Box<RawValue>,
        /// Its method.
        method: String,
        /// Its parameters.
        params: Option<Box<RawValue>>,
    },
    /// The server says something.
    Notification {
        /// Its method.
        method: String,
        /// Its parameters.
        params: Option<Box<RawValue>>,
    },
}

/// The `error` of an answer.
#[derive(Debug)]
pub struct Fault {
    /// `code`; 0 when there is none that can be read.
    pub code: i64,
    /// All of it.
    pub json: Box<RawValue>,
}

impl Fault {
    /// An error of our own.
    #[must_use]
    pub fn new(code: i64, message: &str) -> Self {
        let json = super::raw(&serde_json::json!({ "code": code, "message": message }));
        Self {
            code,
            // A number and a text are always JSON.
            json: json.unwrap_or_else(|_| RawValue::NULL.to_owned()),
        }
    }

    pub(super) fn read(json: &RawValue) -> Result<Self, Unreadable> {
        let error = Entries::read(json.get(), &["code", "data"])?;
        let code = error
            .raw("code")
            .and_then(|code| serde_json::from_str(code.get()).ok());
        Ok(Self {
            code: code.unwrap_or_default(),
            json: json.to_owned(),
        })
    }
}

impl Incoming {
    /// Reads one message.
    ///
    /// # Errors
    /// [`Unreadable`]: it is not one JSON-RPC message, or is more than one of request, result and error (JSON-RPC 2.0 §5), or has
    /// a name twice or in another case.
    pub fn read(message: &[u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(message).map_err(|_| Unreadable)?;
        let message = Entries::read(text, &["jsonrpc", "id", "method", "params", "result", "error"])?;
        let id = message
            .raw("id")
            .filter(|id| id.get() != "null")
            .map(ToOwned::to_owned);
        let params = message.raw("params").map(ToOwned::to_owned);
        match (message.raw("method"), message.raw("result"), message.raw("error")) {
            (Some(method), None, None) => {
                let method = string(method).ok_or(Unreadable)?;
                Ok(match id {
                    Some(id) => Self::Request { id, method, params },
                    None => Self::Notification { method, params },
                })
            }
            (None, Some(result), None) => Ok(Self::Result {
                id: id.ok_or(Unreadable)?,
                result: result.to_owned(),
            }),
            (None, None, Some(error)) => Ok(Self::Error {
                id,
                error: Fault::read(error)?,
            }),
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) | (None, None, None) => {
                Err(Unreadable)
            }
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
}

impl Envelope<'_> {
    const EMPTY: Self = Self {
        jsonrpc: "2.0",
        id: None,
        method: None,
        params: None,
        result: None,
        error: None,
    };

    fn write(&self) -> Vec<u8> {
        // Texts and values that have been read as JSON before always are JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The answer to a request, with a result or an error.
#[must_use]
pub fn response(id: Option<&RawValue>, answer: Result<&RawValue, &RawValue>) -> Vec<u8> {
    let (result, error) = match answer {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error)),
    };
    Envelope {
        id: Some(id.unwrap_or(RawValue::NULL)),
        result,
        error,
        ..Envelope::EMPTY
    }
    .write()
}

/// A request of ours.
#[must_use]
pub fn request(id: &RawValue, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    Envelope {
        id: Some(id),
        method: Some(method),
        params,
        ..Envelope::EMPTY
    }
    .write()
}

/// A notification.
#[must_use]
pub fn notification(method: &str, params: Option<&RawValue>) -> Vec<u8> {
    Envelope {
        method: Some(method),
        params,
        ..Envelope::EMPTY
    }
    .write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_of_four() {
        let read = |text: &str| Incoming::read(text.as_bytes());
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":7,"result":{"n":1.50}}"#),
            Ok(Incoming::Result { id, result }) if id.get() == "7" && result.get() == r#"{"n":1.50}"#
        ));
        assert!(matches!(
            read(r#"{"id":null,"error":{"code":-32000,"message":"x"}}"#),
            Ok(Incoming::Error { id: None, error }) if error.code == -32000
        ));
        assert!(matches!(
            read(r#"{"id":"a","method":"roots/list"}"#),
            Ok(Incoming::Request { id, method, params: None }) if id.get() == "\"a\"" && method == "roots/list"
        ));
        assert!(matches!(
            read(r#"{"method":"m\u0065","params":{}}"#),
            Ok(Incoming::Notification { method, params: Some(_) }) if method == "me"
        ));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read() {
        for text in [
            "",
            "[]",
            "1",
            r#"{"id":1}"#,
            r#"{"result":{}}"#,
            r#"{"id":1,"result":{},"error":{}}"#,
            r#"{"id":1,"id":2,"result":{}}"#,
            r#"{"id":1,"result":{},"Result":{}}"#,
            r#"{"id":1,"method":"x","result":{}}"#,
            r#"{"method":1}"#,
            r#"{"id":1,"error":[]}"#,
            r#"{"id":1,"error":{"code":1,"code":2}}"#,
        ] {
            assert!(Incoming::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
