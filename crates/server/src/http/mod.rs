//! Listeners: connections in, within limits, until told to stop.
//!
//! Takes: a bound socket, a router, limits, a signal. Gives: answers, and the caller's address to handlers as
//! [`Peer`]; counts of what each caller asks for; the JWK Set page. May use: the network, the `Host` rule of `guard`.
//! Never: knows a path, decides who may call.

mod admin;
mod descriptors;
mod host;
mod jwks;
mod peers;
mod preface;
mod throttle;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::HeaderValue;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use portcullis_guard::network;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::Service as _;

use peers::{Peers, Place};
use preface::Prompt;

pub use admin::Readiness;
pub(crate) use admin::{Endpoints, admin};
pub use descriptors::raise_descriptors;
pub use host::guard_host;
pub use jwks::JwksCounts;
pub(crate) use jwks::JwksPage;
pub(crate) use throttle::{Network, Throttle};

/// The address at the other end of a request's connection. An extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// RFC 9112 §6.3: a request with a coding and a length is answered, and its connection closed, since whoever is in between may have
/// gone by the length. The library drops the length and does not say that there was one, so a coding alone is enough.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Many agents of one machine, or of one office, are no attack.
const PER_PEER_AT_LEAST: usize = 256;

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at one time; more wait in the system's queue.
    pub connections: usize,
    /// Most connections of one address at one time (of one /64 with IPv6); one more is closed at once. A proxy
    /// in front of the listener is one address.
    pub connections_per_peer: usize,
    /// Longest wait for the first bytes of a connection.
    pub first_bytes: Duration,
    /// Longest wait for a request's head, counted from the first bytes or from the end of the request before
    /// it.
    pub head_time: Duration,
    /// Largest head, in bytes.
    pub head_bytes: usize,
    /// Longest wait for running requests after the signal to stop.
    pub drain: Duration,
}

impl Limits {
    /// For a listener that faces callers, in a process that may open files enough.
    pub const USUAL: Self = Self {
        connections: 16_000,
        connections_per_peer: 4_000,
        first_bytes: Duration::from_secs(5),
        head_time: Duration::from_secs(15),
        head_bytes: 64 * 1024,
        drain: Duration::from_secs(10),
    };

    /// The usual ones for one of so many listeners in a process that may have so many files open
    /// ([`raise_descriptors`]). A quarter of the files is left for the servers behind us, the store and the log,
    /// so that connections alone cannot stop those.
    #[must_use]
    pub fn sharing(descriptors: u64, listeners: u64) -> Self {
        let share = descriptors
            .saturating_sub(descriptors.div_ceil(4))
            .checked_div(listeners)
            .unwrap_or(0);
        let connections = usize::try_from(share)
            .unwrap_or(usize::MAX)
            .clamp(1, Self::USUAL.connections);
        Self {
            connections,
            connections_per_peer: (connections / 4).max(PER_PEER_AT_LEAST).min(connections),
            ..Self::USUAL
        }
    }

    /// These, with fewer connections where the operator says so. Without a number of its own, an address has as large a part of
    /// all as before.
    #[must_use]
    pub fn at_most(self, connections: Option<usize>, per_peer: Option<usize>) -> Self {
        let connections = connections.map_or(self.connections, |most| most.clamp(1, self.connections));
        let usual = match self.connections {
            all if all == connections => self.connections_per_peer,
            _ => (connections / 4).max(PER_PEER_AT_LEAST),
        };
        Self {
            connections,
            connections_per_peer: per_peer.unwrap_or(usual).clamp(1, connections),
            ..self
        }
    }
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered to its end.
    Clean,
    /// So many connections were cut when the time was over.
    Cut(usize),
}

/// Serves HTTP/1 and HTTP/2 until `stop` is ready, then takes no more connections, lets running requests end,
/// and cuts what is left after [`Limits::drain`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> Drained {
    let builder = Arc::new(builder(limits));
    let room = Room {
        all: Arc::new(Semaphore::new(limits.connections)),
        peers: Arc::new(Peers::new(limits.connections_per_peer)),
    };
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, peer, held) = tokio::select! {
            biased;
            () = &mut stop => break,
            // Finished connections are let go of as they end.
            Some(_) = connections.join_next() => continue,
            next = next(&listener, &room) => match next {
                Some(next) => next,
                None => break,
            },
        };
        let router = router.clone();
        let builder = Arc::clone(&builder);
        let watcher = graceful.watcher();
        connections.spawn(async move {
            let service = service_fn(move |mut request: http::Request<Incoming>| {
                request.extensions_mut().insert(Peer(peer));
                let last = request.headers().contains_key(TRANSFER_ENCODING);
                let answering = router.clone().call(request.map(Body::new));
                async move {
                    let mut response = answering.await?;
                    if last {
                        response.headers_mut().insert(CONNECTION, CLOSE);
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let stream = TokioIo::new(Prompt::new(stream, limits.first_bytes));
            let connection = builder.serve_connection(stream, service).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop(held);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown())
        .await
        .is_ok()
    {
        return Drained::Clean;
    }
    let mut cut = 0_usize;
    connections.abort_all();
    while let Some(ended) = connections.join_next().await {
        cut = cut.saturating_add(usize::from(ended.is_err()));
    }
    Drained::Cut(cut)
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

/// For how many connections there is room.
struct Room {
    all: Arc<Semaphore>,
    peers: Arc<Peers>,
}

/// The next connection, when there is room for one. `None` when there never will be.
async fn next(
    listener: &TcpListener,
    room: &Room,
) -> Option<(TcpStream, IpAddr, (OwnedSemaphorePermit, Place))> {
    let held = Arc::clone(&room.all).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let peer = peer.ip().to_canonical();
                let Some(place) = room.peers.place(peer) else {
                    tracing::debug!(%peer, "an address has as many connections as it may");
                    continue;
                };
                // Answers are small and waited for. Without the option they are only slower.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                return Some((stream, peer, (held, place)));
            }
            // The other end gave up, or the process has too many files open: the latter needs a moment, not a
            // busy loop.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
