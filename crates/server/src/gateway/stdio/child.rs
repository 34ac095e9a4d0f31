//! One process: its pipes, and its end.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::wire::Era;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Limits;
use super::exchange::{Awaits, Exchange, Forgot, Heard, NotBegun};
use super::lines::{Lines, printable};
use super::outbox::{Broken, Reader};

/// Lines that may wait to be written to a child.
const QUEUED_LINES: usize = 8;
/// Longest line of a child's stderr that is logged, in bytes.
const LOG_LINE: usize = 4 * 1024;
/// Most lines on a child's stdout that are no messages and are logged; the rest are skipped in silence.
const GARBAGE_LOGGED: u32 = 20;
/// How long a child's stderr is still read after its end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What to start, and how.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) path: String,
    pub(super) arguments: Vec<String>,
    /// The whole environment.
    pub(super) environment: Vec<(OsString, OsString)>,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By our wish, or after it had been of use.
    Ordinary,
    /// By itself, before it wrote a single message.
    Stillborn,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Child {
    exchange: Exchange,
    input: mpsc::UnboundedSender<Written>,
    room: Arc<Semaphore>,
    stop: CancellationToken,
    spoke: AtomicBool,
}

/// A line for the child, and its place in the queue, given back when it is written. Our own lines need none: there is at most one
/// for each of a client's that was written.
type Written = (Bytes, Option<OwnedSemaphorePermit>);

impl Child {
    /// Starts a process. It ends with `stop`; `ended` is told when it has.
    pub(super) fn start(
        program: &Program,
        era: Era,
        limits: Limits,
        stop: CancellationToken,
        tasks: &TaskTracker,
        ended: impl FnOnce(Ending) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let mut process = Command::new(&program.path)
            .args(&program.arguments)
            .env_clear()
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group: a Ctrl-C at our terminal is ours to pass on, and its descendants can be ended with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("the process has no pipes");
        let stdin = process.stdin.take().ok_or_else(missing)?;
        let stdout = process.stdout.take().ok_or_else(missing)?;
        let stderr = process.stderr.take().ok_or_else(missing)?;
        let pid = process.id().unwrap_or_default();
        tracing::info!(program = program.path, pid, "started a stdio server");

        let (input, lines) = mpsc::unbounded_channel();
        let child = Arc::new(Self {
            exchange: Exchange::new(era, limits.pending, limits.stream_bytes),
            input,
            room: Arc::new(Semaphore::new(QUEUED_LINES)),
            stop,
            spoke: AtomicBool::new(false),
        });
        let writer = Aborted(tokio::spawn(write(stdin, lines, child.stop.clone())).abort_handle());
        let logger = tokio::spawn(log(stderr, pid));
        let tended = Arc::clone(&child);
        tasks.spawn(async move {
            let _writer = writer;
            let aborted = Aborted(logger.abort_handle());
            let stdout = Lines::new(BufReader::new(stdout), limits.line_bytes);
            let ending = tended.tend(process, stdout, limits, pid).await;
            // The last lines say why it ended. A descendant may hold the pipe for longer than we wait.
            let _timed_out = timeout(LAST_WORDS, logger).await;
            drop(aborted);
            ended(ending);
        });
        Ok(child)
    }

    /// Writes a request, and returns what to read the answer from.
    pub(super) async fn request(
        self: &Arc<Self>,
        body: &str,
        awaits: Awaits,
    ) -> Result<(Ticket, Reader), NotBegun> {
        let place = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|_| NotBegun::Closed)?;
        let begun = self.exchange.begin(body, awaits)?;
        match self.input.send((begun.line, Some(place))) {
            Ok(()) => Ok((
                Ticket {
                    child: Arc::clone(self),
                    number: begun.number,
                },
                begun.events,
            )),
            Err(_) => {
                self.exchange.forget(begun.number);
                Err(NotBegun::Closed)
            }
        }
    }

    /// Writes a notification or a response.
    pub(super) async fn tell(&self, body: &str) -> Result<(), NotBegun> {
        let place = self
            .room
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| NotBegun::Closed)?;
        let Some(line) = self.exchange.outgoing(body) else {
            return Ok(());
        };
        self.input.send((line, Some(place))).map_err(|_| NotBegun::Closed)
    }

    /// The table of what clients wait for.
    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Ends it: no more requests, then its stdin is closed, then it is killed.
    pub(super) fn stop(&self) {
        self.exchange.close();
        self.stop.cancel();
    }

    /// Reads what it writes for as long as it lives, and sees to its end.
    async fn tend(
        &self,
        mut process: tokio::process::Child,
        mut stdout: Stdout,
        limits: Limits,
        pid: u32,
    ) -> Ending {
        let idle = match self.exchange.era() {
            Era::Modern => limits.idle,
            Era::Legacy => limits.session_idle,
        };
        let why = self.listen(&mut stdout, idle, pid).await;
        self.exchange.close();
        self.room.close();
        self.stop.cancel();
        // Its stdin is closed now, which is how a stdio server is told to end (MCP, stdio, Shutdown). Until it does, it may
        // write, and must not be held up by a full pipe.
        let ended = timeout(limits.stop_time, async {
            tokio::select! {
                status = process.wait() => status,
                never = discard(&mut stdout) => match never {},
            }
        })
        .await;
        let status = match ended {
            Ok(status) => status,
            Err(_) => {
                tracing::warn!(pid, "a stdio server did not end by itself, and is killed");
                // It has not been waited for, so the group is still its own.
                if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    let _gone_already = kill_process_group(group, Signal::KILL);
                }
                process.wait().await
            }
        };
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let broken: Arc<str> = match why {
            Why::Asked => "the stdio server was stopped".into(),
            Why::Idle => "the stdio server was idle and was stopped".into(),
            Why::Silent => format!("the stdio server ended ({status})").into(),
        };
        tracing::info!(pid, status, "{broken}");
        self.exchange.fail(&Broken::Server(broken));
        self.exchange.end();
        if why == Why::Silent && !self.spoke.load(Ordering::Relaxed) {
            Ending::Stillborn
        } else {
            Ending::Ordinary
        }
    }

    async fn listen(&self, stdout: &mut Stdout, idle: Duration, pid: u32) -> Why {
        let mut look = tokio::time::interval(idle.div_f32(4.0).max(Duration::from_millis(10)));
        let mut garbage = 0_u32;
        loop {
            let line = tokio::select! {
                line = stdout.next() => line,
                () = self.stop.cancelled() => return Why::Asked,
                _ = look.tick() => {
                    if self.exchange.close_if_idle(idle) {
                        return Why::Idle;
                    }
                    continue;
                }
            };
            let line = match line {
                Ok(Some(line)) => line,
                Ok(None) => return Why::Silent,
                Err(error) => {
                    tracing::warn!(pid, %error, "a stdio server's output cannot be read");
                    return Why::Silent;
                }
            };
            if line.cut {
                // Whose it was cannot be known, so nobody is left to wait for it.
                tracing::warn!(
                    pid,
                    bytes = line.bytes.len(),
                    "a stdio server wrote a line that is too long"
                );
                self.exchange.fail(&Broken::Server(
                    "the stdio server wrote a line that is too long".into(),
                ));
                continue;
            }
            let heard = std::str::from_utf8(&line.bytes)
                .map_or(Heard::NotAMessage, |text| self.exchange.receive(text));
            if heard == Heard::NotAMessage {
                garbage = garbage.saturating_add(1);
                if garbage <= GARBAGE_LOGGED {
                    tracing::warn!(
                        pid,
                        line = printable(&line.bytes, 80),
                        "a stdio server wrote a line that is no message"
                    );
                }
                continue;
            }
            self.spoke.store(true, Ordering::Relaxed);
            match heard {
                Heard::Delivered | Heard::NotAMessage => {}
                Heard::Unclaimed => tracing::debug!(pid, "a stdio server's message is for nobody"),
                Heard::GivenUp(number) => self.cancel(number),
                Heard::Reply(reply) => {
                    // As many of these as it likes to provoke, so they need a place; without one, it waits in vain.
                    if let Ok(place) = Arc::clone(&self.room).try_acquire_owned() {
                        let _gone = self.input.send((reply, Some(place)));
                    }
                }
            }
        }
    }

    fn cancel(&self, number: u64) {
        let line = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"the client no longer waits"}}}}"#
        );
        // A child that is gone has cancelled everything.
        let _gone = self.input.send((Bytes::from(line), None));
    }
}

/// The right to an answer. Dropped before there is one, it cancels the request in the modern era; a legacy client that goes away
/// has not cancelled (MCP 2025-11-25, Streamable HTTP).
#[derive(Debug)]
pub(super) struct Ticket {
    child: Arc<Child>,
    number: u64,
}

impl Ticket {
    /// Cancels the request, unless it has been answered.
    pub(super) fn cancel(&self) {
        if self.child.exchange.forget(self.number) == Forgot::Waiting {
            self.child.cancel(self.number);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match self.child.exchange.era() {
            Era::Modern => self.cancel(),
            Era::Legacy => {}
        }
    }
}

type Stdout = Lines<BufReader<ChildStdout>>;

/// Why nobody listens to a child any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Asked,
    Idle,
    Silent,
}

/// A task that does not outlive this.
#[derive(Debug)]
struct Aborted(AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes lines until told to stop; then stdin is closed.
async fn write(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<Written>, stop: CancellationToken) {
    let writing = async {
        while let Some((line, _place)) = lines.recv().await {
            stdin.write_all(&line).await?;
            stdin.write_all(b"\n").await?;
        }
        Ok::<(), io::Error>(())
    };
    tokio::select! {
        done = writing => if let Err(error) = done {
            tracing::debug!(%error, "a stdio server does not read");
        },
        () = stop.cancelled() => {}
    }
    // Whoever cannot be written to is of no use.
    stop.cancel();
}

/// Passes a child's stderr on to our log.
async fn log(stderr: impl AsyncRead + Unpin, pid: u32) {
    let mut lines = Lines::new(BufReader::new(stderr), LOG_LINE);
    while let Ok(Some(line)) = lines.next().await {
        tracing::info!(target: "portcullis::stdio", pid, "{}", printable(&line.bytes, LOG_LINE));
    }
}

async fn discard(stdout: &mut Stdout) -> Infallible {
    while let Ok(Some(_)) = stdout.next().await {}
    std::future::pending().await
}
