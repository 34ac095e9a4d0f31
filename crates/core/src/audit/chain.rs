//! The hash chain: each line carries the hash of the line before it, and its own.
//!
//! ```text
//! {"seq":7,"time":"2026-11-21T10:14:00.123Z","prev":"<hash of 6>",…the event's members…,"hash":"<hash of 7>"}
//!  ╰──────────────────────── SHA-256 of exactly these bytes, brace included ────────╯
//! ```
//!
//! Lines are built by hand and never parsed as JSON on the way: both directions are bound by SHA-256.

use aws_lc_rs::digest;

use super::Event;
use crate::time::UnixTime;

/// Longest line, its line feed not counted. An event that would be longer is not recorded, so its call does not happen.
pub const LINE_BYTES: usize = 256 * 1024;

/// Bytes of a hash in hexadecimal.
const HASH: usize = 64;
/// Bytes of a time such as `2026-11-21T10:14:00.123Z`.
const TIME: usize = 24;
/// Bytes of `,"hash":"…"}`.
const TRAILER: usize = 9 + HASH + 2;

/// An event that no line can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event makes a line of more than {LINE_BYTES} bytes, or none at all")]
pub struct Unrecordable;

/// The end of a log, to append to. Cheap to clone: whoever could not write what was appended goes back to a clone.
#[derive(Clone, Debug)]
pub struct Chain {
    next: u64,
    last: [u8; HASH],
}

impl Chain {
    /// A new log. Its random identifier stands where the first record's predecessor would.
    #[must_use]
    pub fn start(log_id: [u8; 32]) -> Self {
        Self {
            next: 1,
            last: hex(&log_id),
        }
    }

    /// The sequence number that the next record gets.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Writes the event as one line, line feed included, to the end of `out`; the record's sequence number comes back.
    ///
    /// # Errors
    /// [`Unrecordable`]; then neither `out` nor the chain changed.
    pub fn append(&mut self, event: &Event, now: UnixTime, out: &mut Vec<u8>) -> Result<u64, Unrecordable> {
        let start = out.len();
        let hash = write_line(out, self.next, &self.last, now, event).and_then(|()| {
            let hash = sha256_hex(out.get(start..)?);
            out.extend_from_slice(b",\"hash\":\"");
            out.extend_from_slice(&hash);
            out.extend_from_slice(b"\"}");
            (out.len() - start <= LINE_BYTES).then_some(hash)
        });
        let Some(hash) = hash else {
            out.truncate(start);
            return Err(Unrecordable);
        };
        out.push(b'\n');
        let seq = self.next;
        self.next = self.next.saturating_add(1);
        self.last = hash;
        Ok(seq)
    }
}

/// Everything of a line before its hash.
fn write_line(out: &mut Vec<u8>, seq: u64, prev: &[u8; HASH], now: UnixTime, event: &Event) -> Option<()> {
    out.extend_from_slice(b"{\"seq\":");
    write_number(out, seq, 1);
    out.extend_from_slice(b",\"time\":\"");
    write_time(out, now);
    out.extend_from_slice(b"\",\"prev\":\"");
    out.extend_from_slice(prev);
    out.push(b'"');
    // The event is an object of its own: its opening brace becomes the comma, its closing brace goes.
    let brace = out.len();
    serde_json::to_writer(&mut *out, event).ok()?;
    *out.get_mut(brace)? = b',';
    out.pop();
    Some(())
}

/// Checks the lines of a log, file after file, from its first one.
///
/// No key is in the chain: what it shows is that records changed and their hashes did not. It cannot show that records
/// were cut off the end, nor that everything from some record on was written anew, hashes included. For that, look for
/// a hash that was noted elsewhere among those of [`last_hash`](Self::last_hash): it proves its record and all before it.
#[derive(Debug)]
pub struct Verifier {
    file: Option<String>,
    line: u64,
    last: [u8; HASH],
    last_time: [u8; TIME],
    summary: Summary,
}

impl Verifier {
    /// Before the first line. The first record may have any sequence number: older files may be archived elsewhere.
    /// Whether that is so is for whoever knows to judge, by [`Summary::first_seq`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            file: None,
            line: 0,
            last: [0; HASH],
            last_time: [0; TIME],
            summary: Summary::default(),
        }
    }

    /// The lines that follow are of this file.
    pub fn begin_file(&mut self, name: &str) {
        self.file = Some(name.to_owned());
        self.line = 0;
    }

    /// Checks the next line, without its line feed.
    ///
    /// # Errors
    /// [`Broken`]; the verifier is of no further use then, since nothing after a break can be trusted.
    pub fn push(&mut self, line: &[u8]) -> Result<(), Broken> {
        self.line = self.line.saturating_add(1);
        let first = self.summary.records == 0;
        let due = (!first).then(|| self.summary.last_seq.saturating_add(1));
        let record = read(line).map_err(|defect| self.broken(due, defect))?;
        let seq = due.unwrap_or(record.seq);
        if sha256_hex(record.hashed) != *record.hash {
            return Err(self.broken(Some(seq), Defect::Hash));
        }
        if record.seq != seq {
            return Err(self.broken(Some(seq), Defect::Sequence { found: record.seq }));
        }
        if !first && *record.prev != self.last {
            return Err(self.broken(Some(seq), Defect::Link));
        }
        if first {
            self.summary.first_seq = seq;
            self.summary.first_time = text(record.time);
        } else if *record.time < self.last_time {
            self.summary.clock_went_back = self.summary.clock_went_back.saturating_add(1);
        }
        self.last = *record.hash;
        self.last_time = *record.time;
        self.summary.last_seq = seq;
        self.summary.records = self.summary.records.saturating_add(1);
        Ok(())
    }

    /// The file ends in a line without line feed. When nobody is writing it, that is a break like any other.
    #[must_use]
    pub fn unterminated(&self) -> Broken {
        let due = (self.summary.records > 0).then(|| self.summary.last_seq.saturating_add(1));
        Broken {
            line: self.line.saturating_add(1),
            ..self.broken(due, Defect::Unterminated)
        }
    }

    /// Hash of the last record that held, in hexadecimal: it stands for this record and all before it.
    #[must_use]
    pub fn last_hash(&self) -> Option<&str> {
        (self.summary.records > 0)
            .then(|| std::str::from_utf8(&self.last).ok())
            .flatten()
    }

    /// Sequence number of the last record that held.
    #[must_use]
    pub fn last_seq(&self) -> Option<u64> {
        (self.summary.records > 0).then_some(self.summary.last_seq)
    }

    /// The chain that goes on after the last record that held.
    #[must_use]
    pub fn chain(&self) -> Option<Chain> {
        (self.summary.records > 0).then(|| Chain {
            next: self.summary.last_seq.saturating_add(1),
            last: self.last,
        })
    }

    /// What held.
    #[must_use]
    pub fn finish(self) -> Summary {
        Summary {
            last_hash: if self.summary.records > 0 {
                text(&self.last)
            } else {
                String::new()
            },
            last_time: if self.summary.records > 0 {
                text(&self.last_time)
            } else {
                String::new()
            },
            ..self.summary
        }
    }

    fn broken(&self, seq: Option<u64>, defect: Defect) -> Broken {
        Broken {
            file: self.file.clone(),
            line: self.line,
            seq,
            defect,
        }
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

/// A log, or what was checked of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// How many records held.
    pub records: u64,
    /// Sequence number of the first; above 1 when older records are missing, or elsewhere.
    pub first_seq: u64,
    /// Sequence number of the last.
    pub last_seq: u64,
    /// Time of the first, as written.
    pub first_time: String,
    /// Time of the last, as written.
    pub last_time: String,
    /// Hash of the last, in hexadecimal: it stands for the whole log.
    pub last_hash: String,
    /// How often a record is older than the one before it: the system's clock was set back. No break.
    pub clock_went_back: u64,
}

/// Where and how a log is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    file: Option<String>,
    line: u64,
    seq: Option<u64>,
    defect: Defect,
}

impl Broken {
    /// The file, when the verifier was told.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line in the file, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The record that should be there, as far as the ones before it tell.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// What is wrong.
    #[must_use]
    pub fn defect(&self) -> Defect {
        self.defect
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file} ")?;
        }
        write!(f, "line {}", self.line)?;
        if let Some(seq) = self.seq {
            write!(f, ", record {seq}")?;
        }
        write!(f, ": {}", self.defect)
    }
}

impl std::error::Error for Broken {}

/// The ways in which a record can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The line is not of the form this log has.
    #[error("the line is no record")]
    Unreadable,
    /// The record was changed after it was written.
    #[error("its content does not match its hash")]
    Hash,
    /// A record before it was changed, together with its hash.
    #[error("it does not follow the record before it")]
    Link,
    /// Records are missing, or not in order.
    #[error("record {found} stands in its place")]
    Sequence {
        /// The one that is there instead.
        found: u64,
    },
    /// The last line has no line feed.
    #[error("the line has no end")]
    Unterminated,
}

/// The parts of a line that the chain is made of.
struct Record<'l> {
    seq: u64,
    time: &'l [u8; TIME],
    prev: &'l [u8; HASH],
    hashed: &'l [u8],
    hash: &'l [u8; HASH],
}

fn read(line: &[u8]) -> Result<Record<'_>, Defect> {
    record(line).ok_or(Defect::Unreadable)
}

fn record(line: &[u8]) -> Option<Record<'_>> {
    if line.len() > LINE_BYTES {
        return None;
    }
    let (hashed, trailer) = line.split_at_checked(line.len().checked_sub(TRAILER)?)?;
    let (hash, end) = trailer.strip_prefix(b",\"hash\":\"")?.split_first_chunk()?;
    if end != b"\"}" {
        return None;
    }
    let rest = hashed.strip_prefix(b"{\"seq\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at_checked(digits)?;
    let seq = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let (time, rest) = rest.strip_prefix(b",\"time\":\"")?.split_first_chunk()?;
    let (prev, rest) = rest.strip_prefix(b"\",\"prev\":\"")?.split_first_chunk()?;
    rest.strip_prefix(b"\",\"kind\":\"")?;
    Some(Record {
        seq,
        time,
        prev,
        hashed,
        hash,
    })
}

fn sha256_hex(bytes: &[u8]) -> [u8; HASH] {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> [u8; HASH] {
    let mut text = [b'0'; HASH];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
    }
    text
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + (nibble - 10)
    }
}

fn text(ascii: &[u8]) -> String {
    String::from_utf8_lossy(ascii).into_owned()
}

/// Decimal, with at least `width` digits.
fn write_number(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let start = out.len();
    while number > 0 || out.len() - start < width {
        out.push(b'0' + u8::try_from(number % 10).unwrap_or(0));
        number /= 10;
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// RFC 3339 in UTC with milliseconds, always [`TIME`] bytes: times outside the years 1970 to 9999 become the nearest.
fn write_time(out: &mut Vec<u8>, time: UnixTime) {
    const LAST_MILLI: i64 = 253_402_300_799_999;
    let millis = time.as_millis().clamp(0, LAST_MILLI).unsigned_abs();
    let (days, in_day) = (millis / 86_400_000, millis % 86_400_000);
    // Days to civil date, with years that begin in March so that the leap day comes last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    for (number, width, after) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (in_day / 3_600_000, 2, b':'),
        (in_day / 60_000 % 60, 2, b':'),
        (in_day / 1000 % 60, 2, b'.'),
        (in_day % 1000, 3, b'Z'),
    ] {
        write_number(out, number, width);
        out.push(after);
    }
}

#[cfg(test)]
mod tests;
