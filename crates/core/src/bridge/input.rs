//! What a server wants to know in the middle of a call: a request of its own, or a result that says "input required".

use serde_json::value::RawValue;

use super::{Unreadable, raw, string};
use crate::wire::entries::Entries;

/// Most questions in one result.
const QUESTIONS: usize = 64;

/// The kinds of question that both eras have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `elicitation/create`
    Elicitation,
    /// `sampling/createMessage`
    Sampling,
    /// `roots/list`
    Roots,
}

impl Need {
    /// The kind of a server's request.
    #[must_use]
    pub fn of(method: &str) -> Option<Self> {
        match method {
            "elicitation/create" => Some(Self::Elicitation),
            "sampling/createMessage" => Some(Self::Sampling),
            "roots/list" => Some(Self::Roots),
            _ => None,
        }
    }

    /// Its method.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation/create",
            Self::Sampling => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }

    /// Whether a client with these capabilities can be asked (MCP 2026-07-28: it must not be asked otherwise).
    #[must_use]
    pub fn is_declared(self, capabilities: &RawValue) -> bool {
        let name = match self {
            Self::Elicitation => "elicitation",
            Self::Sampling => "sampling",
            Self::Roots => "roots",
        };
        Entries::read(capabilities.get(), &[]).is_ok_and(|all| all.raw(name).is_some())
    }
}

/// One question.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What its answer is found by.
    pub key: String,
    /// What it is.
    pub need: Need,
    /// Its parameters.
    pub params: Option<Box<RawValue>>,
}

impl Ask {
    /// Reads the questions of a result that says "input required".
    pub(super) fn read_all(requests: &RawValue) -> Result<Vec<Self>, Unreadable> {
        let requests = Entries::read(requests.get(), &[])?.into_owned();
        if requests.len() > QUESTIONS {
            return Err(Unreadable);
        }
        let read = |(key, request): (String, Box<RawValue>)| {
            let request = Entries::read(request.get(), &["method", "params"])?;
            let need = request
                .raw("method")
                .and_then(string)
                .and_then(|method| Need::of(&method));
            Ok(Self {
                key,
                need: need.ok_or(Unreadable)?,
                params: request.raw("params").map(ToOwned::to_owned),
            })
        };
        requests.into_iter().map(read).collect()
    }
}

/// The result that asks these questions.
///
/// # Errors
/// [`Unreadable`].
pub fn input_required(asks: &[Ask], state: &str) -> Result<Box<RawValue>, Unreadable> {
    let mut requests = Vec::with_capacity(asks.len());
    for ask in asks {
        let mut request = Entries::read("{}", &[])?;
        request.put("method", &ask.need.method())?;
        if let Some(params) = &ask.params {
            request.put("params", params)?;
        }
        requests.push((ask.key.clone(), raw(&request)?));
    }
    let mut result = Entries::read("{}", &[])?;
    result.put("resultType", &"input_required")?;
    result.put("inputRequests", &Entries::of(&requests))?;
    result.put("requestState", &state)?;
    raw(&result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn questions_keep_the_order_of_their_forms() {
        let form = r#"{"message":"?","requestedSchema":{"type":"object","properties":{"z":{},"a":{}}}}"#;
        let asks = [
            Ask {
                key: "one".to_owned(),
                need: Need::Elicitation,
                params: Some(json(form)),
            },
            Ask {
                key: "two".to_owned(),
                need: Need::Roots,
                params: None,
            },
        ];
        let result = input_required(&asks, "s").unwrap();
        let requests = format!(
            r#"{{"one":{{"method":"elicitation/create","params":{form}}},"two":{{"method":"roots/list"}}}}"#
        );
        assert_eq!(
            result.get(),
            format!(r#"{{"resultType":"input_required","inputRequests":{requests},"requestState":"s"}}"#)
        );
        let read = Ask::read_all(&json(&requests)).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].params.as_ref().unwrap().get(), form);
        assert!(Ask::read_all(&json(r#"{"k":{"method":"tools/call"}}"#)).is_err());
    }

    #[test]
    fn a_client_is_asked_what_it_declared() {
        let declared = json(r#"{"elicitation":{},"sampling":{}}"#);
        assert!(Need::Elicitation.is_declared(&declared) && Need::Sampling.is_declared(&declared));
        assert!(!Need::Roots.is_declared(&declared));
    }

    #[test]
    fn questions_at_the_limit_and_one_past_it() {
        let with = |count: usize| {
            let all: Vec<String> = (0..count)
                .map(|n| format!(r#""{n}":{{"method":"roots/list"}}"#))
                .collect();
            Ask::read_all(&json(&format!("{{{}}}", all.join(",")))).map(|asks| asks.len())
        };
        assert_eq!(with(QUESTIONS), Ok(QUESTIONS));
        assert_eq!(with(QUESTIONS + 1), Err(Unreadable));
    }
}
