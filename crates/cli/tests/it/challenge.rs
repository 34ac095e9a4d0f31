//! Without a token: the challenge, and the documents it leads to.

use portcullis_testkit::{Outcome, Request, login, mcp};
use serde_json::json;

use crate::{demo, text};

#[tokio::test]
async fn a_call_without_a_token_is_challenged_and_the_trail_leads_to_the_authority() -> Outcome {
    let running = demo().await?;
    let ready = running.ready();
    let answer = mcp::call(&ready.mcp_url, "list_notes", &json!({})).send().await?;
    assert_eq!(answer.status, 401);
    // RFC 6750 §3.1: no error code when no credentials were sent. RFC 9449 §7.2: bound tokens are taken, too.
    let expected = format!(
        "Bearer resource_metadata=\"{}/.well-known/oauth-protected-resource/mcp\", scope=\"notes:read\", \
         DPoP algs=\"ES256 EdDSA ES384 ES512 PS256 RS256\"",
        ready.gateway
    );
    assert_eq!(answer.header("www-authenticate"), expected);

    for form in [
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource",
    ] {
        let answer = Request::get(format!("{}{form}", ready.gateway))
            .header("origin", "https://inspector.example")
            .send()
            .await?;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (200, "*"),
            "{form}"
        );
        let document = answer.json()?;
        assert_eq!(document["resource"], json!(ready.mcp_url), "{form}");
        assert_eq!(document["authorization_servers"], json!([ready.issuer]), "{form}");
        assert_eq!(document["scopes_supported"], json!(["notes:read"]), "{form}");
        assert_eq!(document["bearer_methods_supported"], json!(["header"]), "{form}");
    }
    Ok(())
}

#[tokio::test]
async fn each_path_of_the_server_is_a_resource_of_its_own() -> Outcome {
    let running = demo().await?;
    let ready = running.ready();
    let path = format!("{}/s/notes/mcp", ready.gateway);
    let found = login::discover(&path).await?;
    assert_eq!(found.resource, path);
    let other = Request::get(format!(
        "{}/.well-known/oauth-protected-resource/other",
        ready.gateway
    ))
    .send()
    .await?;
    assert_eq!(other.status, 404);

    // RFC 8707 §2: a token for one of them does not open the other.
    let token = crate::script_token(&running, "notes:read").await?;
    let answer = mcp::call(&path, "list_notes", &json!({}))
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(answer.status, 401);
    assert!(
        answer
            .header("www-authenticate")
            .contains("error=\"invalid_token\""),
        "{}",
        answer.header("www-authenticate")
    );
    Ok(())
}

#[tokio::test]
async fn the_gateways_keys_are_published_with_certificates() -> Outcome {
    let running = demo().await?;
    let ready = running.ready();
    for url in [
        ready.jwks_uri.clone(),
        format!("{}/.well-known/jwks.json", ready.issuer),
    ] {
        let answer = Request::get(&url).send().await?;
        assert_eq!(answer.status, 200, "{url}");
        assert_eq!(answer.header("cache-control"), "public, max-age=300", "{url}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{url}");
        let document = answer.json()?;
        let keys = document["keys"].as_array().cloned().unwrap_or_default();
        let uses: Vec<String> = keys.iter().map(|key| text(key, "/use")).collect();
        assert!(
            uses.contains(&"sig".to_owned()) && uses.contains(&"enc".to_owned()),
            "{url}: {uses:?}"
        );
        for key in &keys {
            for member in ["kty", "alg", "kid", "x5t#S256"] {
                assert!(
                    !text(key, &format!("/{member}")).is_empty(),
                    "{url}: {member} of {key}"
                );
            }
            assert!(
                key["x5c"].as_array().is_some_and(|chain| !chain.is_empty()),
                "{url}: {key}"
            );
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(key.get(private).is_none(), "{url}: a private member {private}");
            }
        }
        let again = Request::get(&url)
            .header("if-none-match", answer.header("etag"))
            .send()
            .await?;
        assert_eq!(again.status, 304, "{url}");
    }
    Ok(())
}
