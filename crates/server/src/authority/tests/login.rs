use super::super::login::ATTEMPTS_PER_ACCOUNT;
use super::*;

#[tokio::test]
async fn a_login_replaces_the_cookie_and_leads_back() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let path = authorization(&client, &[]);
    let mut visitor = Visitor::new(&stage);
    let page = visitor.get(&path).await;
    let before = visitor.cookie.clone().unwrap();
    assert!(before.starts_with("portcullis-8421="));
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(page.header("set-cookie").contains(attribute));
    }
    let back = visitor.log_in(&page, "alice", PASSWORD).await;
    // AS-42
    assert_eq!(back.status, StatusCode::SEE_OTHER);
    assert_eq!(back.header("location"), format!("{ISSUER}{path}"));
    assert_ne!(visitor.cookie, Some(before.clone()));
    // The text from before the login is nobody's.
    let mut fixated = Visitor {
        stage: &stage,
        cookie: Some(before),
    };
    assert!(fixated.get(&path).await.body.contains("name=\"password\""));
    assert_eq!(stage.recorded("login")[0]["result"], "ok");
    assert_eq!(stage.recorded("login")[0]["peer"], "192.0.2.1");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_look_the_same() {
    // AS-46
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    let page = visitor.get(&authorization(&client, &[])).await;
    let wrong = visitor.log_in(&page, "alice", "wrong").await;
    let unknown = visitor.log_in(&page, "mallory", "wrong").await;
    assert_eq!(
        (wrong.status, &wrong.body),
        (StatusCode::FORBIDDEN, &unknown.body)
    );
    let long = visitor
        .log_in(&page, "alice", &"x".repeat(people::PASSWORD_BYTES + 1))
        .await;
    assert_eq!(long.status, StatusCode::FORBIDDEN);
    assert!(
        stage
            .recorded("login")
            .iter()
            .all(|event| event["result"] == "login.invalid")
    );
    assert!(
        !stage
            .recorded("login")
            .iter()
            .any(|event| event.to_string().contains("wrong"))
    );
}

#[tokio::test]
async fn guessing_is_throttled_per_account() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    let page = visitor.get(&authorization(&client, &[])).await;
    for _ in 0..ATTEMPTS_PER_ACCOUNT {
        assert_eq!(
            visitor.log_in(&page, "alice", "wrong").await.status,
            StatusCode::FORBIDDEN
        );
    }
    // Even the right password now.
    let throttled = visitor.log_in(&page, "alice", PASSWORD).await;
    assert_eq!(throttled.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(throttled.header("retry-after"), "600");
    stage.later(Lifetime::from_secs(600));
    assert_eq!(
        visitor.log_in(&page, "alice", PASSWORD).await.status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn a_login_form_of_elsewhere_is_refused() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let page = Visitor::new(&stage).get(&authorization(&client, &[])).await;
    // Another browser, with and without a cookie of its own.
    let mut other = Visitor::new(&stage);
    assert_eq!(
        other.log_in(&page, "alice", PASSWORD).await.status,
        StatusCode::FORBIDDEN
    );
    other.get(&authorization(&client, &[])).await;
    assert_eq!(
        other.log_in(&page, "alice", PASSWORD).await.status,
        StatusCode::FORBIDDEN
    );
    assert!(stage.recorded("login").is_empty());
}

#[tokio::test]
async fn without_a_record_nobody_is_logged_in() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    let page = visitor.get(&authorization(&client, &[])).await;
    stage.records.broken.store(true, Ordering::SeqCst);
    let answer = visitor.log_in(&page, "alice", PASSWORD).await;
    assert_eq!(
        (answer.status, answer.header("set-cookie")),
        (StatusCode::SERVICE_UNAVAILABLE, "")
    );
    assert_eq!(answer.header("retry-after"), "5");
}

#[tokio::test]
async fn a_generated_password_is_told_once() {
    let stage = Stage::new().await;
    let now = stage.clock.now();
    let password = people::ensure_user(stage.store(), "demo", &System, now)
        .await
        .unwrap()
        .unwrap();
    assert!(
        people::verify(stage.store(), "demo", &password)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        people::ensure_user(stage.store(), "demo", &System, now)
            .await
            .unwrap(),
        None
    );
    for bad in ["", "a b", "https://x", "a:b"] {
        assert!(
            people::ensure_user(stage.store(), bad, &System, now)
                .await
                .is_err(),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_configured_password_takes_the_place_of_the_old_one() {
    let stage = Stage::new().await;
    let (old, new) = (Secret::new(PASSWORD), Secret::new("new"));
    people::ensure_password(stage.store(), "alice", &new, &System, stage.clock.now())
        .await
        .unwrap();
    assert!(
        people::verify(stage.store(), "alice", &new)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        people::verify(stage.store(), "alice", &old)
            .await
            .unwrap()
            .is_none()
    );
}
