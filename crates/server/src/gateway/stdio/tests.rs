//! Against a real process: `tests/server.py`, on the machine's Python.

mod legacy;
mod life;
mod modern;
mod published;

use std::path::Path;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method as HttpMethod};
use http_body_util::BodyExt as _;
use portcullis_core::ids::{ClientId, Issuer, Subject};
use portcullis_core::wire::Call;
use portcullis_net::random::System;
use serde_json::{Value, json};

use super::*;

pub(super) fn principal(name: &str) -> Principal {
    Principal {
        issuer: Issuer::parse("https://as.example").unwrap(),
        subject: Subject::parse(name).unwrap(),
        client: ClientId::parse("agent").unwrap(),
    }
}

/// The server, with bounds of the test's choice.
fn server(arguments: &[&str], bend: impl FnOnce(&mut Limits)) -> StdioUpstream {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gateway/stdio/tests/server.py");
    let mut command = vec![
        "python3".to_owned(),
        "-u".to_owned(),
        script.to_str().unwrap().to_owned(),
    ];
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    started(command, bend)
}

fn started(command: Vec<String>, bend: impl FnOnce(&mut Limits)) -> StdioUpstream {
    let path = std::env::var_os("PATH").expect("PATH is set");
    let mut settings = Settings::new(
        command,
        vec![
            ("PATH".into(), path),
            ("NAMED".into(), "by the configuration".into()),
        ],
    )
    .unwrap();
    settings.limits.head_time = Duration::from_secs(60);
    bend(&mut settings.limits);
    StdioUpstream::new(settings, Arc::new(System))
}

type Answered = Result<Response<Body>, UpstreamError>;

async fn post(server: &StdioUpstream, who: &Principal, headers: HeaderMap, body: &str) -> Answered {
    let mut headers = headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let call = Call::parse(&headers, Bytes::copy_from_slice(body.as_bytes())).unwrap();
    send(server, who, HttpMethod::POST, &call).await
}

async fn send(server: &StdioUpstream, who: &Principal, method: HttpMethod, call: &Call) -> Answered {
    let outbound = Outbound {
        method,
        headers: HeaderMap::new(),
        body: call.body().clone(),
    };
    server.call(who, outbound, &CallInfo::of(call)).await
}

fn modern_headers(body: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", HeaderValue::from_static("2026-07-28"));
    headers.insert(
        "mcp-method",
        HeaderValue::try_from(body["method"].as_str().unwrap()).unwrap(),
    );
    if let Some(name) = body.pointer("/params/name").and_then(Value::as_str) {
        headers.insert("mcp-name", HeaderValue::try_from(name).unwrap());
    }
    headers
}

/// A stateless request with an id and a progress token of the test's choice.
fn request(id: Value, method: &str, mut params: Value, token: Option<Value>) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    if let Some(token) = token {
        params["_meta"]["progressToken"] = token;
    }
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn tool(name: &str, arguments: Value) -> Value {
    request(
        json!(1),
        "tools/call",
        json!({"name": name, "arguments": arguments}),
        None,
    )
}

async fn modern(server: &StdioUpstream, who: &Principal, body: &Value) -> Answered {
    post(server, who, modern_headers(body), &body.to_string()).await
}

/// The result of a stateless tool call that is answered with JSON.
async fn result(server: &StdioUpstream, who: &Principal, name: &str) -> Value {
    let response = modern(server, who, &tool(name, json!({}))).await.unwrap();
    let (status, mut answer) = whole(response).await;
    assert_eq!(status, 200, "{answer}");
    answer["result"].take()
}

async fn whole(response: Response<Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// The body of an event stream.
fn events(response: Response<Body>) -> Body {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    response.into_body()
}

/// The next message of an event stream, `None` at its end.
async fn next(body: &mut Body) -> Option<Value> {
    let frame = timeout(Duration::from_secs(30), body.frame())
        .await
        .expect("an event in time")?;
    let data = frame.expect("an event").into_data().unwrap();
    let text = std::str::from_utf8(&data).unwrap();
    let json = text
        .strip_prefix("event: message\ndata: ")
        .and_then(|rest| rest.strip_suffix("\n\n"))
        .expect(text);
    assert!(!json.contains('\n'));
    Some(serde_json::from_str(json).unwrap())
}
