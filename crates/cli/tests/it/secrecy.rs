//! Nothing of a token, password, code, verifier, cookie or client secret ever appears in a log line, a record or any other file.

use base64::Engine as _;
use portcullis_testkit::login::{Attempt, Browser};
use portcullis_testkit::{Outcome, Request, login, mcp};
use serde_json::json;

use crate::{demo, script_token};

/// KEY-06 of the attack catalogue.
#[tokio::test]
async fn no_secret_is_written_anywhere() -> Outcome {
    let running = crate::portcullis().env("PORTCULLIS_LOG", "trace").up().await?;
    let ready = running.ready().clone();
    let url = &ready.mcp_url;
    let found = login::discover(url).await?;
    let client = login::register(&found, login::REDIRECT).await?;
    let attempt = Attempt::new(&found, &client, "notes:read")?;
    let mut browser = Browser::default();
    let password = ready.password.clone().unwrap_or_default();
    let redirect = browser
        .approve(&attempt.url, login::REDIRECT, &ready.user, &password)
        .await?;
    let tokens = attempt.redeem(&found, &redirect).await?;
    // A replayed code and a wrong secret: what is refused is written down too, without what was shown.
    attempt.redeem(&found, &redirect).await.unwrap_err();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!(
        "portcullis-script:{}",
        ready.client_secret.clone().unwrap_or_default()
    ));
    let refused = Request::post(format!("{}/token", ready.issuer))
        .header("authorization", format!("Basic {basic}"))
        .form([("grant_type", "password")])
        .send()
        .await?;
    assert!(refused.status >= 400);
    let tokens = if tokens.refresh(&found).await.is_err() {
        login(&running, "notes:read").await?
    } else {
        tokens
    };
    let script = script_token(&running, "notes:read notes:write").await?;
    // Used well, used badly, and used where it must not be.
    for token in [&tokens.access_token, &script] {
        mcp::call(url, "list_notes", &json!({}))
            .bearer(token)
            .send()
            .await?;
        mcp::call(url, "delete_all_notes", &json!({}))
            .bearer(token)
            .send()
            .await?;
        mcp::call(&format!("{url}?access_token={token}"), "list_notes", &json!({}))
            .send()
            .await?;
        mcp::call(url, "list_notes", &json!({}))
            .bearer(&format!("{token}x"))
            .send()
            .await?;
        mcp::call(url, "list_notes", &json!({}))
            .bearer(token)
            .header("authorization", format!("Bearer {token}"))
            .send()
            .await?;
    }
    let refreshed = tokens.refresh(&found).await?;
    tokens.refresh(&found).await.ok();

    let code = ::url::Url::parse(&redirect)?
        .query_pairs()
        .find(|(name, _)| name == "code")
        .map(|(_, code)| code.into_owned());
    let mut secrets = vec![
        ("authorization code", code.unwrap_or_default()),
        ("PKCE verifier", attempt.verifier.clone()),
        ("Basic credential", basic),
        ("client secret", ready.client_secret.clone().unwrap_or_default()),
        ("refresh token", tokens.refresh_token.clone().unwrap_or_default()),
        (
            "next refresh token",
            refreshed.refresh_token.clone().unwrap_or_default(),
        ),
    ];
    secrets.extend(
        browser
            .cookie_values()
            .into_iter()
            .map(|value| ("login cookie", value)),
    );
    for token in [&tokens.access_token, &script, &refreshed.access_token] {
        // Each part on its own: a header may be logged whole, in part, or decoded.
        secrets.extend(
            token
                .split('.')
                .skip(1)
                .map(|part| ("part of an access token", part.to_owned())),
        );
    }
    // A control: what is searched for would be found.
    assert!(
        running
            .everything_written()?
            .iter()
            .any(|(_, bytes)| contains(bytes, client.id.as_bytes()))
    );
    for (path, bytes) in running.everything_written()? {
        for (what, secret) in &secrets {
            assert!(secret.len() > 16, "{what} is too short to search for");
            assert!(
                !contains(&bytes, secret.as_bytes()),
                "{what} in {}",
                path.display()
            );
        }
        // The password is printed once, on purpose, and is nowhere else.
        if path != std::path::Path::new("stdout and stderr") {
            assert!(
                !contains(&bytes, password.as_bytes()),
                "the password in {}",
                path.display()
            );
        }
    }
    Ok(())
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn an_answer_never_repeats_the_token() -> Outcome {
    let running = demo().await?;
    let url = &running.ready().mcp_url;
    let token = script_token(&running, "notes:read").await?;
    let spoiled = format!("{token}x");
    let answers = [
        mcp::call(url, "list_notes", &json!({}))
            .bearer(&spoiled)
            .send()
            .await?,
        mcp::call(url, "delete_all_notes", &json!({}))
            .bearer(&token)
            .send()
            .await?,
        mcp::call(&format!("{url}?access_token={token}"), "list_notes", &json!({}))
            .send()
            .await?,
    ];
    let signature = token.rsplit('.').next().unwrap_or_default();
    for answer in answers {
        assert!(!answer.text().contains(signature) && !format!("{:?}", answer.headers).contains(signature));
    }
    Ok(())
}
