//! Files that people name: small ones are read up to a bound, and what is written is there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use portcullis_core::random::token;
use portcullis_net::random;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Largest file with a key, a key set or a chain, in bytes.
const KEY_BYTES: usize = 256 * 1024;

/// A file with a key, a key set or a chain: at most 256 KiB. It may hold a secret, so no copy of it is left behind.
pub(crate) fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let cannot = |error: io::Error| Failure::usage(format!("{} cannot be read: {error}", path.display()));
    // As long as it may get: a vector that grows leaves its old contents behind.
    let mut text = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
    File::open(path)
        .map_err(cannot)?
        .take(KEY_BYTES as u64 + 1)
        .read_to_end(&mut text)
        .map_err(cannot)?;
    if text.len() > KEY_BYTES {
        return Err(Failure::usage(format!(
            "{} is too large for a key or a chain: more than {KEY_BYTES} bytes",
            path.display()
        )));
    }
    Ok(text)
}

/// Puts `text` into a file that only this user can read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = Draft::begin(path, Readers::Owner)?;
    draft.write_all(text.as_bytes())?;
    draft.finish()
}

/// Who may read a new file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readers {
    /// Its owner alone.
    Owner,
    /// Whoever the user's file mode mask lets.
    Everyone,
}

/// A file in the making, beside its place. Dropped before [`Draft::finish`], it leaves everything as it was.
///
/// A device, a pipe or a link is written to and never replaced: only a plain file is ours to put another in place of.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    beside: Option<PathBuf>,
    place: PathBuf,
}

impl Draft {
    /// Begins: what cannot be written is told now, before anything was done that the file is for.
    pub(crate) fn begin(place: &Path, readers: Readers) -> io::Result<Self> {
        if fs::symlink_metadata(place).is_ok_and(|found| !found.is_file()) {
            return Ok(Self {
                file: OpenOptions::new().write(true).open(place)?,
                beside: None,
                place: place.to_owned(),
            });
        }
        let name = place
            .file_name()
            .ok_or_else(|| io::Error::other("not the name of a file"))?;
        let suffix = token::<12>(&random::System).map_err(|error| io::Error::other(error.to_string()))?;
        let beside = place.with_file_name(format!(".{}.{suffix}", name.to_string_lossy()));
        let mode = match readers {
            Readers::Owner => 0o600,
            Readers::Everyone => 0o666,
        };
        Ok(Self {
            file: OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&beside)?,
            beside: Some(beside),
            place: place.to_owned(),
        })
    }

    /// Puts it in its place, whole and on disk.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        if self.beside.is_none() && self.file.metadata()?.is_file() {
            // Through a link into a file that was longer.
            let end = self.file.stream_position()?;
            self.file.set_len(end)?;
        }
        if let Some(beside) = &self.beside {
            self.file.sync_all()?;
            fs::rename(beside, &self.place)?;
            self.beside = None;
        }
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // What went wrong before is what is told; this file has a name that nothing looks for.
            let _removed = fs::remove_file(beside);
        }
    }
}

/// Refuses to take the place of a file. Devices and pipes have nothing to lose.
pub(crate) fn refuse_existing(path: &Path, hint: &str) -> Result<(), Failure> {
    if path.is_file() {
        return Err(Failure::usage(format!("{} is there already", path.display())).hint(hint));
    }
    Ok(())
}

/// A private or shared key, as [`read_key`], from a file that its owner alone can read. A pipe is nobody else's.
pub(crate) fn read_private_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let exposed = |found: &fs::Metadata| found.is_file() && found.permissions().mode() & 0o077 != 0;
    if fs::metadata(path).is_ok_and(|found| exposed(&found)) {
        return Err(Failure::usage(format!(
            "{} can be read or written by other users, which a file with a secret key must not be",
            path.display()
        ))
        .hint(format!("chmod 600 {}", path.display())));
    }
    read_key(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A folder of its own, gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("portcullis-files-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn private_files_are_private_and_replaced_whole() {
        let folder = Folder::new("private");
        let path = folder.0.join("file");
        fs::write(&path, "readable by all").unwrap();
        write_private(&path, "one").unwrap();
        write_private(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.names(), 1);
    }

    #[test]
    fn what_is_not_finished_leaves_nothing_behind() {
        let folder = Folder::new("draft");
        let path = folder.0.join("file");
        fs::write(&path, "old").unwrap();
        let mut draft = Draft::begin(&path, Readers::Owner).unwrap();
        draft.write_all(b"half").unwrap();
        assert_eq!(folder.names(), 2);
        drop(draft);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(folder.names(), 1);
        let link = folder.0.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_private(&link, "ne").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "ne");
        // where nothing can be written, it is told at once
        assert!(Draft::begin(&path.join("below"), Readers::Owner).is_err());
        assert!(Draft::begin(&folder.0, Readers::Owner).is_err());
    }

    #[test]
    fn a_key_is_read_up_to_the_bound() {
        let folder = Folder::new("bound");
        let path = folder.0.join("key");
        fs::write(&path, vec![b'a'; KEY_BYTES]).unwrap();
        assert_eq!(read_key(&path).unwrap().len(), KEY_BYTES);
        fs::write(&path, vec![b'a'; KEY_BYTES + 1]).unwrap();
        assert!(read_key(&path).unwrap_err().to_string().contains("too large"));
        let absent = read_key(&folder.0.join("absent")).unwrap_err();
        assert!(absent.to_string().contains("cannot be read"), "{absent}");
    }
}
