//! One call's messages, with the tool's fields sealed on their way out and opened on their way in.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use portcullis_core::ids::ToolName;
use portcullis_core::jose::jwe::ContentEncryption;
use portcullis_core::seal::session::Session;
use portcullis_core::seal::{
    self, BoundCall, Call, CallId, Clear, Moment, NestedOpener, NestedSealer, Parties, Pointers, Seen,
    SenderKeys, canonical,
};
use portcullis_core::time::Lifetime;
use portcullis_core::wire::SEALED_FIELDS;
use portcullis_net::clock::Clock;
use portcullis_net::random;
use serde_json::{Map, Value, json};

use super::SealTrouble;
use super::gateway::GatewayKeys;
use super::keys::OwnKeys;

/// Accepted difference between the gateway's clock and ours.
const SKEW: Lifetime = Lifetime::from_secs(30);
/// Most fields of results remembered, so that none is taken twice.
const REMEMBERED: usize = 100_000;

/// Which fields of one tool.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) arguments: Pointers,
    pub(crate) result: Pointers,
}

/// How they are sealed.
#[derive(Clone)]
pub(crate) enum With {
    Keys,
    Session(Arc<Session>),
}

/// Seals and opens the messages of one call.
pub(crate) struct Exchange {
    pub(crate) tool: ToolName,
    pub(crate) fields: Fields,
    pub(crate) parties: Parties,
    pub(crate) keys: Arc<OwnKeys>,
    pub(crate) gateway: Arc<GatewayKeys>,
    pub(crate) with: With,
    pub(crate) clock: Arc<dyn Clock>,
    sent: Mutex<HashMap<String, BoundCall>>,
    seen: Seen,
}

impl Exchange {
    pub(crate) fn new(
        (tool, fields): (ToolName, Fields),
        parties: Parties,
        keys: Arc<OwnKeys>,
        gateway: Arc<GatewayKeys>,
        with: With,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            tool,
            fields,
            parties,
            keys,
            gateway,
            with,
            clock,
            sent: Mutex::default(),
            seen: Seen::new(REMEMBERED, REMEMBERED),
        }
    }

    /// A message as it is sent: a call of the tool with its fields sealed, anything else as it is. `headers` are those
    /// that go with it.
    pub(crate) fn outgoing(
        &self,
        mut message: Value,
        headers: &HashMap<HeaderName, HeaderValue>,
    ) -> Result<Value, SealTrouble> {
        if message.get("method").and_then(Value::as_str) != Some("tools/call") {
            return Ok(message);
        }
        let id = message.get("id").cloned().unwrap_or_default();
        let Some(params) = message.get_mut("params").and_then(Value::as_object_mut) else {
            return Ok(message);
        };
        let arguments = params.remove("arguments").unwrap_or_default();
        self.told_nowhere_else(&arguments, headers)?;
        let call = Call {
            parties: self.parties.clone(),
            tool: self.tool.clone(),
            id: CallId::from_value(id.clone())?,
        };
        let now = self.clock.now();
        let pointers = &self.fields.arguments;
        let (sealed, bound) = match &self.with {
            With::Keys => {
                let mut sealer = NestedSealer {
                    signer: &self.keys.signing,
                    recipient: &self.gateway.recipient,
                    encryption: ContentEncryption::A256Gcm,
                    now,
                    random: &random::System,
                };
                seal::seal_arguments(arguments, pointers, call, &mut sealer)?
            }
            With::Session(session) => {
                seal::seal_arguments(arguments, pointers, call, &mut session.sealer(now))?
            }
        };
        if !sealed.is_null() {
            params.insert("arguments".to_owned(), sealed);
        }
        let said = match &self.with {
            With::Keys => json!({ "keys": self.keys.public() }),
            With::Session(session) => json!({ "session": session.id().to_string() }),
        };
        let meta = params.entry("_meta").or_insert_with(|| Value::Object(Map::new()));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert(SEALED_FIELDS.to_owned(), said);
        }
        self.sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_string(), bound);
        Ok(message)
    }

    /// MCP 2026-07-28: a tool's schema can have arguments repeated in headers. One that is sealed would be told there.
    fn told_nowhere_else(
        &self,
        arguments: &Value,
        headers: &HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), SealTrouble> {
        let fields = self.fields.arguments.look(arguments).map_err(seal::Error::from)?;
        let mut secrets = HashSet::new();
        for (_, value) in fields {
            told_by(value, &mut secrets);
        }
        let tells = |value: &HeaderValue| {
            let text = value.to_str().unwrap_or_default();
            let encoded = text
                .strip_prefix("=?base64?")
                .and_then(|text| text.strip_suffix("?="));
            let decoded = encoded.and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok());
            secrets.contains(decoded.as_deref().unwrap_or(text))
        };
        let told = headers
            .iter()
            .find(|(name, value)| name.as_str().starts_with("mcp-param-") && tells(value));
        told.map_or(Ok(()), |(name, _)| Err(SealTrouble::Header(name.to_string())))
    }

    /// A message as it is handed on: the result of the call with its fields opened. `None` for any other message.
    pub(crate) fn incoming(&self, message: &[u8]) -> Result<Option<Vec<u8>>, SealTrouble> {
        // Messages of others may say what they like in numbers: only results of sealed calls are read exactly.
        let Ok(Value::Object(head)) = serde_json::from_slice::<Value>(message) else {
            return Ok(None);
        };
        let Some(id) = head.get("id").filter(|_| head.contains_key("result")) else {
            return Ok(None);
        };
        // One spelling for each id: a reader that takes `7.0` for `7` would take a result that was not opened here.
        if !(id.is_string() || id.is_i64() || id.is_u64()) {
            return Err(SealTrouble::Told("its answer has an id that no request has"));
        }
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bound) = sent.get(&id.to_string()).cloned() else {
            return Ok(None);
        };
        drop(sent);
        let Value::Object(mut message) = canonical::read(message).map_err(seal::Error::from)? else {
            return Ok(None);
        };
        let result = message.remove("result").unwrap_or_default();
        // What stands for more rounds, or for a result that comes with another call, has none of these fields yet.
        let moment = Moment {
            now: self.clock.now(),
            skew: SKEW,
        };
        let pointers = &self.fields.result;
        let opened = match &self.with {
            With::Keys => {
                let openers = |kid: &_| self.keys.opener(kid);
                let sender = SenderKeys::Set(&self.gateway.signatures);
                let mut opener = NestedOpener::new(sender, &openers, &self.seen, moment);
                seal::open_result(result, pointers, Clear::Refuse, &bound, &mut opener)?
            }
            With::Session(session) => {
                let mut opener = session.opener(moment.now);
                seal::open_result(result, pointers, Clear::Refuse, &bound, &mut opener)?
            }
        };
        message.insert("result".to_owned(), opened.value);
        let text = serde_json::to_vec(&message).map_err(|_| seal::Error::Bug)?;
        Ok(Some(text))
    }
}

/// Everything below a sealed place that a header could repeat.
fn told_by(value: &Value, secrets: &mut HashSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| told_by(item, secrets)),
        Value::Object(members) => members.values().for_each(|member| told_by(member, secrets)),
        Value::String(text) => {
            secrets.insert(text.clone());
        }
        Value::Number(number) => {
            secrets.insert(number.to_string());
        }
        // Every other header says one of these.
        Value::Null | Value::Bool(_) => {}
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("tool", &self.tool)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}
