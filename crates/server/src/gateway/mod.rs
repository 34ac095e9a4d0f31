//! The gateway: the guard, and a proxy behind it.
//!
//! Takes: HTTP requests. Gives: the guarded servers' answers, or refusals. May use: `guard`, `http`, `custody`,
//! `sink` (is it ready?). Never: sends a caller's token on, answers for an upstream, holds back an event of a stream.
//!
//! What may be asked, and what of an answer may be seen, is decided in `portcullis-guard`; this room sends on what was
//! admitted, and brings the answer back as it comes. The public URL is configured: nothing here is
//! guessed from a request's `Host`.

mod addresses;
mod admin;
mod answer;
pub mod bridge;
mod call;
mod documents;
mod sealing;
pub mod sse;
pub mod stdio;
pub mod upstream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::middleware::map_response;
use axum::routing::any;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, Request, Response};
use portcullis_core::ids::{InvalidId, ServerName};
use portcullis_guard::exchange::{Bounds, Exchange};
use portcullis_guard::{Endpoint, Guard, Reason, Refusal, Sessions};
use tokio_util::sync::CancellationToken;

use crate::custody::Keyring;
use crate::http::{JwksCounts, JwksPage, TrustedProxy};
use call::{Below, Entry};
use catalogue::Catalogue;
use upstream::Upstream;

pub use crate::http::Readiness;
pub use addresses::{Address, addresses};
pub use admin::Counted;
pub use documents::JWKS_PATH;
pub use portcullis_guard::exchange::catalogue;

/// Where sealed sessions are agreed on, below the path of the server.
const SEAL: &str = "/seal";

/// One guarded server.
#[derive(Debug)]
pub struct Server {
    /// The operator's name for it.
    pub name: ServerName,
    /// How it is reached.
    pub upstream: Arc<dyn Upstream>,
}

/// What a gateway serves.
#[derive(Debug)]
pub struct Settings {
    /// Scheme, host and port that callers use, without a trailing slash.
    pub public_url: String,
    /// The servers behind it.
    pub servers: Vec<Server>,
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Longest wait for a whole request body.
    pub body_time: Duration,
    /// A stream of which nothing was heard from its server for this long is ended.
    pub stream_silence: Duration,
    /// Most streams open at one server; the answer to a call is never refused.
    pub streams: usize,
    /// What `/readyz` asks.
    pub readiness: Arc<dyn Readiness>,
    /// The proxy that hands on client certificates, where there is one.
    pub proxy: Option<Arc<TrustedProxy>>,
}

/// The gateway, ready to be served.
#[derive(Debug)]
pub struct Gateway {
    router: Router,
    shared: Arc<Shared>,
    keyring: Arc<Keyring>,
    catalogue: Arc<Catalogue>,
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    guard: Arc<Guard>,
    public_url: String,
    addresses: Vec<Address>,
    jwks: Arc<JwksPage>,
    readiness: Arc<dyn Readiness>,
    stop: CancellationToken,
}

impl Gateway {
    /// A gateway over a guard. Streams end when `stop` is cancelled.
    ///
    /// # Errors
    /// [`InvalidId`]: the public URL is none that a resource identifier can begin with.
    pub fn new(
        settings: Settings,
        guard: Arc<Guard>,
        keyring: Arc<Keyring>,
        stop: CancellationToken,
    ) -> Result<Self, InvalidId> {
        let names: Vec<ServerName> = settings
            .servers
            .iter()
            .map(|server| server.name.clone())
            .collect();
        let catalogue = Arc::new(Catalogue::new());
        let shared = Arc::new(Shared {
            guard,
            addresses: addresses(&settings.public_url, &names)?,
            public_url: settings.public_url,
            jwks: Arc::new(JwksPage::new()),
            readiness: settings.readiness,
            stop: stop.clone(),
        });
        let bounds = Bounds {
            body_bytes: settings.body_bytes,
            body_time: settings.body_time,
            stream_silence: settings.stream_silence,
            stop,
        };
        let mut router = documents::routes(&shared, Arc::clone(&keyring));
        for server in settings.servers {
            let sessions = Arc::new(Sessions::with_streams(settings.streams));
            let mut first: Option<Exchange> = None;
            for address in shared
                .addresses
                .iter()
                .filter(|address| address.server == server.name)
            {
                let metadata_url = format!("{}{}", shared.public_url, address.metadata_path());
                let endpoint = Endpoint::new(
                    server.name.clone(),
                    address.resource.clone(),
                    metadata_url,
                    Arc::clone(&sessions),
                );
                let exchange = match &first {
                    Some(first) => first.at(endpoint),
                    None => Exchange::new(
                        Arc::clone(&shared.guard),
                        endpoint,
                        Arc::clone(&catalogue),
                        bounds.clone(),
                    ),
                };
                // Called at an address of its own, which is what proofs for it name.
                let below = Arc::new(Below {
                    exchange: exchange.at(exchange.endpoint().below(SEAL)),
                    proxy: settings.proxy.clone(),
                });
                first.get_or_insert_with(|| exchange.clone());
                let entry = Arc::new(Entry {
                    exchange,
                    proxy: settings.proxy.clone(),
                    upstream: Arc::clone(&server.upstream),
                });
                let guarded = any(move |request: Request<Body>| {
                    let entry = Arc::clone(&entry);
                    async move { entry.answer(request).await }
                });
                router = router.route(&address.path, guarded);
                if shared
                    .guard
                    .sealing()
                    .is_some_and(|sealing| sealing.is_for(&server.name))
                {
                    let agreeing = any(move |request: Request<Body>| {
                        let below = Arc::clone(&below);
                        async move { below.answer(request).await }
                    });
                    router = router.route(&format!("{}{SEAL}", address.path), agreeing);
                }
            }
        }
        let router = router.fallback(async || refused(&Reason::NotFound));
        Ok(Self {
            router: router.layer(map_response(as_declared)),
            shared,
            keyring,
            catalogue,
        })
    }

    /// What callers reach.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// What the operator's machinery reaches: `/healthz`, `/readyz`, `/metrics`. Never to be exposed to
    /// callers. The counters of the rings `beside` are on the same page.
    pub fn admin_router(&self, beside: Vec<Counted>) -> Router {
        let own = Counted {
            keyring: Arc::clone(&self.keyring),
            jwks: JwksCounts::of(&self.shared.jwks),
        };
        let rings = std::iter::once(own).chain(beside).collect();
        admin::routes(&self.shared, rings).layer(map_response(as_declared))
    }

    /// The tools that servers were seen to offer.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue)
    }
}

/// What an upstream sends is what its content type says, and no browser is to find a page in it (WHATWG Fetch
/// §3.6).
async fn as_declared(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer for a request that is for no endpoint.
fn refused(reason: &Reason) -> Response<Body> {
    Refusal::outside(reason).into_response().map(Body::from)
}

#[cfg(test)]
mod tests;
