//! `portcullis keys`: what keys there are. Reads the data folder; a server may run on it at the same time.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_core::time::UnixTime;
use portcullis_server::custody::{self, KeyDescription};
use serde::Serialize;

use crate::failure::Failure;
use crate::home::Home;

/// The folder of the certification authority, beside those of the roles.
const AUTHORITY_FOLDER: &str = "ca";

/// `portcullis keys`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Signing and encryption keys, with their states, certificates and dates
    #[command(after_help = "Example:\n  portcullis keys list --data ./data\n  portcullis keys list --json")]
    List(List),
}

#[derive(Debug, clap::Args)]
struct List {
    /// The data folder that `portcullis up` made [default: the user's own]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::List(list) => {
            let rings = rings(Home::find(list.data.as_deref())?.keys().as_path())?;
            if list.json {
                write_json(&rings, out)?
            } else {
                write_text(&rings, out)?
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The keys of one role.
struct Ring {
    role: String,
    keys: Vec<KeyDescription>,
}

/// Every role's keys; the certification authority's last.
fn rings(keys: &Path) -> Result<Vec<Ring>, Failure> {
    let none = |error: std::io::Error| {
        Failure::usage(format!("there are no keys in {}: {error}", keys.display()))
            .hint("name the folder that `portcullis up` made with --data DIR")
    };
    let mut rings = Vec::new();
    for entry in std::fs::read_dir(keys).map_err(none)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let role = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let keys = custody::list(&path).map_err(|error| Failure::refused(error.to_string()))?;
        rings.push(Ring { role, keys });
    }
    rings.sort_by(|a, b| (a.role == AUTHORITY_FOLDER, &a.role).cmp(&(b.role == AUTHORITY_FOLDER, &b.role)));
    Ok(rings)
}

fn write_json(rings: &[Ring], out: &mut dyn Write) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row<'a> {
        role: &'a str,
        #[serde(flatten)]
        key: &'a KeyDescription,
    }
    let rows: Vec<Row<'_>> = rings
        .iter()
        .flat_map(|ring| {
            ring.keys.iter().map(|key| Row {
                role: &ring.role,
                key,
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&rows).map_err(|error| Failure::refused(error.to_string()))?;
    writeln!(out, "{text}")?;
    Ok(())
}

fn write_text(rings: &[Ring], out: &mut dyn Write) -> Result<(), Failure> {
    for (index, ring) in rings.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let title = if ring.role == AUTHORITY_FOLDER {
            "certification authority"
        } else {
            &ring.role
        };
        writeln!(out, "{title}")?;
        let mut purpose = "";
        for key in &ring.keys {
            if key.purpose != purpose {
                purpose = key.purpose;
                writeln!(out, "  for {purpose}")?;
                writeln!(
                    out,
                    "    {:<22}{:<10}{:<12}{:<26}CERTIFICATE SERIAL",
                    "KEY", "STATE", "MADE", "CERTIFICATE VALID"
                )?;
            }
            let valid = format!("{} to {}", day(key.not_before), day(key.not_after));
            writeln!(
                out,
                "    {:<22}{:<10}{:<12}{valid:<26}{}",
                key.kid.as_str(),
                key.state.as_str(),
                day(key.created),
                key.serial
            )?;
        }
        for identity in ring.keys.first().iter().flat_map(|key| &key.identities) {
            writeln!(out, "  certificates for {identity}")?;
        }
    }
    Ok(())
}

/// The day in UTC.
fn day(at: UnixTime) -> String {
    match jiff::Timestamp::from_second(at.as_secs()) {
        Ok(at) => at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
        Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_net::clock::Clock;
    use portcullis_net::random::System;
    use portcullis_server::custody::{Keyring, MasterKey};

    use super::*;

    struct Morning;

    impl Clock for Morning {
        fn now(&self) -> UnixTime {
            // 2026-11-21T10:00:00Z
            UnixTime::from_secs(1_795_255_200)
        }
    }

    fn open(data: &Path, role: &str) -> Arc<Keyring> {
        let master = MasterKey::open(&data.join("master.key"), &System).unwrap();
        Keyring::open(
            &data.join("keys").join(role),
            &master,
            "http://127.0.0.1:8420",
            &Morning,
            &System,
        )
        .unwrap()
    }

    fn listed(data: &Path, json: bool) -> Result<String, Failure> {
        let mut out = Vec::new();
        let args = Args {
            command: Command::List(List {
                data: Some(data.to_owned()),
                json,
            }),
        };
        run(&args, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn signing_and_encryption_keys_are_listed_apart() {
        let data = std::env::temp_dir().join(format!("portcullis-keys-{}", std::process::id()));
        let gateway = open(&data, "gateway");
        let authority = open(&data, "authority");
        let text = listed(&data, false).unwrap();
        let order = [
            "authority\n",
            "  for signing\n",
            "sig-2026-11-",
            "  for encryption\n",
            "enc-2026-11-",
            "gateway\n",
            "certification authority\n",
        ];
        let mut rest = text.as_str();
        for part in order {
            rest = rest
                .split_once(part)
                .unwrap_or_else(|| panic!("`{part}` is missing:\n{text}"))
                .1;
        }
        assert!(
            text.contains("enabled   2026-11-21  2026-11-21 to 2027-02-19"),
            "{text}"
        );
        assert!(text.contains("certificates for http://127.0.0.1:8420"), "{text}");

        let rows: Vec<serde_json::Value> = serde_json::from_str(&listed(&data, true).unwrap()).unwrap();
        assert_eq!(rows.len(), 5);
        for key in gateway.describe().iter().chain(&authority.describe()) {
            assert!(
                rows.iter()
                    .any(|row| row["kid"] == key.kid.as_str() && row["state"] == "enabled")
            );
        }
        assert_eq!(rows[0]["not_after"], "2027-02-19T09:55:00Z");
        std::fs::remove_dir_all(&data).unwrap();
    }

    #[test]
    fn a_folder_without_keys_is_a_mistake_in_usage() {
        let nowhere = std::env::temp_dir().join("portcullis-there-is-nothing-here");
        let failure = listed(&nowhere, false).unwrap_err();
        assert!(failure.to_string().contains("--data DIR"), "{failure}");
        assert_eq!(failure.exit_code(), ExitCode::from(2));
    }
}
