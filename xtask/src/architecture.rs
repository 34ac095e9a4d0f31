//! The arrows of ARCHITECTURE.md: which crate may depend on which, and inside a crate which room may use which.
//! Read from the manifests and from the source, so that a wrong arrow fails with the file that draws it.

use crate::failure::{Failure, Outcome};
use crate::repository::{Repository, Source};
use crate::terminal;

/// A crate, and the crates of ours it may depend on. In tests every crate may use `testkit`.
const CRATES: &[(&str, &[&str])] = &[
    ("crates/core", &[]),
    ("crates/net", &["core"]),
    ("crates/guard", &["core", "net"]),
    ("crates/agent", &["core", "net"]),
    ("crates/server", &["core", "net", "guard"]),
    ("crates/cli", &["core", "net", "guard", "agent", "server"]),
    // Shares nothing with what it tests, or it would repeat its mistakes.
    ("crates/testkit", &[]),
    ("crates/bench", &["core", "net", "guard", "server"]),
    ("xtask", &[]),
];

/// A crate with rooms; the rooms every other room may use; and for each room the further rooms it may use.
struct House {
    krate: &'static str,
    leaves: &'static [&'static str],
    rooms: &'static [(&'static str, &'static [&'static str])],
}

const HOUSES: &[House] = &[
    House {
        krate: "crates/core",
        leaves: &["fault", "ids", "jose", "limits", "random", "secret", "time"],
        rooms: &[
            ("wire", &[]),
            ("identity", &["wire"]),
            ("policy", &["wire", "identity"]),
            ("forward", &["wire", "identity", "policy"]),
            // Translates what was permitted: it judges nothing.
            ("bridge", &["wire"]),
            ("audit", &[]),
            ("revocation", &["audit"]),
            ("signals", &["revocation"]),
            ("oauth", &["wire"]),
            ("keys", &[]),
            ("seal", &[]),
        ],
    },
    House {
        krate: "crates/server",
        leaves: &[],
        rooms: &[
            ("tls", &[]),
            ("http", &["tls"]),
            ("store", &[]),
            ("custody", &["store"]),
            ("sink", &["store"]),
            // Reads a password where custody reads its secrets.
            ("ephemeral", &["custody"]),
            ("revocation", &["store", "custody"]),
            ("signals", &["http", "revocation"]),
            ("gateway", &["http", "tls", "store", "custody", "sink"]),
            ("authority", &["http", "store", "custody", "sink", "revocation"]),
            // Says where a master key, a Redis, certificates and a proxy are in the words of the rooms that use them.
            ("config", &["custody", "ephemeral", "tls", "http"]),
        ],
    },
];

/// Fails with every arrow that should not be.
pub(crate) fn check(repository: &Repository) -> Outcome {
    let sources = repository.sources()?;
    let mut wrong = manifests(&sources);
    for house in HOUSES {
        wrong.extend(rooms(house, &sources));
    }
    if wrong.is_empty() {
        terminal::say(&format!(
            "{} crates, {} houses with rooms: every arrow points the right way",
            CRATES.len(),
            HOUSES.len()
        ));
        return Ok(());
    }
    Err(Failure::new(wrong.join("\n")))
}

fn manifests(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for manifest in sources
        .iter()
        .filter(|source| source.path.ends_with("/Cargo.toml") && !source.path.starts_with("fuzz"))
    {
        let krate = manifest.path.trim_end_matches("/Cargo.toml");
        let Some((_, allowed)) = CRATES.iter().find(|(known, _)| *known == krate) else {
            wrong.push(format!(
                "{}: a crate that xtask/src/architecture.rs does not know; give it its arrows",
                manifest.path
            ));
            continue;
        };
        for (section, dependency) in dependencies(&manifest.text) {
            let in_tests = section == "dev-dependencies" && dependency == "testkit";
            if !in_tests && !allowed.contains(&dependency) {
                wrong.push(format!(
                    "{}: [{section}] must not name `portcullis-{dependency}`",
                    manifest.path
                ));
            }
        }
    }
    wrong
}

/// The crates of ours that a manifest names, each with its section.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if section.ends_with("dependencies")
            && let Some(dependency) = line.strip_prefix("portcullis-")
        {
            let end = dependency.find(['.', ' ', '=']).unwrap_or(dependency.len());
            found.push((section, dependency.get(..end).unwrap_or(dependency)));
        }
    }
    found
}

fn rooms(house: &House, sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    let prefix = format!("{}/src/", house.krate);
    for source in sources
        .iter()
        .filter(|source| source.is_rust() && !source.is_test())
    {
        let Some(inside) = source.path.strip_prefix(&prefix) else {
            continue;
        };
        let Some((room, _)) = inside.split_once('/') else {
            continue;
        };
        let Some((_, allowed)) = house.rooms.iter().find(|(known, _)| *known == room) else {
            if !house.leaves.contains(&room) {
                wrong.push(format!(
                    "{}: a room that xtask/src/architecture.rs does not know; give it its arrows",
                    source.path
                ));
            }
            continue;
        };
        for used in used(&code(source.product()), depth(inside)) {
            let known = house.rooms.iter().any(|(known, _)| *known == used);
            if known && used != room && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: room `{room}` must not use `{used}`", source.path));
            }
        }
    }
    wrong.dedup();
    wrong
}

/// How many `super::` lead from a file to the root of its crate.
fn depth(inside: &str) -> usize {
    inside.trim_end_matches("/mod.rs").split('/').count()
}

/// The source without comments, so that prose draws no arrow.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    lines.collect::<Vec<_>>().join("\n")
}

/// The first path segment after every `crate::`, and after a chain of `super::` that climbs to the root; groups in
/// braces give each of their members.
fn used(code: &str, depth: usize) -> Vec<String> {
    let to_root = "super::".repeat(depth);
    ["crate::", to_root.as_str()]
        .into_iter()
        .flat_map(|root| code.split(root).skip(1))
        .flat_map(first_segments)
        .collect()
}

fn first_segments(path: &str) -> Vec<String> {
    let identifier = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![identifier(path)];
    };
    let mut members = vec![String::new()];
    let mut nested = 0_usize;
    for character in group.chars() {
        match character {
            '}' if nested == 0 => break,
            ',' if nested == 0 => members.push(String::new()),
            _ => {
                nested = match character {
                    '{' => nested + 1,
                    '}' => nested - 1,
                    _ => nested,
                };
                if let Some(member) = members.last_mut() {
                    member.push(character);
                }
            }
        }
    }
    members.iter().map(|member| identifier(member)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_arrow_to_the_right_is_found_however_it_is_spelled() {
        for text in [
            "use crate::policy::Permit;",
            "use crate::{ids::Issuer, policy::{Permit, Denial}};",
            "use crate::{\n    jose,\n    policy,\n};",
            "fn f() -> crate::policy::Permit {}",
            "use super::super::policy::Permit;",
        ] {
            let found = rooms(&HOUSES[0], &[source("crates/core/src/wire/call.rs", text)]);
            assert_eq!(
                found,
                ["crates/core/src/wire/call.rs: room `wire` must not use `policy`"],
                "{text}"
            );
        }
    }

    #[test]
    fn arrows_to_the_left_to_leaves_and_in_prose_or_tests_are_fine() {
        for text in [
            "use crate::wire::Call;",
            "use crate::{ids::Issuer, jose};",
            "// unlike crate::forward::x",
            "fn f() {}\n#[cfg(test)]\nmod tests { use crate::forward::X; }",
        ] {
            let found = rooms(&HOUSES[0], &[source("crates/core/src/policy/decide.rs", text)]);
            assert_eq!(found, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn the_two_faces_of_the_server_do_not_know_each_other() {
        let found = rooms(
            &HOUSES[1],
            &[source(
                "crates/server/src/gateway/mod.rs",
                "use crate::authority::Grant;",
            )],
        );
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_manifest_must_not_point_up() {
        let up = "[package]\nname = \"portcullis-net\"\n[dependencies]\nportcullis-server.workspace = true\n";
        let wrong = manifests(&[source("crates/net/Cargo.toml", up)]);
        assert_eq!(
            wrong,
            ["crates/net/Cargo.toml: [dependencies] must not name `portcullis-server`"]
        );
        let testing = "[dev-dependencies]\nportcullis-testkit = { workspace = true }\n";
        assert_eq!(
            manifests(&[source("crates/net/Cargo.toml", testing)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_new_crate_or_room_must_be_given_its_arrows() {
        assert_eq!(manifests(&[source("crates/new/Cargo.toml", "")]).len(), 1);
        assert_eq!(
            rooms(&HOUSES[0], &[source("crates/core/src/new/mod.rs", "")]).len(),
            1
        );
    }
}
