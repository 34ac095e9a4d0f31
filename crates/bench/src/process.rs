//! Programs that are measured: started, looked at through `/proc`, and ended.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::Failure;

/// A child process that ends with this value.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.stdin(Stdio::null()).spawn().map_err(|error| {
            format!("`{name}` cannot be started: {error}")
        })?))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it answers a connection, for as long as it runs.
    pub(crate) async fn serves(&mut self, address: &str, at_most: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + at_most;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("it ended with {status} before it served").into());
            }
            if Instant::now() > deadline {
                return Err(format!("it did not serve within {} s", at_most.as_secs()).into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// This program again, in another part: the address that it prints comes with it.
pub(crate) fn ourselves(part: &[&str]) -> Result<(Running, String), Failure> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(part)
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let running = Running(child);
    let mut line = String::new();
    std::io::BufReader::new(stdout).read_line(&mut line)?;
    Ok((running, line.trim().to_owned()))
}

/// An address of this machine that nobody listens on.
pub(crate) fn free_address() -> Result<String, Failure> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}

/// User and system time of a process and of all that it started, from `/proc/PID/stat` (in ticks of 10 ms).
pub(crate) fn cpu(id: u32) -> Result<Duration, Failure> {
    let mut ticks = 0;
    for id in family(id)? {
        // One that ended meanwhile is counted by nobody.
        let Ok(fields) = stat(id) else { continue };
        for field in fields.iter().skip(11).take(2) {
            ticks += field.parse::<u64>()?;
        }
    }
    Ok(Duration::from_millis(ticks * 10))
}

/// Resident memory of a process and of all that it started, in bytes.
pub(crate) fn resident(id: u32) -> Result<u64, Failure> {
    let mut kibibytes = 0;
    for id in family(id)? {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{id}/status")) else {
            continue;
        };
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .ok_or("no VmRSS")?;
        kibibytes += line
            .split_whitespace()
            .nth(1)
            .ok_or("no figure")?
            .parse::<u64>()?;
    }
    Ok(kibibytes * 1024)
}

/// A process, and those that it started.
fn family(id: u32) -> Result<Vec<u32>, Failure> {
    let mut family = vec![id];
    let mut looked_at = 0;
    while let Some(id) = family.get(looked_at).copied() {
        looked_at += 1;
        let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else {
            continue;
        };
        for thread in threads {
            let children = thread?.path().join("children");
            let children = std::fs::read_to_string(children).unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
    }
    Ok(family)
}

/// What follows the name.
fn stat(id: u32) -> Result<Vec<String>, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let after_name = stat.rsplit_once(')').ok_or("no name in stat")?.1;
    Ok(after_name.split_whitespace().map(str::to_owned).collect())
}
