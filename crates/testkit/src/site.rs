//! A web server that answers every request by a rule of the test, and counts: a server behind a gateway that must not hear
//! of what was refused, an issuer's page that changes, a listener that nobody should ever ask.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use ::http::HeaderMap;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Outcome;

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Every header as it came.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// What comes after the body.
    pub end: End,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It does.
    Now,
    /// It does not: nothing comes, and the connection stays.
    Never,
}

impl Page {
    /// 200 with a JSON body.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".to_owned())],
            body: value.to_string().into(),
            end: End::Now,
        }
    }

    /// A status, and nothing else.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            end: End::Now,
        }
    }

    /// An event stream that begins so and stays open.
    #[must_use]
    pub fn stream(events: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "text/event-stream".to_owned())],
            body: events.into(),
            end: End::Never,
        }
    }

    /// One more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Rule = dyn Fn(&Asked) -> Page + Send + Sync;

struct Seen {
    rule: Box<Rule>,
    count: AtomicUsize,
    last: Mutex<Option<Asked>>,
}

/// The server. It ends with this value.
pub struct Site {
    origin: String,
    seen: Arc<Seen>,
    server: JoinHandle<()>,
}

impl Site {
    /// Listens on a free port of loopback and answers by this rule.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(rule: impl Fn(&Asked) -> Page + Send + Sync + 'static) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let seen = Arc::new(Seen {
            rule: Box::new(rule),
            count: AtomicUsize::new(0),
            last: Mutex::default(),
        });
        let server = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let seen = Arc::clone(&seen);
                    let service = service_fn(move |request| answer(Arc::clone(&seen), request));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    // A connection that breaks shows in what the client gets.
                    tokio::spawn(async move { drop(connection.await) });
                }
            }
        });
        Ok(Self { origin, seen, server })
    }

    /// An MCP server that has a result for every request, and an open stream for who listens.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn mcp() -> Outcome<Self> {
        Self::start(|asked| {
            let message: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
            let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
            match message.get("id") {
                Some(id) if method == "subscriptions/listen" => {
                    let params = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": id}});
                    let acknowledged = json!({
                        "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params,
                    });
                    Page::stream(format!("data: {acknowledged}\n\n"))
                }
                Some(id) if method == "server/discover" => Page::json(&json!({
                    "jsonrpc": "2.0", "id": id, "result": {
                        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                        "ttlMs": 0, "cacheScope": "private",
                    },
                })),
                Some(id) => Page::json(&json!({
                    "jsonrpc": "2.0", "id": id, "result": {"content": [], "tools": [], "resultType": "complete"},
                })),
                None => Page::status(202),
            }
        })
        .await
    }

    /// Scheme, address and port.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many requests came, those aside that only ask which eras an MCP server speaks.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seen.count.load(Ordering::SeqCst)
    }

    /// The last of them.
    #[must_use]
    pub fn last(&self) -> Option<Asked> {
        self.seen
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The body of a [`Page`].
struct Paged {
    body: Option<Bytes>,
    end: End,
}

impl hyper::body::Body for Paged {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.body.take(), self.end) {
            (Some(body), _) => Poll::Ready(Some(Ok(Frame::data(body)))),
            (None, End::Now) => Poll::Ready(None),
            (None, End::Never) => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.body, self.end) {
            (Some(body), End::Now) => SizeHint::with_exact(u64::try_from(body.len()).unwrap_or(u64::MAX)),
            (None, End::Now) => SizeHint::with_exact(0),
            (_, End::Never) => SizeHint::default(),
        }
    }
}

async fn answer(
    seen: Arc<Seen>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Paged>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes);
    let asked = Asked {
        method: head.method.to_string(),
        path: head
            .uri
            .path_and_query()
            .map_or_else(String::new, ToString::to_string),
        headers: head.headers,
        body: body.unwrap_or_default(),
    };
    // A gateway may find out which eras a server speaks, whenever it likes: that is no call.
    let method = asked
        .headers
        .get("mcp-method")
        .map(hyper::header::HeaderValue::as_bytes);
    if method != Some(b"server/discover") {
        seen.count.fetch_add(1, Ordering::SeqCst);
        *seen.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked.clone());
    }
    let page = (seen.rule)(&asked);
    let mut response = hyper::Response::builder().status(page.status);
    for (name, value) in page.headers {
        response = response.header(name, value);
    }
    // A header that is none is a mistake of the test, and shows as one.
    let paged = |body, end| Paged {
        body: Some(body),
        end,
    };
    Ok(response.body(paged(page.body, page.end)).unwrap_or_else(|error| {
        let mut wrong = hyper::Response::new(paged(error.to_string().into(), End::Now));
        *wrong.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        wrong
    }))
}
