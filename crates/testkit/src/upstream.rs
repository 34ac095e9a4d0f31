//! An upstream MCP server that a test holds in its hand: it hears every request as it came over the wire, and the test
//! says, request by request and event by event, what it answers. For what a real server cannot be made to do on
//! command: stay silent in the middle of a stream, or tell whether the client went away.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Failure, Outcome};

const PATIENCE: Duration = Duration::from_secs(30);
type Body = BoxBody<Bytes, Infallible>;

/// A listening upstream.
pub struct Upstream {
    url: String,
    heard: mpsc::Receiver<Heard>,
    server: JoinHandle<()>,
}

/// One request that arrived and waits for its answer.
pub struct Heard {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Every header as it came.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    answer: oneshot::Sender<hyper::Response<Body>>,
}

impl Upstream {
    /// Listens on a free port of loopback. When the gateway itself asks which era it speaks, it says 2026-07-28, and the test
    /// hears nothing of that.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> Outcome<Self> {
        Self::listen(Asked::SaysModern).await
    }

    /// The same, and the test hears that question too.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn of_any_era() -> Outcome<Self> {
        Self::listen(Asked::IsHeard).await
    }

    async fn listen(asked: Asked) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let (tell, heard) = mpsc::channel(64);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tell = tell.clone();
                let service = service_fn(move |request| hear(tell.clone(), asked, request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // A connection that breaks shows in what the test hears next.
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Ok(Self { url, heard, server })
    }

    /// What to give `--upstream`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next request.
    ///
    /// # Errors
    /// When none comes in 30 seconds.
    pub async fn next(&mut self) -> Outcome<Heard> {
        match timeout(PATIENCE, self.heard.recv()).await {
            Ok(Some(heard)) => Ok(heard),
            Ok(None) | Err(_) => Err(Failure::new(format!(
                "the upstream heard nothing in {PATIENCE:?}"
            ))),
        }
    }

    /// What it has heard and nobody took, without waiting: nothing, where a call must never arrive.
    pub fn pending(&mut self) -> Option<Heard> {
        self.heard.try_recv().ok()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Heard {
    /// The first header of this name, or an empty string.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not.
    pub fn json(&self) -> Outcome<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// Answers with a status, headers and a whole body.
    ///
    /// # Errors
    /// When the client has gone, or a header is not one.
    pub fn answer(self, status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Outcome {
        let mut response = hyper::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Full::new(body.into()).boxed())?;
        self.answer
            .send(response)
            .map_err(|_| Failure::new("the client has gone"))
    }

    /// Answers the JSON-RPC request with `result`.
    ///
    /// # Errors
    /// When the request was not JSON, or the client has gone.
    pub fn result(self, result: &Value) -> Outcome {
        let id = self.json()?.get("id").cloned();
        let body = serde_json::json!({"jsonrpc": "2.0", "id": id, "result": result});
        self.answer(200, &[("content-type", "application/json")], body.to_string())
    }

    /// Answers with an event stream that the test feeds.
    ///
    /// # Errors
    /// When the client has gone.
    pub fn stream(self, headers: &[(&str, &str)]) -> Outcome<Feed> {
        let (feed, frames) = mpsc::channel::<Bytes>(16);
        let mut response = hyper::Response::builder()
            .status(200)
            .header("content-type", "text/event-stream");
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Fed(frames).boxed())?;
        self.answer
            .send(response)
            .map_err(|_| Failure::new("the client has gone"))?;
        Ok(Feed(feed))
    }
}

/// An event stream that is open. Dropping it ends the stream.
pub struct Feed(mpsc::Sender<Bytes>);

impl Feed {
    /// Sends bytes as they are, for example `"data: {}\n\n"`.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Outcome {
        self.0
            .send(bytes.into())
            .await
            .map_err(|_| Failure::new("the client has gone"))
    }

    /// Waits until the client has gone.
    ///
    /// # Errors
    /// When it is still there after 30 seconds.
    pub async fn abandoned(&self) -> Outcome {
        let waited = timeout(PATIENCE, self.0.closed()).await;
        waited.map_err(|_| Failure::new(format!("the client was still there after {PATIENCE:?}")))
    }
}

/// The body that a [`Feed`] feeds.
struct Fed(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// What becomes of the gateway's own question.
#[derive(Clone, Copy)]
enum Asked {
    SaysModern,
    IsHeard,
}

/// Whether the gateway asks for itself.
fn is_the_gateways_own(method: Option<&::http::HeaderValue>, body: &Value) -> bool {
    let client = body.pointer("/params/_meta/io.modelcontextprotocol~1clientInfo/name");
    method.is_some_and(|method| method == "server/discover")
        && client.is_some_and(|name| name == "portcullis")
}

fn discovered(id: Option<&Value>) -> Outcome<hyper::Response<Body>> {
    let body = serde_json::json!({"jsonrpc": "2.0", "id": id, "result": {
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
        "ttlMs": 0, "cacheScope": "private"}});
    let response = hyper::Response::builder().header("content-type", "application/json");
    Ok(response.body(Full::new(Bytes::from(body.to_string())).boxed())?)
}

/// Reads one request and waits for the test to answer it.
async fn hear(
    tell: mpsc::Sender<Heard>,
    asked: Asked,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Body>, Failure> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    if let Asked::SaysModern = asked {
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        if is_the_gateways_own(head.headers.get("mcp-method"), &said) {
            return discovered(said.get("id"));
        }
    }
    let (answer, answered) = oneshot::channel();
    let path = head
        .uri
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let heard = Heard {
        method: head.method.to_string(),
        path,
        headers: head.headers,
        body,
        answer,
    };
    tell.send(heard)
        .await
        .map_err(|_| Failure::new("the test is over"))?;
    answered
        .await
        .map_err(|_| Failure::new("the test did not answer"))
}
