//! `portcullis keys plan`: what will happen to the keys next, if nobody does anything.

use std::io::Write;

use portcullis_core::jose::jwk::Use;
use portcullis_core::keys::{Birth, Replacement, Transition};
use portcullis_server::custody::ring;
use serde_json::json;

use super::scope::{Where, refused};
use super::{instant, name_of};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let rings = args.place.rings()?;
    let policy = rings.policy()?;
    let mut rows = Vec::new();
    for ring in rings.of(None)? {
        for planned in ring::planned(&*ring.shelf, &policy, rings.now()).map_err(refused)? {
            rows.push((ring.role, planned));
        }
    }
    rows.sort_by_key(|(_, planned)| planned.at);
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(role, planned)| json!({ "role": role, "at": instant(planned.at), "what": told(&planned.what) }))
            .collect();
        writeln!(out, "{:#}", json!(rows))?;
        return Ok(());
    }
    for (role, planned) in &rows {
        writeln!(out, "{}  {role:<10} {}", instant(planned.at), told(&planned.what))?;
    }
    if rows.is_empty() {
        writeln!(out, "nothing is planned")?;
    }
    Ok(())
}

/// One transition in words.
pub(super) fn told(what: &Transition) -> String {
    match what {
        Transition::Make {
            purpose,
            birth: Birth::Staged | Birth::Hastened,
        } => format!("a new {} is made and published", key(*purpose)),
        Transition::Make {
            purpose,
            birth: Birth::Enabled,
        } => format!("a new {} is made and used at once", key(*purpose)),
        Transition::Enable { kid } => format!("{kid} becomes the primary, and the one before it retires"),
        Transition::Disable { kid } => format!("{kid} retires"),
        Transition::Delete { kid } => format!("{kid} is removed and its private key destroyed"),
        Transition::Hasten { kid } => {
            format!("{kid} is to become the primary as soon as every verifier knows it")
        }
        Transition::Revoke { kid, replacement } => {
            let next = match replacement {
                Replacement::NotNeeded => String::new(),
                Replacement::Staged(next) => format!(", and {next} takes its place"),
                Replacement::New(_) => ", and a new key takes its place".to_owned(),
            };
            format!("{kid} is revoked{next}")
        }
    }
}

fn key(purpose: Use) -> String {
    format!("{} key", name_of(purpose))
}
