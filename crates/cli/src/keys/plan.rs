//! `portcullis keys plan`: what will happen to the keys, if nobody does anything.

use std::io::Write;

use portcullis_core::keys::{Event, RotationPolicy, Simulation, State, Use, Why};
use portcullis_core::time::Lifetime;
use portcullis_server::custody::ring;
use serde_json::json;

use super::scope::{Where, refused};
use super::{day, instant, length_text, name_of};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    /// How far to look ahead, in days
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let rings = args.place.rings()?;
    let (policy, now) = (rings.policy()?, rings.now());
    let mut plans = Vec::new();
    for ring in rings.of(None)? {
        let timeline = Simulation {
            start: now,
            length: Lifetime::from_days(args.days),
            late_by: Lifetime::from_secs(0),
            policy,
            keys: ring::views(&*ring.shelf).map_err(refused)?,
        }
        .run()
        .map_err(|error| Failure::refused(error.to_string()))?;
        plans.push((ring.role, timeline.events));
    }
    if args.json {
        return write_json(&policy, &plans, out);
    }
    for (index, (role, events)) in plans.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{role}")?;
        for purpose in [Use::Signature, Use::Encryption] {
            writeln!(out, "  for {}", name_of(purpose))?;
            let own: Vec<&Event> = events.iter().filter(|event| event.purpose == purpose).collect();
            for event in &own {
                let due = if event.at <= now { "  (due now)" } else { "" };
                let (what, why) = (told(event), waited(&policy, event));
                writeln!(out, "    {}  {what}: {why}{due}", instant(event.at))?;
            }
            if own.is_empty() {
                writeln!(out, "    nothing within {} days", args.days)?;
            }
        }
    }
    writeln!(
        out,
        "\nKeys that are yet to be made are called sig-new-0001, enc-new-0001 and so on. A step comes with the first \
         look after its time: at once while a server runs. \"Every verifier knows it\" is said of those that ask the servers for \
         the JWK Set; copies elsewhere, as of `keys publish`, have to be renewed sooner than that."
    )?;
    Ok(())
}

fn write_json(
    policy: &RotationPolicy,
    plans: &[(&str, Vec<Event>)],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut steps: Vec<(&str, &Event)> = plans
        .iter()
        .flat_map(|(role, events)| events.iter().map(move |event| (*role, event)))
        .collect();
    steps.sort_by_key(|(_, event)| event.at);
    let rows: Vec<_> = steps
        .into_iter()
        .map(|(role, event)| {
            json!({
                "role": role,
                "purpose": name_of(event.purpose),
                "at": instant(event.at),
                "kid": event.kid,
                "becomes": event.became.as_str(),
                "not_after": instant(event.not_after),
                "what": told(event),
                "waits_for": waited(policy, event),
            })
        })
        .collect();
    writeln!(out, "{:#}", json!(rows))?;
    Ok(())
}

/// One step in words.
fn told(event: &Event) -> String {
    let kid = &event.kid;
    match (event.became, &event.why) {
        (State::Staged, _) if event.purpose == Use::Encryption => format!("{kid} is made"),
        (State::Staged, _) => format!("{kid} is made and published"),
        (State::Enabled, Why::NoOther) => format!("{kid} is made and used at once"),
        (State::Enabled, _) => format!("{kid} becomes the primary"),
        (State::Disabled, _) => format!("{kid} retires"),
        (State::Deleted, _) => format!("{kid} is removed and its private key destroyed"),
    }
}

/// What the step waits for, in words.
fn waited(policy: &RotationPolicy, event: &Event) -> String {
    let timing = policy.timing();
    match &event.why {
        Why::NoOther => "there is no other that could be used".to_owned(),
        Why::BeforeEnd { primary, ends } => format!(
            "{} before the certificate of {primary} ends, on {}",
            length_text(timing.stage_before),
            day(*ends)
        ),
        Why::Staged(at) => format!(
            "{} after it was published, on {}",
            length_text(timing.promote_after),
            day(*at)
        ),
        Why::Hastened(at) => format!(
            "a rotation was asked for, and {} after it was published, on {}, every verifier knows it",
            policy.maturity(),
            day(*at)
        ),
        Why::PrimaryEnds => "the certificate of the primary is about to end".to_owned(),
        Why::Succeeded(next) => format!("{next} takes over"),
        Why::Retired(at) => format!("what it made is in use no more; it retired on {}", day(*at)),
        Why::CertificateEnds => format!("its certificate ends, on {}", day(event.not_after)),
    }
}
