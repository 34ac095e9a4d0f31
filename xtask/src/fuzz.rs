//! `cargo xtask fuzz`: the targets of `fuzz/`, on the installed stable toolchain.
//!
//! cargo-fuzz is not needed: it is a way to pass the flags below. Without the address sanitizer, which only a nightly
//! compiler offers, nothing is lost here, because the workspace forbids unsafe code; coverage guides the search, and
//! a panic, an overflow, a hang or too much memory ends it.

use std::fs;
use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::process::Program;
use crate::repository::Repository;
use crate::terminal;

/// What cargo-fuzz passes, without the sanitizer. `--cfg fuzzing` is what libfuzzer-sys and our targets look for.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";
/// Beyond its time, for reading the corpus and for the slowest input.
const GRACE: Duration = Duration::from_secs(60);
const HOST: &str = "x86_64-unknown-linux-gnu";

/// Each target for the given number of seconds.
pub(crate) fn run(repository: &Repository, options: &[&str]) -> Outcome {
    let (seconds, required) = match options {
        ["--seconds", seconds] => (seconds, false),
        ["--seconds", seconds, "--require"] | ["--require", "--seconds", seconds] => (seconds, true),
        _ => return Err(Failure::usage("usage: cargo xtask fuzz --seconds N [--require]")),
    };
    let seconds = seconds
        .parse()
        .map_err(|_| Failure::usage(format!("`{seconds}` is not a number of seconds")))?;
    match missing(repository) {
        Some(what) if required => Err(Failure::new(format!("fuzzing needs {what}"))),
        Some(what) => {
            terminal::say(&format!("not run: fuzzing needs {what}"));
            Ok(())
        }
        None => fuzz(repository, seconds),
    }
}

/// The same from the test suite, where a machine that cannot fuzz is told so and not failed.
pub(crate) fn smoke(repository: &Repository, seconds: u64) -> Outcome {
    run(repository, &["--seconds", &seconds.to_string()])
}

/// What this machine lacks.
fn missing(repository: &Repository) -> Option<String> {
    if !repository.path("fuzz/Cargo.toml").exists() {
        return Some("the folder fuzz/ with its targets".to_owned());
    }
    if !Program::new("c++").arg("--version").works() {
        return Some("a C++ compiler for libFuzzer (Debian: g++)".to_owned());
    }
    let host = Program::new("rustc").arg("-vV").output().unwrap_or_default();
    if !host.contains(&format!("host: {HOST}")) {
        return Some(format!("a {HOST} machine"));
    }
    None
}

fn fuzz(repository: &Repository, seconds: u64) -> Outcome {
    let folder = repository.path("fuzz");
    let build = ["build", "--release", "--bins", "--target", HOST, "--quiet"];
    Program::cargo()
        .args(build)
        .env("RUSTFLAGS", FLAGS)
        .within(&folder)
        .run()?;
    for target in targets(repository)? {
        let found = folder.join("corpus").join(&target);
        let artifacts = folder.join("artifacts").join(&target);
        // Read, never written: inputs a person thought of.
        let seeds = folder.join("seeds").join(&target);
        fs::create_dir_all(&found)?;
        fs::create_dir_all(&artifacts)?;
        let log = artifacts.join("log");
        let program = Program::new(folder.join("target").join(HOST).join("release").join(&target))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args([
                "-timeout=10",
                "-rss_limit_mb=2048",
                "-verbosity=0",
                "-print_final_stats=1",
            ])
            .arg(found)
            .args(seeds.exists().then_some(seeds))
            .within(&folder);
        let status = program
            .start(&log, "")?
            .end(Duration::from_secs(seconds) + GRACE)?;
        let said = fs::read_to_string(&log)?;
        if !status.success() {
            return Err(Failure::new(format!(
                "`{target}` found something ({status}):\n{said}"
            )));
        }
        let runs = said
            .lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        terminal::say(&format!(
            "{target}: {seconds} s, {} inputs, nothing found",
            runs.unwrap_or("?").trim()
        ));
    }
    Ok(())
}

/// The names of the `[[bin]]` sections.
fn targets(repository: &Repository) -> Outcome<Vec<String>> {
    let manifest = repository.read("fuzz/Cargo.toml")?;
    let names = manifest.split("[[bin]]").skip(1).filter_map(|section| {
        let line = section
            .lines()
            .find(|line| line.trim_start().starts_with("name"))?;
        line.split('"').nth(1).map(str::to_owned)
    });
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        Err(Failure::new("fuzz/Cargo.toml names no [[bin]]"))
    } else {
        Ok(names)
    }
}
