//! Rules 7 to 19: registration, the browser, tokens.

use serde_json::json;

use super::*;

fn held() -> Client {
    public_client()
}

fn by_hand(secret: Option<&str>) -> Preregistered {
    Preregistered {
        id: ClientId::parse("by-hand").unwrap(),
        secret: secret.map(Secret::new),
    }
}

fn now() -> UnixTime {
    UnixTime::from_secs(1_000)
}

#[test]
fn rule_7_the_ways_to_be_a_client_are_tried_in_order() {
    let document = ClientId::parse("https://agent.example/client.json").unwrap();
    let with_documents = server(json!({ "client_id_metadata_document_supported": true }));
    let without = server(json!({}));
    let chosen = |server: &AuthorizationServer,
                  by_hand: Option<&Preregistered>,
                  document: Option<&ClientId>,
                  held: Option<Client>| {
        match plan_registration(server, by_hand, document, held, now()).unwrap() {
            Plan::Use(client) => format!("{:?} {}", client.origin, client.id),
            Plan::Register(endpoint) => format!("register {}", endpoint.url()),
        }
    };
    let hand = by_hand(None);
    assert_eq!(
        chosen(&with_documents, Some(&hand), Some(&document), Some(held())),
        "Preregistered by-hand"
    );
    assert_eq!(
        chosen(&with_documents, None, Some(&document), Some(held())),
        "MetadataDocument https://agent.example/client.json"
    );
    assert_eq!(
        chosen(&without, None, Some(&document), Some(held())),
        "Dynamic agent-1"
    );
    assert_eq!(
        chosen(&with_documents, None, None, Some(held())),
        "Dynamic agent-1"
    );
    assert_eq!(
        chosen(&without, None, Some(&document), None),
        "register https://as.example/register"
    );
    // One that a person registered stays, whatever else there is.
    let kept = Client {
        origin: ClientOrigin::Preregistered,
        ..held()
    };
    assert_eq!(
        chosen(&with_documents, None, Some(&document), Some(kept)),
        "Preregistered agent-1"
    );
    // Nothing is left but to ask the person.
    let closed = server(json!({ "registration_endpoint": null }));
    assert_eq!(
        plan_registration(&closed, None, Some(&document), None, now()),
        Err(Error::NoRegistration(issuer()))
    );
}

#[test]
fn a_registration_whose_secret_ended_is_not_used() {
    let ends = |at: i64| Client {
        secret_expires_at: Some(UnixTime::from_secs(at)),
        ..held()
    };
    let plan = |client| plan_registration(&server(json!({})), None, None, Some(client), now()).unwrap();
    assert!(matches!(plan(ends(1_001)), Plan::Use(_)));
    assert!(matches!(plan(ends(1_000)), Plan::Register(_)));
}

#[test]
fn rule_8_a_registration_is_of_a_native_application() {
    let wish = |methods: serde_json::Value| {
        let server = server(json!({ "token_endpoint_auth_methods_supported": methods }));
        let endpoint = server.registration_endpoint().unwrap().clone();
        build_registration(&server, &endpoint, REDIRECT, None)
            .map(|request| serde_json::from_slice::<serde_json::Value>(request.body()).unwrap())
    };
    let public = wish(json!(["client_secret_post", "none"])).unwrap();
    assert_eq!(public["application_type"], "native");
    assert_eq!(public["redirect_uris"], json!([REDIRECT]));
    assert_eq!(
        public["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    assert_eq!(public["token_endpoint_auth_method"], "none");
    assert!(public.get("scope").is_none());
    // Rule 15; RFC 8414 §2 for the server that does not say.
    for (methods, expected) in [
        (
            json!(["client_secret_post", "private_key_jwt"]),
            "client_secret_post",
        ),
        (
            json!(["client_secret_post", "client_secret_basic"]),
            "client_secret_basic",
        ),
        (json!(null), "client_secret_basic"),
    ] {
        assert_eq!(
            wish(methods.clone()).unwrap()["token_endpoint_auth_method"],
            expected,
            "{methods}"
        );
    }
    assert_eq!(
        wish(json!(["private_key_jwt"])),
        Err(Error::NoClientAuth(issuer()))
    );
}

#[test]
fn a_registration_response_is_judged() {
    let judge = |status, body: serde_json::Value| {
        process_registration(&issuer(), REDIRECT, &answer(status, &body.to_string()))
    };
    let client = judge(
        201,
        json!({"client_id": "c", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"}),
    )
    .unwrap();
    assert_eq!(
        (client.id.as_str(), client.auth, client.redirect_uri.as_deref()),
        ("c", ClientAuth::None, Some(REDIRECT))
    );
    for (body, expected) in [
        (
            json!({"client_id": "c", "client_secret": "s"}),
            ClientAuth::Basic(Secret::new("s")),
        ),
        (
            json!({"client_id": "c", "client_secret": "s", "token_endpoint_auth_method": "client_secret_post"}),
            ClientAuth::Post(Secret::new("s")),
        ),
        (
            json!({"client_id": "c", "client_secret": "s", "token_endpoint_auth_method": "none"}),
            ClientAuth::None,
        ),
        (json!({"client_id": "c"}), ClientAuth::None),
    ] {
        assert_eq!(judge(200, body.clone()).unwrap().auth, expected, "{body}");
    }
    let ends = |at: serde_json::Value| {
        judge(
            201,
            json!({"client_id": "c", "client_secret": "s", "client_secret_expires_at": at}),
        )
    };
    assert_eq!(ends(json!(0)).unwrap().secret_expires_at, None);
    assert_eq!(
        ends(json!(5)).unwrap().secret_expires_at,
        Some(UnixTime::from_secs(5))
    );
    assert!(ends(json!("5")).is_err());
    for body in [
        json!({}),
        json!({"client_id": ""}),
        json!({"client_id": "c\u{e9}"}),
        json!({"client_id": "c", "redirect_uris": ["https://other.example/cb"]}),
        json!({"client_id": "c", "token_endpoint_auth_method": "client_secret_basic"}),
        json!([]),
    ] {
        assert!(
            matches!(judge(201, body.clone()), Err(Error::Answer { .. })),
            "{body}"
        );
    }
    assert_eq!(
        judge(
            201,
            json!({"client_id": "c", "token_endpoint_auth_method": "private_key_jwt"})
        ),
        Err(Error::NoClientAuth(issuer()))
    );
    match judge(
        400,
        json!({"error": "invalid_redirect_uri", "error_description": "no\u{1b}[2J"}),
    ) {
        Err(Error::RegistrationRefused(refused)) => {
            assert_eq!(refused.error(), "invalid_redirect_uri");
            assert_eq!(refused.to_string(), "`invalid_redirect_uri` (no?[2J)");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rule_12_and_13_the_authorization_request_carries_what_it_must() {
    let pending = pending(&server(
        json!({ "authorization_endpoint": "https://as.example/authorize?tenant=a b" .replace(' ', "%20") }),
    ));
    assert!(
        pending.url().starts_with("https://as.example/authorize?tenant=a"),
        "{}",
        pending.url()
    );
    for (name, value) in [
        ("tenant", "a b"),
        ("response_type", "code"),
        ("client_id", "agent-1"),
        ("redirect_uri", REDIRECT),
        ("scope", "notes:read"),
        ("code_challenge_method", "S256"),
        ("resource", "https://mcp.example/mcp"),
    ] {
        assert_eq!(query(&pending, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(
        query(&pending, "code_challenge").as_deref(),
        Some(pending.verifier.challenge().as_str())
    );
    // 256 random bits, and not those of the verifier.
    let state = query(&pending, "state").unwrap();
    assert_eq!(state.len(), 43);
    assert_ne!(state, pending.verifier.reveal());
}

#[test]
fn the_resource_stays_the_text_it_is() {
    // RFC 8707 §2: a URL parser would add a slash, drop the port and fold the case.
    let server = server(json!({}));
    for text in [
        "https://mcp.example",
        "https://mcp.example:443/mcp",
        "https://MCP.example/a/../b",
    ] {
        let resource = ResourceUri::parse(text).unwrap();
        let random = Counting(AtomicU8::new(0));
        let pending =
            build_authorization(&server, &public_client(), REDIRECT, &resource, None, &random).unwrap();
        assert_eq!(query(&pending, "resource").as_deref(), Some(text));
        assert_eq!(query(&pending, "scope"), None, "no scope is no parameter");
        let code = returned(&pending, "code=c").unwrap();
        let exchange = build_code_exchange(server.token_endpoint(), &public_client(), &pending, &code);
        assert_eq!(field(&exchange, "resource").as_deref(), Some(text));
        let refresh = build_refresh(
            server.token_endpoint(),
            &public_client(),
            &Secret::new("r"),
            &resource,
        );
        assert_eq!(field(&refresh, "resource").as_deref(), Some(text));
    }
}

#[test]
fn without_randomness_there_is_no_login() {
    let built = build_authorization(
        &server(json!({})),
        &public_client(),
        REDIRECT,
        &resource(),
        None,
        &Empty,
    );
    assert_eq!(built.map(|_| ()), Err(Error::Random(RandomUnavailable)));
}

/// Judges a redirect with the right state and these parameters.
fn returned(pending: &Pending, parameters: &str) -> Result<Code, RedirectRefused> {
    process_redirect(
        pending,
        &format!("state={}&{parameters}", query(pending, "state").unwrap()),
    )
}

#[test]
fn rule_14_the_table_of_rfc_9207() {
    let (promised, not_promised) = (
        pending(&server(
            json!({ "authorization_response_iss_parameter_supported": true }),
        )),
        pending(&server(json!({}))),
    );
    let right = "iss=https%3A%2F%2Fas.example";
    for (pending, iss, proceeds) in [
        (&promised, right, true),
        (&promised, "", false),
        (&not_promised, right, true),
        (&not_promised, "", true),
        // RFC 9207 §2.4: a simple string comparison. CLI-05.
        (&promised, "iss=https://evil.example", false),
        (&not_promised, "iss=https://evil.example", false),
        (&promised, "iss=https://as.example/", false),
        (&promised, "iss=https://AS.example", false),
        (&promised, "iss=https://as.example:443", false),
        (&promised, "iss=https%253A%252F%252Fas.example", false),
        (&promised, "iss=", false),
        (&not_promised, "iss=", false),
    ] {
        let code = returned(pending, &format!("code=c&{iss}"));
        assert_eq!(code.is_ok(), proceeds, "{iss}");
        // The same for errors, and another party's error is not repeated.
        let error = returned(
            pending,
            &format!("error=access_denied&error_description=psst&{iss}"),
        )
        .unwrap_err();
        assert_eq!(matches!(error, RedirectRefused::Denied(_)), proceeds, "{iss}");
        assert_eq!(error.to_string().contains("psst"), proceeds, "{iss}");
    }
}

#[test]
fn rule_13_what_has_another_state_is_not_ours() {
    let pending = pending(&server(json!({})));
    let state = query(&pending, "state").unwrap();
    for query in [
        String::new(),
        "code=c".to_owned(),
        "code=c&state=".to_owned(),
        "code=c&state=x".to_owned(),
        format!("code=c&state={state}x"),
        format!("code=c&state={state}&state={state}"),
        format!(
            "error=access_denied&error_description=psst&state={}",
            state.get(1..).unwrap_or_default()
        ),
        format!(
            "code=c&state={state}&pad={}",
            "x".repeat(crate::limits::AUTHORIZATION_BYTES)
        ),
    ] {
        assert_eq!(
            process_redirect(&pending, &query).map(|_| ()),
            Err(RedirectRefused::NotOurs),
            "{query:.80}"
        );
    }
    assert!(process_redirect(&pending, &format!("code=c&state={state}")).is_ok());
}

#[test]
fn a_redirect_says_one_thing() {
    let pending = pending(&server(json!({})));
    for parameters in [
        "",
        "code=",
        "code=a&code=b",
        "code=a&iss=https://as.example&iss=https://as.example",
        "error=a&error=b",
    ] {
        let judged = returned(&pending, parameters);
        assert!(
            matches!(judged, Err(RedirectRefused::Malformed(_))),
            "{parameters} {judged:?}"
        );
    }
    // An error is an error, also beside a code.
    assert!(matches!(
        returned(&pending, "code=c&error=access_denied"),
        Err(RedirectRefused::Denied(_))
    ));
}

#[test]
fn rule_15_clients_authenticate_as_they_are_registered() {
    let server = server(json!({}));
    let pending = pending(&server);
    let code = returned(&pending, "code=the-code").unwrap();
    let sent = |auth| {
        build_code_exchange(
            server.token_endpoint(),
            &Client {
                auth,
                ..public_client()
            },
            &pending,
            &code,
        )
    };

    let public = sent(ClientAuth::None);
    assert_eq!(public.uri(), "https://as.example/token");
    for (name, value) in [
        ("grant_type", "authorization_code"),
        ("code", "the-code"),
        ("redirect_uri", REDIRECT),
        ("code_verifier", pending.verifier.reveal()),
        ("client_id", "agent-1"),
    ] {
        assert_eq!(field(&public, name).as_deref(), Some(value), "{name}");
    }
    assert!(public.headers().get("authorization").is_none() && field(&public, "client_secret").is_none());

    let post = sent(ClientAuth::Post(Secret::new("s&e")));
    assert_eq!(
        (
            field(&post, "client_id").as_deref(),
            field(&post, "client_secret").as_deref()
        ),
        (Some("agent-1"), Some("s&e"))
    );

    // RFC 6749 §2.3.1: form-encoded before base64.
    let basic = sent(ClientAuth::Basic(Secret::new("a:b%")));
    assert_eq!(basic.headers()["authorization"], "Basic YWdlbnQtMTphJTNBYiUyNQ==");
    assert!(basic.headers()["authorization"].is_sensitive());
    assert!(field(&basic, "client_secret").is_none() && field(&basic, "client_id").is_none());

    let by_hand = |methods: serde_json::Value, secret| {
        let server = super::server(json!({ "token_endpoint_auth_methods_supported": methods }));
        match plan_registration(&server, Some(&by_hand(secret)), None, None, now()) {
            Ok(Plan::Use(client)) => Ok(client.auth),
            Ok(Plan::Register(_)) => panic!("a client that is there is used"),
            Err(error) => Err(error),
        }
    };
    assert_eq!(
        by_hand(json!(["client_secret_post", "client_secret_basic"]), Some("s")),
        Ok(ClientAuth::Basic(Secret::new("s")))
    );
    assert_eq!(
        by_hand(json!(["client_secret_post"]), Some("s")),
        Ok(ClientAuth::Post(Secret::new("s")))
    );
    assert_eq!(
        by_hand(json!(["none"]), Some("s")),
        Err(Error::NoClientAuth(issuer()))
    );
    assert_eq!(by_hand(json!(["none"]), None), Ok(ClientAuth::None));
}

#[test]
fn a_refresh_asks_for_no_scope_and_a_revocation_names_the_token() {
    let server = server(json!({}));
    let refresh = build_refresh(
        server.token_endpoint(),
        &public_client(),
        &Secret::new("r1"),
        &resource(),
    );
    assert_eq!(field(&refresh, "grant_type").as_deref(), Some("refresh_token"));
    assert_eq!(field(&refresh, "refresh_token").as_deref(), Some("r1"));
    assert_eq!(field(&refresh, "scope"), None);
    let revocation = build_revocation(
        server.revocation_endpoint().unwrap(),
        &public_client(),
        &Secret::new("r1"),
    );
    assert_eq!(
        (revocation.uri().path(), field(&revocation, "token").as_deref()),
        ("/revoke", Some("r1"))
    );
}

fn tokens(body: &serde_json::Value) -> Result<Tokens, Error> {
    process_tokens(&answer(200, &body.to_string()), Some(&scopes("a b")), now())
}

/// A good response with one member changed.
fn good(changes: serde_json::Value) -> serde_json::Value {
    let mut body =
        json!({"access_token": "at", "token_type": "Bearer", "expires_in": 300, "refresh_token": "rt"});
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn a_good_token_response_is_read() {
    let read = tokens(&good(json!({ "token_type": "bearer", "scope": "a" }))).unwrap();
    assert_eq!(read.access, Secret::new("at"));
    assert_eq!(read.refresh, Some(Secret::new("rt")));
    assert_eq!(read.expires_at, Some(UnixTime::from_secs(1_300)));
    assert_eq!(read.granted, Some(scopes("a")));
    // Rule 17: refresh tokens are not assumed. RFC 6749 §5.1: without a scope, what was asked for.
    let bare = tokens(&json!({"access_token": "at", "token_type": "Bearer"})).unwrap();
    assert_eq!(
        (bare.refresh, bare.expires_at, bare.granted),
        (None, None, Some(scopes("a b")))
    );
    // More than was asked for is not believed.
    assert_eq!(
        tokens(&good(json!({ "scope": "b c" }))).unwrap().granted,
        Some(scopes("b"))
    );
}

#[test]
fn token_responses_with_tricks_are_refused() {
    // CLI-18.
    for changes in [
        json!({ "token_type": "mac" }),
        json!({ "token_type": "DPoP" }),
        json!({ "token_type": null }),
        json!({ "access_token": null }),
        json!({ "access_token": "" }),
        json!({ "access_token": 7 }),
        json!({ "access_token": "a b" }),
        json!({ "access_token": "a\r\nX: y" }),
        json!({ "access_token": "x".repeat(crate::limits::AUTHORIZATION_BYTES + 1) }),
        json!({ "refresh_token": 7 }),
        json!({ "refresh_token": "" }),
        json!({ "expires_in": -1 }),
        json!({ "expires_in": "3600" }),
        json!({ "expires_in": 1e99 }),
        json!({ "expires_in": 1.5 }),
        json!({ "scope": "a\"b" }),
    ] {
        assert!(
            matches!(tokens(&good(changes.clone())), Err(Error::Answer { .. })),
            "{changes}"
        );
    }
    assert!(
        tokens(&good(
            json!({ "access_token": "x".repeat(crate::limits::AUTHORIZATION_BYTES) })
        ))
        .is_ok()
    );
    // A lifetime beyond belief is cut, not refused.
    let far = tokens(&good(json!({ "expires_in": 9_000_000_000_000_i64 })))
        .unwrap()
        .expires_at
        .unwrap();
    assert_eq!(far, UnixTime::from_secs(1_000 + 365 * 24 * 3600));
    // An error with status 200, a page, an object that says a thing twice, too much.
    assert!(matches!(
        tokens(&good(json!({ "error": "invalid_grant" }))),
        Err(Error::TokenRefused(_))
    ));
    let mut page = answer(200, "<html>");
    assert!(process_tokens(&page, None, now()).is_err());
    page.headers_mut()
        .insert("content-type", HeaderValue::from_static("text/html"));
    *page.body_mut() = Bytes::from(good(json!({})).to_string());
    assert!(matches!(
        process_tokens(&page, None, now()),
        Err(Error::Answer { .. })
    ));
    let twice = answer(
        200,
        r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#,
    );
    assert!(matches!(
        process_tokens(&twice, None, now()),
        Err(Error::Answer { .. })
    ));
    let sized = |size: usize| good(json!({ "x": "y".repeat(size) }));
    let frame = sized(0).to_string().len();
    assert!(tokens(&sized(crate::limits::METADATA_BYTES - frame)).is_ok());
    assert!(tokens(&sized(crate::limits::METADATA_BYTES - frame + 1)).is_err());
}

#[test]
fn a_refusal_keeps_its_code_and_shows_no_control_characters() {
    let refused = answer(
        400,
        r#"{"error":"invalid_grant","error_description":"gone\u001b]0;x\u0007 `rm`"}"#,
    );
    match process_tokens(&refused, None, now()) {
        Err(Error::TokenRefused(refused)) => {
            assert_eq!(refused.error(), "invalid_grant");
            assert_eq!(refused.to_string(), "`invalid_grant` (gone?]0;x? ?rm?)");
        }
        other => panic!("{other:?}"),
    }
    match process_tokens(&answer(502, "<html>"), None, now()) {
        Err(Error::TokenRefused(refused)) => assert_eq!(refused.error(), "HTTP 502"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_secret_is_shown() {
    let server = server(json!({}));
    let pending = pending(&server);
    let code = returned(&pending, "code=hunter2").unwrap();
    let tokens = tokens(&good(
        json!({ "access_token": "hunter2", "refresh_token": "hunter2" }),
    ))
    .unwrap();
    let client = Client {
        auth: ClientAuth::Basic(Secret::new("hunter2")),
        ..public_client()
    };
    assert!(!format!("{code:?} {tokens:?} {client:?}").contains("hunter2"));
    let shown = format!("{pending:?}");
    assert!(
        !shown.contains(pending.verifier.reveal()) && !shown.contains(&query(&pending, "state").unwrap())
    );
}
