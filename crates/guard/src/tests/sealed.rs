//! Sealed fields in the pipeline, at the hands of a clock that can be moved.

use std::sync::Arc;

use http::request::Parts;
use portcullis_core::ids::{ClientId, Issuer, KeyId, Principal, ServerName, Subject, ToolName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{ContentEncryption, KeyManagement, PayloadOpener};
use portcullis_core::jose::jwk::{
    DecryptionKey, DecryptionKind, EncryptionKey, KeySet, PublicJwk, SigningKey,
};
use portcullis_core::jose::jws::TokenSigner;
use portcullis_core::seal::session::{Cipher, Curve, Offer, Offering};
use portcullis_core::seal::{
    self, Call, CallId, Clear, MessageId, Moment, NestedOpener, NestedSealer, Parties, Pointers, Seen,
    SenderKeys,
};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::Clock as _;
use portcullis_net::random::System;
use serde_json::{Value, json};

use super::issuer::{House, ISSUER, Key};
use super::{MCP, head, json_of, text};
use crate::replay::{FirstUse, LocalReplayLog, ReplayId, ReplayLog, ReplayUnavailable};
use crate::sealing::{Sealing, SealingKeys, SealingSettings, ToolSeal};
use crate::{Admitted, Refusal};

/// One side's two keys.
struct Pair {
    signing: Arc<SigningKey>,
    opening: Arc<DecryptionKey>,
}

impl Pair {
    fn new(name: &str) -> Self {
        Self::signing_with(name, SignatureAlgorithm::Es256)
    }

    fn signing_with(name: &str, algorithm: SignatureAlgorithm) -> Self {
        let kid = |purpose: &str| KeyId::parse(&format!("{name}-{purpose}")).unwrap();
        let (signing, _) = SigningKey::generate(kid("sig"), algorithm).unwrap();
        let opening =
            DecryptionKey::generate(kid("enc"), KeyManagement::EcdhEs, DecryptionKind::X25519, &System);
        Self {
            signing: Arc::new(signing),
            opening: Arc::new(opening.unwrap()),
        }
    }

    fn public(&self) -> [Value; 2] {
        let jwk = |key: &portcullis_core::jose::jwk::PublicKey, algorithm, kid: &KeyId| PublicJwk {
            key: key.clone(),
            algorithm,
            kid: kid.clone(),
            chain: Vec::new(),
        };
        [
            jwk(
                self.signing.public(),
                self.signing.algorithm().into(),
                self.signing.kid(),
            ),
            jwk(
                self.opening.public(),
                KeyManagement::EcdhEs.into(),
                self.opening.kid(),
            ),
        ]
        .map(|jwk| Value::Object(jwk.to_json()))
    }

    fn recipient(&self) -> EncryptionKey {
        EncryptionKey::parse(self.public()[1].to_string().as_bytes()).unwrap()
    }

    fn set(&self) -> KeySet {
        KeySet::parse(json!({ "keys": self.public() }).to_string().as_bytes()).unwrap()
    }

    fn claim(&self) -> Value {
        json!({
            "sig": self.signing.public().thumbprint().to_string(),
            "enc": self.opening.public().thumbprint().to_string(),
        })
    }
}

impl SealingKeys for Pair {
    fn signer(&self) -> Arc<dyn TokenSigner> {
        Arc::<SigningKey>::clone(&self.signing)
    }

    fn opener(&self, kid: &KeyId) -> Option<Arc<dyn PayloadOpener>> {
        (self.opening.kid() == kid).then(|| Arc::<DecryptionKey>::clone(&self.opening) as _)
    }
}

struct Sealed {
    house: House,
    issuer: Key,
    gateway: Arc<Pair>,
    agent: Pair,
}

impl Sealed {
    fn new() -> Self {
        let issuer = Key::new("k");
        let house = House::new(&[&issuer]);
        let now = house.clock.now();
        let mut sealed = Self {
            house,
            issuer,
            gateway: Arc::new(Pair::new("gw")),
            agent: Pair::new("agent"),
        };
        sealed.started(Arc::new(LocalReplayLog::new(1_000, now)));
        sealed
    }

    /// Another process of the gateway, or another replica of it, with what that one remembers.
    fn started(&mut self, replays: Arc<dyn ReplayLog>) {
        let (house, gateway) = (&mut self.house, &self.gateway);
        let sealing = Sealing::new(SealingSettings {
            gateway: Issuer::parse("https://gw.example").unwrap(),
            jwks_uri: "https://gw.example/.well-known/jwks.json".to_owned(),
            tools: [("list_notes", &["/content/*/text"][..]), ("add_note", &[])]
                .map(|(tool, result)| {
                    let seal = ToolSeal {
                        arguments: Pointers::parse(["/text"]).unwrap(),
                        result: Pointers::parse(result.iter().copied()).unwrap(),
                        clear: Clear::Refuse,
                    };
                    (
                        ServerName::parse("notes").unwrap(),
                        ToolName::parse(tool).unwrap(),
                        seal,
                    )
                })
                .to_vec(),
            ciphers: Cipher::ALL.to_vec(),
            session_lifetime: Lifetime::from_minutes(10),
            keys: Arc::<Pair>::clone(gateway),
            clock: Arc::<super::issuer::Hand>::clone(&house.clock),
            random: Arc::new(System),
            replays,
        });
        house.guard.sealing = Some(sealing);
    }

    fn now(&self) -> UnixTime {
        self.house.clock.now()
    }

    fn head(&self) -> Parts {
        self.head_of("alice")
    }

    fn head_of(&self, user: &str) -> Parts {
        let token = self.issuer.token(MCP, "notes:read", |claims| {
            claims.insert("client_keys".to_owned(), self.agent.claim());
            claims.insert("sub".to_owned(), user.into());
            claims.insert("iat".to_owned(), self.now().as_secs().into());
            claims.insert("exp".to_owned(), (self.now().as_secs() + 300).into());
        });
        head(Some(&token))
    }

    fn parties(&self) -> Parties {
        Parties {
            principal: Principal {
                issuer: Issuer::parse(ISSUER).unwrap(),
                subject: Subject::parse("alice").unwrap(),
                client: ClientId::parse("agent-1").unwrap(),
            },
            gateway: Issuer::parse("https://gw.example").unwrap(),
            resource: self.house.short.resource().clone(),
            server: self.house.short.server().clone(),
        }
    }

    /// A call of the agent's, sealed at an instant, and what its result is opened with.
    fn call(&self, at: UnixTime) -> (String, seal::BoundCall) {
        self.call_of("list_notes", at)
    }

    fn call_of(&self, tool: &str, at: UnixTime) -> (String, seal::BoundCall) {
        let recipient = self.gateway.recipient();
        let mut sealer = NestedSealer {
            signer: &*self.agent.signing,
            recipient: &recipient,
            encryption: ContentEncryption::A256Gcm,
            now: at,
            random: &System,
        };
        self.telling(
            tool,
            "secret",
            json!({ "keys": self.agent.public() }),
            &mut sealer,
        )
    }

    fn message(&self, said: Value, sealer: &mut dyn seal::Sealer) -> (String, seal::BoundCall) {
        self.telling("list_notes", "secret", said, sealer)
    }

    fn telling(
        &self,
        tool: &str,
        text: &str,
        mut said: Value,
        sealer: &mut dyn seal::Sealer,
    ) -> (String, seal::BoundCall) {
        let message = MessageId::new(&System).unwrap();
        said["message"] = json!(message.to_string());
        let pointers = Pointers::parse(["/text"]).unwrap();
        let call = Call {
            parties: self.parties(),
            tool: ToolName::parse(tool).unwrap(),
            id: CallId::parse("7").unwrap(),
            message,
        };
        let (sealed, bound) =
            seal::seal_arguments(json!({ "text": text, "n": 1 }), &pointers, call, sealer).unwrap();
        let message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": tool, "arguments": sealed, "_meta": { "dev.portcullis/sealed-fields": said, "k": 1 },
        } });
        (message.to_string(), bound)
    }

    async fn judge(&self, head: &Parts, body: &str) -> Result<Admitted, Refusal> {
        self.house.judge(head, body).await
    }

    async fn refused(&self, head: &Parts, body: &str) -> &'static str {
        self.judge(head, body).await.unwrap_err().code()
    }

    /// Agrees on a session, and gives the agent's end of it.
    async fn session(&self, head: &Parts) -> Result<seal::session::Session, Refusal> {
        self.session_offered(self.now(), head).await
    }

    fn offer(&self, at: UnixTime) -> (Offer, String) {
        let offering = Offering {
            curve: Curve::X25519,
            ciphers: Cipher::ALL.to_vec(),
        };
        let offer = Offer::new(self.parties(), offering, &*self.agent.signing, at, &System).unwrap();
        let body = json!({ "offer": offer.text(), "keys": self.agent.public() }).to_string();
        (offer, body)
    }

    async fn offered(&self, body: &str, head: &Parts) -> Result<Option<String>, Refusal> {
        let (guard, endpoint) = (&self.house.guard, &self.house.short);
        let arrival = guard.arrival(None);
        let who = guard.authenticate(endpoint, &arrival, head).await?;
        guard
            .seal_session(endpoint, &arrival, &who, head, body.as_bytes())
            .await
    }

    async fn session_offered(&self, at: UnixTime, head: &Parts) -> Result<seal::session::Session, Refusal> {
        let (offer, body) = self.offer(at);
        let answer = self.offered(&body, head).await?;
        let moment = Moment {
            now: self.now(),
            skew: Lifetime::from_secs(0),
        };
        let ends = self.now().plus(Lifetime::from_hours(24));
        Ok(offer
            .accept(
                &answer.unwrap(),
                SenderKeys::Set(&self.gateway.set()),
                ends,
                moment,
            )
            .unwrap())
    }

    fn in_session(&self, session: &seal::session::Session) -> (String, seal::BoundCall) {
        let said = json!({ "session": session.id().to_string() });
        self.message(said, &mut session.sealer(self.now()))
    }
}

#[tokio::test]
async fn what_is_judged_and_sent_is_in_clear_and_says_nothing_of_sealing() {
    let sealed = Sealed::new();
    let (body, bound) = sealed.call(sealed.now());
    let admitted = sealed.judge(&sealed.head(), &body).await.unwrap();
    let sent: Value = serde_json::from_slice(admitted.permit.call().body()).unwrap();
    assert_eq!(
        sent,
        json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": "list_notes", "arguments": { "text": "secret", "n": 1 }, "_meta": { "k": 1 },
        } })
    );
    // On record is a digest of the arguments in clear, and nothing else of them.
    let (event, _) = sealed.house.only_event();
    assert!(!event.to_string().contains("secret"), "{event}");
    let arguments = admitted.permit.call().arguments().unwrap();
    assert!(arguments.contains("\"secret\""));
    let digest = portcullis_core::audit::DigestKey::new([7; 32]).digest(arguments.as_bytes());
    assert_eq!(event["arguments"], digest.as_str());

    let answer = admitted.answer.unwrap();
    let result =
        json!({ "jsonrpc": "2.0", "id": 7, "result": { "content": [{ "type": "text", "text": "hidden" }] } });
    let message = answer.message(result.to_string().as_bytes()).await.unwrap();
    assert!(!String::from_utf8_lossy(&message).contains("hidden"));
    let result = serde_json::from_slice::<Value>(&message).unwrap()["result"].take();
    let (openers, keys, seen) = (
        |kid: &KeyId| sealed.agent.opener(kid),
        sealed.gateway.set(),
        Seen::new(9, 9),
    );
    let moment = Moment {
        now: sealed.now(),
        skew: Lifetime::from_secs(0),
    };
    let mut opener = NestedOpener::new(SenderKeys::Set(&keys), &openers, &seen, moment);
    let pointers = Pointers::parse(["/content/*/text"]).unwrap();
    let opened = seal::open_result(result, &pointers, Clear::Refuse, &bound, &mut opener).unwrap();
    assert_eq!(opened.value["content"][0]["text"], "hidden");

    // A task's result would come with another call.
    let task = br#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"task","taskId":"1"}}"#;
    answer.message(task).await.unwrap_err();
    // Words of the server may repeat what was sealed.
    let error = br#"{"jsonrpc":"2.0","id":7,"error":{"code":-5,"message":"not secret","data":"secret"}}"#;
    let error = String::from_utf8(answer.message(error).await.unwrap()).unwrap();
    assert!(
        error.contains("-5") && !error.contains("not secret") && !error.contains("data"),
        "{error}"
    );
}

#[tokio::test]
async fn a_field_is_good_for_five_minutes_and_once() {
    let sealed = Sealed::new();
    let (head, made) = (sealed.head(), sealed.now());
    let (body, _) = sealed.call(made);
    drop(sealed.judge(&head, &body).await.unwrap());
    assert_eq!(sealed.refused(&head, &body).await, "seal.replayed");
    let (late, _) = sealed.call(made);
    sealed.house.clock.forward(5 * 60 + 30 - 1);
    drop(sealed.judge(&sealed.head(), &late).await.unwrap());
    let (late, _) = sealed.call(made);
    sealed.house.clock.forward(1);
    assert_eq!(sealed.refused(&sealed.head(), &late).await, "seal.expired");
    assert_eq!(sealed.refused(&sealed.head(), &body).await, "seal.expired");
    let (early, _) = sealed.call(sealed.now().plus(Lifetime::from_secs(31)));
    assert_eq!(sealed.refused(&sealed.head(), &early).await, "seal.not-yet");
}

/// A log that nobody reaches.
struct Away(UnixTime);

impl ReplayLog for Away {
    fn first_use(&self, _id: ReplayId, _until: UnixTime, _now: UnixTime) -> FirstUse<'_> {
        FirstUse::known(Err(ReplayUnavailable::Unreachable))
    }

    fn since(&self) -> UnixTime {
        self.0
    }

    fn ready(&self) -> Result<(), ReplayUnavailable> {
        Err(ReplayUnavailable::Unreachable)
    }
}

#[tokio::test]
async fn what_one_gateway_took_no_other_takes_that_shares_its_log() {
    let mut sealed = Sealed::new();
    let (head, now) = (sealed.head(), sealed.now());
    let shared: Arc<dyn ReplayLog> = Arc::new(LocalReplayLog::new(1_000, now));
    sealed.started(Arc::clone(&shared));
    let (body, _) = sealed.call(now);
    drop(sealed.judge(&head, &body).await.unwrap());
    let (offer, said) = sealed.offer(now);
    drop(sealed.offered(&said, &head).await.unwrap());
    drop(offer);

    sealed.started(shared);
    assert_eq!(sealed.refused(&head, &body).await, "seal.replayed");
    assert_eq!(
        sealed.offered(&said, &head).await.unwrap_err().code(),
        "seal.replayed"
    );
    // One with a log of its own, which says since when.
    sealed.house.clock.forward(1);
    let alone = LocalReplayLog::new(1_000, sealed.now());
    sealed.started(Arc::new(alone));
    assert_eq!(sealed.refused(&head, &body).await, "seal.before-start");
    // And one that cannot ask.
    sealed.started(Arc::new(Away(now)));
    let (body, _) = sealed.call(sealed.now());
    let refusal = sealed.judge(&head, &body).await.unwrap_err();
    assert_eq!(refusal.code(), "replay.unreachable");
    assert_eq!(refusal.into_response().status(), 503);
    let refused = sealed.session(&head).await.unwrap_err();
    assert_eq!(refused.code(), "replay.unreachable");
}

#[tokio::test]
async fn an_algorithm_that_nobody_named_is_none_for_clients() {
    let mut sealed = Sealed::new();
    for (algorithm, refused) in [
        (SignatureAlgorithm::EdDsa, None),
        (SignatureAlgorithm::MlDsa65, Some("seal.said")),
    ] {
        sealed.agent = Pair::signing_with("agent", algorithm);
        let (body, _) = sealed.call(sealed.now());
        let judged = sealed.judge(&sealed.head(), &body).await;
        assert_eq!(
            judged.err().map(|refusal| refusal.code()),
            refused,
            "{algorithm:?}"
        );
    }
}

#[tokio::test]
async fn keys_that_were_shown_are_read_when_there_is_a_turn_and_large_ones_never() {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    let sealed = Sealed::new();
    let (head, (body, _)) = (sealed.head(), sealed.call(sealed.now()));
    let held = all_turns().await;
    let mut judged = pin!(sealed.judge(&head, &body));
    assert!(
        judged
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    drop(held);
    drop(judged.await.unwrap());

    let (body, _) = sealed.call(sealed.now());
    let mut large: Value = serde_json::from_str(&body).unwrap();
    let key = &mut large["params"]["_meta"]["dev.portcullis/sealed-fields"]["keys"][0];
    key["note"] = "A".repeat(16 * 1024).into();
    assert_eq!(sealed.refused(&head, &large.to_string()).await, "seal.said");
}

#[tokio::test]
async fn a_key_counts_because_the_issuer_vouches_for_it() {
    let mut sealed = Sealed::new();
    let (body, _) = sealed.call(sealed.now());
    let without = head(Some(&sealed.issuer.token(MCP, "notes:read", |_| ())));
    assert_eq!(sealed.refused(&without, &body).await, "seal.no-keys");
    let malformed = sealed.issuer.token(MCP, "notes:read", |claims| {
        drop(claims.insert("client_keys".to_owned(), json!({ "sig": "x" })));
    });
    assert_eq!(
        sealed.refused(&head(Some(&malformed)), &body).await,
        "token.invalid"
    );
    let good = sealed.head();
    sealed.agent = Pair::new("other");
    let (others, _) = sealed.call(sealed.now());
    assert_eq!(sealed.refused(&good, &others).await, "seal.other-keys");
    // In clear, and sealed where nothing is.
    assert_eq!(
        sealed.refused(&good, &super::call("list_notes")).await,
        "seal.needed"
    );
    let elsewhere = body.replace("\"list_notes\"", "\"other\"");
    assert_eq!(
        sealed.refused(&good, &elsewhere).await,
        "policy.insufficient-scope"
    );
    let seeing = head(Some(&sealed.issuer.token(MCP, "notes:irreversible", |_| ())));
    assert_eq!(sealed.refused(&seeing, &elsewhere).await, "seal.already-sealed");
}

#[tokio::test]
async fn a_session_ends_with_its_time_and_is_its_principals() {
    let sealed = Sealed::new();
    let session = sealed.session(&sealed.head()).await.unwrap();
    drop(sealed.house.memory.taken());
    let (body, _) = sealed.in_session(&session);
    let admitted = sealed.judge(&sealed.head(), &body).await.unwrap();
    assert!(admitted.permit.call().arguments().unwrap().contains("\"secret\""));
    assert_eq!(sealed.refused(&sealed.head(), &body).await, "seal.replayed");
    let (body, _) = sealed.in_session(&session);
    assert_eq!(
        sealed.refused(&sealed.head_of("eve"), &body).await,
        "seal.session-unknown"
    );
    sealed.house.clock.forward(10 * 60 - 1);
    drop(sealed.judge(&sealed.head(), &body).await.unwrap());
    let (body, _) = sealed.in_session(&session);
    sealed.house.clock.forward(1);
    assert_eq!(
        sealed.refused(&sealed.head(), &body).await,
        "seal.session-unknown"
    );
    // What the answer to an earlier call is sealed with is over too.
    let late = br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"text":"x"}]}}"#;
    let problem = admitted.answer.unwrap().message(late).await.unwrap_err();
    assert_eq!(problem.code(), "seal.session-over");
}

#[tokio::test]
async fn ones_own_oldest_session_makes_room() {
    let sealed = Sealed::new();
    let head = sealed.head();
    let first = sealed.session(&head).await.unwrap();
    sealed.house.clock.forward(1);
    for _ in 1..crate::sealing::SEALED_SESSIONS_PER_PRINCIPAL {
        drop(sealed.session(&head).await.unwrap());
    }
    drop(sealed.judge(&head, &sealed.in_session(&first).0).await.unwrap());
    let last = sealed.session(&head).await.unwrap();
    assert_eq!(
        sealed.refused(&head, &sealed.in_session(&first).0).await,
        "seal.session-unknown"
    );
    drop(sealed.judge(&head, &sealed.in_session(&last).0).await.unwrap());
    // And all of them end when their principal says so.
    let (guard, endpoint) = (&sealed.house.guard, &sealed.house.short);
    let mut end = sealed.head();
    end.method = http::Method::DELETE;
    let arrival = guard.arrival(None);
    let who = guard.authenticate(endpoint, &arrival, &end).await.unwrap();
    assert_eq!(
        guard
            .seal_session(endpoint, &arrival, &who, &end, b"")
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        sealed.refused(&head, &sealed.in_session(&last).0).await,
        "seal.session-unknown"
    );
}

/// The text field of the one call in the other.
fn swapped(of: &str, into: &str) -> String {
    let (of, mut into): (Value, Value) = (
        serde_json::from_str(of).unwrap(),
        serde_json::from_str(into).unwrap(),
    );
    into["params"]["arguments"]["text"] = of["params"]["arguments"]["text"].clone();
    into.to_string()
}

#[tokio::test]
async fn calls_that_are_equal_in_everything_else_exchange_no_field() {
    let sealed = Sealed::new();
    let head = sealed.head();
    // Each by itself.
    let ((held_back, bound), (body, other)) = (sealed.call(sealed.now()), sealed.call(sealed.now()));
    assert_eq!(
        sealed.refused(&head, &swapped(&held_back, &body)).await,
        "seal.message"
    );
    // In a session: the cipher cannot tell what is different.
    let session = sealed.session(&head).await.unwrap();
    let ((also, _), (in_session, _)) = (sealed.in_session(&session), sealed.in_session(&session));
    assert_eq!(
        sealed.refused(&head, &swapped(&also, &in_session)).await,
        "seal.undecipherable"
    );
    // And the result of the one is none of the other.
    let answer = sealed.judge(&head, &held_back).await.unwrap().answer.unwrap();
    let result = br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"hidden"}]}}"#;
    let message: Value = serde_json::from_slice(&answer.message(result).await.unwrap()).unwrap();
    let (openers, keys) = (|kid: &KeyId| sealed.agent.opener(kid), sealed.gateway.set());
    let pointers = Pointers::parse(["/content/*/text"]).unwrap();
    let open = |bound: &seal::BoundCall| {
        let (seen, skew) = (Seen::new(9, 9), Lifetime::from_secs(0));
        let moment = Moment {
            now: sealed.now(),
            skew,
        };
        let mut opener = NestedOpener::new(SenderKeys::Set(&keys), &openers, &seen, moment);
        seal::open_result(
            message["result"].clone(),
            &pointers,
            Clear::Refuse,
            bound,
            &mut opener,
        )
    };
    assert_eq!(open(&other).unwrap_err().code(), "seal.message");
    assert!(open(&bound).is_ok());
}

#[tokio::test]
async fn a_call_without_a_name_of_its_own_is_refused() {
    let sealed = Sealed::new();
    let (body, _) = sealed.call(sealed.now());
    for message in [
        json!(null),
        json!(7),
        json!(""),
        json!("AAAA"),
        json!("AAAAAAAAAAAAAAAAAAAAAB"),
    ] {
        let mut changed: Value = serde_json::from_str(&body).unwrap();
        changed["params"]["_meta"]["dev.portcullis/sealed-fields"]["message"] = message.clone();
        let code = sealed.refused(&sealed.head(), &changed.to_string()).await;
        assert_eq!(code, "seal.said", "{message}");
    }
    drop(sealed.judge(&sealed.head(), &body).await.unwrap());
}

#[tokio::test]
async fn what_was_sealed_before_the_start_is_to_be_sealed_afresh() {
    let sealed = Sealed::new();
    let (start, head) = (sealed.now(), sealed.head());
    let before = start.minus(Lifetime::from_secs(1));
    let refusal = sealed.judge(&head, &sealed.call(before).0).await.unwrap_err();
    let response = refusal.into_response();
    assert_eq!(response.status(), 503);
    assert!(!text(response.headers(), "retry-after").is_empty());
    let error = json_of(&response)["error"].take();
    assert_eq!(
        (&error["code"], &error["data"]["reason"]),
        (&json!(-31_461), &json!("seal.before-start"))
    );
    // How long a sender whose clock is behind has to wait.
    assert_eq!(error["data"]["wait"], 1);
    let behind = start.minus(Lifetime::from_secs(29));
    let response = sealed
        .judge(&head, &sealed.call(behind).0)
        .await
        .unwrap_err()
        .into_response();
    assert_eq!(json_of(&response)["error"]["data"]["wait"], 29);
    let refused = sealed.session_offered(before, &head).await.unwrap_err();
    assert_eq!(refused.code(), "seal.before-start");
    drop(sealed.judge(&head, &sealed.call(start).0).await.unwrap());
    drop(sealed.session_offered(start, &head).await.unwrap());
}

#[tokio::test]
async fn who_does_not_see_a_tool_learns_none_of_its_fields() {
    let sealed = Sealed::new();
    let (body, _) = sealed.call(sealed.now());
    let claims = |scope: &str| {
        head(Some(&sealed.issuer.token(MCP, scope, |claims| {
            claims.insert("client_keys".to_owned(), sealed.agent.claim());
        })))
    };
    let (stranger, friend) = (claims("other"), claims("notes:read"));
    for body in [&body, &super::call("list_notes")] {
        let refusal = sealed.judge(&stranger, body).await.unwrap_err();
        assert_eq!(refusal.code(), "policy.insufficient-scope");
        let response = refusal.into_response();
        assert_eq!(response.status(), 403);
        assert!(text(response.headers(), "www-authenticate").contains("notes:read"));
        let said = String::from_utf8_lossy(response.body()).into_owned();
        assert!(!said.contains("seal") && !said.contains("/text"), "{said}");
    }
    // Nothing of it was opened: the one who may makes the call.
    drop(sealed.judge(&friend, &body).await.unwrap());
    assert_eq!(
        sealed.refused(&friend, &super::call("list_notes")).await,
        "seal.needed"
    );
}

#[tokio::test]
async fn an_answer_that_is_still_to_come_does_not_keep_the_keys_of_an_ended_session() {
    let sealed = Sealed::new();
    let session = sealed.session(&sealed.head()).await.unwrap();
    let (body, _) = sealed.in_session(&session);
    let answer = sealed.judge(&sealed.head(), &body).await.unwrap().answer.unwrap();
    let result = br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"text":"x"}]}}"#;
    answer.message(result).await.unwrap();
    let (guard, endpoint) = (&sealed.house.guard, &sealed.house.short);
    let mut end = sealed.head();
    end.method = http::Method::DELETE;
    let arrival = guard.arrival(None);
    let who = guard.authenticate(endpoint, &arrival, &end).await.unwrap();
    let ended = guard.seal_session(endpoint, &arrival, &who, &end, b"").await;
    assert_eq!(ended.unwrap(), None);
    let problem = answer.message(result).await.unwrap_err();
    assert_eq!(problem.code(), "seal.session-over");
}

#[tokio::test]
async fn an_answer_is_one_of_request_result_and_error() {
    let sealed = Sealed::new();
    let (body, _) = sealed.call(sealed.now());
    let answer = sealed.judge(&sealed.head(), &body).await.unwrap().answer.unwrap();
    for text in [
        r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":"secret"}}"#,
        r#"{"jsonrpc":"2.0","id":7}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"x","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{},"Result":{"content":"secret"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{},"err\u006fr":{}}"#,
        r#"[{"jsonrpc":"2.0","id":7,"result":{}}]"#,
    ] {
        let problem = answer.message(text.as_bytes()).await.unwrap_err();
        assert_eq!(problem.code(), "seal.no-message", "{text}");
    }
    let progress = br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#;
    let passed: Value = serde_json::from_slice(&answer.message(progress).await.unwrap()).unwrap();
    assert_eq!(passed["params"]["progress"], 1);
}

/// Takes every turn of the slow work until the senders are dropped.
async fn all_turns() -> Vec<std::sync::mpsc::Sender<()>> {
    let mut held = Vec::new();
    for _ in 0..portcullis_net::offload::PARALLEL {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        tokio::spawn(portcullis_net::offload::run(move || {
            started.send(()).unwrap();
            released.recv().unwrap_err();
        }));
        running.await.unwrap();
        held.push(release);
    }
    held
}

#[tokio::test]
async fn a_large_message_waits_for_a_turn_and_a_small_one_does_not() {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let sealed = Sealed::new();
    let head = sealed.head();
    let session = sealed.session(&head).await.unwrap();
    let of = |length: usize| {
        let said = json!({ "session": session.id().to_string() });
        sealed
            .telling(
                "list_notes",
                &"x".repeat(length),
                said,
                &mut session.sealer(sealed.now()),
            )
            .0
    };
    let limit = portcullis_core::limits::SEAL_INLINE_BYTES;
    let (small, large) = (of(limit / 2), of(limit));
    assert!(small.len() < limit && large.len() > limit);
    let result = |length: usize| {
        let text = "y".repeat(length);
        json!({ "jsonrpc": "2.0", "id": 7, "result": { "content": [{ "text": text }] } }).to_string()
    };
    let (small_result, large_result) = (result(9), result(limit));

    let held = all_turns().await;
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(admitted) = pin!(sealed.judge(&head, &small)).poll(&mut context) else {
        panic!("a small call waited");
    };
    let answer = admitted.unwrap().answer.unwrap();
    assert!(
        pin!(answer.message(small_result.as_bytes()))
            .poll(&mut context)
            .is_ready()
    );
    let (mut call, mut message) = (
        pin!(sealed.judge(&head, &large)),
        pin!(answer.message(large_result.as_bytes())),
    );
    assert!(call.as_mut().poll(&mut context).is_pending());
    assert!(message.as_mut().poll(&mut context).is_pending());
    drop(held);
    let opened = call.await.unwrap();
    assert!(
        opened
            .permit
            .call()
            .arguments()
            .unwrap()
            .contains(&"x".repeat(limit))
    );
    // As long as no ciphertext has it by chance.
    let in_clear = "y".repeat(40);
    assert!(
        !String::from_utf8(message.await.unwrap())
            .unwrap()
            .contains(&in_clear)
    );
}

#[tokio::test]
async fn a_tool_that_seals_arguments_alone_answers_in_clear_but_for_the_words_of_an_error() {
    let sealed = Sealed::new();
    let head = head(Some(&sealed.issuer.token(MCP, "notes:write", |claims| {
        claims.insert("client_keys".to_owned(), sealed.agent.claim());
    })));
    let (body, _) = sealed.call_of("add_note", sealed.now());
    let answer = sealed.judge(&head, &body).await.unwrap().answer.unwrap();
    assert!(!answer.seals_results());
    // A number that has no exact form is no matter where nothing is sealed.
    for text in [
        r#"{"jsonrpc":"2.0", "id":7,"result":{"n":123456789012345678901234567890}}"#,
        r#"{"jsonrpc":"2.0", "id":7,"result":{"resultType":"task","taskId":"1"}}"#,
    ] {
        assert_eq!(answer.message(text.as_bytes()).await.unwrap(), text.as_bytes());
    }
    let error = br#"{"jsonrpc":"2.0","id":7,"error":{"code":-5,"message":"not secret"}}"#;
    let error = String::from_utf8(answer.message(error).await.unwrap()).unwrap();
    assert!(error.contains("-5") && !error.contains("not secret"), "{error}");
}
