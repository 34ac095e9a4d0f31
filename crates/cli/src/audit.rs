//! `portcullis audit tail|query|verify`: reads the log's files. A server may be writing them at the same time.

mod names;
mod query;
mod show;
mod tail;
mod verify;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_core::audit::LINE_BYTES;
use portcullis_server::sink;

use crate::failure::Failure;
use crate::home::Home;

/// `portcullis audit`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The newest records, one line each
    #[command(
        after_help = "Examples:\n  portcullis audit tail -f --data ./data\n  portcullis audit tail -n 50 --config gateway.toml"
    )]
    Tail(tail::Args),
    /// The records that fit
    #[command(
        after_help = "Examples:\n  portcullis audit query --denied --since 1h\n  portcullis audit query --tool delete_all_notes --json --config gateway.toml"
    )]
    Query(query::Args),
    /// Check the hash chain over all files: has a record been changed, or is one missing?
    #[command(after_help = verify::HELP)]
    Verify(verify::Args),
}

/// Where the log is.
#[derive(Clone, Debug, Default, clap::Args)]
struct Place {
    /// The data folder that `portcullis up` made [default: the user's own]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "dir"])]
    data: Option<PathBuf>,
    /// The configuration of a gateway or authority
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    config: Option<PathBuf>,
    /// The folder of the log itself
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Place {
    fn folder(&self) -> Result<PathBuf, Failure> {
        match (&self.dir, &self.config) {
            (Some(dir), _) => Ok(dir.clone()),
            (None, Some(file)) => match crate::config::load(file)?.audit {
                Some(audit) => Ok(audit.dir),
                None => Err(Failure::usage(format!(
                    "{} has no `[audit]` section",
                    file.display()
                ))),
            },
            (None, None) => Ok(Home::find(self.data.as_deref())?.audit()),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let done = match &args.command {
        Command::Tail(args) => tail::run(args, show::Style::for_terminal(io::stdout().is_terminal()), out),
        Command::Query(args) => query::run(args, show::Style::for_terminal(io::stdout().is_terminal()), out),
        Command::Verify(args) => verify::run(args, out),
    };
    match done {
        // Whoever reads no further, as `head` does, has seen enough.
        Err(Trouble::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(Trouble::Output(error)) => Err(error.into()),
        Err(Trouble::Failure(failure)) => Err(failure),
        Ok(code) => Ok(code),
    }
}

/// What can stop a command here.
enum Trouble {
    Failure(Failure),
    Output(io::Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The files of the log in a folder, oldest first, at least one.
fn files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let none = |detail: &str| {
        Failure::usage(format!("there is no audit log in {}{detail}", dir.display())).hint(
            "name the folder that `portcullis up` made with --data DIR, a configuration with --config FILE, or the log's own folder with --dir DIR",
        )
    };
    let files = sink::files(dir).map_err(|error| none(&format!(": {error}")))?;
    if files.is_empty() {
        Err(none(""))
    } else {
        Ok(files)
    }
}

/// The lines of one file, each without its line feed.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
}

/// What comes next in a file.
enum Next<'l> {
    /// A line with its end.
    Line(&'l [u8]),
    /// The file ends in the middle of one.
    Part,
    /// Nothing more.
    End,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(LINE_BYTES, file),
            line: Vec::new(),
        })
    }

    /// Reads on. A line longer than any record comes in pieces, none of which is a record.
    fn next(&mut self) -> Result<Next<'_>, Failure> {
        self.line.clear();
        self.read_on()
    }

    /// As [`Self::next`], after a [`Next::Part`] that may have grown.
    fn read_on(&mut self) -> Result<Next<'_>, Failure> {
        let most = u64::try_from(LINE_BYTES + 1).unwrap_or(u64::MAX);
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut self.line);
        read.map_err(|error| unreadable(&self.path, &error))?;
        match self.line.strip_suffix(b"\n") {
            Some(line) => Ok(Next::Line(line)),
            None if self.line.is_empty() => Ok(Next::End),
            None if self.line.len() > LINE_BYTES => Ok(Next::Line(&self.line)),
            None => Ok(Next::Part),
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::refused(format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests;
