//! The main job on the real binary: a person logs in, a client calls tools, is refused what it may not do, steps up, and
//! every step is on record. Each test starts its own `portcullis up` on free ports and a scratch folder.

mod agent;
mod apart;
mod attacks;
mod authority;
mod bad_input;
mod bridge;
mod calls;
mod challenge;
mod commands;
mod custody;
mod dpop;
mod eras;
mod floods;
mod grants;
mod issuers;
mod kept;
mod mtls;
mod proxied;
mod readme;
mod records;
mod reload;
mod replicas;
mod restart;
mod revocation;
mod runbook;
mod seal;
mod sealed;
mod secrecy;
mod secured;
mod signals;
mod streaming;
mod tls;
mod upstreams;
mod workloads;

use portcullis_testkit::{Failure, Outcome, Portcullis, Request, Running};
use serde_json::Value;

fn portcullis() -> Portcullis {
    Portcullis::new(env!("CARGO_BIN_EXE_portcullis"))
}

/// Portcullis in front of the built-in demo server.
async fn demo() -> Outcome<Running> {
    portcullis().up().await
}

/// A token of the client for scripts (`client_credentials`), for the endpoint of the ready file.
async fn script_token(running: &Running, scopes: &str) -> Outcome<String> {
    let ready = running.ready();
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", ready.client_id.as_deref().unwrap_or_default()),
        (
            "client_secret",
            ready.client_secret.as_deref().unwrap_or_default(),
        ),
        ("scope", scopes),
        ("resource", &ready.mcp_url),
    ];
    let answer = Request::post(format!("{}/token", ready.issuer))
        .form(fields)
        .send()
        .await?;
    match answer.json()?.get("access_token").and_then(Value::as_str) {
        Some(token) => Ok(token.to_owned()),
        None => Err(Failure::new(format!(
            "no token: {} {}",
            answer.status,
            answer.text()
        ))),
    }
}

/// The records that `audit query` with these options gives, oldest first.
fn audit(running: &Running, options: &[&str]) -> Outcome<Vec<Value>> {
    let data = running.data().display().to_string();
    let arguments = ["audit", "query", "--json", "--data", &data];
    let ran = portcullis().run(arguments.iter().chain(options))?;
    if ran.code != Some(0) {
        return Err(Failure::new(format!("audit query: {ran:?}")));
    }
    ran.stdout
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// The string at a JSON pointer, or an empty one.
fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// The names in the answer to `tools/list`, as they came.
fn tool_names(answer: &Value) -> Vec<String> {
    let tools = answer.pointer("/result/tools").and_then(Value::as_array);
    tools
        .map(|tools| tools.iter().map(|tool| text(tool, "/name")).collect())
        .unwrap_or_default()
}
