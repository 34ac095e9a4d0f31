//! Rules about files that no compiler knows: their size, what must not stand in them, bans that must be repeated, and
//! what must not be in the dependency tree.

use std::collections::{BTreeMap, BTreeSet};

use crate::failure::{Failure, Outcome};
use crate::process::Program;
use crate::repository::{Repository, Source};
use crate::terminal;

/// Lines of a Rust file before its tests.
const MOST_LINES: usize = 600;

/// Folders of one machine; nothing in the project may point there. Spelled in halves, so as not to find itself.
const MACHINE: [&str; 3] = [
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/ro", "ot/"),
];

/// Packages that must not be linked: a second TLS stack, or cryptography we decided against (docs/decisions).
const BANNED: [&str; 5] = ["openssl-sys", "native-tls", "ring", "rsa", "serde_yaml"];

/// Packages of which there must be one version: two would mean two sets of keys, or two rules for one thing.
const SINGLE: [&str; 7] = [
    "aws-lc-rs",
    "aws-lc-sys",
    "rustls",
    "rustls-webpki",
    "hyper",
    "http",
    "tokio",
];

/// Fails with everything that does not hold.
pub(crate) fn check(repository: &Repository) -> Outcome {
    let sources = repository.sources()?;
    let mut wrong: Vec<String> = sources.iter().flat_map(in_file).collect();
    wrong.extend(bans(
        &repository.read("clippy.toml")?,
        &repository.read("crates/core/clippy.toml")?,
    ));
    let tree = [
        "tree",
        "--locked",
        "--workspace",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    wrong.extend(linked(
        &Program::cargo().args(tree).within(repository.root()).output()?,
    ));
    if !wrong.is_empty() {
        return Err(Failure::new(wrong.join("\n")));
    }
    terminal::say(&format!("{} files keep the rules", sources.len()));
    if Program::cargo().args(["deny", "--version"]).works() {
        let deny = ["deny", "--all-features", "check", "bans", "licenses", "sources"];
        return Program::cargo().args(deny).within(repository.root()).run();
    }
    terminal::say("cargo-deny is not installed: licences are not checked (the ban list is, above)");
    Ok(())
}

fn in_file(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut wrong = Vec::new();
    if path != "Cargo.lock"
        && let Some(found) = MACHINE.iter().find(|folder| source.text.contains(**folder))
    {
        wrong.push(format!("{path}: a path of one machine, `{found}`"));
    }
    if source.is_rust() {
        let lines = source.product().lines().count();
        if !source.is_test() && lines > MOST_LINES {
            wrong.push(format!("{path}: {lines} lines before its tests, at most {MOST_LINES}: which room does it want to become?"));
        }
        if source
            .text
            .lines()
            .any(|line| is_doc(line) && line.contains("```") && line.contains("ignore"))
        {
            wrong.push(format!("{path}: an example that is ignored; make it run"));
        }
    }
    wrong
}

fn is_doc(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("///") || line.starts_with("//!")
}

/// clippy reads the nearest `clippy.toml` alone, so that of `core` must hold every ban of the root's.
fn bans(root: &str, core: &str) -> Vec<String> {
    let missing = paths(root).into_iter().filter(|path| !paths(core).contains(path));
    missing
        .map(|path| format!("crates/core/clippy.toml: does not repeat the ban of `{path}`"))
        .collect()
}

fn paths(configuration: &str) -> Vec<&str> {
    let after = configuration.split("path = \"").skip(1);
    after.filter_map(|rest| rest.split('"').next()).collect()
}

/// Judges the packages that are linked: lines `name vVERSION`, then `(source)` where it is not crates.io. The lock file
/// would not do, because it also holds what optional features would bring.
fn linked(tree: &str) -> Vec<String> {
    let packages: BTreeSet<_> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let mut versions = BTreeMap::<&str, usize>::new();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package.split(' ').next().unwrap_or_default();
        *versions.entry(name).or_default() += 1;
        if BANNED.contains(&name) {
            wrong.push(format!("`{name}` is linked, and banned"));
        }
        if package.contains("(git+") || package.contains("(http") {
            wrong.push(format!("`{package}` does not come from crates.io"));
        }
    }
    let twice = SINGLE
        .iter()
        .filter(|single| versions.get(*single).is_some_and(|count| *count > 1));
    wrong.extend(twice.map(|single| format!("more than one version of `{single}` is linked")));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(text: String) -> Source {
        Source {
            path: "crates/x/src/y.rs".to_owned(),
            text,
        }
    }

    #[test]
    fn a_file_may_have_600_lines_before_its_tests_and_not_601() {
        let tests = "\n#[cfg(test)]\nmod tests {}\n".to_owned() + &"//\n".repeat(900);
        assert!(in_file(&rust("//\n".repeat(600) + &tests)).is_empty());
        assert_eq!(in_file(&rust("//\n".repeat(601) + &tests)).len(), 1);
    }

    #[test]
    fn ignored_examples_and_paths_of_a_machine_are_found() {
        assert_eq!(in_file(&rust("/// ```rust,ignore\n".to_owned())).len(), 1);
        assert_eq!(in_file(&rust(format!("// see {}x\n", MACHINE[0]))).len(), 1);
        assert!(in_file(&rust("/// ```\n/// let ignored = 1;\n/// ```\n".to_owned())).is_empty());
    }

    #[test]
    fn every_ban_must_be_repeated() {
        let root = r#"{ path = "a::b", reason = "" }, { path = "c::d", reason = "" }"#;
        assert_eq!(
            bans(root, r#"{ path = "c::d" }"#),
            ["crates/core/clippy.toml: does not repeat the ban of `a::b`"]
        );
        assert!(bans(root, root).is_empty());
    }

    #[test]
    fn what_is_linked_is_judged() {
        assert!(
            linked("tokio v1.5.0\nserde v1.0.0\ntokio v1.5.0 (*)\nours v0.1.0 (/somewhere)\n").is_empty()
        );
        assert_eq!(linked("tokio v1.5.0\ntokio v1.6.0\n").len(), 1);
        assert_eq!(linked("openssl-sys v0.9.0\n").len(), 1);
        assert_eq!(
            linked("serde v1.0.0 (git+https://example.com/serde#abc)\n").len(),
            1
        );
    }
}
