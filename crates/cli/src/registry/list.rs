//! `portcullis registry list`: what is revoked.

use std::collections::HashSet;
use std::io::Write;

use portcullis_core::revocation::{Entry, Revocation};
use portcullis_core::time::UnixTime;
use portcullis_net::clock::{self, Clock as _};
use portcullis_server::revocation::issued_until;
use serde_json::{Value, json};

use super::scope::{Registry, Where, refused};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    /// Show what was lifted, and what can concern nothing any more, too
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One revocation.
pub(super) struct Row {
    pub(super) revocation: Revocation,
    lifted: bool,
}

impl Row {
    fn state(&self, now: UnixTime) -> &'static str {
        if self.lifted {
            "lifted"
        } else if self.revocation.expires.is_some_and(|expires| expires <= now) {
            "over"
        } else {
            "in force"
        }
    }
}

/// All that the log has, in its order.
pub(super) fn read(registry: &Registry) -> Result<Vec<Row>, Failure> {
    let (mut rows, mut lifted) = (Vec::new(), HashSet::new());
    let mut from = 0_u64;
    loop {
        let page = registry.log.read(from).map_err(refused)?;
        let more = page.is_full();
        for (seq, entry) in page.entries {
            from = seq.saturating_add(1);
            match entry {
                Entry::Revoke(revocation) => rows.push(Row {
                    revocation,
                    lifted: false,
                }),
                Entry::Lift(lift) => drop(lifted.insert(lift.lifts)),
            }
        }
        if !more {
            break;
        }
    }
    for row in &mut rows {
        row.lifted = lifted.contains(&row.revocation.id);
    }
    Ok(rows)
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let now = clock::System.now();
    let mut rows = read(&args.place.registry()?)?;
    rows.retain(|row| args.all || row.state(now) == "in force");
    if args.json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|row| {
                let mut shown = shown(&Entry::Revoke(row.revocation.clone()));
                if let Some(members) = shown.as_object_mut() {
                    members.insert("state".to_owned(), row.state(now).into());
                }
                shown
            })
            .collect();
        writeln!(out, "{:#}", json!(rows))?;
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "nothing is revoked")?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<24}{:<8}{:<34}{:<14}{:<22}REASON",
        "ID", "OF", "NAME", "HOW MUCH", "SINCE"
    )?;
    for Row { revocation, lifted } in &rows {
        let target = &revocation.target;
        writeln!(
            out,
            "{:<24}{:<8}{:<34}{:<14}{:<22}{}{}",
            revocation.id.as_str(),
            target.kind(),
            target.name(),
            target.extent(),
            instant(revocation.at),
            revocation.reason,
            if *lifted { " (lifted)" } else { "" }
        )?;
    }
    Ok(())
}

/// An entry as JSON, for scripts.
pub(super) fn shown(entry: &Entry) -> Value {
    match entry {
        Entry::Revoke(revocation) => json!({
            "id": revocation.id,
            "action": "revoke",
            "of": revocation.target.kind(),
            "issuer": revocation.target.issuer(),
            "name": revocation.target.name(),
            "extent": revocation.target.extent(),
            "issued_until": issued_until(&revocation.target).map(instant),
            "at": instant(revocation.at),
            "expires": revocation.expires.map(instant),
            "by": revocation.by.as_str(),
            "reason": revocation.reason,
        }),
        Entry::Lift(lift) => json!({
            "id": lift.id,
            "action": "lift",
            "lifts": lift.lifts,
            "at": instant(lift.at),
            "reason": lift.reason,
        }),
    }
}

/// As RFC 3339 writes it, in UTC.
pub(super) fn instant(at: UnixTime) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}
