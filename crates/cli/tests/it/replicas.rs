//! Two gateways behind one public URL that share a Redis: what was used at one is used at the other.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwk::{PublicJwk, SigningKey};
use portcullis_core::jose::jws::{TokenSigner as _, sign};
use portcullis_core::jose::{SignatureAlgorithm, base64url};
use portcullis_net::clock::{Clock as _, System};
use portcullis_testkit::{Answer, Failure, Outcome, Request, Scratch, Upstream, mcp};
use serde_json::{Value, json};

use crate::apart::{Server, free_ports, serves};

const ISSUER: &str = "https://as.example.test";

/// A `redis-server` that keeps nothing on disk.
struct Redis(Child);

impl Redis {
    fn start(folder: &Path, port: u16) -> Outcome<Self> {
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| Failure::from(error).during("redis-server"))?;
        Ok(Self(child))
    }

    fn stop(&mut self) -> Outcome {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn key(name: &str) -> Outcome<SigningKey> {
    let (key, _) = SigningKey::generate(kid(name)?, SignatureAlgorithm::Es256).map_err(failed)?;
    Ok(key)
}

fn kid(name: &str) -> Outcome<KeyId> {
    KeyId::parse(name).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// Seconds since 1970, a little later: of a proof of this very second nobody knows whether a log that starts in it was there.
fn soon() -> i64 {
    System.now().as_secs() + 2
}

/// An agent with a key and a token that is bound to it.
struct Agent {
    key: SigningKey,
    token: String,
    url: String,
}

impl Agent {
    fn new(issuer: &SigningKey, url: &str) -> Outcome<Self> {
        let key = key("agent")?;
        let now = System.now().as_secs();
        let claims = json!({
            "iss": ISSUER, "sub": "ada", "client_id": "agent-1", "aud": url, "scope": "crm:read", "jti": "token-1",
            "iat": now, "exp": now + 300, "cnf": {"jkt": key.public().thumbprint().to_string()},
        });
        let Value::Object(claims) = claims else {
            return Err(Failure::new("claims are an object"));
        };
        Ok(Self {
            token: sign(issuer, "at+jwt", &claims).map_err(failed)?,
            url: url.to_owned(),
            key,
        })
    }

    fn proof(&self, jti: &str) -> Outcome<String> {
        self.proof_of(jti, soon())
    }

    fn proof_of(&self, jti: &str, iat: i64) -> Outcome<String> {
        let jwk: serde_json::Map<String, Value> = (self.key.public().members().into_iter())
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let ath = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.token.as_bytes());
        let claims = json!({
            "jti": jti, "htm": "POST", "htu": self.url, "iat": iat, "ath": base64url::encode(ath),
        });
        let input = format!(
            "{}.{}",
            base64url::encode(header.to_string()),
            base64url::encode(claims.to_string())
        );
        let signature = self.key.sign(input.as_bytes()).map_err(failed)?;
        Ok(format!("{input}.{}", base64url::encode(signature)))
    }

    /// A call at the gateway on this port, under the public URL of both.
    fn call(&self, port: u16, proof: &str) -> impl Future<Output = Outcome<Answer>> + use<> {
        let host = self.url.trim_start_matches("http://").trim_end_matches("/mcp");
        mcp::call(&format!("http://127.0.0.1:{port}/mcp"), "find", &json!({}))
            .header("host", host)
            .header("authorization", format!("DPoP {}", self.token))
            .header("dpop", proof)
            .send()
    }
}

/// Until Redis is there, or is not.
async fn readiness(admin: u16, status: u16) -> Outcome<Answer> {
    for _ in 0..1_500 {
        let answer = Request::get(format!("http://127.0.0.1:{admin}/readyz"))
            .send()
            .await?;
        if answer.status == status {
            return Ok(answer);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Err(Failure::new(format!(
        "/readyz was not {status} within half a minute"
    )))
}

#[tokio::test]
async fn a_proof_is_used_once_at_all_gateways_that_share_a_redis() -> Outcome {
    let mut upstream = Upstream::start().await?;
    let scratch = Scratch::new("replicas")?;
    let [one, two, admin, other_admin, redis_port] = free_ports()?;
    let public = format!("http://127.0.0.1:{one}");
    let issuer = key("issuer")?;
    let jwk = PublicJwk {
        key: issuer.public().clone(),
        algorithm: SignatureAlgorithm::Es256.into(),
        kid: kid("issuer")?,
        chain: Vec::new(),
    };
    let mut redis = Redis::start(scratch.path(), redis_port)?;
    let mut gateways = Vec::new();
    for (port, admin) in [(one, admin), (two, other_admin)] {
        let folder = scratch.path().join(port.to_string());
        fs::create_dir(&folder)?;
        fs::write(
            folder.join("jwks.json"),
            json!({"keys": [jwk.to_json()]}).to_string(),
        )?;
        let file = format!(
            r#"version = 1
[gateway]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{admin}"
public_url = "{public}"
[[issuers]]
issuer = "{ISSUER}"
jwks_file = "jwks.json"
algorithms = ["ES256"]
[[servers]]
name = "crm"
url = "{upstream}"
[servers.tools.find]
effect = "read"
[ephemeral]
url = "redis://127.0.0.1:{redis_port}"
[keys]
dir = "keys"
master_key_file = "master.key"
[audit]
dir = "audit"
"#,
            upstream = upstream.url()
        );
        fs::write(folder.join("gateway.toml"), file)?;
        gateways.push(Server::start("gateway", &folder)?);
        serves(&format!("http://127.0.0.1:{admin}/healthz")).await?;
        readiness(admin, 200).await?;
    }
    let agent = Agent::new(&issuer, &format!("{public}/mcp"))?;

    for (first, then) in [(one, two), (two, one)] {
        let proof = agent.proof(&format!("first at {first}"))?;
        let call = tokio::spawn(agent.call(first, &proof));
        let heard = upstream.next().await?;
        heard.result(&json!({"content": [], "resultType": "complete"}))?;
        assert_eq!(call.await??.status, 200);
        for port in [then, first] {
            let replayed = agent.call(port, &proof).await?;
            assert_eq!(replayed.status, 401, "{}", replayed.text());
            assert!(
                replayed.header("www-authenticate").contains("invalid_dpop_proof"),
                "{}",
                replayed.header("www-authenticate")
            );
        }
    }
    for round in 0..10 {
        let proof = agent.proof(&format!("at both, {round}"))?;
        let calls = [one, two].map(|port| tokio::spawn(agent.call(port, &proof)));
        let heard = upstream.next().await?;
        heard.result(&json!({"content": [], "resultType": "complete"}))?;
        let mut statuses = Vec::new();
        for call in calls {
            statuses.push(call.await??.status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
    }

    // Nobody can say any more what was used: nothing is sent on, and the caller may come again.
    redis.stop()?;
    let why = readiness(admin, 503).await?;
    assert_eq!(why.text(), "replay.unreachable\n");
    let refused = agent.call(one, &agent.proof("while Redis is away")?).await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    assert!(upstream.pending().is_none());

    // It is back with nothing in it. A proof of before is not good any more; a new one is.
    let old = agent.proof_of("made before", System.now().as_secs())?;
    let _redis = Redis::start(scratch.path(), redis_port)?;
    readiness(admin, 200).await?;
    assert_eq!(agent.call(one, &old).await?.status, 401);
    let call = tokio::spawn(agent.call(one, &agent.proof("made after")?));
    let heard = upstream.next().await?;
    heard.result(&json!({"content": [], "resultType": "complete"}))?;
    assert_eq!(call.await??.status, 200);
    Ok(())
}
