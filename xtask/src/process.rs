//! Other programs: run to their end, or kept running until dropped. Everything has a deadline, and only what was
//! started here is ever ended.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

const POLL: Duration = Duration::from_millis(20);

/// A program and how to start it.
pub(crate) struct Program {
    command: Command,
    name: String,
}

impl Program {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let name = program.as_ref().to_string_lossy().into_owned();
        Self {
            command: Command::new(program),
            name,
        }
    }

    /// The cargo that runs this very program.
    pub(crate) fn cargo() -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    fn spelled(&self) -> String {
        let arguments = self
            .command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned());
        std::iter::once(self.name.clone())
            .chain(arguments)
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn cannot_start(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!("cannot start `{}`: {error}", self.name))
    }

    /// Runs it in the foreground, its output going where ours goes.
    pub(crate) fn run(mut self) -> Outcome {
        let status = self
            .command
            .stdin(Stdio::null())
            .status()
            .map_err(|error| self.cannot_start(&error))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("`{}`: {status}", self.spelled())))
        }
    }

    /// Runs it and gives its stdout; a failure carries its stderr.
    pub(crate) fn output(mut self) -> Outcome<String> {
        let output = self
            .command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| self.cannot_start(&error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Failure::new(format!(
            "`{}`: {}\n{stderr}",
            self.spelled(),
            output.status
        )))
    }

    /// Whether it can be started and succeeds, in silence.
    pub(crate) fn works(mut self) -> bool {
        let silent = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        silent.status().is_ok_and(|status| status.success())
    }

    /// Starts it in the background: stdout is read line by line, stderr goes to the file `log`, and `input` is what
    /// its stdin holds.
    pub(crate) fn start(mut self, log: &Path, input: &str) -> Outcome<Background> {
        let spelled = self.spelled();
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?);
        let mut child = self.command.spawn().map_err(|error| self.cannot_start(&error))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let (tell, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if tell.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Background {
            child,
            lines,
            spelled,
            log: log.display().to_string(),
        })
    }
}

/// A program that runs until it ends by itself or this is dropped.
pub(crate) struct Background {
    child: Child,
    lines: mpsc::Receiver<String>,
    spelled: String,
    log: String,
}

impl Background {
    /// The first line on stdout that `wanted` takes.
    pub(crate) fn line<T>(&self, limit: Duration, wanted: impl Fn(&str) -> Option<T>) -> Outcome<T> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(self.failure(&format!("said nothing useful in {limit:?}")));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(self.failure("ended too early")),
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self, limit: Duration) -> Outcome<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        Err(self.failure(&format!("still running after {limit:?}")))
    }

    /// Waits until `ready` gives something, for as long as it runs.
    pub(crate) fn until<T>(&mut self, limit: Duration, ready: impl Fn() -> Option<T>) -> Outcome<T> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(found) = ready() {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("ended with {status}")));
            }
            thread::sleep(POLL);
        }
        Err(self.failure(&format!("not ready after {limit:?}")))
    }

    fn failure(&self, what: &str) -> Failure {
        Failure::new(format!("`{}` {what}; its log is {}", self.spelled, self.log))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
