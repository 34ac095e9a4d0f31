//! The folder of a log: its lock, its files, and the end where writing goes on.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_core::audit::Chain;
use portcullis_core::fault::Fault;

/// How much of a file's end is read at first, to find its last record.
const WINDOW: u64 = 1024 * 1024;
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
    /// What was set aside, in words.
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

/// Finds the end of the log in `dir`, and repairs it.
pub(super) fn end(dir: &Path) -> Result<End, Error> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { doing, path, source }
    };
    let mut files = files(dir).map_err(failed("list", dir))?;
    let mut repairs = Vec::new();
    let mut emptied = Vec::new();
    let mut chain = None;
    let mut last = None;
    while let Some(path) = files.pop() {
        let mut file = options().open(&path).map_err(failed("open", &path))?;
        let length = file.metadata().map_err(failed("read", &path))?.len();
        let found = last_record(&mut file, length).map_err(failed("read", &path))?;
        let whole = found.as_ref().map_or(0, |(end, _)| *end);
        if length > whole {
            repairs.push(set_aside(dir, &path, &mut file, whole, length).map_err(failed("repair", &path))?);
        }
        if let Some((len, found)) = found {
            chain = Some(found);
            last = Some((path, file, len));
            break;
        }
        emptied.push((path, file));
    }
    let next = chain.as_ref().map_or(1, Chain::next_seq);
    // A crash right after a rotation leaves a file without records. It is used when its name is the right one.
    for (path, file) in emptied {
        if first_seq(&path) == Some(next) {
            last = Some((path, file, 0));
        } else {
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
    }
    let (path, file, len) = match last {
        Some(last) => last,
        None => {
            let path = dir.join(file_name(next));
            let file = options()
                .create_new(true)
                .open(&path)
                .map_err(failed("create", &path))?;
            sync_names(dir).map_err(failed("sync", dir))?;
            (path, file, 0)
        }
    };
    Ok(End {
        path,
        file,
        len,
        chain,
        repairs,
    })
}

/// The last line that is a whole record: where it ends, and the chain that goes on after it.
fn last_record(file: &mut File, length: u64) -> io::Result<Option<(u64, Chain)>> {
    let mut window = WINDOW.min(length);
    loop {
        let start = length - window;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(window).read_to_end(&mut bytes)?;
        let mut end = bytes.len();
        while let Some(feed) = bytes
            .get(..end)
            .and_then(|bytes| bytes.iter().rposition(|byte| *byte == b'\n'))
        {
            let before = bytes.get(..feed).unwrap_or_default();
            let begin = before
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |feed| feed + 1);
            // The first line of the window may begin before it; then it is no record, and a larger window shows it.
            if let Some(chain) = before.get(begin..).and_then(|line| Chain::resume(line).ok()) {
                return Ok(Some((start + u64::try_from(feed).unwrap_or(0) + 1, chain)));
            }
            end = feed;
        }
        if start == 0 {
            return Ok(None);
        }
        window = window.saturating_mul(4).min(length);
    }
}

/// Moves what follows the last record into a file of its own, and says so.
fn set_aside(dir: &Path, path: &Path, file: &mut File, whole: u64, length: u64) -> io::Result<String> {
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
    io::copy(&mut file.take(length - whole), &mut kept)?;
    kept.sync_all()?;
    sync_names(dir)?;
    file.set_len(whole)?;
    file.sync_all()?;
    Ok(format!(
        "{} bytes that are no whole record moved from {name}.jsonl to {aside}",
        length - whole
    ))
}
