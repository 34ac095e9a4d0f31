//! `portcullis audit query`

use std::collections::VecDeque;
use std::io::Write;
use std::process::ExitCode;

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use portcullis_net::clock::{self, Clock as _};

use super::names::Names;
use super::show::{Record, Style};
use super::{Lines, Next, Place, Trouble, files};

#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) place: Place,
    /// Only refusals: calls denied, logins, consents, registrations and tokens refused
    #[arg(long)]
    pub(super) denied: bool,
    /// Only of this agent (client identifier)
    #[arg(long, value_name = "CLIENT")]
    pub(super) agent: Option<String>,
    /// Only of this user
    #[arg(long)]
    pub(super) user: Option<String>,
    /// Only calls of this tool
    #[arg(long)]
    pub(super) tool: Option<String>,
    /// Only on this server
    #[arg(long)]
    pub(super) server: Option<String>,
    /// Only of this kind: decision, outcome, login, consent, registration, token, refusals or system
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// From this time on: 2026-11-21T10:00:00Z, 2026-11-21 (UTC), or 90s, 15m, 2h, 7d ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) until: Option<String>,
    /// At most so many, the newest of those that fit
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Print the records as they are in the log, one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args, style: Style, out: &mut dyn Write) -> Result<ExitCode, Trouble> {
    let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
    let files = files(&args.place.folder()?)?;
    // JSON is the log's own lines, which need none.
    let names = if args.json {
        Names::default()
    } else {
        Names::read(&files)?
    };
    for path in files {
        let mut lines = Lines::open(&path)?;
        while let Next::Line(line) = lines.next()? {
            let Some(record) = Record::parse(line).filter(|record| args.wants(record)) else {
                continue;
            };
            let Some(limit) = args.limit else {
                print(line, &record, &names, args, style, out)?;
                continue;
            };
            kept.push_back(line.to_vec());
            if kept.len() > limit {
                kept.pop_front();
            }
        }
    }
    for line in kept {
        if let Some(record) = Record::parse(&line) {
            print(&line, &record, &names, args, style, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(
    line: &[u8],
    record: &Record,
    names: &Names,
    args: &Args,
    style: Style,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    if args.json {
        out.write_all(line)?;
        writeln!(out)
    } else {
        writeln!(out, "{}", record.line(names, style))
    }
}

impl Args {
    fn wants(&self, record: &Record) -> bool {
        let same =
            |wanted: &Option<String>, member| wanted.is_none() || wanted.as_deref() == record.text(member);
        let time = record.text("time").unwrap_or_default();
        same(&self.agent, "agent")
            && same(&self.user, "user")
            && same(&self.server, "server")
            && same(&self.kind, "kind")
            && same(&self.tool, "target")
            && (self.tool.is_none() || record.text("target_kind") == Some("tool"))
            && (!self.denied || record.is_refusal())
            // Times are written in one form, in which the order of the texts is that of the times.
            && self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until)
    }
}

/// A time as a user writes it, as records write it.
fn time(text: &str) -> Result<String, String> {
    let now = clock::System.now().as_millis();
    time_at(text, now).ok_or_else(|| "not a time such as 2026-11-21T10:00:00Z, 2026-11-21 or 2h".to_owned())
}

pub(super) fn time_at(text: &str, now_millis: i64) -> Option<String> {
    let timestamp = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| {
            Some(
                text.parse::<civil::Date>()
                    .ok()?
                    .to_zoned(TimeZone::UTC)
                    .ok()?
                    .timestamp(),
            )
        })
        .or_else(|| {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                _ => return None,
            };
            let ago = number
                .parse::<i64>()
                .ok()
                .filter(|number| *number >= 0)?
                .checked_mul(seconds)?;
            Timestamp::from_millisecond(now_millis)
                .ok()?
                .checked_sub(SignedDuration::from_secs(ago))
                .ok()
        })?;
    Some(timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}
