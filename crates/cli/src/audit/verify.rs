//! `portcullis audit verify`

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use portcullis_core::audit::{Broken, Summary, Verifier};
use portcullis_server::sink;
use serde_json::{Value, json};

use super::show::{Record, shown};
use super::{Lines, Next, Place, Trouble, files};

/// What the chain shows, for `--help`.
pub(super) const HELP: &str = "\
What it proves: a record that was changed, taken out, added or moved is named, if whoever did it left the hashes after \
it as they were. The chain has no key: whoever can write the files can compute new hashes from some record on, or cut \
records off the end, or replace the log. That shows only against a hash that was noted before, in a place that they \
cannot write: note the last hash from time to time, and give it with --expect-last.

Examples:
  portcullis audit verify --json
  portcullis audit verify --expect-last HASH

Exit code 1 when the chain is broken, when the log is empty or does not begin with its first record, and when no \
record has the expected hash.";

/// The record that every log begins with.
const FIRST: u64 = 1;

#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) place: Place,
    /// A hash that was noted earlier: some record must still have it. That proves this record and all before it
    #[arg(long, value_name = "HASH", value_parser = hash)]
    pub(super) expect_last: Option<String>,
    /// Older files are archived elsewhere: the log here must begin with record SEQ, instead of record 1
    #[arg(long, value_name = "SEQ")]
    pub(super) from: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

fn hash(text: &str) -> Result<String, &'static str> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a hash has 64 hexadecimal digits")
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Trouble> {
    let dir = args.place.folder()?;
    let files = files(&dir)?;
    let report = Report::of(&files, args)?;
    if args.json {
        writeln!(out, "{}", report.json())?;
    } else {
        report.text(out)?;
    }
    Ok(if report.faults().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A noted hash, and the record that has it.
struct Anchor {
    hash: String,
    seq: Option<u64>,
}

/// The log was repaired after a crash; a record says so.
#[derive(serde::Serialize)]
struct Repair {
    seq: u64,
    file: String,
    detail: String,
}

/// All that was found.
struct Report {
    files: usize,
    /// The record that the log has to begin with.
    from: u64,
    summary: Summary,
    broken: Option<Broken>,
    anchor: Option<Anchor>,
    repairs: Vec<Repair>,
}

impl Report {
    /// Reads all files in order, up to the first break.
    fn of(files: &[PathBuf], args: &Args) -> Result<Self, Trouble> {
        let mut report = Self {
            files: files.len(),
            from: args.from.unwrap_or(FIRST),
            summary: Summary::default(),
            broken: None,
            anchor: args.expect_last.clone().map(|hash| Anchor { hash, seq: None }),
            repairs: Vec::new(),
        };
        let mut verifier = Verifier::new();
        report.broken = report.read(files, &mut verifier)?;
        report.summary = verifier.finish();
        Ok(report)
    }

    fn read(&mut self, files: &[PathBuf], verifier: &mut Verifier) -> Result<Option<Broken>, Trouble> {
        let mut progress = Progress::new(files.len());
        for (number, path) in files.iter().enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            verifier.begin_file(&name);
            let mut lines = Lines::open(path)?;
            loop {
                match lines.next()? {
                    Next::Line(line) => match verifier.push(line) {
                        Ok(()) => self.holds(line, &name, verifier),
                        Err(broken) => return Ok(Some(broken)),
                    },
                    // The last line of the last file may be half written this very moment.
                    Next::Part if number + 1 == files.len() && sink::writer(path)? == sink::Writing::Now => {
                        break;
                    }
                    Next::Part => return Ok(Some(verifier.unterminated())),
                    Next::End => break,
                }
                progress.show(number)?;
            }
        }
        Ok(None)
    }

    /// Looks at a line that the verifier has just taken.
    fn holds(&mut self, line: &[u8], file: &str, verifier: &Verifier) {
        if let Some(anchor) = &mut self.anchor
            && verifier.last_hash() == Some(&anchor.hash)
        {
            anchor.seq = verifier.last_seq();
        }
        if let Some(detail) = repair(line) {
            self.repairs.push(Repair {
                seq: verifier.last_seq().unwrap_or_default(),
                file: file.to_owned(),
                detail,
            });
        }
    }

    /// Everything that the log has to answer for, each in words.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(broken) = &self.broken {
            faults.push(broken.to_string());
        } else if self.summary.records == 0 {
            faults.push("the log has no records".to_owned());
        }
        if self.summary.records > 0 && self.summary.first_seq != self.from {
            faults.push(format!(
                "the log begins with record {}, not with record {}: what was before it is missing{}",
                self.summary.first_seq,
                self.from,
                if self.from == FIRST {
                    " (if it is archived elsewhere, say so with --from)"
                } else {
                    ""
                }
            ));
        }
        if let Some(Anchor { hash, seq: None }) = &self.anchor {
            faults.push(format!(
                "no record has the expected hash {hash}: records were cut off or written anew, or the hash is of another log"
            ));
        }
        faults
    }

    fn text(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let Summary {
            records,
            first_seq,
            last_seq,
            first_time,
            last_time,
            last_hash,
            clock_went_back,
        } = &self.summary;
        let faults = self.faults();
        for fault in &faults {
            writeln!(out, "broken: {fault}")?;
        }
        match (&self.broken, records) {
            (Some(_), 0) => writeln!(out, "no record before it")?,
            (Some(_), _) => writeln!(
                out,
                "{records} records before it hold, {first_seq} to {last_seq}; nothing after it can be trusted"
            )?,
            (None, 0) => {}
            (None, _) => {
                let verdict = if faults.is_empty() { "ok" } else { "otherwise" };
                let files = self.files;
                writeln!(
                    out,
                    "{verdict}: {records} records in {files} files, {first_seq} to {last_seq}, {first_time} to {last_time}"
                )?;
                writeln!(out, "last hash: {last_hash}")?;
            }
        }
        if let Some(Anchor { seq: Some(seq), .. }) = &self.anchor {
            writeln!(
                out,
                "expected hash: record {seq} has it, so it and all before it are as they were"
            )?;
        }
        if !self.repairs.is_empty() {
            writeln!(out, "note: repairs after a crash: {}", self.repairs.len())?;
        }
        for Repair { seq, file, detail } in &self.repairs {
            writeln!(out, "  record {seq} in {file}: {}", shown(detail))?;
        }
        if *clock_went_back > 0 {
            writeln!(
                out,
                "note: the system's clock was set back {clock_went_back} times"
            )?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let faults = self.faults();
        let broken = self.broken.as_ref().map(|broken| {
            json!({
                "file": broken.file(), "line": broken.line(), "seq": broken.seq(), "what": broken.defect().to_string(),
            })
        });
        let expected = self
            .anchor
            .as_ref()
            .map(|anchor| json!({"hash": anchor.hash, "seq": anchor.seq}));
        json!({
            "ok": faults.is_empty(), "faults": faults, "broken": broken, "expected": expected, "files": self.files,
            "log": self.summary, "repairs": self.repairs,
        })
    }
}

/// Bytes of a line, at most, up to and with its kind: what comes before it is as long in every record, but for `seq`.
const HEAD: usize = 160;

/// What a record says was repaired, if it is one of those.
fn repair(line: &[u8]) -> Option<String> {
    const KIND: &[u8] = b"\"kind\":\"system\"";
    // Few records are of this kind, and only those are parsed.
    let head = line.get(..HEAD.min(line.len()))?;
    head.windows(KIND.len()).find(|part| *part == KIND)?;
    let record = Record::parse(line)?;
    (record.text("what") == Some("log.repaired"))
        .then(|| record.text("detail").unwrap_or_default().to_owned())
}

/// Says on stderr how far it is, when that takes longer than a second and somebody looks.
struct Progress {
    files: usize,
    records: u64,
    next: Option<Instant>,
    shown: bool,
}

impl Progress {
    fn new(files: usize) -> Self {
        let next = std::io::stderr()
            .is_terminal()
            .then(|| Instant::now() + Duration::from_secs(1));
        Self {
            files,
            records: 0,
            next,
            shown: false,
        }
    }

    fn show(&mut self, file: usize) -> std::io::Result<()> {
        self.records += 1;
        // Not each record asks for the time.
        let Some(next) = self.next.filter(|_| self.records.is_multiple_of(8192)) else {
            return Ok(());
        };
        let now = Instant::now();
        if now >= next {
            self.next = Some(now + Duration::from_millis(200));
            self.shown = true;
            write!(
                std::io::stderr(),
                "\r{} records, file {} of {}",
                self.records,
                file + 1,
                self.files
            )?;
        }
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            // Nothing is left to tell it to when stderr is gone.
            drop(writeln!(std::io::stderr()));
        }
    }
}
