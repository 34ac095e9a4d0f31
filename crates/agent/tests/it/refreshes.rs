//! Refreshing: once, in time, and never with the wrong party.

use portcullis_agent::Login;
use serde_json::{Map, json};
use tokio::task::JoinSet;

use crate::parties::look;
use crate::stage::Stage;

#[tokio::test]
async fn of_many_that_need_a_new_token_one_refreshes() {
    let stage = Stage::set().await;
    let url = stage.parties.url();
    stage.agent().await.login(&url, &Login::default()).await.unwrap();
    for round in 1..=3 {
        stage.pass(400);
        let mut waiting = JoinSet::new();
        // More than there are threads to wait on.
        for _ in 0..20 {
            let (agent, url) = (stage.agent().await, url.clone());
            waiting.spawn(async move { agent.token(&url).await.unwrap().reveal().to_owned() });
        }
        let mut tokens = waiting.join_all().await;
        tokens.dedup();
        assert_eq!(tokens.len(), 1, "all have the same new token");
        assert_eq!(stage.parties.count("token refresh_token"), round);
    }
    assert_eq!(stage.parties.count("reuse"), 0);
}

#[tokio::test]
async fn a_token_is_used_until_shortly_before_its_end() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.login(&url, &Login::default()).await.unwrap();
    let first = agent.token(&url).await.unwrap();
    stage.pass(200);
    assert_eq!(agent.token(&url).await.unwrap(), first);
    stage.pass(80);
    assert_ne!(agent.token(&url).await.unwrap(), first);
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_refreshed_without_a_person() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.login(&url, &Login::default()).await.unwrap();
    look(&stage.parties.authority).access.clear();
    agent.tools(&url).await.unwrap();
    assert_eq!(
        (
            stage.parties.count("authorize"),
            stage.parties.count("token refresh_token")
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn a_refresh_that_nobody_waits_for_is_kept_all_the_same() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.login(&url, &Login::default()).await.unwrap();
    stage.pass(400);
    for _ in 0..5 {
        // Dropped as soon as it first waits.
        let mut token = Box::pin(agent.token(&url));
        assert!(futures_util::poll!(&mut token).is_pending());
    }
    agent.token(&url).await.unwrap();
    assert_eq!(stage.parties.count("reuse"), 0);
}

#[tokio::test]
async fn a_refresh_token_that_is_not_taken_means_a_new_login_with_the_same_scopes() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.call(&url, "add_note", Map::new()).await.unwrap();
    let url_token = agent.token(&url).await.unwrap();
    // Someone else spent it: the family is gone.
    stage.pass(400);
    agent.token(&url).await.unwrap();
    look(&stage.parties.authority).forget_grants();
    stage.pass(400);
    assert_eq!(agent.token(&url).await.unwrap_err().code(), "agent.login-ended");
    agent.tools(&url).await.unwrap();
    assert_ne!(agent.token(&url).await.unwrap(), url_token);
    assert_eq!(
        look(&stage.parties.authority)
            .seen
            .iter()
            .rev()
            .find(|line| line.starts_with("authorize"))
            .unwrap(),
        "authorize notes:read notes:write"
    );
}

#[tokio::test]
async fn a_forgotten_client_registers_again() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.login(&url, &Login::default()).await.unwrap();
    look(&stage.parties.authority).clients.clear();
    stage.pass(400);
    // A refresh finds out, and asks nobody.
    assert_eq!(agent.token(&url).await.unwrap_err().code(), "agent.login-ended");
    assert_eq!(stage.parties.count("register"), 1);
    // The next operation registers and logs in.
    agent.tools(&url).await.unwrap();
    assert_eq!(
        (stage.parties.count("register"), stage.parties.count("authorize")),
        (2, 2)
    );
}

#[tokio::test]
async fn a_client_forgotten_during_the_login_registers_again_at_once() {
    let stage = Stage::set().await;
    look(&stage.parties.authority).forgets_after_authorize = true;
    stage
        .agent()
        .await
        .login(&stage.parties.url(), &Login::default())
        .await
        .unwrap();
    assert_eq!(
        (stage.parties.count("register"), stage.parties.count("authorize")),
        (2, 2)
    );
    assert!(stage.page(0).await.contains("Once more"));
}

#[tokio::test]
async fn a_trouble_that_may_pass_keeps_the_refresh_token() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.login(&url, &Login::default()).await.unwrap();
    stage.pass(400);
    look(&stage.parties.authority).broken = true;
    assert_eq!(
        agent.token(&url).await.unwrap_err().code(),
        "client.token-refused"
    );
    look(&stage.parties.authority).broken = false;
    agent.token(&url).await.unwrap();
    assert_eq!(stage.parties.count("authorize"), 1);
}

#[tokio::test]
async fn nothing_of_one_authorization_server_goes_to_another() {
    // MCP: credentials are bound to their issuer; CLI-19.
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.login(&url, &Login::default()).await.unwrap();
    let other = look(&stage.parties.other).issuer.clone();
    look(&stage.parties.resource).issuer = other.clone();
    agent.tools(&url).await.unwrap();
    let seen = look(&stage.parties.other).seen.clone();
    assert!(seen[0].starts_with("register "), "{seen:?}");
    assert_eq!(seen[1..], ["authorize notes:read", "token authorization_code"]);
    assert_eq!(stage.parties.count("token refresh_token"), 0);
    assert_eq!(agent.status().await.unwrap()[0].issuer, other);
}

#[tokio::test]
async fn a_client_made_by_hand_is_not_replaced_when_the_authorization_server_changes() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    look(&stage.parties.authority)
        .clients
        .insert("by-hand".to_owned(), String::new());
    let id = portcullis_core::ids::ClientId::parse("by-hand").unwrap();
    let client = Some(portcullis_agent::Preregistered { id, secret: None });
    agent.login(&url, &Login { scope: None, client }).await.unwrap();
    let other = look(&stage.parties.other).issuer.clone();
    look(&stage.parties.resource).issuer = other;
    assert_eq!(
        agent.tools(&url).await.unwrap_err().code(),
        "client.foreign-client"
    );
    assert!(look(&stage.parties.other).seen.is_empty());
}

#[tokio::test]
async fn the_refresh_token_of_another_login_is_not_touched() {
    let stage = Stage::set().await;
    let (agent, url) = (stage.agent().await, stage.parties.url());
    agent.login(&url, &Login::default()).await.unwrap();
    // The same server under another name is another server.
    let by_name = url.replace("127.0.0.1", "localhost");
    assert_eq!(
        agent.token(&by_name).await.unwrap_err().code(),
        "agent.not-logged-in"
    );
    assert_eq!(json!(agent.status().await.unwrap()).as_array().unwrap().len(), 1);
}
