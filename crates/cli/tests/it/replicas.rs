//! Two gateways behind one public URL that share a Redis: what was used at one is used at the other.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use portcullis_core::ids::{ClientId, Issuer, KeyId, Principal, ResourceUri, ServerName, Subject, ToolName};
use portcullis_core::jose::jwe::{ContentEncryption, KeyManagement, PayloadOpener as _, recipient_of};
use portcullis_core::jose::jwk::{
    DecryptionKey, DecryptionKind, KeyAlgorithm, PublicJwk, PublicKey, SigningKey,
};
use portcullis_core::jose::jws::{TokenSigner as _, sign};
use portcullis_core::jose::{SignatureAlgorithm, base64url};
use portcullis_core::seal::{self, CallId, MessageId, NestedSealer, Parties, Pointers};
use portcullis_core::time::UnixTime;
use portcullis_net::clock::{Clock as _, System};
use portcullis_net::random;
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

/// The issuer's key, and what is published of it.
fn issuer() -> Outcome<(SigningKey, PublicJwk)> {
    let issuer = key("issuer")?;
    let jwk = PublicJwk {
        key: issuer.public().clone(),
        algorithm: SignatureAlgorithm::Es256.into(),
        kid: kid("issuer")?,
        chain: Vec::new(),
    };
    Ok((issuer, jwk))
}

fn kid(name: &str) -> Outcome<KeyId> {
    KeyId::parse(name).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// Seconds since 1970, as much later as clocks may be ahead: of a proof of this very second nobody knows whether a log that starts
/// in it was there.
fn soon() -> i64 {
    System.now().as_secs() + 5
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

    /// Waits until such proofs need no nonce.
    async fn settle(&self, port: u16) -> Outcome {
        for round in 0..100 {
            let proof = self.proof(&format!("settling {round}"))?;
            // What it comes with is refused, and after the proof.
            let answer = self.request(port, &proof).body("{").send().await?;
            if answer.status != 401 {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Err(Failure::new("proofs go on needing a nonce"))
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
        self.request(port, proof).send()
    }

    fn request(&self, port: u16, proof: &str) -> Request {
        let host = self.url.trim_start_matches("http://").trim_end_matches("/mcp");
        mcp::call(&format!("http://127.0.0.1:{port}/mcp"), "find", &json!({}))
            .header("host", host)
            .header("authorization", format!("DPoP {}", self.token))
            .header("dpop", proof)
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

/// Two gateways under the public URL of the first, each in a folder of its own, with the same keys.
async fn start(
    scratch: &Scratch,
    ports: [(u16, u16); 2],
    redis: u16,
    issuer: &PublicJwk,
    upstream: &str,
) -> Outcome<Vec<Server>> {
    let [(public, _), _] = ports;
    let mut gateways = Vec::new();
    for (port, admin) in ports {
        let folder = scratch.path().join(port.to_string());
        fs::create_dir(&folder)?;
        fs::write(
            folder.join("jwks.json"),
            json!({"keys": [issuer.to_json()]}).to_string(),
        )?;
        let shelf = scratch.path().display();
        let file = format!(
            r#"version = 1
[gateway]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{admin}"
public_url = "http://127.0.0.1:{public}"
[[issuers]]
issuer = "{ISSUER}"
jwks_file = "jwks.json"
algorithms = ["ES256"]
[[servers]]
name = "crm"
url = "{upstream}"
[servers.tools.find]
effect = "read"
[servers.tools.pay]
effect = "read"
[servers.tools.pay.seal]
arguments = ["/card"]
[ephemeral]
url = "redis://127.0.0.1:{redis}"
[keys]
dir = "{shelf}/keys"
master_key_file = "{shelf}/master.key"
[audit]
dir = "audit"
"#
        );
        fs::write(folder.join("gateway.toml"), file)?;
        gateways.push(Server::start("gateway", &folder)?);
        serves(&format!("http://127.0.0.1:{admin}/healthz")).await?;
        readiness(admin, 200).await?;
    }
    Ok(gateways)
}

#[tokio::test]
async fn a_proof_is_used_once_at_all_gateways_that_share_a_redis() -> Outcome {
    let mut upstream = Upstream::start().await?;
    let scratch = Scratch::new("replicas")?;
    let [one, two, admin, other_admin, redis_port] = free_ports()?;
    let public = format!("http://127.0.0.1:{one}");
    let (issuer, jwk) = issuer()?;
    let mut redis = Redis::start(scratch.path(), redis_port)?;
    let _gateways = start(
        &scratch,
        [(one, admin), (two, other_admin)],
        redis_port,
        &jwk,
        upstream.url(),
    )
    .await?;
    let agent = Agent::new(&issuer, &format!("{public}/mcp"))?;
    agent.settle(one).await?;

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
    agent.settle(one).await?;
    let call = tokio::spawn(agent.call(one, &agent.proof("made after")?));
    let heard = upstream.next().await?;
    heard.result(&json!({"content": [], "resultType": "complete"}))?;
    assert_eq!(call.await??.status, 200);
    Ok(())
}

fn public_jwk(key: &PublicKey, algorithm: KeyAlgorithm, kid: &KeyId) -> Value {
    let jwk = PublicJwk {
        key: key.clone(),
        algorithm,
        kid: kid.clone(),
        chain: Vec::new(),
    };
    Value::Object(jwk.to_json())
}

/// A call of `pay` with its card sealed for the gateway, whose keys are these.
fn sealed_call(agent: &SigningKey, opening: &DecryptionKey, jwks: &[u8], public: &str) -> Outcome<Value> {
    let message = MessageId::new(&random::System).map_err(failed)?;
    let call = seal::Call {
        parties: Parties {
            principal: Principal {
                issuer: Issuer::parse(ISSUER).map_err(failed)?,
                subject: Subject::parse("ada").map_err(failed)?,
                client: ClientId::parse("agent-1").map_err(failed)?,
            },
            gateway: Issuer::parse(public).map_err(failed)?,
            resource: ResourceUri::parse(&format!("{public}/mcp")).map_err(failed)?,
            server: ServerName::parse("crm").map_err(failed)?,
        },
        tool: ToolName::parse("pay").map_err(failed)?,
        id: CallId::from_value(json!(7)).map_err(failed)?,
        message,
    };
    let recipient = recipient_of(jwks, None, None).map_err(failed)?;
    let mut sealer = NestedSealer {
        signer: agent,
        recipient: &recipient,
        encryption: ContentEncryption::A256Gcm,
        // Of this very second nobody knows whether a log that starts in it was there.
        now: UnixTime::from_secs(System.now().as_secs() + 2),
        random: &random::System,
    };
    let pointers = Pointers::parse(["/card"]).map_err(failed)?;
    let arguments = json!({"card": "4929-1111-2222-3333"});
    let (arguments, _) = seal::seal_arguments(arguments, &pointers, call, &mut sealer).map_err(failed)?;
    let keys = [
        public_jwk(agent.public(), SignatureAlgorithm::Es256.into(), agent.kid()),
        public_jwk(opening.public(), KeyManagement::EcdhEs.into(), opening.kid()),
    ];
    Ok(
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "pay", "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": mcp::MODERN, "io.modelcontextprotocol/clientCapabilities": {},
            "dev.portcullis/sealed-fields": {"message": message.to_string(), "keys": keys},
        }}}),
    )
}

#[tokio::test]
async fn a_sealed_call_is_taken_once_by_all_gateways_that_share_a_redis() -> Outcome {
    let mut upstream = Upstream::start().await?;
    let scratch = Scratch::new("sealed-replicas")?;
    let [one, two, admin, other_admin, redis_port] = free_ports()?;
    let public = format!("http://127.0.0.1:{one}");
    let (issuer, jwk) = issuer()?;
    let _redis = Redis::start(scratch.path(), redis_port)?;
    let ports = [(one, admin), (two, other_admin)];
    let _gateways = start(&scratch, ports, redis_port, &jwk, upstream.url()).await?;
    let jwks = Request::get(format!("{public}/.well-known/jwks.json"))
        .send()
        .await?;
    let agent = key("agent-sig")?;
    let kind = DecryptionKind::X25519;
    let opening = DecryptionKey::generate(kid("agent-enc")?, KeyManagement::EcdhEs, kind, &random::System);
    let opening = opening.map_err(failed)?;
    let now = System.now().as_secs();
    let claims = json!({
        "iss": ISSUER, "sub": "ada", "client_id": "agent-1", "aud": format!("{public}/mcp"), "scope": "crm:read",
        "jti": "token-1", "iat": now, "exp": now + 300,
        "client_keys": {
            "sig": agent.public().thumbprint().to_string(), "enc": opening.public().thumbprint().to_string(),
        },
    });
    let token = sign(
        &issuer,
        "at+jwt",
        claims.as_object().ok_or_else(|| Failure::new("an object"))?,
    );
    let token = token.map_err(failed)?;
    let send = |port: u16, call: &Value| {
        mcp::post(&format!("http://127.0.0.1:{port}/mcp"), call)
            .header("host", public.trim_start_matches("http://"))
            .header("mcp-protocol-version", mcp::MODERN)
            .header("mcp-method", "tools/call")
            .header("mcp-name", "pay")
            .bearer(&token)
            .send()
    };
    for (first, then) in [(one, two), (two, one)] {
        let call = sealed_call(&agent, &opening, jwks.text().as_bytes(), &public)?;
        let sent = tokio::spawn(send(first, &call));
        let heard = upstream.next().await?;
        assert_eq!(
            heard.json()?["params"]["arguments"]["card"],
            "4929-1111-2222-3333"
        );
        heard.result(&json!({"content": [], "resultType": "complete"}))?;
        assert_eq!(sent.await??.status, 200);
        // Recorded on the way, and sent again to either.
        for port in [then, first] {
            let replayed = send(port, &call).await?;
            assert_eq!(replayed.status, 400, "{}", replayed.text());
            assert_eq!(replayed.json()?["error"]["data"]["reason"], "seal.replayed");
        }
        assert!(upstream.pending().is_none());
    }
    Ok(())
}
