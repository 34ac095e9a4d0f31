//! `cargo xtask test`: every check of the project, in order, each with its name and its time. The first that does not
//! hold ends the run.

use std::time::Instant;

use crate::failure::{Failure, Outcome};
use crate::process::Program;
use crate::repository::Repository;
use crate::{architecture, conformance, fuzz, install, rules, terminal};

/// Long enough to notice a target that crashes at once, short enough for every run.
const SMOKE_SECONDS: u64 = 4;
/// The tests that need published packages, a browser and minutes.
const REAL_CLIENTS: &str = "real_client_";

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
