//! A gateway and a guarded server on real sockets, and an issuer that both sides know.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use portcullis_core::audit::{DigestKey, Event};
use portcullis_core::forward::UpstreamCredential;
use portcullis_core::identity::{IssuerTrust, Profile, TokenProfile};
use portcullis_core::ids::{Issuer, ServerName, ToolName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jws;
use portcullis_core::policy::{Effect, Policy, Rules, ServerRules, ToolRule};
use portcullis_core::seal::session::Cipher;
use portcullis_core::secret::Secret;
use portcullis_core::time::Lifetime;
use portcullis_guard::recorder::{Durability, Recorder, RecorderUnavailable};
use portcullis_guard::{
    Guard, LocalReplayLog, NonceKey, ProofNonce, PublicHost, Sealing, SealingSettings, SenderConstraint,
    SenderRules, Senders, ToolSeal, TrustedIssuer,
};
use portcullis_net::clock::{Clock as _, System};
use portcullis_net::discovery::{IssuerKeys, KeysFrom};
use portcullis_net::fetch::{self, Fetcher, Limits, Reach};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::custody::{Keyring, MasterKey};
use crate::gateway::upstream::HttpUpstream;
use crate::gateway::{Gateway, Server, Settings};
use crate::http::{self as listener};
use crate::sink::AuditLog;

const ISSUER: &str = "https://as.example";
pub(super) const LIMITS: Limits = Limits {
    body: 1 << 20,
    time: Duration::from_secs(20),
};
/// Largest request body here.
pub(super) const BODY_BYTES: usize = 2_000;

type Reply = Box<dyn Fn(&Parts, &Bytes) -> Response<Body> + Send>;

/// The guarded server: answers as it is told, and keeps what it was sent.
pub(super) struct Upstream {
    reply: Mutex<Reply>,
    pub(super) seen: Mutex<Vec<(Parts, Bytes)>>,
}

/// Keeps events, and says when there is another.
#[derive(Default)]
pub(super) struct Memory {
    events: Mutex<Vec<Value>>,
    more: Notify,
}

impl Recorder for Memory {
    fn record<'a>(
        &'a self,
        event: Event,
        _durability: Durability,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<u64, RecorderUnavailable>> + Send + 'a>> {
        let mut events = self.events.lock().unwrap();
        events.push(serde_json::to_value(event).unwrap());
        self.more.notify_one();
        let seq = events.len() as u64;
        Box::pin(async move { Ok(seq) })
    }
}

pub(super) struct House {
    pub(super) public_url: String,
    pub(super) admin_url: String,
    pub(super) upstream: Arc<Upstream>,
    pub(super) memory: Arc<Memory>,
    /// What `/readyz` asks. Its disk is full.
    pub(super) log: Arc<AuditLog>,
    pub(super) log_file: PathBuf,
    pub(super) gateway: Gateway,
    pub(super) stop: CancellationToken,
    pub(super) client: Fetcher,
    keyring: Arc<Keyring>,
    folder: PathBuf,
}

impl House {
    pub(super) async fn new() -> Self {
        Self::with_sealed(Vec::new()).await
    }

    /// A gateway whose server has tools with sealed results.
    pub(super) async fn with_sealed(tools: Vec<(&str, ToolSeal)>) -> Self {
        let upstream = Arc::new(Upstream {
            reply: Mutex::new(Box::new(|_, _| {
                json_response(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)
            })),
            seen: Mutex::default(),
        });
        let at = serve_upstream(Arc::clone(&upstream)).await;
        let (head_time, silence) = (Duration::from_secs(20), Duration::from_secs(60));
        Self::built(at, upstream, head_time, silence, tools).await
    }

    /// A gateway that ends streams after this much silence.
    pub(super) async fn with_stream_silence(silence: Duration) -> Self {
        let upstream = Self::new().await.upstream.clone();
        let at = serve_upstream(Arc::clone(&upstream)).await;
        Self::built(at, upstream, Duration::from_secs(20), silence, Vec::new()).await
    }

    /// A gateway before a server at some address.
    pub(super) async fn before(at: SocketAddr, upstream: Arc<Upstream>, head_time: Duration) -> Self {
        Self::built(at, upstream, head_time, Duration::from_secs(60), Vec::new()).await
    }

    async fn built(
        at: SocketAddr,
        upstream: Arc<Upstream>,
        head_time: Duration,
        stream_silence: Duration,
        sealed: Vec<(&str, ToolSeal)>,
    ) -> Self {
        let name = portcullis_core::random::token::<12>(&portcullis_net::random::System).unwrap();
        let folder = std::env::temp_dir().join(format!("portcullis-gateway-{name}"));
        std::fs::create_dir(&folder).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public_url = format!("http://{}", socket.local_addr().unwrap());
        let admin_url = format!("http://{}", admin.local_addr().unwrap());
        let random = portcullis_net::random::System;
        let master = MasterKey::open(&folder.join("master.key"), &random).unwrap();
        let keyring = Keyring::open(
            &folder.join("keys/gateway"),
            &master,
            &public_url,
            &System,
            &random,
        )
        .unwrap();
        // The gateway's own keys do for the issuer's here.
        let jwks = folder.join("jwks.json");
        std::fs::write(&jwks, keyring.jwks().bytes()).unwrap();

        let memory = Arc::new(Memory::default());
        let client = Fetcher::new(Reach::LoopbackToo).unwrap();
        let issuer = Issuer::parse(ISSUER).unwrap();
        let keys = IssuerKeys::new(
            issuer.clone(),
            KeysFrom::File(jwks),
            client.clone(),
            Arc::new(System),
        );
        let trust = IssuerTrust {
            issuer: issuer.clone(),
            algorithms: BTreeSet::from([SignatureAlgorithm::Es256]),
            max_token_lifetime: Lifetime::from_hours(1),
            skew: Lifetime::from_secs(30),
            tokens: TokenProfile::of(Profile::Rfc9068),
        };
        let settings = portcullis_guard::Settings {
            public_host: PublicHost::of(&public_url, Vec::new()).unwrap(),
            issuers: vec![TrustedIssuer::new(trust, Arc::new(keys))],
            policy: Arc::new(ArcSwap::from_pointee(policy())),
            recorder: Arc::<Memory>::clone(&memory),
            clock: Arc::new(System),
            digest_key: DigestKey::new([7; 32]),
            senders: Senders {
                usual: SenderRules {
                    constraint: SenderConstraint::None,
                    nonce: ProofNonce::Off,
                },
                servers: HashMap::new(),
                window: Lifetime::from_secs(60),
                nonce_key: NonceKey::random(&random).unwrap(),
                replays: Arc::new(LocalReplayLog::new(1000, System.now())),
            },
            rates: portcullis_guard::Rates::default(),
        };
        let mut guard = Guard::new(settings, &random).unwrap();
        if !sealed.is_empty() {
            guard = guard.with_sealing(sealing(&public_url, &keyring, sealed));
        }
        let guard = Arc::new(guard);
        let credential = UpstreamCredential::bearer(Secret::new("the-gateways-own")).unwrap();
        let url = format!("http://{at}/behind").parse().unwrap();
        let behind = HttpUpstream::new(url, credential, Fetcher::new(Reach::Configured).unwrap())
            .with_head_time(head_time);
        let log_file = folder.join("audit/audit-00000000000000000001.jsonl");
        std::fs::create_dir(folder.join("audit")).unwrap();
        std::os::unix::fs::symlink("/dev/full", &log_file).unwrap();
        let log = Arc::new(AuditLog::open(&folder.join("audit"), Arc::new(System), &random).unwrap());
        let stop = CancellationToken::new();
        let settings = Settings {
            public_url: public_url.clone(),
            servers: vec![Server {
                name: ServerName::parse("notes").unwrap(),
                upstream: Arc::new(behind),
            }],
            body_bytes: BODY_BYTES,
            body_time: Duration::from_millis(200),
            stream_silence,
            streams: portcullis_guard::STREAMS,
            readiness: Arc::<AuditLog>::clone(&log),
            proxy: None,
        };
        let gateway = Gateway::new(settings, guard, Arc::clone(&keyring), stop.clone()).unwrap();
        let never = std::future::pending::<()>;
        tokio::spawn(listener::serve(
            socket,
            gateway.router(),
            listener::Limits::USUAL,
            never(),
        ));
        tokio::spawn(listener::serve(
            admin,
            gateway.admin_router(Vec::new()),
            listener::Limits::USUAL,
            never(),
        ));
        Self {
            public_url,
            admin_url,
            upstream,
            memory,
            log,
            log_file,
            gateway,
            stop,
            client,
            keyring,
            folder,
        }
    }

    /// From now on the server answers like this.
    pub(super) fn reply(&self, reply: impl Fn(&Parts, &Bytes) -> Response<Body> + Send + 'static) {
        *self.upstream.reply.lock().unwrap() = Box::new(reply);
    }

    pub(super) fn calls_upstream(&self) -> usize {
        self.upstream.seen.lock().unwrap().len()
    }

    /// A token of alice's for `/mcp`.
    pub(super) fn token(&self, scope: &str) -> String {
        self.token_with(scope, |_| ())
    }

    pub(super) fn token_with(&self, scope: &str, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        let now = System.now().as_secs();
        let claims = json!({
            "iss": ISSUER, "sub": "alice", "client_id": "agent-1", "aud": format!("{}/mcp", self.public_url),
            "scope": scope, "jti": "t-1", "iat": now, "exp": now + 300,
        });
        let Value::Object(mut claims) = claims else {
            panic!("not an object")
        };
        change(&mut claims);
        jws::sign(&*self.keyring.signer(), "at+jwt", &claims).unwrap()
    }

    /// A request of a legacy client, to be changed.
    pub(super) fn post(&self, token: &str, body: &Value) -> Request<Bytes> {
        Request::post(format!("{}/mcp", self.public_url))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body.to_string().into())
            .unwrap()
    }

    pub(super) async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.client.send(request, LIMITS).await.unwrap()
    }

    pub(super) async fn open(&self, request: Request<Bytes>) -> Response<fetch::Body> {
        self.client
            .open(request.map(fetch::full), LIMITS.time)
            .await
            .unwrap()
    }

    /// Waits for the event at this place, counted from 0.
    pub(super) async fn event(&self, at: usize) -> Value {
        loop {
            let more = self.memory.more.notified();
            if let Some(event) = self.memory.events.lock().unwrap().get(at) {
                return event.clone();
            }
            tokio::time::timeout(LIMITS.time, more)
                .await
                .expect("another event");
        }
    }

    pub(super) fn events(&self) -> usize {
        self.memory.events.lock().unwrap().len()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn sealing(public_url: &str, keyring: &Arc<Keyring>, tools: Vec<(&str, ToolSeal)>) -> Arc<Sealing> {
    let notes = ServerName::parse("notes").unwrap();
    Sealing::new(SealingSettings {
        gateway: Issuer::parse(public_url).unwrap(),
        jwks_uri: format!("{public_url}/.well-known/jwks.json"),
        tools: tools
            .into_iter()
            .map(|(tool, seal)| (notes.clone(), ToolName::parse(tool).unwrap(), seal))
            .collect(),
        ciphers: Cipher::ALL.to_vec(),
        session_lifetime: Lifetime::from_hours(1),
        keys: Arc::<Keyring>::clone(keyring),
        clock: Arc::new(System),
        random: Arc::new(portcullis_net::random::System),
        replays: Arc::new(LocalReplayLog::new(1_000, System.now())),
    })
}

async fn serve_upstream(upstream: Arc<Upstream>) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let router = Router::new().fallback(move |request: Request<Body>| {
        let upstream = Arc::clone(&upstream);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let response = (upstream.reply.lock().unwrap())(&head, &body);
            upstream.seen.lock().unwrap().push((head, body));
            response
        }
    });
    tokio::spawn(listener::serve(
        socket,
        router,
        listener::Limits::USUAL,
        std::future::pending(),
    ));
    at
}

fn policy() -> Policy {
    let tool = |name: &str, effect| ToolRule {
        name: ToolName::parse(name).unwrap(),
        effect,
        scopes: None,
    };
    let server = ServerRules {
        name: ServerName::parse("notes").unwrap(),
        unlisted: Effect::Irreversible,
        tools: vec![tool("list_notes", Effect::Read), tool("add_note", Effect::Write)],
    };
    Policy::compile(&Rules {
        servers: vec![server],
        ..Rules::default()
    })
    .unwrap()
}

pub(super) fn call(tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
}

pub(super) fn message(method: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": {} })
}

pub(super) fn json_response(body: impl Into<Body>) -> Response<Body> {
    Response::builder()
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

/// A stream of events that the test writes to.
pub(super) fn stream() -> (mpsc::Sender<&'static str>, Response<Body>) {
    let (sender, mut pieces) = mpsc::channel(8);
    let pieces = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    let response = Response::builder()
        .header("content-type", "text/event-stream")
        .header("x-accel-buffering", "no")
        .body(Body::from_stream(pieces.map(Ok::<_, Infallible>)))
        .unwrap();
    (sender, response)
}

/// The next piece of a stream.
pub(super) async fn piece(body: &mut fetch::Body) -> Option<String> {
    let frame = tokio::time::timeout(LIMITS.time, body.frame())
        .await
        .expect("another piece")?;
    Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
}

pub(super) fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or_else(|error| panic!("{error}: {:?}", response.body()))
}

pub(super) fn header<'r, B>(response: &'r Response<B>, name: &str) -> &'r str {
    response
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap())
        .unwrap_or_default()
}
