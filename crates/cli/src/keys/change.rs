//! `portcullis keys rotate` and `portcullis keys revoke`. Servers that run on the same keys follow within a second.

use std::io::Write;

use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwk::Use;
use portcullis_core::keys::State;
use portcullis_guard::recorder::{Durability, Recorder as _};
use portcullis_net::random;
use portcullis_server::custody::KeyChange;
use portcullis_server::custody::ring::{Revoked, revoke_alone};
use portcullis_server::custody::shelf::{KeyPurpose, Revocation};
use portcullis_server::sink::{self, AuditLog};
use serde_json::json;

use super::scope::{Ring, Rings, Where, refused};
use crate::failure::Failure;
use crate::rings::CA;

#[derive(Debug, clap::Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    place: Where,
    /// Only keys for this: `sig` or `enc`
    #[arg(long, value_parser = super::purpose)]
    purpose: Option<Use>,
    /// Only the keys of this role
    #[arg(long, value_parser = ["authority", "gateway"])]
    role: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// The key
    #[arg(value_name = "KID", value_parser = KeyId::parse)]
    kid: KeyId,
    /// Why: it stays with the key and goes on record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    place: Where,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn rotate(args: &Rotate, out: &mut dyn Write) -> Result<(), Failure> {
    let rings = args.place.rings()?;
    let purposes = match args.purpose {
        Some(purpose) => vec![purpose],
        None => vec![Use::Signature, Use::Encryption],
    };
    let mut changes = Vec::new();
    for ring in rings.of(args.role.as_deref())? {
        let operator = rings.operator(&ring)?;
        for purpose in &purposes {
            let rotated = operator.rotate(*purpose, rings.now(), &random::System);
            // Whatever becomes of the next one, what was done is on record.
            record(&rings, &operator.take_changes()).await?;
            changes.extend(rotated.map_err(refused)?);
        }
    }
    if args.json {
        return write_json(&changes, out);
    }
    write_text(&changes, out)?;
    let maturity = rings.policy()?.maturity();
    let waits = changes.iter().all(|change| change.to != State::Enabled);
    if changes.is_empty() {
        writeln!(
            out,
            "a rotation is under way already, nothing was changed; see `portcullis keys plan`"
        )?;
    } else if waits {
        writeln!(
            out,
            "the new keys are published now, and take over in {maturity}, when every verifier knows them"
        )?;
    }
    Ok(())
}

pub(super) async fn revoke(args: &Revoke, out: &mut dyn Write) -> Result<(), Failure> {
    let rings = args.place.rings()?;
    if args.kid.as_str() == CA {
        return Err(Failure::refused("the CA's key signs no token, and is not revoked by itself").hint(
            "whoever has it can certify keys in this server's name to those who trust its certificate: tell them to stop, \
             stop the servers, remove the folder (or the ring) `ca` and start again; every key then gets a certificate \
             of a new CA and keeps its name. `portcullis keys csr` and `import` bring in an outside CA",
        ));
    }
    let (ring, unreadable) = rings.with_key(&args.kid)?;
    for trouble in unreadable {
        warn(&trouble);
    }
    let ledger = rings.ledger(ring.role);
    let (now, reason) = (rings.now(), args.reason.as_str());
    let alone = |why: &str| {
        let alone = rings.alone(&ring, ledger.as_ref())?;
        revoke_alone(&alone, &args.kid, reason, why, now).map_err(refused)
    };
    let revoked = match rings.operator_of(&ring) {
        Ok(operator) => operator
            .revoke(&args.kid, reason, now, &random::System)
            .map_err(refused)?,
        Err(failure) => alone(failure.message())?,
    };
    let (changes, unreplaced) = match revoked {
        Revoked::Before(revocation) => return write_known(args, &ring, &revocation, out),
        Revoked::Now { changes, unreplaced } => (changes, unreplaced),
    };
    record(&rings, &changes).await?;
    if args.json {
        write_json(&changes, out)?;
    } else {
        write_text(&changes, out)?;
        writeln!(
            out,
            "everything made with {} is void; servers on the same keys follow within a second. Gateways elsewhere follow \
             within six minutes while they can fetch the JWK Set, and go on with their copy for up to 24 hours while they \
             cannot: restart those",
            args.kid
        )?;
        if changes
            .iter()
            .any(|change| change.kid == args.kid && change.purpose == KeyPurpose::Encryption)
        {
            writeln!(
                out,
                "what was sealed for it and recorded can still be opened with it: change the secrets that went through sealed fields"
            )?;
        }
    }
    match unreplaced {
        None => Ok(()),
        Some(why) => Err(Failure::refused(format!(
            "{} is revoked; no other key has taken its place, because {why}",
            args.kid
        ))
        .hint(
            "a server that runs on these keys makes one within seconds, if it can; otherwise mend this and start the \
             server again, or run `portcullis keys rotate`",
        )),
    }
}

/// Revoking twice is revoking once.
fn write_known(
    args: &Revoke,
    ring: &Ring,
    revocation: &Revocation,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let since = super::instant(revocation.at);
    if args.json {
        let row = json!({
            "role": ring.role,
            "kid": args.kid,
            "from": State::Deleted.as_str(),
            "to": State::Deleted.as_str(),
            "reason": revocation.reason,
            "revoked": since,
        });
        writeln!(out, "{:#}", json!([row]))?;
        return Ok(());
    }
    writeln!(
        out,
        "{} is revoked already, since {since}: {}",
        args.kid, revocation.reason
    )?;
    Ok(())
}

/// A warning, for people.
fn warn(text: &str) {
    // Nobody is left to tell it to when stderr is gone.
    let _told = writeln!(std::io::stderr(), "portcullis: warning: {text}");
}

/// Puts the changes on record, unless a server writes the log now: that server does it when it follows.
pub(super) async fn record(rings: &Rings, changes: &[KeyChange]) -> Result<(), Failure> {
    let Some(config) = rings.audit().filter(|_| !changes.is_empty()) else {
        return Ok(());
    };
    let log = match AuditLog::open(&config.dir, rings.clock(), &random::System) {
        Ok(log) => log,
        Err(sink::Error::InUse(_)) => return Ok(()),
        Err(error) => {
            return Err(Failure::refused(format!(
                "the keys were changed, but that is not on record: {error}"
            )));
        }
    };
    for change in changes {
        log.record(change.clone().into(), Durability::Synced)
            .await
            .map_err(|error| {
                Failure::refused(format!(
                    "the keys were changed, but that is not on record: {error}"
                ))
            })?;
        // A server that starts later need not find out.
        if let Some(ledger) = rings.ledger(&change.role) {
            ledger.note(change);
        }
    }
    Ok(())
}

fn write_text(changes: &[KeyChange], out: &mut dyn Write) -> Result<(), Failure> {
    for change in changes {
        let what = match (change.from, change.to) {
            // Senders must not pick an encryption key that is not the primary yet (docs/decisions/0004).
            (_, State::Staged) if change.purpose == KeyPurpose::Encryption => {
                "is made, and published when it is used"
            }
            (_, State::Staged) => "is made and published",
            (None, State::Enabled) => "is made and used from now on",
            (Some(_), State::Enabled) => "is used from now on",
            (_, State::Disabled) => "retires",
            (_, State::Deleted) if change.reason.is_some() => "is revoked",
            (_, State::Deleted) => "is removed",
        };
        writeln!(out, "{:<10} {} {what}", change.role, change.kid)?;
    }
    Ok(())
}

fn write_json(changes: &[KeyChange], out: &mut dyn Write) -> Result<(), Failure> {
    let rows: Vec<_> = changes
        .iter()
        .map(|change| {
            json!({
                "role": change.role,
                "kid": change.kid,
                "purpose": change.purpose.name(),
                "from": change.from_name(),
                "to": change.to.as_str(),
                "reason": change.reason,
            })
        })
        .collect();
    writeln!(out, "{:#}", json!(rows))?;
    Ok(())
}
