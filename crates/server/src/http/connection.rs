//! One connection, in clear or in TLS, from its first bytes to its end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::host::misdirected;
use super::preface::Prompt;
use super::{Limits, Peer, Shown};
use crate::tls::{Protocol, Sender, Tls};

/// RFC 9112 §6.3: a request with a coding and a length is answered, and its connection closed, since whoever is in between may have
/// gone by the length. The library drops the length and does not say that there was one, so a coding alone is enough.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What the connections of one listener share.
pub(super) struct Connections {
    router: Router,
    limits: Limits,
    /// HTTP in clear: which version shows in the first bytes.
    either: Builder<TokioExecutor>,
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
    /// Cancelled when no connection is taken any more.
    stopping: CancellationToken,
}

impl Connections {
    pub(super) fn new(router: Router, limits: Limits, stopping: CancellationToken) -> Self {
        Self {
            router,
            limits,
            either: builder(limits),
            http1: builder(limits).http1_only(),
            http2: builder(limits).http2_only(),
            stopping,
        }
    }

    /// A connection in clear.
    pub(super) async fn plain(&self, stream: TcpStream, peer: IpAddr, watcher: Watcher) {
        self.converse(stream, &self.either, peer, Session::default(), watcher)
            .await;
    }

    /// A connection in TLS. Whoever does not finish the handshake in time, or while the listener still listens, is gone.
    pub(super) async fn secured(&self, stream: TcpStream, peer: IpAddr, tls: &Tls, watcher: Watcher) {
        let stream = Prompt::new(stream, self.limits.first_bytes);
        let handshake = tokio::time::timeout(self.limits.handshake, tls.accept(stream));
        let secured = match self.stopping.run_until_cancelled(handshake).await {
            Some(Ok(Ok(secured))) => secured,
            Some(Ok(Err(error))) => return tracing::debug!(%peer, %error, "no TLS handshake"),
            Some(Err(_)) => return tracing::debug!(%peer, "the TLS handshake took too long"),
            None => return,
        };
        let builder = match secured.protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        };
        let session = Session {
            asked_for: secured.server_name.map(Arc::from),
            sender: secured.sender.map(Arc::new),
        };
        self.converse(secured.stream, builder, peer, session, watcher)
            .await;
    }

    async fn converse<S>(
        &self,
        stream: S,
        builder: &Builder<TokioExecutor>,
        peer: IpAddr,
        session: Session,
        watcher: Watcher,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let router = self.router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let admitted = session.admit(&mut request);
            let last = request.headers().contains_key(TRANSFER_ENCODING);
            let answer = router.clone().call(request.map(Body::new));
            async move {
                let mut response = match admitted? {
                    Admission::Ours => answer.await.unwrap_or_else(|never: Infallible| match never {}),
                    Admission::Misdirected => misdirected(),
                };
                if last {
                    response.headers_mut().insert(CONNECTION, CLOSE);
                }
                Ok::<Response<Body>, rustls::Error>(response)
            }
        });
        let stream = TokioIo::new(Prompt::new(stream, self.limits.first_bytes));
        let connection = builder.serve_connection(stream, service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

/// What was agreed in the handshake of a connection; nothing, in clear.
#[derive(Default)]
struct Session {
    asked_for: Option<Arc<str>>,
    sender: Option<Arc<Sender>>,
}

/// Whether a request may have what its connection has.
enum Admission {
    Ours,
    Misdirected,
}

impl Session {
    /// Gives the request the certificate of the connection. When that is not taken any more the connection ends, and the next
    /// handshake says why.
    fn admit(&self, request: &mut Request<Incoming>) -> Result<Admission, rustls::Error> {
        if let Some(sender) = &self.sender {
            let certificate = sender.certificate()?;
            request.extensions_mut().insert(Shown(certificate));
        }
        let ours = self.asked_for.as_deref().is_none_or(|name| is_for(name, request));
        Ok(match ours {
            true => Admission::Ours,
            false => Admission::Misdirected,
        })
    }
}

/// Whether a request is for the name that its connection was made for (RFC 9110 §7.4): what was agreed on in the handshake
/// under one name says nothing about another. A request that names no host, or two, is refused later, by the rule of
/// hosts.
fn is_for(server_name: &str, request: &Request<Incoming>) -> bool {
    let named = request.headers().get_all(HOST).iter();
    let named = named.map(|host| Authority::try_from(host.as_bytes()).ok());
    let target = request.uri().authority().cloned().map(Some);
    named.chain(target).all(|host| {
        // What is no name at all is for that rule, too.
        host.is_none_or(|host| {
            let host = host.host();
            host.strip_suffix('.')
                .unwrap_or(host)
                .eq_ignore_ascii_case(server_name)
        })
    })
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.head_time)
        .max_concurrent_streams(256)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    builder
}
