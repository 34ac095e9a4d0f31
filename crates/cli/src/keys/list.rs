//! `portcullis keys list`: what keys there are. Needs no private key; a server may run meanwhile.

use std::io::Write;

use portcullis_core::keys::State;
use portcullis_server::custody::KeyDescription;
use serde::Serialize;

use super::day;
use super::scope::{Ring, Where};
use crate::failure::Failure;
use crate::rings::CA;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    /// Show deleted and revoked keys too
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let rings = args.place.rings()?;
    let mut found = rings.of(None)?;
    found.push(rings.ca()?);
    for ring in &mut found {
        ring.keys.retain(|key| args.all || key.state != State::Deleted);
    }
    if args.json {
        write_json(&found, out)
    } else {
        write_text(&found, out)
    }
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
        .flat_map(|ring| ring.keys.iter().map(|key| Row { role: ring.role, key }))
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
        let title = if ring.role == CA {
            "certification authority"
        } else {
            ring.role
        };
        writeln!(out, "{title}")?;
        let mut purpose = "";
        for key in &ring.keys {
            if key.purpose != purpose {
                purpose = key.purpose;
                writeln!(out, "  for {purpose}")?;
                writeln!(
                    out,
                    "    {:<22}{:<10}{:<20}{:<9}{:<12}{:<26}CERTIFICATE SERIAL",
                    "KEY", "STATE", "ALGORITHM", "CUSTODY", "MADE", "CERTIFICATE VALID"
                )?;
            }
            let valid = format!("{} to {}", day(key.not_before), day(key.not_after));
            let state = if key.revoked.is_some() {
                "revoked"
            } else {
                key.state.as_str()
            };
            writeln!(
                out,
                "    {:<22}{state:<10}{:<20}{:<9}{:<12}{valid:<26}{}",
                key.kid.as_str(),
                key.algorithm,
                key.custody,
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
