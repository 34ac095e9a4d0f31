//! The runbooks are executable: each command of `docs/runbooks/emergency-rotation.md` is run here, in its order, while a
//! server works, and what the page says of each is looked at.

use std::time::{Duration, Instant};

use portcullis_testkit::{Failure, Outcome, Request, Running, Scratch, mcp};
use serde_json::{Value, json};

use crate::readme::{commands_of, words};
use crate::{audit, portcullis, script_token, text};

/// Follows within a second, the page says; machines under load get longer, and a test that hangs is one that fails.
const FOLLOWS: Duration = Duration::from_secs(20);

async fn list_tools(running: &Running, token: &str) -> Outcome<u16> {
    let answer = mcp::modern(&running.ready().mcp_url, "tools/list", json!({}))
        .bearer(token)
        .send()
        .await?;
    Ok(answer.status)
}

pub(crate) fn kid_of(token: &str) -> Outcome<String> {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap_or_default();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(text(&serde_json::from_slice(&header)?, "/kid"))
}

pub(crate) async fn published(running: &Running) -> Outcome<Vec<String>> {
    let jwks = Request::get(format!("{}/jwks", running.ready().issuer))
        .send()
        .await?
        .json()?;
    let keys = jwks
        .pointer("/keys")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    Ok(keys.iter().map(|key| text(key, "/kid")).collect())
}

#[tokio::test]
async fn every_command_of_the_emergency_runbook_works_on_a_running_server() -> Outcome {
    let running = crate::demo().await?;
    let data = running.data().display().to_string();
    let folder = Scratch::new("runbook")?;
    let published_to = folder.path().join("static").display().to_string();
    let before = script_token(&running, "notes:read").await?;
    let lost = kid_of(&before)?;
    assert!(published(&running).await?.contains(&lost));
    assert_eq!(
        list_tools(&running, &before).await?,
        200,
        "the token works before"
    );

    let mut ran = Vec::new();
    for command in commands_of("docs/runbooks/emergency-rotation.md")? {
        let arguments: Vec<String> = words(&command)
            .into_iter()
            .skip(1)
            .map(|word| match word.as_str() {
                "DATA" => data.clone(),
                "KID" => lost.clone(),
                "static" => published_to.clone(),
                _ => word,
            })
            .collect();
        let outcome = portcullis().run(&arguments)?;
        assert_eq!(
            outcome.code,
            Some(0),
            "{command}: {}{}",
            outcome.stdout,
            outcome.stderr
        );
        if command.contains("keys revoke") {
            refused_from_now_on(&running, &before, &lost).await?;
        }
        if command.contains("--all") {
            let line = outcome
                .stdout
                .lines()
                .find(|line| line.contains(&lost))
                .unwrap_or_default();
            assert!(line.contains("revoked"), "{}", outcome.stdout);
        }
        ran.push(command);
    }
    assert!(ran.len() >= 8, "only these commands were found: {ran:?}");

    let file = std::fs::read_to_string(folder.path().join("static/authority/jwks.json"))?;
    let served = Request::get(format!("{}/jwks", running.ready().issuer))
        .send()
        .await?;
    assert_eq!(file, served.text(), "the published file is what is served");

    let revocation = audit(&running, &[])?
        .into_iter()
        .find(|record| {
            text(record, "/event/kid") == lost || record.to_string().contains("laptop with a backup stolen")
        })
        .unwrap_or_default();
    assert!(revocation.to_string().contains("emergency"), "{revocation}");
    assert!(
        revocation.to_string().contains("laptop with a backup stolen"),
        "{revocation}"
    );
    Ok(())
}

/// What step 2 of the page says.
async fn refused_from_now_on(running: &Running, before: &str, lost: &str) -> Outcome {
    let deadline = Instant::now() + FOLLOWS;
    while list_tools(running, before).await? != 401 {
        assert!(
            Instant::now() < deadline,
            "the token of a revoked key is still served"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut after = script_token(running, "notes:read").await?;
    while kid_of(&after)? == lost {
        assert!(Instant::now() < deadline, "the revoked key still signs");
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = script_token(running, "notes:read").await?;
    }
    let served = list_tools(running, &after).await?;
    assert!(
        (200..300).contains(&served),
        "a new token works at once: {served}"
    );
    assert!(
        !published(running).await?.contains(&lost.to_owned()),
        "the key left the JWK Set"
    );
    // Whatever was remembered of the token is gone for good.
    assert_eq!(list_tools(running, before).await?, 401);
    Ok(())
}

#[tokio::test]
async fn a_graceful_rotation_is_announced_first_and_breaks_nothing() -> Outcome {
    let running = crate::demo().await?;
    let data = running.data().display().to_string();
    let token = script_token(&running, "notes:read").await?;
    let primary = kid_of(&token)?;
    let count = published(&running).await?.len();
    let rotated = portcullis().run([
        "keys",
        "rotate",
        "--purpose",
        "sig",
        "--role",
        "authority",
        "--json",
        "--data",
        &data,
    ])?;
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    let changes: Value = serde_json::from_str(&rotated.stdout)?;
    assert_eq!(changes[0]["to"], "staged", "{changes}");
    let next = text(&changes, "/0/kid");
    let deadline = Instant::now() + FOLLOWS;
    while !published(&running).await?.contains(&next) {
        assert!(Instant::now() < deadline, "the staged key is not published");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(published(&running).await?.len(), count + 1);
    // Not before every verifier knows it: the old one signs meanwhile.
    assert_eq!(kid_of(&script_token(&running, "notes:read").await?)?, primary);
    assert_eq!(list_tools(&running, &token).await?, 200);
    // A second request changes nothing and says so.
    let again = portcullis().run([
        "keys",
        "rotate",
        "--purpose",
        "sig",
        "--role",
        "authority",
        "--data",
        &data,
    ])?;
    assert!(again.stdout.contains("under way already"), "{}", again.stdout);
    let planned = portcullis().run(["keys", "plan", "--data", &data])?;
    assert!(
        planned.stdout.contains(&format!("{next} becomes the primary")),
        "{}",
        planned.stdout
    );
    Ok(())
}
