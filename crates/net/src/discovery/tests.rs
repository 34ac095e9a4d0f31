//! Against a real HTTP server on loopback, with a clock that the test moves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portcullis_core::ids::{Issuer, KeyId};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::base64url::encode;
use portcullis_core::time::UnixTime;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use url::Url;

use super::*;
use crate::clock::Clock;
use crate::fetch::{Fetcher, Reach};

/// A clock that stands still until it is moved.
struct Hand(AtomicI64);

impl Hand {
    fn move_by(&self, secs: i64) {
        self.0.fetch_add(secs, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Clone)]
struct Answer {
    status: u16,
    cache_control: Option<&'static str>,
    body: String,
}

fn ok(body: impl ToString) -> Answer {
    Answer {
        status: 200,
        cache_control: None,
        body: body.to_string(),
    }
}

fn status(status: u16) -> Answer {
    Answer {
        status,
        cache_control: None,
        body: String::new(),
    }
}

/// A server that answers each path as it was told, and counts.
struct Server {
    origin: String,
    answers: StdMutex<HashMap<String, Answer>>,
    asked: StdMutex<Vec<String>>,
    /// Once set, answers wait for it.
    gate: StdMutex<Option<Arc<Notify>>>,
}

impl Server {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Arc::new(Self {
            origin: format!("http://{}", listener.local_addr().unwrap()),
            answers: StdMutex::default(),
            asked: StdMutex::default(),
            gate: StdMutex::default(),
        });
        let accepting = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&accepting);
                let service = service_fn(move |request: Request<Incoming>| {
                    let server = Arc::clone(&serving);
                    async move { Ok::<_, std::convert::Infallible>(server.answer(request.uri().path()).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        server
    }

    async fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        self.asked.lock().unwrap().push(path.to_owned());
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        let answer = self
            .answers
            .lock()
            .unwrap()
            .get(path)
            .cloned()
            .unwrap_or_else(|| status(404));
        let mut response = Response::builder().status(answer.status);
        if let Some(cache_control) = answer.cache_control {
            response = response.header("cache-control", cache_control);
        }
        response.body(Full::new(Bytes::from(answer.body))).unwrap()
    }

    fn tell(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn issuer(&self, path: &str) -> Issuer {
        Issuer::parse(&format!("{}{path}", self.origin)).unwrap()
    }
}

/// A set of Ed25519 keys under these names. The point of a name is the one of its first byte.
fn set(kids: &[&str]) -> Value {
    let keys: Vec<Value> = kids
        .iter()
        .map(|kid| {
            let seed = [kid.as_bytes()[0]; 32];
            let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
            let point = aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref().to_vec();
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(point) })
        })
        .collect();
    json!({ "keys": keys })
}

fn kid(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

struct Bench {
    server: Arc<Server>,
    clock: Arc<Hand>,
    keys: Arc<IssuerKeys>,
}

impl Bench {
    async fn new() -> Self {
        let server = Server::start().await;
        server.tell("/jwks", ok(set(&["a"])));
        let from = KeysFrom::Url(Url::parse(&format!("{}/jwks", server.origin)).unwrap());
        Self::with(server, from)
    }

    fn with(server: Arc<Server>, from: KeysFrom) -> Self {
        let clock = Arc::new(Hand(AtomicI64::new(1_800_000_000)));
        let fetcher = Fetcher::new(Reach::LoopbackToo).unwrap();
        let keys = Arc::new(IssuerKeys::new(
            server.issuer(""),
            from,
            fetcher,
            Arc::clone(&clock) as Arc<dyn Clock>,
        ));
        Self { server, clock, keys }
    }

    /// Whether the key is in the set that comes back.
    async fn has(&self, name: &str) -> Result<bool, KeysUnavailable> {
        let set = self.keys.for_kid(Some(&kid(name))).await?;
        Ok(set.find(Some(&kid(name)), SignatureAlgorithm::EdDsa).is_some())
    }
}

#[tokio::test]
async fn a_set_is_fetched_when_it_is_needed_and_used_for_five_minutes() {
    let bench = Bench::new().await;
    assert_eq!(bench.server.asked(), 0);
    assert!(bench.keys.cached().is_none());
    assert!(bench.has("a").await.unwrap());
    bench.clock.move_by(239);
    assert!(bench.has("a").await.unwrap());
    assert!(bench.keys.for_kid(None).await.is_ok());
    assert_eq!(bench.server.asked(), 1);
    bench.clock.move_by(61);
    assert!(bench.has("a").await.unwrap());
    assert_eq!(bench.server.asked(), 2);
}

#[tokio::test]
async fn a_set_is_fetched_anew_before_it_is_stale_and_nobody_waits_for_it() {
    let bench = Bench::new().await;
    assert!(bench.has("a").await.unwrap());
    bench.server.tell("/jwks", ok(set(&["a", "b"])));
    let gate = Arc::new(Notify::new());
    *bench.server.gate.lock().unwrap() = Some(Arc::clone(&gate));
    bench.clock.move_by(240);
    for _ in 0..10 {
        assert!(bench.has("a").await.unwrap());
    }
    while bench.server.asked() < 2 {
        tokio::task::yield_now().await;
    }
    // It is under way, and the old set is used.
    assert!(bench.has("a").await.unwrap());
    assert!(!bench.keys.cached().unwrap().names(&kid("b")));
    *bench.server.gate.lock().unwrap() = None;
    gate.notify_one();
    while !bench.keys.cached().unwrap().names(&kid("b")) {
        tokio::task::yield_now().await;
    }
    // Fresh again: nobody asks for the next four minutes.
    bench.clock.move_by(239);
    assert!(bench.has("b").await.unwrap());
    assert_eq!(bench.server.asked(), 2);
}

#[tokio::test]
async fn jwk_03_a_set_with_a_private_key_is_refused_and_the_last_good_one_stays() {
    let bench = Bench::new().await;
    assert!(bench.has("a").await.unwrap());
    let mut leaked = set(&["a", "b"]);
    leaked["keys"][1]["d"] = json!(encode([7; 32]));
    bench.server.tell("/jwks", ok(&leaked));
    bench.clock.move_by(300);
    assert!(bench.has("a").await.unwrap());
    assert!(!bench.has("b").await.unwrap());
    let fresh = Bench::new().await;
    fresh.server.tell("/jwks", ok(leaked));
    let error = fresh.has("a").await.unwrap_err();
    assert!(error.to_string().contains("private key"), "{error}");
}

#[tokio::test]
async fn jwk_04_keys_that_are_not_for_verifying_do_not_spoil_the_rest() {
    let bench = Bench::new().await;
    let mut mixed = set(&["a", "b", "c", "d"]);
    mixed["keys"][1]["x"] = json!("AA");
    mixed["keys"][2]["use"] = json!("enc");
    mixed["keys"][3] = json!({ "kty": "oct", "kid": "d", "k": encode([7; 32]) });
    mixed["keys"].as_array_mut().unwrap().push(json!("key"));
    bench.server.tell("/jwks", ok(mixed));
    assert!(bench.has("a").await.unwrap());
    for name in ["b", "c", "d"] {
        assert!(!bench.has(name).await.unwrap(), "{name}");
    }
    assert_eq!(bench.keys.cached().unwrap().len(), 1);
}

#[tokio::test]
async fn jwk_08_two_keys_of_one_name_are_both_refused() {
    let bench = Bench::new().await;
    let mut twice = set(&["a", "b", "c"]);
    twice["keys"][1]["kid"] = json!("c");
    bench.server.tell("/jwks", ok(twice));
    assert!(bench.has("a").await.unwrap());
    assert!(!bench.has("c").await.unwrap());
}

#[tokio::test]
async fn jwk_10_an_https_issuer_has_its_keys_at_https() {
    let server = Server::start().await;
    let keys = IssuerKeys::new(
        // The documents would be fetched from here; what they say is judged before anything is fetched by it.
        Issuer::parse("https://as.example").unwrap(),
        KeysFrom::Metadata,
        Fetcher::new(Reach::LoopbackToo).unwrap(),
        Arc::new(Hand(AtomicI64::new(0))),
    );
    let at = |uri: &str| keys.keys_at(json!({ "jwks_uri": uri }).as_object().unwrap());
    assert!(at("https://keys.example/jwks").is_ok());
    for uri in [
        &format!("{}/jwks", server.origin),
        "ftp://as.example/jwks",
        "file:///etc/passwd",
        "/jwks",
    ] {
        assert!(at(uri).is_err(), "{uri}");
    }
    assert!(
        keys.keys_at(json!({ "jwks_uri": ["https://a"] }).as_object().unwrap())
            .is_err()
    );
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn jwk_10_the_keys_of_a_metadata_service_are_nobodys() {
    for reach in [Reach::Configured, Reach::LoopbackToo, Reach::PublicOnly] {
        let keys = Arc::new(IssuerKeys::new(
            Issuer::parse("https://as.example").unwrap(),
            KeysFrom::Url(Url::parse("https://169.254.169.254/jwks").unwrap()),
            Fetcher::new(reach).unwrap(),
            Arc::new(Hand(AtomicI64::new(0))),
        ));
        let error = keys.for_kid(None).await.unwrap_err();
        assert!(error.to_string().contains("address guard"), "{error}");
    }
}

#[tokio::test]
async fn jwk_14_an_empty_set_makes_nobody_ask_more_often() {
    let bench = Bench::new().await;
    bench.server.tell("/jwks", ok(json!({ "keys": [] })));
    for round in 0..100 {
        assert!(bench.has(&format!("x{round}")).await.is_err());
    }
    assert_eq!(bench.server.asked(), 1);
}

#[tokio::test]
async fn jws_20_a_name_is_never_guessed() {
    let bench = Bench::new().await;
    let mut nameless = set(&["a"]);
    nameless["keys"][0].as_object_mut().unwrap().remove("kid");
    bench.server.tell("/jwks", ok(nameless));
    // The one key is for tokens that name none, and for no other.
    let keys = bench.keys.for_kid(None).await.unwrap();
    assert!(keys.find(None, SignatureAlgorithm::EdDsa).is_some());
    assert!(!bench.has("a").await.unwrap());
    let two = Bench::new().await;
    two.server.tell("/jwks", ok(set(&["a", "b"])));
    let keys = two.keys.for_kid(None).await.unwrap();
    assert!(keys.find(None, SignatureAlgorithm::EdDsa).is_none());
}

#[tokio::test]
async fn max_age_is_honoured() {
    let bench = Bench::new().await;
    bench.server.tell(
        "/jwks",
        Answer {
            cache_control: Some("max-age=600"),
            ..ok(set(&["a"]))
        },
    );
    assert!(bench.has("a").await.unwrap());
    bench.clock.move_by(479);
    assert!(bench.has("a").await.unwrap());
    assert_eq!(bench.server.asked(), 1);
    bench.clock.move_by(121);
    assert!(bench.has("a").await.unwrap());
    assert_eq!(bench.server.asked(), 2);
}

#[tokio::test]
async fn a_new_name_is_looked_for_once_in_thirty_seconds() {
    // JWK-12
    let bench = Bench::new().await;
    assert!(bench.has("a").await.unwrap());
    for round in 0..100 {
        assert!(!bench.has(&format!("x{round}")).await.unwrap());
    }
    assert_eq!(bench.server.asked(), 1);
    bench.server.tell("/jwks", ok(set(&["a", "b"])));
    bench.clock.move_by(29);
    assert!(!bench.has("b").await.unwrap());
    bench.clock.move_by(1);
    assert!(bench.has("b").await.unwrap());
    assert_eq!(bench.server.asked(), 2);
}

/// JWK-17 of the attack catalogue.
#[tokio::test]
async fn a_withdrawn_key_is_void_at_once_and_whatever_the_issuer_says() {
    let bench = Bench::new().await;
    bench.server.tell("/jwks", ok(set(&["a", "b"])));
    assert!(bench.has("a").await.unwrap());
    let before = bench.keys.cached().unwrap();
    bench.keys.withdraw([kid("a")]);
    // Without waiting: what was verified with the old set is to be verified again.
    let after = bench.keys.cached().unwrap();
    assert!(!Arc::ptr_eq(&before, &after));
    assert!(!after.names(&kid("a")) && after.names(&kid("b")));
    // The issuer still publishes it, and the replacement is found though the last fetch was a moment ago.
    bench.server.tell("/jwks", ok(set(&["a", "b", "c"])));
    assert!(bench.has("c").await.unwrap());
    assert!(bench.has("b").await.unwrap());
    assert_eq!(bench.server.asked(), 2);
    // So is one that is published a moment later.
    assert!(!bench.has("d").await.unwrap());
    bench.server.tell("/jwks", ok(set(&["a", "b", "d"])));
    assert!(bench.has("d").await.unwrap());
    assert_eq!(bench.server.asked(), 4);
    // A while later unknown names are asked for as seldom as ever, and being told again changes nothing.
    bench.clock.move_by(10);
    bench.keys.withdraw([kid("a")]);
    assert!(!bench.has("a").await.unwrap() && !bench.has("x").await.unwrap());
    assert_eq!(bench.server.asked(), 4);
}

#[tokio::test]
async fn the_other_keys_stay_when_the_issuer_is_gone_as_a_key_is_withdrawn() {
    let bench = Bench::new().await;
    bench.server.tell("/jwks", ok(set(&["a", "b"])));
    assert!(bench.has("a").await.unwrap());
    bench.server.tell("/jwks", status(500));
    bench.keys.withdraw([kid("a")]);
    assert!(!bench.has("a").await.unwrap());
    assert!(bench.has("b").await.unwrap());
}

#[tokio::test]
async fn a_fetch_under_way_does_not_bring_a_withdrawn_key_back() {
    let bench = Bench::new().await;
    bench.server.tell("/jwks", ok(set(&["a", "b"])));
    let gate = Arc::new(Notify::new());
    *bench.server.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let keys = Arc::clone(&bench.keys);
    let fetching = tokio::spawn(async move { keys.for_kid(Some(&kid("a"))).await });
    while bench.server.asked() == 0 {
        tokio::task::yield_now().await;
    }
    bench.keys.withdraw([kid("a")]);
    *bench.server.gate.lock().unwrap() = None;
    gate.notify_one();
    let set = fetching.await.unwrap().unwrap();
    assert!(!set.names(&kid("a")) && set.names(&kid("b")));
}

#[tokio::test]
async fn trouble_at_the_issuer_leaves_the_last_good_set_for_a_day() {
    // JWK-13, JWK-14: whatever it answers, and asked no more often for it
    let troubles = [
        status(500),
        ok("<html>"),
        ok(json!({ "keys": [] })),
        ok(""),
        status(302),
        ok(" ".repeat(300_000)),
    ];
    for trouble in troubles {
        let bench = Bench::new().await;
        assert!(bench.has("a").await.unwrap());
        bench.server.tell("/jwks", trouble);
        bench.clock.move_by(300);
        for _ in 0..10 {
            assert!(bench.has("a").await.unwrap());
            assert!(!bench.has("x").await.unwrap());
        }
        assert_eq!(bench.server.asked(), 2);
        bench.clock.move_by(24 * 3600 - 301);
        assert!(bench.has("a").await.unwrap());
        bench.clock.move_by(1);
        assert!(bench.has("a").await.is_err());
        bench.server.tell("/jwks", ok(set(&["a"])));
        bench.clock.move_by(30);
        assert!(bench.has("a").await.unwrap());
    }
}

#[tokio::test]
async fn an_issuer_that_starts_later_is_found_soon() {
    let bench = Bench::new().await;
    bench.server.tell("/jwks", status(503));
    let error = bench.has("a").await.unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    bench.server.tell("/jwks", ok(set(&["a"])));
    assert!(bench.has("a").await.is_err());
    assert_eq!(bench.server.asked(), 1);
    bench.clock.move_by(1);
    assert!(bench.has("a").await.unwrap());
}

#[tokio::test]
async fn a_withdrawn_key_goes_and_a_changed_one_is_new() {
    let bench = Bench::new().await;
    bench.server.tell("/jwks", ok(set(&["a", "b"])));
    assert!(bench.has("b").await.unwrap());
    let first = bench.keys.cached().unwrap();
    bench.server.tell("/jwks", ok(set(&["a"])));
    bench.clock.move_by(300);
    assert!(!bench.has("b").await.unwrap());
    assert!(!Arc::ptr_eq(&first, &bench.keys.cached().unwrap()));
    // JWK-18: another key under the same name
    let mut other = set(&["z"]);
    other["keys"][0]["kid"] = json!("a");
    let before = bench.keys.cached().unwrap();
    bench.server.tell("/jwks", ok(other));
    bench.clock.move_by(300);
    assert!(bench.has("a").await.unwrap());
    assert!(!Arc::ptr_eq(&before, &bench.keys.cached().unwrap()));
}

#[tokio::test]
async fn the_same_set_keeps_its_identity() {
    let bench = Bench::new().await;
    let first = bench.keys.for_kid(None).await.unwrap();
    bench.clock.move_by(300);
    let second = bench.keys.for_kid(None).await.unwrap();
    assert_eq!(bench.server.asked(), 2);
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn many_that_wait_share_one_fetch() {
    let bench = Bench::new().await;
    let gate = Arc::new(Notify::new());
    *bench.server.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let keys = Arc::clone(&bench.keys);
            tokio::spawn(async move { keys.for_kid(Some(&kid("a"))).await.map(|set| set.len()) })
        })
        .collect();
    gate.notify_one();
    for one in waiting {
        assert_eq!(one.await.unwrap(), Ok(1));
    }
    assert_eq!(bench.server.asked(), 1);
}

#[tokio::test]
async fn nobody_waits_for_a_refresh_of_a_set_that_has_the_key() {
    let bench = Bench::new().await;
    assert!(bench.has("a").await.unwrap());
    let gate = Arc::new(Notify::new());
    *bench.server.gate.lock().unwrap() = Some(Arc::clone(&gate));
    bench.clock.move_by(300);
    let keys = Arc::clone(&bench.keys);
    let refreshing = tokio::spawn(async move { keys.for_kid(Some(&kid("a"))).await.map(|set| set.len()) });
    while bench.server.asked() < 2 {
        tokio::task::yield_now().await;
    }
    // the refresh is held up at the gate; this answers all the same
    assert!(bench.has("a").await.unwrap());
    assert!(!refreshing.is_finished());
    gate.notify_one();
    assert_eq!(refreshing.await.unwrap(), Ok(1));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_cooldown_behind() {
    let bench = Bench::new().await;
    let gate = Arc::new(Notify::new());
    *bench.server.gate.lock().unwrap() = Some(gate);
    let keys = Arc::clone(&bench.keys);
    let gone = tokio::spawn(async move { keys.for_kid(None).await.map(|set| set.len()) });
    while bench.server.asked() < 1 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    *bench.server.gate.lock().unwrap() = None;
    assert!(bench.has("a").await.is_err());
    assert_eq!(bench.server.asked(), 1);
    bench.clock.move_by(1);
    assert!(bench.has("a").await.unwrap());
}

#[tokio::test]
async fn a_clock_set_back_does_not_stop_fetching() {
    let bench = Bench::new().await;
    bench.server.tell("/jwks", status(500));
    assert!(bench.has("a").await.is_err());
    bench.server.tell("/jwks", ok(set(&["a"])));
    bench.clock.move_by(-3600);
    assert!(bench.has("a").await.unwrap());
}

#[tokio::test]
async fn keys_are_found_through_metadata() {
    let server = Server::start().await;
    let jwks_uri = format!("{}/elsewhere", server.origin);
    let metadata = json!({ "issuer": server.origin, "jwks_uri": jwks_uri });
    server.tell("/.well-known/openid-configuration", ok(&metadata));
    server.tell("/elsewhere", ok(set(&["a"])));
    let bench = Bench::with(server, KeysFrom::Metadata);
    assert!(bench.has("a").await.unwrap());
    let asked = bench.server.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
            "/elsewhere"
        ]
    );
}

#[tokio::test]
async fn keys_are_read_from_a_file() {
    let name = portcullis_core::random::token::<12>(&crate::random::System).unwrap();
    let path = std::env::temp_dir().join(format!("portcullis-jwks-{name}.json"));
    std::fs::write(&path, set(&["a"]).to_string()).unwrap();
    let bench = Bench::with(Server::start().await, KeysFrom::File(path.clone()));
    assert!(bench.has("a").await.unwrap());
    std::fs::write(&path, set(&["a", "b"]).to_string()).unwrap();
    bench.clock.move_by(60);
    assert!(bench.has("b").await.unwrap());
    std::fs::remove_file(&path).unwrap();
    bench.clock.move_by(60);
    assert!(bench.has("b").await.unwrap());
    assert_eq!(bench.server.asked(), 0);
}

#[tokio::test]
async fn metadata_of_another_issuer_is_not_used() {
    let fetcher = Fetcher::new(Reach::LoopbackToo).unwrap();
    let server = Server::start().await;
    let issuer = server.issuer("/t");
    let good = json!({ "issuer": issuer, "token_endpoint": "https://as.example/token" });
    let path = "/.well-known/oauth-authorization-server/t";
    // RFC 8414 §3.3: identical, so none of these
    for near in [
        "https://evil.example".to_owned(),
        format!("{issuer}/"),
        issuer.as_str().to_uppercase(),
    ] {
        server.tell(path, ok(json!({ "issuer": near })));
        let error = authorization_server_metadata(&fetcher, &issuer)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "metadata.other-issuer", "{near}");
    }
    for malformed in [
        "{}",
        "[]",
        r#"{"issuer":1}"#,
        "<html>",
        r#"{"issuer":"a","issuer":"b"}"#,
    ] {
        server.tell(path, ok(malformed));
        let error = authorization_server_metadata(&fetcher, &issuer)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "metadata.malformed", "{malformed}");
    }
    server.tell(path, ok(&good));
    let metadata = authorization_server_metadata(&fetcher, &issuer).await.unwrap();
    assert_eq!(Value::from(metadata), good);
}

#[tokio::test]
async fn absent_metadata_says_what_was_tried() {
    let fetcher = Fetcher::new(Reach::LoopbackToo).unwrap();
    let server = Server::start().await;
    server.tell("/t/.well-known/openid-configuration", status(500));
    let error = authorization_server_metadata(&fetcher, &server.issuer("/t"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "metadata.absent");
    let text = error.to_string();
    assert!(
        text.contains("/.well-known/oauth-authorization-server/t` answered 404"),
        "{text}"
    );
    assert!(
        text.contains("/t/.well-known/openid-configuration` answered 500"),
        "{text}"
    );
    assert_eq!(server.asked(), 3);
}
