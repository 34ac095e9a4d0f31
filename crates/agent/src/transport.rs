//! rmcp's Streamable HTTP over our own fetcher: the address guard, the bearer token, and what a refusal means.
//!
//! rmcp knows nothing of authorization here. A 401 or 403 ends the attempt; what it asked for is kept beside the
//! transport, where [`crate::agent`] finds it, acts on it, and tries the whole operation again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, TryStreamExt as _};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use portcullis_core::limits;
use portcullis_core::oauth::client::{self, Challenged};
use portcullis_core::random::RandomUnavailable;
use portcullis_core::seal::{self, BoundCall, Seen};
use portcullis_core::secret::Secret;
use portcullis_net::fetch::{self, Body, Fetcher, full};
use portcullis_net::offload;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use serde_json::{Value, json};
use sse_stream::{Sse, SseStream};

use crate::pending::Pending;
use crate::sealing::exchange::Exchange;
use crate::sealing::{GatewayKeys, SealTrouble};

const CALL: &str = "tools/call";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// Longest wait for the head of an answer: a tool may take its time before it says anything.
const HEAD: Duration = Duration::from_secs(300);
/// Largest JSON answer, and most bytes of a stream from one event to the next.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of all messages of one connection, which is there for one operation: pages of a list, or notifications
/// before a result.
const CONNECTION_BYTES: usize = 64 * 1024 * 1024;
/// Most streams opened on one connection. A server may end one and say how soon to come back, at once too.
const STREAMS: usize = 1_000;
/// Most fields of results remembered, so that none is taken twice.
const REMEMBERED: usize = 100_000;

/// Why a message did not get its answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the server wants a token")]
    Unauthorized(Challenged),
    #[error("the server wants more scope")]
    InsufficientScope(Challenged),
    #[error("the server forbids it{}", said(.0))]
    Forbidden(Option<String>),
    #[error(transparent)]
    Challenge(#[from] client::Error),
    #[error(transparent)]
    Network(#[from] fetch::Error),
    #[error("the server answered HTTP {0}")]
    Status(u16),
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
    #[error(transparent)]
    Sealing(#[from] SealTrouble),
}

fn said(text: &Option<String>) -> String {
    text.as_ref().map_or_else(String::new, |text| format!(": {text}"))
}

type Stopped = StreamableHttpError<Trouble>;

/// A call that came back with an HTTP status that says it went no further, and why.
#[derive(Clone, Debug)]
pub(crate) struct Rejected {
    pub(crate) status: StatusCode,
    pub(crate) error: ErrorData,
    /// How many times it was sent, this time included: a call that asks for input is sent again with it.
    pub(crate) sent: usize,
}

/// One connection's way to its server. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Transport {
    fetcher: Fetcher,
    token: Option<Secret>,
    state: Arc<State>,
}

/// What the messages of one connection have in common.
struct State {
    trouble: Mutex<Option<Trouble>>,
    rejected: Mutex<Option<Rejected>>,
    exchange: Mutex<Option<Arc<Exchange>>>,
    sent: AtomicUsize,
    pending: Pending,
    seen: Seen,
    received: AtomicUsize,
    streams: AtomicUsize,
}

impl Transport {
    pub(crate) fn new(fetcher: Fetcher, token: Option<Secret>) -> Self {
        let state = State {
            trouble: Mutex::default(),
            rejected: Mutex::default(),
            exchange: Mutex::default(),
            sent: AtomicUsize::new(0),
            pending: Pending::default(),
            seen: Seen::new(REMEMBERED, REMEMBERED),
            received: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
        };
        Self {
            fetcher,
            token,
            state: Arc::new(state),
        }
    }

    /// A call begins: it is sealed so, or not at all.
    pub(crate) fn seal(&self, exchange: Option<Exchange>) {
        self.state.sent.store(0, Ordering::Relaxed);
        *lock(&self.state.exchange) = exchange.map(Arc::new);
    }

    /// What seals the call that was begun last.
    pub(crate) fn sealing(&self) -> Option<Arc<Exchange>> {
        lock(&self.state.exchange).clone()
    }

    /// The message that a call goes out as, and what opens its result.
    async fn sealed(
        &self,
        message: Value,
        headers: &HashMap<HeaderName, HeaderValue>,
    ) -> Result<(Value, Option<(Arc<Exchange>, BoundCall)>), Trouble> {
        let exchange = lock(&self.state.exchange).clone();
        let is_call = message.get("method").and_then(Value::as_str) == Some(CALL);
        let Some(exchange) = exchange.filter(|_| is_call) else {
            return Ok((message, None));
        };
        let (sealer, headers) = (Arc::clone(&exchange), headers.clone());
        let sealed = offload::run(move || sealer.outgoing(message, &headers)).await;
        let (message, bound) = sealed.unwrap_or(Err(SealTrouble::Fields(seal::Error::Bug)))?;
        Ok((message, Some((exchange, bound))))
    }

    /// A message that came, as rmcp may have it: an answer under the id of its request, with what was sealed for us
    /// opened, and whatever else as it came. `None` for what answers no request that waits. `about` is the request whose
    /// own answer this is, if it is one's.
    ///
    /// A result that does not open is none to hand on: whoever waits for it gets an error, and the reason is kept.
    async fn received(&self, message: Bytes, about: Option<&str>) -> Result<Option<Bytes>, Trouble> {
        let before = self.state.received.fetch_add(message.len(), Ordering::Relaxed);
        if before.saturating_add(message.len()) > CONNECTION_BYTES {
            let detail = format!("its messages are larger than {CONNECTION_BYTES} bytes together");
            return Err(Trouble::Answer(detail));
        }
        let Ok(Value::Object(mut head)) = serde_json::from_slice::<Value>(&message) else {
            return Ok(None);
        };
        let has_result = head.contains_key("result");
        if !has_result && !head.contains_key("error") {
            return Ok(Some(message));
        }
        let name = match head.get("id") {
            // MCP 2026-07-28, Error Responses: the id is left out where the server could not read it.
            None | Some(Value::Null) => about.filter(|_| !has_result),
            Some(id) => id.as_str(),
        };
        let Some(waiting) = name.and_then(|name| self.state.pending.take(name)) else {
            tracing::debug!("an answer to no request that waits was dropped");
            return Ok(None);
        };
        let (member, value) = match (waiting.sealed, has_result) {
            (Some((exchange, bound)), true) => match self.opened(exchange, bound, message).await {
                Ok(result) => ("result", result),
                Err(trouble) => {
                    let _stopped = self.failed(trouble.into());
                    let error = json!({ "code": -32_603, "message": "a sealed result does not open" });
                    ("error", error)
                }
            },
            (None, true) => ("result", head.remove("result").unwrap_or_default()),
            (_, false) => ("error", head.remove("error").unwrap_or_default()),
        };
        let answer = json!({ "jsonrpc": "2.0", "id": waiting.id, member: value });
        Ok(Some(answer.to_string().into()))
    }

    async fn opened(
        &self,
        exchange: Arc<Exchange>,
        bound: BoundCall,
        message: Bytes,
    ) -> Result<Value, SealTrouble> {
        let (bound, gateway) = (Arc::new(bound), Arc::clone(&exchange.gateway));
        let open = |gateway: Arc<GatewayKeys>| {
            let (state, exchange) = (Arc::clone(&self.state), Arc::clone(&exchange));
            let (bound, message) = (Arc::clone(&bound), message.clone());
            async move {
                let work = move || exchange.incoming(&bound, &message, &gateway, &state.seen);
                let opened = offload::run(work).await;
                opened.unwrap_or(Err(SealTrouble::Fields(seal::Error::Bug)))
            }
        };
        match open(gateway).await {
            Err(SealTrouble::Fields(seal::Error::SenderKey)) => match exchange.newer_keys().await {
                Some(newer) => open(newer).await,
                None => Err(seal::Error::SenderKey.into()),
            },
            opened => opened,
        }
    }

    /// Events, each as rmcp may have it.
    fn received_events(
        &self,
        body: Body,
        about: Option<String>,
    ) -> BoxStream<'static, Result<Sse, sse_stream::Error>> {
        // A stream may be open before the first call has sealed fields: each event is looked at when it comes.
        let transport = self.clone();
        let received = events(body, ANSWER_BYTES).then(move |event| {
            let (transport, about) = (transport.clone(), about.clone());
            async move {
                let mut event = event?;
                // One without data only gives an id to come back with.
                if let Some(data) = event.data.take().filter(|data| !data.is_empty()) {
                    let received = transport.received(data.into(), about.as_deref()).await;
                    let received = received.map_err(|trouble| {
                        let _stopped = transport.failed(trouble.clone());
                        sse_stream::Error::Body(Box::new(trouble))
                    })?;
                    event.data = received.map(|data| String::from_utf8_lossy(&data).into_owned());
                }
                Ok(event)
            }
        });
        received.boxed()
    }

    /// Why the last message failed, if it failed here.
    pub(crate) fn take_trouble(&self) -> Option<Trouble> {
        lock(&self.state.trouble).take()
    }

    /// How the last call that was sent came back, if it went no further.
    pub(crate) fn rejected(&self) -> Option<Rejected> {
        lock(&self.state.rejected).clone()
    }

    fn failed(&self, trouble: Trouble) -> Stopped {
        *lock(&self.state.trouble) = Some(trouble.clone());
        StreamableHttpError::Client(trouble)
    }

    /// The token goes with every request (MCP), in the header and nowhere else, to this one address.
    fn request(
        &self,
        method: Method,
        uri: &str,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Request<()>, Trouble> {
        let unsendable = |_| Trouble::Answer("it gave a value that no header can hold".to_owned());
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri
            .parse()
            .map_err(|_| Trouble::Answer("its address is no URI".to_owned()))?;
        request.headers_mut().extend(headers);
        if let Some(session) = session {
            request
                .headers_mut()
                .insert(SESSION, HeaderValue::from_str(session).map_err(unsendable)?);
        }
        if let Some(token) = &self.token {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(unsendable)?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Sends a message. Gives the answer's head, and the name of the request if it is one.
    async fn post(
        &self,
        uri: &str,
        message: &ClientJsonRpcMessage,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(Response<Body>, Option<String>), Trouble> {
        let unsendable = |error: serde_json::Error| Trouble::Answer(error.to_string());
        let mut message = serde_json::to_value(message).map_err(unsendable)?;
        if message.get("method").and_then(Value::as_str) == Some(CALL) {
            self.state.sent.fetch_add(1, Ordering::Relaxed);
            *lock(&self.state.rejected) = None;
        }
        let named = self.state.pending.name(&mut message)?;
        let (message, sealed) = self.sealed(message, &headers).await?;
        let body = serde_json::to_vec(&message).map_err(unsendable)?;
        let mut request = self.request(Method::POST, uri, session, headers)?;
        request.headers_mut().insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        let name = named.map(|named| self.state.pending.expect(named, sealed));
        let answer = self
            .fetcher
            .open(request.map(|()| full(Bytes::from(body))), HEAD)
            .await;
        if !answer.as_ref().is_ok_and(|answer| answer.status().is_success())
            && let Some(name) = &name
        {
            // Its answer is this one, or none: it does not come on another stream.
            let _waited = self.state.pending.take(name);
        }
        let answer = answer?;
        match refusal(answer.status(), answer.headers()) {
            None => Ok((answer, name)),
            Some(Trouble::Forbidden(_)) => Err(Trouble::Forbidden(reason(answer).await)),
            Some(trouble) => Err(trouble),
        }
    }

    /// The JSON-RPC error in an answer that is no success, as the answer to this message. A server of the older era may
    /// refuse `server/discover` with any 4xx and any body, and rmcp wants an error with the right id then, to fall back to
    /// `initialize`.
    fn turned_back(
        &self,
        message: &ClientJsonRpcMessage,
        status: StatusCode,
        body: &[u8],
    ) -> Option<ServerJsonRpcMessage> {
        let error = match serde_json::from_slice(body) {
            Ok(ServerJsonRpcMessage::Error(error)) => Some(error.error),
            Ok(_) | Err(_) => None,
        };
        let ClientJsonRpcMessage::Request(request) = message else {
            return error.map(|error| ServerJsonRpcMessage::error(error, None));
        };
        let error =
            if let (ClientRequest::DiscoverRequest(_), true) = (&request.request, status.is_client_error()) {
                error.unwrap_or_else(|| ErrorData::invalid_request("not understood", None))
            } else {
                error?
            };
        if matches!(request.request, ClientRequest::CallToolRequest(_)) {
            *lock(&self.state.rejected) = Some(Rejected {
                status,
                error: error.clone(),
                sent: self.state.sent.load(Ordering::Relaxed),
            });
        }
        Some(ServerJsonRpcMessage::error(error, Some(request.id.clone())))
    }
}

fn lock<T>(held: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl From<RandomUnavailable> for Trouble {
    fn from(error: RandomUnavailable) -> Self {
        Self::Sealing(SealTrouble::Fields(error.into()))
    }
}

/// What a 401 or 403 asks for.
fn refusal(status: StatusCode, headers: &HeaderMap) -> Option<Trouble> {
    if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
        return None;
    }
    Some(match client::process_challenge(headers) {
        Err(error) => Trouble::Challenge(error),
        Ok(challenged) if status == StatusCode::UNAUTHORIZED => Trouble::Unauthorized(challenged),
        Ok(challenged) if challenged.wants_scope() => Trouble::InsufficientScope(challenged),
        Ok(_) => Trouble::Forbidden(None),
    })
}

/// What a refusal says for people, if it is JSON: the `message` of a JSON-RPC error, or an `error_description`.
async fn reason(answer: Response<Body>) -> Option<String> {
    let body = whole(answer, limits::METADATA_BYTES).await.ok()?;
    let value: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let text = value
        .pointer("/error/message")
        .or_else(|| value.get("error_description"))?;
    Some(crate::mcp::words(text.as_str()?))
}

async fn whole(answer: Response<Body>, limit: usize) -> Result<Bytes, Trouble> {
    let mut body = answer.into_body();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Trouble::Answer(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len().saturating_add(data.len()) > limit {
            return Err(Trouble::Answer(format!("it is larger than {limit} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

fn has_type(headers: &HeaderMap, kind: &str) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    value
        .get(..kind.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(kind.as_bytes()))
}

/// Server-sent events, of which none is larger than the limit.
fn events(body: Body, limit: usize) -> BoxStream<'static, Result<Sse, sse_stream::Error>> {
    let since_event = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&since_event);
    let order = std::sync::atomic::Ordering::Relaxed;
    let bytes = body
        .into_data_stream()
        .map_err(|error| std::io::Error::other(error.to_string()))
        .and_then(move |chunk| {
            let total = counter.fetch_add(chunk.len(), order).saturating_add(chunk.len());
            let checked = if total > limit {
                Err(std::io::Error::other("an event is too large"))
            } else {
                Ok(chunk)
            };
            std::future::ready(checked)
        });
    SseStream::from_bytes_stream(bytes)
        .inspect(move |_| since_event.store(0, order))
        .boxed()
}

impl StreamableHttpClient for Transport {
    type Error = Trouble;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _authorization: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Stopped> {
        let sent = self.post(&uri, &message, session.as_deref(), headers).await;
        let (answer, name) = sent.map_err(|trouble| self.failed(trouble))?;
        let status = answer.status();
        let new_session = answer
            .headers()
            .get(SESSION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let json = has_type(answer.headers(), JSON);
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == StatusCode::NOT_FOUND && session.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        if !status.is_success() {
            let body = whole(answer, limits::METADATA_BYTES).await.unwrap_or_default();
            return match self.turned_back(&message, status, &body) {
                Some(message) => Ok(StreamableHttpPostResponse::Json(message, new_session)),
                None => Err(self.failed(Trouble::Status(status.as_u16()))),
            };
        }
        if has_type(answer.headers(), EVENTS) {
            return Ok(StreamableHttpPostResponse::Sse(
                self.received_events(answer.into_body(), name),
                new_session,
            ));
        }
        let body = whole(answer, ANSWER_BYTES)
            .await
            .map_err(|trouble| self.failed(trouble))?;
        let expects_answer = matches!(message, ClientJsonRpcMessage::Request(_));
        if !expects_answer {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if !json {
            return Err(self.failed(Trouble::Answer(
                "it is neither JSON nor an event stream".to_owned(),
            )));
        }
        let received = self.received(body, name.as_deref()).await;
        let received = received.map_err(|trouble| self.failed(trouble))?;
        let Some(body) = received else {
            return Err(self.failed(Trouble::Answer(
                "it is not the answer to what was asked".to_owned(),
            )));
        };
        match serde_json::from_slice(&body) {
            Ok(message) => Ok(StreamableHttpPostResponse::Json(message, new_session)),
            Err(error) => Err(self.failed(Trouble::Answer(error.to_string()))),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        _authorization: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Stopped> {
        // Best effort: the server forgets the session by itself after a while, and may refuse to be told.
        let request = self.request(Method::DELETE, &uri, Some(&session), headers);
        let request = request
            .map_err(StreamableHttpError::Client)?
            .map(|()| full(Bytes::new()));
        let _answer = self
            .fetcher
            .open(request, HEAD)
            .await
            .map_err(|error| StreamableHttpError::Client(error.into()))?;
        Ok(())
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _authorization: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, sse_stream::Error>>, Stopped> {
        if self.state.streams.fetch_add(1, Ordering::Relaxed) >= STREAMS {
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        }
        let stopped = StreamableHttpError::Client;
        let mut request = self
            .request(Method::GET, &uri, session.as_deref(), headers)
            .map_err(stopped)?;
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static(EVENTS));
        if let Some(id) = last_event.and_then(|id| HeaderValue::try_from(id).ok()) {
            request.headers_mut().insert(LAST_EVENT, id);
        }
        let request = request.map(|()| full(Bytes::new()));
        let answer = self
            .fetcher
            .open(request, HEAD)
            .await
            .map_err(|error| stopped(error.into()))?;
        if answer.status() == StatusCode::OK && has_type(answer.headers(), EVENTS) {
            return Ok(self.received_events(answer.into_body(), None));
        }
        // Whatever the reason, asking again would not help, and no answer of ours depends on this stream.
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_net::fetch::Reach;

    use super::*;

    fn transport() -> Transport {
        Transport::new(Fetcher::new(Reach::LoopbackToo).unwrap(), None)
    }

    #[tokio::test]
    async fn the_messages_of_a_connection_are_bounded_together() {
        let transport = transport();
        // The largest that one may be, and no JSON, so that nothing of it is kept.
        let largest = Bytes::from(vec![b'x'; ANSWER_BYTES]);
        for _ in 0..CONNECTION_BYTES / ANSWER_BYTES {
            assert!(transport.received(largest.clone(), None).await.unwrap().is_none());
        }
        let more = transport.received(Bytes::from_static(b"{}"), None).await;
        assert!(matches!(more, Err(Trouble::Answer(_))), "{more:?}");
    }

    #[tokio::test]
    async fn a_stream_is_not_taken_up_again_for_ever() {
        let transport = transport();
        let nowhere: Arc<str> = "http://127.0.0.1:9/mcp".into();
        let open = || transport.get_stream(Arc::clone(&nowhere), None, None, None, HashMap::new());
        transport.state.streams.store(STREAMS - 1, Ordering::Relaxed);
        assert!(matches!(open().await, Err(StreamableHttpError::Client(_))));
        assert!(matches!(
            open().await,
            Err(StreamableHttpError::ServerDoesNotSupportSse)
        ));
    }

    #[tokio::test]
    async fn what_answers_no_request_is_dropped_and_the_rest_goes_on_as_it_came() {
        let transport = transport();
        let waits = || {
            let mut message = json!({"jsonrpc": "2.0", "id": 5, "method": "ping"});
            let named = transport.state.pending.name(&mut message).unwrap().unwrap();
            transport.state.pending.expect(named, None)
        };
        let name = waits();
        for nobodys in [
            json!({"jsonrpc": "2.0", "id": 5, "result": {}}),
            json!({"jsonrpc": "2.0", "id": "5", "result": {}}),
            json!({"jsonrpc": "2.0", "id": 5, "method": "ping", "result": {}}),
            json!({"jsonrpc": "2.0", "id": 5, "error": {"code": 1, "message": ""}}),
            json!({"jsonrpc": "2.0", "result": {}}),
            json!([{"jsonrpc": "2.0", "id": name, "result": {}}]),
        ] {
            let received = transport
                .received(nobodys.to_string().into(), Some(&name))
                .await
                .unwrap();
            assert!(received.is_none(), "{nobodys}");
        }
        let ours = json!({"jsonrpc": "2.0", "id": name, "result": {"a": 1}, "error": {}}).to_string();
        let received = transport
            .received(ours.clone().into(), None)
            .await
            .unwrap()
            .unwrap();
        let received: Value = serde_json::from_slice(&received).unwrap();
        assert_eq!(received, json!({"jsonrpc": "2.0", "id": 5, "result": {"a": 1}}));
        assert!(transport.received(ours.into(), None).await.unwrap().is_none());

        // An error whose id was left out answers the request it came for.
        let name = waits();
        let error = Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":\"\"}}");
        assert!(transport.received(error.clone(), None).await.unwrap().is_none());
        let received = transport.received(error, Some(&name)).await.unwrap().unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&received).unwrap()["id"],
            json!(5)
        );

        let asked = Bytes::from_static(b"{\"jsonrpc\": \"2.0\", \"id\": 5, \"method\": \"ping\"}");
        assert_eq!(
            transport.received(asked.clone(), None).await.unwrap(),
            Some(asked)
        );
    }
}
