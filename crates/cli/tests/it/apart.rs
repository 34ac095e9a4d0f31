//! The parts apart: `authority --config` and `gateway --config` as two processes that know each other by configuration only.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_testkit::{Answer, Failure, Outcome, Request, Scratch, Upstream, login, mcp};
use serde_json::json;

use crate::runbook::kid_of;
use crate::{portcullis, text};

/// A child that ends with the test, by its own id.
pub(crate) struct Server(Child);

impl Server {
    /// As a person starts it: from the folder of the file, by its bare name.
    pub(crate) fn start(command: &str, folder: &Path) -> Outcome<Self> {
        Ok(Self(Self::command(command, folder).spawn()?))
    }

    /// The same, and everything that it has to say goes into this file.
    pub(crate) fn start_telling(command: &str, folder: &Path, file: &Path) -> Outcome<Self> {
        let child = Self::command(command, folder)
            .env("PORTCULLIS_LOG", "debug,hyper=info,h2=info")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(file)?)
            .spawn()?;
        Ok(Self(child))
    }

    fn command(command: &str, folder: &Path) -> Command {
        let mut started = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        started
            .args([command, "--config", &format!("{command}.toml")])
            .current_dir(folder)
            .env("CRM_TOKEN", "the-gateways-own-credential")
            .stdin(Stdio::null());
        started
    }

    /// Ends it as Ctrl-C does, and waits until it is gone.
    pub(crate) fn stop(&mut self) -> Outcome {
        self.signal("INT")?;
        let ended = self.0.wait()?;
        match ended.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("it ended with {ended}"))),
        }
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) -> Outcome {
        let told = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.0.id().to_string())
            .status()?;
        match told.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("kill: {told}"))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Ports that are free now. Nothing else on this machine asks for them in the meantime, or the test says so.
pub(crate) fn free_ports<const N: usize>() -> Outcome<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

pub(crate) async fn serves(url: &str) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Request::get(url).send().await.is_err() {
        if Instant::now() > deadline {
            return Err(Failure::new(format!("nothing serves at {url}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Writes the one file that both servers read, each its own sections, and gives their origins.
pub(crate) fn configure(folder: &Path, upstream: &str) -> Outcome<(String, String)> {
    let [gateway, authority] = free_ports()?;
    let (gateway_url, authority_url) = (
        format!("http://127.0.0.1:{gateway}"),
        format!("http://127.0.0.1:{authority}"),
    );
    fs::write(folder.join("ada.password"), "correct horse battery staple\n")?;
    fs::write(folder.join("report.secret"), "a-secret-of-128-bits-or-more\n")?;
    let rules = "forbid (principal, action, resource == Tool::\"crm/find\")\nwhen { context.arguments has name && context.arguments.name == \"nobody\" };\n";
    fs::write(folder.join("crm.cedar"), rules)?;
    let file = format!(
        r#"version = 1
[gateway]
listen = "127.0.0.1:{gateway}"
public_url = "{gateway_url}"
[[issuers]]
issuer = "{authority_url}"
algorithms = ["ES256"]
[[servers]]
name = "crm"
url = "{upstream}"
credential_env = "CRM_TOKEN"
[servers.tools.find]
effect = "read"
[servers.tools.merge]
effect = "write"
scopes = ["crm:merge"]
[policy]
files = ["crm.cedar"]
implies = ["crm:merge > crm:read"]
[authority]
listen = "127.0.0.1:{authority}"
public_url = "{authority_url}"
[[authority.resources]]
uri = "{gateway_url}/mcp"
server = "crm"
[[authority.users]]
name = "ada"
password_file = "ada.password"
[[authority.clients]]
client_id = "report"
secret_file = "report.secret"
scopes = ["crm:read", "crm:merge"]
[store]
url = "sqlite:authority.db"
[keys]
dir = "keys"
master_key_file = "master.key"
[audit]
dir = "audit"
"#
    );
    fs::write(folder.join("gateway.toml"), &file)?;
    // One log has one writer: each process records in a folder of its own.
    fs::write(
        folder.join("authority.toml"),
        file.replace("dir = \"audit\"", "dir = \"authority-audit\""),
    )?;
    Ok((gateway_url, authority_url))
}

#[tokio::test]
async fn two_processes_guard_a_server_with_the_issuers_keys_found_by_metadata() -> Outcome {
    let mut upstream = Upstream::start().await?;
    let scratch = Scratch::new("apart")?;
    let (gateway_url, authority_url) = configure(scratch.path(), upstream.url())?;
    let _authority = Server::start("authority", scratch.path())?;
    let _gateway = Server::start("gateway", scratch.path())?;
    serves(&authority_url).await?;
    serves(&gateway_url).await?;

    let mcp_url = format!("{gateway_url}/mcp");
    let found = login::discover(&mcp_url).await?;
    assert_eq!(
        (found.resource.as_str(), found.scope.as_str()),
        (mcp_url.as_str(), "crm:read")
    );
    let token = |scope: &str| {
        let form = [
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", "report".to_owned()),
            ("client_secret", "a-secret-of-128-bits-or-more".to_owned()),
            ("scope", scope.to_owned()),
            ("resource", mcp_url.clone()),
        ];
        Request::post(format!("{authority_url}/token")).form(form).send()
    };
    let reader = text(&token("crm:read").await?.json()?, "/access_token");
    let merger = text(&token("crm:merge").await?.json()?, "/access_token");

    // The gateway shows the server its own credential; the configured scope of a tool is what it needs.
    let call = tokio::spawn(
        mcp::call(&mcp_url, "find", &json!({"name": "ada"}))
            .bearer(&reader)
            .send(),
    );
    let heard = upstream.next().await?;
    assert_eq!(
        heard.header("authorization"),
        "Bearer the-gateways-own-credential"
    );
    heard.result(&json!({"content": [], "resultType": "complete"}))?;
    assert_eq!(call.await??.status, 200);
    let refused = mcp::call(&mcp_url, "merge", &json!({}))
        .bearer(&reader)
        .send()
        .await?;
    assert_eq!(refused.status, 403);
    assert_eq!(
        login::challenge_parameter(refused.header("www-authenticate"), "scope").as_deref(),
        Some("crm:merge")
    );
    let call = tokio::spawn(mcp::call(&mcp_url, "merge", &json!({})).bearer(&merger).send());
    upstream
        .next()
        .await?
        .result(&json!({"content": [], "resultType": "complete"}))?;
    assert_eq!(call.await??.status, 200);

    // An operator's own rule over arguments: no scope helps, so no scope is asked for.
    let forbidden = mcp::call(&mcp_url, "find", &json!({"name": "nobody"}))
        .bearer(&merger)
        .send()
        .await?;
    assert_eq!(forbidden.status, 403);
    assert!(
        !forbidden
            .header("www-authenticate")
            .contains("insufficient_scope"),
        "{}",
        forbidden.header("www-authenticate")
    );
    assert!(upstream.pending().is_none());
    Ok(())
}

/// An authority and two gateways behind one public URL, three processes on one key folder, each with its admin listener.
struct Replicas {
    upstream: Upstream,
    scratch: Scratch,
    gateway_url: String,
    authority_url: String,
    /// Where the two listen.
    ports: [u16; 2],
    /// The admin listeners of the authority and the two gateways.
    admins: [u16; 3],
    _servers: Vec<Server>,
}

impl Replicas {
    async fn start(name: &str) -> Outcome<Self> {
        let upstream = Upstream::start().await?;
        let scratch = Scratch::new(name)?;
        let folder = scratch.path();
        let (gateway_url, authority_url) = configure(folder, upstream.url())?;
        let [second, admins @ ..] = free_ports::<4>()?;
        let first = gateway_url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| Failure::new("a URL without a port"))?;
        let [of_authority, of_first, of_second] = admins;
        let other = folder.join("second");
        fs::create_dir(&other)?;
        let file = fs::read_to_string(folder.join("gateway.toml"))?;
        let listens = |port: u16, admin: u16| {
            let before = format!("[gateway]\nlisten = \"127.0.0.1:{first}\"");
            file.replace(
                &before,
                &format!("[gateway]\nlisten = \"127.0.0.1:{port}\"\nadmin_listen = \"127.0.0.1:{admin}\""),
            )
        };
        fs::write(folder.join("gateway.toml"), listens(first, of_first))?;
        let shared = [
            "crm.cedar",
            "ada.password",
            "report.secret",
            "authority.db",
            "keys",
            "master.key",
        ];
        let elsewhere = shared.iter().fold(listens(second, of_second), |file, name| {
            let named = file.replace(
                &format!("\"{name}\""),
                &format!("\"{}\"", folder.join(name).display()),
            );
            named.replace(
                &format!(":{name}\""),
                &format!(":{}\"", folder.join(name).display()),
            )
        });
        fs::write(other.join("gateway.toml"), elsewhere)?;
        let authority = fs::read_to_string(folder.join("authority.toml"))?;
        fs::write(
            folder.join("authority.toml"),
            authority.replace(
                "[authority]\n",
                &format!("[authority]\nadmin_listen = \"127.0.0.1:{of_authority}\"\n"),
            ),
        )?;
        let mut servers = Vec::new();
        for (command, folder) in [("authority", folder), ("gateway", folder), ("gateway", &other)] {
            servers.push(Server::start(command, folder)?);
        }
        for admin in admins {
            serves(&format!("http://127.0.0.1:{admin}/healthz")).await?;
        }
        serves(&authority_url).await?;
        Ok(Self {
            upstream,
            scratch,
            gateway_url,
            authority_url,
            ports: [first, second],
            admins,
            _servers: servers,
        })
    }

    async fn token(&self) -> Outcome<String> {
        let form = [
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", "report".to_owned()),
            ("client_secret", "a-secret-of-128-bits-or-more".to_owned()),
            ("scope", "crm:read".to_owned()),
            ("resource", format!("{}/mcp", self.gateway_url)),
        ];
        let answer = Request::post(format!("{}/token", self.authority_url))
            .form(form)
            .send()
            .await?;
        Ok(text(&answer.json()?, "/access_token"))
    }

    /// A call at one of the gateways, under the public URL of both. The server behind answers if it gets that far.
    async fn call(&mut self, port: u16, token: &str) -> Outcome<Answer> {
        let mut call = tokio::spawn(
            mcp::call(
                &format!("http://127.0.0.1:{port}/mcp"),
                "find",
                &json!({"name": "ada"}),
            )
            .header("host", self.gateway_url.trim_start_matches("http://"))
            .bearer(token)
            .send(),
        );
        tokio::select! {
            answer = &mut call => answer?,
            heard = self.upstream.next() => {
                heard?.result(&json!({"content": [], "resultType": "complete"}))?;
                call.await?
            }
        }
    }

    /// Until each `/readyz` has this status; what the last one said.
    async fn readiness(&self, admins: &[u16], status: u16) -> Outcome<String> {
        let mut said = String::new();
        for admin in admins {
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                let answer = Request::get(format!("http://127.0.0.1:{admin}/readyz"))
                    .send()
                    .await?;
                said = answer.text();
                if answer.status == status {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(Failure::new(format!(
                        "/readyz is {} and not {status}: {said}",
                        answer.status
                    )));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(said)
    }

    fn revoke(&self, kid: &str) -> Outcome {
        let file = self.scratch.path().join("authority.toml").display().to_string();
        let ran = portcullis().run([
            "keys",
            "revoke",
            kid,
            "--reason",
            "seen in a log",
            "--config",
            &file,
        ])?;
        match ran.code {
            Some(0) => Ok(()),
            _ => Err(Failure::new(format!("{ran:?}"))),
        }
    }
}

/// KEY-01 of the attack catalogue.
#[tokio::test]
async fn a_revoked_key_is_void_at_every_gateway_on_its_shelf_and_the_next_one_is_good_at_each() -> Outcome {
    let mut replicas = Replicas::start("revoked").await?;
    let before = replicas.token().await?;
    let lost = kid_of(&before)?;
    for port in replicas.ports {
        // The second is from what was remembered of the first.
        for _ in 0..2 {
            let answer = replicas.call(port, &before).await?;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    replicas.revoke(&lost)?;
    // A second is what is promised. This is when to give up, no measure of it.
    let deadline = Instant::now() + Duration::from_secs(2);
    for port in replicas.ports {
        loop {
            let answer = replicas.call(port, &before).await?;
            if answer.status == 401 {
                assert!(answer.header("www-authenticate").contains("invalid_token"));
                break;
            }
            assert!(
                Instant::now() < deadline,
                "still served on {port}: {}",
                answer.status
            );
        }
    }
    let mut after = replicas.token().await?;
    while kid_of(&after)? == lost {
        assert!(Instant::now() < deadline, "the revoked key still signs");
        after = replicas.token().await?;
    }
    for port in replicas.ports {
        let answer = replicas.call(port, &after).await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(replicas.call(port, &before).await?.status, 401);
    }
    Ok(())
}

#[tokio::test]
async fn while_the_shelf_cannot_be_read_known_keys_go_on_and_who_needs_it_is_not_ready() -> Outcome {
    let mut replicas = Replicas::start("unread").await?;
    let all = replicas.admins;
    let [of_authority, gateways @ ..] = all;
    replicas.readiness(&all, 200).await?;
    let token = replicas.token().await?;
    // Gateways need both rings: their own, and news of the authority's.
    for (ring, needing) in [("gateway", &gateways[..]), ("authority", &all[..])] {
        let generation = replicas.scratch.path().join(format!("keys/{ring}/generation"));
        let whole = fs::read_to_string(&generation)?;
        fs::write(&generation, "torn\n")?;
        assert_eq!(replicas.readiness(needing, 503).await?, "keys.damaged\n");
        if ring == "gateway" {
            replicas.readiness(&[of_authority], 200).await?;
        }
        for port in replicas.ports {
            let answer = replicas.call(port, &token).await?;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert!(!replicas.token().await?.is_empty());
        fs::write(&generation, whole)?;
        replicas.readiness(&all, 200).await?;
    }
    // What is changed afterwards is noticed as before; machines under load get longer.
    replicas.revoke(&kid_of(&token)?)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    for port in replicas.ports {
        while replicas.call(port, &token).await?.status != 401 {
            assert!(Instant::now() < deadline, "still served on {port}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_at_the_start_is_said_and_nothing_serves() -> Outcome {
    let scratch = Scratch::new("apart")?;
    configure(scratch.path(), "http://127.0.0.1:9/mcp")?;
    let run = |command: &str, file: &str| {
        let file = scratch.path().join(file).display().to_string();
        crate::portcullis().run([command, "--config", &file])
    };
    let no_credential = run("gateway", "gateway.toml")?;
    assert_eq!(no_credential.code, Some(2));
    assert!(
        no_credential.stderr.contains("CRM_TOKEN"),
        "{}",
        no_credential.stderr
    );

    fs::write(
        scratch.path().join("crm.cedar"),
        "permit (principal, action, resource == Tool::\"crm/find\") when { context.argumnets.x };",
    )?;
    let bad_policy = run("gateway", "gateway.toml")?;
    assert_eq!(bad_policy.code, Some(2));
    assert!(
        bad_policy.stderr.contains("crm.cedar") && bad_policy.stderr.contains("argumnets"),
        "{}",
        bad_policy.stderr
    );

    // What would not start does not check out either, and what is missing is named before.
    let file = scratch.path().join("gateway.toml").display().to_string();
    let checked = crate::portcullis().run(["config", "check", &file])?;
    assert_eq!(checked.code, Some(2));
    assert!(checked.stdout.contains("argumnets"), "{}", checked.stdout);
    fs::write(scratch.path().join("crm.cedar"), "")?;
    fs::remove_file(scratch.path().join("ada.password"))?;
    let checked = crate::portcullis().run(["config", "check", &file])?;
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(
        checked.stdout.contains("ada.password") && !checked.stdout.contains("report.secret"),
        "{}",
        checked.stdout
    );

    let missing = run("authority", "nothing.toml")?;
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("nothing.toml"), "{}", missing.stderr);
    Ok(())
}
