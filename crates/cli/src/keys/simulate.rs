//! `portcullis keys simulate`: what a rotation policy does in years, as text, JSON or a picture. Touches no key.

mod svg;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_core::keys::{
    Broken, Event, MOST_EVENTS, RotationPolicy, Simulation, State, Summary, Timeline, Timing, Violation,
};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::{Clock as _, System};
use serde_json::json;

use super::{day, instant, length_text, name_of};
use crate::failure::Failure;

/// How many broken promises are listed for people.
const SHOWN: usize = 20;

/// `portcullis keys simulate`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many years
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i16).range(1..=100))]
    years: i16,
    /// The first day, such as 2027-01-31 [default: today]
    #[arg(long, value_name = "DATE")]
    start: Option<jiff::civil::Date>,
    /// Look at the keys every so many days only, as a server that is mostly off, each time as late as that allows
    /// [default: all the time]
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
    let late_by = Lifetime::from_days(args.days_between_ticks);
    let timeline = Simulation {
        start,
        length: Lifetime::from_secs(u64::try_from(end.as_secs() - start.as_secs()).unwrap_or(0)),
        late_by,
        policy,
        keys: Vec::new(),
    }
    .run()
    .map_err(|error| Failure::refused(error.to_string()))?;
    if args.json {
        write_json(&policy, late_by, start, &timeline, out)?;
    } else {
        write_text(&policy, late_by, start, &timeline, out)?;
    }
    if let Some(file) = &args.svg {
        std::fs::write(file, svg::draw(&policy, start, &timeline))
            .map_err(|error| Failure::refused(format!("cannot write {}: {error}", file.display())))?;
        if !args.json {
            writeln!(out, "\ndrawn into {}", file.display())?;
        }
    }
    Ok(if timeline.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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
    late_by: Lifetime,
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
            name_of(event.purpose),
            event.kid.as_str(),
            event.became.as_str(),
            format!("{staged} / {enabled} / {disabled}"),
            day(event.not_after),
        )?;
    }
    writeln!(out)?;
    writeln!(out, "{} to {}", day(start), day(timeline.end))?;
    for summary in &timeline.summaries {
        writeln!(out, "  {:<12}{}", name_of(summary.purpose), told(summary))?;
        writeln!(out, "  {:<12}{}", "", counted(summary, start, timeline.end))?;
    }
    write_promises(policy, late_by, timeline, out)?;
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
        "{} rotations, at most {} apart; ",
        summary.rotations,
        length_text(summary.longest_between_rotations),
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

/// How many certificates there were, as counted, and from when on.
fn counts(summary: &Summary) -> String {
    let range = if summary.fewest == summary.most {
        summary.most.to_string()
    } else {
        format!("{} to {}", summary.fewest, summary.most)
    };
    match summary.steady_since {
        Some(steady) => format!("{range} valid certificates at a time from {} on", day(steady)),
        None => format!("{range} valid certificates at a time"),
    }
}

/// The same with all that can be said about it.
fn counted(summary: &Summary, start: UnixTime, end: UnixTime) -> String {
    let range = counts(summary);
    let Some(steady) = summary.steady_since else {
        return format!("{range}; no key retired in this time");
    };
    let days = |from: UnixTime, to: UnixTime| {
        Lifetime::from_secs(u64::try_from(to.as_secs().saturating_sub(from.as_secs())).unwrap_or(0))
    };
    let mut text = format!("{range}, when the first key retired");
    if start < steady {
        text.push_str(&format!(
            " (fewer in the {} before it, because no key had a predecessor)",
            length_text(days(start, steady))
        ));
    }
    if summary.below_three.as_secs() > 0 {
        let missing: Vec<String> = [
            (summary.without_next, "no next key was staged yet"),
            (summary.without_last, "the last one was removed or had ended"),
        ]
        .into_iter()
        .filter(|(time, _)| time.as_secs() > 0)
        .map(|(time, why)| format!("{} because {why}", length_text(time)))
        .collect();
        text.push_str(&format!(
            "; fewer than 3 on {} of {}: {}",
            length_text(summary.below_three),
            length_text(days(steady, end)),
            missing.join(", ")
        ));
    }
    text
}

/// What was promised, and whether it was kept in this run.
fn write_promises(
    policy: &RotationPolicy,
    late_by: Lifetime,
    timeline: &Timeline,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let looked = if late_by.as_secs() == 0 {
        "looked at all the time".to_owned()
    } else {
        format!("looked at every {}", length_text(late_by))
    };
    let longest = length_text(policy.longest_gap());
    if timeline.violations.is_empty() {
        writeln!(
            out,
            "  every promise was kept with keys {looked}; up to {longest} apart they always are"
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "  {} PROMISES WERE BROKEN with keys {looked}; they are kept when that is at most {longest} apart",
        timeline.violations.len()
    )?;
    for violation in timeline.violations.iter().take(SHOWN) {
        writeln!(
            out,
            "    {}  {:<12}{}",
            day(violation.at),
            name_of(violation.purpose),
            broken(violation)
        )?;
    }
    if timeline.violations.len() > SHOWN {
        writeln!(
            out,
            "    and {} more: see --json",
            timeline.violations.len() - SHOWN
        )?;
    }
    Ok(())
}

fn broken(violation: &Violation) -> String {
    match &violation.what {
        Broken::NoPrimary { until } => {
            format!(
                "there is no primary with a valid certificate, until {}",
                day(*until)
            )
        }
        Broken::TooEarly(kid) => format!("{kid} is used before every verifier can know it"),
        Broken::Outlived(kid) => format!("{kid} is gone while what was made with it is still in use"),
        Broken::TooMany(count) => format!("there are {count} keys, and not 3 at most"),
    }
}

fn write_json(
    policy: &RotationPolicy,
    late_by: Lifetime,
    start: UnixTime,
    timeline: &Timeline,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let timing = policy.timing();
    let event = |event: &Event| {
        let [staged, enabled, disabled] = event.counts;
        json!({
            "at": instant(event.at),
            "purpose": name_of(event.purpose),
            "kid": event.kid.as_str(),
            "becomes": event.became.as_str(),
            "before_verifiers_know_it": event.unknown,
            "not_after": instant(event.not_after),
            "staged": staged,
            "enabled": enabled,
            "disabled": disabled,
        })
    };
    let summary = |summary: &Summary| {
        json!({
            "purpose": name_of(summary.purpose),
            "rotations": summary.rotations,
            "fewest_certificates": summary.fewest,
            "most_certificates": summary.most,
            "steady_since": summary.steady_since.map(instant),
            "below_three_seconds": summary.below_three.as_secs(),
            "below_three_without_next_seconds": summary.without_next.as_secs(),
            "below_three_without_last_seconds": summary.without_last.as_secs(),
            "longest_between_rotations_seconds": summary.longest_between_rotations.as_secs(),
            "longest_without_primary_seconds": summary.without_primary.as_secs(),
            "promoted_too_early": summary.too_early,
        })
    };
    let violation = |violation: &Violation| {
        let (promise, kid) = match &violation.what {
            Broken::NoPrimary { .. } => ("no_primary", None),
            Broken::TooEarly(kid) => ("used_before_known", Some(kid)),
            Broken::Outlived(kid) => ("gone_while_in_use", Some(kid)),
            Broken::TooMany(_) => ("too_many_keys", None),
        };
        json!({
            "at": instant(violation.at),
            "purpose": name_of(violation.purpose),
            "promise": promise,
            "kid": kid,
            "what": broken(violation),
        })
    };
    let whole = json!({
        "start": instant(start),
        "end": instant(timeline.end),
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
        "looked_at_every_seconds": late_by.as_secs(),
        "summary": timeline.summaries.iter().map(summary).collect::<Vec<_>>(),
        "violations": timeline.violations.iter().map(violation).collect::<Vec<_>>(),
        "events": timeline.events.iter().map(event).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&whole).map_err(|error| Failure::refused(error.to_string()))?;
    writeln!(out, "{text}")?;
    Ok(())
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

    fn simulated(line: &str) -> Result<(ExitCode, String), Failure> {
        let mut out = Vec::new();
        let line = format!("simulate --start 2027-01-01 {line}");
        let code = run(
            &Line::try_parse_from(line.split_whitespace()).unwrap().args,
            &mut out,
        )?;
        Ok((code, String::from_utf8(out).unwrap()))
    }

    #[test]
    fn the_defaults_are_told_line_by_line_and_in_sum() {
        let (code, text) = simulated("--years 1").unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[3],
            "2027-01-01  signing     sig-new-0001    enabled   0 / 1 / 0               2027-04-01"
        );
        assert!(
            text.contains("2027-01-31  signing     sig-new-0001    disabled  0 / 1 / 1"),
            "{text}"
        );
        for expected in [
            "23 rotations, at most 30 days apart; never without a primary",
            "3 valid certificates at a time from 2027-01-31 on, when the first key retired (fewer in the 30 days before it",
            "every promise was kept with keys looked at all the time; up to 19 days apart they always are",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
        assert!(
            !text.contains("always 3") && !text.contains("fewer than 3"),
            "{text}"
        );
    }

    #[test]
    fn json_says_the_same() {
        let (_, text) = simulated("--years 10 --json").unwrap();
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(whole["summary"][1]["purpose"], "encryption");
        assert_eq!(whole["summary"][0]["most_certificates"], 3);
        assert_eq!(whole["policy_seconds"]["stage_before"], 75 * 86_400);
        assert_eq!(whole["events"][0]["at"], "2027-01-01T00:00:00Z");
    }

    #[test]
    fn a_server_that_is_mostly_off_is_told_what_it_costs() {
        for (line, expected) in [
            ("--days-between-ticks 200", "WITHOUT A PRIMARY for up to 125 days"),
            ("--days-between-ticks 200", "TIMES a key was used before"),
            (
                "--days-between-ticks 40",
                "PROMISES WERE BROKEN with keys looked at every 40 days",
            ),
            (
                "--days-between-ticks 40",
                "2027-04-01  signing     there is no primary with a valid certificate",
            ),
            ("--days-between-ticks 40", "; fewer than 3 on "),
        ] {
            let (code, text) = simulated(line).unwrap();
            assert_eq!(code, ExitCode::FAILURE, "{line}");
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
        let (_, text) = simulated("--days-between-ticks 40 --json").unwrap();
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            whole["violations"][0]["at"], "2027-04-01T00:00:00Z",
            "{}",
            whole["violations"]
        );
        let (code, text) = simulated("--days-between-ticks 19").unwrap();
        assert_eq!(code, ExitCode::SUCCESS, "{text}");
    }

    #[test]
    fn days_below_three_are_told_with_what_is_missing() {
        let (code, text) = simulated("--stage-before 60d --promote-after 5d --grace 5d").unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(text.contains("2 to 3 valid certificates at a time"), "{text}");
        assert!(text.contains("because no next key was staged yet"), "{text}");
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
            late_by: Lifetime::from_secs(0),
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
