//! The JSON-RPC 2.0 envelope of an MCP message, borrowed from the body's text.

use serde::de::MapAccess;

use super::Error;
use super::json::{self, Member, Members, Refused, Shape};
use super::method::Aim;

/// The one member of `_meta` that makes a message stateless.
pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The other member of `_meta` that a stateless request must have.
pub(super) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The MCP extension for sealed fields: its name among capabilities, and its member of `_meta`.
pub const SEALED_FIELDS: &str = "dev.portcullis/sealed-fields";

/// What a message says, as far as we look. `None` means absent, never malformed.
#[derive(Default)]
pub(super) struct Envelope<'de> {
    pub(super) jsonrpc: Option<Shape<'de>>,
    /// As its JSON text.
    pub(super) id: Option<&'de str>,
    pub(super) method: Option<Shape<'de>>,
    pub(super) result: Option<Shape<'de>>,
    pub(super) error: Option<Shape<'de>>,
    pub(super) params: Option<Shape<'de>>,
    pub(super) inner: Params<'de>,
}

/// What `params` says.
#[derive(Default)]
pub(super) struct Params<'de> {
    name: Option<Shape<'de>>,
    uri: Option<Shape<'de>>,
    task_id: Option<Shape<'de>>,
    /// As its JSON text.
    pub(super) arguments: Option<&'de str>,
    /// As its JSON text.
    pub(super) notifications: Option<&'de str>,
    meta: Option<Shape<'de>>,
    pub(super) inner: Meta<'de>,
}

/// What `params._meta` says.
#[derive(Default)]
pub(super) struct Meta<'de> {
    pub(super) version: Option<Shape<'de>>,
    pub(super) capabilities: Option<Shape<'de>>,
    /// As its JSON text.
    pub(super) sealing: Option<&'de str>,
}

impl<'de> Envelope<'de> {
    /// Reads one message.
    pub(super) fn read(text: &'de str) -> Result<Self, Error> {
        let mut envelope = Self::default();
        match json::read(text, &mut envelope) {
            Ok(Shape::Object) => Ok(envelope),
            Ok(Shape::Array) => Err(Error::Batch),
            Ok(Shape::Null | Shape::Bool | Shape::Number | Shape::Text(_)) => Err(Error::NotAMessage {
                reason: "it is not an object",
                id: None,
            }),
            Err(Refused::NotJson) => Err(Error::NotJson),
            Err(Refused::Twice) => Err(Error::DuplicateKey),
            Err(Refused::LooksLike(expected)) => Err(Error::AmbiguousKey { expected }),
            Err(Refused::TooDeep) => Err(Error::TooDeep),
        }
    }
}

impl<'de> Params<'de> {
    /// The member that says what a method is aimed at.
    pub(super) fn aim(&self, aim: Aim) -> Option<&Shape<'de>> {
        match aim {
            Aim::Tool | Aim::Prompt => self.name.as_ref(),
            Aim::Resource => self.uri.as_ref(),
            Aim::Task => self.task_id.as_ref(),
        }
    }

    /// Whether `_meta` is there and is no object.
    pub(super) fn meta_is_malformed(&self) -> bool {
        !matches!(self.meta, None | Some(Shape::Object))
    }
}

impl<'de> Members<'de> for Envelope<'de> {
    const NAMES: &'static [&'static str] = &["jsonrpc", "id", "method", "params", "result", "error"];

    fn member<A: MapAccess<'de>>(&mut self, name: &str, value: Member<'_, 'de, A>) -> Result<(), A::Error> {
        match name {
            "jsonrpc" => self.jsonrpc = Some(value.walk()?),
            "id" => self.id = Some(value.raw()?),
            "method" => self.method = Some(value.walk()?),
            "params" => self.params = Some(value.object(&mut self.inner)?),
            "result" => self.result = Some(value.walk()?),
            "error" => self.error = Some(value.walk()?),
            _ => drop(value.walk()?),
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Params<'de> {
    const NAMES: &'static [&'static str] = &["name", "uri", "taskId", "arguments", "notifications", "_meta"];

    fn member<A: MapAccess<'de>>(&mut self, name: &str, value: Member<'_, 'de, A>) -> Result<(), A::Error> {
        match name {
            "name" => self.name = Some(value.walk()?),
            "uri" => self.uri = Some(value.walk()?),
            "taskId" => self.task_id = Some(value.walk()?),
            "arguments" => self.arguments = Some(value.raw()?),
            "notifications" => self.notifications = Some(value.raw()?),
            "_meta" => self.meta = Some(value.object(&mut self.inner)?),
            _ => drop(value.walk()?),
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Meta<'de> {
    const NAMES: &'static [&'static str] = &[META_VERSION, META_CAPABILITIES, SEALED_FIELDS];

    fn member<A: MapAccess<'de>>(&mut self, name: &str, value: Member<'_, 'de, A>) -> Result<(), A::Error> {
        match name {
            META_VERSION => self.version = Some(value.walk()?),
            META_CAPABILITIES => self.capabilities = Some(value.walk()?),
            SEALED_FIELDS => self.sealing = Some(value.raw()?),
            _ => drop(value.walk()?),
        }
        Ok(())
    }
}
