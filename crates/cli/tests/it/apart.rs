//! The parts apart: `authority --config` and `gateway --config` as two processes that know each other by configuration only.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_testkit::{Failure, Outcome, Request, Scratch, Upstream, login, mcp};
use serde_json::json;

use crate::text;

/// A child that ends with the test, by its own id.
pub(crate) struct Server(Child);

impl Server {
    /// As a person starts it: from the folder of the file, by its bare name.
    pub(crate) fn start(command: &str, folder: &Path) -> Outcome<Self> {
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args([command, "--config", &format!("{command}.toml")])
            .current_dir(folder)
            .env("CRM_TOKEN", "the-gateways-own-credential")
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
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
fn configure(folder: &Path, upstream: &str) -> Outcome<(String, String)> {
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
