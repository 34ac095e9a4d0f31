//! Several issuers, and opaque tokens at a guard without a gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::request::Parts;
use portcullis_core::identity::TokenProfile;
use portcullis_core::ids::{Issuer, ServerName, ToolName};
use portcullis_core::secret::Secret;
use portcullis_core::time::Lifetime;
use portcullis_net::clock::Clock;
use portcullis_net::discovery::{IssuerKeys, KeysFrom};
use portcullis_net::fetch::{Fetcher, Reach};
use portcullis_net::introspection::Introspection;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::issuer::{House, ISSUER, Key, NOW, trust};
use super::{MCP, call, head};
use crate::{CallsOfToken, Opaque, Part, Serves, TrustedIssuer};

const OTHER: &str = "https://other.example";

/// Issuers of these names; the keys of all are called `k`. The files are there as long as the guard is.
fn trusted(name: &str, keys: &Key, house: &House) -> (TrustedIssuer, PathBuf) {
    let issuer = Issuer::parse(name).unwrap();
    let file = std::env::temp_dir().join(format!(
        "portcullis-issuers-{}-{}.json",
        std::process::id(),
        keys.jkt()
    ));
    std::fs::write(&file, keys.published()).unwrap();
    let held = IssuerKeys::new(
        issuer.clone(),
        KeysFrom::File(file.clone()),
        Fetcher::new(Reach::LoopbackToo).unwrap(),
        Arc::clone(&house.clock) as Arc<dyn Clock>,
    );
    let mut trust = trust();
    trust.issuer = issuer;
    (TrustedIssuer::new(trust, Arc::new(held)), file)
}

async fn verdict(house: &House, token: &str) -> Result<(), &'static str> {
    let arrival = house.guard.arrival(None);
    let head = head(Some(token));
    match house.guard.authenticate(&house.short, &arrival, &head).await {
        Ok(_) => {
            house.memory.taken();
            Ok(())
        }
        Err(_) => {
            let reason = house.only_event().0["reason"].as_str().unwrap().to_owned();
            Err(Box::leak(reason.into_boxed_str()))
        }
    }
}

#[tokio::test]
async fn clm_08_a_name_of_a_key_is_its_issuers_alone() {
    let (ours, theirs) = (Key::new("k"), Key::new("k"));
    let mut house = House::new(&[&ours]);
    let (one, first) = trusted(ISSUER, &ours, &house);
    let (two, second) = trusted(OTHER, &theirs, &house);
    house.trust_only(vec![one, two]);
    let named = |issuer: &'static str| {
        move |claims: &mut serde_json::Map<String, serde_json::Value>| {
            claims.insert("iss".to_owned(), issuer.into());
        }
    };
    let token = |key: &Key, issuer| key.token(MCP, "notes:read", named(issuer));
    assert_eq!(verdict(&house, &token(&ours, ISSUER)).await, Ok(()));
    assert_eq!(verdict(&house, &token(&theirs, OTHER)).await, Ok(()));
    assert_eq!(
        verdict(&house, &token(&theirs, ISSUER)).await,
        Err("token.signature")
    );
    assert_eq!(
        verdict(&house, &token(&ours, OTHER)).await,
        Err("token.signature")
    );
    for file in [first, second] {
        std::fs::remove_file(file).unwrap();
    }
}

#[tokio::test]
async fn an_issuer_reaches_the_tools_that_it_may_and_nothing_else_that_has_a_name() {
    let key = Key::new("k");
    let mut house = House::new(&[&key]);
    let (mut one, file) = trusted(ISSUER, &key, &house);
    let part = Part {
        audience: None,
        tools: Some(BTreeSet::from([ToolName::parse("list_notes").unwrap()])),
    };
    one.serves = Serves::Only(BTreeMap::from([(ServerName::parse("notes").unwrap(), part)]));
    house.trust_only(vec![one]);
    let head = head(Some(&key.token(MCP, "notes:irreversible", |_| ())));
    let request = |method: &str, params: serde_json::Value| {
        json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string()
    };
    for body in [
        call("list_notes"),
        request("tools/list", json!({})),
        request("ping", json!({})),
    ] {
        assert!(house.judge(&head, &body).await.is_ok(), "{body}");
    }
    for body in [
        call("add_note"),
        call("LIST_NOTES"),
        request("prompts/get", json!({ "name": "p" })),
        request("resources/read", json!({ "uri": "file:///a" })),
        // These name things in places of their own.
        request(
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "p" }, "argument": { "name": "a", "value": "b" } }),
        ),
    ] {
        let refusal = house.judge(&head, &body).await.unwrap_err();
        assert_eq!(refusal.code(), "policy.issuer-not-for-target", "{body}");
    }
    std::fs::remove_file(file).unwrap();
}

/// DOS-08: whoever sends tokens that nobody knows uses up what one address has.
#[tokio::test]
async fn dos_08_a_flood_of_unknown_tokens_stops_its_own_address() {
    let key = Key::new("k");
    let mut house = House::new(&[&key]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let known = String::from_utf8_lossy(&request[..read]).contains("token=good");
            let body = json!({
                "active": known, "aud": MCP, "sub": "alice", "client_id": "agent-1", "scope": "notes:read",
                "iat": NOW, "exp": NOW + 300,
            });
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let (mut one, file) = trusted(ISSUER, &key, &house);
    let ask = Introspection::new(
        one.trust.issuer.clone(),
        url.parse().unwrap(),
        &Secret::new("Basic x"),
        Fetcher::new(Reach::LoopbackToo).unwrap(),
        Arc::clone(&house.clock) as Arc<dyn Clock>,
    );
    one.opaque = Some(Opaque {
        ask: Arc::new(ask.unwrap()),
        answers: TokenProfile::of_introspection(),
        kept: Lifetime::from_secs(10),
    });
    house.trust_only(vec![one]);
    let from = async |peer: &str, token: &str| {
        let arrival = house.guard.arrival(Some(peer.parse().unwrap()));
        let head = head(Some(token));
        let who = house.guard.authenticate(&house.short, &arrival, &head).await;
        who.map_or_else(|refusal| refusal.code(), |_| "ok")
    };
    assert_eq!(from("192.0.2.1", "good-1").await, "ok");
    for number in 0..10 {
        assert_eq!(from("192.0.2.1", &format!("bad-{number}")).await, "token.invalid");
    }
    for number in 10..100 {
        let code = from("192.0.2.1", &format!("bad-{number}")).await;
        assert_eq!(code, "limits.unknown-tokens");
    }
    assert_eq!(
        asked.load(Ordering::SeqCst),
        11,
        "the issuer is asked about no more of them"
    );
    // Others are asked about, and so is what was known there before.
    assert_eq!(from("192.0.2.2", "good-2").await, "ok");
    assert_eq!(from("192.0.2.1", "good-1").await, "ok");
    // A new token of the flooded address waits for a tenth of a second. What is known uses nothing up.
    assert_eq!(from("192.0.2.1", "good-3").await, "limits.unknown-tokens");
    house.clock.forward(10);
    assert_eq!(from("192.0.2.1", "good-1").await, "ok", "asked about again");
    for number in 0..20 {
        assert_eq!(from("192.0.2.1", &format!("good-new-{number}")).await, "ok");
    }
    std::fs::remove_file(file).unwrap();
}

/// CLM-21: a token for one call is good for one, also when the first came to nothing, and not at all where it may have been used
/// before it could be remembered.
#[tokio::test]
async fn clm_21_a_token_for_one_call() {
    let key = Key::new("k");
    let mut house = House::new(&[&key]);
    let (mut one, file) = trusted(ISSUER, &key, &house);
    one.calls = CallsOfToken::One;
    one.trust.skew = Lifetime::from_secs(5);
    house.trust_only(vec![one]);
    let named = |jti: &str, issued: i64| {
        let token = key.token(MCP, "notes:read", |claims| {
            claims.insert("jti".to_owned(), jti.into());
            claims.insert("iat".to_owned(), issued.into());
        });
        head(Some(&token))
    };
    let code = async |head: &Parts, body: &str| match house.judge(head, body).await {
        Ok(_) => "ok",
        Err(refusal) => refusal.code(),
    };
    let first = named("t-1", NOW);
    assert_eq!(code(&first, &call("list_notes")).await, "ok");
    assert_eq!(code(&first, &call("list_notes")).await, "token.replayed");
    assert_eq!(code(&named("t-2", NOW), &call("list_notes")).await, "ok");
    // Believed, and then refused for something else: used is used.
    let third = named("t-3", NOW);
    assert_ne!(code(&third, &call("delete_all")).await, "ok");
    assert_eq!(code(&third, &call("list_notes")).await, "token.replayed");
    // By a clock that is five seconds ahead it may be from before the memory.
    assert_eq!(
        code(&named("t-4", NOW - 1), &call("list_notes")).await,
        "token.replayed"
    );
    // For as long as the token is good.
    house.clock.forward(299);
    assert_eq!(code(&first, &call("list_notes")).await, "token.replayed");
    std::fs::remove_file(file).unwrap();
}

/// RS-29 and JWS-48, with a clock that the test moves.
#[tokio::test]
async fn an_answer_counts_as_long_as_configured_and_never_past_the_end_of_the_token() {
    let key = Key::new("k");
    let mut house = House::new(&[&key]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        // Whatever is asked: active, and over 15 seconds after the beginning.
        let claims = json!({
            "active": true, "aud": MCP, "sub": "alice", "client_id": "agent-1", "scope": "notes:read",
            "iat": NOW, "exp": NOW + 15,
        });
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            drop(stream.read(&mut request).await);
            counted.fetch_add(1, Ordering::SeqCst);
            let body = claims.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let (mut one, file) = trusted(ISSUER, &key, &house);
    let ask = Introspection::new(
        one.trust.issuer.clone(),
        url.parse().unwrap(),
        &Secret::new("Basic x"),
        Fetcher::new(Reach::LoopbackToo).unwrap(),
        Arc::clone(&house.clock) as Arc<dyn Clock>,
    );
    one.trust.skew = Lifetime::from_secs(0);
    one.opaque = Some(Opaque {
        ask: Arc::new(ask.unwrap()),
        answers: TokenProfile::of_introspection(),
        kept: Lifetime::from_secs(10),
    });
    house.trust_only(vec![one]);
    for (forward, number, expected) in [
        (0, 1, Ok(())),
        (9, 1, Ok(())),
        (1, 2, Ok(())),
        // Its answer would count for another five seconds.
        (5, 3, Err("token.expired")),
    ] {
        house.clock.forward(forward);
        assert_eq!(verdict(&house, "opaque").await, expected);
        assert_eq!(asked.load(Ordering::SeqCst), number);
    }
    std::fs::remove_file(file).unwrap();
}
