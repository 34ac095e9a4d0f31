//! Rules 1 to 6: from the challenge to an authorization server that may be used.

use serde_json::json;

use super::*;

fn at(url: &str) -> ServerUrl {
    ServerUrl::parse(url).unwrap()
}

fn challenged(header: &[&'static str]) -> Result<Challenged, Error> {
    let mut headers = HeaderMap::new();
    for value in header {
        headers.append("www-authenticate", HeaderValue::from_static(value));
    }
    process_challenge(&headers)
}

#[test]
fn tokens_go_to_https_or_loopback_only() {
    // OAuth 2.1 §1.5; CLI-07, CLI-08, CLI-12.
    for good in [
        "https://mcp.example/mcp",
        "http://127.0.0.1:1/mcp",
        "http://[::1]:1/",
        "http://localhost:1/mcp?x=1",
        "HTTPS://MCP.example/mcp",
    ] {
        assert_eq!(ServerUrl::parse(good).unwrap().as_str(), good);
    }
    for bad in [
        "",
        "mcp.example/mcp",
        "not a url",
        "http://mcp.example/mcp",
        "http://127.0.0.1.evil.example/mcp",
        "http://localhost.evil.example/",
        "http://x/$(calc)",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html,x",
        "--flag",
        "https://u:p@mcp.example/",
        "https://mcp.example/#x",
        "https://mcp.example/\nx",
        " https://mcp.example/",
        "https://mcp.example/a b",
    ] {
        assert!(
            matches!(ServerUrl::parse(bad), Err(Error::Address { .. })),
            "{bad:?}"
        );
        let given = json!({ "authorization_endpoint": bad });
        assert!(
            matches!(
                judged(given),
                Err(Error::Endpoint {
                    role: "authorization_endpoint",
                    ..
                })
            ),
            "{bad:?}"
        );
        let given = json!({ "token_endpoint": bad });
        assert!(
            matches!(
                judged(given),
                Err(Error::Endpoint {
                    role: "token_endpoint",
                    ..
                })
            ),
            "{bad:?}"
        );
        let given = json!({ "registration_endpoint": bad });
        assert!(
            matches!(
                judged(given),
                Err(Error::Endpoint {
                    role: "registration_endpoint",
                    ..
                })
            ),
            "{bad:?}"
        );
    }
    let long = |n: usize| {
        format!(
            "https://mcp.example/{}",
            "x".repeat(n - "https://mcp.example/".len())
        )
    };
    assert!(ServerUrl::parse(&long(crate::limits::NAME_BYTES)).is_ok());
    assert!(ServerUrl::parse(&long(crate::limits::NAME_BYTES + 1)).is_err());
}

#[test]
fn rule_1_the_right_challenge_is_read() {
    let bearer = r#"Bearer resource_metadata="https://h/m", scope="a b", error="insufficient_scope""#;
    let read = challenged(&[bearer]).unwrap();
    assert_eq!(read.resource_metadata.as_deref(), Some("https://h/m"));
    assert_eq!(read.scope, Some(scopes("a b")));
    assert!(read.wants_scope());
    // CLI-15: another scheme first, in one header and in two; none that is known.
    assert_eq!(
        challenged(&[r#"Basic realm="x", Bearer scope="a""#])
            .unwrap()
            .scope,
        Some(scopes("a"))
    );
    assert_eq!(
        challenged(&[r#"Basic realm="x""#, r#"bearer scope=a"#])
            .unwrap()
            .scope,
        Some(scopes("a"))
    );
    assert_eq!(
        challenged(&[r#"Basic realm="x, Bearer scope=\"evil\"""#]).unwrap(),
        Challenged::default()
    );
    assert_eq!(challenged(&[]).unwrap(), Challenged::default());
    // A server that wants DPoP alone is discovered the same way.
    let dpop = challenged(&[r#"DPoP resource_metadata="https://h/m", algs="ES256""#]).unwrap();
    assert_eq!(dpop.resource_metadata.as_deref(), Some("https://h/m"));
    // CLI-15: a parameter twice, and a scope that is none.
    assert!(matches!(
        challenged(&[r#"Bearer scope="a", scope="b""#]),
        Err(Error::Challenge(_))
    ));
    assert!(matches!(
        challenged(&[r#"Bearer scope="a\\b""#]),
        Err(Error::Scope(_))
    ));
}

#[test]
fn rule_1_metadata_is_looked_for_in_order() {
    let urls = |url: &str| protected_resource_urls(&at(url), &Challenged::default()).unwrap();
    let (path, root) = (
        "https://h/.well-known/oauth-protected-resource/s/mcp",
        "https://h/.well-known/oauth-protected-resource",
    );
    assert_eq!(urls("https://h/s/mcp"), [path, root]);
    assert_eq!(urls("https://h"), [root]);
    assert_eq!(urls("https://h/"), [root]);
    // RFC 9728 §3.1: a query stays behind the path.
    assert_eq!(urls("https://h/mcp?a=b")[0], format!("{root}/mcp?a=b"));
    assert_eq!(
        urls("http://localhost:80/mcp")[1],
        "http://localhost/.well-known/oauth-protected-resource"
    );

    // Named by the challenge: there and nowhere else.
    let named = |url: &str| {
        let challenged = Challenged {
            resource_metadata: Some(url.to_owned()),
            ..Challenged::default()
        };
        protected_resource_urls(&at("https://h/mcp"), &challenged)
    };
    assert_eq!(named("https://h/custom.json").unwrap(), ["https://h/custom.json"]);
    for bad in ["http://169.254.169.254/", "file:///etc/passwd", "/relative"] {
        assert!(matches!(named(bad), Err(Error::Address { .. })), "{bad}");
    }
}

#[test]
fn rule_2_the_metadata_speaks_for_the_server() {
    // RFC 9728 §3.3; CLI-01. What is accepted besides the address itself is what is above it on the same origin.
    let judge = |server: &str, resource: &str| {
        let document = json!({"resource": resource, "authorization_servers": [ISSUER]}).to_string();
        process_protected_resource(&at(server), "https://h/m", document.as_bytes())
    };
    for (server, resource) in [
        ("https://h/mcp", "https://h/mcp"),
        ("https://h/mcp", "https://h"),
        ("https://h/mcp", "https://h/"),
        ("https://h/a/mcp", "https://h/a"),
        ("https://h/a/mcp", "https://h/a/"),
        ("https://h", "https://h/"),
        ("https://h/", "https://h"),
        ("https://h/mcp?x=1", "https://h/mcp?x=1"),
        ("https://h/mcp?x=1", "https://h/mcp"),
        ("http://localhost:8420/mcp", "http://localhost:8420/mcp"),
    ] {
        // Byte for byte: what `resource` parameters will say.
        assert_eq!(
            judge(server, resource).unwrap().resource.as_str(),
            resource,
            "{server}"
        );
    }
    for (server, resource) in [
        ("https://h/mcp", "https://other/mcp"),
        ("https://h/mcp", "https://h/mcp/"),
        ("https://h/mcp/", "https://h/mcp"),
        ("https://h/mcp", "https://h/mc"),
        ("https://h/mcp", "https://h/mcp/x"),
        ("https://h/mcp", "https://h/MCP"),
        ("https://h/mcp", "https://h/%6dcp"),
        ("https://h/mcp", "https://h:444"),
        ("https://h/mcp", "http://h/mcp"),
        ("https://h.evil/mcp", "https://h"),
        ("https://h/mcp", "https://H/mcp"),
        ("https://h/mcp", "https://h:443/mcp"),
        ("https://h/mcp", "https://h/mcp?x=1"),
        ("http://127.0.0.1:1/mcp", "http://localhost:1/mcp"),
    ] {
        assert!(
            matches!(judge(server, resource), Err(Error::ResourceMismatch { .. })),
            "{server} {resource}"
        );
    }
    // No authorization server, a resource that is none.
    for document in [
        r#"{"resource":"https://h/mcp","authorization_servers":[]}"#,
        r#"{"resource":"https:/","authorization_servers":["https://a"]}"#,
        "<html>",
    ] {
        let judged = process_protected_resource(&at("https://h/mcp"), "https://h/m", document.as_bytes());
        assert!(matches!(judged, Err(Error::Metadata { .. })), "{document}");
    }
}

#[test]
fn rule_4_issuers_are_looked_up_in_order() {
    let urls = |issuer: &str| authorization_server_urls(&Issuer::parse(issuer).unwrap()).unwrap();
    assert_eq!(
        urls("https://as/t1"),
        [
            "https://as/.well-known/oauth-authorization-server/t1",
            "https://as/.well-known/openid-configuration/t1",
            "https://as/t1/.well-known/openid-configuration",
        ]
    );
    for root in ["https://as", "https://as/"] {
        assert_eq!(
            urls(root),
            [
                "https://as/.well-known/oauth-authorization-server",
                "https://as/.well-known/openid-configuration"
            ]
        );
    }
    // CLI-12: an issuer in the clear.
    let plain = Issuer::parse("http://as.example").unwrap();
    assert!(matches!(
        authorization_server_urls(&plain),
        Err(Error::Endpoint { role: "issuer", .. })
    ));
}

#[test]
fn rule_5_the_issuer_is_the_one_asked_for() {
    // RFC 8414 §3.3; CLI-03. As strings.
    for other in [
        "https://evil.example",
        "https://as.example/",
        "https://AS.example",
        "https://as.example:443",
    ] {
        assert!(
            matches!(judged(json!({ "issuer": other })), Err(Error::Metadata { .. })),
            "{other}"
        );
    }
    assert_eq!(server(json!({})).issuer().as_str(), ISSUER);
}

#[test]
fn rule_6_without_pkce_s256_nothing_is_sent() {
    // CLI-11.
    for methods in [json!(null), json!([]), json!(["plain"]), json!(["s256"])] {
        assert_eq!(
            judged(json!({ "code_challenge_methods_supported": methods })),
            Err(Error::NoPkce(issuer())),
            "{methods}"
        );
    }
    assert!(judged(json!({ "code_challenge_methods_supported": ["plain", "S256"] })).is_ok());
}

#[test]
fn endpoints_of_two_parties_need_iss() {
    // CLI-04: an honest authorization endpoint, and a token endpoint that collects its codes.
    let mixed = |promised: bool| {
        json!({
            "token_endpoint": "https://collector.example/token",
            "authorization_response_iss_parameter_supported": promised,
        })
    };
    assert_eq!(judged(mixed(false)), Err(Error::MixedEndpoints(issuer())));
    assert!(judged(mixed(true)).is_ok());
}

#[test]
fn endpoints_that_are_needed_must_be_there() {
    for role in ["authorization_endpoint", "token_endpoint"] {
        assert!(
            matches!(judged(json!({ role: null })), Err(Error::Endpoint { .. })),
            "{role}"
        );
    }
    let few = server(json!({"registration_endpoint": null, "revocation_endpoint": null}));
    assert!(few.registration_endpoint().is_none() && few.revocation_endpoint().is_none());
}

#[test]
fn rule_11_scopes_are_chosen_in_order() {
    let resource = |supported: serde_json::Value| {
        let document = json!({"resource": "https://h/mcp", "authorization_servers": [ISSUER], "scopes_supported": supported});
        process_protected_resource(
            &at("https://h/mcp"),
            "https://h/m",
            document.to_string().as_bytes(),
        )
        .unwrap()
    };
    let challenge = |scope: Option<&str>| Challenged {
        scope: scope.map(scopes),
        ..Challenged::default()
    };
    let (plain, offline) = (
        server(json!({})),
        server(json!({ "scopes_supported": ["offline_access", "x"] })),
    );
    for (asked, supported, server, expected) in [
        (Some("a"), json!(["b", "c"]), &plain, Some("a")),
        (None, json!(["b", "c"]), &plain, Some("b c")),
        (None, json!([]), &plain, None),
        (None, json!(null), &plain, None),
        // `offline_access` exactly when the authorization server lists it, and never alone.
        (Some("a offline_access"), json!(null), &plain, Some("a")),
        (Some("a"), json!(null), &offline, Some("a offline_access")),
        (None, json!(null), &offline, None),
        (Some("offline_access"), json!(null), &offline, None),
    ] {
        let chosen = initial_scope(&challenge(asked), &resource(supported.clone()), server);
        assert_eq!(chosen, expected.map(scopes), "{asked:?} {supported}");
    }
}

#[test]
fn rule_18_a_step_up_asks_for_all_that_was_asked_for_before() {
    let server = server(json!({}));
    assert_eq!(
        step_up_scope(Some(&scopes("a b")), &scopes("b c"), &server),
        Some(scopes("a b c"))
    );
    assert_eq!(step_up_scope(None, &scopes("c"), &server), Some(scopes("c")));
}
