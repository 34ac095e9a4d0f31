//! What anyone may read: the metadata of each resource (RFC 9728) and the gateway's own keys (RFC 7517).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use portcullis_core::identity::dpop;
use portcullis_core::oauth::metadata::{PROTECTED_RESOURCE, ProtectedResourceMetadata};
use portcullis_guard::{Reason, SenderConstraint};

use super::{Shared, refused};
use crate::custody::Keyring;
use crate::http::Peer;

/// Where the gateway's keys are.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";
const METHODS: &str = "GET, HEAD, OPTIONS";

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
        let mut response = match *request.method() {
            Method::GET | Method::HEAD => self.read(request),
            // Any page may read what anyone may read. Clients in browsers send `MCP-Protocol-Version`, which
            // asks first.
            Method::OPTIONS => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                let headers = response.headers_mut();
                headers.insert(
                    ACCESS_CONTROL_ALLOW_METHODS,
                    HeaderValue::from_static("GET, HEAD"),
                );
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
                headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
                response
            }
            _ => return refused(&Reason::MethodNotAllowed { allow: METHODS }),
        };
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        // A page that keeps the JWK Set asks again with its validator, and is told when to.
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("ETag, Retry-After"),
        );
        response
    }

    fn read(&self, request: &Request<Body>) -> Response<Body> {
        match self {
            Self::Resource(shared, server, resource) => {
                let metadata = ProtectedResourceMetadata {
                    resource: resource.clone(),
                    authorization_servers: shared.authorization_servers.clone(),
                    scopes_supported: Some(
                        shared
                            .guard
                            .policy()
                            .basic_scopes(server)
                            .iter()
                            .cloned()
                            .collect(),
                    ),
                    bearer_methods_supported: Some(vec!["header".to_owned()]),
                    // All resources of one gateway have its keys.
                    jwks_uri: Some(format!("{}{JWKS_PATH}", shared.public_url)),
                    resource_name: Some(server.to_string()),
                    dpop_signing_alg_values_supported: Some(
                        dpop::ALGORITHMS
                            .map(|algorithm| algorithm.name().to_owned())
                            .into(),
                    ),
                    dpop_bound_access_tokens_required: (shared.guard.sender_rules(server).constraint
                        == SenderConstraint::Dpop)
                        .then_some(true),
                };
                let body = serde_json::to_vec(&metadata).unwrap_or_default();
                document(body.into(), "application/json")
            }
            Self::Keys(shared, keyring) => {
                let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
                let now = shared.guard.clock().now();
                shared.jwks.answer(&keyring.jwks(), request.headers(), peer, now)
            }
        }
    }
}

fn document(body: Bytes, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}
