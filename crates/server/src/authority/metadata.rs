//! Metadata (RFC 8414, OpenID Connect Discovery) and keys (RFC 7517). Nothing is advertised that does not work.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use portcullis_core::oauth::metadata::AuthorizationServerMetadata;
use portcullis_core::oauth::pkce;
use portcullis_core::oauth::server::client::GrantType;
use portcullis_core::oauth::server::registration::AuthMethod;

use super::Authority;
use crate::http::Peer;

/// Long enough to spare fetches, short enough for a rotation.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The RFC 8414 form.
pub(super) async fn oauth(State(authority): State<Arc<Authority>>) -> Response {
    json(&authority.metadata())
}

/// The OpenID Connect Discovery form, for clients that look there only. No ID token is ever issued: `openid` is no scope
/// here; the two members that the form requires (§3) say what would be used.
pub(super) async fn openid(State(authority): State<Arc<Authority>>) -> Response {
    json(&AuthorizationServerMetadata {
        subject_types_supported: Some(texts(["public"])),
        id_token_signing_alg_values_supported: Some(texts([authority
            .deps
            .keyring
            .signer()
            .algorithm()
            .name()])),
        ..authority.metadata()
    })
}

/// The keys that tokens are signed with, and those to encrypt to.
pub(super) async fn keys(
    State(authority): State<Arc<Authority>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Response {
    let peer = peer.map(|Extension(Peer(address))| address);
    let document = authority.deps.keyring.jwks();
    authority.jwks.answer(&document, &headers, peer, authority.now())
}

impl Authority {
    fn metadata(&self) -> AuthorizationServerMetadata {
        let at = |name: &str| Some(self.site.endpoint(name));
        let scopes: BTreeSet<String> = self
            .offers()
            .iter()
            .flat_map(|offer| offer.scopes.iter())
            .map(ToString::to_string)
            .collect();
        let methods = AuthMethod::ALL.map(AuthMethod::name);
        AuthorizationServerMetadata {
            authorization_endpoint: at("/authorize"),
            token_endpoint: at("/token"),
            jwks_uri: at("/jwks"),
            registration_endpoint: at("/register"),
            revocation_endpoint: at("/revoke"),
            scopes_supported: Some(scopes.into_iter().collect()),
            response_types_supported: texts(["code"]),
            response_modes_supported: Some(texts(["query"])),
            grant_types_supported: Some(texts(GrantType::ALL.map(GrantType::name))),
            token_endpoint_auth_methods_supported: Some(texts(methods)),
            revocation_endpoint_auth_methods_supported: Some(texts(methods)),
            code_challenge_methods_supported: Some(texts([pkce::METHOD])),
            client_id_metadata_document_supported: true,
            authorization_response_iss_parameter_supported: true,
            ..AuthorizationServerMetadata::new(self.settings.issuer.clone())
        }
    }
}

fn json(metadata: &AuthorizationServerMetadata) -> Response {
    let mut response = axum::Json(metadata).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, CACHED);
    response
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}
