//! A gateway that has TLS itself, in front of two servers, with an issuer of the test's own: the scene of the tests about TLS,
//! client certificates and workloads.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use portcullis_testkit::proofs::{Key, now};
use portcullis_testkit::tls::{Ca, Client};
use portcullis_testkit::{Answer, Failure, Outcome, Request, Scratch, Upstream, mcp};
use serde_json::{Value, json};

use crate::apart::{Server, free_ports};

pub(crate) const ISSUER: &str = "https://issuer.example";

pub(crate) struct Scene {
    pub(crate) scratch: Scratch,
    gateway: Option<Server>,
    /// `https://localhost:PORT`.
    pub(crate) url: String,
    pub(crate) upstream: Upstream,
    pub(crate) issuer: Key,
    /// What vouches for the gateway.
    pub(crate) ca: Ca,
    /// A client without a certificate.
    pub(crate) client: Client,
}

/// What a configuration has besides the scene's own: whole sections, and such of the server `vault`.
#[derive(Default)]
pub(crate) struct More {
    pub(crate) sections: String,
    pub(crate) of_vault: String,
}

impl Scene {
    /// With files that the test puts into the folder first.
    pub(crate) async fn new(name: &str, more: impl FnOnce(&Path) -> Outcome<More>) -> Outcome<Self> {
        let scratch = Scratch::new(name)?;
        let folder = scratch.path();
        let (upstream, issuer, ca) = (Upstream::start().await?, Key::generate()?, Ca::new("gateways")?);
        ca.server()?.write(folder, "gateway")?;
        let mut jwk = issuer.jwk();
        for (name, value) in [("kid", "k"), ("use", "sig"), ("alg", "ES256")] {
            crate::dpop::set(&mut jwk, name, value.into());
        }
        fs::write(folder.join("issuer.json"), json!({"keys": [jwk]}).to_string())?;
        let [port] = free_ports()?;
        let (url, More { sections, of_vault }) = (format!("https://localhost:{port}"), more(folder)?);
        let file = format!(
            r#"version = 1
[gateway]
listen = "127.0.0.1:{port}"
public_url = "{url}"
[gateway.tls]
certificate_file = "gateway.pem"
key_file = "gateway.key"
[[issuers]]
issuer = "{ISSUER}"
jwks_file = "issuer.json"
algorithms = ["ES256"]
[[servers]]
name = "crm"
url = "{0}"
unlisted = "read"
[[servers]]
name = "vault"
url = "{0}"
unlisted = "read"
{of_vault}
[keys]
dir = "keys"
master_key_file = "master.key"
[audit]
dir = "audit"
{sections}
"#,
            upstream.url()
        );
        fs::write(folder.join("gateway.toml"), file)?;
        let mut scene = Self {
            client: Client::trusting(&ca)?,
            scratch,
            gateway: None,
            url,
            upstream,
            issuer,
            ca,
        };
        scene.start().await?;
        Ok(scene)
    }

    /// Starts the gateway, after the one before is gone.
    pub(crate) async fn start(&mut self) -> Outcome {
        self.gateway = None;
        self.gateway = Some(Server::start("gateway", self.scratch.path())?);
        serves(&self.url, &self.client).await
    }

    /// Ends the gateway.
    pub(crate) fn stop(&mut self) {
        self.gateway = None;
    }

    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn mcp(&self, server: &str) -> String {
        format!("{}/s/{server}/mcp", self.url)
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn at(&self) -> String {
        self.url.replace("https://localhost", "127.0.0.1")
    }

    pub(crate) fn claims(&self, server: &str, cnf: &Value) -> Value {
        let (resource, scope) = (self.mcp(server), format!("{server}:read"));
        let mut claims = json!({
            "iss": ISSUER, "sub": "ada", "client_id": "agent", "aud": resource, "scope": scope, "jti": "t-1",
            "iat": now(), "exp": now() + 300,
        });
        if !cnf.is_null() {
            crate::dpop::set(&mut claims, "cnf", cnf.clone());
        }
        claims
    }

    /// An access token, bound to what `cnf` says.
    pub(crate) fn token(&self, server: &str, cnf: &Value) -> Outcome<String> {
        let header = json!({"typ": "at+jwt", "kid": "k"});
        self.issuer.sign(&header, &self.claims(server, cnf))
    }

    pub(crate) fn call(&self, server: &str) -> Request {
        mcp::call(&self.mcp(server), "find", &json!({})).via(&self.client)
    }

    /// Sends what should go through, and gives the headers that the server behind heard.
    pub(crate) async fn passes(&mut self, request: Request) -> Outcome<http::HeaderMap> {
        let call = tokio::spawn(request.send());
        let heard = tokio::select! {
            heard = self.upstream.next() => heard?,
            // Whatever else is said before the server behind hears of it is a refusal.
            () = tokio::time::sleep(Duration::from_secs(20)) => return Err(Failure::new(format!("{:?}", call.await?))),
        };
        let headers = heard.headers.clone();
        heard.result(&json!({"content": [], "resultType": "complete"}))?;
        let answer = call.await??;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Ok(headers)
    }

    /// Sends what may go through, and gives the answer.
    pub(crate) async fn answered(&mut self, request: Request) -> Outcome<Answer> {
        let mut call = tokio::spawn(request.send());
        tokio::select! {
            heard = self.upstream.next() => heard?.result(&json!({"content": [], "resultType": "complete"}))?,
            answer = &mut call => return answer?,
        }
        call.await?
    }

    /// Sends what should not, and gives the answer.
    pub(crate) async fn refused(&mut self, request: Request, status: u16) -> Outcome<Answer> {
        let answer = request.send().await?;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(self.upstream.pending().is_none(), "the server behind heard of it");
        Ok(answer)
    }

    /// What is said of a connection on which nothing is answered.
    pub(crate) async fn broken(&mut self, request: Request) -> Outcome<String> {
        match request.send().await {
            Ok(answer) => Err(Failure::new(format!(
                "an answer: {} {}",
                answer.status,
                answer.text()
            ))),
            Err(failure) => {
                assert!(self.upstream.pending().is_none(), "the server behind heard of it");
                Ok(failure.to_string())
            }
        }
    }

    /// The records of decisions, oldest first.
    pub(crate) fn decisions(&self) -> Outcome<Vec<Value>> {
        let file = self.folder().join("gateway.toml").display().to_string();
        let ran = crate::portcullis().run(["audit", "query", "--json", "--config", &file])?;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let records = ran.stdout.lines().map(serde_json::from_str::<Value>);
        let decisions = records.filter_map(Result::ok);
        Ok(decisions
            .filter(|record| crate::text(record, "/kind") == "decision")
            .collect())
    }

    /// The reasons of refusals, oldest first.
    pub(crate) fn reasons(&self) -> Outcome<Vec<String>> {
        let denied = self.decisions()?.into_iter();
        let denied = denied.filter(|record| crate::text(record, "/verdict") == "denied");
        Ok(denied.map(|record| crate::text(&record, "/reason")).collect())
    }
}

async fn serves(url: &str, client: &Client) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match Request::get(url).via(client).send().await {
            Ok(_) => return Ok(()),
            Err(failure) if Instant::now() > deadline => return Err(failure),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Runs a program that is not ours to its end, with nothing to read.
pub(crate) fn program(name: &str, arguments: &[&str], environment: &[(&str, &Path)]) -> Outcome<Output> {
    let ran = Command::new(name)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output();
    ran.map_err(|error| Failure::new(format!("{name}: {error}")))
}
