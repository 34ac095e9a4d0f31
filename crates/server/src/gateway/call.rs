//! One request at an MCP endpoint.

use std::error::Error as StdError;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use portcullis_guard::exchange::{self, Exchange, Forwarded, Sent};
use portcullis_guard::{Connection, ShownCertificate};

use super::upstream::Upstream;
use crate::http::{Peer, Shown, TrustedProxy};

/// One MCP endpoint, and the server behind it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) exchange: Exchange,
    pub(super) upstream: Arc<dyn Upstream>,
    pub(super) proxy: Option<Arc<TrustedProxy>>,
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
        let (from, request) = (connection(&request, self.proxy.as_deref()), request.map(boxed));
        self.exchange
            .serve(from, request, upstream.credential(), send)
            .await
            .map(Body::new)
    }
}

/// Where sealed sessions are agreed on.
#[derive(Debug)]
pub(super) struct Below {
    pub(super) exchange: Exchange,
    pub(super) proxy: Option<Arc<TrustedProxy>>,
}

impl Below {
    /// What is asked of sealed sessions.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (from, request) = (connection(&request, self.proxy.as_deref()), request.map(boxed));
        self.exchange.seal_session(from, request).await.map(Body::new)
    }
}

fn connection(request: &Request<Body>, proxy: Option<&TrustedProxy>) -> Connection {
    let extensions = request.extensions();
    let peer = extensions.get::<Peer>().map(|peer| peer.0);
    let shown = extensions.get::<Shown>().map(|Shown(certificate)| certificate);
    let certificate = match (proxy, shown) {
        (Some(proxy), _) => proxy.certificate(peer, shown, request.headers()),
        (None, Some(certificate)) => ShownCertificate::Held(Arc::clone(certificate)),
        (None, None) => ShownCertificate::Absent,
    };
    Connection { peer, certificate }
}

fn boxed(body: Body) -> exchange::Body {
    body.map_err(|error| -> Box<dyn StdError + Send + Sync> { Box::new(error) })
        .boxed_unsync()
}
