//! Listeners: connections in, within limits, until told to stop.
//!
//! Takes: a bound socket, a router, limits, a signal. Gives: answers, and the caller's address to handlers as
//! [`Peer`]; counts of what each caller asks for; the JWK Set page. May use: the network, `tls`, the `Host` rule of
//! `guard`. Never: knows a path, decides who may call.

mod admin;
mod connection;
mod descriptors;
mod host;
mod jwks;
mod peers;
mod preface;
mod proxy;
mod throttle;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use portcullis_guard::{ClientCertificate, network};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::tls::Tls;
use connection::Connections;
use peers::{Peers, Place};

pub use admin::Readiness;
pub(crate) use admin::{Endpoints, admin};
pub use descriptors::raise_descriptors;
pub use host::guard_host;
pub use jwks::JwksCounts;
pub(crate) use jwks::JwksPage;
pub use proxy::{Addresses, InvalidAddresses, ProxyForm, ProxyRule, TrustedProxy};
pub(crate) use throttle::{Network, Throttle};

/// The address at the other end of a request's connection. An extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The client certificate of a request's connection, whose key the client holds. An extension of those requests that have
/// one.
#[derive(Clone, Debug)]
pub struct Shown(pub Arc<ClientCertificate>);

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
    /// Longest wait for the first bytes of a connection; with TLS, for those of the handshake and for those in it.
    pub first_bytes: Duration,
    /// Longest time for a TLS handshake. The connection counts as one from before it.
    pub handshake: Duration,
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
        handshake: Duration::from_secs(10),
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

/// Where connections come from.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Connections that are encrypted.
    #[must_use]
    pub fn secured(socket: TcpListener, tls: Arc<Tls>) -> Self {
        Self {
            socket,
            tls: Some(tls),
        }
    }
}

impl From<TcpListener> for Listener {
    /// Connections in clear: on loopback, or behind a proxy that has them encrypted.
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }
}

/// Serves HTTP/1 and HTTP/2 until `stop` is ready, then takes no more connections, lets running requests end,
/// and cuts what is left after [`Limits::drain`].
pub async fn serve(
    listener: impl Into<Listener>,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> Drained {
    let Listener { socket, tls } = listener.into();
    let stopping = CancellationToken::new();
    let serving = Arc::new(Connections::new(router, limits, stopping.clone()));
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
            next = next(&socket, &room) => match next {
                Some(next) => next,
                None => break,
            },
        };
        let (serving, tls) = (Arc::clone(&serving), tls.clone());
        let watcher = graceful.watcher();
        connections.spawn(async move {
            match tls {
                None => serving.plain(stream, peer, watcher).await,
                Some(tls) => serving.secured(stream, peer, &tls, watcher).await,
            }
            drop(held);
        });
    }
    drop(socket);
    stopping.cancel();
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
