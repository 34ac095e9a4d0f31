//! The MCP server behind every measurement: answers each POST with the same result, at once, and each GET with a stream in which
//! nothing comes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Collected, Either, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::load::Failure;

/// How the load generator's calls begin, wherever they came through.
const OURS: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call""#;
const CALLED: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"5"}],"isError":false,"resultType":"complete"}}"#;

/// Serves until the process ends. Prints its address as the only line.
pub(crate) async fn serve(out: &mut dyn std::io::Write) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                if request.method() == http::Method::GET {
                    return Ok::<_, Infallible>(
                        http::Response::builder()
                            .header("content-type", "text/event-stream")
                            .body(Either::Right(Silence))
                            .unwrap_or_else(|_| http::Response::new(Either::Right(Silence))),
                    );
                }
                let body = request.into_body().collect().await;
                let body = body.map(Collected::to_bytes).unwrap_or_default();
                let answer = if body.starts_with(OURS) {
                    Bytes::from_static(CALLED)
                } else {
                    answer(&body)
                };
                let body = || Either::Left(Full::new(answer.clone()));
                Ok(http::Response::builder()
                    .status(if answer.is_empty() { 202 } else { 200 })
                    .header("content-type", "application/json")
                    .body(body())
                    .unwrap_or_else(|_| http::Response::new(body())))
            });
            // A connection that breaks ends with its client, which reports it.
            let _ended = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// What a client of the 2026-07-28 revision is told that asks before it calls, as proxies of MCP do, or has ids of its own. Empty for
/// a notification.
fn answer(message: &[u8]) -> Bytes {
    let message: Value = serde_json::from_slice(message).unwrap_or_default();
    let Some(id) = message.get("id") else {
        return Bytes::new();
    };
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    let result = match method {
        "tools/call" => {
            json!({"content": [{"type": "text", "text": "5"}], "isError": false, "resultType": "complete"})
        }
        "tools/list" => json!({
            "tools": [{"name": "add", "inputSchema": {"type": "object"}}], "resultType": "complete", "ttlMs": 60_000, "cacheScope": "private",
        }),
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "serverInfo": {"name": "bench", "version": "1"},
            "resultType": "complete", "ttlMs": 60_000, "cacheScope": "private",
        }),
        _ => {
            let error =
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no such method"}});
            return error.to_string().into();
        }
    };
    json!({"jsonrpc": "2.0", "id": id, "result": result})
        .to_string()
        .into()
}

/// A body that never ends.
struct Silence;

impl Body for Silence {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}
