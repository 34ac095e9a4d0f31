//! The real binary: started in a scratch folder, waited for, read, and stopped by its own process id.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::{Failure, Outcome, Scratch};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// What `up --ready-file` writes (the contract of the command line).
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    /// Origin of the gateway.
    pub gateway: String,
    /// The guarded endpoint.
    pub mcp_url: String,
    /// The embedded authority.
    pub issuer: String,
    /// The gateway's own keys.
    pub jwks_uri: String,
    /// Origin of the admin listener.
    pub admin: String,
    /// The console, when this build has one.
    #[serde(default)]
    pub console: Option<String>,
    /// The demo user.
    pub user: String,
    /// Its password. Known at the first start on a data folder only.
    #[serde(default)]
    pub password: Option<String>,
    /// A confidential client for scripts.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Its secret. Known at the first start on a data folder only.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// The data folder.
    pub data_dir: PathBuf,
    /// Version of the binary.
    pub version: String,
}

/// How to start the binary.
pub struct Portcullis {
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Portcullis {
    /// `binary` is `env!("CARGO_BIN_EXE_portcullis")` of the calling test.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// One more argument of `up`.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more environment variable of the process.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts `up` on a new data folder, on free ports, and waits until it serves.
    ///
    /// # Errors
    /// When it exits or does not serve within a minute; the message carries what it wrote to stderr.
    pub async fn up(self) -> Outcome<Running> {
        let data = Scratch::new("data")?;
        let path = data.path().to_path_buf();
        let mut running = self.up_in(&path).await?;
        running.data = Some(data);
        Ok(running)
    }

    /// Starts `up` on the data folder `data`, which may hold what an earlier start left.
    ///
    /// # Errors
    /// As [`Portcullis::up`].
    pub async fn up_in(self, data: &Path) -> Outcome<Running> {
        let scratch = Scratch::new("run")?;
        let ready_file = scratch.path().join("ready.json");
        let mut command = Command::new(&self.binary);
        command
            .arg("up")
            .arg("--data")
            .arg(data)
            .args(["--listen", "127.0.0.1:0"]);
        command
            .arg("--ready-file")
            .arg(&ready_file)
            .arg("--no-browser")
            .args(&self.arguments);
        command.envs(self.environment);
        command.stdin(Stdio::null());
        command.stdout(File::create(scratch.path().join("stdout"))?);
        command.stderr(File::create(scratch.path().join("stderr"))?);
        let child = command
            .spawn()
            .map_err(|error| Failure::at(&self.binary, &error))?;
        let mut started = Started { child, scratch };
        let ready = started.ready(&ready_file).await?;
        Ok(Running {
            ready,
            started,
            data: None,
        })
    }

    /// Runs another command of the binary to its end, for example `["audit", "verify", "--data", DIR]`.
    ///
    /// # Errors
    /// When the process cannot be started; a non-zero exit is an answer, not an error.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome<Ran> {
        let output = Command::new(&self.binary)
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::at(&self.binary, &error))?;
        Ok(Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// What a command that ended left behind.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// A child with its log files; it ends when this is dropped.
struct Started {
    child: Child,
    scratch: Scratch,
}

impl Started {
    async fn ready(&mut self, file: &Path) -> Outcome<Ready> {
        let deadline = Instant::now() + START;
        loop {
            // The file is renamed into place by the binary, but a parse error is still only "not yet".
            if let Some(ready) = fs::read(file)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            {
                return Ok(ready);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(Failure::new(format!(
                    "`portcullis up` ended with {status}:\n{}",
                    self.logs()
                )));
            }
            if Instant::now() > deadline {
                let text = fs::read_to_string(file).unwrap_or_else(|_| "no ready file".to_owned());
                return Err(Failure::new(format!(
                    "`portcullis up` did not serve in {START:?} ({text}):\n{}",
                    self.logs()
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn logs(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default();
        read("stdout") + &read("stderr")
    }

    fn signal(&self, name: &str) -> Outcome {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("kill -{name}: {status}")))
        }
    }

    /// Polls, because the standard library has no wait with a deadline.
    fn wait(&mut self, limit: Duration) -> Outcome<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() > deadline => return Ok(None),
                None => std::thread::sleep(POLL),
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        let drained = ended
            || (self.signal("TERM").is_ok() && matches!(self.wait(Duration::from_secs(5)), Ok(Some(_))));
        if !drained {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A serving `portcullis up`. Dropping it stops the process, by its id and nothing else.
pub struct Running {
    ready: Ready,
    started: Started,
    data: Option<Scratch>,
}

impl Running {
    /// What the ready file says.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.ready.data_dir
    }

    /// Everything written to stdout and stderr up to now.
    #[must_use]
    pub fn logs(&self) -> String {
        self.started.logs()
    }

    /// The process id, for tests that look at memory or open files.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.started.child.id()
    }

    /// Sends a signal by name (`INT`, `TERM`, `HUP`, `KILL`).
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, name: &str) -> Outcome {
        self.started.signal(name)
    }

    /// Asks it to end as Ctrl-C does and waits. Gives the exit code, and what it had written.
    ///
    /// # Errors
    /// When it has not ended after 20 seconds.
    pub fn stop(mut self) -> Outcome<(ExitStatus, String)> {
        self.started.signal("INT")?;
        match self.started.wait(STOP)? {
            Some(status) => Ok((status, self.started.logs())),
            None => Err(Failure::new(format!(
                "still running {STOP:?} after SIGINT:\n{}",
                self.logs()
            ))),
        }
    }

    /// Every file below the data folder with its bytes, and the logs as the last entry: what a test searches for
    /// secrets that must not be there.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn everything_written(&self) -> Outcome<Vec<(PathBuf, Vec<u8>)>> {
        let mut found = Vec::new();
        let mut folders = vec![self.data().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|error| Failure::at(&folder, &error))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    found.push((entry.path(), fs::read(entry.path()).unwrap_or_default()));
                }
            }
        }
        found.push((PathBuf::from("stdout and stderr"), self.logs().into_bytes()));
        Ok(found)
    }
}
