//! Published clients of one era before published servers of the other, and of HTTP with SSE: all that crosses the bridge is made by
//! somebody else on both sides.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use portcullis_testkit::{Failure, Outcome, Running, login};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::parts::{Language, Parts};
use crate::portcullis;

const SCOPES: &str = "upstream:read upstream:write upstream:irreversible";
/// The scripts give up before this.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which SDK plays the client.
#[derive(Clone, Copy)]
enum Client {
    /// TypeScript 2.x: 2026-07-28 where the server has it.
    New,
    /// TypeScript 1.x: sessions alone.
    Old,
    /// Python 2.x, as it is.
    Python,
    /// Python 2.x, beginning with `initialize`.
    PythonLegacy,
}

/// Which SDK plays the server.
#[derive(Clone, Copy)]
enum Server {
    /// TypeScript 2.x, refusing everything before 2026-07-28.
    New,
    /// TypeScript 1.x over Streamable HTTP.
    Old,
    /// TypeScript 1.x over HTTP with SSE (2024-11-05).
    OldSse,
    /// TypeScript 1.x over stdio.
    OldStdio,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old | Self::OldSse | Self::OldStdio => "old",
        }
    }
}

/// Plays one combination; every tool has to say the same in each.
async fn crosses(client: Client, server: Server, protocol: &str) -> Outcome {
    let Some(parts) = Parts::find()? else {
        return Ok(());
    };
    let old = parts.beside("eras/old_server.mjs");
    let (_served, running) = match server {
        Server::New => before(&parts, &parts.beside("eras/new_server.mjs"), &[]).await?,
        Server::Old => before(&parts, &old, &["http"]).await?,
        Server::OldSse => before(&parts, &old, &["sse"]).await?,
        Server::OldStdio => {
            let command = format!("{} {} stdio", parts.node().display(), old.display());
            (None, portcullis().arg("--stdio").arg(command).up().await?)
        }
    };
    let token = login(&running, SCOPES).await?.access_token;
    let mut calls = vec![json!(["greet", {}]), json!(["look", {}]), json!(["count", {}])];
    if let Server::New = server {
        calls.push(json!(["where", {"region": "Île"}]));
    }
    let plan = json!({"url": running.ready().mcp_url, "token": token, "calls": calls,
        "sdk": match client { Client::Old => "old", Client::New | Client::Python | Client::PythonLegacy => "new" },
        "mode": match client { Client::PythonLegacy => "legacy", Client::New | Client::Old | Client::Python => "auto" }});
    let language = match client {
        Client::New | Client::Old => Language::TypeScript,
        Client::Python | Client::PythonLegacy => Language::Python,
    };
    let said = played(&parts, language, &plan, &running).await?;
    let mut spoken = json!({"greet": "Hello, Ada!", "look": "file:///a", "count": "counted"});
    let mut tools = json!(["greet", "look", "count"]);
    if let Server::New = server {
        spoken = json!({"greet": "Hello, Ada!", "look": "file:///a", "count": "counted", "where": "Île"});
        tools = json!(["greet", "look", "count", "where"]);
    }
    let expected = json!({"protocol": protocol, "server": server.name(), "tools": tools, "said": spoken, "progress": [1, 2]});
    let whole = |value: &Value| {
        value
            .as_f64()
            .map_or(value.clone(), |number| json!(number as i64))
    };
    let mut said = said;
    if let Some(Value::Array(progress)) = said.get_mut("progress") {
        *progress = progress.iter().map(whole).collect();
    }
    assert_eq!(said, expected, "{}", running.logs());
    Ok(())
}

async fn before(
    parts: &Parts,
    script: &std::path::Path,
    arguments: &[&str],
) -> Outcome<(Option<crate::parts::Served>, Running)> {
    let served = parts.serve_at(script, arguments).await?;
    let running = portcullis().arg("--upstream").arg(served.url()).up().await?;
    Ok((Some(served), running))
}

async fn played(parts: &Parts, language: Language, plan: &Value, running: &Running) -> Outcome<Value> {
    let (program, script): (PathBuf, PathBuf) = parts.client(language);
    let name = script.file_name().unwrap_or_default().to_owned();
    let script = script.with_file_name("eras").join(name);
    let mut child = Command::new(program)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| Failure::new("no stdin"))?;
    stdin.write_all(plan.to_string().as_bytes()).await?;
    drop(stdin);
    let ended = timeout(PATIENCE, child.wait_with_output()).await;
    let output = ended.map_err(|_| Failure::new(format!("the client took longer than {PATIENCE:?}")))??;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        Failure::new(format!(
            "{error}: the client said `{complaint}`; {}",
            running.logs()
        ))
    })
}

macro_rules! combinations {
    ($($name:ident: $client:ident before $server:ident speaks $protocol:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() -> Outcome {
            crosses(Client::$client, Server::$server, $protocol).await
        }
    )*};
}

combinations! {
    real_client_eras_typescript_2_before_typescript_1: New before Old speaks "2026-07-28";
    real_client_eras_typescript_2_before_typescript_1_over_stdio: New before OldStdio speaks "2026-07-28";
    real_client_eras_typescript_2_before_typescript_1_over_sse: New before OldSse speaks "2026-07-28";
    real_client_eras_python_2_before_typescript_1: Python before Old speaks "2026-07-28";
    real_client_eras_python_2_before_typescript_1_over_stdio: Python before OldStdio speaks "2026-07-28";
    real_client_eras_typescript_1_before_typescript_2: Old before New speaks "2025-11-25";
    real_client_eras_python_2_with_sessions_before_typescript_2: PythonLegacy before New speaks "2025-11-25";
    real_client_eras_typescript_1_before_typescript_1: Old before Old speaks "2025-11-25";
    real_client_eras_typescript_1_before_typescript_1_over_sse: Old before OldSse speaks "2025-11-25";
    real_client_eras_typescript_2_before_typescript_2: New before New speaks "2026-07-28";
    real_client_eras_python_2_before_typescript_2: Python before New speaks "2026-07-28";
}
