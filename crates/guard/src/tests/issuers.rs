//! Several issuers, and opaque tokens at a guard without a gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
use crate::{Opaque, Part, Serves, TrustedIssuer};

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
