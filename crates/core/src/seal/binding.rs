//! What a sealed field is bound to. The one maker of it for both sides, so that agent and gateway cannot differ.

use std::fmt;

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};

use super::canonical;
use super::error::Error;
use super::form::MessageId;
use crate::ids::{Issuer, Principal, ResourceUri, ServerName, ToolName};
use crate::jose::base64url;

/// Who talks to whom: the same for all calls of one client, in one name, to one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parties {
    /// In whose name.
    pub principal: Principal,
    /// The gateway's public URL: `iss` of what the gateway seals.
    pub gateway: Issuer,
    /// The resource of the server's endpoint: `aud` of what the agent seals.
    pub resource: ResourceUri,
    /// The gateway's name of the server.
    pub server: ServerName,
}

impl Parties {
    /// `sub`: issuer, `#`, subject. An issuer has no fragment (RFC 8414 §2), so the first `#` is the border.
    #[must_use]
    pub fn sub(&self) -> String {
        format!("{}#{}", self.principal.issuer, self.principal.subject)
    }

    /// `iss` and `aud` of what travels in this direction.
    #[must_use]
    pub fn from_to(&self, direction: Direction) -> (&str, &str) {
        match direction {
            Direction::Arguments => (self.principal.client.as_str(), self.resource.as_str()),
            Direction::Result => (self.gateway.as_str(), self.principal.client.as_str()),
        }
    }
}

/// Which way a field travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the agent to the gateway.
    Arguments,
    /// From the gateway to the agent.
    Result,
}

impl Direction {
    /// The text of `call.dir`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arguments => "arguments",
            Self::Result => "result",
        }
    }
}

/// A JSON-RPC id: `7` and `"7"` are two. Integers are below 2^53, where every JSON reader is exact.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CallId {
    value: Value,
    /// Its canonical text.
    text: Vec<u8>,
}

impl CallId {
    /// Reads the JSON text of an id, as in `7` or `"a"`.
    ///
    /// # Errors
    /// [`Error::UnusableId`].
    pub fn parse(json: &str) -> Result<Self, Error> {
        let value = serde_json::from_str(json).map_err(|_| Error::UnusableId)?;
        Self::from_value(value)
    }

    /// Takes a parsed id.
    ///
    /// # Errors
    /// [`Error::UnusableId`].
    pub fn from_value(id: Value) -> Result<Self, Error> {
        let usable = match &id {
            Value::String(_) => true,
            // A fraction is no id (JSON-RPC 2.0 §4), however many zeros it ends in.
            Value::Number(number) => !number.is_f64(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
        };
        if !usable {
            return Err(Error::UnusableId);
        }
        let text = canonical::write(&id).map_err(|_| Error::UnusableId)?;
        Ok(Self { value: id, text })
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({})", self.value)
    }
}

/// SHA-256 of the canonical text (RFC 8785) of a call's arguments, with `null` at every place that is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArgumentsDigest([u8; 32]);

impl ArgumentsDigest {
    /// Of arguments whose sealed places are `null` already.
    pub(super) fn of(arguments: &Value) -> Result<Self, Error> {
        let text = canonical::write(arguments)?;
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, &text).as_ref());
        Ok(Self(bytes))
    }

    fn text(self) -> String {
        base64url::encode(self.0)
    }
}

/// One call, before its arguments are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who talks to whom.
    pub parties: Parties,
    /// The tool, as its server spells it.
    pub tool: ToolName,
    /// The JSON-RPC id.
    pub id: CallId,
    /// What tells this call from every other of the same sender, whatever else they have in common.
    pub message: MessageId,
}

/// One call and its arguments. Made by sealing or opening the arguments, and nowhere else, so that the digest is of
/// what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundCall {
    call: Call,
    digest: ArgumentsDigest,
}

impl BoundCall {
    pub(super) fn new(call: Call, digest: ArgumentsDigest) -> Self {
        Self { call, digest }
    }

    /// The call.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The digest of its arguments.
    #[must_use]
    pub fn digest(&self) -> ArgumentsDigest {
        self.digest
    }

    /// What all fields of this direction are bound to.
    pub(super) fn binding(&self, direction: Direction) -> Binding<'_> {
        let parties = &self.call.parties;
        let (issuer, audience) = parties.from_to(direction);
        let digest = self.digest.text();
        // The members in canonical order (RFC 8785 §3.2.3): `ptr` follows `msg` and comes before `server`.
        let mut head = b"{\"aud\":".to_vec();
        canonical::write_text(&mut head, audience);
        head.extend_from_slice(b",\"call\":{\"digest\":");
        canonical::write_text(&mut head, &digest);
        head.extend_from_slice(b",\"dir\":");
        canonical::write_text(&mut head, direction.as_str());
        head.extend_from_slice(b",\"id\":");
        head.extend_from_slice(&self.call.id.text);
        head.extend_from_slice(b",\"msg\":");
        canonical::write_text(&mut head, &self.call.message.to_string());
        head.extend_from_slice(b",\"ptr\":");
        let mut tail = b",\"server\":".to_vec();
        canonical::write_text(&mut tail, parties.server.as_str());
        tail.extend_from_slice(b",\"tool\":");
        canonical::write_text(&mut tail, self.call.tool.as_str());
        tail.extend_from_slice(b"},\"iss\":");
        canonical::write_text(&mut tail, issuer);
        tail.extend_from_slice(b",\"sub\":");
        canonical::write_text(&mut tail, &parties.sub());
        tail.push(b'}');
        Binding {
            call: self,
            direction,
            head,
            tail,
        }
    }
}

/// What all fields of one message are bound to.
pub struct Binding<'c> {
    call: &'c BoundCall,
    direction: Direction,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Binding<'_> {
    /// Which way.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Who talks to whom.
    pub(super) fn shared_by(&self) -> &Parties {
        &self.call.call.parties
    }

    /// The canonical text of everything that the field at this place is bound to: the additional data of session mode.
    #[must_use]
    pub fn text(&self, place: &str) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.head.len() + place.len() + 8 + self.tail.len());
        text.extend_from_slice(&self.head);
        canonical::write_text(&mut text, place);
        text.extend_from_slice(&self.tail);
        text
    }

    /// `iss`, `aud` and `sub`.
    pub(super) fn parties(&self) -> (&str, &str, String) {
        let parties = &self.call.call.parties;
        let (issuer, audience) = parties.from_to(self.direction);
        (issuer, audience, parties.sub())
    }

    /// The claim `call` of the field at this place.
    pub(super) fn claim(&self, place: &str) -> Map<String, Value> {
        let call = &self.call.call;
        [
            ("digest", json!(self.call.digest.text())),
            ("dir", json!(self.direction.as_str())),
            ("id", call.id.value.clone()),
            ("msg", json!(call.message.to_string())),
            ("ptr", json!(place)),
            ("server", json!(call.parties.server)),
            ("tool", json!(call.tool)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClientId, Subject};

    fn bound() -> BoundCall {
        let call = Call {
            parties: Parties {
                principal: Principal {
                    issuer: Issuer::parse("https://as.example").unwrap(),
                    subject: Subject::parse("alice \"a\" ü").unwrap(),
                    client: ClientId::parse("agent-1").unwrap(),
                },
                gateway: Issuer::parse("https://gw.example").unwrap(),
                resource: ResourceUri::parse("https://gw.example/bank/mcp").unwrap(),
                server: ServerName::parse("bank").unwrap(),
            },
            tool: ToolName::parse("pay").unwrap(),
            id: CallId::parse("\"x\\u0041\"").unwrap(),
            message: MessageId::parse("AAAAAAAAAAAAAAAAAAAAAA").unwrap(),
        };
        BoundCall::new(call, ArgumentsDigest::of(&json!({ "b": 1, "a": null })).unwrap())
    }

    #[test]
    fn the_text_is_the_canonical_text_of_the_claims() {
        let bound = bound();
        for direction in [Direction::Arguments, Direction::Result] {
            let binding = bound.binding(direction);
            let (issuer, audience, sub) = binding.parties();
            let claims = json!({
                "iss": issuer, "aud": audience, "sub": sub, "call": binding.claim("/a~1\"\u{e9}")
            });
            assert_eq!(binding.text("/a~1\"\u{e9}"), canonical::write(&claims).unwrap());
        }
    }

    #[test]
    fn the_digest_is_of_the_canonical_text() {
        let digest = digest::digest(&digest::SHA256, br#"{"a":null,"b":1}"#);
        assert_eq!(bound().digest().text(), base64url::encode(digest));
    }

    #[test]
    fn ids_are_strings_or_exact_integers() {
        assert_eq!(CallId::parse("\"a\""), CallId::parse("\"\\u0061\""));
        assert_ne!(CallId::parse("7"), CallId::parse("\"7\""));
        assert!(CallId::parse("9007199254740991").is_ok());
        assert!(CallId::parse("-9007199254740991").is_ok());
        for bad in [
            "",
            "null",
            "true",
            "[1]",
            "{}",
            "1.0",
            "1e3",
            "9007199254740992",
            "-0",
            "7 8",
        ] {
            assert_eq!(CallId::parse(bad), Err(Error::UnusableId), "{bad}");
        }
    }

    #[test]
    fn the_border_between_issuer_and_subject_is_in_one_place() {
        let mut one = bound().call.parties;
        one.principal.subject = Subject::parse("b#c").unwrap();
        assert_eq!(one.sub(), "https://as.example#b#c");
        assert!(Issuer::parse("https://as.example#b").is_err());
    }
}
