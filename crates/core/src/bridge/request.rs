//! A client's request, in the words of the other era.

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::value::RawValue;

use super::{LogLevel, Unreadable, is_object, meta, raw, string};
use crate::limits;
use crate::wire::MODERN_VERSIONS;
use crate::wire::entries::Entries;

/// Most answers of one retried request.
const ANSWERS: usize = 64;

const META: &str = "_meta";
const ANSWERED: &str = "inputResponses";
const STATE: &str = "requestState";

/// A request, which `wire` has read before.
#[derive(Clone)]
pub struct Request<'a> {
    message: Entries<'a>,
    params: Entries<'a>,
    meta: Entries<'a>,
}

/// What a legacy session agreed on once, and a modern request says each time.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// The client's capabilities, an object.
    pub capabilities: Box<RawValue>,
    /// Who the client says it is.
    pub client: Option<Box<RawValue>>,
    /// The log messages that it wants.
    pub level: Option<LogLevel>,
}

/// What a request brings that is made again because its server wanted input.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a> {
    /// Another id.
    pub id: &'a RawValue,
    /// The answers, by their keys.
    pub answers: &'a [(String, Box<RawValue>)],
    /// The state that the server gave out.
    pub state: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    /// Reads a request or a notification.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(body: &'a [u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(body).map_err(|_| Unreadable)?;
        let message = Entries::read(text, &["jsonrpc", "id", "method", "params"])?;
        let object = |value: Option<&'a RawValue>, wanted: &[&'static str]| {
            Entries::read(value.map_or("{}", RawValue::get), wanted)
        };
        let params = object(message.raw("params"), &[META, ANSWERED, STATE])?;
        let meta = object(params.raw(META), &meta::MODERN)?;
        Ok(Self {
            message,
            params,
            meta,
        })
    }

    /// Its id, as its JSON text.
    #[must_use]
    pub fn id(&self) -> Option<&'a RawValue> {
        self.message.raw("id")
    }

    /// A member of its parameters.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a RawValue> {
        self.params.raw(name)
    }

    /// What the client can be asked, as this modern request says.
    #[must_use]
    pub fn capabilities(&self) -> Option<&'a RawValue> {
        self.meta.raw(meta::CAPABILITIES).filter(|value| is_object(value))
    }

    /// Who this modern request says the client is.
    #[must_use]
    pub fn client(&self) -> Option<&'a RawValue> {
        self.meta.raw(meta::CLIENT).filter(|value| is_object(value))
    }

    /// Looks at how much this modern request says of its client, which a session keeps.
    ///
    /// # Errors
    /// [`Unreadable`]: its capabilities, or who it is, are longer than [`limits::CLIENT_BYTES`].
    pub fn introduces_itself_briefly(&self) -> Result<(), Unreadable> {
        brief(self.capabilities())?;
        brief(self.client())
    }

    /// The log messages that this modern request asks for.
    #[must_use]
    pub fn level(&self) -> Option<LogLevel> {
        LogLevel::parse(&string(self.meta.raw(meta::LEVEL)?)?)
    }

    /// What progress is told under.
    #[must_use]
    pub fn progress_token(&self) -> Option<&'a RawValue> {
        self.meta.raw("progressToken")
    }

    /// The state that this modern request brings back.
    ///
    /// # Errors
    /// [`Unreadable`]: it brings something that is no string. Whoever takes that for no state makes a call again that is held.
    pub fn state(&self) -> Result<Option<String>, Unreadable> {
        let text = |state| string(state).ok_or(Unreadable);
        self.params.raw(STATE).map(text).transpose()
    }

    /// The answers that this modern request brings, by their keys.
    ///
    /// # Errors
    /// [`Unreadable`]: they are no object of objects, or more than anyone asked for.
    pub fn answers(&self) -> Result<Vec<(String, Box<RawValue>)>, Unreadable> {
        let Some(answers) = self.params.raw(ANSWERED) else {
            return Ok(Vec::new());
        };
        let answers = Entries::read(answers.get(), &[])?.into_owned();
        if answers.len() > ANSWERS || !answers.iter().all(|(_, answer)| is_object(answer)) {
            return Err(Unreadable);
        }
        Ok(answers)
    }

    /// SHA-256 over what a retry must say again: the method and every parameter, but for what a retry brings.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut said: Vec<(&str, &str)> = self
            .params
            .iter()
            .filter(|(name, _)| ![META, ANSWERED, STATE].contains(name))
            .collect();
        said.sort_unstable();
        let method = self.message.text("method").unwrap_or_default();
        let mut digest = Context::new(&SHA256);
        for part in std::iter::once(method).chain(said.into_iter().flat_map(|(name, value)| [name, value])) {
            // The length first, so that no two lists of parts run together to the same bytes.
            digest.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part.as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.finish().as_ref());
        bytes
    }

    /// The same for a legacy session: without what only a modern request says, with an id of ours, under which progress is told too.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn to_legacy(&self, id: &RawValue) -> Result<Vec<u8>, Unreadable> {
        let Self {
            mut message,
            mut params,
            mut meta,
        } = self.clone();
        for name in meta::MODERN {
            meta.remove(name);
        }
        if meta.raw("progressToken").is_some() {
            meta.put("progressToken", &id)?;
        }
        params.remove(ANSWERED);
        params.remove(STATE);
        if meta.is_empty() {
            params.remove(META);
        } else {
            params.put(META, &meta)?;
        }
        message.put("id", &id)?;
        message.put("params", &params)?;
        Ok(serde_json::to_vec(&message)?)
    }

    /// The same for a modern server, with what the session agreed on.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn to_modern(&self, stamp: &Stamp, again: Option<Again<'_>>) -> Result<Vec<u8>, Unreadable> {
        let Self {
            mut message,
            mut params,
            mut meta,
        } = self.clone();
        stamp.put(&mut meta)?;
        params.remove(ANSWERED);
        params.remove(STATE);
        params.put(META, &meta)?;
        if let Some(Again { id, answers, state }) = again {
            message.put("id", &id)?;
            if !answers.is_empty() {
                params.put(ANSWERED, &Entries::of(answers))?;
            }
            if let Some(state) = state {
                params.put(STATE, &state)?;
            }
        }
        message.put("params", &params)?;
        Ok(serde_json::to_vec(&message)?)
    }
}

impl Stamp {
    /// What a client declared at `initialize`: all that the other era knows, which is without tasks.
    ///
    /// # Errors
    /// [`Unreadable`]: also for what is longer than [`limits::CLIENT_BYTES`].
    pub fn of(capabilities: Option<&RawValue>, client: Option<&RawValue>) -> Result<Self, Unreadable> {
        brief(capabilities)?;
        brief(client)?;
        let text = capabilities.map_or("{}", RawValue::get);
        let mut capabilities = Entries::read(text, &["tasks", "roots"])?;
        capabilities.remove("tasks");
        if capabilities.raw("roots").is_some() {
            // Whether it would tell of changes is of no use to a server that asks each time.
            capabilities.put("roots", &serde_json::json!({}))?;
        }
        Ok(Self {
            capabilities: raw(&capabilities)?,
            client: client.filter(|client| is_object(client)).map(ToOwned::to_owned),
            level: None,
        })
    }

    /// Parameters with nothing but this.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn params(&self) -> Result<Box<RawValue>, Unreadable> {
        let mut meta = Entries::read("{}", &[])?;
        self.put(&mut meta)?;
        let mut params = Entries::read("{}", &[])?;
        params.put(META, &meta)?;
        raw(&params)
    }

    fn put(&self, meta: &mut Entries<'_>) -> Result<(), Unreadable> {
        let version = MODERN_VERSIONS.last().copied().unwrap_or_default();
        meta.put(meta::VERSION, &version)?;
        meta.put(meta::CAPABILITIES, &self.capabilities)?;
        match &self.client {
            Some(client) => meta.put(meta::CLIENT, client)?,
            None => drop(meta.remove(meta::CLIENT)),
        }
        match self.level {
            Some(level) => meta.put(meta::LEVEL, &level.as_str())?,
            None => drop(meta.remove(meta::LEVEL)),
        }
        Ok(())
    }
}

fn brief(said: Option<&RawValue>) -> Result<(), Unreadable> {
    match said {
        Some(said) if said.get().len() > limits::CLIENT_BYTES => Err(Unreadable),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: &str = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t","arguments":{"n":1.50,"b": 12345678901234567890123},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/logLevel":"info","progressToken":"p","traceparent":"00-1"},"inputResponses":{"k":{"action":"accept"}},"requestState":"s"}}"#;

    fn number(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_modern_request_without_what_only_it_says() {
        let request = Request::read(MODERN.as_bytes()).unwrap();
        assert_eq!(request.level(), Some(LogLevel::Info));
        assert_eq!(request.capabilities().unwrap().get(), r#"{"roots":{}}"#);
        assert_eq!(request.state().unwrap().as_deref(), Some("s"));
        assert_eq!(request.answers().unwrap().len(), 1);
        assert_eq!(
            String::from_utf8(request.to_legacy(&number("9")).unwrap()).unwrap(),
            r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"t","arguments":{"n":1.50,"b": 12345678901234567890123},"_meta":{"progressToken":9,"traceparent":"00-1"}}}"#
        );
        let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        assert_eq!(
            Request::read(bare.as_bytes())
                .unwrap()
                .to_legacy(&number("2"))
                .unwrap(),
            br#"{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}"#
        );
    }

    #[test]
    fn a_legacy_request_with_what_its_session_agreed_on() {
        let mut stamp = Stamp::of(
            Some(&number(
                r#"{"roots":{"listChanged":true},"tasks":{},"sampling":{"tools":{}}}"#,
            )),
            Some(&number(r#"{"name":"c"}"#)),
        )
        .unwrap();
        stamp.level = Some(LogLevel::Warning);
        let legacy = r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":1,"io.modelcontextprotocol/logLevel":"debug"},"requestState":"own"}}"#;
        let request = Request::read(legacy.as_bytes()).unwrap();
        let stamped = r#"{"progressToken":1,"io.modelcontextprotocol/logLevel":"warning","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{},"sampling":{"tools":{}}},"io.modelcontextprotocol/clientInfo":{"name":"c"}}"#;
        assert_eq!(
            String::from_utf8(request.to_modern(&stamp, None).unwrap()).unwrap(),
            format!(
                r#"{{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{{"name":"t","_meta":{stamped}}}}}"#
            )
        );
        let answers = [("k".to_owned(), number(r#"{"roots":[]}"#))];
        let again = request
            .to_modern(
                &stamp,
                Some(Again {
                    id: &number("\"r\""),
                    answers: &answers,
                    state: Some(&number("\"s\"")),
                }),
            )
            .unwrap();
        assert_eq!(
            String::from_utf8(again).unwrap(),
            format!(
                r#"{{"jsonrpc":"2.0","id":"r","method":"tools/call","params":{{"name":"t","_meta":{stamped},"inputResponses":{{"k":{{"roots":[]}}}},"requestState":"s"}}}}"#
            )
        );
    }

    #[test]
    fn what_a_client_says_of_itself_at_the_limit_and_one_past_it() {
        let object = |bytes: usize| number(&format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8)));
        let (fits, does_not) = (object(limits::CLIENT_BYTES), object(limits::CLIENT_BYTES + 1));
        assert_eq!(fits.get().len(), limits::CLIENT_BYTES);
        assert!(Stamp::of(Some(&fits), Some(&fits)).is_ok());
        assert!(Stamp::of(Some(&does_not), Some(&fits)).is_err());
        assert!(Stamp::of(Some(&fits), Some(&does_not)).is_err());
        let briefly = |capabilities: &RawValue, client: &RawValue| {
            let body = format!(
                r#"{{"id":1,"method":"ping","params":{{"_meta":{{"{}":{capabilities},"{}":{client}}}}}}}"#,
                meta::CAPABILITIES,
                meta::CLIENT
            );
            Request::read(body.as_bytes())
                .unwrap()
                .introduces_itself_briefly()
        };
        assert_eq!(briefly(&fits, &fits), Ok(()));
        assert_eq!(briefly(&does_not, &fits), Err(Unreadable));
        assert_eq!(briefly(&fits, &does_not), Err(Unreadable));
    }

    #[test]
    fn a_state_that_is_no_string_is_not_the_same_as_none() {
        for (params, expected) in [
            (r#"{"name":"t"}"#, Ok(None)),
            (r#"{"requestState":""}"#, Ok(Some(String::new()))),
            (r#"{"requestState":null}"#, Err(Unreadable)),
            (r#"{"requestState":7}"#, Err(Unreadable)),
            (r#"{"requestState":["s"]}"#, Err(Unreadable)),
        ] {
            let body = format!(r#"{{"id":1,"method":"tools/call","params":{params}}}"#);
            assert_eq!(
                Request::read(body.as_bytes()).unwrap().state(),
                expected,
                "{params}"
            );
        }
    }

    #[test]
    fn the_digest_is_of_the_call_and_not_of_its_retry() {
        let digest = |text: &str| Request::read(text.as_bytes()).unwrap().digest();
        let same = digest(
            r#"{"jsonrpc":"2.0","id":"other","method":"tools/call","params":{"arguments":{"n":1.50,"b": 12345678901234567890123},"name":"t","_meta":{},"requestState":"x"}}"#,
        );
        assert_eq!(same, digest(MODERN));
        for other in [
            r#"{"method":"tools/call","params":{"arguments":{"n":1.50,"b": 12345678901234567890124},"name":"t"}}"#,
            r#"{"method":"tools/call","params":{"arguments":{"n":1.50,"b": 12345678901234567890123},"name":"u"}}"#,
            r#"{"method":"prompts/get","params":{"arguments":{"n":1.50,"b": 12345678901234567890123},"name":"t"}}"#,
            r#"{"method":"tools/call","params":{"name":"t"}}"#,
        ] {
            assert_ne!(digest(other), same, "{other}");
        }
    }

    #[test]
    fn answers_at_the_limit_and_one_past_it() {
        let with = |count: usize| {
            let answers: Vec<String> = (0..count).map(|n| format!(r#""{n}":{{}}"#)).collect();
            let body = format!(
                r#"{{"method":"x","params":{{"inputResponses":{{{}}}}}}}"#,
                answers.join(",")
            );
            Request::read(body.as_bytes())
                .unwrap()
                .answers()
                .map(|answers| answers.len())
        };
        assert_eq!(with(ANSWERS), Ok(ANSWERS));
        assert_eq!(with(ANSWERS + 1), Err(Unreadable));
        let body = br#"{"method":"x","params":{"inputResponses":{"k":1}}}"#;
        assert_eq!(Request::read(body).unwrap().answers().unwrap_err(), Unreadable);
    }
}
