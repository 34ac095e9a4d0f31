//! A resource server and authorization servers on loopback, whose behaviour a test sets, and which remember what they saw.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest;
use axum::body::Body;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::gateway::{self, Gateway};

/// What `iss` an authorization server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Iss {
    Right,
    Wrong,
    Absent,
}

/// An authorization server: what it does, and what it saw.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) issuer: String,
    /// Members that replace those of its metadata; `null` takes one out.
    pub(crate) metadata: Value,
    pub(crate) iss: Iss,
    /// An `error` for every authorization request.
    pub(crate) denies: Option<&'static str>,
    /// Redirect URIs beginning with this are not registered.
    pub(crate) refuses_redirect: Option<&'static str>,
    /// Does not know the first client any more when its code comes.
    pub(crate) forgets_after_authorize: bool,
    /// Answers the token endpoint with 500.
    pub(crate) broken: bool,
    pub(crate) lifetime: u64,
    pub(crate) clients: HashMap<String, String>,
    /// One line per request, in order.
    pub(crate) seen: Vec<String>,
    codes: HashMap<String, HashMap<String, String>>,
    refresh: HashMap<String, Refresh>,
    pub(crate) access: HashMap<String, String>,
    /// Who logs in. Tokens say so, if there is somebody.
    pub(crate) subject: Option<&'static str>,
    /// Client and subject of such a token.
    pub(crate) who: HashMap<String, (String, String)>,
    next: usize,
}

impl Authority {
    /// Ends every grant.
    pub(crate) fn forget_grants(&mut self) {
        self.refresh.clear();
        self.access.clear();
    }
}

#[derive(Debug)]
struct Refresh {
    client: String,
    scope: String,
    spent: bool,
}

/// The MCP server: what it does, and what it saw.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) url: String,
    pub(crate) issuer: String,
    /// The `resource` of its metadata, when it is not its address.
    pub(crate) claims: Option<String>,
    pub(crate) legacy: bool,
    /// What a call wants on top of `notes:read`.
    pub(crate) wants: &'static str,
    /// Refuses calls whatever the scope.
    pub(crate) insatiable: bool,
    /// Sends every request elsewhere.
    pub(crate) redirects: Option<String>,
    /// The gateway in front of it, with sealed fields.
    pub(crate) sealing: Option<Arc<Mutex<Gateway>>>,
    pub(crate) seen: Vec<String>,
}

type Shared<T> = Arc<Mutex<T>>;

pub(crate) fn look<T>(shared: &Shared<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap()
}

/// Everyone but the agent.
#[derive(Clone)]
pub(crate) struct Parties {
    pub(crate) authority: Shared<Authority>,
    pub(crate) other: Shared<Authority>,
    pub(crate) resource: Shared<Resource>,
}

impl Parties {
    pub(crate) async fn start() -> Self {
        let (authority, other) = (start_authority().await, start_authority().await);
        let (listener, origin) = listen().await;
        let resource = Arc::new(Mutex::new(Resource {
            url: format!("{origin}/mcp"),
            issuer: look(&authority).issuer.clone(),
            claims: None,
            legacy: false,
            wants: "notes:write",
            insatiable: false,
            redirects: None,
            sealing: None,
            seen: Vec::new(),
        }));
        let parties = Self {
            authority,
            other,
            resource,
        };
        let router = Router::new()
            .route("/mcp", post(mcp).get(gateway::stream).delete(ended))
            .route("/mcp/seal", post(gateway::session).delete(gateway::session))
            .route("/jwks.json", get(gateway::jwks))
            .route(
                "/.well-known/oauth-protected-resource/mcp",
                get(protected_resource),
            )
            .with_state(parties.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        parties
    }

    pub(crate) fn url(&self) -> String {
        look(&self.resource).url.clone()
    }

    /// How many requests of the authorization server began like this.
    pub(crate) fn count(&self, start: &str) -> usize {
        look(&self.authority)
            .seen
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    (listener, origin)
}

async fn start_authority() -> Shared<Authority> {
    let (listener, issuer) = listen().await;
    let authority = Arc::new(Mutex::new(Authority {
        issuer,
        metadata: json!({}),
        iss: Iss::Right,
        denies: None,
        refuses_redirect: None,
        forgets_after_authorize: false,
        broken: false,
        lifetime: 300,
        clients: HashMap::new(),
        seen: Vec::new(),
        codes: HashMap::new(),
        refresh: HashMap::new(),
        access: HashMap::new(),
        subject: None,
        who: HashMap::new(),
        next: 0,
    }));
    let router = Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/register", post(register))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .route("/revoke", post(revoke))
        .with_state(Arc::clone(&authority));
    tokio::spawn(async move { axum::serve(listener, router).await });
    authority
}

type Fields = HashMap<String, String>;

fn oauth_error(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

async fn metadata(State(authority): State<Shared<Authority>>) -> Json<Value> {
    let authority = look(&authority);
    let issuer = &authority.issuer;
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "registration_endpoint": format!("{issuer}/register"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
        "authorization_response_iss_parameter_supported": true,
    });
    for (name, value) in authority.metadata.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    Json(document)
}

async fn register(State(authority): State<Shared<Authority>>, Json(wish): Json<Value>) -> Response {
    let mut authority = look(&authority);
    let redirect = wish["redirect_uris"][0].as_str().unwrap().to_owned();
    if authority
        .refuses_redirect
        .is_some_and(|start| redirect.starts_with(start))
    {
        return oauth_error(StatusCode::BAD_REQUEST, "invalid_redirect_uri");
    }
    assert_eq!(wish["application_type"], "native");
    authority.next += 1;
    let id = format!("client-{}", authority.next);
    authority.seen.push(format!("register {redirect}"));
    authority.clients.insert(id.clone(), redirect.clone());
    let body = json!({"client_id": id, "redirect_uris": [redirect], "token_endpoint_auth_method": "none"});
    (StatusCode::CREATED, Json(body)).into_response()
}

async fn authorize(State(authority): State<Shared<Authority>>, Query(asked): Query<Fields>) -> Response {
    let mut authority = look(&authority);
    let scope = asked.get("scope").cloned().unwrap_or_default();
    authority.seen.push(format!("authorize {scope}"));
    if !authority.clients.contains_key(&asked["client_id"]) {
        return (StatusCode::BAD_REQUEST, "unknown client").into_response();
    }
    assert_eq!(asked["code_challenge_method"], "S256");
    authority.next += 1;
    let code = format!("code-{}", authority.next);
    let mut back = url::Url::parse(&asked["redirect_uri"]).unwrap();
    back.query_pairs_mut().append_pair("state", &asked["state"]);
    match authority.iss {
        Iss::Right => drop(back.query_pairs_mut().append_pair("iss", &authority.issuer)),
        Iss::Wrong => drop(
            back.query_pairs_mut()
                .append_pair("iss", &format!("{}/", authority.issuer)),
        ),
        Iss::Absent => {}
    }
    match authority.denies {
        Some(error) => drop(back.query_pairs_mut().append_pair("error", error)),
        None => {
            back.query_pairs_mut().append_pair("code", &code);
            if std::mem::take(&mut authority.forgets_after_authorize) {
                authority.clients.clear();
            }
            authority.codes.insert(code, asked);
        }
    }
    (StatusCode::FOUND, [(header::LOCATION, back.to_string())]).into_response()
}

async fn token(
    State(authority): State<Shared<Authority>>,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Response {
    let mut authority = look(&authority);
    authority.seen.push(format!("token {}", form["grant_type"]));
    if authority.broken {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let basic = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    let client = match &basic {
        Some(value) => {
            let pair = base64::engine::general_purpose::STANDARD
                .decode(value.strip_prefix("Basic ").unwrap())
                .unwrap();
            String::from_utf8(pair)
                .unwrap()
                .split_once(':')
                .unwrap()
                .0
                .to_owned()
        }
        None => form["client_id"].clone(),
    };
    if !authority.clients.contains_key(&client) {
        return oauth_error(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let scope = match form["grant_type"].as_str() {
        "authorization_code" => {
            let Some(asked) = authority.codes.remove(&form["code"]) else {
                return oauth_error(StatusCode::BAD_REQUEST, "invalid_grant");
            };
            let challenge =
                URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, form["code_verifier"].as_bytes()));
            assert_eq!(asked["code_challenge"], challenge);
            assert_eq!(asked["redirect_uri"], form["redirect_uri"]);
            assert_eq!(asked["resource"], form["resource"]);
            assert_eq!(asked["client_id"], client);
            asked.get("scope").cloned().unwrap_or_default()
        }
        _ => {
            let Some(held) = authority.refresh.get_mut(&form["refresh_token"]) else {
                return oauth_error(StatusCode::BAD_REQUEST, "invalid_grant");
            };
            let (spent, owner, scope) = (held.spent, held.client.clone(), held.scope.clone());
            held.spent = true;
            if spent || owner != client {
                // Reuse of a spent refresh token ends the whole family (RFC 9700 §4.14.2).
                authority.seen.push("reuse".to_owned());
                authority.refresh.clear();
                return oauth_error(StatusCode::BAD_REQUEST, "invalid_grant");
            }
            scope
        }
    };
    authority.next += 1;
    let (mut access, refresh) = (format!("at-{}", authority.next), format!("rt-{}", authority.next));
    if let Some(subject) = authority.subject {
        let claims = URL_SAFE_NO_PAD.encode(json!({ "sub": subject }).to_string());
        access = format!("e30.{claims}.{access}");
        authority
            .who
            .insert(access.clone(), (client.clone(), subject.to_owned()));
    }
    authority.access.insert(access.clone(), scope.clone());
    authority.refresh.insert(
        refresh.clone(),
        Refresh {
            client,
            scope: scope.clone(),
            spent: false,
        },
    );
    let body = json!({
        "access_token": access, "token_type": "Bearer", "expires_in": authority.lifetime,
        "refresh_token": refresh, "scope": scope,
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn revoke(State(authority): State<Shared<Authority>>, Form(form): Form<Fields>) -> StatusCode {
    let mut authority = look(&authority);
    authority.seen.push("revoke".to_owned());
    authority.refresh.remove(&form["token"]);
    StatusCode::OK
}

async fn protected_resource(State(parties): State<Parties>) -> Json<Value> {
    let resource = look(&parties.resource);
    let claims = resource.claims.as_ref().unwrap_or(&resource.url);
    let mut document = json!({"resource": claims, "authorization_servers": [resource.issuer], "scopes_supported": ["notes:read"]});
    if let Some(gateway) = &resource.sealing {
        let own = format!("{}/jwks.json", resource.url.trim_end_matches("/mcp"));
        document["jwks_uri"] = json!(look(gateway).jwks_uri.map_or(own, str::to_owned));
    }
    Json(document)
}

async fn ended() -> StatusCode {
    StatusCode::OK
}

async fn mcp(State(parties): State<Parties>, headers: HeaderMap, body: String) -> Response {
    let message: Value = serde_json::from_str(&body).unwrap();
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    let resource = look(&parties.resource);
    let (url, redirects) = (resource.url.clone(), resource.redirects.clone());
    let (legacy, wants, insatiable) = (resource.legacy, resource.wants, resource.insatiable);
    let trusted = if resource.issuer == look(&parties.authority).issuer {
        &parties.authority
    } else {
        &parties.other
    };
    let trusted = Arc::clone(trusted);
    drop(resource);
    let bearer = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap().trim_start_matches("Bearer ").to_owned());
    let line = format!("{method} {}", bearer.as_deref().unwrap_or("-"));
    look(&parties.resource).seen.push(line);
    if let Some(elsewhere) = redirects {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, elsewhere)]).into_response();
    }
    let base = url.trim_end_matches("/mcp");
    let pointer = format!("resource_metadata=\"{base}/.well-known/oauth-protected-resource/mcp\"");
    let challenge = |status, text: &str| {
        (
            status,
            [(header::WWW_AUTHENTICATE, format!("Bearer {pointer}{text}"))],
        )
            .into_response()
    };
    let access = |token: &String| look(&trusted).access.get(token).cloned();
    let Some(scope) = bearer.as_ref().and_then(access) else {
        return challenge(StatusCode::UNAUTHORIZED, ", scope=\"notes:read\"");
    };
    if method == "tools/call" && (insatiable || !scope.split(' ').any(|held| held == wants)) {
        let wants = if insatiable {
            format!("more:{}", look(&trusted).next)
        } else {
            wants.to_owned()
        };
        return challenge(
            StatusCode::FORBIDDEN,
            &format!(", error=\"insufficient_scope\", scope=\"{wants}\""),
        );
    }
    match (parties.sealing(), bearer.and_then(|token| parties.bound(&token))) {
        (Some(sealing), Some(bound)) if !method.is_empty() => {
            gateway::answer(&sealing, &message, bound, legacy)
        }
        _ => answer(&message, &method, legacy),
    }
}

fn answer(message: &Value, method: &str, legacy: bool) -> Response {
    let Some(id) = message.get("id") else {
        return StatusCode::ACCEPTED.into_response();
    };
    let server = json!({"name": "notes", "version": "1"});
    let page = |tools: Value, next: Option<&str>| {
        let mut result =
            json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": tools});
        if let Some(next) = next {
            result["nextCursor"] = json!(next);
        }
        result
    };
    let tool = |name: &str| json!({"name": name, "description": format!("does {name}"), "inputSchema": {"type": "object"}});
    let result = match method {
        "server/discover" if legacy => return (StatusCode::BAD_REQUEST, "what?").into_response(),
        "server/discover" => json!({
            "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}}, "serverInfo": server,
        }),
        "initialize" => {
            json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": server})
        }
        "tools/list" if message.pointer("/params/cursor") == Some(&json!("2")) => {
            page(json!([tool("add_note")]), None)
        }
        "tools/list" => page(json!([tool("list_notes")]), Some("2")),
        _ => {
            json!({"resultType": "complete", "content": [{"type": "text", "text": "done"}], "isError": false})
        }
    };
    let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    // A call answers as an event stream, the rest as JSON: a client must read both.
    let (kind, body) = match method {
        "tools/call" => (
            "text/event-stream",
            format!(": hello\n\nevent: message\ndata: {body}\n\n"),
        ),
        _ => ("application/json", body),
    };
    let mut answer = Response::builder().header(header::CONTENT_TYPE, kind);
    if method == "initialize" {
        answer = answer.header("mcp-session-id", "session-1");
    }
    answer.body(Body::from(body)).unwrap()
}
