use bytes::Bytes;
use http::{Method, Request};
use portcullis_core::audit::{Event, System};
use portcullis_guard::recorder::{Durability, Recorder as _};
use serde_json::json;

use super::house::{House, call, header, json_of};

fn request(method: Method, url: String) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().unwrap();
    request
}

#[tokio::test]
async fn every_resource_describes_itself_and_names_who_issues_its_tokens() {
    let house = House::new().await;
    let url = &house.public_url;
    for (path, resource) in [
        ("/.well-known/oauth-protected-resource", "/mcp"),
        ("/.well-known/oauth-protected-resource/mcp", "/mcp"),
        (
            "/.well-known/oauth-protected-resource/s/notes/mcp",
            "/s/notes/mcp",
        ),
    ] {
        let response = house.send(request(Method::GET, format!("{url}{path}"))).await;
        assert_eq!(
            (
                response.status().as_u16(),
                header(&response, "access-control-allow-origin")
            ),
            (200, "*")
        );
        assert_eq!(
            json_of(&response),
            json!({
                "resource": format!("{url}{resource}"),
                "authorization_servers": ["https://as.example"],
                "scopes_supported": ["notes:read"],
                "bearer_methods_supported": ["header"],
                "jwks_uri": format!("{url}/.well-known/jwks.json"),
                "resource_name": "notes",
                "dpop_signing_alg_values_supported": ["ES256", "EdDSA", "ES384", "ES512", "PS256", "RS256"],
            })
        );
        let preflight = house.send(request(Method::OPTIONS, format!("{url}{path}"))).await;
        assert_eq!(
            (
                preflight.status().as_u16(),
                header(&preflight, "access-control-allow-headers")
            ),
            (204, "*")
        );
    }
    let other = house
        .send(request(
            Method::GET,
            format!("{url}/.well-known/oauth-protected-resource/other"),
        ))
        .await;
    assert_eq!(other.status(), 404);
    // What the challenge points to is there.
    let challenged = house
        .send(request(Method::POST, format!("{url}/s/notes/mcp")))
        .await;
    assert_eq!(
        header(&challenged, "www-authenticate"),
        format!(
            r#"Bearer resource_metadata="{url}/.well-known/oauth-protected-resource/s/notes/mcp", scope="notes:read", DPoP algs="ES256 EdDSA ES384 ES512 PS256 RS256""#
        )
    );
}

#[tokio::test]
async fn keys_are_served_for_caches() {
    let house = House::new().await;
    let url = format!("{}/.well-known/jwks.json", house.public_url);
    let response = house.send(request(Method::GET, url.clone())).await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "cache-control"), "public, max-age=300");
    assert_eq!(header(&response, "access-control-allow-origin"), "*");
    assert!(header(&response, "access-control-expose-headers").contains("ETag"));
    let preflight = house.send(request(Method::OPTIONS, url.clone())).await;
    assert_eq!(
        (
            preflight.status().as_u16(),
            header(&preflight, "access-control-allow-headers")
        ),
        (204, "*")
    );
    let keys = json_of(&response);
    let purposes: Vec<_> = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["use"].as_str().unwrap())
        .collect();
    assert!(
        purposes.contains(&"sig") && purposes.contains(&"enc"),
        "{purposes:?}"
    );
    let etag = header(&response, "etag").to_owned();
    for (condition, status) in [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"x\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
    ] {
        let mut request = request(Method::GET, url.clone());
        request
            .headers_mut()
            .insert("if-none-match", condition.parse().unwrap());
        let response = house.send(request).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "etag")),
            (status, &*etag),
            "{condition}"
        );
        assert_eq!(response.body().is_empty(), status == 304);
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_answered_in_words() {
    let house = House::new().await;
    let url = &house.public_url;
    for path in [
        "/",
        "/mcp/",
        "/MCP",
        "//mcp",
        "/%6dcp",
        "/mcp/..",
        "/s/other/mcp",
        "/mcp;x=1",
        "/healthz",
        "/metrics",
    ] {
        let response = house.send(request(Method::POST, format!("{url}{path}"))).await;
        assert_eq!(
            (
                response.status().as_u16(),
                json_of(&response)["error"]["code"].as_i64()
            ),
            (404, Some(-31_404)),
            "{path}"
        );
    }
    for (path, allow) in [
        ("/mcp", "GET, POST, DELETE"),
        ("/.well-known/jwks.json", "GET, HEAD, OPTIONS"),
    ] {
        let response = house.send(request(Method::PUT, format!("{url}{path}"))).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "allow")),
            (405, allow)
        );
        assert!(json_of(&response)["error"]["message"].is_string());
    }
    assert_eq!(house.events(), 0, "none of this was judged");
}

#[tokio::test]
async fn the_operator_sees_what_was_decided() {
    let house = House::new().await;
    let (url, admin) = (&house.public_url, &house.admin_url);
    house.send(request(Method::POST, format!("{url}/mcp"))).await;
    house
        .send(house.post(&house.token("notes:read"), &call("list_notes")))
        .await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            house
                .send(request(Method::GET, format!("{admin}{path}")))
                .await
                .status(),
            200
        );
    }
    let metrics = house.send(request(Method::GET, format!("{admin}/metrics"))).await;
    let text = String::from_utf8(metrics.body().to_vec()).unwrap();
    for line in [
        "portcullis_decisions_total{reason=\"ok\"} 1",
        "portcullis_decisions_total{reason=\"token.missing\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
    house.stop.cancel();
    assert_eq!(
        house
            .send(request(Method::GET, format!("{admin}/readyz")))
            .await
            .status(),
        503
    );
    assert_eq!(
        house
            .send(request(Method::GET, format!("{admin}/x")))
            .await
            .status(),
        404
    );
    assert_eq!(
        house
            .send(request(Method::POST, format!("{admin}/healthz")))
            .await
            .status(),
        405
    );
}

#[tokio::test]
async fn a_gateway_that_cannot_record_is_not_ready_until_it_can() {
    let house = House::new().await;
    let ready = async || {
        let response = house
            .send(request(Method::GET, format!("{}/readyz", house.admin_url)))
            .await;
        let said = String::from_utf8(response.body().to_vec()).unwrap();
        (response.status().as_u16(), said)
    };
    let event = Event::from(System {
        what: "start",
        detail: String::new(),
    });
    // Nobody tried yet.
    assert_eq!(ready().await, (200, "ready\n".to_owned()));
    house.log.record(event, Durability::Queued).await.unwrap_err();
    assert_eq!(ready().await, (503, "audit.unavailable\n".to_owned()));
    // There is room again.
    std::fs::remove_file(&house.log_file).unwrap();
    std::fs::write(&house.log_file, b"").unwrap();
    while house.log.unavailable().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ready().await, (200, "ready\n".to_owned()));
    house.log.close().unwrap();
    assert_eq!(ready().await, (503, "audit.unavailable\n".to_owned()));
}
