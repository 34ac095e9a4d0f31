//! What the bridge says to a server, and what it hears from it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method as HttpMethod, Response};
use http_body_util::BodyExt as _;
use portcullis_core::bridge::Incoming;
use portcullis_core::forward::Outbound;
use portcullis_core::wire::{Era, Kind, Method};
use portcullis_guard::exchange::events::{EVENT_BYTES, Event, Splitter};
use portcullis_net::fetch::Body;
use tokio::time::timeout;

use crate::gateway::upstream::{CallInfo, Principal, Upstream, UpstreamError};

/// Longest wait for a server to take a message that has no answer, or to give a short one.
const SHORT: Duration = Duration::from_secs(60);

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// What goes with whatever is said in a principal's name: the gateway's own credential, and what says who the software is and
/// which trace it belongs to. Nothing of a call.
const KEPT: [&str; 5] = [
    "authorization",
    "accept-language",
    "traceparent",
    "tracestate",
    "user-agent",
];

/// How a server is reached in one principal's name.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) principal: Principal,
    headers: HeaderMap,
}

/// A legacy session at a server.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// `None` at a server that keeps no sessions.
    pub(super) session: Option<Box<str>>,
    /// What was agreed on.
    pub(super) version: Box<str>,
}

impl Line {
    /// As what was permitted is sent.
    pub(super) fn of(upstream: &Arc<dyn Upstream>, principal: &Principal, outbound: &Outbound) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in &outbound.headers {
            if KEPT.contains(&name.as_str()) {
                headers.append(name.clone(), value.clone());
            }
        }
        Self {
            upstream: Arc::clone(upstream),
            principal: principal.clone(),
            headers,
        }
    }

    /// The same, by another way.
    pub(super) fn by(self, upstream: Arc<dyn Upstream>) -> Self {
        Self { upstream, ..self }
    }

    /// The same without what belongs to one call.
    pub(super) fn untraced(mut self) -> Self {
        self.headers.remove("traceparent");
        self.headers.remove("tracestate");
        self
    }

    /// Whether another line says who we are in the same way.
    pub(super) fn same_credential(&self, other: &Self) -> bool {
        self.headers.get(AUTHORIZATION) == other.headers.get(AUTHORIZATION)
    }

    /// Sends a message of a legacy session; `None` for the first one.
    pub(super) async fn legacy(
        &self,
        address: Option<&Address>,
        kind: Kind,
        method: Method,
        body: Vec<u8>,
    ) -> Result<Response<Body>, UpstreamError> {
        let mut headers = self.posted();
        if let Some(address) = address {
            address.onto(&mut headers);
        }
        let info = CallInfo {
            era: Era::Legacy,
            kind,
            method,
            session: address.and_then(|address| address.session.clone()),
            last_event_id: None,
            id: None,
        };
        let outbound = Outbound {
            method: HttpMethod::POST,
            headers,
            body: body.into(),
        };
        self.upstream.call(&self.principal, outbound, &info).await
    }

    /// Tells a legacy session something that has no answer.
    pub(super) async fn tell(
        &self,
        address: &Address,
        kind: Kind,
        method: Method,
        body: Vec<u8>,
    ) -> Result<http::StatusCode, UpstreamError> {
        match timeout(SHORT, self.legacy(Some(address), kind, method, body)).await {
            Ok(response) => Ok(response?.status()),
            Err(_) => Err(UpstreamError::TimedOut),
        }
    }

    /// Opens the stream of a legacy session, or goes on with a broken one, or ends the session.
    pub(super) async fn transport(
        &self,
        address: &Address,
        method: Method,
        last_event: Option<&str>,
    ) -> Result<Response<Body>, UpstreamError> {
        let mut headers = self.headers.clone();
        address.onto(&mut headers);
        let http_method = if method == Method::EndSession {
            HttpMethod::DELETE
        } else {
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            HttpMethod::GET
        };
        if let Some(value) = last_event.and_then(|id| HeaderValue::try_from(id).ok()) {
            headers.insert(LAST_EVENT, value);
        }
        let info = CallInfo {
            era: Era::Legacy,
            kind: Kind::Transport,
            method,
            session: address.session.clone(),
            last_event_id: last_event.map(Into::into),
            id: None,
        };
        let outbound = Outbound {
            method: http_method,
            headers,
            body: Bytes::new(),
        };
        self.upstream.call(&self.principal, outbound, &info).await
    }

    /// A modern request, with the headers that repeat what it says (MCP 2026-07-28, Streamable HTTP).
    pub(super) fn modern(
        &self,
        method: &Method,
        mirrored: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> (Outbound, CallInfo) {
        let mut headers = self.posted();
        let version = portcullis_core::wire::MODERN_VERSIONS.last().copied();
        headers.insert(VERSION, HeaderValue::from_static(version.unwrap_or_default()));
        let named = [("mcp-method".to_owned(), method.as_str().to_owned())];
        for (name, value) in named.into_iter().chain(mirrored) {
            // Names are tokens, and values are encoded: what does not fit all the same, the server misses.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        let info = CallInfo {
            era: Era::Modern,
            kind: Kind::Request,
            method: method.clone(),
            session: None,
            last_event_id: None,
            id: None,
        };
        let outbound = Outbound {
            method: HttpMethod::POST,
            headers,
            body: body.into(),
        };
        (outbound, info)
    }

    fn posted(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers
    }
}

impl Address {
    /// What a server gave out on `initialize`.
    pub(super) fn given(headers: &HeaderMap, version: &str) -> Result<Self, UpstreamError> {
        let session = headers.get(SESSION).map(|value| value.to_str());
        let session = session.transpose().map_err(|_| UpstreamError::BadAnswer {
            detail: "its session id is malformed",
        })?;
        Ok(Self {
            session: session.map(Into::into),
            version: version.into(),
        })
    }

    fn onto(&self, headers: &mut HeaderMap) {
        let values = [
            (SESSION, self.session.as_deref()),
            (VERSION, Some(&*self.version)),
        ];
        for (name, value) in values {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

/// The messages of one answer, as they come. Asking for the next one can be given up at any time, and none is lost.
#[derive(Debug)]
pub(super) struct Messages {
    body: Option<Body>,
    splitter: Splitter,
    whole: VecDeque<Bytes>,
    /// Where a broken stream goes on.
    last_event: Option<String>,
    /// How long to wait before that.
    retry: Option<Duration>,
}

impl Messages {
    /// Of an answer with a status that says all is well, or with a JSON-RPC message beside another one.
    pub(super) async fn of(response: Response<Body>) -> Result<Self, UpstreamError> {
        let kind = media_type(response.headers());
        let body = response.into_body();
        let mut messages = Self {
            body: None,
            splitter: Splitter::default(),
            whole: VecDeque::new(),
            last_event: None,
            retry: None,
        };
        match kind {
            Some(MediaType::EventStream) => messages.body = Some(body),
            Some(MediaType::Json) => messages.whole.push_back(whole(body).await?),
            None => {
                return Err(UpstreamError::BadAnswer {
                    detail: "its content type is neither JSON nor an event stream",
                });
            }
        }
        Ok(messages)
    }

    /// The next one; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Incoming>, UpstreamError> {
        loop {
            if let Some(bytes) = self.whole.pop_front() {
                return read(&bytes).map(Some);
            }
            let event = self.splitter.event().map_err(|_| UpstreamError::BadAnswer {
                detail: "an event is too large to be looked into",
            })?;
            if let Some(event) = event {
                let event = Event::read(&event);
                if let Some(id) = event.field("id") {
                    self.last_event = Some(id.to_owned());
                }
                if let Some(retry) = event.field("retry").and_then(|retry| retry.parse().ok()) {
                    self.retry = Some(Duration::from_millis(retry));
                }
                // Comments, and the event that only gives an id to come back with.
                match event.data {
                    Some(data) if !data.is_empty() => return read(&data).map(Some),
                    Some(_) | None => continue,
                }
            }
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.splitter.push(bytes);
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "a server's stream broke off");
                    self.body = None;
                }
                None => self.body = None,
            }
        }
    }

    /// Where a stream that has ended goes on, and after which wait; `None` when it does not.
    pub(super) fn goes_on(&self) -> Option<(&str, Option<Duration>)> {
        self.last_event.as_deref().map(|id| (id, self.retry))
    }
}

/// One short answer: a result, or an error.
pub(super) async fn answered(response: Response<Body>) -> Result<Option<Incoming>, UpstreamError> {
    let mut messages = Messages::of(response).await?;
    let answer = async {
        while let Some(message) = messages.next().await? {
            if matches!(message, Incoming::Result { .. } | Incoming::Error { .. }) {
                return Ok(Some(message));
            }
        }
        Ok(None)
    };
    match timeout(SHORT, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(UpstreamError::TimedOut),
    }
}

/// A whole body that has to be looked into.
pub(super) async fn whole(mut body: Body) -> Result<Bytes, UpstreamError> {
    let gathered = async {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                tracing::debug!(%error, "a server's answer broke off");
                UpstreamError::BadAnswer {
                    detail: "a message that has to be translated broke off",
                }
            })?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len().saturating_add(data.len()) > EVENT_BYTES {
                return Err(UpstreamError::BadAnswer {
                    detail: "a message that has to be translated is too large",
                });
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes.freeze())
    };
    match timeout(SHORT, gathered).await {
        Ok(whole) => whole,
        Err(_) => Err(UpstreamError::TimedOut),
    }
}

fn read(bytes: &[u8]) -> Result<Incoming, UpstreamError> {
    Incoming::read(bytes).map_err(|_| unreadable())
}

/// A message cannot be translated.
pub(super) fn unreadable() -> UpstreamError {
    UpstreamError::BadAnswer {
        detail: "a message that has to be translated cannot be read",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    Json,
    EventStream,
}

/// What a body is.
pub(super) fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Some(MediaType::Json)
    } else if essence.eq_ignore_ascii_case("text/event-stream") {
        Some(MediaType::EventStream)
    } else {
        None
    }
}
