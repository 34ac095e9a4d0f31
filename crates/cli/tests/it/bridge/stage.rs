//! Servers that speak one era and nothing else, and Portcullis in front of them.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_testkit::upstream::{Feed, Heard};
use portcullis_testkit::{Failure, Outcome, Request, Running, Upstream, login, mcp};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::{portcullis, script_token};

pub(super) const SCOPES: &str = "upstream:read upstream:write upstream:irreversible";
pub(super) const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// One request that a server heard, however it was answered.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    /// The JSON-RPC method; `response` or the HTTP method where there is none.
    pub(super) method: String,
    pub(super) session: String,
    pub(super) body: Value,
}

/// A server of one era. It sees to the handshake itself; everything else is the test's to answer.
pub(super) struct Server {
    pub(super) running: Running,
    noted: Arc<Mutex<Vec<Noted>>>,
    calls: mpsc::Receiver<Heard>,
    streams: mpsc::Receiver<Feed>,
    task: JoinHandle<()>,
}

/// What a server is.
#[derive(Clone, Copy)]
enum Kind {
    /// 2025-11-25: sessions.
    Legacy,
    /// The same, without a stream of the session's own.
    Streamless,
    /// 2026-07-28: none.
    Modern,
}

impl Server {
    pub(super) async fn legacy() -> Outcome<Self> {
        Self::start(Kind::Legacy).await
    }

    /// One that has no stream of the session's own, and says 404.
    pub(super) async fn streamless() -> Outcome<Self> {
        Self::start(Kind::Streamless).await
    }

    pub(super) async fn modern() -> Outcome<Self> {
        Self::start(Kind::Modern).await
    }

    async fn start(kind: Kind) -> Outcome<Self> {
        let mut upstream = Upstream::of_any_era().await?;
        let running = portcullis().arg("--upstream").arg(upstream.url()).up().await?;
        let noted: Arc<Mutex<Vec<Noted>>> = Arc::default();
        let ((call, calls), (open, streams)) = (mpsc::channel(16), mpsc::channel(16));
        let notes = Arc::clone(&noted);
        let task = tokio::spawn(async move {
            let mut sessions = 0;
            while let Ok(heard) = upstream.next().await {
                let body = heard.json().unwrap_or_default();
                let method = match (body.get("method").and_then(Value::as_str), &*heard.method) {
                    (Some(method), _) => method.to_owned(),
                    (None, "POST") => "response".to_owned(),
                    (None, other) => other.to_owned(),
                };
                let session = heard.header("mcp-session-id").to_owned();
                notes.lock().unwrap_or_else(PoisonError::into_inner).push(Noted {
                    method: method.clone(),
                    session,
                    body,
                });
                // A client that has gone is what some tests are about.
                let _gone = match kind {
                    Kind::Streamless if method == "GET" => heard.answer(404, &[], ""),
                    Kind::Legacy | Kind::Streamless => {
                        as_legacy(heard, &method, &mut sessions, &call, &open).await
                    }
                    Kind::Modern => as_modern(heard, &method, &call).await,
                };
            }
        });
        Ok(Self {
            running,
            noted,
            calls,
            streams,
            task,
        })
    }

    pub(super) fn url(&self) -> String {
        self.running.ready().mcp_url.clone()
    }

    /// A person's token, for everything.
    pub(super) async fn token(&self) -> Outcome<String> {
        Ok(login(&self.running, SCOPES).await?.access_token)
    }

    /// Another principal's, for reading alone.
    pub(super) async fn other_token(&self) -> Outcome<String> {
        script_token(&self.running, "upstream:read").await
    }

    /// The next request that is the test's to answer.
    pub(super) async fn next(&mut self) -> Outcome<Heard> {
        let next = tokio::time::timeout(std::time::Duration::from_secs(30), self.calls.recv());
        match next.await {
            Ok(Some(heard)) => Ok(heard),
            Ok(None) | Err(_) => Err(Failure::new(format!(
                "the server heard no call, only {:?}",
                self.heard()
            ))),
        }
    }

    /// Nothing that is the test's to answer has come.
    pub(super) fn is_untroubled(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }

    /// The next stream of a session that was opened.
    pub(super) async fn stream(&mut self) -> Outcome<Feed> {
        let next = tokio::time::timeout(std::time::Duration::from_secs(30), self.streams.recv());
        let opened = next.await.ok().flatten();
        opened.ok_or_else(|| Failure::new("no stream was opened"))
    }

    /// Everything that it heard.
    pub(super) fn noted(&self) -> Vec<Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The methods of everything that it heard.
    pub(super) fn heard(&self) -> Vec<String> {
        self.noted().into_iter().map(|noted| noted.method).collect()
    }

    /// Waits until it has heard this.
    pub(super) async fn until(&self, wanted: impl Fn(&Noted) -> bool) -> Outcome<Noted> {
        for _ in 0..600 {
            if let Some(found) = self.noted().into_iter().find(|noted| wanted(noted)) {
                return Ok(found);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Err(Failure::new(format!("it heard only {:?}", self.noted())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn as_legacy(
    heard: Heard,
    method: &str,
    sessions: &mut u32,
    call: &mpsc::Sender<Heard>,
    open: &mpsc::Sender<Feed>,
) -> Outcome {
    match method {
        "initialize" => {
            *sessions += 1;
            let session = format!("session-{sessions}");
            let body = json!({"jsonrpc": "2.0", "id": at(&heard.json()?, "/id"), "result": {
                "protocolVersion": "2025-11-25", "instructions": "be kind",
                "serverInfo": {"name": "old", "version": "1"},
                "capabilities": {"tools": {"listChanged": true}, "logging": {}, "tasks": {},
                    "resources": {"subscribe": true, "listChanged": true}}}});
            let headers = [
                ("content-type", "application/json"),
                ("mcp-session-id", &*session),
            ];
            heard.answer(200, &headers, body.to_string())
        }
        "notifications/initialized" | "notifications/cancelled" | "response" => heard.answer(202, &[], ""),
        "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => heard.result(&json!({})),
        "DELETE" => heard.answer(200, &[], ""),
        "GET" => {
            // The test reads it, or nobody does.
            let _unread = open.send(heard.stream(&[])?).await;
            Ok(())
        }
        // As published servers of 2025-11-25 answer what names no session.
        _ if heard.header("mcp-session-id").is_empty() => {
            let body = json!({"jsonrpc": "2.0", "id": null,
                "error": {"code": -32000, "message": "Bad Request: no session"}});
            heard.answer(400, &JSON, body.to_string())
        }
        _ => call
            .send(heard)
            .await
            .map_err(|_| Failure::new("the test is over")),
    }
}

async fn as_modern(heard: Heard, method: &str, call: &mpsc::Sender<Heard>) -> Outcome {
    match method {
        "server/discover" => heard.result(&json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "public",
            "instructions": "be quick",
            "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true}, "logging": {}},
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "new", "version": "2"}}})),
        _ if heard.header("mcp-protocol-version") != mcp::MODERN => {
            let error = json!({"code": -32022, "message": "Unsupported protocol version",
                "data": {"supported": [mcp::MODERN], "requested": "2025-11-25"}});
            let body =
                json!({"jsonrpc": "2.0", "id": at(&heard.json().unwrap_or_default(), "/id"), "error": error});
            heard.answer(400, &JSON, body.to_string())
        }
        _ => call
            .send(heard)
            .await
            .map_err(|_| Failure::new("the test is over")),
    }
}

/// A modern request whose client can be asked this, with more in `_meta`, and another id.
pub(super) fn modern(url: &str, id: Value, method: &str, mut params: Value, meta: &Value) -> Request {
    let name = ["name", "uri"]
        .iter()
        .find_map(|member| params.get(member)?.as_str().map(str::to_owned));
    let mut about = json!({
        "io.modelcontextprotocol/protocolVersion": mcp::MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "testkit", "version": "1"},
    });
    if let (Some(about), Some(more)) = (about.as_object_mut(), meta.as_object()) {
        about.extend(more.clone());
    }
    with(&mut params, "_meta", about);
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let request = mcp::post(url, &body)
        .header("mcp-protocol-version", mcp::MODERN)
        .header("mcp-method", method);
    match name {
        Some(name) => request.header("mcp-name", name),
        None => request,
    }
}

/// What a client says of itself in `_meta` that can be asked all there is.
pub(super) fn askable() -> Value {
    json!({"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "sampling": {}, "roots": {}}})
}

/// An event with a message.
pub(super) fn event(message: &Value) -> String {
    format!("data: {message}\n\n")
}

/// The value at a JSON pointer; null where there is none.
pub(super) fn at(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or_default()
}

/// Puts a member into an object.
pub(super) fn with(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}
