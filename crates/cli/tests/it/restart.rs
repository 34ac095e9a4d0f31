//! A second start on the same data folder keeps what the first one knew, and Ctrl-C ends in good order.

use portcullis_testkit::login::{Attempt, Browser, REDIRECT, discover, register};
use portcullis_testkit::{Outcome, Request, Scratch, mcp};
use serde_json::json;

use crate::portcullis;

#[tokio::test(flavor = "multi_thread")]
async fn users_clients_grants_and_keys_outlive_the_process() -> Outcome {
    let folder = Scratch::new("data")?;
    let running = portcullis().up_in(folder.path()).await?;
    let first = running.ready().clone();
    let found = discover(&first.mcp_url).await?;
    let client = register(&found, REDIRECT).await?;
    let attempt = Attempt::new(&found, &client, "notes:read notes:write")?;
    let password = first.password.clone().unwrap_or_default();
    let redirect = Browser::default()
        .approve(&attempt.url, REDIRECT, &first.user, &password)
        .await?;
    let tokens = attempt.redeem(&found, &redirect).await?;
    let note = mcp::call(&first.mcp_url, "add_note", &json!({"text": "kept"})).bearer(&tokens.access_token);
    assert_eq!(note.send().await?.status, 200);
    let keys = Request::get(&first.jwks_uri).send().await?.json()?;
    let (status, log) = running.stop()?;
    assert!(status.success(), "{status}\n{log}");

    let running = portcullis().up_in(folder.path()).await?;
    let second = running.ready();
    // Ports chosen at the first start are kept, or every client would be told of another resource.
    assert_eq!((&second.mcp_url, &second.issuer), (&first.mcp_url, &first.issuer));
    assert_eq!(Request::get(&second.jwks_uri).send().await?.json()?, keys);
    let listed = mcp::call(&second.mcp_url, "list_notes", &json!({}))
        .bearer(&tokens.access_token)
        .send()
        .await?;
    assert!(
        listed.status == 200 && listed.text().contains("kept"),
        "{}",
        listed.text()
    );
    let refreshed = tokens.refresh(&found).await?;
    let added =
        mcp::call(&second.mcp_url, "add_note", &json!({"text": "more"})).bearer(&refreshed.access_token);
    assert_eq!(added.send().await?.status, 200);
    let again = Attempt::new(&found, &client, "notes:read")?;
    let redirect = Browser::default()
        .approve(&again.url, REDIRECT, &second.user, &password)
        .await?;
    again.redeem(&found, &redirect).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() -> Outcome {
    let folder = Scratch::new("data")?;
    let running = portcullis().up_in(folder.path()).await?;
    let first = running.ready().clone();
    let found = discover(&first.mcp_url).await?;
    let client = register(&found, REDIRECT).await?;
    let attempt = Attempt::new(&found, &client, "notes:read")?;
    let password = first.password.clone().unwrap_or_default();
    let redirect = Browser::default()
        .approve(&attempt.url, REDIRECT, &first.user, &password)
        .await?;
    let tokens = attempt.redeem(&found, &redirect).await?;
    running.signal("KILL")?;
    drop(running);

    let running = portcullis().up_in(folder.path()).await?;
    tokens.refresh(&found).await?;
    drop(running);
    let data = folder.path().display().to_string();
    let verified = portcullis().run(["audit", "verify", "--data", &data])?;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    Ok(())
}
