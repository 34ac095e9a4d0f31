//! A configuration that is replaced while the gateway runs, on the real binary: what was allowed is not any more, what was under way
//! goes on, and a file that is no good changes nothing.

use std::fs;
use std::time::Duration;

use portcullis_testkit::proofs::{Key, now};
use portcullis_testkit::{Answer, Failure, Outcome, Request, Scratch, Upstream, mcp};
use serde_json::{Value, json};

use crate::apart::{Server, free_ports, serves};
use crate::dpop::set;

const FIRST: &str = "https://first.example";
const SECOND: &str = "https://second.example";

struct Scene {
    scratch: Scratch,
    gateway: Server,
    url: String,
    port: u16,
    upstream: Upstream,
    keys: [Key; 2],
}

impl Scene {
    async fn new() -> Outcome<Self> {
        let scratch = Scratch::new("reload")?;
        let keys = [Key::generate()?, Key::generate()?];
        for (file, key) in ["first.json", "second.json"].into_iter().zip(&keys) {
            let mut jwk = key.jwk();
            for (name, value) in [("kid", "k"), ("use", "sig"), ("alg", "ES256")] {
                set(&mut jwk, name, value.into());
            }
            fs::write(scratch.path().join(file), json!({"keys": [jwk]}).to_string())?;
        }
        let upstream = Upstream::start().await?;
        let [port] = free_ports()?;
        let url = format!("http://127.0.0.1:{port}");
        let file = Self::file(port, upstream.url(), &[FIRST], "");
        fs::write(scratch.path().join("gateway.toml"), &file)?;
        // The log is asked with a file that stays.
        fs::write(scratch.path().join("first.toml"), file)?;
        let gateway = Server::start("gateway", scratch.path())?;
        serves(&url).await?;
        Ok(Self {
            scratch,
            gateway,
            url,
            port,
            upstream,
            keys,
        })
    }

    fn file(port: u16, upstream: &str, issuers: &[&str], more: &str) -> String {
        let issuers = issuers.iter().map(|issuer| {
            let name = issuer.trim_start_matches("https://").trim_end_matches(".example");
            format!(
                "[[issuers]]\nissuer = \"{issuer}\"\njwks_file = \"{name}.json\"\nalgorithms = [\"ES256\"]\n"
            )
        });
        format!(
            "version = 1\n[gateway]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\n{}[[servers]]\nname = \"crm\"\nurl = \"{upstream}\"\nunlisted = \"read\"\n{more}\n[keys]\ndir = \"keys\"\nmaster_key_file = \"master.key\"\n[audit]\ndir = \"audit\"\n",
            issuers.collect::<String>()
        )
    }

    /// Puts another file in place, at once.
    fn write(&self, issuers: &[&str], more: &str) -> Outcome {
        self.put(&Self::file(self.port, self.upstream.url(), issuers, more))
    }

    fn put(&self, file: &str) -> Outcome {
        let (new, at) = ("gateway.new", "gateway.toml");
        fs::write(self.scratch.path().join(new), file)?;
        Ok(fs::rename(
            self.scratch.path().join(new),
            self.scratch.path().join(at),
        )?)
    }

    fn call(&self, issuer: &str) -> Outcome<Request> {
        let mcp = format!("{}/mcp", self.url);
        let [first, second] = &self.keys;
        let key = if issuer == FIRST { first } else { second };
        let claims = json!({
            "iss": issuer, "sub": "ada", "client_id": "agent", "aud": mcp, "scope": "crm:read", "jti": "t-1",
            "iat": now(), "exp": now() + 300,
        });
        let token = key.sign(&json!({"typ": "at+jwt", "kid": "k"}), &claims)?;
        Ok(mcp::call(&mcp, "find", &json!({})).bearer(&token))
    }

    async fn passes(&mut self, request: &Request) -> Outcome {
        let call = tokio::spawn(request.clone().send());
        let heard = self.upstream.next().await?;
        heard.result(&json!({"content": [], "resultType": "complete"}))?;
        let answer = call.await??;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Ok(())
    }

    async fn refused(&mut self, request: &Request, status: u16) -> Outcome<Answer> {
        let answer = request.clone().send().await?;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(self.upstream.pending().is_none(), "the server behind heard of it");
        Ok(answer)
    }

    /// The `detail` of the last of so many records of this kind, as soon as they are there.
    async fn recorded(&self, what: &str, times: usize) -> Outcome<String> {
        let file = self.scratch.path().join("first.toml").display().to_string();
        for _ in 0..300 {
            let ran = crate::portcullis().run(["audit", "query", "--json", "--config", &file])?;
            let records = ran
                .stdout
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let found: Vec<_> = records
                .filter(|record| crate::text(record, "/what") == what)
                .collect();
            if found.len() >= times {
                return Ok(found
                    .last()
                    .map(|record| crate::text(record, "/detail"))
                    .unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(Failure::new(format!("`{what}` is not {times} times on record")))
    }
}

#[tokio::test]
async fn key_08_what_was_allowed_under_another_configuration_is_not_allowed_under_this_one() -> Outcome {
    let mut scene = Scene::new().await?;
    let (first, second) = (scene.call(FIRST)?, scene.call(SECOND)?);
    scene.passes(&first).await?;
    scene.refused(&second, 401).await?;

    // A second issuer, found by the change of the file; what is under way goes on.
    let under_way = tokio::spawn(first.clone().send());
    let heard = scene.upstream.next().await?;
    scene.write(&[FIRST, SECOND], "")?;
    scene.recorded("reload", 1).await?;
    scene.passes(&second).await?;
    scene.passes(&first).await?;
    heard.result(&json!({"content": [], "resultType": "complete"}))?;
    assert_eq!(under_way.await??.status, 200);
    let page = format!("{}/.well-known/oauth-protected-resource/mcp", scene.url);
    let page = Request::get(page).send().await?.json()?;
    assert_eq!(page["authorization_servers"], json!([FIRST, SECOND]));

    // The first one is gone, though its token was accepted a moment before.
    scene.write(&[SECOND], "")?;
    scene.recorded("reload", 2).await?;
    let challenge = scene.refused(&first, 401).await?;
    assert!(
        challenge
            .header("www-authenticate")
            .contains("error=\"invalid_token\"")
    );
    scene.passes(&second).await?;

    // What is asked of senders, what a tool needs, and how much there is for each.
    scene.write(&[SECOND], "[dpop]\nrequired = \"always\"")?;
    scene.recorded("reload", 3).await?;
    let answer = scene.refused(&second, 401).await?;
    assert!(
        answer
            .header("www-authenticate")
            .starts_with("DPoP error=\"invalid_token\"")
    );
    scene.write(&[SECOND], "[servers.tools.find]\neffect = \"write\"")?;
    scene.recorded("reload", 4).await?;
    let answer = scene.refused(&second, 403).await?;
    assert!(answer.header("www-authenticate").contains("scope=\"crm:write\""));
    scene.write(&[SECOND], "[limits]\nper_client = \"1/h\"")?;
    scene.recorded("reload", 5).await?;
    scene.passes(&second).await?;
    let answer = scene.refused(&second, 429).await?;
    assert!(!answer.header("retry-after").is_empty());
    // A quota that stays the same stays used up.
    scene.write(&[SECOND, FIRST], "[limits]\nper_client = \"1/h\"")?;
    scene.recorded("reload", 6).await?;
    scene.refused(&second, 429).await?;
    scene.write(&[SECOND], "")?;
    scene.recorded("reload", 7).await?;
    scene.passes(&second).await?;
    // Nothing is another one, and somebody asks.
    scene.gateway.signal("HUP")?;
    scene.recorded("reload", 8).await?;
    scene.passes(&second).await
}

#[tokio::test]
async fn a_file_that_is_no_good_changes_nothing() -> Outcome {
    let mut scene = Scene::new().await?;
    let (first, second) = (scene.call(FIRST)?, scene.call(SECOND)?);
    scene.passes(&first).await?;
    let good = Scene::file(scene.port, scene.upstream.url(), &[SECOND], "");
    let rules = "[policy]\nfiles = [\"rules.cedar\"]\n[keys]";
    fs::write(
        scene.scratch.path().join("rules.cedar"),
        "permit (principal, action, resource) when { context.nothing.such };",
    )?;
    let elsewhere = format!("listen = \"127.0.0.1:{}\"", scene.port.wrapping_add(1));
    let listens = format!("listen = \"127.0.0.1:{}\"", scene.port);
    for (number, (file, says)) in [
        (good.replace("algorithms", "algorithm"), "algorithm"),
        (good.replace("[keys]", rules), "rules.cedar"),
        (good.replace(&listens, &elsewhere), "`[gateway]`"),
        (good.replace("name = \"crm\"", "name = \"crn\""), "`[servers]`"),
        (
            good.replace("second.json", "second.json\"\nca_file = \"no.pem"),
            "no.pem",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        scene.put(&file)?;
        let refused = scene.recorded("reload.refused", number + 1).await?;
        assert!(refused.contains(says), "{says}: {refused}");
        scene.refused(&second, 401).await?;
        scene.passes(&first).await?;
    }
    Ok(())
}
