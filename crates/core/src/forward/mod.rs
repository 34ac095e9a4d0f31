//! Room 5: a spent [`Permit`] becomes the upstream's request; the caller's credential ends here.
//!
//! Takes: a [`Permit`] by value, the inbound headers, the upstream's own credential. Gives: method, headers, body.
//! May use: `policy`, `wire`. Never: copies an inbound credential or identity header, reaches the upstream itself.
//!
//! Headers pass by name, both ways: what nobody listed stays behind. A deny-list would have to know every spelling
//! in which some server takes an identity (`X-Forwarded-User`, `X_Forwarded_User`, …).

mod extension;
mod list;
mod message;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::policy::Permit;
use crate::secret::Secret;
use crate::wire::{Call, Kind, Method};

pub use extension::{announce, with_arguments, withhold};
pub use list::{FilteredList, InvalidList, filter_list};
pub use message::ServerMessage;

/// What the gateway shows the upstream of itself.
#[derive(Debug)]
pub enum UpstreamCredential {
    /// Nothing.
    None,
    /// `Authorization: Bearer` of the gateway's own. A text that no header can hold is not sent: the upstream
    /// then refuses. [`Self::bearer`] finds that out beforehand.
    Bearer(Secret),
}

/// A credential that no header can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream credential has characters that no header can hold")]
pub struct UnsendableCredential;

impl UpstreamCredential {
    /// A bearer token that can be sent: visible ASCII, not empty.
    ///
    /// # Errors
    /// [`UnsendableCredential`].
    pub fn bearer(token: Secret) -> Result<Self, UnsendableCredential> {
        let sendable = !token.reveal().is_empty() && token.reveal().bytes().all(|b| b.is_ascii_graphic());
        if sendable {
            Ok(Self::Bearer(token))
        } else {
            Err(UnsendableCredential)
        }
    }

    fn to_header_value(&self) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            Self::Bearer(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal())).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        }
    }
}

/// A request for the upstream, without its address.
#[derive(Debug)]
pub struct Outbound {
    /// POST, or GET or DELETE of a legacy session.
    pub method: http::Method,
    /// Headers that MCP needs, and the gateway's own credential.
    pub headers: HeaderMap,
    /// The body, byte for byte what was judged.
    pub body: Bytes,
}

/// Spends the permit.
#[must_use]
pub fn outbound(permit: Permit, inbound: &HeaderMap, credential: &UpstreamCredential) -> Outbound {
    request(&permit.spend(), inbound, credential)
}

/// Headers of the caller's that go on as they are, with every `Mcp-Param-…`. None says who calls: `baggage` is where
/// user names travel, so a caller could say one there.
const TO_UPSTREAM: [&str; 7] = [
    "accept",
    "accept-language",
    "content-type",
    "mcp-protocol-version",
    "traceparent",
    "tracestate",
    "user-agent",
];

/// Headers of the upstream's that go back. Not among them: `Set-Cookie` and `WWW-Authenticate`, which would speak
/// in our name; `Server` and its kind; CORS, which is ours; hop-by-hop headers and lengths, which the HTTP layer
/// sets.
const TO_CLIENT: [&str; 12] = [
    "allow",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-type",
    "etag",
    "expires",
    "mcp-protocol-version",
    "mcp-session-id",
    "retry-after",
    "vary",
    "x-accel-buffering",
];

fn request(call: &Call, inbound: &HeaderMap, credential: &UpstreamCredential) -> Outbound {
    let mut headers = HeaderMap::new();
    for (name, value) in inbound {
        if passes_on(name, call) {
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some(value) = credential.to_header_value() {
        headers.insert(AUTHORIZATION, value);
    }
    let method = match call.method() {
        Method::OpenStream => http::Method::GET,
        Method::EndSession => http::Method::DELETE,
        Method::Initialize
        | Method::Ping
        | Method::Discover
        | Method::ToolsList
        | Method::ToolsCall
        | Method::ResourcesList
        | Method::ResourcesTemplatesList
        | Method::ResourcesRead
        | Method::ResourcesSubscribe
        | Method::ResourcesUnsubscribe
        | Method::PromptsList
        | Method::PromptsGet
        | Method::Complete
        | Method::LoggingSetLevel
        | Method::SubscriptionsListen
        | Method::TasksGet
        | Method::TasksUpdate
        | Method::TasksCancel
        | Method::Notification(_)
        | Method::Response
        | Method::Other(_) => http::Method::POST,
    };
    Outbound {
        method,
        headers,
        body: call.body().clone(),
    }
}

/// Whether a header of the caller's goes on. Those that mirror the body do only where `wire` compared them, and
/// those of a session only where it is part of the call.
fn passes_on(name: &HeaderName, call: &Call) -> bool {
    match name.as_str() {
        "mcp-session-id" => call.session().is_some(),
        "last-event-id" => call.last_event_id().is_some(),
        "mcp-method" => matches!(call.kind(), Kind::Request | Kind::Notification),
        "mcp-name" => call.target().is_some(),
        name => TO_UPSTREAM.contains(&name) || name.starts_with("mcp-param-"),
    }
}

/// The upstream's response headers that a client may see.
#[must_use]
pub fn response_headers(upstream: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in upstream {
        if TO_CLIENT.contains(&name.as_str()) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

#[cfg(test)]
mod tests;
