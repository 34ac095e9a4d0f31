//! `portcullis audit tail`

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use portcullis_server::sink;

use super::names::Names;
use super::show::{Record, Style};
use super::{Lines, Next, Place, Trouble, files};
use crate::failure::Failure;

/// Between two looks at a log that is being followed.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// How many records
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: usize,
    /// Go on with new records as they come
    #[arg(short, long)]
    follow: bool,
}

pub(super) fn run(args: &Args, style: Style, out: &mut dyn Write) -> Result<ExitCode, Trouble> {
    let dir = args.place.folder()?;
    let mut follower = print_last(&dir, args.lines, style, out)?;
    if args.follow {
        loop {
            out.flush()?;
            std::thread::sleep(PAUSE);
            follower.print_new(style, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the newest records. What comes back goes on where they end.
fn print_last(dir: &Path, count: usize, style: Style, out: &mut dyn Write) -> Result<Follower, Trouble> {
    let files = files(dir)?;
    // As many of the newest files as it takes, oldest record first.
    let mut newest: VecDeque<Vec<u8>> = VecDeque::new();
    let mut names = Names::read(&files)?;
    let mut follower = None;
    for path in files.iter().rev() {
        let mut lines = Lines::open(path)?;
        let mut here = VecDeque::new();
        while let Next::Line(line) = lines.next()? {
            here.push_back(line.to_vec());
            if here.len() + newest.len() > count {
                here.pop_front();
            }
        }
        follower.get_or_insert_with(|| Follower {
            dir: dir.to_owned(),
            file: path.clone(),
            lines,
            names: Names::default(),
        });
        here.append(&mut newest);
        newest = here;
        if newest.len() >= count {
            break;
        }
    }
    for line in newest {
        print(&line, &mut names, style, out)?;
    }
    let follower = follower.ok_or_else(|| Failure::usage("there is no audit log"))?;
    Ok(Follower { names, ..follower })
}

fn print(line: &[u8], names: &mut Names, style: Style, out: &mut dyn Write) -> std::io::Result<()> {
    names.learn(line);
    match Record::parse(line) {
        Some(record) => writeln!(out, "{}", record.line(names, style)),
        None => writeln!(out, "a line that is no record: see `portcullis audit verify`"),
    }
}

/// A place in a log that grows.
pub(super) struct Follower {
    dir: PathBuf,
    file: PathBuf,
    lines: Lines,
    names: Names,
}

impl Follower {
    /// Prints what was added since.
    pub(super) fn print_new(&mut self, style: Style, out: &mut dyn Write) -> Result<(), Trouble> {
        loop {
            // The list first: a file that is there now was begun after the last record of the one before it.
            let later = sink::files(&self.dir)?.into_iter().find(|path| *path > self.file);
            while let Next::Line(line) = self.lines.read_on()? {
                print(line, &mut self.names, style, out)?;
                self.lines.line.clear();
            }
            let Some(later) = later else { return Ok(()) };
            self.lines = Lines::open(&later)?;
            self.file = later;
        }
    }
}

#[cfg(test)]
pub(super) fn follow_from(dir: &Path, count: usize, out: &mut dyn Write) -> Follower {
    match print_last(dir, count, Style::Plain, out) {
        Ok(follower) => follower,
        Err(Trouble::Failure(failure)) => panic!("{failure}"),
        Err(Trouble::Output(error)) => panic!("{error}"),
    }
}
