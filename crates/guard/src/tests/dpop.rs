//! Tokens that are bound to a key, and the proofs that come with them. The numbers are rows of the attack catalogue that
//! the project keeps for its scanner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::request::Parts;
use http::{HeaderValue, header::AUTHORIZATION};
use portcullis_core::time::UnixTime;
use serde_json::{Map, Value, json};

use super::issuer::{ANYONE, House, Key, NOW, senders};
use super::{MCP, call, head, text};
use crate::{
    FirstUse, LocalReplayLog, ProofNonce, ReplayId, ReplayLog, ReplayUnavailable, SenderConstraint,
    SenderRules,
};

const DPOP: SenderRules = SenderRules {
    constraint: SenderConstraint::Dpop,
    ..ANYONE
};
const NONCE: SenderRules = SenderRules {
    nonce: ProofNonce::Required,
    ..DPOP
};

/// A memory that can be asked how often it was, and that can be away.
struct Counting {
    log: Option<LocalReplayLog>,
    asked: AtomicUsize,
    since: UnixTime,
    /// Since when it remembers after it was asked for the first time: it was lost meanwhile.
    lost: Option<UnixTime>,
}

impl Counting {
    fn new(log: Option<LocalReplayLog>) -> Arc<Self> {
        Arc::new(Self {
            log,
            asked: AtomicUsize::new(0),
            // Long enough ago for a clock that is ahead.
            since: UnixTime::from_secs(NOW - 5),
            lost: None,
        })
    }

    fn there() -> Arc<Self> {
        Self::new(Some(LocalReplayLog::new(1000, UnixTime::from_secs(NOW))))
    }
}

impl ReplayLog for Counting {
    fn first_use(&self, id: ReplayId, until: UnixTime, now: UnixTime) -> FirstUse<'_> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match &self.log {
            Some(log) => log.first_use(id, until, now),
            None => FirstUse::known(Err(ReplayUnavailable::Unreachable)),
        }
    }

    fn since(&self) -> UnixTime {
        match self.asked.load(Ordering::SeqCst) {
            0 => self.since,
            _ => self.lost.unwrap_or(self.since),
        }
    }

    fn ready(&self) -> Result<(), ReplayUnavailable> {
        Ok(())
    }
}

/// A house, an issuer's key, an agent's key, and a token that is bound to it.
struct Scene {
    house: House,
    agent: Key,
    token: String,
    issuer: Key,
    replays: Arc<Counting>,
}

impl Scene {
    fn new(rules: SenderRules) -> Self {
        Self::remembering(rules, Counting::there())
    }

    fn remembering(rules: SenderRules, replays: Arc<Counting>) -> Self {
        let (issuer, agent) = (Key::new("k"), Key::new("agent"));
        let token = bound(&issuer, json!({ "jkt": agent.jkt() }));
        let house = House::asking(&[&issuer], senders(rules, Arc::<Counting>::clone(&replays)));
        Self {
            house,
            agent,
            token,
            issuer,
            replays,
        }
    }

    /// A request with the token and a proof with these claims.
    fn proven(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Parts {
        proven(&self.token, &self.agent.proof(MCP, &self.token, change))
    }

    /// A request with a proof of this name.
    fn named(&self, jti: &str) -> Parts {
        self.proven(|claims| set(claims, "jti", jti))
    }

    /// `ok`, or status, scheme and error, and the reason on record.
    async fn judge(&self, head: &Parts) -> String {
        match self.house.judge(head, &call("list_notes")).await {
            Ok(admitted) => {
                drop(admitted);
                self.house.guard.drained().await;
                self.house.memory.taken();
                "ok".to_owned()
            }
            Err(refusal) => {
                let (event, _) = self.house.only_event();
                let reason = event["reason"].as_str().unwrap().to_owned();
                let response = refusal.into_response();
                let challenge = text(response.headers(), "www-authenticate");
                let short: Vec<&str> = challenge.split([' ', '"']).take(3).collect();
                format!("{} {} {reason}", response.status().as_u16(), short.join(" ")).replace("error= ", "")
            }
        }
    }
}

fn set(claims: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    claims.insert(name.to_owned(), value.into());
}

/// An access token with this `cnf`.
fn bound(issuer: &Key, cnf: Value) -> String {
    issuer.token(MCP, "notes:write", |claims| set(claims, "cnf", cnf))
}

fn authorized(scheme: &str, token: &str) -> Parts {
    let mut head = head(None);
    let value = HeaderValue::try_from(format!("{scheme} {token}")).unwrap();
    head.headers.insert(AUTHORIZATION, value);
    head
}

fn proven(token: &str, proof: &str) -> Parts {
    let mut head = authorized("DPoP", token);
    head.headers.insert("dpop", HeaderValue::try_from(proof).unwrap());
    head
}

const DIT: &str = "401 DPoP invalid_token";
const DIP: &str = "401 DPoP invalid_dpop_proof";
const DN: &str = "401 DPoP use_dpop_nonce";

#[tokio::test]
async fn a_bound_token_with_its_proof_is_an_identity() {
    for rules in [ANYONE, DPOP] {
        let scene = Scene::new(rules);
        let head = scene.named("p-1");
        let admitted = scene.house.judge(&head, &call("add_note")).await.unwrap();
        drop(admitted);
        let events = scene.house.memory.taken();
        let (event, _) = &events[0];
        assert_eq!(
            (event["confirmation"].as_str(), event["user"].as_str()),
            (Some("dpop"), Some("alice"))
        );
    }
}

#[tokio::test]
async fn dpop_01_bound_token_as_bearer() {
    for rules in [ANYONE, DPOP] {
        let scene = Scene::new(rules);
        let expected = format!("{DIT} token.sender-constrained");
        assert_eq!(scene.judge(&authorized("Bearer", &scene.token)).await, expected);
        // A proof beside it makes it no better, and neither does a good call before.
        let mut head = scene.named("p-1");
        head.headers
            .insert(AUTHORIZATION, format!("Bearer {}", scene.token).parse().unwrap());
        assert_eq!(scene.judge(&head).await, expected);
        assert_eq!(scene.judge(&scene.named("p-2")).await, "ok");
        assert_eq!(scene.judge(&head).await, expected);
    }
}

#[tokio::test]
async fn dpop_03_and_04_one_proof() {
    let scene = Scene::new(ANYONE);
    let none = authorized("DPoP", &scene.token);
    assert_eq!(scene.judge(&none).await, format!("{DIP} dpop.missing"));
    let mut two = scene.named("p-1");
    let second = two.headers["dpop"].clone();
    two.headers.append("dpop", second);
    assert_eq!(scene.judge(&two).await, format!("{DIP} dpop.two"));
    let mut list = scene.named("p-1");
    let joined = format!("{0}, {0}", list.headers["dpop"].to_str().unwrap());
    list.headers.insert("dpop", joined.parse().unwrap());
    assert_eq!(scene.judge(&list).await, format!("{DIP} dpop.malformed"));
    assert_eq!(
        scene.judge(&scene.named("p-1")).await,
        "ok",
        "none of them used it up"
    );
}

#[tokio::test]
async fn dpop_05_proof_by_another_key_or_for_another_token() {
    let scene = Scene::new(ANYONE);
    let thief = Key::new("thief");
    assert_eq!(scene.judge(&scene.named("p-1")).await, "ok");
    let stolen = proven(&scene.token, &thief.proof(MCP, &scene.token, |_| ()));
    assert_eq!(scene.judge(&stolen).await, format!("{DIT} token.other-key"));
    let other = bound(&scene.issuer, json!({ "jkt": thief.jkt() }));
    let mixed = proven(&scene.token, &scene.agent.proof(MCP, &other, |_| ()));
    assert_eq!(scene.judge(&mixed).await, format!("{DIP} dpop.ath-mismatch"));
}

#[tokio::test]
async fn what_is_not_bound_to_a_key_is_not_sent_with_a_proof_of_one() {
    let scene = Scene::new(ANYONE);
    let plain = scene.issuer.token(MCP, "notes:write", |_| ());
    let proof = scene.agent.proof(MCP, &plain, |_| ());
    assert_eq!(
        scene.judge(&proven(&plain, &proof)).await,
        format!("{DIT} token.not-bound")
    );
    assert_eq!(scene.judge(&authorized("Bearer", &plain)).await, "ok");
    // No connection here has a certificate.
    let certificate = "A".repeat(43);
    for (scheme, cnf) in [
        ("Bearer", json!({ "x5t#S256": certificate })),
        (
            "DPoP",
            json!({ "x5t#S256": certificate, "jkt": scene.agent.jkt() }),
        ),
    ] {
        let token = bound(&scene.issuer, cnf);
        let mut head = proven(&token, &scene.agent.proof(MCP, &token, |_| ()));
        head.headers
            .insert(AUTHORIZATION, format!("{scheme} {token}").parse().unwrap());
        let verdict = scene.judge(&head).await;
        assert_eq!(
            verdict,
            format!("401 {scheme} invalid_token token.certificate-missing")
        );
    }
    assert_eq!(scene.replays.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_server_that_requires_bound_tokens_takes_no_other() {
    let scene = Scene::new(DPOP);
    let plain = authorized("Bearer", &scene.issuer.token(MCP, "notes:write", |_| ()));
    assert_eq!(scene.judge(&plain).await, format!("{DIT} token.not-constrained"));
    assert_eq!(
        scene.judge(&plain).await,
        format!("{DIT} token.not-constrained"),
        "remembered"
    );
    assert_eq!(scene.judge(&scene.named("p-1")).await, "ok");
    // One server's rule is not another's.
    let mut both = senders(DPOP, Arc::<Counting>::clone(&scene.replays));
    both.servers.insert(scene.house.short.server().clone(), ANYONE);
    let house = House::asking(&[&scene.issuer], both);
    assert!(house.judge(&plain, &call("list_notes")).await.is_ok());
    // Nothing is taken where a certificate is required that no connection has.
    let mtls = Scene::new(SenderRules {
        constraint: SenderConstraint::Mtls,
        ..ANYONE
    });
    assert_eq!(
        mtls.judge(&mtls.named("p-1")).await,
        "401 Bearer invalid_token token.not-constrained"
    );
}

#[tokio::test]
async fn dpop_09_10_and_11_method_and_public_url() {
    let scene = Scene::new(ANYONE);
    for (name, value, reason) in [
        ("htm", "GET", "dpop.htm-mismatch"),
        ("htm", "post", "dpop.htm-mismatch"),
        ("htu", "https://gw.example/s/notes/mcp", "dpop.htu-mismatch"),
        ("htu", "https://gw.example/mcp/seal", "dpop.htu-mismatch"),
        ("htu", "http://10.0.0.7:8420/mcp", "dpop.htu-mismatch"),
    ] {
        let head = scene.proven(|claims| set(claims, name, value));
        assert_eq!(scene.judge(&head).await, format!("{DIP} {reason}"), "{value}");
    }
    // What a proxy says of the request, or whoever passes for one, is nothing.
    let mut forwarded = scene.proven(|claims| set(claims, "htu", "https://evil.example/mcp"));
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "host=evil.example;proto=https"),
    ] {
        forwarded.headers.insert(name, HeaderValue::from_static(value));
    }
    assert_eq!(scene.judge(&forwarded).await, format!("{DIP} dpop.htu-mismatch"));
    let mut behind = scene.named("p-1");
    behind.uri = "/mcp?session=1".parse().unwrap();
    behind
        .headers
        .insert("x-forwarded-host", HeaderValue::from_static("evil.example"));
    assert_eq!(
        scene.judge(&behind).await,
        "ok",
        "the public URL is the configured one"
    );
}

#[tokio::test]
async fn an_address_below_the_resource_has_a_url_of_its_own() {
    let scene = Scene::new(ANYONE);
    let seal = scene.house.short.below("/seal");
    let arrival = scene.house.guard.arrival(None);
    let at = |htu: &str, jti: &str| {
        proven(
            &scene.token,
            &scene
                .agent
                .proof(htu, &scene.token, |claims| set(claims, "jti", jti)),
        )
    };
    let below = at("https://gw.example/mcp/seal", "p-1");
    assert!(
        scene
            .house
            .guard
            .authenticate(&seal, &arrival, &below)
            .await
            .is_ok()
    );
    let above = at(MCP, "p-2");
    assert!(
        scene
            .house
            .guard
            .authenticate(&seal, &arrival, &above)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn dpop_13_and_14_a_proof_is_for_one_use() {
    let scene = Scene::new(ANYONE);
    let head = scene.named("p-1");
    assert_eq!(scene.judge(&head).await, "ok");
    // The token is remembered by now. The proof is checked all the same.
    assert_eq!(scene.judge(&head).await, format!("{DIP} dpop.replayed"));
    for spelled in [
        "https://GW.example:443/mcp",
        "https://gw.example/./mcp?again=1#x",
        "https://gw.example/m%63p",
    ] {
        let again = scene.proven(|claims| set(claims, "htu", spelled));
        assert_eq!(
            scene.judge(&again).await,
            format!("{DIP} dpop.replayed"),
            "{spelled}"
        );
    }
    assert_eq!(scene.judge(&scene.named("p-2")).await, "ok");
    // Of another key, the same name is another proof.
    let other = Key::new("other");
    let token = bound(&scene.issuer, json!({ "jkt": other.jkt() }));
    assert_eq!(
        scene
            .judge(&proven(&token, &other.proof(MCP, &token, |_| ())))
            .await,
        "ok"
    );
}

/// Used at another replica, which shares the memory, or denied by policy: used is used.
#[tokio::test]
async fn dpop_13_replicas_share_their_memory() {
    let scene = Scene::new(ANYONE);
    let head = scene.named("p-1");
    assert_eq!(scene.judge(&head).await, "ok");
    let replica = House::asking(
        &[&scene.issuer],
        senders(ANYONE, Arc::<Counting>::clone(&scene.replays)),
    );
    let refusal = replica.judge(&head, &call("list_notes")).await.unwrap_err();
    assert_eq!(refusal.code(), "dpop.replayed");
}

/// After a restart nobody knows what was used before: what was made before needs a nonce that shows when.
#[tokio::test]
async fn dpop_13_after_a_restart() {
    let restarted = Arc::new(Counting {
        log: Some(LocalReplayLog::new(1000, UnixTime::from_secs(NOW))),
        asked: AtomicUsize::new(0),
        since: UnixTime::from_millis(NOW * 1000 + 500),
        lost: None,
    });
    let scene = Scene::remembering(ANYONE, restarted);
    let head = scene.named("p-1");
    assert_eq!(scene.judge(&head).await, format!("{DN} dpop.nonce"));
    // A nonce of before is none of now.
    let before = scene
        .house
        .guard
        .authenticate(&scene.house.short, &scene.house.guard.arrival(None), &head)
        .await;
    let before = text(before.unwrap_err().into_response().headers(), "dpop-nonce");
    scene.house.memory.taken();
    let old = scene.proven(|claims| set(claims, "nonce", before));
    assert_eq!(scene.judge(&old).await, format!("{DN} dpop.nonce"));
    assert_eq!(
        scene.replays.asked.load(Ordering::SeqCst),
        0,
        "and nothing is used up"
    );
    // The same second by the sender's clock, but after the start.
    scene.house.clock.forward(1);
    let refusal = scene.house.judge(&head, &call("list_notes")).await.unwrap_err();
    scene.house.memory.taken();
    let nonce = text(refusal.into_response().headers(), "dpop-nonce");
    assert_eq!(
        scene
            .judge(&scene.proven(|claims| set(claims, "nonce", nonce)))
            .await,
        "ok"
    );
    // By a clock that is five seconds ahead it may have been made, and used, before the start.
    for ahead in [1, 5] {
        let ahead = scene.proven(|claims| set(claims, "iat", NOW + ahead));
        assert_eq!(scene.judge(&ahead).await, format!("{DN} dpop.nonce"));
    }
    let later = scene.proven(|claims| set(claims, "iat", NOW + 6));
    assert_eq!(
        scene.judge(&later).await,
        format!("{DIP} dpop.replayed"),
        "the name was used"
    );
}

/// What the store forgets while it is asked, it cannot tell from what it never heard.
#[tokio::test]
async fn dpop_13_a_memory_that_is_lost_while_it_is_asked() {
    let lost = |lost| {
        Arc::new(Counting {
            log: Some(LocalReplayLog::new(1000, UnixTime::from_secs(NOW))),
            asked: AtomicUsize::new(0),
            since: UnixTime::from_secs(NOW - 5),
            lost,
        })
    };
    let scene = Scene::remembering(ANYONE, lost(Some(UnixTime::from_secs(NOW))));
    assert_eq!(scene.judge(&scene.named("p-1")).await, format!("{DN} dpop.nonce"));
    assert_eq!(scene.replays.asked.load(Ordering::SeqCst), 1);
    let scene = Scene::remembering(ANYONE, lost(None));
    assert_eq!(scene.judge(&scene.named("p-1")).await, "ok");
}

#[tokio::test]
async fn dpop_15_a_proof_is_remembered_for_as_long_as_it_is_young() {
    let scene = Scene::new(ANYONE);
    let ahead = scene.proven(|claims| set(claims, "iat", NOW + 5));
    assert_eq!(scene.judge(&ahead).await, "ok");
    for (forward, reason) in [(59, "dpop.replayed"), (5, "dpop.replayed"), (1, "dpop.stale")] {
        scene.house.clock.forward(forward);
        assert_eq!(scene.judge(&ahead).await, format!("{DIP} {reason}"));
    }
}

#[tokio::test]
async fn dpop_16_only_what_held_is_remembered() {
    let scene = Scene::new(NONCE);
    let thief = Key::new("thief");
    let foreign = Key::new("k");
    let forged = bound(&foreign, json!({ "jkt": thief.jkt() }));
    for (head, expected) in [
        (
            proven(&forged, &thief.proof(MCP, &forged, |_| ())),
            "401 DPoP invalid_token token.signature".to_owned(),
        ),
        (
            proven(&scene.token, &thief.proof(MCP, &scene.token, |_| ())),
            format!("{DIT} token.other-key"),
        ),
        (
            proven(
                &scene.token,
                &format!("{}A", scene.agent.proof(MCP, &scene.token, |_| ())),
            ),
            format!("{DIP} dpop.signature"),
        ),
        (
            scene.proven(|claims| set(claims, "ath", "x")),
            format!("{DIP} dpop.ath-mismatch"),
        ),
        (
            scene.proven(|claims| set(claims, "iat", NOW - 60)),
            format!("{DIP} dpop.stale"),
        ),
        (scene.named("p-1"), format!("{DN} dpop.nonce")),
    ] {
        assert_eq!(scene.judge(&head).await, expected);
    }
    assert_eq!(scene.replays.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_memory_that_is_away_is_no_reason_to_accept() {
    let scene = Scene::remembering(ANYONE, Counting::new(None));
    let refusal = scene
        .house
        .judge(&scene.named("p-1"), &call("list_notes"))
        .await
        .unwrap_err();
    assert_eq!(
        (refusal.status().as_u16(), refusal.code()),
        (503, "replay.unreachable")
    );
    assert_eq!(text(refusal.into_response().headers(), "retry-after"), "5");
    let (event, _) = scene.house.only_event();
    assert_eq!(event["fault"], "operator");
    // A token that needs no proof needs no memory.
    let plain = scene.issuer.token(MCP, "notes:write", |_| ());
    assert_eq!(scene.judge(&authorized("Bearer", &plain)).await, "ok");
}

#[tokio::test]
async fn dpop_19_a_nonce_of_this_server_and_of_now() {
    let scene = Scene::new(NONCE);
    let refusal = scene
        .house
        .judge(&scene.named("p-1"), &call("list_notes"))
        .await
        .unwrap_err();
    scene.house.memory.taken();
    let nonce = text(refusal.into_response().headers(), "dpop-nonce");
    assert_eq!(
        scene
            .judge(&scene.proven(|claims| set(claims, "nonce", nonce.clone())))
            .await,
        "ok"
    );
    let foreign = crate::NonceKey::new(&[8; 32]).nonce(UnixTime::from_secs(NOW));
    let foreign = foreign.to_str().unwrap().to_owned();
    for wrong in [String::new(), "x".to_owned(), foreign] {
        let head = scene.proven(|claims| set(claims, "nonce", wrong));
        assert_eq!(scene.judge(&head).await, format!("{DN} dpop.nonce"));
    }
    // Two minutes later the clock of the sender does not help any more.
    scene.house.clock.forward(120);
    let late = scene.proven(|claims| {
        set(claims, "nonce", nonce);
        set(claims, "iat", NOW + 120);
    });
    assert_eq!(scene.judge(&late).await, format!("{DN} dpop.nonce"));
    // Each answer has the next one.
    assert!(scene.house.guard.dpop_nonce(&scene.house.short).is_some());
    assert!(
        Scene::new(DPOP)
            .house
            .guard
            .dpop_nonce(&scene.house.short)
            .is_none()
    );
}

/// The owner of a token is not named for what somebody else does with it. The token is.
#[tokio::test]
async fn a_refused_proof_is_on_record_with_its_token_and_without_its_owner() {
    let scene = Scene::new(ANYONE);
    let thief = Key::new("thief");
    let head = proven(&scene.token, &thief.proof(MCP, &scene.token, |_| ()));
    assert!(scene.house.judge(&head, &call("list_notes")).await.is_err());
    let (event, _) = scene.house.only_event();
    let token = portcullis_core::ids::TokenId::parse("t-1").unwrap();
    let hash = serde_json::to_value(portcullis_core::audit::TokenHash::of(&token)).unwrap();
    assert_eq!(
        (event["reason"].as_str(), &event["token"]),
        (Some("token.other-key"), &hash)
    );
    assert_eq!(event["fault"], "caller");
    assert!(
        event.get("user").is_none() && event.get("agent").is_none(),
        "{event}"
    );
}
