//! The embedded authority: its documents, pages, codes and tokens, as a client meets them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_testkit::login::{self, Attempt, Browser};
use portcullis_testkit::{Outcome, Request, Running};
use serde_json::{Value, json};

use crate::{demo, text};

const REDIRECT: &str = "http://127.0.0.1:7777/callback";

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap_or_default();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap_or_default()).unwrap_or_default()
}

async fn approve(running: &Running, attempt: &Attempt) -> Outcome<String> {
    let ready = running.ready();
    Browser::default()
        .approve(
            &attempt.url,
            REDIRECT,
            &ready.user,
            ready.password.as_deref().unwrap_or_default(),
        )
        .await
}

#[tokio::test]
async fn its_metadata_is_served_in_both_forms_and_names_only_what_works() -> Outcome {
    let running = demo().await?;
    let issuer = &running.ready().issuer;
    for form in ["oauth-authorization-server", "openid-configuration"] {
        let answer = Request::get(format!("{issuer}/.well-known/{form}"))
            .header("origin", "https://inspector.example")
            .send()
            .await?;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (200, "*"),
            "{form}"
        );
        let document = answer.json()?;
        assert_eq!(document["issuer"], json!(issuer), "{form}");
        assert_eq!(
            document["code_challenge_methods_supported"],
            json!(["S256"]),
            "{form}"
        );
        assert_eq!(document["response_types_supported"], json!(["code"]), "{form}");
        assert_eq!(
            document["authorization_response_iss_parameter_supported"],
            json!(true),
            "{form}"
        );
        assert_eq!(
            document["client_id_metadata_document_supported"],
            json!(true),
            "{form}"
        );
        for (member, value) in document.as_object().cloned().unwrap_or_default() {
            let Some(url) = value
                .as_str()
                .filter(|_| member.ends_with("_endpoint") || member.ends_with("_uri"))
            else {
                continue;
            };
            let status = Request::get(url).send().await?.status;
            assert!(
                status != 404,
                "{member} is advertised at {url} and answers {status}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_access_token_is_rfc_9068_and_short() -> Outcome {
    let running = demo().await?;
    let ready = running.ready();
    let tokens = portcullis_testkit::login(&running, "notes:read").await?;
    let header = part(&tokens.access_token, 0);
    assert_eq!(
        (text(&header, "/alg"), text(&header, "/typ")),
        ("ES256".to_owned(), "at+jwt".to_owned())
    );
    let claims = part(&tokens.access_token, 1);
    assert_eq!(text(&claims, "/iss"), ready.issuer);
    assert_eq!(claims["aud"], json!(ready.mcp_url));
    assert_eq!(text(&claims, "/client_id"), tokens.client.id);
    assert_eq!(text(&claims, "/scope"), "notes:read");
    assert!(!text(&claims, "/jti").is_empty() && !text(&claims, "/sub").is_empty());
    assert_eq!(
        claims["exp"].as_i64().unwrap_or_default() - claims["iat"].as_i64().unwrap_or_default(),
        300
    );
    assert_eq!(tokens.expires_in, 300);
    Ok(())
}

#[tokio::test]
async fn the_pages_need_no_script_cannot_be_framed_and_show_what_is_at_stake() -> Outcome {
    let running = demo().await?;
    let ready = running.ready();
    let found = login::discover(&ready.mcp_url).await?;
    let client = login::register(&found, REDIRECT).await?;
    let attempt = Attempt::new(&found, &client, "notes:read notes:write notes:irreversible")?;
    let mut browser = Browser::default();
    let at = url(&attempt.url);
    let mut page = browser.open(Request::get(&attempt.url), &at).await?;
    while (300..400).contains(&page.status) {
        page = browser
            .open(Request::get(at.join(page.header("location"))?.as_str()), &at)
            .await?;
    }
    let check = |page: &portcullis_testkit::Answer| {
        let policy = page.header("content-security-policy").to_owned();
        assert!(
            policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe-inline"), "{policy}");
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert_eq!(page.header("cache-control"), "no-store");
        assert!(!page.text().contains("<script") && !page.text().contains(" onclick"));
    };
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("type=\"password\""));
    check(&page);

    // Sign in with the form as it is, then look at the consent page.
    let consent = browser
        .sign_in(
            &page,
            &at,
            &ready.user,
            ready.password.as_deref().unwrap_or_default(),
        )
        .await?;
    check(&consent);
    let shown = consent.text();
    for expected in [
        "Test client",
        "127.0.0.1",
        "list_notes",
        "add_note",
        "delete_all_notes",
        "read",
        "write",
        "irreversible",
    ] {
        assert!(
            shown.contains(expected),
            "the consent page does not show {expected:?}:\n{shown}"
        );
    }
    Ok(())
}

#[expect(
    clippy::expect_used,
    reason = "the URLs of these tests are written in them, or were just parsed"
)]
fn url(text: &str) -> ::url::Url {
    ::url::Url::parse(text).expect("a URL")
}

#[tokio::test]
async fn a_code_works_once_and_only_with_its_verifier() -> Outcome {
    let running = demo().await?;
    let found = login::discover(&running.ready().mcp_url).await?;
    let client = login::register(&found, REDIRECT).await?;

    let attempt = Attempt::new(&found, &client, "notes:read")?;
    let redirect = approve(&running, &attempt).await?;
    let tokens = attempt.redeem(&found, &redirect).await?;
    let again = attempt.redeem(&found, &redirect).await.unwrap_err().to_string();
    assert!(again.contains("invalid_grant"), "{again}");
    // The replay revokes what the code issued.
    let refused = tokens.refresh(&found).await.unwrap_err().to_string();
    assert!(refused.contains("invalid_grant"), "{refused}");

    let mut other = Attempt::new(&found, &client, "notes:read")?;
    let redirect = approve(&running, &other).await?;
    other.verifier = "another-verifier-another-verifier-another-verifier".to_owned();
    let wrong = other.redeem(&found, &redirect).await.unwrap_err().to_string();
    assert!(wrong.contains("invalid_grant"), "{wrong}");
    Ok(())
}

#[tokio::test]
async fn a_refresh_token_rotates_and_an_old_one_does_not_come_back() -> Outcome {
    let running = demo().await?;
    let found = login::discover(&running.ready().mcp_url).await?;
    let first = portcullis_testkit::login(&running, "notes:read").await?;
    let second = first.refresh(&found).await?;
    assert_ne!(first.refresh_token, second.refresh_token);
    let third = second.refresh(&found).await?;
    // Two generations back is no lost response: the family is revoked.
    let stolen = first.refresh(&found).await.unwrap_err().to_string();
    assert!(stolen.contains("invalid_grant"), "{stolen}");
    let victim = third.refresh(&found).await.unwrap_err().to_string();
    assert!(victim.contains("invalid_grant"), "{victim}");
    Ok(())
}

#[tokio::test]
async fn requests_that_must_not_redirect_do_not_and_the_rest_redirect_with_iss() -> Outcome {
    let running = demo().await?;
    let found = login::discover(&running.ready().mcp_url).await?;
    let client = login::register(&found, REDIRECT).await?;
    let good = Attempt::new(&found, &client, "notes:read")?.url;
    let change = |name: &str, value: Option<&str>| {
        let mut changed = url(&good);
        let pairs: Vec<(String, String)> = changed
            .query_pairs()
            .into_owned()
            .filter(|(key, _)| key != name)
            .collect();
        changed.query_pairs_mut().clear().extend_pairs(pairs);
        if let Some(value) = value {
            changed.query_pairs_mut().append_pair(name, value);
        }
        changed.to_string()
    };
    for (what, url) in [
        ("an unknown client", change("client_id", Some("nobody"))),
        (
            "another redirect",
            change("redirect_uri", Some("https://evil.example/cb")),
        ),
        (
            "a redirect that only begins alike",
            change("redirect_uri", Some("http://127.0.0.1:7777/callback.evil")),
        ),
        (
            "localhost for 127.0.0.1",
            change("redirect_uri", Some("http://localhost:7777/callback")),
        ),
        ("client_id twice", format!("{good}&client_id={}", client.id)),
    ] {
        let answer = Request::get(&url).header("accept", "text/html").send().await?;
        assert_eq!((answer.status, answer.header("location")), (400, ""), "{what}");
    }
    for (what, url, error) in [
        ("no PKCE", change("code_challenge", None), "invalid_request"),
        (
            "plain PKCE",
            change("code_challenge_method", Some("plain")),
            "invalid_request",
        ),
        (
            "an unknown resource",
            change("resource", Some("https://other.example/mcp")),
            "invalid_target",
        ),
        (
            "an unknown scope",
            change("scope", Some("other:read")),
            "invalid_scope",
        ),
        (
            "a token at once",
            change("response_type", Some("token")),
            "unsupported_response_type",
        ),
    ] {
        let answer = Request::get(&url).header("accept", "text/html").send().await?;
        let location = answer.header("location").to_owned();
        assert!(
            (300..400).contains(&answer.status) && location.starts_with(REDIRECT),
            "{what}: {} {location}",
            answer.status
        );
        assert!(
            location.contains(&format!("error={error}"))
                && location.contains("iss=http")
                && location.contains("state="),
            "{what}: {location}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_token_endpoint_refuses_by_name() -> Outcome {
    let running = demo().await?;
    let ready = running.ready();
    let token = format!("{}/token", ready.issuer);
    let (id, secret) = (
        ready.client_id.clone().unwrap_or_default(),
        ready.client_secret.clone().unwrap_or_default(),
    );
    let good = [
        ("grant_type", "client_credentials"),
        ("client_id", &id),
        ("client_secret", &secret),
        ("scope", "notes:read"),
        ("resource", &ready.mcp_url),
    ];
    let with = |name: &str, value: &str| -> Vec<(String, String)> {
        let rest = good
            .iter()
            .filter(|(key, _)| *key != name)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        rest.chain([(name.to_owned(), value.to_owned())]).collect()
    };
    for (what, form, status, error) in [
        (
            "an unknown client",
            with("client_id", "nobody"),
            401,
            "invalid_client",
        ),
        (
            "a wrong secret",
            with("client_secret", "wrong"),
            401,
            "invalid_client",
        ),
        (
            "an unknown grant",
            with("grant_type", "password"),
            400,
            "unsupported_grant_type",
        ),
        (
            "an unknown resource",
            with("resource", "https://other.example/mcp"),
            400,
            "invalid_target",
        ),
        (
            "a scope beyond the client's",
            with("scope", "notes:irreversible"),
            400,
            "invalid_scope",
        ),
    ] {
        let answer = Request::post(&token).form(form).send().await?;
        assert_eq!(
            (answer.status, text(&answer.json()?, "/error")),
            (status, error.to_owned()),
            "{what}"
        );
        assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    }
    let answer = Request::post(&token).form(good).send().await?;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    Ok(())
}

#[tokio::test]
async fn fifty_redemptions_at_once_give_one_token() -> Outcome {
    let running = demo().await?;
    let found = login::discover(&running.ready().mcp_url).await?;
    let client = login::register(&found, REDIRECT).await?;
    let attempt = Attempt::new(&found, &client, "notes:read")?;
    let redirect = approve(&running, &attempt).await?;
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let (attempt, found, redirect) = (attempt.clone(), found.clone(), redirect.clone());
        tasks.push(tokio::spawn(async move {
            attempt.redeem(&found, &redirect).await.is_ok()
        }));
    }
    let mut won = 0;
    for task in tasks {
        won += usize::from(task.await?);
    }
    assert_eq!(won, 1);
    Ok(())
}
