//! npm `oidc-provider`: access tokens as JWTs, opaque ones that it is asked about, and both bound to the agent's key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::try_join_all;
use portcullis_testkit::{Failure, Outcome};
use serde_json::{Map, Value, json};

use crate::parts::Part;
use crate::stage::{Stage, free_port, text, until};

/// The authorization server, with one resource for each server of the gateway.
pub(crate) struct As {
    part: Part,
    pub(crate) url: String,
}

/// A resource: the server, the algorithm of its tokens (none for opaque ones), and for how many seconds they are good.
pub(crate) type Resource<'a> = (&'a str, Option<&'a str>, u64);

impl As {
    /// Its keys have names that begin with `a`.
    pub(crate) async fn start(stage: &Stage, resources: &[Resource<'_>], more: &Value) -> Outcome<Self> {
        let port = free_port()?;
        let resources: Map<_, _> = resources
            .iter()
            .map(|(server, alg, seconds)| (stage.mcp(server), json!({ "alg": alg, "seconds": seconds })))
            .collect();
        let own = json!({ "port": port, "keys": "a", "agent": stage.key, "resources": resources });
        let members = [&own, more].into_iter().filter_map(Value::as_object).flatten();
        let config: Map<_, _> = members
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let config = Value::Object(config);
        let (part, said) = stage.parts.start("oidc-provider.mjs", Some(&config)).await?;
        let scheme = if more.get("tls").is_some() {
            "https"
        } else {
            "http"
        };
        let at = format!("{scheme}://localhost:{port}");
        let url = text(&said, "/url");
        assert_eq!(url, config.get("issuer").and_then(Value::as_str).unwrap_or(&at));
        Ok(Self { part, url })
    }

    /// Its part of the gateway's configuration.
    pub(crate) fn trusted(&self, more: &str) -> String {
        format!(
            "[[issuers]]\nissuer = \"{}\"\nalgorithms = [\"ES256\", \"RS256\", \"EdDSA\"]\n{more}\n",
            self.url
        )
    }

    /// The same, and it is asked about opaque tokens, whose answers count for one second.
    fn asked(&self) -> String {
        let url = format!("{}/token/introspection", self.url);
        self.trusted(&format!(
            "introspection = {{ url = \"{url}\", client_id = \"gateway\", client_secret_file = \"gateway.secret\", cache = \"1s\", without_sub = \"client\" }}"
        ))
    }

    /// How often `what` was fetched from it.
    async fn count(&mut self, what: &str) -> Outcome<u64> {
        let counts = self.part.ask(&json!({ "do": "count" })).await?;
        Ok(counts.get(what).and_then(Value::as_u64).unwrap_or_default())
    }
}

#[tokio::test]
async fn real_client_tokens_of_oidc_provider_count_where_they_are_for() -> Outcome {
    let Some(mut stage) = Stage::set().await? else {
        return Ok(());
    };
    let servers = ["es", "rs", "ed", "short"];
    let resources = [
        ("es", Some("ES256"), 600),
        ("rs", Some("RS256"), 600),
        ("ed", Some("EdDSA"), 600),
        ("short", Some("ES256"), 4),
    ];
    // What it has is OpenID Connect Discovery; a client that knows RFC 8414 alone does not find it.
    let server = As::start(&stage, &resources, &json!({ "openid": true })).await?;
    let metadata = json!({ "do": "metadata", "issuer": server.url, "as": "oauth2" });
    assert!(stage.agent.tell(&metadata).await?.get("refused").is_some());
    stage
        .open(&server.trusted("clock_skew = \"1s\""), &servers)
        .await?;

    let mut tokens = Vec::new();
    for server_name in ["es", "rs", "ed"] {
        let resource = stage.mcp(server_name);
        let token = stage.token(&server.url, &resource).await?;
        stage.passes(stage.call(server_name).bearer(&token)).await?;
        tokens.push(token);
    }
    let [es, rs, _] = tokens.as_slice() else {
        return Ok(());
    };
    // CLM-13: a token for another server of the same gateway, both ways.
    stage.not_believed("rs", es, "token.audience").await?;
    stage.not_believed("es", rs, "token.audience").await?;

    // Whoever calls itself by the issuer's name and has keys of the same names, but not those keys.
    let port = free_port()?;
    let config = json!({ "issuer": server.url, "port": port });
    let _forger = As::start(&stage, &resources, &config).await?;
    let task = json!({
        "do": "token", "with": "oauth4webapi", "issuer": server.url, "at": format!("http://localhost:{port}"),
        "client_id": "agent", "resource": stage.mcp("es"), "scope": "crm:read",
    });
    let forged = stage.granted(&task, "bearer").await?;
    stage.not_believed("es", &forged, "token.signature").await?;

    // CLM-01: for as long as it says and no longer.
    let resource = stage.mcp("short");
    let short = stage.token(&server.url, &resource).await?;
    let call = stage.call("short").bearer(&short);
    stage.passes(call.clone()).await?;
    until(&call, 401).await?;
    stage.not_believed("short", &short, "token.expired").await?;
    stage.passes(stage.call("es").bearer(es)).await
}

/// The same token, of a key that has this name.
fn renamed(token: &str, kid: &str) -> Outcome<String> {
    let (header, rest) = token
        .split_once('.')
        .ok_or_else(|| Failure::new("it is no JWS"))?;
    let header = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|error| Failure::new(error.to_string()))?;
    let mut header: Map<String, Value> = serde_json::from_slice(&header)?;
    header.insert("kid".to_owned(), kid.into());
    let header = URL_SAFE_NO_PAD.encode(Value::Object(header).to_string());
    Ok(format!("{header}.{rest}"))
}

#[tokio::test]
async fn real_client_keys_of_oidc_provider_change_while_the_gateway_runs() -> Outcome {
    let Some(mut stage) = Stage::set().await? else {
        return Ok(());
    };
    let mut server = As::start(&stage, &[("crm", Some("ES256"), 600)], &json!({})).await?;
    stage.open(&server.trusted(""), &["crm"]).await?;
    let resource = stage.mcp("crm");
    let before = stage.token(&server.url, &resource).await?;
    stage.passes(stage.call("crm").bearer(&before)).await?;
    assert_eq!(server.count("jwks").await?, 1);

    // JWK-12: a key that the gateway never saw makes it ask once, however many tokens name it, and however often.
    server.part.ask(&json!({ "do": "rotate", "keys": "b" })).await?;
    let after = stage.token(&server.url, &resource).await?;
    let call = stage.call("crm").bearer(&after);
    try_join_all((0..4).map(|_| until(&call, 200))).await?;
    assert_eq!(server.count("jwks").await?, 2);
    // Names that nobody ever published make it ask no more often.
    for number in 0..20 {
        let unknown = renamed(&after, &format!("nobody-{number}"))?;
        let answer = stage.refused(stage.call("crm").bearer(&unknown), 401).await?;
        assert!(
            answer
                .header("www-authenticate")
                .contains("error=\"invalid_token\"")
        );
    }
    assert_eq!(server.count("jwks").await?, 2);
    // JWS-48: what the old key signed is worth nothing any more, though it was accepted a moment before.
    stage.not_believed("crm", &before, "token.key-unknown").await?;

    // JWK-13: the last good set goes on when nobody answers.
    server.part.end().await?;
    stage.passes(stage.call("crm").bearer(&after)).await
}

#[tokio::test]
async fn real_client_bound_tokens_of_oidc_provider_need_their_proof() -> Outcome {
    let Some(mut stage) = Stage::set().await? else {
        return Ok(());
    };
    let resources = [("crm", Some("ES256"), 600), ("vault", Some("ES256"), 600)];
    // Its own nonces are one thing, the gateway's another.
    let server = As::start(&stage, &resources, &json!({ "nonce": true })).await?;
    let servers = stage.server("crm", "")
        + &stage.server(
            "vault",
            "[servers.dpop]\nrequired = \"always\"\nnonce = \"always\"",
        );
    stage.serve(&(server.trusted("") + &servers)).await?;
    let (crm, vault) = (stage.mcp("crm"), stage.mcp("vault"));
    let (bound, plain) = (
        stage.bound(&server.url, &crm).await?,
        stage.token(&server.url, &crm).await?,
    );

    // As the published client does it: with one proof for each request, and one more where a nonce is asked for.
    let sends = |at: &str, token: &str| {
        json!({
            "do": "call", "url": at, "token": token,
            "headers": {
                "content-type": "application/json", "accept": "application/json, text/event-stream",
                "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "whoami",
            },
            "body": {
                "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": { "name": "whoami", "arguments": {}, "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "io.modelcontextprotocol/clientInfo": { "name": "agent", "version": "1" },
                } },
            },
        })
    };
    let bound_at_vault = stage.bound(&server.url, &vault).await?;
    stage.settle("crm", &bound).await?;
    for (at, token, proofs) in [(&vault, &bound_at_vault, 2), (&crm, &bound, 1)] {
        let calls = stage.calls().await?;
        let answer = stage.agent.ask(&sends(at, token)).await?;
        assert_eq!(answer.get("status"), Some(&json!(200)), "{answer}");
        assert_eq!(answer.get("proofs"), Some(&json!(proofs)), "{answer}");
        stage.check(&text(&answer, "/text"), calls + 1).await?;
    }

    // DPOP-01: the bound token as a bearer token, and a bearer token as one that is bound.
    let is = |challenge: &str, error: &str| {
        assert!(
            challenge.starts_with(&format!("DPoP error=\"{error}\"")),
            "{challenge}"
        );
        assert!(challenge.contains("algs=\"ES256 "), "{challenge}");
    };
    let answer = stage.refused(stage.call("crm").bearer(&bound), 401).await?;
    is(answer.header("www-authenticate"), "invalid_token");
    let proof = stage.proof("crm", &plain, None).await?;
    let answer = stage.refused(stage.call("crm").dpop(&plain, &proof), 401).await?;
    assert!(
        answer
            .header("www-authenticate")
            .contains("error=\"invalid_token\""),
        "{}",
        answer.header("www-authenticate")
    );
    // A server that takes bound tokens alone.
    let plain_at_vault = stage.token(&server.url, &vault).await?;
    let answer = stage
        .refused(stage.call("vault").bearer(&plain_at_vault), 401)
        .await?;
    is(answer.header("www-authenticate"), "invalid_token");

    // DPOP-13, DPOP-18: a proof is for one use, and for one token.
    let proof = stage.proof("crm", &bound, None).await?;
    let call = stage.call("crm").dpop(&bound, &proof);
    stage.passes(call.clone()).await?;
    let answer = stage.refused(call, 401).await?;
    is(answer.header("www-authenticate"), "invalid_dpop_proof");
    let other = stage.proof("crm", &plain, None).await?;
    let answer = stage.refused(stage.call("crm").dpop(&bound, &other), 401).await?;
    is(answer.header("www-authenticate"), "invalid_dpop_proof");

    // DPOP-19: the round for a nonce, step by step.
    let proof = stage.proof("vault", &bound_at_vault, None).await?;
    let answer = stage
        .refused(stage.call("vault").dpop(&bound_at_vault, &proof), 401)
        .await?;
    is(answer.header("www-authenticate"), "use_dpop_nonce");
    let proof = stage
        .proof("vault", &bound_at_vault, Some(answer.header("dpop-nonce")))
        .await?;
    stage
        .passes(stage.call("vault").dpop(&bound_at_vault, &proof))
        .await
}

#[tokio::test]
async fn real_client_opaque_tokens_of_oidc_provider_are_worth_what_it_says() -> Outcome {
    let Some(mut stage) = Stage::set().await? else {
        return Ok(());
    };
    let resources = [("crm", None, 600), ("vault", None, 600)];
    let mut server = As::start(&stage, &resources, &json!({})).await?;
    stage.open(&server.asked(), &["crm", "vault"]).await?;
    let (crm, vault) = (stage.mcp("crm"), stage.mcp("vault"));
    let token = stage.token(&server.url, &crm).await?;
    assert!(!token.contains('.'), "it is no JWS");
    let call = stage.call("crm").bearer(&token);
    stage.passes(call.clone()).await?;
    assert_eq!(server.count("asked").await?, 1);
    // For another server, and for nobody.
    let elsewhere = stage.token(&server.url, &vault).await?;
    stage.not_believed("crm", &elsewhere, "token.audience").await?;
    stage
        .not_believed("crm", "nobody-ever-gave-this-out", "token.inactive")
        .await?;

    // A bound one: what it is bound to is in the answer, and its proof is checked as that of a JWT.
    let bound = stage.bound(&server.url, &crm).await?;
    stage.settle("crm", &bound).await?;
    let proof = stage.proof("crm", &bound, None).await?;
    stage.passes(stage.call("crm").dpop(&bound, &proof)).await?;
    let answer = stage.refused(stage.call("crm").bearer(&bound), 401).await?;
    assert!(
        answer
            .header("www-authenticate")
            .starts_with("DPoP error=\"invalid_token\"")
    );

    // What is revoked is refused once the answer that said otherwise does not count any more.
    let revoke = json!({ "do": "revoke", "issuer": server.url, "token": token });
    stage.agent.ask(&revoke).await?;
    until(&call, 401).await?;
    stage.not_believed("crm", &token, "token.inactive").await?;
    stage.passes(stage.call("vault").bearer(&elsewhere)).await?;

    // RS-32: nobody can say whether it is good, so it is not accepted, and the client is told to come again.
    server.part.end().await?;
    let call = stage.call("vault").bearer(&elsewhere);
    let answer = until(&call, 503).await?;
    assert_eq!(answer.header("retry-after"), "5");
    let answer = stage.refused(call, 503).await?;
    assert_eq!(
        text(&answer.json()?, "/error/data/reason"),
        "issuer.introspection-unavailable"
    );
    Ok(())
}
