//! `portcullis keys simulate`: what a rotation policy does in years, as text, JSON or a picture. Touches no key.

mod svg;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_core::keys::{
    Event, MOST_EVENTS, RotationPolicy, Simulation, State, Summary, Timeline, Timing, Use,
};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::{Clock as _, System};
use serde_json::json;

use super::day;
use crate::failure::Failure;

/// `portcullis keys simulate`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many years
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i16).range(1..=100))]
    years: i16,
    /// The first day, such as 2027-01-31 [default: today]
    #[arg(long, value_name = "DATE")]
    start: Option<jiff::civil::Date>,
    /// Look at the keys only every so many days, as a server that is mostly off [default: all the time]
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=36_500))]
    days_between_ticks: u64,
    /// How long a certificate is valid, such as 90d; the lengths below follow it unless given
    #[arg(long, value_name = "TIME", value_parser = length)]
    validity: Option<Lifetime>,
    /// How long before the primary's certificate ends the next key is staged [default: 5/6 of the validity]
    #[arg(long, value_name = "TIME", value_parser = length)]
    stage_before: Option<Lifetime>,
    /// How long after it was staged a key becomes the primary [default: 1/6 of the validity]
    #[arg(long, value_name = "TIME", value_parser = length)]
    promote_after: Option<Lifetime>,
    /// How long a retired key is kept at least [default: 1/6 of the validity]
    #[arg(long, value_name = "TIME", value_parser = length)]
    grace: Option<Lifetime>,
    /// max-age of the JWK Set [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = length)]
    jwks_max_age: Option<Lifetime>,
    /// By how much clocks may differ [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = length)]
    clock_skew: Option<Lifetime>,
    /// How long the longest token is valid [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = length)]
    longest_token: Option<Lifetime>,
    /// Draw it into this file, as an SVG picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn length(text: &str) -> Result<Lifetime, &'static str> {
    let wrong = "expected a whole number with a unit, such as 15d, 12h, 5m or 30s";
    let unit = match text.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3600,
        Some('m') => 60,
        Some('s') => 1,
        Some(_) | None => return Err(wrong),
    };
    let number: u64 = text
        .trim_end_matches(['d', 'h', 'm', 's'])
        .parse()
        .map_err(|_| wrong)?;
    number.checked_mul(unit).map(Lifetime::from_secs).ok_or(wrong)
}

/// Runs the command.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let policy = RotationPolicy::new(args.timing()).map_err(|flaw| Failure::usage(sentence(&flaw)))?;
    let begin = match args.start {
        Some(date) => date
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map_err(|error| Failure::usage(format!("--start {date}: {error}")))?,
        None => jiff::Timestamp::from_second(System.now().as_secs())
            .map_err(|error| Failure::refused(format!("the clock says no date: {error}")))?
            .to_zoned(jiff::tz::TimeZone::UTC),
    };
    let end = begin
        .checked_add(jiff::Span::new().years(args.years))
        .map_err(|error| Failure::usage(format!("--years {}: {error}", args.years)))?;
    let [start, end] = [begin, end].map(|at| UnixTime::from_secs(at.timestamp().as_second()));
    let timeline = Simulation {
        start,
        length: Lifetime::from_secs(u64::try_from(end.as_secs() - start.as_secs()).unwrap_or(0)),
        between_ticks: Lifetime::from_days(args.days_between_ticks),
        policy,
        keys: Vec::new(),
    }
    .run()
    .map_err(|error| Failure::refused(error.to_string()))?;
    if args.json {
        write_json(&policy, start, &timeline, out)?;
    } else {
        write_text(&policy, start, &timeline, out)?;
    }
    if let Some(file) = &args.svg {
        std::fs::write(file, svg::draw(&policy, start, &timeline))
            .map_err(|error| Failure::refused(format!("cannot write {}: {error}", file.display())))?;
        if !args.json {
            writeln!(out, "\ndrawn into {}", file.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn timing(&self) -> Timing {
        let base = self.validity.map_or_else(Timing::default, Timing::of);
        Timing {
            validity: base.validity,
            stage_before: self.stage_before.unwrap_or(base.stage_before),
            promote_after: self.promote_after.unwrap_or(base.promote_after),
            jwks_max_age: self.jwks_max_age.unwrap_or(base.jwks_max_age),
            clock_skew: self.clock_skew.unwrap_or(base.clock_skew),
            longest_token: self.longest_token.unwrap_or(base.longest_token),
            grace: self.grace.unwrap_or(base.grace),
        }
    }
}

/// An error of the policy, in the words of the command line.
fn sentence(flaw: &portcullis_core::keys::PolicyFlaw) -> String {
    let mut text = flaw.to_string();
    for name in [
        "promote_after",
        "stage_before",
        "jwks_max_age",
        "longest_token",
        "clock_skew",
    ] {
        text = text.replace(name, &format!("--{}", name.replace('_', "-")));
    }
    text
}

fn write_text(
    policy: &RotationPolicy,
    start: UnixTime,
    timeline: &Timeline,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    writeln!(out, "{}", headline(policy))?;
    writeln!(out)?;
    writeln!(
        out,
        "{:<12}{:<12}{:<16}{:<10}{:<24}CERTIFICATE ENDS",
        "DAY", "PURPOSE", "KEY", "BECOMES", "STAGED/ENABLED/RETIRED"
    )?;
    for event in &timeline.events {
        let [staged, enabled, disabled] = event.counts;
        writeln!(
            out,
            "{:<12}{:<12}{:<16}{:<10}{:<24}{}",
            day(event.at),
            purpose(event.purpose),
            event.kid.as_str(),
            event.became.as_str(),
            format!("{staged} / {enabled} / {disabled}"),
            day(event.not_after),
        )?;
    }
    writeln!(out)?;
    writeln!(out, "{} to {}", day(start), day(timeline.end))?;
    for summary in &timeline.summaries {
        writeln!(out, "  {:<12}{}", purpose(summary.purpose), told(summary))?;
    }
    writeln!(
        out,
        "  every promise is kept while keys are looked at every {} or more often",
        length_text(policy.longest_gap())
    )?;
    if timeline.events.len() >= MOST_EVENTS {
        writeln!(out, "  stopped after {MOST_EVENTS} events: ask for fewer years")?;
    }
    Ok(())
}

/// The policy in a line.
fn headline(policy: &RotationPolicy) -> String {
    let timing = policy.timing();
    format!(
        "Certificates for {}; the next key staged {} before the end, enabled {} later, removed {} after it retired.",
        length_text(timing.validity),
        length_text(timing.stage_before),
        length_text(timing.promote_after),
        length_text(timing.grace),
    )
}

fn told(summary: &Summary) -> String {
    let mut text = format!(
        "{} rotations, at most {} apart; {} certificates at a time; ",
        summary.rotations,
        length_text(summary.longest_between_rotations),
        if summary.fewest == summary.most {
            format!("always {}", summary.most)
        } else {
            format!("{} to {}", summary.fewest, summary.most)
        },
    );
    if summary.without_primary.as_secs() == 0 {
        text.push_str("never without a primary");
    } else {
        text.push_str(&format!(
            "WITHOUT A PRIMARY for up to {}",
            length_text(summary.without_primary)
        ));
    }
    if summary.too_early > 0 {
        text.push_str(&format!(
            "; {} TIMES a key was used before every verifier could know it",
            summary.too_early
        ));
    }
    text
}

fn purpose(purpose: Use) -> &'static str {
    match purpose {
        Use::Signature => "signing",
        Use::Encryption => "encryption",
    }
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

fn write_json(
    policy: &RotationPolicy,
    start: UnixTime,
    timeline: &Timeline,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let timing = policy.timing();
    let event = |event: &Event| {
        let [staged, enabled, disabled] = event.counts;
        json!({
            "at": moment(event.at),
            "purpose": purpose(event.purpose),
            "kid": event.kid.as_str(),
            "becomes": event.became.as_str(),
            "not_after": moment(event.not_after),
            "staged": staged,
            "enabled": enabled,
            "disabled": disabled,
        })
    };
    let summary = |summary: &Summary| {
        json!({
            "purpose": purpose(summary.purpose),
            "rotations": summary.rotations,
            "fewest_certificates": summary.fewest,
            "most_certificates": summary.most,
            "longest_between_rotations_seconds": summary.longest_between_rotations.as_secs(),
            "longest_without_primary_seconds": summary.without_primary.as_secs(),
            "promoted_too_early": summary.too_early,
        })
    };
    let whole = json!({
        "start": moment(start),
        "end": moment(timeline.end),
        "policy_seconds": {
            "validity": timing.validity.as_secs(),
            "stage_before": timing.stage_before.as_secs(),
            "promote_after": timing.promote_after.as_secs(),
            "jwks_max_age": timing.jwks_max_age.as_secs(),
            "clock_skew": timing.clock_skew.as_secs(),
            "longest_token": timing.longest_token.as_secs(),
            "grace": timing.grace.as_secs(),
            "longest_gap": policy.longest_gap().as_secs(),
        },
        "summary": timeline.summaries.iter().map(summary).collect::<Vec<_>>(),
        "events": timeline.events.iter().map(event).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&whole).map_err(|error| Failure::refused(error.to_string()))?;
    writeln!(out, "{text}")?;
    Ok(())
}

/// RFC 3339 in UTC.
fn moment(at: UnixTime) -> String {
    jiff::Timestamp::from_second(at.as_secs()).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

/// What people call a state of a certificate.
fn state_name(state: State) -> &'static str {
    match state {
        State::Staged => "staged (secondary)",
        State::Enabled => "enabled (primary)",
        State::Disabled => "disabled (retired)",
        State::Deleted => "deleted",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn simulated(line: &str) -> Result<String, Failure> {
        let mut out = Vec::new();
        let line = format!("simulate --start 2027-01-01 {line}");
        run(
            &Line::try_parse_from(line.split_whitespace()).unwrap().args,
            &mut out,
        )?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_defaults_are_told_line_by_line_and_in_sum() {
        let text = simulated("--years 1").unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[3],
            "2027-01-01  signing     sig-new-0001    enabled   0 / 1 / 0               2027-04-01"
        );
        assert!(
            text.contains("2027-01-31  signing     sig-new-0001    disabled  0 / 1 / 1"),
            "{text}"
        );
        assert!(text.contains("23 rotations, at most 30 days apart; always 3 certificates at a time; never without a primary"), "{text}");
        assert!(text.contains("every 19 days or more often"), "{text}");
    }

    #[test]
    fn json_says_the_same() {
        let text = simulated("--years 10 --json").unwrap();
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(whole["summary"][1]["purpose"], "encryption");
        assert_eq!(whole["summary"][0]["most_certificates"], 3);
        assert_eq!(whole["policy_seconds"]["stage_before"], 75 * 86_400);
        assert_eq!(whole["events"][0]["at"], "2027-01-01T00:00:00Z");
    }

    #[test]
    fn a_server_that_is_mostly_off_is_told_what_it_costs() {
        let text = simulated("--days-between-ticks 200").unwrap();
        assert!(text.contains("WITHOUT A PRIMARY for up to 110 days"), "{text}");
        assert!(text.contains("TIMES a key was used before"), "{text}");
    }

    #[test]
    fn a_policy_that_cannot_work_is_refused_in_the_words_of_the_command_line() {
        let failure = simulated("--promote-after 1m").unwrap_err();
        assert_eq!(failure.exit_code(), ExitCode::from(2));
        assert!(
            failure.to_string().contains("--promote-after is 60 s")
                && failure.to_string().contains("lower --jwks-max-age"),
            "{failure}"
        );
    }

    #[test]
    fn the_picture_has_a_title_for_every_certificate_and_is_well_formed() {
        let policy = RotationPolicy::default();
        let start = UnixTime::from_secs(1_798_761_600);
        let timeline = Simulation {
            start,
            length: Lifetime::from_days(730),
            between_ticks: Lifetime::from_secs(0),
            policy,
            keys: Vec::new(),
        }
        .run()
        .unwrap();
        let picture = svg::draw(&policy, start, &timeline);
        let made = timeline.events.iter().filter(|event| {
            event.became == State::Staged || (event.at == start && event.became == State::Enabled)
        });
        for event in made {
            assert!(
                picture.contains(&format!("<title>{}:", event.kid)),
                "{}",
                event.kid
            );
        }
        for tag in ["svg", "g", "title", "text", "pattern", "style", "defs", "desc"] {
            assert_eq!(
                picture.matches(&format!("<{tag}>")).count() + picture.matches(&format!("<{tag} ")).count(),
                picture.matches(&format!("</{tag}>")).count(),
                "{tag}"
            );
        }
        assert!(picture.contains("prefers-color-scheme: dark"));
        assert!(!picture.contains("NaN") && !picture.contains("href") && !picture.contains("<script"));
    }
}
