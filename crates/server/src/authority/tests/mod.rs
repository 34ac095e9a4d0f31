//! The authority as its clients and its users meet it: real requests, a real store, real keys.

mod authorize;
mod discovery;
mod documents;
mod login;
mod register;
mod tokens;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use portcullis_core::audit::Event;
use portcullis_core::ids::{Issuer, ResourceUri, Scope, ScopeSet, ServerName, ToolName};
use portcullis_core::policy::{Effect, ScopeDescription};
use portcullis_core::secret::Secret;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_guard::Revocations;
use portcullis_guard::recorder::{Durability, Recorder, RecorderUnavailable};
use portcullis_net::clock::Clock;
use portcullis_net::fetch::{Fetcher, Reach};
use portcullis_net::random::System;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::custody::MasterKey;
use crate::http::Peer;

const ISSUER: &str = "http://127.0.0.1:8421";
const RESOURCE: &str = "http://127.0.0.1:8420/mcp";
/// Where requests come from, unless a test says otherwise.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const REDIRECT: &str = "http://127.0.0.1:7/callback";
const PASSWORD: &str = "correct horse battery staple";
// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A clock that is set by hand.
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> UnixTime {
        UnixTime::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Keeps records in memory, or fails.
#[derive(Default)]
struct Records {
    events: Mutex<Vec<Value>>,
    broken: AtomicBool,
}

impl Recorder for Records {
    fn record<'a>(
        &'a self,
        event: Event,
        durability: Durability,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<u64, RecorderUnavailable>> + Send + 'a>> {
        Box::pin(async move {
            if self.broken.load(Ordering::SeqCst) {
                return Err(RecorderUnavailable("broken".to_owned()));
            }
            assert_eq!(durability, Durability::Synced);
            let mut events = self.events.lock().unwrap();
            events.push(serde_json::to_value(&event).unwrap());
            Ok(events.len() as u64)
        })
    }
}

/// The scopes of the server `notes`.
struct Notes;

impl ScopeCatalogue for Notes {
    fn scopes(&self, server: &ServerName) -> Vec<ScopeDescription> {
        if server.as_str() != "notes" {
            return Vec::new();
        }
        let described = |scope: &str, effect, tool: &str, implies: &str| ScopeDescription {
            scope: Scope::parse(scope).unwrap(),
            effect,
            tools: vec![ToolName::parse(tool).unwrap()],
            unlisted: effect == Effect::Irreversible,
            implies: ScopeSet::parse(implies).unwrap(),
        };
        vec![
            described("notes:read", Effect::Read, "list_notes", ""),
            described("notes:write", Effect::Write, "add_note", "notes:read"),
            described(
                "notes:irreversible",
                Effect::Irreversible,
                "delete_all_notes",
                "notes:read notes:write",
            ),
        ]
    }
}

/// One authority with its surroundings.
struct Stage {
    authority: Arc<Authority>,
    clock: Arc<Hands>,
    records: Arc<Records>,
    folder: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// Status and OAuth error of an answer in JSON.
    fn error(&self) -> (u16, String) {
        (
            self.status.as_u16(),
            self.json()["error"].as_str().unwrap().to_owned(),
        )
    }

    /// The value of a hidden field of a page.
    fn field(&self, name: &str) -> String {
        let (_, after) = self
            .body
            .split_once(&format!("name=\"{name}\" value=\""))
            .unwrap_or_else(|| panic!("{self:?}"));
        after
            .split_once('"')
            .unwrap()
            .0
            .replace("&#38;", "&")
            .replace("&amp;", "&")
    }

    /// A parameter of the address in `Location`.
    fn sent(&self, name: &str) -> Option<String> {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{self:?}");
        let url = url::Url::parse(self.header("location")).unwrap();
        url.query_pairs()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.into_owned())
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

impl Stage {
    async fn new() -> Self {
        Self::with(|_| {}, Reach::LoopbackToo).await
    }

    async fn with(change: impl FnOnce(&mut Settings), reach: Reach) -> Self {
        Self::with_keys(change, reach, None).await
    }

    /// With this ring in place of one of its own.
    async fn with_keys(
        change: impl FnOnce(&mut Settings),
        reach: Reach,
        keyring: Option<Arc<Keyring>>,
    ) -> Self {
        let name = portcullis_core::random::token::<12>(&System).unwrap();
        let folder = std::env::temp_dir().join(format!("portcullis-authority-{name}"));
        std::fs::create_dir(&folder).unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(1_795_255_200_000)));
        let store = Store::open(folder.join("portcullis.db").to_str().unwrap())
            .await
            .unwrap();
        let password = Secret::new(PASSWORD);
        people::ensure_password(&store, "alice", &password, &System, clock.now())
            .await
            .unwrap();
        let master = MasterKey::open(&folder.join("master.key"), &System).unwrap();
        let keyring = keyring.unwrap_or_else(|| {
            Keyring::open(&folder.join("keys/authority"), &master, ISSUER, &*clock, &System).unwrap()
        });
        let resource = Resource {
            uri: ResourceUri::parse(RESOURCE).unwrap(),
            server: ServerName::parse("notes").unwrap(),
            title: "Notes".to_owned(),
        };
        let mut settings = Settings::new(Issuer::parse(ISSUER).unwrap(), vec![resource]);
        if reach == Reach::LoopbackToo {
            settings.document_hosts = Hosts::LoopbackToo;
        }
        change(&mut settings);
        let records = Arc::new(Records::default());
        let deps = Dependencies {
            store,
            revocations: Revocations::new(),
            keyring,
            recorder: Arc::<Records>::clone(&records),
            clock: Arc::<Hands>::clone(&clock),
            random: Arc::new(System),
            fetcher: Fetcher::new(reach).unwrap(),
            catalogue: Arc::new(Notes),
        };
        Self {
            authority: Authority::new(settings, deps),
            clock,
            records,
            folder,
        }
    }

    fn store(&self) -> &Store {
        &self.authority.deps.store
    }

    fn later(&self, by: Lifetime) {
        self.clock
            .0
            .fetch_add(i64::try_from(by.as_secs()).unwrap() * 1000, Ordering::SeqCst);
    }

    /// Records of one kind.
    fn recorded(&self, kind: &str) -> Vec<Value> {
        self.records
            .events
            .lock()
            .unwrap()
            .iter()
            .filter(|event| event["kind"] == kind)
            .cloned()
            .collect()
    }

    async fn send(&self, mut request: Request<Body>) -> Answer {
        request.extensions_mut().get_or_insert(Peer(HERE));
        let response = Arc::clone(&self.authority)
            .router()
            .oneshot(request)
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: String) -> Answer {
        self.post_as(path, body, None).await
    }

    /// Posts a form, perhaps with HTTP Basic.
    async fn post_as(&self, path: &str, body: String, authorization: Option<&str>) -> Answer {
        let mut request =
            Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn register_as(&self, wish: Value) -> Answer {
        let request = Request::post("/register").header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(wish.to_string())).unwrap())
            .await
    }

    /// Registers a public client and gives its id.
    async fn register(&self) -> String {
        let registered = self
            .register_as(json!({
                "client_name": "Agent",
                "redirect_uris": [REDIRECT],
                "grant_types": ["authorization_code", "refresh_token"],
                "token_endpoint_auth_method": "none",
                "application_type": "native",
            }))
            .await;
        assert_eq!(registered.status, StatusCode::CREATED, "{registered:?}");
        registered.json()["client_id"].as_str().unwrap().to_owned()
    }

    /// Trades a code, with changes to the good request: `("name", "")` removes.
    async fn redeem(&self, client: &str, code: &str, changes: &[(&str, &str)]) -> Answer {
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
            ("resource", RESOURCE),
        ];
        for (name, value) in changes {
            pairs.retain(|(given, _)| given != name);
            if !value.is_empty() {
                pairs.push((name, value));
            }
        }
        self.post("/token", form(&pairs)).await
    }

    async fn refresh(&self, client: &str, token: &str) -> Answer {
        let pairs = [
            ("grant_type", "refresh_token"),
            ("client_id", client),
            ("refresh_token", token),
            ("resource", RESOURCE),
        ];
        self.post("/token", form(&pairs)).await
    }
}

/// The path and query of an authorization request, with changes: `("name", "")` removes.
fn authorization(client: &str, changes: &[(&str, &str)]) -> String {
    let mut pairs = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("scope", "notes:read"),
        ("state", "s&t"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("resource", RESOURCE),
    ];
    for (name, value) in changes {
        pairs.retain(|(given, _)| given != name);
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    format!("/authorize?{}", form(&pairs))
}

/// A browser: its session's cookie, and the one by which it is known at its next login.
struct Visitor<'s> {
    stage: &'s Stage,
    peer: IpAddr,
    cookie: Option<String>,
    device: Option<String>,
}

impl<'s> Visitor<'s> {
    fn new(stage: &'s Stage) -> Self {
        Self::at(stage, HERE)
    }

    fn at(stage: &'s Stage, peer: impl Into<IpAddr>) -> Self {
        Self {
            stage,
            peer: peer.into(),
            cookie: None,
            device: None,
        }
    }

    async fn send(&mut self, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(Peer(self.peer));
        for cookie in self.cookie.iter().chain(&self.device) {
            request
                .headers_mut()
                .append(header::COOKIE, cookie.parse().unwrap());
        }
        let answer = self.stage.send(request).await;
        for cookie in answer.headers.get_all(header::SET_COOKIE) {
            let (pair, _) = cookie.to_str().unwrap().split_once(';').unwrap();
            let jar = if pair.contains("-device=") {
                &mut self.device
            } else {
                &mut self.cookie
            };
            *jar = Some(pair.to_owned());
        }
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&mut self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form(pairs))).unwrap()).await
    }

    /// Fills in the login page.
    async fn log_in(&mut self, page: &Answer, name: &str, password: &str) -> Answer {
        let (csrf, request) = (page.field("csrf"), page.field("request"));
        self.post(
            "/login",
            &[
                ("csrf", &csrf),
                ("request", &request),
                ("username", name),
                ("password", password),
            ],
        )
        .await
    }

    /// Answers the consent page.
    async fn decide(&mut self, page: &Answer, decision: &str) -> Answer {
        let (csrf, request) = (page.field("csrf"), page.field("request"));
        self.post(
            "/authorize",
            &[("csrf", &csrf), ("request", &request), ("decision", decision)],
        )
        .await
    }

    /// Opens an authorization request and signs in if asked; gives the next page or redirect.
    async fn open(&mut self, path: &str) -> Answer {
        let page = self.get(path).await;
        if !page.body.contains("name=\"password\"") {
            return page;
        }
        let back = self.log_in(&page, "alice", PASSWORD).await;
        assert_eq!(back.status, StatusCode::SEE_OTHER, "{back:?}");
        let back = back.header("location").strip_prefix(ISSUER).unwrap().to_owned();
        self.get(&back).await
    }

    /// All the way to a code.
    async fn code(&mut self, path: &str) -> String {
        let mut page = self.open(path).await;
        if page.status == StatusCode::OK {
            page = self.decide(&page, "approve").await;
        }
        page.sent("code").unwrap_or_else(|| panic!("{page:?}"))
    }
}
