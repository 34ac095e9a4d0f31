//! One MCP message, as far as a gateway must read it; the bytes stay as they came.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::Error;
use super::agreement::Mirror;
use super::entries::Entries;
use super::envelope::{Envelope, Params};
use super::json::{Refused, Shape};
use super::method::{Aim, Era, Method, Target};
use crate::ids::ToolName;
use crate::limits;

/// What kind of JSON-RPC message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has `method` and `id`.
    Request,
    /// Has `method`, no `id`.
    Notification,
    /// Has `result` or `error` (legacy only).
    Response,
    /// No message: GET (opens the session's stream) or DELETE (ends the session), legacy only.
    Transport,
}

/// A JSON-RPC id, as its JSON text (`7`, `"a"`), so that an answer echoes it exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// The JSON text: a string, or an integer that fits in 64 bits.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// Reads a value that has been read as JSON before.
    fn read(json: &str) -> Result<Self, &'static str> {
        if json.len() > limits::ID_BYTES {
            return Err("`id` is too long");
        }
        // MCP: a string or an integer, never null. A fraction or exponent is a second spelling of a number.
        if json.starts_with('"') || json.parse::<i64>().is_ok() {
            Ok(Self(json.into()))
        } else {
            Err("`id` is neither a string nor an integer")
        }
    }
}

/// One well-formed MCP message. The bytes that were judged are the bytes that are sent: they never change hands apart.
#[derive(Debug)]
pub struct Call {
    era: Era,
    kind: Kind,
    method: Method,
    target: Option<Target>,
    subscriptions: Vec<Box<str>>,
    id: Option<RequestId>,
    session: Option<Box<str>>,
    last_event_id: Option<Box<str>>,
    /// A part of `body`.
    arguments: Option<Bytes>,
    /// A part of `body`.
    sealing: Option<Bytes>,
    body: Bytes,
}

impl Call {
    /// Reads a POST: strict JSON (a name twice is refused at every level), one message, headers that agree with it.
    ///
    /// The caller has bounded the body ([`limits::BODY_BYTES`] or what is configured).
    ///
    /// # Errors
    /// Every variant of [`Error`] but those about credentials and [`Error::PostOnly`].
    pub fn parse(headers: &HeaderMap, body: Bytes) -> Result<Self, Error> {
        json_in_utf8(headers)?;
        not_encoded(headers)?;
        let text = std::str::from_utf8(&body).map_err(|_| Error::NotJson)?;
        let envelope = Envelope::read(text)?;
        let id = envelope.id.map(RequestId::read).transpose();
        let id = id.map_err(|reason| Error::NotAMessage { reason, id: None })?;
        let (kind, method) = kind_and_method(&envelope, id.as_ref())?;
        let params = &envelope.inner;
        if params.meta_is_malformed() {
            return Err(Error::InvalidParams { member: "_meta", id });
        }

        let mirror = Mirror {
            headers,
            id: id.as_ref(),
        };
        let era = mirror.era(params)?;
        match era {
            Era::Modern => mirror.modern_version(kind, params)?,
            Era::Legacy => mirror.legacy_version()?,
        }
        let method = match (method, era) {
            (Some(name), _) => Method::named(name, era),
            (None, Era::Legacy) => Method::Response,
            (None, Era::Modern) => {
                return Err(Error::NotAMessage {
                    reason: "a stateless client sends no responses",
                    id,
                });
            }
        };
        if kind != Kind::Response {
            mirror.method_and_name(era, kind, &method, params)?;
            spelled_as_its_kind(kind, &method, id.as_ref())?;
        }
        let target = method
            .aim()
            .map(|aim| target(aim, params, id.as_ref()))
            .transpose()?;
        let subscriptions = if method == Method::SubscriptionsListen {
            subscriptions(params, id.as_ref())?
        } else {
            Vec::new()
        };
        // A stateless message has no session, whatever its headers say (MCP 2026-07-28).
        let (session, last_event_id) = match era {
            Era::Modern => (None, None),
            Era::Legacy => (mirror.session()?, mirror.last_event_id()?),
        };
        let part = |text: &str| body.slice_ref(text.as_bytes());
        let (arguments, sealing) = (params.arguments.map(part), params.inner.sealing.map(part));
        Ok(Self {
            era,
            kind,
            method,
            target,
            subscriptions,
            id,
            session,
            last_event_id,
            arguments,
            sealing,
            body,
        })
    }

    /// The pseudo-call of a legacy GET.
    ///
    /// # Errors
    /// [`Error::PostOnly`], [`Error::UnsupportedVersion`], [`Error::HeaderMismatch`] (the version header twice) and
    /// [`Error::BadSession`].
    pub fn open_stream(headers: &HeaderMap) -> Result<Self, Error> {
        Self::transport(headers, Method::OpenStream)
    }

    /// The pseudo-call of a legacy DELETE.
    ///
    /// # Errors
    /// As [`Self::open_stream`].
    pub fn end_session(headers: &HeaderMap) -> Result<Self, Error> {
        Self::transport(headers, Method::EndSession)
    }

    fn transport(headers: &HeaderMap, method: Method) -> Result<Self, Error> {
        let mirror = Mirror { headers, id: None };
        mirror.transport_version()?;
        Ok(Self {
            era: Era::Legacy,
            kind: Kind::Transport,
            method,
            target: None,
            subscriptions: Vec::new(),
            id: None,
            session: mirror.session()?,
            last_event_id: mirror.last_event_id()?,
            arguments: None,
            sealing: None,
            body: Bytes::new(),
        })
    }

    /// The era.
    #[must_use]
    pub fn era(&self) -> Era {
        self.era
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The target. Always there for the methods that [`Target`] names.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// The URIs that `subscriptions/listen` names in `resourceSubscriptions`: each once, in order, at most
    /// [`limits::SUBSCRIPTIONS`]. Nothing for other methods.
    #[must_use]
    pub fn subscriptions(&self) -> &[Box<str>] {
        &self.subscriptions
    }

    /// The id of a request, or of the request that a response answers.
    #[must_use]
    pub fn id(&self) -> Option<&RequestId> {
        self.id.as_ref()
    }

    /// `Mcp-Session-Id`, legacy only (ignored on modern requests). Visible ASCII.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// `Last-Event-ID`, legacy only: where a broken stream goes on. Visible ASCII.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }

    /// The raw JSON text of `params.arguments`, when present. Any JSON value, without a name twice in any object.
    #[must_use]
    pub fn arguments(&self) -> Option<&str> {
        // A part of a text that was checked, so always UTF-8.
        self.arguments
            .as_ref()
            .and_then(|arguments| std::str::from_utf8(arguments).ok())
    }

    /// The raw JSON text of what `params._meta` says about sealed fields, when present. Any JSON value, without a name
    /// twice in any object.
    #[must_use]
    pub fn sealing(&self) -> Option<&str> {
        self.sealing
            .as_ref()
            .and_then(|sealing| std::str::from_utf8(sealing).ok())
    }

    /// SHA-256 of the body, binding a permit to exactly these bytes. Computed at each call.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.body);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        bytes
    }

    /// The body as it came (empty for [`Kind::Transport`]).
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// JSON-RPC 2.0 §4 and §5, as MCP narrows them.
fn kind_and_method<'e>(
    envelope: &'e Envelope<'_>,
    id: Option<&RequestId>,
) -> Result<(Kind, Option<&'e str>), Error> {
    let malformed = |reason| {
        Err(Error::NotAMessage {
            reason,
            id: id.cloned(),
        })
    };
    if envelope.jsonrpc.as_ref().and_then(Shape::text) != Some("2.0") {
        return malformed("`jsonrpc` is not \"2.0\"");
    }
    match (&envelope.method, &envelope.result, &envelope.error) {
        (Some(Shape::Text(method)), None, None) => {
            if method.len() > limits::NAME_BYTES {
                return malformed("`method` is too long");
            }
            if !matches!(envelope.params, None | Some(Shape::Object)) {
                return malformed("`params` is not an object");
            }
            let kind = if id.is_some() {
                Kind::Request
            } else {
                Kind::Notification
            };
            Ok((kind, Some(method)))
        }
        (Some(_), None, None) => malformed("`method` is not a string"),
        (None, Some(_), None) if id.is_none() => malformed("a result has no `id`"),
        (None, Some(_), None) | (None, None, Some(_)) if envelope.params.is_some() => {
            malformed("a response has no `params`")
        }
        (None, Some(_), None) | (None, None, Some(_)) => Ok((Kind::Response, None)),
        (None, None, None) => malformed("it has no `method`"),
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (None, Some(_), Some(_)) => {
            malformed("it is more than one of request, result and error")
        }
    }
}

/// MCP: requests have an id, notifications have none. A `tools/call` without an id would run unanswered.
fn spelled_as_its_kind(kind: Kind, method: &Method, id: Option<&RequestId>) -> Result<(), Error> {
    match (kind, method) {
        (Kind::Request, Method::Notification(_)) => Err(Error::NotAMessage {
            reason: "a notification has no `id`",
            id: id.cloned(),
        }),
        (Kind::Notification, method) if !matches!(method, Method::Notification(_) | Method::Other(_)) => {
            Err(Error::NotAMessage {
                reason: "a request needs an `id`",
                id: None,
            })
        }
        (Kind::Request | Kind::Notification | Kind::Response | Kind::Transport, _) => Ok(()),
    }
}

fn target(aim: Aim, params: &Params<'_>, id: Option<&RequestId>) -> Result<Target, Error> {
    let member = aim.member();
    let invalid = || Error::InvalidParams {
        member,
        id: id.cloned(),
    };
    let text = params.aim(aim).and_then(Shape::text).ok_or_else(invalid)?;
    if text.len() > limits::NAME_BYTES {
        return Err(Error::NameTooLong {
            member,
            id: id.cloned(),
        });
    }
    Ok(match aim {
        Aim::Tool => Target::Tool(ToolName::parse(text).map_err(|_| invalid())?),
        Aim::Prompt => Target::Prompt(text.into()),
        Aim::Resource => Target::Resource(text.into()),
        Aim::Task => Target::Task(text.into()),
    })
}

/// The resources that a filter of changes names (MCP 2026-07-28, Subscriptions). No filter names none; one that cannot be read
/// could be read otherwise behind us.
fn subscriptions(params: &Params<'_>, id: Option<&RequestId>) -> Result<Vec<Box<str>>, Error> {
    const MEMBER: &str = "resourceSubscriptions";
    let invalid = |member| Error::InvalidParams {
        member,
        id: id.cloned(),
    };
    let Some(filter) = params.notifications else {
        return Ok(Vec::new());
    };
    let filter = Entries::read(filter, &[MEMBER]).map_err(|refused| match refused {
        Refused::LooksLike(expected) => Error::AmbiguousKey { expected },
        Refused::NotJson | Refused::Twice | Refused::TooDeep => invalid("notifications"),
    })?;
    let Some(uris) = filter.raw(MEMBER) else {
        return Ok(Vec::new());
    };
    let mut uris: Vec<Box<str>> = serde_json::from_str(uris.get()).map_err(|_| invalid(MEMBER))?;
    if uris.len() > limits::SUBSCRIPTIONS {
        return Err(invalid(MEMBER));
    }
    if uris.iter().any(|uri| uri.len() > limits::NAME_BYTES) {
        return Err(Error::NameTooLong {
            member: MEMBER,
            id: id.cloned(),
        });
    }
    uris.sort_unstable();
    uris.dedup();
    Ok(uris)
}

/// `application/json`, at most with `charset=utf-8` (RFC 8259 §11 has no parameters, but clients send that one).
/// Anything else might be read as something else behind us, and `text/plain` would need no CORS preflight.
fn json_in_utf8(headers: &HeaderMap) -> Result<(), Error> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Error::ContentType);
    };
    let value = value.to_str().map_err(|_| Error::ContentType)?;
    let mut parts = value.split(';').map(|part| part.trim_matches([' ', '\t']));
    if !parts
        .next()
        .is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"))
    {
        return Err(Error::ContentType);
    }
    let utf8 = |part: &str| {
        part.split_once('=').is_some_and(|(name, value)| {
            let value = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .unwrap_or(value);
            name.eq_ignore_ascii_case("charset") && value.eq_ignore_ascii_case("utf-8")
        })
    };
    match (parts.next(), parts.next()) {
        (None, _) => Ok(()),
        (Some(part), None) if utf8(part) => Ok(()),
        (Some(_), _) => Err(Error::ContentType),
    }
}

fn not_encoded(headers: &HeaderMap) -> Result<(), Error> {
    if headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        Ok(())
    } else {
        Err(Error::ContentEncoding)
    }
}

#[cfg(test)]
mod tests;
