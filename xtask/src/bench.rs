//! `cargo xtask bench`: builds the measuring crate as users build the product, and runs it.

use crate::failure::Outcome;
use crate::process::Program;
use crate::repository::Repository;

/// Hands `options` to the measuring crate.
pub(crate) fn run(repository: &Repository, options: &[&str]) -> Outcome {
    let run = [
        "run",
        "--locked",
        "--release",
        "--package",
        "portcullis-bench",
        "--",
    ];
    Program::cargo()
        .args(run)
        .args(options)
        .within(repository.root())
        .run()
}
