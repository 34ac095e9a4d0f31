//! Several issuers at one gateway, on the wire: which of them may speak for which server and tool, keys of one name, tokens that
//! are not those of RFC 9068, and opaque tokens. The names are rows of the attack catalogue.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use portcullis_testkit::proofs::{Key, now};
use portcullis_testkit::{Answer, Outcome, Request, Scratch, Upstream, mcp};
use serde_json::{Value, json};

use crate::apart::{Server, free_ports, serves};

const HOME: &str = "https://home.example";
const PARTNER: &str = "https://login.partner.example/v2.0";

/// `crm` is for both issuers, `vault` for the first alone, and also for opaque tokens. Of `crm` the partner may call `find`.
struct Scene {
    scratch: Scratch,
    _gateway: Server,
    url: String,
    upstream: Upstream,
    desk: Upstream,
    home: Key,
    partner: Key,
}

fn publish(scratch: &Scratch, file: &str, key: &Key) -> Outcome {
    let mut jwk = key.jwk();
    for (name, value) in [("kid", "k"), ("use", "sig"), ("alg", "ES256")] {
        super::dpop::set(&mut jwk, name, value.into());
    }
    fs::write(scratch.path().join(file), json!({"keys": [jwk]}).to_string())?;
    Ok(())
}

impl Scene {
    async fn new() -> Outcome<Self> {
        let scratch = Scratch::new("issuers")?;
        let (upstream, desk) = (Upstream::start().await?, Upstream::start().await?);
        let (home, partner) = (Key::generate()?, Key::generate()?);
        publish(&scratch, "home.json", &home)?;
        publish(&scratch, "partner.json", &partner)?;
        let secret = scratch.path().join("desk.secret");
        fs::write(&secret, "s3cr3t\n")?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
        let rules = r#"forbid (principal, action, resource == Tool::"vault/destroy") unless { principal.roles.contains("admin") };"#;
        fs::write(scratch.path().join("roles.cedar"), rules)?;
        let [port] = free_ports()?;
        let url = format!("http://127.0.0.1:{port}");
        let file = format!(
            r#"version = 1
[gateway]
listen = "127.0.0.1:{port}"
public_url = "{url}"
[[issuers]]
issuer = "{HOME}"
jwks_file = "home.json"
algorithms = ["ES256"]
roles_claim = "/access/roles"
introspection = {{ url = "{desk}", client_id = "gateway", client_secret_file = "desk.secret", cache = "60s" }}
[[issuers]]
issuer = "{PARTNER}"
jwks_file = "partner.json"
algorithms = ["ES256"]
profile = "entra"
[issuers.servers.crm]
audience = "11112222-bbbb-3333-cccc-4444dddd5555"
tools = ["find"]
[[servers]]
name = "crm"
url = "{behind}"
unlisted = "read"
[[servers]]
name = "vault"
url = "{behind}"
unlisted = "read"
[policy]
files = ["roles.cedar"]
[keys]
dir = "keys"
master_key_file = "master.key"
[audit]
dir = "audit"
"#,
            desk = desk.url(),
            behind = upstream.url(),
        );
        fs::write(scratch.path().join("gateway.toml"), file)?;
        let gateway = Server::start("gateway", scratch.path())?;
        serves(&url).await?;
        Ok(Self {
            scratch,
            _gateway: gateway,
            url,
            upstream,
            desk,
            home,
            partner,
        })
    }

    fn mcp(&self, server: &str) -> String {
        format!("{}/s/{server}/mcp", self.url)
    }

    fn home_claims(&self, server: &str) -> Value {
        json!({
            "iss": HOME, "sub": "ada", "client_id": "agent", "aud": self.mcp(server),
            "scope": format!("{server}:read"), "jti": "t-1", "iat": now(), "exp": now() + 300,
        })
    }

    fn partner_claims() -> Value {
        json!({
            "iss": PARTNER, "sub": "bob", "azp": "agent", "aud": "11112222-bbbb-3333-cccc-4444dddd5555",
            "scp": "crm:read", "tid": "partner", "ver": "2.0", "iat": now(), "exp": now() + 300,
        })
    }

    /// Sends what should go through.
    async fn passes(&mut self, request: Request) -> Outcome {
        let call = tokio::spawn(request.send());
        let heard = self.upstream.next().await?;
        heard.result(&json!({"content": [], "resultType": "complete"}))?;
        let answer = call.await??;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Ok(())
    }

    /// Sends what should not, and gives the answer.
    async fn refused(&mut self, request: Request, status: u16) -> Outcome<Answer> {
        let answer = request.send().await?;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(self.upstream.pending().is_none(), "the server behind heard of it");
        Ok(answer)
    }

    /// The reasons on record for what was refused, in order.
    fn reasons(&self) -> Outcome<Vec<String>> {
        let dir = self.scratch.path().join("audit").display().to_string();
        let ran = crate::portcullis().run(["audit", "query", "--json", "--config", &self.config()])?;
        assert_eq!(ran.code, Some(0), "{dir}: {ran:?}");
        let records = ran.stdout.lines().map(serde_json::from_str::<Value>);
        let refused = records
            .filter_map(Result::ok)
            .filter(|record| crate::text(record, "/verdict") == "denied");
        Ok(refused.map(|record| crate::text(&record, "/reason")).collect())
    }

    fn config(&self) -> String {
        self.scratch.path().join("gateway.toml").display().to_string()
    }

    /// Answers the one question that the issuer is asked.
    async fn says(&mut self, status: u16, body: &str) -> Outcome<String> {
        let asked = self.desk.next().await?;
        assert_eq!(asked.header("authorization"), "Basic Z2F0ZXdheTpzM2NyM3Q=");
        let question = String::from_utf8_lossy(&asked.body).into_owned();
        asked.answer(status, &[("content-type", "application/json")], body.to_owned())?;
        Ok(question)
    }
}

fn call(mcp: &str, tool: &str, token: &str) -> Request {
    mcp::call(mcp, tool, &json!({})).bearer(token)
}

#[tokio::test]
async fn each_issuer_speaks_for_itself_and_for_no_more_than_it_may() -> Outcome {
    let mut scene = Scene::new().await?;
    let (crm, vault) = (scene.mcp("crm"), scene.mcp("vault"));
    let (rfc9068, entra) = (
        json!({"typ": "at+jwt", "kid": "k"}),
        json!({"typ": "JWT", "kid": "k"}),
    );
    let home = scene.home.sign(&rfc9068, &scene.home_claims("crm"))?;
    let partner = scene.partner.sign(&entra, &Scene::partner_claims())?;
    scene.passes(call(&crm, "find", &home)).await?;
    scene.passes(call(&crm, "find", &partner)).await?;

    // CLM-08: the name of one issuer, the key of the other; both keys are called `k`.
    let forged = scene.partner.sign(&rfc9068, &scene.home_claims("crm"))?;
    scene.refused(call(&crm, "find", &forged), 401).await?;
    let forged = scene.home.sign(&entra, &Scene::partner_claims())?;
    scene.refused(call(&crm, "find", &forged), 401).await?;
    // The token of one issuer in the shape of the other's.
    let mut shaped = scene.home_claims("crm");
    shaped["azp"] = "agent".into();
    let shaped = scene.home.sign(&entra, &shaped)?;
    scene.refused(call(&crm, "find", &shaped), 401).await?;
    // CLM-09, CLM-10: nearly the issuer.
    for near in [
        json!(format!("{HOME}/")),
        json!("HTTPS://home.example"),
        json!([HOME]),
        json!(""),
    ] {
        let mut claims = scene.home_claims("crm");
        claims["iss"] = near;
        let near = scene.home.sign(&rfc9068, &claims)?;
        scene.refused(call(&crm, "find", &near), 401).await?;
    }
    // An ID token of the partner's: no `azp`, or a nonce.
    let mut id_token = Scene::partner_claims();
    id_token["nonce"] = "n".into();
    let id_token = scene.partner.sign(&entra, &id_token)?;
    scene.refused(call(&crm, "find", &id_token), 401).await?;

    // A server that the partner may not speak for, and a tool.
    let mut claims = Scene::partner_claims();
    claims["aud"] = vault.clone().into();
    claims["scp"] = "vault:read".into();
    let partner_at_vault = scene.partner.sign(&entra, &claims)?;
    scene
        .refused(call(&vault, "find", &partner_at_vault), 401)
        .await?;
    let answer = scene.refused(call(&crm, "merge", &partner), 403).await?;
    assert_eq!(
        crate::text(&answer.json()?, "/error/data/reason"),
        "policy.issuer-not-for-target"
    );
    // Nor is it listed to whoever may not call it.
    for (token, listed) in [(&home, vec!["find", "merge"]), (&partner, vec!["find"])] {
        let list = mcp::modern(&crm, "tools/list", json!({})).bearer(token);
        let list = tokio::spawn(list.send());
        let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
        let heard = scene.upstream.next().await?;
        heard.result(&json!({"tools": [tool("find"), tool("merge")]}))?;
        assert_eq!(crate::tool_names(&list.await??.json()?), listed);
    }
    // What the metadata says of it.
    for (server, issuers) in [("crm", json!([HOME, PARTNER])), ("vault", json!([HOME]))] {
        let page = format!(
            "{}/.well-known/oauth-protected-resource/s/{server}/mcp",
            scene.url
        );
        let page = Request::get(page).send().await?.json()?;
        assert_eq!(page["authorization_servers"], issuers, "{server}");
    }

    // What the issuer says of a caller is there for policies.
    let mut claims = scene.home_claims("vault");
    let reader = scene.home.sign(&rfc9068, &claims)?;
    scene.refused(call(&vault, "destroy", &reader), 403).await?;
    claims["access"] = json!({"roles": ["admin"]});
    let admin = scene.home.sign(&rfc9068, &claims)?;
    scene.passes(call(&vault, "destroy", &admin)).await?;

    let expected = [
        "token.signature",
        "token.signature",
        "token.type",
        "token.issuer-unknown",
        "token.issuer-unknown",
        "token.claim-malformed",
        "token.issuer-unknown",
        "token.type",
        "token.issuer-not-for-server",
        "policy.issuer-not-for-target",
        "policy.forbidden",
    ];
    assert_eq!(scene.reasons()?, expected);
    Ok(())
}

#[tokio::test]
async fn an_opaque_token_is_worth_what_its_issuer_says_of_it() -> Outcome {
    let mut scene = Scene::new().await?;
    let vault = scene.mcp("vault");
    let mut active = scene.home_claims("vault");
    active["active"] = true.into();
    active["token_type"] = "Bearer".into();

    // Active: asked once, and then remembered.
    let request = call(&vault, "find", "opaque/1");
    let sent = tokio::spawn(request.clone().send());
    let question = scene.says(200, &active.to_string()).await?;
    assert_eq!(question, "token=opaque%2F1&token_type_hint=access_token");
    let heard = scene.upstream.next().await?;
    heard.result(&json!({"content": [], "resultType": "complete"}))?;
    assert_eq!(sent.await??.status, 200);
    scene.passes(request).await?;
    assert!(scene.desk.pending().is_none());
    // RS-29, JWS-46, JWS-47: another token with the same beginning is another token, and so is this one at another server.
    let with = |name: &str, value: Value| {
        let mut answer = active.clone();
        answer[name] = value;
        answer.to_string()
    };
    let inactive = r#"{"active":false}"#.to_owned();
    // RS-30: what only looks like an answer that says active.
    let rows = [
        (scene.mcp("crm"), "opaque/1", active.to_string(), "token.audience"),
        (vault.clone(), "opaque/10", inactive.clone(), "token.inactive"),
        (
            vault.clone(),
            "a1",
            with("active", json!("true")),
            "token.introspection-answer",
        ),
        (
            vault.clone(),
            "a2",
            with("active", json!(1)),
            "token.introspection-answer",
        ),
        (
            vault.clone(),
            "a3",
            "<html>active</html>".to_owned(),
            "token.introspection-answer",
        ),
        (vault.clone(), "a4", with("iss", json!(PARTNER)), "token.issuer"),
        (
            vault.clone(),
            "a5",
            with("aud", json!("https://other.example")),
            "token.audience",
        ),
        (
            vault.clone(),
            "a6",
            with("exp", json!(now() - 60)),
            "token.expired",
        ),
        (
            vault.clone(),
            "a7",
            with("token_type", json!("refresh_token")),
            "token.type",
        ),
        (
            vault.clone(),
            "a8",
            with("cnf", json!({"jkt": scene.home.thumbprint()})),
            "token.sender-constrained",
        ),
    ];
    let mut expected = Vec::new();
    for (mcp, token, answer, reason) in rows {
        let sent = tokio::spawn(call(&mcp, "find", token).send());
        scene.says(200, &answer).await?;
        assert_eq!(sent.await??.status, 401, "{answer}");
        expected.push(reason);
        // A garbled answer may be another one the next time.
        if reason != "token.introspection-answer" {
            // Nor is it asked about again at once.
            scene.refused(call(&mcp, "find", token), 401).await?;
            assert!(scene.desk.pending().is_none(), "{answer}");
            expected.push(reason);
        }
    }
    // RS-32: the issuer in trouble, or gone. Nothing of that is remembered.
    for (status, reason) in [
        (500, "issuer.introspection-unavailable"),
        (401, "issuer.introspection-refuses-us"),
    ] {
        let sent = tokio::spawn(call(&vault, "find", "b1").send());
        scene.says(status, &active.to_string()).await?;
        let answer = sent.await??;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, "5"),
            "{}",
            answer.text()
        );
        expected.push(reason);
    }
    // A JWT is never shown to the issuer of opaque tokens, whoever signed it.
    let mut claims = scene.home_claims("vault");
    claims["iss"] = "https://unknown.example".into();
    let stranger = scene
        .partner
        .sign(&json!({"typ": "at+jwt", "kid": "k"}), &claims)?;
    scene.refused(call(&vault, "find", &stranger), 401).await?;
    expected.push("token.issuer-unknown");
    assert!(scene.desk.pending().is_none());
    assert!(scene.upstream.pending().is_none());
    assert_eq!(scene.reasons()?, expected);
    Ok(())
}

#[tokio::test]
async fn clm_21_a_token_for_one_call_is_good_for_one() -> Outcome {
    let mut scene = Scene::new().await?;
    let crm = scene.mcp("crm");
    let header = json!({"typ": "at+jwt", "kid": "k"});
    let token = |scene: &Scene, jti: &str| {
        let mut claims = scene.home_claims("crm");
        claims["jti"] = jti.into();
        scene.home.sign(&header, &claims)
    };
    // As it comes, for as many calls as there are.
    let many = call(&crm, "find", &token(&scene, "t-1")?);
    scene.passes(many.clone()).await?;
    scene.passes(many).await?;

    let file = fs::read_to_string(scene.config())?;
    let roles = "roles_claim = \"/access/roles\"";
    let once = file.replace(
        roles,
        &format!("{roles}\ntokens_for = \"one-call\"\nclock_skew = \"1s\""),
    );
    assert_ne!(file, once);
    fs::write(scene.config(), once)?;
    scene.reloaded().await?;
    let (first, second) = (token(&scene, "t-2")?, token(&scene, "t-3")?);
    scene.passes(call(&crm, "find", &first)).await?;
    let answer = scene.refused(call(&crm, "find", &first), 401).await?;
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer error=\"invalid_token\""),
        "{challenge}"
    );
    assert_eq!(
        crate::text(&answer.json()?, "/error/data/reason"),
        "token.replayed"
    );
    // Another issuer's tokens are for many, and another token of this one for its own call.
    let partner = json!({"typ": "JWT", "kid": "k"});
    let partner = scene.partner.sign(&partner, &Scene::partner_claims())?;
    for _ in 0..2 {
        scene.passes(call(&crm, "find", &partner)).await?;
    }
    scene.passes(call(&crm, "find", &second)).await?;
    assert_eq!(scene.reasons()?, ["token.replayed"]);
    Ok(())
}

impl Scene {
    /// Waits until the gateway has read its configuration again.
    async fn reloaded(&self) -> Outcome {
        for _ in 0..300 {
            let ran = crate::portcullis().run(["audit", "query", "--json", "--config", &self.config()])?;
            let mut records = ran
                .stdout
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if records.any(|record| crate::text(&record, "/what") == "reload") {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Err(portcullis_testkit::Failure::new(
            "the configuration was not read again",
        ))
    }
}
