//! Authlib, whose tokens are those of RFC 9068, and idpyoidc, whose tokens are not.

use std::fs;

use portcullis_testkit::{Outcome, Request};
use serde_json::{Value, json};

use crate::parts::Part;
use crate::stage::{Stage, free_port, text, until};

/// Its client with the published library that did not come with `oidc-provider`.
fn task(issuer: &str, resource: &str) -> Value {
    json!({ "do": "token", "with": "oauth4webapi", "issuer": issuer, "client_id": "agent", "resource": resource, "scope": "crm:read" })
}

async fn authlib(
    stage: &Stage,
    kid: &str,
    seconds: &[(&str, u64)],
    opaque: &[&str],
) -> Outcome<(Part, String)> {
    let seconds: serde_json::Map<_, _> = seconds
        .iter()
        .map(|(server, lives)| (stage.mcp(server), json!(lives)))
        .collect();
    let opaque: Vec<_> = opaque.iter().map(|server| stage.mcp(server)).collect();
    let config =
        json!({ "port": free_port()?, "kid": kid, "agent": stage.key, "seconds": seconds, "opaque": opaque });
    let (part, said) = stage.parts.start("authlib_server.py", Some(&config)).await?;
    Ok((part, text(&said, "/url")))
}

#[tokio::test]
async fn real_client_tokens_of_authlib_count_beside_those_of_another_issuer() -> Outcome {
    let Some(mut stage) = Stage::set().await? else {
        return Ok(());
    };
    // Two of them, with keys of one name; what the second one has are opaque tokens.
    let (_first, first) = authlib(&stage, "k", &[("crm", 300)], &[]).await?;
    let (second, other) = authlib(&stage, "k", &[("crm", 300), ("vault", 300)], &["vault"]).await?;
    let issuers = format!(
        "[[issuers]]\nissuer = \"{first}\"\nalgorithms = [\"ES256\"]\n[[issuers]]\nissuer = \"{other}\"\nalgorithms = [\"ES256\"]\nintrospection = {{ url = \"{other}/introspect\", client_id = \"gateway\", client_secret_file = \"gateway.secret\", cache = \"1s\" }}\n"
    );
    stage.open(&issuers, &["crm", "vault", "shop"]).await?;
    let (crm, vault, shop) = (stage.mcp("crm"), stage.mcp("vault"), stage.mcp("shop"));

    let token = stage.granted(&task(&first, &crm), "bearer").await?;
    stage.passes(stage.call("crm").bearer(&token)).await?;
    let others = stage.granted(&task(&other, &crm), "bearer").await?;
    stage.passes(stage.call("crm").bearer(&others)).await?;
    // CLM-13: for another resource, and for none: then it puts the client there.
    stage.not_believed("vault", &token, "token.audience").await?;
    let nowhere = stage.granted(&task(&first, ""), "bearer").await?;
    stage.not_believed("crm", &nowhere, "token.audience").await?;
    // CLM-07: where its author says nothing, its tokens live for ten days.
    let long = stage.granted(&task(&first, &shop), "bearer").await?;
    stage.not_believed("shop", &long, "token.lifetime").await?;
    // It binds no tokens, and one that is not bound needs no proof and gets none.
    let proof = stage.proof("crm", &token, None).await?;
    let answer = stage.refused(stage.call("crm").dpop(&token, &proof), 401).await?;
    assert!(
        answer
            .header("www-authenticate")
            .contains("error=\"invalid_token\"")
    );

    // Opaque ones, until they are revoked, and until nobody can say.
    let opaque = stage.granted(&task(&other, &vault), "bearer").await?;
    let call = stage.call("vault").bearer(&opaque);
    stage.passes(call.clone()).await?;
    stage.not_believed("crm", &opaque, "token.audience").await?;
    let revoke = json!({ "do": "revoke", "issuer": other, "token": opaque, "as": "oauth2" });
    stage.agent.ask(&revoke).await?;
    until(&call, 401).await?;
    stage.not_believed("vault", &opaque, "token.inactive").await?;
    let opaque = stage.granted(&task(&other, &vault), "bearer").await?;
    second.end().await?;
    let answer = stage.refused(stage.call("vault").bearer(&opaque), 503).await?;
    assert_eq!(answer.header("retry-after"), "5");
    // The keys that it published count for as long as they may.
    stage.passes(stage.call("crm").bearer(&others)).await?;
    stage.passes(stage.call("crm").bearer(&token)).await
}

/// Its client, by hand: the answer says `token_type: access_token`, which the published clients refuse to take.
async fn idpyoidc_token(issuer: &str) -> Outcome<String> {
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "crm:read"),
        ("client_id", "agent"),
    ];
    let answer = Request::post(format!("{issuer}/token"))
        .header("authorization", "Basic YWdlbnQ6YWdlbnQtc2VjcmV0")
        .form(form)
        .send()
        .await?
        .json()?;
    assert_eq!(text(&answer, "/token_type"), "access_token", "{answer}");
    Ok(text(&answer, "/access_token"))
}

#[tokio::test]
async fn real_client_clm_12_jws_43_tokens_of_idpyoidc_are_no_access_tokens_for_us() -> Outcome {
    let Some(mut stage) = Stage::set().await? else {
        return Ok(());
    };
    let folder = stage.scratch.path().join("idpyoidc");
    fs::create_dir(&folder)?;
    let crm = stage.mcp("crm");
    let config = json!({ "port": free_port()?, "folder": folder, "audience": [crm] });
    let (_part, said) = stage.parts.start("idpyoidc_server.py", Some(&config)).await?;
    let issuer = text(&said, "/url");
    let (_good, good) = authlib(&stage, "k", &[("crm", 300)], &[]).await?;
    let token = idpyoidc_token(&issuer).await?;
    let control = stage.granted(&task(&good, &crm), "bearer").await?;
    // As RFC 9068 has it: without a `typ` it could be anything that the issuer signs. Under a profile of tokens that have none it
    // still lacks the claim that tells them from ID tokens, and says for nobody that it is for us.
    for (profile, reason) in [
        ("rfc9068", "token.type"),
        ("okta", "token.claim-missing"),
        ("cognito", "token.type"),
    ] {
        let issuers = format!(
            "[[issuers]]\nissuer = \"{issuer}\"\nalgorithms = [\"ES256\"]\nprofile = \"{profile}\"\n[[issuers]]\nissuer = \"{good}\"\nalgorithms = [\"ES256\"]\n"
        );
        stage.open(&issuers, &["crm"]).await?;
        stage.passes(stage.call("crm").bearer(&control)).await?;
        stage.not_believed("crm", &token, reason).await?;
        stage.passes(stage.call("crm").bearer(&control)).await?;
    }
    Ok(())
}
