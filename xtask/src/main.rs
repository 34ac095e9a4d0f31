//! The project's own commands. `cargo xtask` prints them.
//!
//! Takes: the repository it stands in. Gives: a plain verdict and an exit code. May use: the standard library,
//! serde_json, and the programs it names. Never: links a crate of the product, so that it compiles in seconds and
//! still runs when the product does not build.

mod architecture;
mod bench;
mod conformance;
mod failure;
mod fuzz;
mod install;
mod process;
mod repository;
mod rules;
mod suite;
mod terminal;

use std::process::ExitCode;

use failure::{Failure, Outcome};
use repository::Repository;

const HELP: &str = "\
cargo xtask test [--quick]           everything a change must pass; installs what is missing
                                     (--quick: without the conformance suite, real clients and fuzzing)
cargo xtask rules                    the file rules and the architecture test alone
cargo xtask install                  only installs what `test` needs
cargo xtask conformance              the official MCP conformance suite: bare, through the gateway, and the authority
cargo xtask fuzz --seconds N [--require]   each fuzz target for N seconds (--require: fail when fuzzing cannot run here)
cargo xtask bench [SECONDS]          measures, and writes docs/benchmarks.md (SECONDS of each round: 3); brings HAProxy and Envoy
                                     where it can (with `--only SECTION` after it: shows that section alone)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::complain(&format!("xtask: {failure}"));
            if failure.is_usage() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(arguments: &[&str]) -> Outcome {
    let repository = Repository::find()?;
    match arguments {
        ["test"] => suite::run(&repository, suite::Extent::Whole),
        ["test", "--quick"] => suite::run(&repository, suite::Extent::Quick),
        ["rules"] => suite::rules(&repository),
        ["install"] => install::run(&repository),
        ["conformance"] => conformance::run(&repository),
        ["fuzz", options @ ..] => fuzz::run(&repository, options),
        ["bench", options @ ..] => bench::run(&repository, options),
        [] | ["help" | "--help" | "-h"] => {
            terminal::say(HELP);
            Ok(())
        }
        _ => Err(Failure::usage(format!(
            "no such command `{}`\n\n{HELP}",
            arguments.join(" ")
        ))),
    }
}
