//! What the agent does not do: the other party's count stays at zero.

use std::time::Duration;

use portcullis_agent::{Agent, Login};
use serde_json::{Map, Value, json};

use crate::parties::{Iss, look};
use crate::stage::Stage;

/// The code of the error of a login, which must fail.
async fn refused(stage: &Stage) -> &'static str {
    stage
        .agent()
        .await
        .login(&stage.parties.url(), &Login::default())
        .await
        .unwrap_err()
        .code()
}

async fn refused_with(metadata: Value) -> (&'static str, Stage) {
    let stage = Stage::set().await;
    look(&stage.parties.authority).metadata = metadata;
    (refused(&stage).await, stage)
}

#[tokio::test]
async fn metadata_that_cannot_be_trusted_stops_it_before_anything_is_sent() {
    for (metadata, code) in [
        (
            json!({ "code_challenge_methods_supported": null }),
            "client.no-pkce",
        ),
        (
            json!({ "code_challenge_methods_supported": ["plain"] }),
            "client.no-pkce",
        ),
        (json!({ "issuer": "https://honest.example" }), "client.metadata"),
        (
            json!({ "authorization_endpoint": "javascript:alert(1)" }),
            "client.endpoint",
        ),
        (
            json!({ "authorization_endpoint": "http://x.example/$(calc)" }),
            "client.endpoint",
        ),
        (
            json!({ "token_endpoint": "http://as.example/token" }),
            "client.endpoint",
        ),
        (
            json!({"token_endpoint": "http://127.0.0.1:1/token", "authorization_response_iss_parameter_supported": false}),
            "client.mixed-endpoints",
        ),
        (json!({ "registration_endpoint": null }), "client.no-registration"),
    ] {
        let (found, stage) = refused_with(metadata.clone()).await;
        assert_eq!(found, code, "{metadata}");
        assert!(look(&stage.parties.authority).seen.is_empty(), "{metadata}");
    }
}

#[tokio::test]
async fn metadata_of_another_resource_stops_it() {
    for claims in ["https://evil.example/mcp", "SELF/", "SELF/x"] {
        let stage = Stage::set().await;
        let claims = claims.replace("SELF", &stage.parties.url());
        look(&stage.parties.resource).claims = Some(claims);
        assert_eq!(refused(&stage).await, "client.resource-mismatch");
        assert!(look(&stage.parties.authority).seen.is_empty());
    }
}

#[tokio::test]
async fn a_code_of_another_issuer_goes_nowhere() {
    for (iss, promised, denies) in [
        (Iss::Wrong, true, None),
        (Iss::Wrong, false, None),
        (Iss::Absent, true, None),
        (Iss::Wrong, true, Some("look_at_this")),
    ] {
        let stage = Stage::set().await;
        {
            let mut authority = look(&stage.parties.authority);
            authority.iss = iss;
            authority.denies = denies;
            authority.metadata = json!({ "authorization_response_iss_parameter_supported": promised });
        }
        assert_eq!(
            refused(&stage).await,
            "client.redirect-issuer",
            "{iss:?} {promised}"
        );
        assert_eq!(
            (stage.parties.count("authorize"), stage.parties.count("token")),
            (1, 0)
        );
        let page = stage.page(0).await;
        assert!(
            page.contains("did not succeed") && !page.contains("look_at_this"),
            "{page}"
        );
    }
    let stage = Stage::set().await;
    look(&stage.parties.authority).iss = Iss::Absent;
    look(&stage.parties.authority).metadata =
        json!({ "authorization_response_iss_parameter_supported": null });
    stage
        .agent()
        .await
        .login(&stage.parties.url(), &Login::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_person_who_says_no_is_told_so() {
    let stage = Stage::set().await;
    look(&stage.parties.authority).denies = Some("access_denied");
    assert_eq!(refused(&stage).await, "client.redirect-denied");
    assert!(stage.page(0).await.contains("access_denied"));
    assert_eq!(stage.parties.count("token"), 0);
}

#[tokio::test]
async fn a_server_that_always_wants_more_gets_three_logins() {
    // CLI-17.
    let stage = Stage::set().await;
    look(&stage.parties.resource).insatiable = true;
    let error = stage
        .agent()
        .await
        .call(&stage.parties.url(), "add_note", Map::new())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "agent.not-allowed");
    assert_eq!(stage.parties.count("authorize"), 3);
}

#[tokio::test]
async fn a_server_that_wants_what_it_has_gets_no_second_login() {
    let stage = Stage::set().await;
    look(&stage.parties.resource).wants = "notes:write";
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.call(&url, "add_note", Map::new()).await.unwrap();
    // The token says one thing and the server's books another.
    for scope in look(&stage.parties.authority).access.values_mut() {
        scope.clear();
    }
    assert_eq!(
        agent.call(&url, "add_note", Map::new()).await.unwrap_err().code(),
        "agent.not-allowed"
    );
    assert_eq!(stage.parties.count("authorize"), 2);
}

#[tokio::test]
async fn a_token_is_not_carried_along_a_redirect() {
    // CLI-13.
    let (stage, elsewhere) = (Stage::set().await, Stage::set().await);
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.login(&url, &Login::default()).await.unwrap();
    look(&stage.parties.resource).redirects = Some(elsewhere.parties.url());
    assert_eq!(agent.tools(&url).await.unwrap_err().code(), "agent.server");
    assert!(look(&elsewhere.parties.resource).seen.is_empty());
}

#[tokio::test]
async fn a_login_that_nobody_finishes_ends() {
    struct Nobody;
    impl portcullis_agent::Presenter for Nobody {
        fn authorize(&self, _url: &str) {}
    }
    let stage = Stage::set().await;
    let mut settings = stage.settings();
    settings.presenter = std::sync::Arc::new(Nobody);
    settings.login_patience = Duration::from_millis(1);
    let agent = Agent::open(settings).await.unwrap();
    let error = agent
        .login(&stage.parties.url(), &Login::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "agent.login-timed-out");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let stage = Stage::set().await;
    let agent = stage.agent().await;
    let error = agent.tools("http://127.0.0.1:9/mcp").await.unwrap_err();
    assert_eq!(error.code(), "agent.network");
    assert!(error.to_string().contains("127.0.0.1:9"), "{error}");
    for bad in ["not a url", "http://mcp.example/mcp", "ftp://mcp.example"] {
        assert_eq!(
            agent.tools(bad).await.unwrap_err().code(),
            "client.address",
            "{bad}"
        );
    }
}
