//! Decisions in one file of JSON lines: the recorder for a server that has no other.
//!
//! The lines are those of the gateway's log, each with the hash of the one before it. What the log in `portcullis-server` does beyond that:
//! it begins a new file now and then, recovers while it runs when the disk has failed, and sets aside what a crash tore instead of cutting it
//! off.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use portcullis_core::audit::{Chain, Event, LINE_BYTES, Verifier};
use portcullis_core::fault::Fault;
use portcullis_core::random::SecureRandom as _;
use portcullis_net::clock::{self, Clock};
use portcullis_net::random;
use tokio::sync::oneshot;

use crate::recorder::{Durability, Recorder, RecorderUnavailable, Recording};

/// Most events that wait to be written. Whoever comes then is refused.
const WAITING: usize = 4096;
/// Most events that are written at once.
const BATCH: usize = 256;
const LOST: &str = "the writing thread was lost";

/// A file that decisions cannot be recorded in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decisions cannot be recorded in {}: {detail}", path.display())]
pub struct Unwritable {
    path: PathBuf,
    detail: String,
}

impl Unwritable {
    /// Stable slug.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "record.unwritable"
    }

    /// Whose fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::Operator
    }
}

/// Records events at the end of a file, in order. Dropping it writes and syncs all that waits.
///
/// A record that is asked to be [`Durability::Synced`] is on disk when the call goes on. When the file cannot be written, nothing more is
/// recorded, and so nothing more is allowed, until the program starts anew.
#[derive(Debug)]
pub struct JsonLines {
    /// `None` while it is dropped.
    queue: Option<SyncSender<Entry>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Entry {
    event: Event,
    durability: Durability,
    done: oneshot::Sender<Result<u64, RecorderUnavailable>>,
}

impl JsonLines {
    /// Goes on after the last line of the file, which is made, for its owner alone, when it is not there. One process has it at a time. What
    /// a crash left of a line at its end is cut off: nobody was told that it was recorded.
    ///
    /// # Errors
    /// [`Unwritable`]: the file cannot be used, is in use, or has lines that were changed.
    pub fn append(path: impl AsRef<Path>) -> Result<Self, Unwritable> {
        Self::with_clock(path.as_ref(), Arc::new(clock::System))
    }

    fn with_clock(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, Unwritable> {
        let failed = |error: &dyn std::fmt::Display| Unwritable {
            path: path.to_owned(),
            detail: error.to_string(),
        };
        let mut file = open(path).map_err(|error| failed(&error))?;
        file.try_lock().map_err(|error| failed(&error))?;
        let chain = match resume(&mut file).map_err(|error| failed(&error))? {
            Some(chain) => chain,
            None => {
                let mut log_id = [0; 32];
                random::System.fill(&mut log_id).map_err(|error| failed(&error))?;
                Chain::start(log_id)
            }
        };
        let (queue, entries) = sync_channel(WAITING);
        let scribe = Scribe {
            file,
            chain,
            clock,
            broken: None,
        };
        let thread = std::thread::Builder::new()
            .name("decisions".to_owned())
            .spawn(move || scribe.run(&entries))
            .map_err(|error| failed(&error))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }
}

impl Recorder for JsonLines {
    fn record<'a>(&'a self, event: Event, durability: Durability) -> Recording<'a> {
        let (done, receipt) = oneshot::channel();
        let entry = Entry {
            event,
            durability,
            done,
        };
        let why = match &self.queue {
            Some(queue) => match queue.try_send(entry) {
                Ok(()) => None,
                Err(TrySendError::Full(_)) => Some("too many events wait to be written"),
                Err(TrySendError::Disconnected(_)) => Some(LOST),
            },
            None => Some(LOST),
        };
        Box::pin(async move {
            match why {
                Some(why) => Err(RecorderUnavailable(why.to_owned())),
                None => receipt
                    .await
                    .unwrap_or_else(|_| Err(RecorderUnavailable(LOST.to_owned()))),
            }
        })
    }
}

impl Drop for JsonLines {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that records decisions was lost");
        }
    }
}

/// The thread that writes.
struct Scribe {
    file: File,
    chain: Chain,
    clock: Arc<dyn Clock>,
    broken: Option<RecorderUnavailable>,
}

impl Scribe {
    fn run(mut self, entries: &Receiver<Entry>) {
        while let Ok(first) = entries.recv() {
            let more = entries.try_iter().take(BATCH);
            self.keep(std::iter::once(first).chain(more));
        }
        if let Err(error) = self.file.sync_data() {
            tracing::error!(%error, "the last decisions may not be on disk");
        }
    }

    /// Writes some events, syncs them where one of them asks for it, and tells those who wait.
    fn keep(&mut self, entries: impl Iterator<Item = Entry>) {
        let (mut lines, mut chain) = (Vec::new(), self.chain.clone());
        let mut waiting = Vec::new();
        let mut durability = Durability::Queued;
        for entry in entries {
            match chain.append(&entry.event, self.clock.now(), &mut lines) {
                Ok(seq) => {
                    durability = durability.max(entry.durability);
                    waiting.push((seq, entry.done));
                }
                // Whoever no longer waits needs no answer, here and below.
                Err(error) => drop(entry.done.send(Err(RecorderUnavailable(error.to_string())))),
            }
        }
        if self.broken.is_none() {
            match self.write(&lines, durability) {
                Ok(()) => self.chain = chain,
                Err(error) => {
                    tracing::error!(%error, "decisions cannot be recorded: every call is refused until the next start");
                    self.broken = Some(RecorderUnavailable(error.to_string()));
                }
            }
        }
        for (seq, done) in waiting {
            drop(done.send(self.broken.clone().map_or(Ok(seq), Err)));
        }
    }

    fn write(&mut self, lines: &[u8], durability: Durability) -> io::Result<()> {
        self.file.write_all(lines)?;
        match durability {
            Durability::Queued => Ok(()),
            Durability::Synced => self.file.sync_data(),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // A new name is as durable as the folder that it is in.
    #[cfg(unix)]
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => File::open(".")?.sync_all()?,
        Some(dir) => File::open(dir)?.sync_all()?,
        None => {}
    }
    Ok(file)
}

/// The chain that goes on after the last line of the file, without what is left of a line after that. Nothing for an empty file.
fn resume(file: &mut File) -> io::Result<Option<Chain>> {
    let longest = u64::try_from(LINE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let (mut verifier, mut whole) = (Verifier::new(), 0_u64);
    let mut reader = BufReader::with_capacity(64 * 1024, &mut *file);
    let mut line = Vec::new();
    let torn = loop {
        line.clear();
        let read = reader.by_ref().take(longest).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\n") {
            Some(record) => verifier.push(record).map_err(io::Error::other)?,
            // A line feed further on would end it.
            None if read > LINE_BYTES => return Err(io::Error::other(verifier.unterminated())),
            None => break read > 0,
        }
        whole = whole.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    };
    if torn {
        tracing::warn!(after = whole, "a torn line at the end of the record is cut off");
        file.set_len(whole)?;
        file.sync_all()?;
    }
    file.seek(SeekFrom::End(0))?;
    Ok(verifier.chain())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use portcullis_core::audit::System;

    use super::*;

    /// A file of its own, deleted at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("portcullis-lines-{name}-{}.jsonl", std::process::id())))
        }

        fn lines(&self) -> Vec<serde_json::Value> {
            let text = fs::read_to_string(&self.0).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_file(&self.0));
        }
    }

    fn event(detail: &str) -> Event {
        Event::from(System {
            what: "test",
            detail: detail.to_owned(),
        })
    }

    #[tokio::test]
    async fn records_go_on_after_a_restart_in_one_chain() {
        let file = Scratch::new("restart");
        let record = JsonLines::append(&file.0).unwrap();
        assert_eq!(record.record(event("a"), Durability::Queued).await, Ok(1));
        // Made though nobody waits for it.
        drop(record.record(event("b"), Durability::Queued));
        assert_eq!(record.record(event("c"), Durability::Synced).await, Ok(3));
        drop(record);
        let record = JsonLines::append(&file.0).unwrap();
        assert_eq!(record.record(event("d"), Durability::Synced).await, Ok(4));
        drop(record);
        let lines = file.lines();
        let details: Vec<_> = lines
            .iter()
            .map(|line| line["detail"].as_str().unwrap())
            .collect();
        assert_eq!(details, ["a", "b", "c", "d"]);
        for pair in lines.windows(2) {
            assert_eq!(pair[0]["hash"], pair[1]["prev"]);
        }
    }

    #[tokio::test]
    async fn a_torn_end_is_cut_off_and_a_changed_line_is_an_error() {
        let file = Scratch::new("torn");
        let record = JsonLines::append(&file.0).unwrap();
        for detail in ["a", "b"] {
            record.record(event(detail), Durability::Synced).await.unwrap();
        }
        drop(record);
        let whole = fs::read_to_string(&file.0).unwrap();
        fs::write(&file.0, format!("{whole}{{\"seq\":3,")).unwrap();
        drop(JsonLines::append(&file.0).unwrap());
        assert_eq!(fs::read_to_string(&file.0).unwrap(), whole);
        let changed = whole.replacen("\"a\"", "\"x\"", 1);
        fs::write(&file.0, &changed).unwrap();
        let error = JsonLines::append(&file.0).unwrap_err();
        assert_eq!(
            (error.code(), error.fault()),
            ("record.unwritable", Fault::Operator)
        );
        assert_eq!(
            fs::read_to_string(&file.0).unwrap(),
            changed,
            "it is left as it is"
        );
    }

    #[tokio::test]
    async fn one_process_has_the_file() {
        let file = Scratch::new("lock");
        let record = JsonLines::append(&file.0).unwrap();
        JsonLines::append(&file.0).unwrap_err();
        drop(record);
        JsonLines::append(&file.0).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_written_is_not_recorded_then_or_later() {
        let good = Scratch::new("later");
        let mut scribe = Scribe {
            file: OpenOptions::new().write(true).open("/dev/full").unwrap(),
            chain: Chain::start([0; 32]),
            clock: Arc::new(clock::System),
            broken: None,
        };
        let keep = |scribe: &mut Scribe| {
            let (done, mut receipt) = oneshot::channel();
            let entry = Entry {
                event: event("a"),
                durability: Durability::Queued,
                done,
            };
            scribe.keep(std::iter::once(entry));
            receipt.try_recv().unwrap()
        };
        let error = keep(&mut scribe).unwrap_err();
        // Part of a line may be in the file: nothing may follow it.
        scribe.file = open(&good.0).unwrap();
        assert_eq!(keep(&mut scribe), Err(error));
        assert!(good.lines().is_empty());
    }

    #[tokio::test]
    async fn what_finds_no_room_is_refused_at_once() {
        let (queue, entries) = sync_channel(1);
        let record = JsonLines {
            queue: Some(queue),
            thread: None,
        };
        let first = record.record(event("a"), Durability::Queued);
        let error = record.record(event("b"), Durability::Queued).await.unwrap_err();
        assert_eq!(error.0, "too many events wait to be written");
        drop(entries);
        first.await.unwrap_err();
        let error = record.record(event("c"), Durability::Queued).await.unwrap_err();
        assert_eq!(error.0, "the writing thread was lost");
    }
}
