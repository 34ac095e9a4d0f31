//! An issuer with a real key, a guard that trusts it, and what they are asked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use bytes::Bytes;
use http::{Request, Response};
use portcullis_core::audit::Event;
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::{EcCurve, PublicJwk, PublicKey};
use portcullis_core::jose::jws::{self, SigningUnavailable, TokenSigner};
use portcullis_core::keys::JwksDocument;
use portcullis_guard::layer::{AuthorizationServer, GuardBuilder, GuardLayer};
use portcullis_guard::recorder::{Durability, Recorder, Recording};
use portcullis_net::clock::{Clock as _, System};
use portcullis_net::fetch::{self, Fetcher, Limits, Reach};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::rmcp_server;

const ISSUER: &str = "https://as.example";
const LIMITS: Limits = Limits {
    body: 1 << 20,
    time: Duration::from_secs(20),
};

/// The issuer's key.
struct Key(EcdsaKeyPair, KeyId);

impl TokenSigner for Key {
    fn kid(&self) -> &KeyId {
        &self.1
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Es256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
        let digest = digest::digest(&digest::SHA256, message);
        Ok(self.0.sign_digest(&digest).unwrap().as_ref().to_vec())
    }
}

/// Keeps events, and says when there is another.
#[derive(Default)]
pub(crate) struct Memory {
    events: Mutex<Vec<(Value, Durability)>>,
    more: Notify,
}

impl Recorder for Memory {
    fn record<'a>(&'a self, event: Event, durability: Durability) -> Recording<'a> {
        let mut events = self.events.lock().unwrap();
        events.push((serde_json::to_value(event).unwrap(), durability));
        self.more.notify_one();
        let seq = events.len() as u64;
        Box::pin(async move { Ok(seq) })
    }
}

impl Memory {
    /// Waits for the first event of these values, and takes all up to it.
    pub(crate) async fn event(&self, values: &[(&str, &str)]) -> (Value, Durability) {
        loop {
            let more = self.more.notified();
            let seen = match self.take(values) {
                Ok(event) => return event,
                Err(seen) => seen,
            };
            tokio::time::timeout(LIMITS.time, more)
                .await
                .unwrap_or_else(|_| panic!("no event of {values:?} among {seen}"));
        }
    }

    /// Or else what there is, in words.
    fn take(&self, values: &[(&str, &str)]) -> Result<(Value, Durability), String> {
        let fits = |event: &Value| values.iter().all(|(member, value)| event[member] == *value);
        let mut events = self.events.lock().unwrap();
        match events.iter().position(|(event, _)| fits(event)) {
            Some(at) => Ok(events.drain(..=at).next_back().unwrap()),
            None => Err(format!("{events:?}")),
        }
    }
}

/// An issuer, and a record.
pub(crate) struct House {
    key: Key,
    jwks: PathBuf,
    pub(crate) memory: Arc<Memory>,
    client: Fetcher,
}

impl House {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let key = Key(
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            KeyId::parse("k").unwrap(),
        );
        let public = PublicKey::from_uncompressed(EcCurve::P256, key.0.public_key().as_ref()).unwrap();
        let jwk = PublicJwk {
            key: public,
            algorithm: SignatureAlgorithm::Es256.into(),
            kid: key.1.clone(),
            chain: Vec::new(),
        };
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let jwks = std::env::temp_dir().join(format!("portcullis-layer-{process}-{next}.json"));
        std::fs::write(&jwks, JwksDocument::new(vec![jwk]).bytes()).unwrap();
        Self {
            key,
            jwks,
            memory: Arc::default(),
            client: Fetcher::new(Reach::LoopbackToo).unwrap(),
        }
    }

    /// A guard for the server `notes` at a URL, with the rules of the example.
    pub(crate) fn builder(&self, url: &str) -> GuardBuilder {
        let issuer = AuthorizationServer::at(ISSUER).keys_in(&self.jwks);
        let recorder = Arc::<Memory>::clone(&self.memory);
        rmcp_server::ruled(GuardLayer::builder("notes", url, issuer, recorder))
    }

    /// The example on a free port; its URL.
    pub(crate) async fn serve(&self) -> (String, GuardLayer) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let guard = self.builder(&url).build().unwrap();
        let app = rmcp_server::app(&guard);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (url, guard)
    }

    /// A token of this user's.
    pub(crate) fn token(&self, user: &str, url: &str, scope: &str) -> String {
        let now = System.now().as_secs();
        let claims = json!({
            "iss": ISSUER, "sub": user, "client_id": "agent-1", "aud": url, "scope": scope, "jti": user,
            "iat": now, "exp": now + 300,
        });
        jws::sign(&self.key, "at+jwt", claims.as_object().unwrap()).unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.client.send(request, LIMITS).await.unwrap()
    }

    /// As soon as the head is there.
    pub(crate) async fn open(&self, request: Request<Bytes>) -> Response<fetch::Body> {
        let request = request.map(fetch::full);
        self.client.open(request, LIMITS.time).await.unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        std::fs::remove_file(&self.jwks).unwrap();
    }
}

/// A POST of a legacy client.
pub(crate) fn post(url: &str, token: &str, message: &Value) -> Request<Bytes> {
    Request::post(url)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(message.to_string().into())
        .unwrap()
}

pub(crate) fn call(tool: &str, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

pub(crate) fn header<'r, B>(response: &'r Response<B>, name: &str) -> &'r str {
    let value = response.headers().get(name);
    value.map(|value| value.to_str().unwrap()).unwrap_or_default()
}

pub(crate) fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or_else(|error| panic!("{error}: {:?}", response.body()))
}

/// The one JSON-RPC response on a stream of events that came to its end.
pub(crate) fn result_of(response: &Response<Bytes>) -> Value {
    assert_eq!(
        header(response, "content-type"),
        "text/event-stream",
        "{response:?}"
    );
    let text = std::str::from_utf8(response.body()).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let mut messages = data.filter(|data| !data.trim().is_empty());
    let message = serde_json::from_str(messages.next().unwrap()).unwrap();
    assert_eq!(messages.next(), None, "{text}");
    message
}
