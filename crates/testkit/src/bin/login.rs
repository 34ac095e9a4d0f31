//! The test kit's login as a command, for runners that are not written in Rust:
//!
//! - `login READY_FILE --scopes "a b"` prints the tokens of a new login, and what a refresh of them needs;
//! - `login READY_FILE --authorize URL REDIRECT_PREFIX` signs in and approves at URL, then follows the redirect;
//! - `login READY_FILE --register REDIRECT_URI` registers a public client and prints its id.

use std::fs;
use std::io::Write as _;
use std::process::ExitCode;

use portcullis_testkit::login::{Attempt, Browser, Discovered, REDIRECT, discover, register};
use portcullis_testkit::{Failure, Outcome, Ready, Request};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (line, code) = match run(&arguments).await {
        Ok(answer) => (writeln!(std::io::stdout().lock(), "{answer}"), ExitCode::SUCCESS),
        Err(failure) => (writeln!(std::io::stderr().lock(), "{failure}"), ExitCode::FAILURE),
    };
    if line.is_ok() { code } else { ExitCode::FAILURE }
}

async fn run(arguments: &[&str]) -> Outcome<Value> {
    let usage =
        || Failure::new("usage: login READY_FILE --scopes SCOPES | --authorize URL PREFIX | --register URI");
    let (file, rest) = arguments.split_first().ok_or_else(usage)?;
    let ready: Ready = serde_json::from_slice(&fs::read(file)?)?;
    let password = ready
        .password
        .as_deref()
        .ok_or_else(|| Failure::new("the ready file has no password"))?;
    match rest {
        ["--scopes", scopes] => {
            let found = discover(&ready.mcp_url).await?;
            let client = register(&found, REDIRECT).await?;
            let attempt = Attempt::new(&found, &client, scopes)?;
            let redirect = Browser::default()
                .approve(&attempt.url, REDIRECT, &ready.user, password)
                .await?;
            let tokens = attempt.redeem(&found, &redirect).await?;
            Ok(json!({
                "access_token": tokens.access_token,
                "refresh_token": tokens.refresh_token,
                "expires_in": tokens.expires_in,
                "scope": tokens.scope,
                "client_id": tokens.client.id,
                "token_endpoint": found.authority.get("token_endpoint"),
                "resource": found.resource,
            }))
        }
        ["--authorize", url, prefix] => {
            let redirect = Browser::default()
                .approve(url, prefix, &ready.user, password)
                .await?;
            let answer = Request::get(redirect).send().await?;
            Ok(json!({ "status": answer.status }))
        }
        ["--register", redirect_uri] => {
            let found: Discovered = discover(&ready.mcp_url).await?;
            let client = register(&found, redirect_uri).await?;
            Ok(
                json!({ "client_id": client.id, "resource": found.resource, "issuer": found.authority.get("issuer") }),
            )
        }
        _ => Err(usage()),
    }
}
