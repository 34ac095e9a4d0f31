//! `portcullis audit verify`

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use portcullis_core::audit::{Broken, Summary, Verifier};
use portcullis_server::sink;
use serde_json::json;

use super::{Lines, Next, Place, Trouble, files};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) place: Place,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Trouble> {
    let dir = args.place.folder()?;
    let files = files(&dir)?;
    let mut verifier = Verifier::new();
    let broken = check(&files, &mut verifier)?;
    let summary = verifier.finish();
    match (&broken, args.json) {
        (None, true) => writeln!(out, "{}", sound_json(&summary, files.len()))?,
        (None, false) => sound_text(&summary, files.len(), out)?,
        (Some(broken), true) => writeln!(out, "{}", broken_json(broken, &summary))?,
        (Some(broken), false) => broken_text(broken, &summary, out)?,
    }
    Ok(if broken.is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Reads all files in order, up to the first break.
fn check(files: &[PathBuf], verifier: &mut Verifier) -> Result<Option<Broken>, Trouble> {
    let mut progress = Progress::new(files.len());
    for (number, path) in files.iter().enumerate() {
        verifier.begin_file(&path.file_name().unwrap_or_default().to_string_lossy());
        let mut lines = Lines::open(path)?;
        loop {
            match lines.next()? {
                Next::Line(line) => {
                    if let Err(broken) = verifier.push(line) {
                        return Ok(Some(broken));
                    }
                }
                // The last line of the last file may be half written this very moment.
                Next::Part if number + 1 == files.len() && sink::writer(path)? == sink::Writing::Now => break,
                Next::Part => return Ok(Some(verifier.unterminated())),
                Next::End => break,
            }
            progress.show(number)?;
        }
    }
    Ok(None)
}

fn sound_text(summary: &Summary, files: usize, out: &mut dyn Write) -> std::io::Result<()> {
    if summary.records == 0 {
        return writeln!(out, "ok: the log is empty");
    }
    let Summary {
        records,
        first_seq,
        last_seq,
        first_time,
        last_time,
        last_hash,
        clock_went_back,
    } = summary;
    writeln!(
        out,
        "ok: {records} records in {files} files, {first_seq} to {last_seq}, {first_time} to {last_time}"
    )?;
    writeln!(out, "last hash: {last_hash}")?;
    if *first_seq > 1 {
        writeln!(out, "note: records before {first_seq} are not in this folder")?;
    }
    if *clock_went_back > 0 {
        writeln!(
            out,
            "note: the system's clock was set back {clock_went_back} times"
        )?;
    }
    Ok(())
}

fn broken_text(broken: &Broken, summary: &Summary, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "broken: {broken}")?;
    match summary.records {
        0 => writeln!(out, "no record before it"),
        records => writeln!(
            out,
            "{records} records before it hold, {} to {}; nothing after it can be trusted",
            summary.first_seq, summary.last_seq
        ),
    }
}

fn sound_json(summary: &Summary, files: usize) -> serde_json::Value {
    json!({"ok": true, "files": files, "log": summary})
}

fn broken_json(broken: &Broken, summary: &Summary) -> serde_json::Value {
    json!({
        "ok": false, "file": broken.file(), "line": broken.line(), "seq": broken.seq(),
        "what": broken.defect().to_string(), "log": summary,
    })
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
