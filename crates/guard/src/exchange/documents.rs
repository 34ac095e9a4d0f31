//! What anyone may read: the metadata of a resource (RFC 9728).

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE,
};
use http::{HeaderValue, Method, Response, StatusCode};
use portcullis_core::identity::dpop;
use portcullis_core::ids::{ResourceUri, ServerName};
use portcullis_core::oauth::metadata::ProtectedResourceMetadata;

use crate::dpop::SenderConstraint;
use crate::pipeline::Guard;
use crate::reason::Reason;
use crate::refusal::Refusal;

const METHODS: &str = "GET, HEAD, OPTIONS";

/// The answer to a request for a document that any page may read.
pub fn for_everyone<B: From<Bytes>>(method: &Method, read: impl FnOnce() -> Response<B>) -> Response<B> {
    let mut response = match *method {
        Method::GET | Method::HEAD => read(),
        // Clients in browsers send `MCP-Protocol-Version`, which asks first.
        Method::OPTIONS => {
            let mut response = Response::new(Bytes::new().into());
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
        _ => {
            let refusal = Refusal::outside(&Reason::MethodNotAllowed { allow: METHODS });
            return refusal.into_response().map(B::from);
        }
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

impl Guard {
    /// What a resource says about itself (RFC 9728 §2), as the policy of this moment has it.
    #[must_use]
    pub fn metadata(
        &self,
        server: &ServerName,
        resource: &ResourceUri,
        jwks_uri: Option<String>,
    ) -> Response<Bytes> {
        let metadata = ProtectedResourceMetadata {
            resource: resource.clone(),
            // RFC 9728 §2: those whose tokens can be used here.
            authorization_servers: self.issuers_of(server),
            scopes_supported: Some(self.policy().basic_scopes(server).iter().cloned().collect()),
            bearer_methods_supported: Some(vec!["header".to_owned()]),
            jwks_uri,
            resource_name: Some(server.to_string()),
            dpop_signing_alg_values_supported: Some(
                dpop::ALGORITHMS
                    .map(|algorithm| algorithm.name().to_owned())
                    .into(),
            ),
            dpop_bound_access_tokens_required: (self.sender_rules(server).constraint
                == SenderConstraint::Dpop)
                .then_some(true),
            tls_client_certificate_bound_access_tokens: self.sees_certificates().then_some(true),
        };
        let mut response = Response::new(serde_json::to_vec(&metadata).unwrap_or_default().into());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        response
    }
}
