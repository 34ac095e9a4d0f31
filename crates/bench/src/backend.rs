//! The MCP server behind every measurement: answers each POST with the same result, at once, and each GET with a stream in which
//! nothing comes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::load::Failure;

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
                let _body = request.into_body().collect().await;
                let body = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"5"}],"isError":false,"resultType":"complete"}}"#;
                let body = || Either::Left(Full::new(Bytes::from_static(body.as_bytes())));
                Ok(http::Response::builder()
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
