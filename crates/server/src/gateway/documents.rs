//! What anyone may read: the metadata of each resource (RFC 9728) and the gateway's own keys (RFC 7517).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::{Request, Response};
use portcullis_core::oauth::metadata::PROTECTED_RESOURCE;
use portcullis_guard::exchange;

use super::Shared;
use crate::custody::Keyring;
use crate::http::Peer;

/// Where the gateway's keys are.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// The documents' routes.
pub(super) fn routes(shared: &Arc<Shared>, keyring: Arc<Keyring>) -> Router {
    let mut router = Router::new();
    for address in &shared.addresses {
        let page = Page::Resource(
            Arc::clone(shared),
            address.server.clone(),
            address.resource.clone(),
        );
        // The first address of a single server is the short one, which the root form is about.
        if address.path == "/mcp" {
            router = router.route(PROTECTED_RESOURCE, page.clone().route());
        }
        router = router.route(&address.metadata_path(), page.route());
    }
    router.route(JWKS_PATH, Page::Keys(Arc::clone(shared), keyring).route())
}

/// One document. Made anew for each reader, so that policy and keys may change while the gateway runs.
#[derive(Clone)]
enum Page {
    Resource(
        Arc<Shared>,
        portcullis_core::ids::ServerName,
        portcullis_core::ids::ResourceUri,
    ),
    Keys(Arc<Shared>, Arc<Keyring>),
}

impl Page {
    fn route(self) -> axum::routing::MethodRouter {
        any(move |request: Request<Body>| {
            let response = self.answer(&request);
            async move { response }
        })
    }

    fn answer(&self, request: &Request<Body>) -> Response<Body> {
        exchange::for_everyone(request.method(), || self.read(request))
    }

    fn read(&self, request: &Request<Body>) -> Response<Body> {
        match self {
            Self::Resource(shared, server, resource) => {
                // All resources of one gateway have its keys.
                let jwks_uri = format!("{}{JWKS_PATH}", shared.public_url);
                shared
                    .guard
                    .metadata(server, resource, Some(jwks_uri))
                    .map(Body::from)
            }
            Self::Keys(shared, keyring) => {
                let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
                let now = shared.guard.clock().now();
                shared.jwks.answer(&keyring.jwks(), request.headers(), peer, now)
            }
        }
    }
}
