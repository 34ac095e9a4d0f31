use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::jose::jwk::KeySet;
use portcullis_core::jose::jws::Unverified;

use super::*;
use crate::custody::tests::rings::House;

/// Client, code.
async fn authorized(stage: &Stage, scope: &str) -> (String, String) {
    let client = stage.register().await;
    let code = Visitor::new(stage)
        .code(&authorization(&client, &[("scope", scope)]))
        .await;
    (client, code)
}

/// Client, refresh token.
async fn refreshable(stage: &Stage) -> (String, String) {
    let (client, code) = authorized(stage, "notes:read notes:write").await;
    let tokens = stage.redeem(&client, &code, &[]).await.json();
    (client, tokens["refresh_token"].as_str().unwrap().to_owned())
}

async fn claims(stage: &Stage, token: &str) -> Value {
    let keys = KeySet::parse(stage.get("/jwks").await.body.as_bytes()).unwrap();
    let unverified = Unverified::parse(token).unwrap();
    let key = keys.find(unverified.kid(), unverified.algorithm()).unwrap();
    let verified = unverified.verify(key).unwrap();
    assert_eq!(verified.typ(), Some("at+jwt"));
    serde_json::from_slice(verified.payload()).unwrap()
}

#[tokio::test]
async fn a_code_becomes_tokens() {
    let stage = Stage::new().await;
    let (client, code) = authorized(&stage, "notes:read notes:write").await;
    let answer = stage.redeem(&client, &code, &[]).await;
    assert_eq!(
        (answer.status, answer.header("cache-control")),
        (StatusCode::OK, "no-store"),
        "{answer:?}"
    );
    let tokens = answer.json();
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"]),
        (&json!("Bearer"), &json!(300))
    );
    assert_eq!(tokens["scope"], "notes:read notes:write");
    // RFC 9068 §2.2
    let claims = claims(&stage, tokens["access_token"].as_str().unwrap()).await;
    let now = stage.clock.now().as_secs();
    assert_eq!(
        claims,
        json!({ "iss": ISSUER, "sub": "alice", "aud": RESOURCE, "client_id": client, "scope": "notes:read notes:write",
            "iat": now, "exp": now + 300, "jti": claims["jti"], "grant_id": claims["grant_id"] })
    );
    let recorded = &stage.recorded("token")[0];
    assert_eq!(
        (&recorded["result"], &recorded["user"], &recorded["agent"]),
        (&json!("issued"), &json!("alice"), &json!(client))
    );
    for secret in [
        &tokens["access_token"],
        &tokens["refresh_token"],
        &json!(code),
        &claims["jti"],
    ] {
        assert!(
            !stage
                .records
                .events
                .lock()
                .unwrap()
                .iter()
                .any(|event| event.to_string().contains(secret.as_str().unwrap()))
        );
    }
}

#[tokio::test]
async fn a_client_not_registered_for_refresh_gets_no_refresh_token() {
    let stage = Stage::new().await;
    let registered = stage
        .register_as(json!({ "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none" }))
        .await;
    let client = registered.json()["client_id"].as_str().unwrap().to_owned();
    let code = Visitor::new(&stage).code(&authorization(&client, &[])).await;
    let tokens = stage.redeem(&client, &code, &[]).await.json();
    assert!(tokens["access_token"].is_string() && tokens.get("refresh_token").is_none());
    assert_eq!(
        stage.refresh(&client, "x").await.error(),
        (400, "unauthorized_client".to_owned())
    );
}

#[tokio::test]
async fn a_code_is_bound_to_everything_it_was_issued_for() {
    // AS-05, AS-06, AS-14
    let stage = Stage::new().await;
    let (client, code) = authorized(&stage, "notes:read").await;
    let other = stage.register().await;
    let wrong = "x".repeat(43);
    for (changes, error) in [
        (&[("client_id", other.as_str())][..], "invalid_grant"),
        (
            &[("redirect_uri", "http://127.0.0.1:8/callback")],
            "invalid_grant",
        ),
        (&[("code_verifier", wrong.as_str())], "invalid_grant"),
        (&[("code_verifier", CHALLENGE)], "invalid_grant"),
        (&[("code_verifier", "short")], "invalid_grant"),
        (&[("code_verifier", "")], "invalid_request"),
        (&[("resource", "http://127.0.0.1:8420/other")], "invalid_target"),
        (&[("code", "unknown")], "invalid_grant"),
        (&[("code", "")], "invalid_request"),
        (&[("grant_type", "password")], "unsupported_grant_type"),
        (&[("grant_type", "")], "invalid_request"),
    ] {
        assert_eq!(
            stage.redeem(&client, &code, changes).await.error(),
            (400, error.to_owned()),
            "{changes:?}"
        );
    }
    let refused = stage.recorded("token");
    assert!(refused.iter().all(|event| event["result"] == "refused") && refused.len() == 11);
    // None of them spent it; OAuth 2.1 leaves `redirect_uri` out.
    assert_eq!(
        stage.redeem(&client, &code, &[("redirect_uri", "")]).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_code_ends_after_a_minute() {
    let stage = Stage::new().await;
    let (client, code) = authorized(&stage, "notes:read").await;
    stage.later(Lifetime::from_secs(60));
    assert_eq!(
        stage.redeem(&client, &code, &[]).await.error(),
        (400, "invalid_grant".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_parallel_redemptions_one_succeeds_and_its_tokens_are_revoked() {
    // AS-04
    let stage = Arc::new(Stage::new().await);
    let (client, code) = authorized(&stage, "notes:read").await;
    let attempts: Vec<_> = (0..50)
        .map(|_| {
            let (stage, client, code) = (Arc::clone(&stage), client.clone(), code.clone());
            tokio::spawn(async move { stage.redeem(&client, &code, &[]).await })
        })
        .collect();
    let mut tokens = Vec::new();
    for attempt in attempts {
        let answer = attempt.await.unwrap();
        match answer.status {
            StatusCode::OK => tokens.push(answer.json()["refresh_token"].as_str().unwrap().to_owned()),
            _ => assert_eq!(answer.error(), (400, "invalid_grant".to_owned())),
        }
    }
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        stage.refresh(&client, &tokens[0]).await.error(),
        (400, "invalid_grant".to_owned())
    );
    let replays = stage
        .recorded("token")
        .iter()
        .filter(|event| event["result"] == "reuse_detected")
        .count();
    assert_eq!(replays, 49);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_reused_one_ends_its_family() {
    // AS-16
    let stage = Stage::new().await;
    let (client, first) = refreshable(&stage).await;
    let answer = stage.refresh(&client, &first).await;
    let second = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(answer.json()["scope"], "notes:read notes:write");
    stage.later(Lifetime::from_secs(11));
    assert_eq!(
        stage.refresh(&client, &first).await.error(),
        (400, "invalid_grant".to_owned())
    );
    assert_eq!(
        stage.refresh(&client, &second).await.error(),
        (400, "invalid_grant".to_owned())
    );
    let results: Vec<Value> = stage
        .recorded("token")
        .iter()
        .map(|event| event["result"].clone())
        .collect();
    assert_eq!(results, ["issued", "refreshed", "reuse_detected", "refused"]);
}

#[tokio::test]
async fn a_lost_answer_can_be_asked_for_again() {
    let stage = Stage::new().await;
    let (client, first) = refreshable(&stage).await;
    assert_eq!(stage.refresh(&client, &first).await.status, StatusCode::OK);
    let again = stage.refresh(&client, &first).await.json();
    assert_eq!(
        stage
            .refresh(&client, again["refresh_token"].as_str().unwrap())
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_refresh_narrows_and_never_widens() {
    let stage = Stage::new().await;
    let (client, token) = refreshable(&stage).await;
    let other = stage.register().await;
    let asked = |changes: &[(&'static str, &'static str)]| {
        let mut pairs = vec![
            ("grant_type", "refresh_token"),
            ("client_id", client.as_str()),
            ("refresh_token", token.as_str()),
        ];
        pairs.extend_from_slice(changes);
        form(&pairs)
    };
    for (changes, error) in [
        (&[("scope", "notes:read notes:irreversible")][..], "invalid_scope"),
        (&[("resource", "http://127.0.0.1:8420/other")], "invalid_target"),
        (
            &[("scope", "notes:read"), ("scope", "notes:write")],
            "invalid_request",
        ),
    ] {
        assert_eq!(
            stage.post("/token", asked(changes)).await.error(),
            (400, error.to_owned()),
            "{changes:?}"
        );
    }
    assert_eq!(
        stage.refresh(&other, &token).await.error(),
        (400, "invalid_grant".to_owned())
    );
    let narrow = stage
        .post("/token", asked(&[("scope", "notes:read")]))
        .await
        .json();
    assert_eq!(narrow["scope"], "notes:read");
    let whole = stage
        .refresh(&client, narrow["refresh_token"].as_str().unwrap())
        .await
        .json();
    assert_eq!(whole["scope"], "notes:read notes:write");
}

const SECRET: &str = "a-secret-of-more-than-22-characters";

async fn confidential(stage: &Stage) {
    let allowance = ScopeSet::parse("notes:read notes:write").unwrap();
    let secret = Secret::new(SECRET);
    clients::ensure_confidential(
        stage.store(),
        "scripts",
        &secret,
        "Scripts",
        &allowance,
        stage.clock.now(),
    )
    .await
    .unwrap();
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[tokio::test]
async fn a_confidential_client_gets_tokens_for_itself() {
    let stage = Stage::new().await;
    confidential(&stage).await;
    let header = basic("scripts", SECRET);
    let asked = |changes: &[(&str, &str)]| form(&[&[("grant_type", "client_credentials")], changes].concat());
    let all = stage.post_as("/token", asked(&[]), Some(&header)).await;
    let tokens = all.json();
    assert_eq!(tokens["scope"], "notes:read notes:write");
    assert!(tokens.get("refresh_token").is_none());
    let claims = claims(&stage, tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(
        (&claims["sub"], &claims["client_id"], &claims["aud"]),
        (&json!("scripts"), &json!("scripts"), &json!(RESOURCE))
    );
    let one = asked(&[("scope", "notes:read"), ("resource", RESOURCE)]);
    assert_eq!(
        stage.post_as("/token", one, Some(&header)).await.json()["scope"],
        "notes:read"
    );
    for (changes, error) in [
        (&[("scope", "notes:irreversible")][..], "invalid_scope"),
        (&[("scope", "other")], "invalid_scope"),
        (&[("resource", "http://127.0.0.1:8420/other")], "invalid_target"),
        (
            &[("resource", RESOURCE), ("resource", RESOURCE)],
            "invalid_target",
        ),
    ] {
        assert_eq!(
            stage
                .post_as("/token", asked(changes), Some(&header))
                .await
                .error(),
            (400, error.to_owned()),
            "{changes:?}"
        );
    }
    let post = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", "scripts"),
        ("client_secret", SECRET),
    ]);
    assert_eq!(stage.post("/token", post).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_public_client_gets_no_token_for_itself() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let body = form(&[("grant_type", "client_credentials"), ("client_id", &client)]);
    assert_eq!(
        stage.post("/token", body).await.error(),
        (400, "unauthorized_client".to_owned())
    );
}

#[tokio::test]
async fn clients_authenticate_one_way_and_are_told_how_it_failed() {
    // AS-18, AS-19
    let stage = Stage::new().await;
    confidential(&stage).await;
    let client = stage.register().await;
    let grant = ("grant_type", "client_credentials");
    let right = basic("scripts", SECRET);
    let wrong = basic("scripts", "wrong");
    let by_basic = "Basic realm=\"portcullis\"";
    type Case<'c> = (Option<&'c str>, Vec<(&'c str, &'c str)>, (u16, &'c str), &'c str);
    let cases: [Case<'_>; 9] = [
        (
            Some(&right),
            vec![grant, ("client_secret", SECRET)],
            (400, "invalid_request"),
            "",
        ),
        (
            Some(&right),
            vec![grant, ("client_id", "other")],
            (400, "invalid_request"),
            "",
        ),
        (
            Some(&right),
            vec![grant, ("client_assertion", "x")],
            (400, "invalid_request"),
            "",
        ),
        (Some(&wrong), vec![grant], (401, "invalid_client"), by_basic),
        (Some("Bearer x"), vec![grant], (401, "invalid_client"), by_basic),
        (
            None,
            vec![grant, ("client_id", "scripts"), ("client_secret", "wrong")],
            (401, "invalid_client"),
            "",
        ),
        (
            None,
            vec![grant, ("client_id", "scripts")],
            (401, "invalid_client"),
            "",
        ),
        (
            None,
            vec![grant, ("client_id", "nobody")],
            (401, "invalid_client"),
            "",
        ),
        (
            None,
            vec![grant, ("client_id", &client), ("client_secret", "x")],
            (401, "invalid_client"),
            "",
        ),
    ];
    for (authorization, pairs, (status, error), challenge) in cases {
        let answer = stage.post_as("/token", form(&pairs), authorization).await;
        assert_eq!(
            answer.error(),
            (status, error.to_owned()),
            "{authorization:?} {pairs:?}"
        );
        assert_eq!(
            answer.header("www-authenticate"),
            challenge,
            "{authorization:?} {pairs:?}"
        );
    }
}

#[tokio::test]
async fn only_one_form_is_read() {
    // AS-13
    let stage = Stage::new().await;
    let body = form(&[("grant_type", "client_credentials"), ("client_id", "x")]);
    let in_query = stage.post("/token?client_id=x", body.clone()).await;
    assert_eq!(in_query.error(), (400, "invalid_request".to_owned()));
    assert_eq!(
        in_query.json()["error_description"],
        "send the parameters in the body; the address takes none"
    );
    assert_eq!(
        stage.recorded("token")[0]["reason"],
        "request.parameters-in-query"
    );
    let json = Request::post("/token")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("{}"))
        .unwrap();
    assert_eq!(
        stage.send(json).await.error(),
        (400, "invalid_request".to_owned())
    );
    let twice = format!("{body}&client_id=x");
    assert_eq!(
        stage.post("/token", twice).await.error(),
        (400, "invalid_request".to_owned())
    );
    let sized = |size: usize| format!("x={}", "y".repeat(size - 2));
    assert_eq!(
        stage.post("/token", sized(request::FORM_BYTES)).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        stage.post("/token", sized(request::FORM_BYTES + 1)).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn without_a_record_there_is_no_token() {
    let stage = Stage::new().await;
    confidential(&stage).await;
    stage.records.broken.store(true, Ordering::SeqCst);
    let body = form(&[("grant_type", "client_credentials")]);
    let answer = stage
        .post_as("/token", body, Some(&basic("scripts", SECRET)))
        .await;
    assert_eq!(answer.error(), (503, "server_error".to_owned()));
    assert!(!answer.body.contains("access_token"));
}

#[tokio::test]
async fn a_revoked_refresh_token_ends_its_family_and_another_clients_does_not() {
    // AS-39
    let stage = Stage::new().await;
    let (client, token) = refreshable(&stage).await;
    let other = stage.register().await;
    let revoke = |client: &str, token: &str| {
        form(&[
            ("client_id", client),
            ("token", token),
            ("token_type_hint", "refresh_token"),
        ])
    };
    assert_eq!(
        stage.post("/revoke", revoke(&other, &token)).await.status,
        StatusCode::OK
    );
    let next = stage.refresh(&client, &token).await.json()["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        stage.post("/revoke", revoke(&client, "unknown")).await.status,
        StatusCode::OK
    );
    assert_eq!(
        stage.post("/revoke", revoke(&client, "a.b.c")).await.error(),
        (400, "unsupported_token_type".to_owned())
    );
    assert_eq!(
        stage.post("/revoke", revoke("nobody", &next)).await.error(),
        (401, "invalid_client".to_owned())
    );
    let revoked = stage.post("/revoke", revoke(&client, &next)).await;
    assert_eq!(
        (revoked.status, revoked.header("cache-control")),
        (StatusCode::OK, "no-store")
    );
    assert_eq!(
        stage.refresh(&client, &next).await.error(),
        (400, "invalid_grant".to_owned())
    );
}

#[tokio::test]
async fn identifiers_and_secrets_that_would_not_hold_are_refused() {
    let stage = Stage::new().await;
    let allowance = ScopeSet::new();
    let now = stage.clock.now();
    for (id, secret) in [
        ("alice", SECRET),
        ("https://c.example/c.json", SECRET),
        ("", SECRET),
        ("scripts", "x".repeat(21).as_str()),
    ] {
        let made =
            clients::ensure_confidential(stage.store(), id, &Secret::new(secret), "x", &allowance, now).await;
        assert!(made.is_err(), "{id}");
    }
    confidential(&stage).await;
    assert!(
        people::ensure_user(stage.store(), "scripts", &System, now)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_request_need_not_name_the_only_server_and_must_name_one_of_two() {
    let resource = |uri: &str, server: &str| Resource {
        uri: ResourceUri::parse(uri).unwrap(),
        server: ServerName::parse(server).unwrap(),
        title: server.to_owned(),
    };
    for (second, expected) in [("notes", Some(RESOURCE)), ("other", None)] {
        let second = resource("http://127.0.0.1:8420/s/second/mcp", second);
        let stage = Stage::with(|settings| settings.resources.push(second), Reach::PublicOnly).await;
        confidential(&stage).await;
        let body = form(&[("grant_type", "client_credentials")]);
        let answer = stage
            .post_as("/token", body, Some(&basic("scripts", SECRET)))
            .await;
        match expected {
            Some(audience) => {
                let token = answer.json()["access_token"].as_str().unwrap().to_owned();
                assert_eq!(claims(&stage, &token).await["aud"], audience);
            }
            None => assert_eq!(answer.error(), (400, "invalid_target".to_owned())),
        }
    }
}

#[tokio::test]
async fn while_its_key_is_away_nothing_is_spent_and_afterwards_everything_works() {
    let house = House::in_folder();
    let keyring = house.start(UnixTime::from_secs(1_795_255_200));
    let stage = Stage::with_keys(|_| {}, Reach::LoopbackToo, Some(keyring)).await;
    let (client, code) = authorized(&stage, "notes:read notes:write").await;
    house.away.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = stage.redeem(&client, &code, &[]).await;
        assert!(
            !refused.body.contains("cable"),
            "the cause is for the log: {refused:?}"
        );
        assert_eq!(refused.error(), (503, "temporarily_unavailable".to_owned()));
        assert_eq!(refused.header("retry-after"), "5");
        assert_eq!(refused.header("cache-control"), "no-store");
    }
    // what others need is there meanwhile
    let keys = stage.get("/jwks").await;
    assert_eq!(keys.status, StatusCode::OK);
    assert!(keys.body.contains("\"sig\""), "{}", keys.body);
    house.away.store(false, Ordering::SeqCst);
    let issued = stage.redeem(&client, &code, &[]).await;
    assert_eq!(
        issued.status,
        StatusCode::OK,
        "the code was not spent: {issued:?}"
    );
    let token = issued.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(claims(&stage, &token).await["sub"], "alice");
}
