//! What is revoked counts no more: at every gateway on the store, with warm caches, on open streams, and after a restart.

#![expect(
    clippy::indexing_slicing,
    reason = "there are two gateways, and what is not in a record fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::{PublicJwk, SigningKey};
use portcullis_core::jose::jws::sign;
use portcullis_net::clock::{Clock as _, System};
use portcullis_testkit::http::EventStream;
use portcullis_testkit::upstream::Feed;
use portcullis_testkit::{Answer, Failure, Outcome, Request, Scratch, Upstream, mcp};
use serde_json::{Value, json};

use crate::apart::{Server, free_ports, serves};
use crate::text;

pub(crate) const ISSUER: &str = "https://as.example.test";
/// Longer than any machine under load needs, and a test that hangs is one that fails.
const FOLLOWS: Duration = Duration::from_secs(30);

/// Two gateways behind one public URL, each in a folder of its own, on one store.
pub(crate) struct Replicas {
    scratch: Scratch,
    pub(crate) ports: [u16; 2],
    pub(crate) admins: [u16; 2],
    key: SigningKey,
    pub(crate) upstream: Upstream,
    servers: Vec<Option<Server>>,
}

impl Replicas {
    pub(crate) async fn start(name: &str) -> Outcome<Self> {
        Self::start_with(name, "").await
    }

    /// The same, with more about the issuer.
    pub(crate) async fn start_with(name: &str, issuer: &str) -> Outcome<Self> {
        let scratch = Scratch::new(name)?;
        let [one, two, admin, other] = free_ports()?;
        let kid = KeyId::parse("issuer").map_err(failed)?;
        let (key, _) = SigningKey::generate(kid.clone(), SignatureAlgorithm::Es256).map_err(failed)?;
        let jwk = PublicJwk {
            key: key.public().clone(),
            algorithm: SignatureAlgorithm::Es256.into(),
            kid,
            chain: Vec::new(),
        };
        let upstream = Upstream::start().await?;
        let mut replicas = Self {
            ports: [one, two],
            admins: [admin, other],
            key,
            upstream,
            servers: vec![None, None],
            scratch,
        };
        for index in 0..2 {
            let folder = replicas.folder(index);
            fs::create_dir(&folder)?;
            fs::write(
                folder.join("jwks.json"),
                json!({"keys": [jwk.to_json()]}).to_string(),
            )?;
            let shared = replicas.scratch.path().display().to_string();
            let file = format!(
                r#"version = 1
[gateway]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{admin}"
public_url = "http://127.0.0.1:{one}"
[[issuers]]
issuer = "{ISSUER}"
jwks_file = "jwks.json"
algorithms = ["ES256"]
clock_skew = "1s"
{issuer}
[[servers]]
name = "crm"
url = "{upstream}"
[servers.tools.find]
effect = "read"
[store]
url = "sqlite:../store.db"
[keys]
dir = "{shared}/keys"
master_key_file = "{shared}/master.key"
kept_in = "folder"
[audit]
dir = "audit"
"#,
                port = replicas.ports[index],
                admin = replicas.admins[index],
                upstream = replicas.upstream.url(),
            );
            fs::write(folder.join("gateway.toml"), file)?;
            replicas.run(index).await?;
        }
        Ok(replicas)
    }

    pub(crate) fn folder(&self, index: usize) -> PathBuf {
        self.scratch.path().join(format!("gateway-{index}"))
    }

    pub(crate) async fn run(&mut self, index: usize) -> Outcome {
        self.servers[index] = Some(Server::start("gateway", &self.folder(index))?);
        serves(&format!("http://127.0.0.1:{}/healthz", self.admins[index])).await
    }

    /// Ends one as `kill -9` does.
    pub(crate) fn kill(&mut self, index: usize) {
        self.servers[index] = None;
    }

    pub(crate) fn resource(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.ports[0])
    }

    /// A token, with these claims besides or instead.
    pub(crate) fn token(&self, change: &Value) -> Outcome<String> {
        let now = System.now().as_secs();
        let mut claims = json!({
            "iss": ISSUER, "sub": "ada", "client_id": "agent-1", "aud": self.resource(), "scope": "crm:read",
            "jti": "token-1", "iat": now - 5, "exp": now + 300,
        });
        let (Value::Object(claims), Value::Object(change)) = (&mut claims, change) else {
            return Err(Failure::new("claims are an object"));
        };
        for (name, value) in change {
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.clone(), value.clone());
            }
        }
        sign(&self.key, "at+jwt", claims).map_err(failed)
    }

    pub(crate) fn request(&self, index: usize, token: &str) -> Request {
        mcp::call(
            &format!("http://127.0.0.1:{}/mcp", self.ports[index]),
            "find",
            &json!({}),
        )
        .header("host", format!("127.0.0.1:{}", self.ports[0]))
        .bearer(token)
    }

    /// A call that the server gets and answers, or a refusal.
    pub(crate) async fn call(&mut self, index: usize, token: &str) -> Outcome<Answer> {
        let call = self.request(index, token).send();
        let mut call = tokio::spawn(call);
        tokio::select! {
            heard = self.upstream.next() => {
                heard?.result(&json!({"content": [], "resultType": "complete"}))?;
            }
            answer = &mut call => return answer?,
        }
        call.await?
    }

    pub(crate) async fn both_allow(&mut self, token: &str) -> Outcome {
        for index in 0..2 {
            let answer = self.call(index, token).await?;
            assert_eq!(answer.status, 200, "at {index}: {}", answer.text());
        }
        Ok(())
    }

    /// Waits until a gateway refuses the token, and says how long that took.
    pub(crate) async fn refused_at(&mut self, index: usize, token: &str) -> Outcome<(Answer, Duration)> {
        let began = Instant::now();
        while began.elapsed() < FOLLOWS {
            let answer = self.call(index, token).await?;
            if answer.status != 200 {
                return Ok((answer, began.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Failure::new(format!("gateway {index} still takes the token")))
    }

    pub(crate) fn registry(&self, args: &[&str]) -> Outcome<Value> {
        registry(&self.folder(0), args)
    }

    /// The records of revocations in the log of one gateway.
    pub(crate) fn recorded(&self, index: usize) -> Outcome<Vec<Value>> {
        recorded(&self.folder(index).join("audit"))
    }
}

/// `portcullis registry …`, with the configuration in this folder.
pub(crate) fn registry(folder: &Path, args: &[&str]) -> Outcome<Value> {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("registry")
        .args(args)
        .args(["--json", "--config", "gateway.toml"])
        .current_dir(folder)
        .output()?;
    if !out.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&out.stderr).into_owned()));
    }
    Ok(serde_json::from_slice(&out.stdout)?)
}

/// The records of revocations in an audit log, as they are in its files.
pub(crate) fn recorded(audit: &Path) -> Outcome<Vec<Value>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(audit)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("audit-") && name.ends_with(".jsonl") {
            for line in fs::read_to_string(path)?.lines() {
                let record: Value = serde_json::from_str(line)?;
                if record["kind"] == "revocation" {
                    found.push(record);
                }
            }
        }
    }
    Ok(found)
}

pub(crate) fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// The exact answer to a revoked token.
fn assert_invalid_token(answer: &Answer, reason: &str) -> Outcome {
    assert_eq!(answer.status, 401, "{}", answer.text());
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.starts_with(
            r#"Bearer error="invalid_token", error_description="the access token was revoked", resource_metadata=""#
        ),
        "{challenge}"
    );
    assert_eq!(text(&answer.json()?, "/error/data/reason"), reason);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jws_48_each_kind_of_revocation_is_followed_by_every_replica_with_warm_caches_and_survives_a_restart()
-> Outcome {
    let mut replicas = Replicas::start("revocation-kinds").await?;
    // Each row: what is revoked, a token that it concerns and one that it does not, and the answer.
    let rows = [
        (
            vec!["user", "user-1"],
            json!({"sub": "user-1", "jti": "u-1"}),
            json!({"sub": "user-4", "jti": "u-2"}),
            (401, "revoked.user-tokens"),
        ),
        (
            vec!["user", "user-2", "--until-lifted"],
            json!({"sub": "user-2", "jti": "s-1"}),
            json!({"sub": "user-3", "jti": "s-2"}),
            (403, "revoked.user"),
        ),
        (
            vec!["agent", "agent-2"],
            json!({"client_id": "agent-2", "jti": "a-1"}),
            json!({"client_id": "agent-3", "jti": "a-2"}),
            (403, "revoked.agent"),
        ),
        (
            vec!["agent", "agent-4", "--issued-so-far"],
            json!({"client_id": "agent-4", "jti": "i-1"}),
            json!({"client_id": "agent-5", "jti": "i-2"}),
            (401, "revoked.agent-tokens"),
        ),
        (
            vec!["grant", "grant-1"],
            json!({"grant_id": "grant-1", "jti": "g-1"}),
            json!({"grant_id": "grant-2", "jti": "g-2"}),
            (401, "revoked.grant"),
        ),
        (
            vec!["token", "--jti", "t-1"],
            json!({"jti": "t-1"}),
            json!({"jti": "t-2"}),
            (401, "revoked.token"),
        ),
    ];
    let mut checks = Vec::new();
    for (what, concerned, other, (status, reason)) in rows {
        let concerned = replicas.token(&concerned)?;
        replicas.both_allow(&concerned).await?;
        let other = replicas.token(&other)?;
        replicas.both_allow(&other).await?;
        let args: Vec<&str> = ["revoke"]
            .into_iter()
            .chain(what.iter().copied())
            .chain(["--reason", "a test"])
            .collect();
        let told = replicas.registry(&args)?;
        for index in 0..2 {
            let (answer, took) = replicas.refused_at(index, &concerned).await?;
            println!(
                "{what:?}: gateway {index} refused it {} ms after the command",
                took.as_millis()
            );
            if status == 401 {
                assert_invalid_token(&answer, reason)?;
            } else {
                assert_eq!(answer.status, status, "{}", answer.text());
                assert_eq!(answer.header("www-authenticate"), "");
                assert_eq!(text(&answer.json()?, "/error/data/reason"), reason);
            }
        }
        assert!(replicas.upstream.pending().is_none());
        replicas.both_allow(&other).await?;
        checks.push((concerned, status, reason, text(&told, "/id")));
    }
    // Of a user whose tokens were revoked, what is issued later counts.
    let later = loop {
        let token = replicas.token(&json!({"sub": "user-1", "jti": "u-3", "iat": System.now().as_secs()}))?;
        if replicas.call(0, &token).await?.status == 200 {
            break token;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // Both are gone at once, and know it when they are back.
    replicas.kill(0);
    replicas.kill(1);
    replicas.run(0).await?;
    replicas.run(1).await?;
    for (token, status, reason, id) in &checks {
        for index in 0..2 {
            let answer = replicas.call(index, token).await?;
            assert_eq!(
                (answer.status, text(&answer.json()?, "/error/data/reason")),
                (*status, (*reason).to_owned())
            );
            let records = replicas.recorded(index)?;
            let of_it = records.iter().filter(|record| record["id"] == json!(id));
            assert_eq!(of_it.count(), 1, "{reason} in the log of {index}");
        }
    }
    assert!(replicas.upstream.pending().is_none());
    let fresh = replicas.token(&json!({"sub": "user-9", "jti": "fresh"}))?;
    replicas.both_allow(&fresh).await?;
    replicas.both_allow(&later).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_revoked_takes_no_call_until_that_is_lifted_and_so_does_an_agent() -> Outcome {
    let mut replicas = Replicas::start("revocation-lift").await?;
    let token = replicas.token(&json!({}))?;
    for (what, reason) in [
        (["server", "crm"], "revoked.server"),
        (["agent", "agent-1"], "revoked.agent"),
    ] {
        replicas.both_allow(&token).await?;
        let told = replicas.registry(&["revoke", what[0], what[1], "--reason", "a test"])?;
        for index in 0..2 {
            let (answer, _) = replicas.refused_at(index, &token).await?;
            assert_eq!(answer.status, 403);
            assert_eq!(text(&answer.json()?, "/error/data/reason"), reason);
        }
        let listed = replicas.registry(&["list"])?;
        assert_eq!(listed[0]["id"], told["id"]);
        replicas.registry(&["lift", &text(&told, "/id"), "--reason", "it is over"])?;
        for index in 0..2 {
            let began = Instant::now();
            while replicas.call(index, &token).await?.status != 200 {
                assert!(began.elapsed() < FOLLOWS);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert_eq!(replicas.registry(&["list"])?, json!([]));
    }
    // What was issued is void for good, and names that nobody has are mistakes.
    let told = replicas.registry(&["revoke", "token", "--jti", "token-1", "--reason", "a test"])?;
    for (args, says) in [
        (
            vec!["lift", told["id"].as_str().unwrap_or_default()],
            "void for good",
        ),
        (vec!["lift", "nobody"], "there is no revocation"),
        (vec!["revoke", "server", "unknown"], "there is no server"),
        (
            vec!["revoke", "user", "ada", "--issuer", "https://other.example"],
            "is no issuer here",
        ),
    ] {
        let args: Vec<&str> = args.into_iter().chain(["--reason", "a test"]).collect();
        let refused = replicas.registry(&args).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jws_28_a_token_without_a_name_stays_revoked_with_another_signature_that_holds() -> Outcome {
    // Okta's profile requires `jti`; Auth0's tokens have none.
    let profile = "profile = \"auth0\"\nclient_claim = \"client_id\"";
    let mut replicas = Replicas::start_with("revocation-unnamed", profile).await?;
    let now = System.now().as_secs();
    let claims = json!({
        "iss": ISSUER, "sub": "ada", "client_id": "agent-1", "aud": replicas.resource(), "scope": "crm:read",
        "iat": now - 5, "exp": now + 300,
    });
    let Value::Object(claims) = claims else {
        return Err(Failure::new("claims are an object"));
    };
    let token = sign(&replicas.key, "JWT", &claims).map_err(failed)?;
    let twin = other_signature(&token)?;
    assert_ne!(token, twin);
    replicas.both_allow(&token).await?;
    replicas.both_allow(&twin).await?;
    // As the audit log names it: both by the same hash.
    let mut named = Vec::new();
    for entry in fs::read_dir(replicas.folder(0).join("audit"))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with("1.jsonl") {
            for line in fs::read_to_string(path)?.lines() {
                let record: Value = serde_json::from_str(line)?;
                if record["kind"] == "decision" {
                    named.push(text(&record, "/token"));
                }
            }
        }
    }
    assert_eq!(named.len(), 2);
    assert_eq!(named[0], named[1]);
    replicas.registry(&["revoke", "token", &named[0], "--reason", "a test"])?;
    for index in 0..2 {
        for token in [&token, &twin] {
            let (answer, _) = replicas.refused_at(index, token).await?;
            assert_invalid_token(&answer, "revoked.token")?;
        }
    }
    Ok(())
}

/// The same token with `s` replaced by `n - s` (P-256).
fn other_signature(token: &str) -> Outcome<String> {
    use portcullis_core::jose::base64url;
    let (signed, signature) = token.rsplit_once('.').ok_or_else(|| Failure::new("a JWS"))?;
    let signature = base64url::decode(signature).map_err(failed)?;
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut other = signature[..32].to_vec();
    let (mut borrow, mut difference) = (0_i16, [0_u8; 32]);
    for index in (0..32).rev() {
        let mut digit = i16::from(order[index]) - i16::from(signature[32 + index]) - borrow;
        borrow = i16::from(digit < 0);
        if digit < 0 {
            digit += 256;
        }
        difference[index] = u8::try_from(digit).map_err(failed)?;
    }
    other.extend(difference);
    Ok(format!("{signed}.{}", base64url::encode(other)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_on_record_once_though_the_gateways_were_killed_before_they_saw_it() -> Outcome {
    let mut replicas = Replicas::start("revocation-killed").await?;
    let token = replicas.token(&json!({}))?;
    replicas.both_allow(&token).await?;
    // Held by a running gateway, the log is not the command's to write; then the gateway dies.
    replicas.kill(0);
    let told = replicas.registry(&["revoke", "user", "ada", "--reason", "while away"])?;
    let (answer, _) = replicas.refused_at(1, &token).await?;
    assert_invalid_token(&answer, "revoked.user-tokens")?;
    let began = Instant::now();
    while !replicas.folder(1).join("audit/revocations.jsonl").is_file() {
        assert!(began.elapsed() < FOLLOWS);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    replicas.kill(1);
    // As if it had died between the record and the note of it.
    let ledger = replicas.folder(1).join("audit/revocations.jsonl");
    assert!(fs::read_to_string(&ledger)?.contains(&text(&told, "/id")));
    fs::write(&ledger, "{\"action\":\"rev")?;
    for _ in 0..2 {
        for index in 0..2 {
            replicas.kill(index);
            replicas.run(index).await?;
            let answer = replicas.call(index, &token).await?;
            assert_invalid_token(&answer, "revoked.user-tokens")?;
            let records = replicas.recorded(index)?;
            assert_eq!(records.len(), 1, "{records:?}");
            assert_eq!(records[0]["id"], told["id"]);
            assert_eq!(records[0]["reason"], "while away");
            assert_eq!(records[0]["by"], "operator");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn key_13_a_backup_that_is_put_in_place_does_not_bring_back_what_was_revoked() -> Outcome {
    let mut replicas = Replicas::start("revocation-restored").await?;
    let token = replicas.token(&json!({}))?;
    replicas.both_allow(&token).await?;
    let store = replicas.folder(0).join("../store.db");
    replicas.kill(0);
    replicas.kill(1);
    let files = ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", store.display())));
    let backup: Vec<Option<Vec<u8>>> = files.iter().map(|file| fs::read(file).ok()).collect();
    replicas.run(0).await?;
    let told = replicas.registry(&["revoke", "agent", "agent-1", "--reason", "stolen"])?;
    replicas.refused_at(0, &token).await?;
    let began = Instant::now();
    let ledger = replicas.folder(0).join("audit/revocations.jsonl");
    while !fs::read_to_string(&ledger).is_ok_and(|noted| noted.ends_with('\n')) {
        assert!(began.elapsed() < FOLLOWS);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    replicas.kill(0);
    for (file, bytes) in files.iter().zip(&backup) {
        match bytes {
            Some(bytes) => fs::write(file, bytes)?,
            None => drop(fs::remove_file(file)),
        }
    }
    assert_eq!(
        replicas.registry(&["list"])?,
        json!([]),
        "the store has forgotten it"
    );
    // Who knew of it brings it back to all: to one that never heard of it, too.
    replicas.run(0).await?;
    let answer = replicas.call(0, &token).await?;
    assert_eq!(text(&answer.json()?, "/error/data/reason"), "revoked.agent");
    assert_eq!(replicas.registry(&["list"])?[0]["id"], told["id"]);
    replicas.run(1).await?;
    let answer = replicas.call(1, &token).await?;
    assert_eq!(text(&answer.json()?, "/error/data/reason"), "revoked.agent");
    assert_eq!(replicas.recorded(0)?.len(), 1);
    assert_eq!(replicas.recorded(1)?.len(), 1);
    let log = fs::read_to_string(replicas.folder(0).join("audit/audit-00000000000000000001.jsonl"))?;
    assert!(log.contains("\"what\":\"revocation.restored\""));
    Ok(())
}

/// A call at one gateway whose answer is a stream, and the upstream's end of it.
async fn streaming(replicas: &mut Replicas, request: Request) -> Outcome<(EventStream, Feed)> {
    let asking = tokio::spawn(request.stream());
    let feed = replicas.upstream.next().await?.stream(&[])?;
    feed.send("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n")
        .await?;
    let mut stream = asking.await??;
    assert_eq!(stream.status, 200);
    assert!(stream.next().await?.is_some());
    Ok((stream, feed))
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_25_open_streams_end_and_sessions_with_them() -> Outcome {
    let mut replicas = Replicas::start("revocation-streams").await?;
    let token = replicas.token(&json!({}))?;
    let other = replicas.token(&json!({"sub": "eve", "jti": "other"}))?;
    let url = format!("http://127.0.0.1:{}/mcp", replicas.ports[1]);
    let host = format!("127.0.0.1:{}", replicas.ports[0]);
    let as_public = |request: Request, token: &str| request.header("host", &host).bearer(token);

    // A session of before 2026-07-28, with its own stream.
    let begun = tokio::spawn(as_public(mcp::initialize(&url), &token).send());
    let heard = replicas.upstream.next().await?;
    let id = heard.json()?["id"].clone();
    let result = json!({"jsonrpc": "2.0", "id": id, "result": {
        "protocolVersion": mcp::LEGACY, "capabilities": {}, "serverInfo": {"name": "crm", "version": "1"}}});
    heard.answer(
        200,
        &[
            ("content-type", "application/json"),
            ("mcp-session-id", "session-1"),
        ],
        result.to_string(),
    )?;
    let begun = begun.await??;
    assert_eq!((begun.status, begun.header("mcp-session-id")), (200, "session-1"));
    let in_session = Request::get(&url)
        .header("accept", "text/event-stream")
        .header("mcp-session-id", "session-1")
        .header("mcp-protocol-version", mcp::LEGACY);
    let (mut own, own_feed) = streaming(&mut replicas, as_public(in_session, &token)).await?;
    let listen = mcp::modern(&url, "subscriptions/listen", json!({"notifications": {}}));
    let (mut listening, listening_feed) = streaming(&mut replicas, as_public(listen, &token)).await?;
    let call = mcp::call(&url, "find", &json!({}));
    let (mut answer, answer_feed) = streaming(&mut replicas, as_public(call, &token)).await?;
    let call = mcp::call(&url, "find", &json!({}));
    let (mut kept, kept_feed) = streaming(&mut replicas, as_public(call, &other)).await?;

    let began = Instant::now();
    replicas.registry(&["revoke", "user", "ada", "--reason", "a test"])?;
    for (what, stream) in [
        ("GET", &mut own),
        ("listen", &mut listening),
        ("answer", &mut answer),
    ] {
        let ended = tokio::time::timeout(FOLLOWS, stream.next()).await;
        let ended = ended.map_err(|_| Failure::new(format!("the stream of `{what}` goes on")))?;
        assert_eq!(ended?, None, "{what}");
        println!(
            "{what}: ended {} ms after the command began",
            began.elapsed().as_millis()
        );
    }
    for feed in [&own_feed, &listening_feed, &answer_feed] {
        feed.abandoned().await?;
    }
    // Another's goes on.
    let last = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [], "resultType": "complete"}});
    kept_feed.send(format!("data: {last}\n\n")).await?;
    assert_eq!(
        kept.next().await?.map(|event| event.json()).transpose()?,
        Some(last)
    );
    drop(kept_feed);

    // Whoever logs in again, when all know, has no session any more.
    for index in 0..2 {
        replicas.refused_at(index, &token).await?;
    }
    let later = loop {
        let token = replicas.token(&json!({"jti": "later", "iat": System.now().as_secs()}))?;
        if replicas.call(0, &token).await?.status == 200 {
            break token;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let ping = mcp::legacy(&url, "session-1", "ping", &json!({}));
    let gone = as_public(ping, &later).send().await?;
    assert_eq!(gone.status, 404, "{}", gone.text());
    assert_eq!(text(&gone.json()?, "/error/data/reason"), "session.unknown");
    assert!(replicas.upstream.pending().is_none());
    let outcomes = fs::read_to_string(replicas.folder(1).join("audit/audit-00000000000000000001.jsonl"))?;
    assert_eq!(outcomes.matches("\"result\":\"revoked\"").count(), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_cannot_be_read_nothing_goes_on() -> Outcome {
    use sqlx::Connection as _;
    let mut replicas = Replicas::start("revocation-store-away").await?;
    let token = replicas.token(&json!({}))?;
    replicas.both_allow(&token).await?;
    let url = format!("http://127.0.0.1:{}/mcp", replicas.ports[0]);
    let listen = mcp::modern(&url, "subscriptions/listen", json!({"notifications": {}})).bearer(&token);
    let (mut listening, _feed) = streaming(&mut replicas, listen).await?;
    let store = replicas.folder(0).join("../store.db");
    let mut store = sqlx::SqliteConnection::connect(&format!("sqlite:{}", store.display()))
        .await
        .map_err(failed)?;
    let mut rename = async |from: &'static str, to: &'static str| {
        let statement = format!("ALTER TABLE {from} RENAME TO {to}");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut store)
            .await
            .map_err(failed)
    };
    rename("portcullis_revocations", "away").await?;
    for index in 0..2 {
        let (answer, took) = replicas.refused_at(index, &token).await?;
        println!(
            "gateway {index} refused everything {} ms after the store was gone",
            took.as_millis()
        );
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "5");
        assert_eq!(
            text(&answer.json()?, "/error/data/reason"),
            "revocation.unreadable"
        );
        let ready = Request::get(format!("http://127.0.0.1:{}/readyz", replicas.admins[index]))
            .send()
            .await?;
        assert_eq!(
            (ready.status, ready.text().trim()),
            (503, "revocation.unreadable")
        );
    }
    let ended = tokio::time::timeout(FOLLOWS, listening.next()).await;
    assert_eq!(ended.map_err(failed)??, None);
    assert!(replicas.upstream.pending().is_none());
    replicas.kill(1);
    rename("away", "portcullis_revocations").await?;
    let began = Instant::now();
    while replicas.call(0, &token).await?.status != 200 {
        assert!(began.elapsed() < FOLLOWS);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    replicas.run(1).await?;
    replicas.both_allow(&token).await
}
