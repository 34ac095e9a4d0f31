use super::super::register::{FROM_LOOPBACK, PER_ADDRESS};
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
async fn one_address_does_not_use_up_the_registrations_of_others() {
    let stage = Stage::new().await;
    let register = async |peer: [u8; 4]| {
        let wish = json!({ "redirect_uris": [REDIRECT] }).to_string();
        let request = Request::post("/register")
            .header(header::CONTENT_TYPE, "application/json")
            .extension(Peer(peer.into()));
        let answer = stage.send(request.body(Body::from(wish)).unwrap()).await;
        answer.status.as_u16()
    };
    for (peer, bound) in [([192, 0, 2, 9], PER_ADDRESS), ([127, 0, 0, 1], FROM_LOOPBACK)] {
        for _ in 1..bound {
            let counted = stage.authority.registrations.attempt(
                &Network::of(Some(peer.into())),
                bound,
                stage.clock.now(),
            );
            assert_eq!(counted, Ok(()));
        }
        assert_eq!(register(peer).await, 201);
        assert_eq!(register(peer).await, 429);
    }
    assert_eq!(register([192, 0, 2, 10]).await, 201);
    assert_eq!(stage.recorded("registration")[1]["result"], "registration.quota");
    stage.later(Lifetime::from_hours(1));
    assert_eq!(register([192, 0, 2, 9]).await, 201);
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
