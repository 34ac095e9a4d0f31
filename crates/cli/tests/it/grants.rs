//! What the embedded authority revokes reaches access tokens at the gateway, and what the operator revokes reaches its grants.

use std::time::{Duration, Instant};

use portcullis_testkit::login::{self, Attempt, Browser, Tokens};
use portcullis_testkit::{Answer, Failure, Outcome, Request, Running, mcp};
use serde_json::{Value, json};

use crate::{audit, demo, portcullis, text};

const REDIRECT: &str = "http://127.0.0.1:7777/callback";
/// Longer than any machine under load needs, and a test that hangs is one that fails.
const FOLLOWS: Duration = Duration::from_secs(30);

async fn list(running: &Running, tokens: &Tokens) -> Outcome<Answer> {
    mcp::call(&running.ready().mcp_url, "list_notes", &json!({}))
        .bearer(&tokens.access_token)
        .send()
        .await
}

/// Waits until the gateway refuses the token, for this reason and with the challenge of a token that is no good.
async fn refused(running: &Running, tokens: &Tokens, reason: &str) -> Outcome {
    let began = Instant::now();
    while began.elapsed() < FOLLOWS {
        let answer = list(running, tokens).await?;
        if answer.status != 200 {
            assert_eq!(answer.status, 401, "{}", answer.text());
            assert_eq!(text(&answer.json()?, "/error/data/reason"), reason);
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Failure::new("the gateway still takes the token"))
}

/// A login up to the code, and what it takes to redeem it.
async fn approved(running: &Running, browser: &mut Browser) -> Outcome<(login::Discovered, Attempt, String)> {
    let ready = running.ready();
    let found = login::discover(&ready.mcp_url).await?;
    let client = login::register(&found, REDIRECT).await?;
    let attempt = Attempt::new(&found, &client, "notes:read")?;
    let password = ready.password.as_deref().unwrap_or_default();
    let redirect = browser
        .approve(&attempt.url, REDIRECT, &ready.user, password)
        .await?;
    Ok((found, attempt, redirect))
}

fn revocations(running: &Running) -> Outcome<Vec<Value>> {
    audit(running, &["--kind", "revocation"])
}

fn registry(running: &Running, args: &[&str]) -> Outcome<Value> {
    let data = running.data().display().to_string();
    let args = [&["registry"], args, &["--json", "--data", &data]].concat();
    let ran = portcullis().run(args)?;
    if ran.code != Some(0) {
        return Err(Failure::new(ran.stderr));
    }
    Ok(serde_json::from_str(&ran.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn as_16_a_refresh_token_that_comes_twice_ends_the_access_tokens_of_its_grant() -> Outcome {
    let running = demo().await?;
    let found = login::discover(&running.ready().mcp_url).await?;
    let first = login::login(&running, "notes:read").await?;
    let another = login::login(&running, "notes:read").await?;
    let second = first.refresh(&found).await?;
    let third = second.refresh(&found).await?;
    for tokens in [&first, &second, &third, &another] {
        assert_eq!(list(&running, tokens).await?.status, 200);
    }
    let reused = first.refresh(&found).await.unwrap_err().to_string();
    assert!(reused.contains("invalid_grant"), "{reused}");
    for tokens in [&first, &second, &third] {
        refused(&running, tokens, "revoked.grant").await?;
    }
    assert_eq!(
        list(&running, &another).await?.status,
        200,
        "another grant of the same user"
    );
    assert!(third.refresh(&found).await.is_err());
    let records = revocations(&running)?;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        (text(&records[0], "/of"), text(&records[0], "/by")),
        ("grant".to_owned(), "authority".to_owned())
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn as_04_a_code_that_comes_twice_ends_the_access_token_of_the_first_time() -> Outcome {
    let running = demo().await?;
    let (found, attempt, redirect) = approved(&running, &mut Browser::default()).await?;
    let tokens = attempt.redeem(&found, &redirect).await?;
    assert_eq!(list(&running, &tokens).await?.status, 200);
    let replayed = attempt.redeem(&found, &redirect).await.unwrap_err().to_string();
    assert!(replayed.contains("invalid_grant"), "{replayed}");
    refused(&running, &tokens, "revoked.grant").await?;
    // A third time says the same, and is no further revocation.
    assert!(attempt.redeem(&found, &redirect).await.is_err());
    assert_eq!(revocations(&running)?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_revokes_its_refresh_token_ends_its_access_tokens() -> Outcome {
    let running = demo().await?;
    let tokens = login::login(&running, "notes:read").await?;
    assert_eq!(list(&running, &tokens).await?.status, 200);
    let form = [
        ("client_id", tokens.client.id.clone()),
        ("token", tokens.refresh_token.clone().unwrap_or_default()),
    ];
    let answer = Request::post(format!("{}/revoke", running.ready().issuer))
        .form(form)
        .send()
        .await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    refused(&running, &tokens, "revoked.grant").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_tokens_are_revoked_logs_in_again_and_one_who_is_revoked_does_not() -> Outcome {
    let running = demo().await?;
    let ready = running.ready();
    let mut browser = Browser::default();
    let (found, attempt, redirect) = approved(&running, &mut browser).await?;
    let tokens = attempt.redeem(&found, &redirect).await?;
    let (_, unused, code) = approved(&running, &mut Browser::default()).await?;
    assert_eq!(list(&running, &tokens).await?.status, 200);
    registry(&running, &["revoke", "user", &ready.user, "--reason", "a test"])?;
    refused(&running, &tokens, "revoked.user-tokens").await?;
    // Neither what was kept nor what was on its way gives a newer token.
    for error in [
        tokens.refresh(&found).await.unwrap_err().to_string(),
        unused.redeem(&found, &code).await.unwrap_err().to_string(),
    ] {
        assert!(error.contains("invalid_grant"), "{error}");
    }
    // `iat` is in whole seconds: a login in the same second is one of before.
    let began = Instant::now();
    loop {
        let again = login::login(&running, "notes:read").await?;
        if list(&running, &again).await?.status == 200 {
            break;
        }
        assert!(began.elapsed() < FOLLOWS);
    }
    let again = login::login(&running, "notes:read").await?;
    let told = registry(
        &running,
        &[
            "revoke",
            "user",
            &ready.user,
            "--until-lifted",
            "--reason",
            "a test",
        ],
    )?;
    let began = Instant::now();
    while list(&running, &again).await?.status == 200 {
        assert!(began.elapsed() < FOLLOWS);
    }
    let error = login::login(&running, "notes:read")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("invalid_grant"), "{error}");
    registry(&running, &["lift", &text(&told, "/id"), "--reason", "it is over"])?;
    let began = Instant::now();
    while login::login(&running, "notes:read").await.is_err() {
        assert!(began.elapsed() < FOLLOWS);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_revoked_gets_no_token_for_itself() -> Outcome {
    let running = demo().await?;
    let ready = running.ready();
    let before = crate::script_token(&running, "notes:read").await?;
    let client = ready.client_id.clone().unwrap_or_default();
    let told = registry(&running, &["revoke", "agent", &client, "--reason", "a test"])?;
    let began = Instant::now();
    loop {
        let answer = mcp::call(&ready.mcp_url, "list_notes", &json!({}))
            .bearer(&before)
            .send()
            .await?;
        if answer.status == 403 {
            assert_eq!(text(&answer.json()?, "/error/data/reason"), "revoked.agent");
            assert_eq!(answer.header("www-authenticate"), "");
            break;
        }
        assert!(began.elapsed() < FOLLOWS);
    }
    let error = crate::script_token(&running, "notes:read")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("unauthorized_client"), "{error}");
    registry(&running, &["lift", &text(&told, "/id"), "--reason", "it is over"])?;
    let began = Instant::now();
    while crate::script_token(&running, "notes:read").await.is_err() {
        assert!(began.elapsed() < FOLLOWS);
    }
    Ok(())
}
