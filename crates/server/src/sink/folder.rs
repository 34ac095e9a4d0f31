//! The folder of a log: its lock, its files, and the end where writing goes on.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_core::audit::{Broken, Chain, LINE_BYTES, Verifier};
use portcullis_core::fault::Fault;

/// The file that whoever writes the log holds the lock of.
const LOCK: &str = "audit.lock";

/// An audit log that cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process writes it.
    #[error("the audit log `{}` is being written by another process", .0.display())]
    InUse(PathBuf),
    /// A file or folder cannot be used.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    File {
        /// What was tried, such as "open".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A record in it was changed. No crash does that, so nothing is repaired.
    #[error(
        "the audit log `{}` does not hold: {broken}; it stays as it is: look at it with `portcullis audit verify --dir \
         {}`, and move the folder aside to begin a new log", dir.display(), dir.display()
    )]
    Broken {
        /// The log's folder.
        dir: PathBuf,
        /// Which record, in which file and line.
        broken: Broken,
    },
    /// Its newest file has no record, and is not the one that the next record goes to.
    #[error(
        "the audit log `{}` does not hold: record {due} is due, and {file} is for later ones; it stays as it is: move \
         the folder aside to begin a new log", dir.display()
    )]
    Missing {
        /// The log's folder.
        dir: PathBuf,
        /// The file's name.
        file: String,
        /// The record that comes next after those that are there.
        due: u64,
    },
    /// The system gave no randomness to name a new log with, or no thread to write it with.
    #[error("the audit log cannot start: {0}")]
    Start(String),
    /// It was closed while records could not be written.
    #[error("the audit log was closed with records that could not be written: {0}")]
    Unwritten(String),
}

impl Error {
    /// Stable slug.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse(_) => "audit.in-use",
            Self::File { .. } => "audit.file",
            Self::Broken { .. } => "audit.broken",
            Self::Missing { .. } => "audit.missing",
            Self::Start(_) => "audit.start",
            Self::Unwritten(_) => "audit.unwritten",
        }
    }

    /// Whose fault: the operator's, always.
    #[must_use]
    pub fn fault(&self) -> Fault {
        Fault::Operator
    }
}

/// The files of the log in `dir`, oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if first_seq(&path).is_some() {
            files.push(path);
        }
    }
    // The number has always as many digits, so the order of the names is the order of the records.
    files.sort_unstable();
    Ok(files)
}

/// Whether a process has a log open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Yes, so its last line may be incomplete.
    Now,
    /// No, so it is as it will stay.
    NotNow,
}

/// Whether a process has the log that `file` belongs to open for writing.
///
/// # Errors
/// When the folder's lock cannot be tried.
pub fn writer(file: &Path) -> io::Result<Writing> {
    let lock = match File::open(file.with_file_name(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Writing::NotNow),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Writing::NotNow),
        Err(TryLockError::WouldBlock) => Ok(Writing::Now),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The file whose first record is `seq`.
pub(super) fn file_name(seq: u64) -> String {
    format!("audit-{seq:020}.jsonl")
}

fn first_seq(path: &Path) -> Option<u64> {
    let digits = path
        .file_name()?
        .to_str()?
        .strip_prefix("audit-")?
        .strip_suffix(".jsonl")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// Reads and writes a file of the log, readable for its owner only.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Makes the names in a folder durable: a new file is one only then.
pub(super) fn sync_names(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Where writing goes on.
#[derive(Debug)]
pub(super) struct End {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Bytes of whole records in it.
    pub(super) len: u64,
    /// Nothing when the log is new.
    pub(super) chain: Option<Chain>,
    /// What was repaired, in words.
    pub(super) repairs: Vec<String>,
}

/// Makes the folder if need be and takes its lock, which lasts as long as the file that comes back.
pub(super) fn lock(dir: &Path) -> Result<File, Error> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { doing, path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed("create", dir))?;
    let path = dir.join(LOCK);
    let file = options()
        .create(true)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
    }
}

/// Finds the end of the log in `dir`, and repairs it if a crash tore it.
///
/// What a crash leaves is a last line without line feed: every record that was acknowledged as synced has one. So the
/// lines that end in one must hold, in the newest file and in the one before it, since a crash right after a rotation
/// leaves a newest file without records. Only what follows them in the newest file is repaired. Anything else that does
/// not hold is somebody's doing, and is left as it is.
pub(super) fn end(dir: &Path) -> Result<End, Error> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { doing, path, source }
    };
    let broken = |broken| Error::Broken {
        dir: dir.to_owned(),
        broken,
    };
    let mut files = files(dir).map_err(failed("list", dir))?;
    let Some(path) = files.pop() else {
        return begin(dir);
    };
    let mut verifier = Verifier::new();
    if let Some(before) = files.pop() {
        let file = File::open(&before).map_err(failed("open", &before))?;
        let checked = check(&file, &before, &mut verifier).map_err(failed("read", &before))?;
        // It was synced to its end before the newest began.
        if checked.map_err(broken)?.torn > 0 {
            return Err(broken(verifier.unterminated()));
        }
    }
    let mut file = options().open(&path).map_err(failed("open", &path))?;
    let checked = check(&file, &path, &mut verifier).map_err(failed("read", &path))?;
    let Checked { whole, torn, rest } = checked.map_err(broken)?;
    let mut chain = verifier.chain();
    let due = chain.as_ref().map_or(1, Chain::next_seq);
    if whole == 0 && first_seq(&path) != Some(due) {
        return Err(Error::Missing {
            dir: dir.to_owned(),
            file: shown_name(&path),
            due,
        });
    }
    let mut len = whole;
    let mut repairs = Vec::new();
    if torn > 0 && verifier.push(&rest).is_ok() {
        chain = verifier.chain();
        len = whole.saturating_add(torn);
        file.write_all_at(b"\n", len)
            .and_then(|()| file.sync_all())
            .map_err(failed("repair", &path))?;
        len = len.saturating_add(1);
        repairs.push(format!(
            "record {due} in {} was whole but for its line feed, which was added",
            shown_name(&path)
        ));
    } else if torn > 0 {
        repairs.push(set_aside(dir, &path, &mut file, whole, torn).map_err(failed("repair", &path))?);
    }
    Ok(End {
        path,
        file,
        len,
        chain,
        repairs,
    })
}

/// The first file of a new log.
fn begin(dir: &Path) -> Result<End, Error> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { doing, path, source }
    };
    let path = dir.join(file_name(1));
    let file = options()
        .create_new(true)
        .open(&path)
        .map_err(failed("create", &path))?;
    sync_names(dir).map_err(failed("sync", dir))?;
    Ok(End {
        path,
        file,
        len: 0,
        chain: None,
        repairs: Vec::new(),
    })
}

/// A file whose lines hold.
struct Checked {
    /// Bytes of the lines that have their line feed.
    whole: u64,
    /// Bytes after them.
    torn: u64,
    /// Those bytes, when they are few enough to be a record.
    rest: Vec<u8>,
}

/// Checks all lines of a file that have their line feed.
fn check(file: &File, path: &Path, verifier: &mut Verifier) -> io::Result<Result<Checked, Broken>> {
    let length = file.metadata()?.len();
    let longest = u64::try_from(LINE_BYTES + 1).unwrap_or(u64::MAX);
    let mut reader = BufReader::with_capacity(64 * 1024, file.take(length));
    let mut whole = 0_u64;
    let mut line = Vec::new();
    verifier.begin_file(&shown_name(path));
    loop {
        line.clear();
        let read = reader.by_ref().take(longest).read_until(b'\n', &mut line)?;
        if let Some(record) = line.strip_suffix(b"\n") {
            if let Err(broken) = verifier.push(record) {
                return Ok(Err(broken));
            }
            whole = whole.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            continue;
        }
        if line.len() > LINE_BYTES {
            // Longer than any record, so none, with a line feed or without.
            let torn = ends_without_feed(&mut reader)?;
            if let (false, Err(broken)) = (torn, verifier.push(&line)) {
                return Ok(Err(broken));
            }
            line.clear();
        }
        return Ok(Ok(Checked {
            whole,
            torn: length.saturating_sub(whole),
            rest: line,
        }));
    }
}

/// Reads on to the end of a line or of the file, whichever comes first: is it the file's?
fn ends_without_feed(reader: &mut impl io::BufRead) -> io::Result<bool> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        if bytes.contains(&b'\n') {
            return Ok(false);
        }
        let read = bytes.len();
        reader.consume(read);
    }
}

fn shown_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Moves what follows the last record into a file of its own, and says so.
fn set_aside(dir: &Path, path: &Path, file: &mut File, whole: u64, torn: u64) -> io::Result<String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let (aside, mut kept) = (0..1000)
        .find_map(|number| {
            let aside = format!("{name}.torn-{number}");
            match options().create_new(true).open(dir.join(&aside)) {
                Ok(file) => Some(Ok((aside, file))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                Err(error) => Some(Err(error)),
            }
        })
        .unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))?;
    file.seek(SeekFrom::Start(whole))?;
    io::copy(&mut file.take(torn), &mut kept)?;
    kept.sync_all()?;
    sync_names(dir)?;
    file.set_len(whole)?;
    file.sync_all()?;
    Ok(format!(
        "{torn} bytes that are no whole record moved from {name}.jsonl to {aside}"
    ))
}
