//! One row per rule: the MCP authorization algorithm (2026-07-28), RFC 9207's table, and the attacks on clients.

mod flow;
mod servers;

use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use super::*;
use crate::ids::{ClientId, Issuer, ResourceUri, ScopeSet};
use crate::random::{RandomUnavailable, SecureRandom};
use crate::secret::Secret;
use crate::time::UnixTime;

const ISSUER: &str = "https://as.example";
const REDIRECT: &str = "http://127.0.0.1:4711/callback";

fn issuer() -> Issuer {
    Issuer::parse(ISSUER).unwrap()
}

fn resource() -> ResourceUri {
    ResourceUri::parse("https://mcp.example/mcp").unwrap()
}

fn scopes(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

/// Metadata of an authorization server with everything, and these members in place of its own; `null` takes one out.
fn metadata(changes: &serde_json::Value) -> Vec<u8> {
    let mut document = serde_json::json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://as.example/authorize",
        "token_endpoint": "https://as.example/token",
        "registration_endpoint": "https://as.example/register",
        "revocation_endpoint": "https://as.example/revoke",
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            document.as_object_mut().unwrap().remove(name);
        } else {
            document[name] = value.clone();
        }
    }
    serde_json::to_vec(&document).unwrap()
}

fn judged(changes: serde_json::Value) -> Result<AuthorizationServer, Error> {
    process_authorization_server(
        &issuer(),
        "https://as.example/.well-known/oauth-authorization-server",
        &metadata(&changes),
    )
}

fn server(changes: serde_json::Value) -> AuthorizationServer {
    judged(changes).unwrap()
}

fn public_client() -> Client {
    Client {
        id: ClientId::parse("agent-1").unwrap(),
        auth: ClientAuth::None,
        origin: ClientOrigin::Dynamic,
        redirect_uri: Some(REDIRECT.to_owned()),
        secret_expires_at: None,
    }
}

fn answer(status: u16, body: &str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body.to_owned()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer.headers_mut().insert(
        "content-type",
        HeaderValue::from_static("application/json;charset=UTF-8"),
    );
    answer
}

/// The fields of a form body.
fn form(request: &Request<Bytes>) -> Vec<(String, String)> {
    url::form_urlencoded::parse(request.body()).into_owned().collect()
}

fn field(request: &Request<Bytes>, name: &str) -> Option<String> {
    form(request)
        .into_iter()
        .find(|(candidate, _)| candidate == name)
        .map(|(_, value)| value)
}

/// Never the same byte twice in a row, so that two values differ.
struct Counting(AtomicU8);

impl SecureRandom for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        for byte in out {
            *byte = self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

struct Empty;

impl SecureRandom for Empty {
    fn fill(&self, _out: &mut [u8]) -> Result<(), RandomUnavailable> {
        Err(RandomUnavailable)
    }
}

fn pending(server: &AuthorizationServer) -> Pending {
    let random = Counting(AtomicU8::new(0));
    build_authorization(
        server,
        &public_client(),
        REDIRECT,
        &resource(),
        Some(&scopes("notes:read")),
        &random,
    )
    .unwrap()
}

fn query(pending: &Pending, name: &str) -> Option<String> {
    let url = url::Url::parse(pending.url()).unwrap();
    url.query_pairs()
        .find(|(candidate, _)| candidate == name)
        .map(|(_, value)| value.into_owned())
}
