//! `cargo xtask bench [SECONDS]`: builds the product and the measuring crate as users build them, measures, and writes the page.

use std::process::{Command, Stdio};

use crate::failure::{Failure, Outcome};
use crate::process::Program;
use crate::repository::Repository;
use crate::terminal;

const PAGE: &str = "docs/benchmarks.md";

/// Hands `options` (seconds of each round) to the measuring crate and keeps what it prints.
pub(crate) fn run(repository: &Repository, options: &[&str]) -> Outcome {
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
    std::fs::write(repository.path(PAGE), &measured.stdout)
        .map_err(|error| Failure::new(format!("{PAGE} cannot be written: {error}")))?;
    terminal::say(&format!("{PAGE} is written"));
    Ok(())
}
