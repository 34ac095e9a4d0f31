//! Sealed fields in the pipeline, at the hands of a clock that can be moved.

use std::sync::Arc;

use http::request::Parts;
use portcullis_core::ids::{ClientId, Issuer, KeyId, ServerName, Subject, ToolName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{ContentEncryption, KeyManagement, PayloadOpener};
use portcullis_core::jose::jwk::{
    DecryptionKey, DecryptionKind, EncryptionKey, KeySet, PublicJwk, SigningKey,
};
use portcullis_core::jose::jws::TokenSigner;
use portcullis_core::seal::session::{Cipher, Curve, Offer, Offering};
use portcullis_core::seal::{
    self, Call, CallId, Clear, Moment, NestedOpener, NestedSealer, Parties, Pointers, Principal, Seen,
    SenderKeys,
};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::Clock as _;
use portcullis_net::random::System;
use serde_json::{Value, json};

use super::issuer::{House, ISSUER, Key};
use super::{MCP, head};
use crate::sealing::{Sealing, SealingKeys, SealingSettings, ToolSeal};
use crate::{Admitted, Refusal};

/// One side's two keys.
struct Pair {
    signing: Arc<SigningKey>,
    opening: Arc<DecryptionKey>,
}

impl Pair {
    fn new(name: &str) -> Self {
        let kid = |purpose: &str| KeyId::parse(&format!("{name}-{purpose}")).unwrap();
        let (signing, _) = SigningKey::generate(kid("sig"), SignatureAlgorithm::Es256).unwrap();
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
                SignatureAlgorithm::Es256.into(),
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
        let mut house = House::new(&[&issuer]);
        let gateway = Arc::new(Pair::new("gw"));
        let sealing = Sealing::new(SealingSettings {
            gateway: Issuer::parse("https://gw.example").unwrap(),
            jwks_uri: "https://gw.example/.well-known/jwks.json".to_owned(),
            tools: vec![(
                ServerName::parse("notes").unwrap(),
                ToolName::parse("list_notes").unwrap(),
                ToolSeal {
                    arguments: Pointers::parse(["/text"]).unwrap(),
                    result: Pointers::parse(["/content/*/text"]).unwrap(),
                    clear: Clear::Refuse,
                },
            )],
            ciphers: Cipher::ALL.to_vec(),
            session_lifetime: Lifetime::from_minutes(10),
            keys: Arc::<Pair>::clone(&gateway),
            clock: Arc::<super::issuer::Hand>::clone(&house.clock),
            random: Arc::new(System),
        });
        house.guard.sealing = Some(sealing);
        Self {
            house,
            issuer,
            gateway,
            agent: Pair::new("agent"),
        }
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
        let recipient = self.gateway.recipient();
        let mut sealer = NestedSealer {
            signer: &*self.agent.signing,
            recipient: &recipient,
            encryption: ContentEncryption::A256Gcm,
            now: at,
            random: &System,
        };
        self.message(json!({ "keys": self.agent.public() }), &mut sealer)
    }

    fn message(&self, said: Value, sealer: &mut dyn seal::Sealer) -> (String, seal::BoundCall) {
        let pointers = Pointers::parse(["/text"]).unwrap();
        let call = Call {
            parties: self.parties(),
            tool: ToolName::parse("list_notes").unwrap(),
            id: CallId::parse("7").unwrap(),
        };
        let (sealed, bound) =
            seal::seal_arguments(json!({ "text": "secret", "n": 1 }), &pointers, call, sealer).unwrap();
        let message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": "list_notes", "arguments": sealed, "_meta": { "dev.portcullis/sealed-fields": said, "k": 1 },
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
        let offering = Offering {
            curve: Curve::X25519,
            ciphers: Cipher::ALL.to_vec(),
        };
        let offer = Offer::new(
            self.parties(),
            offering,
            &*self.agent.signing,
            self.now(),
            &System,
        )
        .unwrap();
        let body = json!({ "offer": offer.text(), "keys": self.agent.public() }).to_string();
        let (guard, endpoint) = (&self.house.guard, &self.house.short);
        let arrival = guard.arrival(None);
        let who = guard.authenticate(endpoint, &arrival, head).await?;
        let answer = guard
            .seal_session(endpoint, &arrival, &who, head, body.as_bytes())
            .await?;
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
    assert_eq!(sealed.refused(&good, &elsewhere).await, "seal.already-sealed");
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
