use super::*;

#[tokio::test]
async fn what_nobody_vouches_for_is_a_page_and_never_a_redirect() {
    // AS-02, AS-13, AS-41
    let stage = Stage::new().await;
    let client = stage.register().await;
    let twice = format!("{}&client_id={client}", authorization(&client, &[]));
    for (path, status) in [
        (
            authorization("nobody", &[("redirect_uri", "https://evil.example/")]),
            400,
        ),
        (
            authorization(&client, &[("redirect_uri", "https://evil.example/")]),
            400,
        ),
        (
            authorization(&client, &[("redirect_uri", "http://127.0.0.1:7/callback/")]),
            400,
        ),
        (
            authorization(&client, &[("redirect_uri", "http://localhost:7/callback")]),
            400,
        ),
        (authorization(&client, &[("redirect_uri", "")]), 400),
        (authorization("", &[]), 400),
        (twice, 400),
        ("/authorize".to_owned(), 400),
        (format!("/authorize?x={}", "y".repeat(request::QUERY_BYTES)), 413),
        ("/authorize?client_id=%ff".to_owned(), 400),
    ] {
        let answer = stage.get(&path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert_eq!(answer.header("location"), "", "{path}");
        assert!(!answer.body.contains("evil"), "{path}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_goes_to_its_client_with_issuer_and_state() {
    // AS-06, AS-08, AS-09, AS-13, AS-14
    let stage = Stage::new().await;
    let client = stage.register().await;
    for (changes, error) in [
        (&[("response_type", "token")][..], "unsupported_response_type"),
        (&[("response_type", "")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("resource", "http://127.0.0.1:8420/other")], "invalid_target"),
        (&[("resource", "http://127.0.0.1:8420/mcp/")], "invalid_target"),
        (&[("scope", "notes:admin")], "invalid_scope"),
        (&[("request", "eyJ")], "request_not_supported"),
        (
            &[("request_uri", "https://evil.example/r")],
            "request_uri_not_supported",
        ),
    ] {
        let answer = stage.get(&authorization(&client, changes)).await;
        assert_eq!(answer.sent("error").as_deref(), Some(error), "{changes:?}");
        assert_eq!(answer.sent("iss").as_deref(), Some(ISSUER), "{changes:?}");
        assert_eq!(answer.sent("state").as_deref(), Some("s&t"), "{changes:?}");
        assert!(answer.header("location").starts_with(REDIRECT));
    }
    let repeated = format!("{}&scope=notes%3Aread", authorization(&client, &[]));
    assert_eq!(
        stage.get(&repeated).await.sent("error").as_deref(),
        Some("invalid_request")
    );
}

#[tokio::test]
async fn pages_are_not_framed_cached_or_scripted() {
    // AS-10, AS-43
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    let login = visitor.get(&authorization(&client, &[])).await;
    let consent = visitor.open(&authorization(&client, &[])).await;
    let error = stage.get("/authorize").await;
    for page in [&login, &consent, &error] {
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe-inline"), "{policy}");
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert_eq!(page.header("cache-control"), "no-store");
        assert!(!page.body.contains("<script") && !page.body.contains("http-equiv"));
    }
}

#[tokio::test]
async fn the_consent_page_says_who_gets_what() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let path = authorization(&client, &[("scope", "notes:read notes:write notes:irreversible")]);
    let page = Visitor::new(&stage).open(&path).await;
    for text in [
        "Agent",
        "Notes",
        RESOURCE,
        "127.0.0.1",
        "this computer",
        "alice",
        "5 minutes",
        "30 days",
        "list_notes",
        "add_note",
        "delete_all_notes",
        "class=\"read\"",
        "class=\"write\"",
        "class=\"irreversible\"",
        "cannot be undone",
        "Nobody has checked",
    ] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
}

#[tokio::test]
async fn a_name_cannot_change_the_page() {
    // AS-12
    let stage = Stage::new().await;
    let name = format!("<b onclick=x>\u{202e}{}", "A".repeat(10_000));
    let registered = stage
        .register_as(
            json!({ "client_name": name, "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none",
            "logo_uri": "javascript:alert(1)" }),
        )
        .await;
    let client = registered.json()["client_id"].as_str().unwrap().to_owned();
    let page = Visitor::new(&stage).open(&authorization(&client, &[])).await;
    assert!(
        !page.body.contains("<b onclick")
            && !page.body.contains('\u{202e}')
            && !page.body.contains("javascript:")
    );
    assert!(!page.body.contains(&"A".repeat(100)));
}

#[tokio::test]
async fn approval_and_denial_are_on_record_before_they_count() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    let page = visitor.open(&authorization(&client, &[])).await;
    let denied = visitor.decide(&page, "deny").await;
    assert_eq!(denied.sent("error").as_deref(), Some("access_denied"));
    assert_eq!(denied.sent("iss").as_deref(), Some(ISSUER));
    let approved = visitor.decide(&page, "approve").await;
    assert!(approved.sent("code").is_some() && approved.sent("iss").as_deref() == Some(ISSUER));
    let results: Vec<Value> = stage
        .recorded("consent")
        .iter()
        .map(|event| event["result"].clone())
        .collect();
    assert_eq!(results, ["consent.denied", "ok"]);
    assert_eq!(stage.recorded("consent")[1]["user"], "alice");
    let neither = visitor.decide(&page, "perhaps").await;
    assert_eq!(neither.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_answer_on_a_page_that_another_page_overtook_is_on_record_too() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    let page = visitor.open(&authorization(&client, &[])).await;
    for (decision, result) in [("approve", "ok"), ("deny", "consent.denied"), ("approve", "ok")] {
        let answer = visitor.decide(&page, decision).await;
        assert_eq!(answer.sent("code").is_some(), decision == "approve");
        assert_eq!(stage.recorded("consent").pop().unwrap()["result"], result);
    }
    assert_eq!(stage.recorded("consent").len(), 3);
}

#[tokio::test]
async fn without_a_record_there_is_no_consent() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    let page = visitor.open(&authorization(&client, &[])).await;
    stage.records.broken.store(true, Ordering::SeqCst);
    assert_eq!(
        visitor.decide(&page, "approve").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    stage.records.broken.store(false, Ordering::SeqCst);
    assert!(
        visitor
            .open(&authorization(&client, &[]))
            .await
            .body
            .contains("Approve")
    );
}

#[tokio::test]
async fn consent_is_remembered_per_client_and_asked_for_the_difference() {
    // AS-11
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    visitor.code(&authorization(&client, &[])).await;
    assert!(
        visitor
            .get(&authorization(&client, &[]))
            .await
            .sent("code")
            .is_some()
    );

    let step_up = visitor
        .get(&authorization(&client, &[("scope", "notes:read notes:write")]))
        .await;
    let (new, known) = step_up.body.split_once("You already allow").unwrap();
    assert!(
        new.contains("add_note") && !new.contains("list_notes") && known.contains("list_notes"),
        "{}",
        step_up.body
    );

    // The same browser, another client of the same name.
    let other = stage.register().await;
    assert!(
        visitor
            .get(&authorization(&other, &[]))
            .await
            .body
            .contains("Approve")
    );
}

#[tokio::test]
async fn a_broader_consent_covers_what_it_implies() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    visitor
        .code(&authorization(&client, &[("scope", "notes:write")]))
        .await;
    assert!(
        visitor
            .get(&authorization(&client, &[("scope", "notes:read")]))
            .await
            .sent("code")
            .is_some()
    );
    assert_eq!(
        visitor
            .get(&authorization(&client, &[("scope", "notes:irreversible")]))
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_form_of_another_browser_request_or_origin_is_refused() {
    // AS-10
    let stage = Stage::new().await;
    let client = stage.register().await;
    let path = authorization(&client, &[]);
    let mut victim = Visitor::new(&stage);
    let page = victim.open(&path).await;
    let mut attacker = Visitor::new(&stage);
    let foreign = attacker.open(&path).await;

    // The attacker's token in the victim's browser.
    let (csrf, request) = (foreign.field("csrf"), page.field("request"));
    let fields = [
        ("csrf", csrf.as_str()),
        ("request", request.as_str()),
        ("decision", "approve"),
    ];
    assert_eq!(
        victim.post("/authorize", &fields).await.status,
        StatusCode::FORBIDDEN
    );
    // The victim's token for a broader request.
    let broader = authorization(&client, &[("scope", "notes:irreversible")]);
    let (csrf, request) = (page.field("csrf"), broader.strip_prefix("/authorize?").unwrap());
    let fields = [
        ("csrf", csrf.as_str()),
        ("request", request),
        ("decision", "approve"),
    ];
    assert_eq!(
        victim.post("/authorize", &fields).await.status,
        StatusCode::FORBIDDEN
    );
    // No token, no cookie.
    let fields = [("request", request), ("decision", "approve")];
    assert_eq!(
        victim.post("/authorize", &fields).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        Visitor::new(&stage).decide(&page, "approve").await.status,
        StatusCode::FORBIDDEN
    );
    // From another origin.
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let (csrf, request) = (page.field("csrf"), page.field("request"));
        let body = form(&[("csrf", &csrf), ("request", &request), ("decision", "approve")]);
        let request = Request::post("/authorize")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(name, value);
        assert_eq!(
            victim.send(request.body(Body::from(body)).unwrap()).await.status,
            StatusCode::FORBIDDEN,
            "{name} {value}"
        );
    }
    assert!(stage.recorded("consent").is_empty());
    assert!(victim.decide(&page, "approve").await.sent("code").is_some());
}

#[tokio::test]
async fn a_consent_page_outlives_its_session_as_a_login_page() {
    let stage = Stage::new().await;
    let client = stage.register().await;
    let mut visitor = Visitor::new(&stage);
    let page = visitor.open(&authorization(&client, &[])).await;
    stage.later(stage.authority.settings.session_lifetime);
    assert!(
        visitor
            .decide(&page, "approve")
            .await
            .body
            .contains("name=\"password\"")
    );
}
