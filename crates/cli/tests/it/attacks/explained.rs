//! `policy explain` says beforehand what the gateway answers, and puts on record: the same token, the same call.

use std::fs;

use portcullis_testkit::{Outcome, mcp};
use serde_json::{Value, json};

use super::forge::{Key, text, with};
use super::range::{Issuer, Range};
use crate::portcullis;

/// Members of a record that a request has and a question about one has not.
const OF_A_REQUEST: [&str; 9] = [
    "request",
    "peer",
    "arguments",
    "seq",
    "time",
    "prev",
    "hash",
    "kind",
    "told",
];
/// What is said besides.
const BESIDES: [&str; 4] = ["cause", "hint", "challenge", "notes"];

fn without(mut record: Value, names: &[&str]) -> Value {
    if let Some(record) = record.as_object_mut() {
        record.retain(|name, _| !names.contains(&name.as_str()));
    }
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_that_is_explained_is_the_answer_that_is_given() -> Outcome {
    let other = Key::p256()?;
    let narrow = Issuer::of("narrow", &json!([other.published("es", "ES256")]))
        .and("[issuers.servers.crm]\ntools = [\"find\"]");
    let mut range = Range::start("explained", vec![narrow], "[policy]\nfiles = [\"rules.cedar\"]\n").await?;
    let now = portcullis_testkit::proofs::now();
    let good = range.good();
    let narrowed = with(Range::claims(), &[("iss", json!("https://narrow.example"))]).to_string();
    let narrowed = other.token(Range::header().to_string(), narrowed);
    let tokens = [
        ("good", good.clone()),
        ("writes", range.with_claims(&[("scope", json!("crm:write"))])),
        ("no scope", range.with_claims(&[("scope", json!(""))])),
        (
            "expired",
            range.with_claims(&[("iat", json!(now - 600)), ("exp", json!(now - 300))]),
        ),
        ("too long", range.with_claims(&[("exp", json!(now + 100_000))])),
        ("later", range.with_claims(&[("nbf", json!(now + 600))])),
        (
            "another audience",
            range.with_claims(&[("aud", json!("https://other.example"))]),
        ),
        (
            "another issuer",
            range.with_claims(&[("iss", json!("https://other.example"))]),
        ),
        ("no audience", range.with_claims(&[("aud", json!(null))])),
        (
            "bound to a key",
            range.with_claims(&[("cnf", json!({"jkt": text([1; 32])}))]),
        ),
        (
            "bound in another way",
            range.with_claims(&[("cnf", json!({"kid": "x"}))]),
        ),
        ("no algorithm", range.with_header(&[("alg", json!("none"))])),
        ("another key", range.with_header(&[("kid", json!("other"))])),
        ("an ID token", range.with_header(&[("typ", json!("JWT"))])),
        ("a key of its own", range.with_header(&[("jwk", other.jwk())])),
        ("altered", format!("{good}A")),
        ("none at all", "nonsense".to_owned()),
        ("two", format!("{good} {good}")),
        ("of an issuer for one tool", narrowed),
    ];
    let calls = [
        ("find", json!({})),
        ("find", json!({"name": "nobody"})),
        ("merge", json!({"a": 1})),
        ("other", json!({})),
    ];
    let config = range.folder().join("gateway.toml").display().to_string();
    let token_file = range.folder().join("token").display().to_string();
    let mut answers = 0;
    for (what, token) in &tokens {
        for (tool, arguments) in &calls {
            let request = mcp::call(&format!("{}/mcp", range.origin), tool, arguments);
            let answer = request
                .header("host", super::expect::HOST)
                .bearer(token)
                .send()
                .await?;
            let body = answer.json()?;
            fs::write(&token_file, format!("{token}\n"))?;
            let call = json!({"name": tool, "arguments": arguments}).to_string();
            let asked = [
                "policy",
                "explain",
                "--token",
                &token_file,
                "--call",
                &call,
                "--config",
                &config,
            ];
            let told = portcullis().run(asked.iter().chain(&["--json"]))?;
            let shown = portcullis().run(asked)?;
            let what = format!("{what}, {tool}");
            // The gateway was started in the folder of its files, and names them without it.
            let folder = format!("{}/", range.folder().display());
            let said: Value = serde_json::from_str(&told.stdout.replace(&folder, "./")).unwrap_or_default();
            range.same(&what, told.code, Some(i32::from(answer.status != 200)));
            range.same(&what, shown.code, told.code);
            for part in token
                .split(['.', ' '])
                .filter(|part| part.len() > 24 && !part.starts_with("eyJ"))
            {
                let leaks = [&told, &shown]
                    .iter()
                    .any(|ran| ran.stdout.contains(part) || ran.stderr.contains(part));
                range.same(&format!("{what}: the token is told"), leaks, false);
            }
            range.same(
                &what,
                crate::text(&said, "/challenge"),
                answer.header("www-authenticate").to_owned(),
            );
            range.same(
                &what,
                crate::text(&said, "/told"),
                crate::text(&body, "/error/data/reason"),
            );
            if answer.status == 200 {
                range.same(&what, shown.stdout.starts_with("allowed\n"), true);
                // The record of a call that was allowed is named by nothing that the caller gets.
                range.same(&what, crate::text(&said, "/verdict"), "allowed".to_owned());
                range.same(&what, said.get("rules").is_some_and(Value::is_array), true);
            } else {
                let records = range.records()?;
                let record = records
                    .get(answer.header("x-request-id"))
                    .cloned()
                    .unwrap_or_default();
                let names: Vec<_> = OF_A_REQUEST.iter().chain(&BESIDES).copied().collect();
                range.same(&what, without(said.clone(), &names), without(record, &names));
                range.same(&what, crate::text(&said, "/hint").is_empty(), false);
                let line = format!("refused: {} {}\n", answer.status, crate::text(&said, "/reason"));
                range.same(&what, shown.stdout.starts_with(&line), true);
            }
            answers += 1;
        }
    }
    range.same("answers", answers, tokens.len() * calls.len());
    range.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_offline_is_said_and_what_would_be_needed() -> Outcome {
    let other = Key::p256()?;
    // Nobody listens there, and nobody asks.
    let issuers = vec![Issuer::at("far", "http://127.0.0.1:9/jwks")];
    let range = Range::start("explained", issuers, "").await?;
    let claims = with(Range::claims(), &[("iss", json!("https://far.example"))]).to_string();
    let files = |name: &str, text: &str| -> Outcome<String> {
        let file = range.folder().join(name);
        fs::write(&file, text)?;
        Ok(file.display().to_string())
    };
    let token = files("token", &other.token(Range::header().to_string(), claims))?;
    let jwks = files(
        "far.json",
        &json!({"keys": [other.published("es", "ES256")]}).to_string(),
    )?;
    let config = range.folder().join("gateway.toml").display().to_string();
    let ask = |more: &[&str]| {
        let base = ["policy", "explain", "--token", &token, "--config", &config];
        portcullis().run(base.iter().chain(more))
    };
    let call = ["--call", "{\"name\": \"find\"}"];
    let unknown = ask(&call)?;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("--jwks FILE"), "{}", unknown.stderr);
    let known = ask(&[&call[..], &["--jwks", &jwks]].concat())?;
    assert_eq!(
        (known.code, known.stdout.starts_with("allowed\n")),
        (Some(0), true),
        "{known:?}"
    );
    // A day later it has expired.
    let later = ask(&[&call[..], &["--jwks", &jwks, "--at", "2126-01-01T00:00:00Z"]].concat())?;
    assert_eq!(later.code, Some(1), "{later:?}");
    assert!(
        later.stdout.starts_with("refused: 401 token.expired\n"),
        "{}",
        later.stdout
    );
    for (wrong, said) in [
        (vec!["--call", "nonsense"], "is not JSON"),
        (vec!["--call", "{}"], "neither a `method` nor the `name`"),
        (
            vec!["--call", "{\"name\": \"find\"}", "--server", "other"],
            "which server is called",
        ),
        (
            vec!["--call", "{\"name\": \"find\"}", "--jwks", "/nowhere"],
            "cannot be used",
        ),
    ] {
        let ran = ask(&wrong)?;
        assert_eq!((ran.code, ran.stderr.contains(said)), (Some(2), true), "{ran:?}");
    }
    let legacy = ask(&[
        "--jwks",
        &jwks,
        "--call",
        r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}"#,
    ])?;
    assert_eq!(legacy.code, Some(0), "{legacy:?}");
    let unlisted = ask(&["--jwks", &jwks, "--call", r#"{"name": "\u00e4"}"#])?;
    assert!(
        unlisted.stdout.contains("scopes needed: crm:irreversible"),
        "{unlisted:?}"
    );
    Ok(())
}
