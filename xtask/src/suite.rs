//! `cargo xtask test`: every check of the project, in order, each with its name and its time. The first that does not
//! hold ends the run.

use std::collections::BTreeSet;
use std::env;
use std::time::Instant;

use crate::failure::{Failure, Outcome};
use crate::process::Program;
use crate::repository::Repository;
use crate::{architecture, conformance, fuzz, install, rules, terminal};

/// Long enough to notice a target that crashes at once, short enough for every run.
const SMOKE_SECONDS: u64 = 4;
/// The tests that need published packages, a browser and minutes.
const REAL_CLIENTS: &str = "real_client_";
/// How a test begins the line that says what it did not run and how to get it.
const NOT_RUN: &str = "not run: ";
/// With this at `1` a test passes whose parts are missing.
const ALLOW_MISSING: &str = "PORTCULLIS_ALLOW_MISSING";

/// How much of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    Quick,
}

type Check = fn(&Repository, Extent) -> Outcome;

const STEPS: &[(&str, Extent, Check)] = &[
    ("install what is missing", Extent::Whole, |repository, _| {
        install::run(repository)
    }),
    ("format", Extent::Quick, |repository, _| {
        cargo(repository, &["fmt", "--all", "--check"])
    }),
    ("lints", Extent::Quick, |repository, _| {
        cargo(
            repository,
            &[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        )
    }),
    ("file rules and dependencies", Extent::Quick, |repository, _| {
        rules::check(repository)
    }),
    ("architecture", Extent::Quick, |repository, _| {
        architecture::check(repository)
    }),
    ("unit and integration tests", Extent::Quick, tests),
    ("documentation tests", Extent::Quick, |repository, _| {
        cargo(
            repository,
            &["test", "--locked", "--workspace", "--doc", "--quiet"],
        )
    }),
    ("documentation", Extent::Quick, |repository, _| {
        let documentation = [
            "doc",
            "--locked",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--quiet",
        ];
        Program::cargo()
            .args(documentation)
            .env("RUSTDOCFLAGS", "-D warnings")
            .within(repository.root())
            .run()
    }),
    ("what was not run", Extent::Quick, not_run),
    ("conformance suite", Extent::Whole, |repository, _| {
        conformance::run(repository)
    }),
    ("fuzz smoke", Extent::Whole, |repository, _| {
        fuzz::smoke(repository, SMOKE_SECONDS)
    }),
];

/// Runs the steps of this extent.
pub(crate) fn run(repository: &Repository, extent: Extent) -> Outcome {
    let steps: Vec<_> = STEPS
        .iter()
        .filter(|(_, of, _)| extent == Extent::Whole || *of == Extent::Quick)
        .collect();
    let all = Instant::now();
    for (done, (name, _, check)) in steps.iter().enumerate() {
        terminal::say(&format!("\n== {}/{} {name}", done + 1, steps.len()));
        let begun = Instant::now();
        if let Err(failure) = check(repository, extent) {
            terminal::say(&format!(
                "== {name}: FAILED after {:.1} s\n{failure}",
                begun.elapsed().as_secs_f64()
            ));
            terminal::say(&format!("{done} passed, 1 failed"));
            let left = steps.len() - done - 1;
            return Err(Failure::new(format!(
                "step `{name}` failed; {left} steps were not run"
            )));
        }
        terminal::say(&format!("== {name}: ok, {:.1} s", begun.elapsed().as_secs_f64()));
    }
    terminal::say(&format!("\nall of it: {:.0} s", all.elapsed().as_secs_f64()));
    terminal::say(&format!("{} passed, 0 failed", steps.len()));
    Ok(())
}

/// The checks that only read files.
pub(crate) fn rules(repository: &Repository) -> Outcome {
    rules::check(repository)?;
    architecture::check(repository)
}

fn cargo(repository: &Repository, arguments: &[&str]) -> Outcome {
    Program::cargo().args(arguments).within(repository.root()).run()
}

/// nextest where it is installed: it runs the test binaries side by side.
fn tests(repository: &Repository, extent: Extent) -> Outcome {
    let quick = extent == Extent::Quick;
    if Program::cargo().args(["nextest", "--version"]).works() {
        let mut arguments = vec![
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--status-level",
            "fail",
        ];
        let filter = format!("not test({REAL_CLIENTS})");
        if quick {
            arguments.extend(["-E", &filter]);
        }
        return cargo(repository, &arguments);
    }
    let mut arguments = vec!["test", "--locked", "--workspace", "--all-targets", "--quiet"];
    if quick {
        arguments.extend(["--", "--skip", REAL_CLIENTS]);
    }
    cargo(repository, &arguments)
}

/// Names what passed without having run, and how to get it: a test that passes says nothing, and files that are not here are
/// not in the repository either.
fn not_run(repository: &Repository, extent: Extent) -> Outcome {
    // As they were built for the tests above, so that nothing is built again.
    let vectors = [
        "test",
        "--locked",
        "--workspace",
        "--test",
        "it",
        "--quiet",
        "vectors::",
    ];
    let said = Program::cargo()
        .args(vectors)
        .args(["--", "--nocapture"])
        .within(repository.root())
        .output()?;
    let mut lines: Vec<String> = told(&said).into_iter().map(str::to_owned).collect();
    if env::var_os(ALLOW_MISSING).is_some_and(|value| value == "1") {
        for (name, packages) in install::missing() {
            lines.push(format!(
                "{NOT_RUN}what needs {name}. To run it: apt-get install {}",
                packages.join(" ")
            ));
        }
    }
    if extent == Extent::Quick {
        lines.push(format!(
            "{NOT_RUN}the tests {REAL_CLIENTS}*, the conformance suite, the fuzz targets. To run them: cargo xtask test"
        ));
    }
    if lines.is_empty() {
        terminal::say("nothing: every file of test vectors is here, and so is every part");
    }
    for line in lines {
        terminal::say(&line);
    }
    Ok(())
}

/// Each once: a file is named by its own test and by the one that knows them all. With one thread what a test says is on the
/// line that names it.
fn told(said: &str) -> BTreeSet<&str> {
    said.lines()
        .filter_map(|line| line.get(line.find(NOT_RUN)?..))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_did_not_run_is_told_once_for_each_file() {
        let said = "running 3 tests\nnot run: a.json. It is from A\n.not run: b.json. It is from B\n..\n\
                    test vectors::b ... not run: b.json. It is from B\n92 files are there and run\n";
        let told: Vec<_> = told(said).into_iter().collect();
        assert_eq!(
            told,
            ["not run: a.json. It is from A", "not run: b.json. It is from B"]
        );
    }
}
