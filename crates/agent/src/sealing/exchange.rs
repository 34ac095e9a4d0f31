//! One call's messages, with the tool's fields sealed on their way out and opened on their way in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use portcullis_core::ids::ToolName;
use portcullis_core::jose::jwe::ContentEncryption;
use portcullis_core::oauth::client::ServerUrl;
use portcullis_core::seal::session::Session;
use portcullis_core::seal::{
    self, BoundCall, Call, CallId, Clear, MessageId, Moment, NestedOpener, NestedSealer, Parties, Pointers,
    Seen, SenderKeys, canonical,
};
use portcullis_core::time::Lifetime;
use portcullis_core::wire::SEALED_FIELDS;
use portcullis_net::clock::Clock;
use portcullis_net::random;
use serde_json::{Map, Value, json};

use super::SealTrouble;
use super::gateway::GatewayKeys;
use super::keys::OwnKeys;
use crate::agent::Inner;

/// Accepted difference between the gateway's clock and ours.
const SKEW: Lifetime = Lifetime::from_secs(30);

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
    /// Where the gateway's keys are read again.
    pub(crate) agent: Arc<Inner>,
    pub(crate) server: ServerUrl,
}

impl Exchange {
    /// A call of the tool as it is sent, with its fields sealed, and what its result is bound to. Its id is the one on the
    /// wire; `headers` are those that go with it.
    pub(crate) fn outgoing(
        &self,
        mut message: Value,
        headers: &HashMap<HeaderName, HeaderValue>,
    ) -> Result<(Value, BoundCall), SealTrouble> {
        let id = message.get("id").cloned().unwrap_or_default();
        let Some(params) = message.get_mut("params").and_then(Value::as_object_mut) else {
            return Err(seal::Error::Bug.into());
        };
        if params.get("name").and_then(Value::as_str) != Some(self.tool.as_str()) {
            return Err(seal::Error::Bug.into());
        }
        let arguments = params.remove("arguments").unwrap_or_default();
        self.told_nowhere_else(&arguments, headers)?;
        // Fresh for each call, so that no field of one opens in another that is the same in everything else.
        let name = MessageId::new(&random::System).map_err(seal::Error::from)?;
        let call = Call {
            parties: self.parties.clone(),
            tool: self.tool.clone(),
            id: CallId::from_value(id)?,
            message: name,
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
            With::Keys => json!({ "keys": self.keys.public(), "message": name.to_string() }),
            With::Session(session) => {
                json!({ "session": session.id().to_string(), "message": name.to_string() })
            }
        };
        let meta = params.entry("_meta").or_insert_with(|| Value::Object(Map::new()));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert(SEALED_FIELDS.to_owned(), said);
        }
        Ok((message, bound))
    }

    /// The keys that the gateway publishes now. A result can be signed with a key that it did not have when the call was
    /// sealed, and what the tool did is done by then.
    pub(crate) async fn newer_keys(&self) -> Option<Arc<GatewayKeys>> {
        self.agent
            .gateway_keys(&self.server, Some(&self.gateway))
            .await
            .ok()
    }

    /// The call was refused: what it was sealed with is not used again, where that was the reason.
    pub(crate) async fn refused(&self, why: &SealTrouble) {
        if let With::Session(session) = &self.with {
            self.agent.forget_session(&self.server, session);
        }
        if why.is_of_other_key() {
            // What cannot be read is an error of the next attempt.
            let _newer = self.newer_keys().await;
        }
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
            let text = String::from_utf8_lossy(value.as_bytes());
            let encoded = text
                .strip_prefix("=?base64?")
                .and_then(|text| text.strip_suffix("?="));
            let decoded = encoded.and_then(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok());
            secrets.contains(decoded.as_deref().unwrap_or(&text))
        };
        let told = headers
            .iter()
            .find(|(name, value)| name.as_str().starts_with("mcp-param-") && tells(value));
        told.map_or(Ok(()), |(name, _)| Err(SealTrouble::Header(name.to_string())))
    }

    /// The result in the answer to a call, with its fields opened. `seen` remembers those that were opened before.
    ///
    /// A field in clear is refused even if the tool's definition has `clear: allow`: that is for clients that do not seal, and
    /// this call was sealed. `gateway` are the keys one of which signed.
    pub(crate) fn incoming(
        &self,
        bound: &BoundCall,
        message: &[u8],
        gateway: &GatewayKeys,
        seen: &Seen,
    ) -> Result<Value, SealTrouble> {
        let Value::Object(mut message) = canonical::read(message).map_err(seal::Error::from)? else {
            return Err(seal::Error::Bug.into());
        };
        let result = message.remove("result").unwrap_or_default();
        // Its result would come as that of another request, to which nothing is bound.
        if result.get("task").is_some() || result.get("resultType").is_some_and(|kind| kind == "task") {
            return Err(SealTrouble::Task);
        }
        let moment = Moment {
            now: self.clock.now(),
            skew: SKEW,
        };
        let pointers = &self.fields.result;
        let opened = match &self.with {
            With::Keys => {
                let openers = |kid: &_| self.keys.opener(kid);
                let sender = SenderKeys::Set(&gateway.signatures);
                let mut opener = NestedOpener::new(sender, &openers, seen, moment);
                seal::open_result(result, pointers, Clear::Refuse, bound, &mut opener)?
            }
            With::Session(session) => {
                let mut opener = session.opener(moment.now);
                seal::open_result(result, pointers, Clear::Refuse, bound, &mut opener)?
            }
        };
        Ok(opened.value)
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
        // Another argument's header can say the same. Which one it is cannot be told from here, so neither is sent.
        Value::Bool(value) => {
            secrets.insert(value.to_string());
        }
        // No header repeats it.
        Value::Null => {}
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
