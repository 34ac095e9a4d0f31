//! Tokens that are bound to a key, on the wire: an issuer of the test's own, `gateway --config`, and two servers, one of
//! which takes nothing else. The names are rows of the attack catalogue.

use std::fs;
use std::time::Duration;

use portcullis_testkit::proofs::{Key, now};
use portcullis_testkit::{Answer, Failure, Outcome, Request, Scratch, Upstream, mcp};
use serde_json::{Value, json};

use crate::apart::{Server, free_ports, serves};

const ISSUER: &str = "https://issuer.example";

struct Scene {
    scratch: Scratch,
    gateway: Option<Server>,
    url: String,
    upstream: Upstream,
    issuer: Key,
    agent: Key,
}

impl Scene {
    async fn new() -> Outcome<Self> {
        let scratch = Scratch::new("dpop")?;
        let (upstream, issuer) = (Upstream::start().await?, Key::generate()?);
        let mut jwk = issuer.jwk();
        for (name, value) in [("kid", "k"), ("use", "sig"), ("alg", "ES256")] {
            set(&mut jwk, name, value.into());
        }
        fs::write(
            scratch.path().join("issuer.json"),
            json!({"keys": [jwk]}).to_string(),
        )?;
        let [port] = free_ports()?;
        let url = format!("http://127.0.0.1:{port}");
        let file = format!(
            r#"version = 1
[gateway]
listen = "127.0.0.1:{port}"
public_url = "{url}"
[[issuers]]
issuer = "{ISSUER}"
jwks_file = "issuer.json"
algorithms = ["ES256"]
[[servers]]
name = "crm"
url = "{0}"
unlisted = "read"
[servers.tools.find]
effect = "read"
[servers.tools.find.seal]
arguments = ["/card"]
clear = "allow"
[[servers]]
name = "vault"
url = "{0}"
unlisted = "read"
[servers.dpop]
required = "always"
nonce = "always"
[keys]
dir = "keys"
master_key_file = "master.key"
[audit]
dir = "audit"
"#,
            upstream.url()
        );
        fs::write(scratch.path().join("gateway.toml"), file)?;
        let mut scene = Self {
            scratch,
            gateway: None,
            url,
            upstream,
            issuer,
            agent: Key::generate()?,
        };
        scene.start().await?;
        Ok(scene)
    }

    /// Starts the gateway, after the one before is gone.
    async fn start(&mut self) -> Outcome {
        self.gateway = None;
        self.gateway = Some(Server::start("gateway", self.scratch.path())?);
        serves(&self.url).await
    }

    fn mcp(&self, server: &str) -> String {
        format!("{}/s/{server}/mcp", self.url)
    }

    fn token(&self, server: &str, cnf: &Value) -> Outcome<String> {
        let (resource, scope) = (self.mcp(server), format!("{server}:read"));
        let mut claims = json!({
            "iss": ISSUER, "sub": "ada", "client_id": "agent", "aud": resource, "scope": scope, "jti": "t-1",
            "iat": now(), "exp": now() + 300,
        });
        if !cnf.is_null() {
            set(&mut claims, "cnf", cnf.clone());
        }
        self.issuer.sign(&json!({"typ": "at+jwt", "kid": "k"}), &claims)
    }

    fn bound(&self, server: &str) -> Outcome<String> {
        self.token(server, &json!({"jkt": self.agent.thumbprint()}))
    }

    fn call(&self, server: &str) -> Request {
        mcp::call(&self.mcp(server), "find", &json!({}))
    }

    /// Waits until proofs need no nonce. Those that may be from before the start do, by a clock that is five seconds ahead.
    async fn settle(&mut self, token: &str) -> Outcome {
        for _ in 0..100 {
            let proof = self.agent.proof(&self.mcp("crm"), token, &json!({}))?;
            // What it is sent with is refused, and after the proof.
            let answer = self.call("crm").dpop(token, &proof).body("{").send().await?;
            if answer.status != 401 {
                return Ok(());
            }
            assert!(
                is(answer.header("www-authenticate"), "use_dpop_nonce"),
                "{}",
                answer.text()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(Failure::new("proofs go on needing a nonce"))
    }

    /// Sends what should go through, and gives the answer and the headers that the server behind heard.
    async fn passes(&mut self, request: Request) -> Outcome<(Answer, http::HeaderMap)> {
        let call = tokio::spawn(request.send());
        let heard = self.upstream.next().await?;
        let headers = heard.headers.clone();
        heard.result(&json!({"content": [], "resultType": "complete"}))?;
        let answer = call.await??;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Ok((answer, headers))
    }

    /// Sends what should not, and gives its challenge.
    async fn refused(&mut self, request: Request) -> Outcome<String> {
        let answer = request.send().await?;
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(self.upstream.pending().is_none(), "the server behind heard of it");
        Ok(answer.header("www-authenticate").to_owned())
    }
}

pub(crate) fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn is(challenge: &str, error: &str) -> bool {
    challenge.starts_with(&format!("DPoP error=\"{error}\"")) && challenge.contains("algs=\"ES256 ")
}

#[tokio::test]
async fn a_bound_token_is_worth_its_proof_and_a_proof_one_call() -> Outcome {
    let mut scene = Scene::new().await?;
    let (token, mcp) = (scene.bound("crm")?, scene.mcp("crm"));
    scene.settle(&token).await?;
    let proof = scene.agent.proof(&mcp, &token, &json!({}))?;
    let proven = scene.call("crm").dpop(&token, &proof);
    let (_, heard) = scene.passes(proven.clone()).await?;
    for name in ["authorization", "dpop"] {
        assert!(!heard.contains_key(name), "{name} ends here");
    }

    // DPOP-13: the same proof again. DPOP-01, DPOP-03, DPOP-04: no proof, no proof, two.
    assert!(is(&scene.refused(proven.clone()).await?, "invalid_dpop_proof"));
    let bearer = scene.call("crm").bearer(&token);
    assert!(is(&scene.refused(bearer.clone()).await?, "invalid_token"));
    assert!(is(
        &scene.refused(bearer.header("dpop", &proof)).await?,
        "invalid_token"
    ));
    assert!(is(
        &scene.refused(proven.clone().without("dpop")).await?,
        "invalid_dpop_proof"
    ));
    let fresh = scene.agent.proof(&mcp, &token, &json!({}))?;
    let two = scene.call("crm").dpop(&token, &fresh).header("dpop", &fresh);
    assert!(is(&scene.refused(two).await?, "invalid_dpop_proof"));

    // DPOP-05: the proof of somebody who has the token and not the key.
    let stolen = Key::generate()?.proof(&mcp, &token, &json!({}))?;
    assert!(is(
        &scene.refused(scene.call("crm").dpop(&token, &stolen)).await?,
        "invalid_token"
    ));

    // DPOP-10, DPOP-11: the URL is the configured one, whatever is said of it on the way.
    for (htu, name, value) in [
        (scene.mcp("vault"), "x-more", "1"),
        (
            "https://mcp.example/s/crm/mcp".to_owned(),
            "x-forwarded-host",
            "mcp.example",
        ),
        (mcp.replace("127.0.0.1", "localhost"), "host", "localhost"),
    ] {
        let proof = scene.agent.proof(&htu, &token, &json!({}))?;
        let request = scene.call("crm").dpop(&token, &proof).header(name, value);
        assert!(is(&scene.refused(request).await?, "invalid_dpop_proof"), "{htu}");
    }
    let spelled = mcp.replace("http://", "HTTP://").replace("/s/", "/./s/") + "?a=b";
    let proof = scene.agent.proof(&spelled, &token, &json!({}))?;
    scene.passes(scene.call("crm").dpop(&token, &proof)).await?;

    // Sealed sessions are agreed on at an address of their own.
    let seal = format!("{mcp}/seal");
    for (htu, status) in [(&mcp, 401), (&seal, 400)] {
        let proof = scene.agent.proof(htu, &token, &json!({}))?;
        let answer = Request::post(&seal)
            .json(&json!({}))
            .dpop(&token, &proof)
            .send()
            .await?;
        assert_eq!(answer.status, status, "{}", answer.text());
    }

    // DPOP-13 after a restart: nobody knows whether it was used, so it is asked for one that was made since.
    scene.start().await?;
    let answer = proven.send().await?;
    assert!(
        is(answer.header("www-authenticate"), "use_dpop_nonce"),
        "{}",
        answer.text()
    );
    let nonce = json!({"nonce": answer.header("dpop-nonce")});
    let proof = scene.agent.proof(&mcp, &token, &nonce)?;
    scene.passes(scene.call("crm").dpop(&token, &proof)).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_says_what_it_takes_and_asks_for_its_nonce() -> Outcome {
    let mut scene = Scene::new().await?;
    for (server, first, required) in [
        ("crm", "Bearer resource_metadata=", Value::Null),
        ("vault", "DPoP resource_metadata=", json!(true)),
    ] {
        let challenge = scene.refused(scene.call(server)).await?;
        assert!(
            challenge.starts_with(first) && challenge.contains("DPoP "),
            "{challenge}"
        );
        let document = Request::get(format!(
            "{}/.well-known/oauth-protected-resource/s/{server}/mcp",
            scene.url
        ));
        let document = document.send().await?.json()?;
        assert_eq!(
            document["dpop_bound_access_tokens_required"], required,
            "{server}"
        );
        assert_eq!(
            document["dpop_signing_alg_values_supported"][0], "ES256",
            "{server}"
        );
    }
    let plain = scene.token("vault", &Value::Null)?;
    let bearer = scene.call("vault").bearer(&plain);
    assert!(is(&scene.refused(bearer).await?, "invalid_token"));

    // DPOP-19: as a client does it, with what each answer gives it for the next call.
    let (token, mcp) = (scene.bound("vault")?, scene.mcp("vault"));
    let mut nonce = Value::Null;
    for round in 0..3 {
        let claims = if nonce.is_null() {
            json!({})
        } else {
            json!({"nonce": nonce})
        };
        let proof = scene.agent.proof(&mcp, &token, &claims)?;
        let request = scene.call("vault").dpop(&token, &proof);
        let answer = if round == 0 {
            let answer = request.send().await?;
            assert!(
                is(answer.header("www-authenticate"), "use_dpop_nonce"),
                "{}",
                answer.text()
            );
            answer
        } else {
            scene.passes(request).await?.0
        };
        nonce = answer.header("dpop-nonce").into();
    }
    let made_up = json!({"nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"});
    let proof = scene.agent.proof(&mcp, &token, &made_up)?;
    assert!(is(
        &scene.refused(scene.call("vault").dpop(&token, &proof)).await?,
        "use_dpop_nonce"
    ));
    Ok(())
}
