//! A gateway before a published MCP server, and an agent made of published clients.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_testkit::{Answer, Failure, Outcome, Request, Scratch, mcp};
use serde_json::{Value, json};

use crate::parts::{Part, Parts};

/// Longest wait for something that is to come: more than the half minute between two fetches of a key set.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// What the gateway shows the server behind it.
const OWN: &str = "the-gateways-own-credential";

/// Everything but the authorization server.
pub(crate) struct Stage {
    pub(crate) parts: Parts,
    pub(crate) agent: Part,
    /// The public key with which the agent shows who it is.
    pub(crate) key: Value,
    pub(crate) scratch: Scratch,
    upstream: Part,
    upstream_url: String,
    port: u16,
    gateway: Option<Gateway>,
}

/// A gateway that ends with the test, by its own id.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        // Gone already is as good.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Stage {
    /// `None` where the parts are missing and may be.
    pub(crate) async fn set() -> Outcome<Option<Self>> {
        let Some(parts) = Parts::find()? else {
            return Ok(None);
        };
        let (agent, said) = parts.start("agent.mjs", None).await?;
        let (upstream, serves) = parts.start("upstream.mjs", None).await?;
        let key = said.get("jwk").cloned().unwrap_or_default();
        Ok(Some(Self {
            parts,
            agent,
            key,
            scratch: Scratch::new("real-issuers")?,
            upstream,
            upstream_url: text(&serves, "/url"),
            port: free_port()?,
            gateway: None,
        }))
    }

    /// Where a server is. It is what its tokens are for.
    pub(crate) fn mcp(&self, server: &str) -> String {
        format!("http://127.0.0.1:{}/s/{server}/mcp", self.port)
    }

    /// Starts the gateway with these issuers and servers of these names, all of which are the one upstream.
    pub(crate) async fn open(&mut self, issuers: &str, servers: &[&str]) -> Outcome {
        let servers = servers.iter().map(|server| self.server(server, ""));
        let servers = servers.collect::<String>();
        self.serve(&format!("{issuers}\n{servers}")).await
    }

    /// A server in the configuration, with further lines.
    pub(crate) fn server(&self, name: &str, more: &str) -> String {
        format!(
            "[[servers]]\nname = \"{name}\"\nurl = \"{}\"\ncredential_env = \"OWN\"\n{more}\n[servers.tools.whoami]\neffect = \"read\"\nscopes = [\"crm:read\"]\n",
            self.upstream_url
        )
    }

    /// Starts the gateway with these lines besides its own.
    pub(crate) async fn serve(&mut self, lines: &str) -> Outcome {
        let folder = self.scratch.path();
        let url = format!("http://127.0.0.1:{}", self.port);
        let file = format!(
            "version = 1\n[gateway]\nlisten = \"127.0.0.1:{}\"\npublic_url = \"{url}\"\n{lines}\n[keys]\ndir = \"keys\"\nmaster_key_file = \"master.key\"\n[audit]\ndir = \"audit\"\n",
            self.port
        );
        fs::write(folder.join("gateway.toml"), file)?;
        private(&folder.join("gateway.secret"), "s3cr3t-s3cr3t-s3cr3t-s3cr3t\n")?;
        // The one before has to be gone: they share a port and a log.
        self.gateway = None;
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["gateway", "--config", "gateway.toml"])
            .current_dir(folder)
            .env("OWN", OWN)
            .stdin(Stdio::null())
            .spawn()?;
        let gateway = self.gateway.insert(Gateway(child));
        let deadline = Instant::now() + PATIENCE;
        while Request::get(&url).send().await.is_err() {
            let ended = gateway.0.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                return Err(Failure::new(format!("nothing serves at {url} ({ended:?})")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// An access token of the agent's for one resource, as `openid-client` gets it.
    pub(crate) async fn token(&mut self, issuer: &str, resource: &str) -> Outcome<String> {
        let task = json!({ "do": "token", "with": "openid-client", "issuer": issuer, "client_id": "agent", "resource": resource, "scope": "crm:read" });
        self.granted(&task, "bearer").await
    }

    /// One that is bound to the agent's key (RFC 9449).
    pub(crate) async fn bound(&mut self, issuer: &str, resource: &str) -> Outcome<String> {
        let task = json!({ "do": "token", "with": "openid-client", "issuer": issuer, "client_id": "agent", "resource": resource, "scope": "crm:read", "dpop": true });
        self.granted(&task, "dpop").await
    }

    /// Whatever token a task brings.
    pub(crate) async fn granted(&mut self, task: &Value, kind: &str) -> Outcome<String> {
        let answer = self.agent.ask(task).await?;
        assert_eq!(text(&answer, "/token_type"), kind, "{answer}");
        Ok(text(&answer, "/access_token"))
    }

    /// A proof that npm `dpop` made for a call at `server`.
    pub(crate) async fn proof(&mut self, server: &str, token: &str, nonce: Option<&str>) -> Outcome<String> {
        let htu = self.mcp(server);
        let task = json!({ "do": "proof", "htm": "POST", "htu": htu, "token": token, "nonce": nonce });
        Ok(text(&self.agent.ask(&task).await?, "/proof"))
    }

    /// Waits until proofs need no nonce, as they do for some seconds after a start.
    pub(crate) async fn settle(&mut self, server: &str, token: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let proof = self.proof(server, token, None).await?;
            // What it comes with is refused, and after the proof.
            let answer = self.call(server).dpop(token, &proof).body("{").send().await?;
            if answer.status != 401 {
                return Ok(());
            }
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("use_dpop_nonce"), "{challenge}");
            if Instant::now() > deadline {
                return Err(Failure::new("proofs go on needing a nonce"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A call of the one tool, without a credential.
    pub(crate) fn call(&self, server: &str) -> Request {
        mcp::call(&self.mcp(server), "whoami", &json!({}))
    }

    /// Sends what should go through: the server behind is called once, with the gateway's own credential and with nothing else.
    pub(crate) async fn passes(&mut self, request: Request) -> Outcome {
        let before = self.calls().await?;
        let answer = request.send().await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.check(&answer.text(), before + 1).await
    }

    /// What the tool said, and the server behind after it.
    pub(crate) async fn check(&mut self, answer: &str, calls: u64) -> Outcome {
        assert!(answer.contains("whoami"), "{answer}");
        let seen = self.upstream.ask(&json!({})).await?;
        assert_eq!(seen.get("calls"), Some(&json!(calls)), "{seen}");
        let shown = json!([format!("authorization: Bearer {OWN}")]);
        assert_eq!(
            seen.get("shown"),
            Some(&shown),
            "every credential that it ever saw"
        );
        Ok(())
    }

    /// Sends what should not: the status, and nothing for the server behind.
    pub(crate) async fn refused(&mut self, request: Request, status: u16) -> Outcome<Answer> {
        let before = self.calls().await?;
        let answer = request.send().await?;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(self.calls().await?, before, "the server behind heard of it");
        Ok(answer)
    }

    /// Sends a token that is not believed: 401, the error of RFC 6750 §3.1, and this reason on record.
    pub(crate) async fn not_believed(&mut self, server: &str, token: &str, reason: &str) -> Outcome {
        let answer = self.refused(self.call(server).bearer(token), 401).await?;
        let challenge = answer.header("www-authenticate");
        let is = challenge.starts_with("Bearer error=\"invalid_token\"")
            || challenge.starts_with("DPoP error=\"invalid_token\"");
        assert!(is, "{challenge}");
        assert!(challenge.contains("resource_metadata="), "{challenge}");
        assert_eq!(self.reasons()?.last().map(String::as_str), Some(reason));
        Ok(())
    }

    /// How often the server behind was called.
    pub(crate) async fn calls(&mut self) -> Outcome<u64> {
        let seen = self.upstream.ask(&json!({})).await?;
        Ok(seen.get("calls").and_then(Value::as_u64).unwrap_or_default())
    }

    /// The reasons on record for what was refused, in order.
    pub(crate) fn reasons(&self) -> Outcome<Vec<String>> {
        let ran = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["audit", "query", "--json", "--config", "gateway.toml"])
            .current_dir(self.scratch.path())
            .output()?;
        assert!(ran.status.success(), "{ran:?}");
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let records = said.lines().map(serde_json::from_str::<Value>);
        let refused = records
            .filter_map(Result::ok)
            .filter(|record| text(record, "/verdict") == "denied");
        Ok(refused.map(|record| text(&record, "/reason")).collect())
    }
}

/// Sends a request until it is answered with this status, which may take as long as something is remembered.
pub(crate) async fn until(request: &Request, status: u16) -> Outcome<Answer> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = request.clone().send().await?;
        if answer.status == status {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!(
                "{} for {PATIENCE:?}: {}",
                answer.status,
                answer.text()
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A file that its owner alone can read.
fn private(path: &Path, content: &str) -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, content)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

/// A port that is free now.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The text at a JSON Pointer, or an empty one.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
