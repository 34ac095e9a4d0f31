use super::*;

#[tokio::test]
async fn a_registration_says_what_was_registered() {
    let stage = Stage::new().await;
    let answer = stage
        .register_as(json!({ "redirect_uris": ["https://c.example/cb"], "client_name": "C" }))
        .await;
    assert_eq!(
        (answer.status, answer.header("cache-control")),
        (StatusCode::CREATED, "no-store")
    );
    let registered = answer.json();
    assert_eq!(registered["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(registered["grant_types"], json!(["authorization_code"]));
    assert_eq!(registered["application_type"], "web");
    assert_eq!(registered["client_secret_expires_at"], 0);
    assert_eq!(registered["client_secret"].as_str().unwrap().len(), 43);
    assert_eq!(registered["client_id_issued_at"], 1_795_255_200);
    let recorded = &stage.recorded("registration")[0];
    assert_eq!(
        (&recorded["agent"], &recorded["result"]),
        (&registered["client_id"], &json!("ok"))
    );
    assert!(
        !recorded
            .to_string()
            .contains(registered["client_secret"].as_str().unwrap())
    );
}

#[tokio::test]
async fn what_cannot_be_registered_is_said_and_recorded() {
    let stage = Stage::new().await;
    for (wish, error) in [
        (
            json!({ "redirect_uris": ["http://c.example/cb"] }),
            "invalid_redirect_uri",
        ),
        (json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
        (json!([]), "invalid_client_metadata"),
        (
            json!({ "redirect_uris": ["https://c.example/cb"], "token_endpoint_auth_method": "x" }),
            "invalid_client_metadata",
        ),
    ] {
        assert_eq!(
            stage.register_as(wish.clone()).await.error(),
            (400, error.to_owned()),
            "{wish}"
        );
    }
    assert_eq!(stage.recorded("registration").len(), 4);
    let plain = Request::post("/register").body(Body::from("{}")).unwrap();
    assert_eq!(
        stage.send(plain).await.error(),
        (400, "invalid_client_metadata".to_owned())
    );
    let huge = stage
        .register_as(json!({ "redirect_uris": ["https://c.example/cb"], "x": "y".repeat(16 * 1024) }))
        .await;
    assert_eq!(huge.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn registrations_are_bounded_per_hour_and_reaped_when_unused() {
    let stage = Stage::with(|settings| settings.registrations_per_hour = 2, Reach::PublicOnly).await;
    let first = stage.register().await;
    stage.register().await;
    let refused = stage.register_as(json!({ "redirect_uris": [REDIRECT] })).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, "600")
    );
    stage.later(Lifetime::from_secs(3601));
    stage.register().await;
    stage.later(Lifetime::from_hours(23));
    assert_eq!(stage.store().reap(stage.clock.now()).await.unwrap().clients, 2);
    assert_eq!(
        stage.get(&authorization(&first, &[])).await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn without_a_record_nobody_is_registered() {
    let stage = Stage::new().await;
    stage.records.broken.store(true, Ordering::SeqCst);
    let answer = stage.register_as(json!({ "redirect_uris": [REDIRECT] })).await;
    assert_eq!(answer.error(), (503, "server_error".to_owned()));
    assert_eq!(
        stage
            .store()
            .registered_since(UnixTime::from_secs(0))
            .await
            .unwrap(),
        0
    );
}
