use super::super::login::{ATTEMPTS_PER_ACCOUNT, ATTEMPTS_PER_GUESSER};
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
    let mut fixated = Visitor::new(&stage);
    fixated.cookie = Some(before);
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
async fn guessing_is_throttled_per_account_and_address() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    let page = visitor.get(&authorization(&client, &[])).await;
    for _ in 0..ATTEMPTS_PER_GUESSER {
        assert_eq!(
            visitor.log_in(&page, "alice", &too_long()).await.status,
            StatusCode::FORBIDDEN
        );
    }
    // Even the right password now, from there. The user is elsewhere.
    let throttled = visitor.log_in(&page, "alice", PASSWORD).await;
    assert_eq!(throttled.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(throttled.header("retry-after"), "600");
    let mut user = Visitor::at(&stage, [192, 0, 2, 2]);
    assert_eq!(
        user.open(&authorization(&client, &[])).await.status,
        StatusCode::OK
    );
    stage.later(Lifetime::from_secs(600));
    assert_eq!(
        visitor.log_in(&page, "alice", PASSWORD).await.status,
        StatusCode::SEE_OTHER
    );
}

/// A wrong password that costs no hashing.
fn too_long() -> String {
    "x".repeat(people::PASSWORD_BYTES + 1)
}

/// Guesses from so many addresses that no stranger may try this account any more.
async fn besiege(stage: &Stage, path: &str) {
    for attempt in 0..ATTEMPTS_PER_ACCOUNT {
        let address = u8::try_from(attempt / ATTEMPTS_PER_GUESSER).unwrap();
        let mut attacker = Visitor::at(stage, [198, 51, 100, address]);
        let page = attacker.get(path).await;
        let answer = attacker.log_in(&page, "alice", &too_long()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{attempt}");
    }
    let mut stranger = Visitor::at(stage, [203, 0, 113, 1]);
    let page = stranger.get(path).await;
    assert_eq!(
        stranger.log_in(&page, "alice", PASSWORD).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
}

#[tokio::test]
async fn guessing_from_many_addresses_does_not_lock_a_known_browser_out() {
    let stage = Stage::new().await;
    let path = authorization(&stage.register().await, &[]);
    let mut visitor = Visitor::new(&stage);
    let page = visitor.get(&path).await;
    let back = visitor.log_in(&page, "alice", PASSWORD).await;
    let cookies = back.headers.get_all(header::SET_COOKIE);
    let device = cookies.iter().nth(1).unwrap().to_str().unwrap();
    assert!(device.starts_with("portcullis-8421-device="));
    assert!(device.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=7776000"));

    besiege(&stage, &path).await;
    // The same browser at its next login, from an address where others guess too.
    let mut again = Visitor::at(&stage, [198, 51, 100, 0]);
    again.device = visitor.device.clone();
    let page = again.get(&path).await;
    let back = again.log_in(&page, "alice", PASSWORD).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER);
    assert_eq!(again.device, visitor.device, "kept, not one more");
}

#[tokio::test]
async fn a_known_browser_guesses_no_more_than_others() {
    let stage = Stage::new().await;
    let path = authorization(&stage.register().await, &[]);
    let mut visitor = Visitor::new(&stage);
    let page = visitor.get(&path).await;
    visitor.log_in(&page, "alice", PASSWORD).await;
    let mut again = Visitor::new(&stage);
    again.device = visitor.device.clone();
    let page = again.get(&path).await;
    for _ in 0..ATTEMPTS_PER_GUESSER {
        let answer = again.log_in(&page, "alice", &too_long()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(
        again.log_in(&page, "alice", PASSWORD).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    // What it did counts for nobody else.
    assert_eq!(Visitor::new(&stage).open(&path).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_browser_known_for_another_account_or_an_old_password_is_a_stranger() {
    let stage = Stage::new().await;
    let path = authorization(&stage.register().await, &[]);
    let now = stage.clock.now();
    people::ensure_password(stage.store(), "bob", &Secret::new(PASSWORD), &System, now)
        .await
        .unwrap();
    let mut bob = Visitor::new(&stage);
    let page = bob.get(&path).await;
    bob.log_in(&page, "bob", PASSWORD).await;
    let mut alice = Visitor::new(&stage);
    let page = alice.get(&path).await;
    alice.log_in(&page, "alice", PASSWORD).await;
    let new = Secret::new("new");
    people::ensure_password(stage.store(), "alice", &new, &System, now)
        .await
        .unwrap();

    besiege(&stage, &path).await;
    for known in [bob, alice] {
        let mut visitor = Visitor::new(&stage);
        visitor.device = known.device.clone();
        let page = visitor.get(&path).await;
        assert_eq!(
            visitor.log_in(&page, "alice", "new").await.status,
            StatusCode::TOO_MANY_REQUESTS
        );
    }
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
