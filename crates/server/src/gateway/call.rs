//! One request at an MCP endpoint.

use std::error::Error as StdError;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use portcullis_guard::exchange::{self, Exchange, Forwarded, Sent};

use super::upstream::Upstream;
use crate::http::Peer;

/// One MCP endpoint, and the server behind it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) exchange: Exchange,
    pub(super) upstream: Arc<dyn Upstream>,
}

impl Entry {
    /// Judges a request, and sends it on if it may go.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let upstream = &self.upstream;
        let send = |Forwarded { outbound, who, info }| -> Sent<'_> {
            Box::pin(async move {
                let response = upstream.call(who.principal(), outbound, &info).await?;
                Ok(response.map(exchange::Body::new))
            })
        };
        let (peer, request) = (peer(&request), request.map(boxed));
        self.exchange
            .serve(peer, request, upstream.credential(), send)
            .await
            .map(Body::new)
    }
}

/// What is asked of sealed sessions.
pub(super) async fn seal_session(exchange: &Exchange, request: Request<Body>) -> Response<Body> {
    let (peer, request) = (peer(&request), request.map(boxed));
    exchange.seal_session(peer, request).await.map(Body::new)
}

fn peer(request: &Request<Body>) -> Option<std::net::IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}

fn boxed(body: Body) -> exchange::Body {
    body.map_err(|error| -> Box<dyn StdError + Send + Sync> { Box::new(error) })
        .boxed_unsync()
}
