use super::*;

#[tokio::test]
async fn both_forms_of_the_metadata_say_where_everything_is() {
    let stage = Stage::new().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ] {
        let answer = stage.get(path).await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (StatusCode::OK, "*")
        );
        let metadata = answer.json();
        for (member, value) in [
            ("issuer", json!(ISSUER)),
            ("authorization_endpoint", json!("http://127.0.0.1:8421/authorize")),
            ("token_endpoint", json!("http://127.0.0.1:8421/token")),
            ("jwks_uri", json!("http://127.0.0.1:8421/jwks")),
            ("registration_endpoint", json!("http://127.0.0.1:8421/register")),
            ("revocation_endpoint", json!("http://127.0.0.1:8421/revoke")),
            ("response_types_supported", json!(["code"])),
            ("code_challenge_methods_supported", json!(["S256"])),
            (
                "grant_types_supported",
                json!(["authorization_code", "refresh_token", "client_credentials"]),
            ),
            (
                "token_endpoint_auth_methods_supported",
                json!(["none", "client_secret_basic", "client_secret_post"]),
            ),
            ("client_id_metadata_document_supported", json!(true)),
            ("authorization_response_iss_parameter_supported", json!(true)),
            (
                "scopes_supported",
                json!(["notes:irreversible", "notes:read", "notes:write"]),
            ),
        ] {
            assert_eq!(metadata[member], value, "{path} {member}");
        }
    }
}

#[tokio::test]
async fn nothing_in_the_metadata_comes_from_the_request() {
    // AS-40
    let stage = Stage::new().await;
    let request = Request::get("/.well-known/oauth-authorization-server")
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("forwarded", "host=evil.example");
    let answer = stage.send(request.body(Body::empty()).unwrap()).await;
    assert!(!answer.body.contains("evil"));
}

#[tokio::test]
async fn an_issuer_with_a_path_has_its_documents_around_it() {
    let change = |settings: &mut Settings| settings.issuer = Issuer::parse("https://as.example/t1").unwrap();
    let stage = Stage::with(change, Reach::PublicOnly).await;
    for path in [
        "/.well-known/oauth-authorization-server/t1",
        "/.well-known/openid-configuration/t1",
        "/t1/.well-known/openid-configuration",
    ] {
        let metadata = stage.get(path).await.json();
        assert_eq!(metadata["issuer"], "https://as.example/t1", "{path}");
        assert_eq!(
            metadata["token_endpoint"], "https://as.example/t1/token",
            "{path}"
        );
    }
    assert_eq!(stage.get("/t1/jwks").await.status, StatusCode::OK);
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/token",
        "/authorize",
    ] {
        assert_eq!(stage.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn keys_are_served_with_a_validator() {
    let stage = Stage::new().await;
    let first = stage.get("/jwks").await;
    assert_eq!(first.header("cache-control"), "public, max-age=300");
    assert_eq!(first.header("access-control-allow-origin"), "*");
    assert!(first.header("access-control-expose-headers").contains("ETag"));
    assert_eq!(first.body, stage.get("/.well-known/jwks.json").await.body);
    assert!(!first.body.contains("\"d\""));
    let conditional = |validator: String| {
        Request::get("/jwks")
            .header("if-none-match", validator)
            .body(Body::empty())
            .unwrap()
    };
    let etag = first.header("etag").to_owned();
    for validator in [
        etag.clone(),
        format!("W/{etag}"),
        format!("\"x\", {etag}"),
        "*".to_owned(),
    ] {
        let again = stage.send(conditional(validator.clone())).await;
        assert_eq!(
            (again.status, again.body.as_str()),
            (StatusCode::NOT_MODIFIED, ""),
            "{validator}"
        );
        assert_eq!(again.header("etag"), etag);
    }
    assert_eq!(
        stage.send(conditional("\"x\"".to_owned())).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn pages_of_other_origins_may_call_what_clients_call_and_nothing_else() {
    let stage = Stage::new().await;
    let preflight = |path: &str| {
        let request = Request::options(path)
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "if-none-match");
        request.body(Body::empty()).unwrap()
    };
    for path in [
        "/token",
        "/register",
        "/jwks",
        "/.well-known/oauth-authorization-server",
    ] {
        let answer = stage.send(preflight(path)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        for asked in ["authorization", "if-none-match"] {
            assert!(
                answer.header("access-control-allow-headers").contains(asked),
                "{path}: {asked}"
            );
        }
    }
    for path in ["/authorize", "/login"] {
        assert_eq!(
            stage
                .send(preflight(path))
                .await
                .header("access-control-allow-origin"),
            "",
            "{path}"
        );
    }
}

#[tokio::test]
async fn other_methods_and_paths() {
    let stage = Stage::new().await;
    for (method, path, status, allow, origin) in [
        ("GET", "/token", 405, "POST,OPTIONS", "*"),
        ("DELETE", "/register", 405, "POST,OPTIONS", "*"),
        ("POST", "/jwks", 405, "GET,HEAD,OPTIONS", "*"),
        ("GET", "/login", 405, "POST", ""),
        ("PUT", "/authorize", 405, "GET,HEAD,POST", ""),
        ("GET", "/userinfo", 404, "", ""),
    ] {
        let request = || Request::builder().method(method).uri(path);
        let answer = stage.send(request().body(Body::empty()).unwrap()).await;
        assert_eq!(answer.error(), (status, "invalid_request".to_owned()), "{path}");
        assert_eq!(answer.header("allow"), allow, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), origin, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        let browser = request().header("accept", "text/html,*/*;q=0.8");
        let page = stage.send(browser.body(Body::empty()).unwrap()).await;
        assert_eq!((page.status.as_u16(), page.header("allow")), (status, allow));
        assert!(page.body.contains("Nothing here"), "{path}: {page:?}");
    }
}
