//! rmcp's Streamable HTTP over our own fetcher: the address guard, the bearer token, and what a refusal means.
//!
//! rmcp knows nothing of authorization here. A 401 or 403 ends the attempt; what it asked for is kept beside the
//! transport, where [`crate::agent`] finds it, acts on it, and tries the whole operation again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, TryStreamExt as _};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use portcullis_core::oauth::client::{self, Challenged};
use portcullis_core::secret::Secret;
use portcullis_core::{limits, seal};
use portcullis_net::fetch::{self, Body, Fetcher, full};
use portcullis_net::offload;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use serde_json::{Value, json};
use sse_stream::{Sse, SseStream};

use crate::sealing::SealTrouble;
use crate::sealing::exchange::Exchange;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// Longest wait for the head of an answer: a tool may take its time before it says anything.
const HEAD: Duration = Duration::from_secs(300);
/// Largest JSON answer, and most bytes of a stream from one event to the next.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

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

/// One connection's way to its server.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    fetcher: Fetcher,
    token: Option<Secret>,
    trouble: Arc<Mutex<Option<Trouble>>>,
    exchange: Arc<Mutex<Option<Arc<Exchange>>>>,
}

impl Transport {
    pub(crate) fn new(fetcher: Fetcher, token: Option<Secret>) -> Self {
        Self {
            fetcher,
            token,
            trouble: Arc::default(),
            exchange: Arc::default(),
        }
    }

    /// From now on calls are sealed so, or not at all.
    pub(crate) fn seal(&self, exchange: Option<Exchange>) {
        *self.exchange.lock().unwrap_or_else(PoisonError::into_inner) = exchange.map(Arc::new);
    }

    fn exchange(&self) -> Option<Arc<Exchange>> {
        self.exchange
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A message that came, with what was sealed for us opened. One that does not open is none to hand on: whoever waits
    /// for it gets an error, and the reason is kept with the others.
    async fn opened(&self, message: Bytes) -> Bytes {
        let Some(exchange) = self.exchange() else {
            return message;
        };
        let sealed = message.clone();
        let opened = offload::run(move || exchange.incoming(&sealed)).await;
        match opened.unwrap_or(Err(SealTrouble::Fields(seal::Error::Bug))) {
            Ok(None) => message,
            Ok(Some(opened)) => opened.into(),
            Err(trouble) => {
                let _stopped = self.failed(trouble.into());
                let id = serde_json::from_slice::<Value>(&message).ok();
                let id = id.and_then(|message| message.get("id").cloned());
                let error = json!({ "code": -32_603, "message": "a sealed result does not open" });
                json!({ "jsonrpc": "2.0", "id": id, "error": error })
                    .to_string()
                    .into()
            }
        }
    }

    /// Events, each opened.
    fn opened_events(&self, body: Body) -> BoxStream<'static, Result<Sse, sse_stream::Error>> {
        let events = events(body, ANSWER_BYTES);
        // A stream may be open before the first call has sealed fields: each event is looked at when it comes.
        let transport = self.clone();
        let opened = events.then(move |event| {
            let transport = transport.clone();
            async move {
                let mut event = event?;
                if let Some(data) = event.data.take() {
                    let opened = transport.opened(data.into()).await;
                    event.data = Some(String::from_utf8_lossy(&opened).into_owned());
                }
                Ok(event)
            }
        });
        opened.boxed()
    }

    /// Why the last message failed, if it failed here.
    pub(crate) fn take_trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&self, trouble: Trouble) -> Stopped {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble.clone());
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

    async fn post(
        &self,
        uri: &str,
        message: &ClientJsonRpcMessage,
        session: Option<&str>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Response<Body>, Trouble> {
        let unsendable = |error: serde_json::Error| Trouble::Answer(error.to_string());
        let body = match self.exchange() {
            None => serde_json::to_vec(message).map_err(unsendable)?,
            Some(exchange) => {
                let (clear, headers) = (
                    serde_json::to_value(message).map_err(unsendable)?,
                    headers.clone(),
                );
                let sealed = offload::run(move || exchange.outgoing(clear, &headers)).await;
                let sealed = sealed.unwrap_or(Err(SealTrouble::Fields(seal::Error::Bug)))?;
                serde_json::to_vec(&sealed).map_err(unsendable)?
            }
        };
        let mut request = self.request(Method::POST, uri, session, headers)?;
        request.headers_mut().insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        let answer = self
            .fetcher
            .open(request.map(|()| full(Bytes::from(body))), HEAD)
            .await?;
        match refusal(answer.status(), answer.headers()) {
            None => Ok(answer),
            Some(Trouble::Forbidden(_)) => Err(Trouble::Forbidden(reason(answer).await)),
            Some(trouble) => Err(trouble),
        }
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
    Some(crate::mcp::printable(text.as_str()?))
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
        let answer = sent.map_err(|trouble| self.failed(trouble))?;
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
            return match rejected(&message, status, &body) {
                Some(message) => Ok(StreamableHttpPostResponse::Json(message, new_session)),
                None => Err(self.failed(Trouble::Status(status.as_u16()))),
            };
        }
        if has_type(answer.headers(), EVENTS) {
            return Ok(StreamableHttpPostResponse::Sse(
                self.opened_events(answer.into_body()),
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
        let body = self.opened(body).await;
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
            return Ok(self.opened_events(answer.into_body()));
        }
        // Whatever the reason, asking again would not help, and no answer of ours depends on this stream.
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

/// The JSON-RPC error in an answer that is no success. A server of the older era may refuse `server/discover` with any
/// 4xx and any body, and rmcp wants an error with the right id then, to fall back to `initialize`.
fn rejected(message: &ClientJsonRpcMessage, status: StatusCode, body: &[u8]) -> Option<ServerJsonRpcMessage> {
    let error = match serde_json::from_slice(body) {
        Ok(ServerJsonRpcMessage::Error(error)) => Some(error),
        Ok(_) | Err(_) => None,
    };
    match message {
        ClientJsonRpcMessage::Request(request)
            if matches!(request.request, ClientRequest::DiscoverRequest(_)) && status.is_client_error() =>
        {
            let data = error.map_or_else(
                || ErrorData::invalid_request("not understood", None),
                |error| error.error,
            );
            Some(ServerJsonRpcMessage::error(data, Some(request.id.clone())))
        }
        ClientJsonRpcMessage::Request(_)
        | ClientJsonRpcMessage::Response(_)
        | ClientJsonRpcMessage::Notification(_)
        | ClientJsonRpcMessage::Error(_) => error.map(ServerJsonRpcMessage::Error),
    }
}
