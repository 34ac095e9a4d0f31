//! `portcullis keys`: keys and certificates, looked at and changed. Servers may run on them meanwhile: they follow within a
//! second.

mod certificates;
mod change;
mod list;
mod plan;
mod publish;
mod scope;
mod simulate;

use std::io::Write;
use std::process::ExitCode;

use portcullis_core::jose::jwk::Use;
use portcullis_core::time::{Lifetime, UnixTime};

use crate::failure::Failure;

/// `portcullis keys`
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What scripts go by.
const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 a finding or a refusal, 2 a mistake in usage or configuration.";

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Signing and encryption keys, with their states, certificates and dates
    #[command(
        after_help = "Examples:\n  portcullis keys list --data ./data\n  portcullis keys list --json --config gateway.toml"
    )]
    List(list::Args),
    /// What will happen to the keys if nobody does anything, and what each step waits for
    #[command(
        after_help = "Examples:\n  portcullis keys plan --data ./data\n  portcullis keys plan --days 90 --json --config gateway.toml"
    )]
    Plan(plan::Args),
    /// Rotate now: new keys are published, and take over as soon as every verifier knows them
    #[command(after_help = "Example:\n  portcullis keys rotate --purpose sig --data ./data")]
    Rotate(change::Rotate),
    /// Revoke a key now: another takes its place, and what was made with it is refused from this moment on
    #[command(
        after_help = "Example:\n  portcullis keys revoke sig-2026-11-0badcafe --reason \"laptop stolen\" --data ./data"
    )]
    Revoke(change::Revoke),
    /// Write the JWK Set as a file, for a web server or a CDN
    #[command(after_help = "Example:\n  portcullis keys publish ./static --role gateway --data ./data")]
    Publish(publish::Args),
    /// Ask an outside CA for a certificate: print a PKCS#10 request, signed by the key
    #[command(
        after_help = "Examples:\n  portcullis keys csr sig-2026-11-0badcafe --out request.pem --data ./data\n  portcullis keys csr --role gateway --out request.pem\n\nFor signing keys alone: an encryption key cannot sign a request, and is certified by the built-in CA, or by another from its public key."
    )]
    Csr(certificates::Csr),
    /// Take in a certificate chain of an outside CA, or a private key with one
    #[command(
        after_help = "Examples:\n  portcullis keys import --kid sig-2026-11-0badcafe --chain chain.pem --data ./data\n  portcullis keys import --key key.pem --purpose sig --chain chain.pem --role gateway"
    )]
    Import(certificates::ImportArgs),
    /// Play a rotation policy through for years, without touching a key
    #[command(
        after_help = "Examples:\n  portcullis keys simulate --years 10 --svg rotation.svg\n  portcullis keys simulate --validity 30d --days-between-ticks 3\n\nExit codes: 0 every promise was kept, 1 one was broken, 2 a policy that cannot work or another mistake in usage."
    )]
    Simulate(simulate::Args),
}

/// Runs the command.
pub(crate) async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    // What was passed over or mended on the way is told of.
    crate::logs::start();
    match &args.command {
        Command::List(args) => list::run(args, out)?,
        Command::Plan(args) => plan::run(args, out)?,
        Command::Rotate(args) => change::rotate(args, out).await?,
        Command::Revoke(args) => change::revoke(args, out).await?,
        Command::Publish(args) => publish::run(args, out)?,
        Command::Csr(args) => certificates::csr(args, out).await?,
        Command::Import(args) => certificates::import(args, out).await?,
        Command::Simulate(args) => return simulate::run(args, out),
    }
    Ok(ExitCode::SUCCESS)
}

fn purpose(text: &str) -> Result<Use, &'static str> {
    match text {
        "sig" => Ok(Use::Signature),
        "enc" => Ok(Use::Encryption),
        _ => Err("`sig` or `enc`"),
    }
}

fn name_of(purpose: Use) -> &'static str {
    match purpose {
        Use::Signature => "signing",
        Use::Encryption => "encryption",
    }
}

/// The day in UTC.
fn day(at: UnixTime) -> String {
    match jiff::Timestamp::from_second(at.as_secs()) {
        Ok(at) => at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
        Err(_) => "-".to_owned(),
    }
}

/// As RFC 3339 writes it, in UTC.
fn instant(at: UnixTime) -> String {
    jiff::Timestamp::from_second(at.as_secs()).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

/// In the largest unit that leaves no rest worth telling.
fn length_text(length: Lifetime) -> String {
    let secs = length.as_secs();
    match secs {
        0 => "no time".to_owned(),
        1..120 => format!("{secs} s"),
        120..7200 => format!("{} min", secs / 60),
        7200..172_800 => format!("{} h", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use clap::Parser as _;
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

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn listed(data: &Path, json: bool) -> Result<String, Failure> {
        let mut line = vec!["keys", "list", "--data", data.to_str().unwrap()];
        line.extend(json.then_some("--json"));
        let line = Line::try_parse_from(line).unwrap();
        let mut out = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(&line.args, &mut out))?;
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
            text.contains("enabled   ES256               file     2026-11-21  2026-11-21 to 2027-02-19"),
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
        assert_eq!(rows[0]["not_after"], "2027-02-19T10:00:00Z");
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
