//! A bare proxy: hyper in front, hyper's pooled client behind, and nothing between them. What a gateway written in Rust cannot do
//! without.

use std::convert::Infallible;

use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::load::Failure;

/// Serves until the process ends. Prints its address as the only line.
pub(crate) async fn serve(behind: &str, out: &mut dyn std::io::Write) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(256)
        .build(connector);
    let behind: http::Uri = format!("http://{behind}/mcp").parse()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, behind) = (client.clone(), behind.clone());
        tokio::spawn(async move {
            let service = service_fn(move |mut request: http::Request<Incoming>| {
                *request.uri_mut() = behind.clone();
                request.headers_mut().remove(http::header::HOST);
                let answer = client.request(request);
                async move {
                    Ok::<_, Infallible>(match answer.await {
                        Ok(answer) => answer.map(Either::Left),
                        Err(_) => bad_gateway(),
                    })
                }
            });
            // A connection that breaks ends with its client, which reports it.
            let _ended = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn bad_gateway() -> http::Response<Either<Incoming, Empty<Bytes>>> {
    let mut answer = http::Response::new(Either::Right(Empty::new()));
    *answer.status_mut() = http::StatusCode::BAD_GATEWAY;
    answer
}
