//! The picture: a strip per year, a lane per purpose, a bar per certificate.
//!
//! States differ by colour (three of Okabe and Ito's, which are told apart with any colour vision), by pattern (hatched,
//! plain, dotted) and in the words of each bar's title. One file without scripts or references; it follows the reader's
//! light or dark scheme.

use std::fmt::Write as _;

use portcullis_core::keys::{RotationPolicy, State, Timeline, Use};
use portcullis_core::time::{Lifetime, UnixTime};

use super::{counts, headline, state_name, told};
use crate::keys::{day, name_of};

const LEFT: f64 = 112.0;
const WIDTH: f64 = 1098.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 172.0;
const BAR: f64 = 13.0;
const ROW: f64 = 16.0;
const BETWEEN_LANES: f64 = 10.0;
const BETWEEN_STRIPS: f64 = 40.0;
/// A strip is a year of this many days.
const DAYS: u64 = 366;

/// A certificate's life.
struct Bar {
    kid: String,
    purpose: Use,
    /// Each state with its beginning and end.
    stages: Vec<(State, UnixTime, UnixTime)>,
    row: usize,
}

/// The whole picture.
pub(super) fn draw(policy: &RotationPolicy, start: UnixTime, timeline: &Timeline) -> String {
    let bars = bars(timeline);
    let strips = strips(start, timeline.end);
    let rows = |purpose: Use| {
        let rows = bars
            .iter()
            .filter(|bar| bar.purpose == purpose)
            .map(|bar| bar.row + 1);
        rows.max().unwrap_or(1)
    };
    let lanes = [
        (Use::Signature, rows(Use::Signature)),
        (Use::Encryption, rows(Use::Encryption)),
    ];
    let strip_height = lanes.iter().map(|(_, rows)| height(*rows)).sum::<f64>() + BETWEEN_LANES;
    let whole_height = TOP + number(strips.len()) * (strip_height + BETWEEN_STRIPS) + 16.0;
    let whole_width = LEFT + WIDTH + RIGHT;
    let mut out = String::new();
    let mut put = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    put(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole_width} {whole_height}" width="{whole_width}" height="{whole_height}" role="img" aria-labelledby="title desc">"#
    ));
    put(format!(
        r#"<title id="title">Rotation of keys from {} to {}</title>"#,
        day(start),
        day(timeline.end)
    ));
    put(format!(r#"<desc id="desc">{}</desc>"#, escape(&headline(policy))));
    put(STYLE.to_owned());
    put(format!(
        r#"<rect class="paper" width="{whole_width}" height="{whole_height}"/>"#
    ));
    put(format!(
        r#"<text class="h1" x="30" y="42">Keys from {} to {}</text>"#,
        day(start),
        day(timeline.end)
    ));
    put(format!(
        r#"<text class="p" x="30" y="65">{}</text>"#,
        escape(&headline(policy))
    ));
    for (summary, y) in timeline.summaries.iter().zip([84.0, 102.0]) {
        put(format!(
            r#"<text class="p" x="30" y="{y}"><tspan class="b">{}</tspan> {}</text>"#,
            title_case(name_of(summary.purpose)),
            escape(&format!("{}; {}", counts(summary), told(summary)))
        ));
    }
    for (state, x) in [
        (State::Staged, 30.0),
        (State::Enabled, 216.0),
        (State::Disabled, 402.0),
    ] {
        put(format!(
            r#"<rect class="bar {0}" x="{x}" y="118" width="30" height="{BAR}" rx="3"/>{1}<text class="p" x="{2}" y="129">{3}</text>"#,
            state.as_str(),
            texture(state, x, 118.0, 30.0),
            x + 38.0,
            state_name(state)
        ));
    }
    for (index, strip) in strips.iter().enumerate() {
        let y = TOP + number(index) * (strip_height + BETWEEN_STRIPS);
        put(frame(*strip, y, strip_height, timeline.end));
        let mut lane_y = y;
        for (purpose, rows) in lanes {
            put(format!(
                r#"<text class="lane" x="{}" y="{}">{}</text>"#,
                LEFT - 10.0,
                lane_y + height(rows) / 2.0 + 4.0,
                name_of(purpose)
            ));
            for bar in bars.iter().filter(|bar| bar.purpose == purpose) {
                if let Some(drawn) = bar.draw(*strip, lane_y) {
                    put(drawn);
                }
            }
            lane_y += height(rows) + BETWEEN_LANES;
        }
    }
    put("</svg>".to_owned());
    out
}

impl Bar {
    /// What of it lies in the strip.
    fn draw(&self, strip: Strip, lane: f64) -> Option<String> {
        let y = lane + number(self.row) * ROW;
        let mut inside = String::new();
        for (state, from, to) in &self.stages {
            let (Some(x), Some(end)) = (strip.x((*from).max(strip.from)), strip.x((*to).min(strip.to)))
            else {
                continue;
            };
            // Less than half a day of it is no more than a hair at the strip's edge.
            if *to <= strip.from || *from >= strip.to || end - x < 1.5 {
                continue;
            }
            // A hair of paper between two states, so that they are apart in print too.
            let width = (end - x - 0.8).max(0.4);
            let written = write!(
                inside,
                r#"<rect class="bar {}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{BAR}" rx="2.5"/>{}"#,
                state.as_str(),
                texture(*state, x, y, width)
            );
            if *state == State::Enabled && width > 34.0 && written.is_ok() {
                let label = self.kid.rsplit('-').next().unwrap_or_default();
                inside.push_str(&format!(
                    r#"<text class="label" x="{:.1}" y="{:.1}">{}</text>"#,
                    x + width / 2.0,
                    y + BAR - 3.2,
                    escape(label)
                ));
            }
        }
        (!inside.is_empty()).then(|| format!(r#"<g><title>{}</title>{inside}</g>"#, escape(&self.title())))
    }

    fn title(&self) -> String {
        let mut text = format!("{}:", self.kid);
        for (index, (state, from, to)) in self.stages.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            text.push_str(&format!(
                "{comma} {} from {} to {}",
                state.as_str(),
                day(*from),
                day(*to)
            ));
        }
        text
    }
}

/// What lies over a bar's colour, so that the colour is not all that tells its state.
fn texture(state: State, x: f64, y: f64, width: f64) -> String {
    let pattern = match state {
        State::Staged => "hatched",
        State::Disabled => "dotted",
        State::Enabled | State::Deleted => return String::new(),
    };
    format!(
        r#"<rect fill="url(#{pattern})" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{BAR}" rx="2.5"/>"#
    )
}

/// A year.
#[derive(Clone, Copy)]
struct Strip {
    from: UnixTime,
    to: UnixTime,
}

impl Strip {
    fn x(self, at: UnixTime) -> Option<f64> {
        let into = u32::try_from(at.as_secs().checked_sub(self.from.as_secs())?).ok()?;
        Some(LEFT + f64::from(into) / f64::from(u32::try_from(DAYS * 86_400).ok()?) * WIDTH)
    }
}

/// Years from the first day on, each beginning on that day of the year.
fn strips(start: UnixTime, end: UnixTime) -> Vec<Strip> {
    let first = date(start);
    let mut strips = Vec::new();
    for year in 0_i16..=100 {
        let begin = |year: i16| {
            let date = first.checked_add(jiff::Span::new().years(year)).ok()?;
            let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
            Some(UnixTime::from_secs(at.as_second()))
        };
        match (begin(year), begin(year + 1)) {
            // A few leap days do not get a strip.
            (Some(from), Some(to)) if from.plus(Lifetime::from_days(5)) < end || year == 0 => {
                strips.push(Strip { from, to });
            }
            _ => break,
        }
    }
    strips
}

/// Year, months and lines between them.
fn frame(strip: Strip, y: f64, strip_height: f64, end: UnixTime) -> String {
    let first = date(strip.from);
    let mut text = format!(
        r#"<text class="year" x="30" y="{:.1}">{}</text><g class="months">"#,
        y - 5.0,
        first.year()
    );
    for month in 0_i8..=12 {
        let Ok(begin) = first
            .first_of_month()
            .checked_add(jiff::Span::new().months(month))
        else {
            continue;
        };
        let Ok(at) = begin.to_zoned(jiff::tz::TimeZone::UTC) else {
            continue;
        };
        let at = UnixTime::from_secs(at.timestamp().as_second());
        if at < strip.from || at >= strip.to {
            continue;
        }
        if let Some(x) = strip.x(at) {
            let class = if begin.month() == 1 { "new" } else { "" };
            let name = match begin.month() {
                1 if month > 0 => begin.year().to_string(),
                _ => begin.strftime("%b").to_string(),
            };
            text.push_str(&format!(
                r#"<line class="{class}" x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}"/><text x="{:.1}" y="{:.1}">{name}</text>"#,
                y - 14.0,
                y + strip_height,
                x + 3.0,
                y - 5.0
            ));
        }
    }
    text.push_str("</g>");
    if strip.from < end
        && end < strip.to
        && let Some(x) = strip.x(end)
    {
        text.push_str(&format!(
            r#"<line class="end" x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}"/>"#,
            y - 14.0,
            y + strip_height
        ));
    }
    text
}

/// From events to lives; each in the first row in which it touches no other.
fn bars(timeline: &Timeline) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    let mut rows: Vec<(Use, usize, UnixTime)> = Vec::new();
    for event in &timeline.events {
        let known = bars.iter().position(|bar| bar.kid == event.kid.as_str());
        if let Some(bar) = known.and_then(|index| bars.get_mut(index)) {
            if let Some((_, _, to)) = bar.stages.last_mut() {
                *to = event.at;
            }
            if event.became != State::Deleted {
                bar.stages.push((event.became, event.at, timeline.end));
            } else {
                rows.retain(|(purpose, row, _)| (*purpose, *row) != (bar.purpose, bar.row));
            }
            continue;
        }
        let row = (0..)
            .find(|row| {
                !rows
                    .iter()
                    .any(|(purpose, taken, _)| *purpose == event.purpose && taken == row)
            })
            .unwrap_or(0);
        rows.push((event.purpose, row, event.at));
        bars.push(Bar {
            kid: event.kid.to_string(),
            purpose: event.purpose,
            stages: vec![(event.became, event.at, timeline.end)],
            row,
        });
    }
    bars
}

fn height(rows: usize) -> f64 {
    number(rows) * ROW
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn date(at: UnixTime) -> jiff::civil::Date {
    jiff::Timestamp::from_second(at.as_secs())
        .unwrap_or_default()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
}

fn title_case(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const STYLE: &str = r##"<style>
:root { --paper: #ffffff; --ink: #1d2430; --soft: #5b6675; --line: #dfe4ea; --staged: #56b4e9; --enabled: #0072b2; --disabled: #e69f00; --on: #ffffff; --mark: #1d2430 }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e8ecf1; --soft: #9aa5b4; --line: #2b323d; --staged: #7cc7f2; --enabled: #2f8fd0; --disabled: #f0b429; --on: #ffffff; --mark: #14181f } }
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink) }
.paper { fill: var(--paper) }
.h1 { font-size: 24px; font-weight: 650 }
.p { font-size: 13px; fill: var(--soft) }
.b { font-weight: 650; fill: var(--ink) }
.year { font-size: 17px; font-weight: 650 }
.lane { font-size: 12px; text-anchor: end; fill: var(--soft) }
.months text { font-size: 10.5px; fill: var(--soft) }
.months line { stroke: var(--line); stroke-width: 1 }
.months line.new { stroke: var(--soft) }
.end { stroke: var(--soft); stroke-dasharray: 3 3 }
.label { font-size: 10px; font-weight: 600; text-anchor: middle; fill: var(--on); font-variant-numeric: tabular-nums }
.staged { fill: var(--staged) } .enabled { fill: var(--enabled) } .disabled { fill: var(--disabled) }
.ink { stroke: var(--mark); fill: none; opacity: .45 } .dot { fill: var(--mark); opacity: .5 }
</style>
<defs>
<pattern id="hatched" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line class="ink" x1="0" y1="0" x2="0" y2="6" stroke-width="1.6"/></pattern>
<pattern id="dotted" width="6" height="6" patternUnits="userSpaceOnUse"><circle class="dot" cx="3" cy="3" r="1"/></pattern>
</defs>"##;
