//! Whole files and pipes in and out, with a word on the terminal when it takes long.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files::{Draft, Readers};

/// Largest input. One message is encrypted as a whole, because none of it may be believed before its tag was seen.
pub(super) const LARGEST: u64 = 2 * 1024 * 1024 * 1024;
const CHUNK: usize = 1024 * 1024;
/// What takes longer says how far it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads the file, or standard input for `-` and for none, to its end.
pub(super) fn read(from: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match from.filter(|path| *path != Path::new("-")) {
        None => read_all("standard input", io::stdin().lock(), None),
        Some(path) => {
            let cannot = |error: io::Error| {
                Failure::usage(format!("{} cannot be read: {error}", path.display()))
                    .hint("name a file that is there, or `-` for standard input")
            };
            let file = File::open(path).map_err(cannot)?;
            let size = file.metadata().map_err(cannot)?.len();
            read_all(&path.display().to_string(), file, Some(size))
        }
    }
}

fn read_all(name: &str, mut input: impl Read, size: Option<u64>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let too_large = || {
        Failure::usage(format!(
            "{name} has more than {} and one message is encrypted as a whole",
            human(LARGEST)
        ))
        .hint("split it, for example with split(1), and seal the parts")
    };
    if size.is_some_and(|size| size > LARGEST) {
        return Err(too_large());
    }
    let expected = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(CHUNK);
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected));
    let mut progress = Progress::new("reading");
    loop {
        if bytes.capacity() == bytes.len() {
            // A vector that grows leaves its old contents behind; this one is wiped.
            let mut larger = Zeroizing::new(Vec::with_capacity(bytes.len().saturating_mul(2).max(CHUNK)));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        let room = (bytes.capacity() - bytes.len()).min(CHUNK) as u64;
        let read = (&mut input)
            .take(room)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::refused(format!("{name} cannot be read to its end: {error}")))?;
        if read == 0 {
            progress.end();
            return Ok(bytes);
        }
        if bytes.len() as u64 > LARGEST {
            return Err(too_large());
        }
        progress.show(bytes.len() as u64, size);
    }
}

/// Writes to the file, which is whole or absent and for its owner alone, or to standard output for `-` and for none.
pub(super) fn write(to: Option<&Path>, bytes: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
    let mut progress = Progress::new("writing");
    let all = bytes.len() as u64;
    let mut write_to = |sink: &mut dyn Write| -> io::Result<()> {
        let mut written = 0;
        for chunk in bytes.chunks(CHUNK) {
            sink.write_all(chunk)?;
            written += chunk.len() as u64;
            progress.show(written, Some(all));
        }
        progress.end();
        sink.flush()
    };
    let Some(path) = to.filter(|path| *path != Path::new("-")) else {
        return Ok(write_to(out)?);
    };
    let cannot =
        |error: io::Error| Failure::refused(format!("{} cannot be written: {error}", path.display()));
    let mut draft = Draft::begin(path, Readers::Owner).map_err(cannot)?;
    write_to(&mut draft).and_then(|()| draft.finish()).map_err(cannot)
}

/// One line on standard error, from the second second on.
struct Progress {
    what: &'static str,
    started: Instant,
    shown: Option<Instant>,
}

impl Progress {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            started: Instant::now(),
            shown: None,
        }
    }

    fn show(&mut self, done: u64, of: Option<u64>) {
        let due = match self.shown {
            None => self.started.elapsed() > PATIENCE,
            Some(shown) => shown.elapsed() > PATIENCE / 4,
        };
        if !due {
            return;
        }
        let of = of.map(|all| format!(" of {}", human(all))).unwrap_or_default();
        let end = if io::stderr().is_terminal() { "\r" } else { "\n" };
        // Whoever closed standard error does not want to know.
        drop(write!(
            io::stderr(),
            "{}: {}{of}    {end}",
            self.what,
            human(done)
        ));
        self.shown = Some(Instant::now());
    }

    fn end(&self) {
        if self.shown.is_some() && io::stderr().is_terminal() {
            drop(writeln!(io::stderr()));
        }
    }
}

/// `1.5 MiB`
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["bytes", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        unit = next;
        if value < 1024.0 || next == "GiB" {
            break;
        }
        value /= 1024.0;
    }
    if unit == "bytes" {
        format!("{bytes} bytes")
    } else {
        format!("{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        assert_eq!(human(0), "0 bytes");
        assert_eq!(human(1023), "1023 bytes");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(LARGEST), "2.0 GiB");
        assert_eq!(human(5 * LARGEST * 1024), "10240.0 GiB");
    }

    #[test]
    fn a_pipe_is_read_to_its_end_whatever_its_size() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let input: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let read = read_all("test", input.as_slice(), None).unwrap();
            assert!(*read == input, "{size}");
        }
    }

    #[test]
    fn a_file_is_written_whole_and_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("portcullis-streams-{}", std::process::id()));
        fs::write(&path, "old").unwrap();
        write(Some(&path), b"new", &mut Vec::new()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
        // What is not a plain file is written to and stays what it is.
        let (target, link) = (path.with_extension("target"), path.with_extension("link"));
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write(Some(&link), b"through", &mut Vec::new()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"through");
        fs::remove_file(&target).unwrap();
        fs::remove_file(&link).unwrap();
        let nowhere = path.join("below/a/file");
        let failure = write(Some(&nowhere), b"new", &mut Vec::new()).unwrap_err();
        assert!(failure.to_string().contains("cannot be written"), "{failure}");
    }
}
