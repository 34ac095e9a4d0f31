//! Files that are whole or absent, whenever the process dies.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_core::random::{self, SecureRandom};

use super::Error;

/// How a file begins that is not finished. Whoever holds the folder's lock may remove such files.
const UNFINISHED: &str = ".unfinished-";

/// Makes the folder and those above it, for the owner alone.
pub(super) fn private_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("create the folder", path))
}

/// A file to take locks on: made if it is not there, and never changed.
pub(super) fn lockable(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Takes the folder's lock, waiting for it; the operating system frees it when the file closes or the process dies.
pub(super) fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let file = lockable(&path).map_err(Error::io("open", &path))?;
    file.lock().map_err(Error::io("lock", &path))?;
    Ok(file)
}

/// Takes the folder's lock together with other readers, waiting for a writer; `None` in a folder that we may not write.
pub(super) fn lock_shared(folder: &Path) -> Result<Option<File>, Error> {
    let path = folder.join("lock");
    match lockable(&path) {
        Ok(file) => {
            file.lock_shared().map_err(Error::io("lock", &path))?;
            Ok(Some(file))
        }
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound
            ) =>
        {
            Ok(None)
        }
        Err(source) => Err(Error::io("open", &path)(source)),
    }
}

/// Removes what a process that died left unfinished. Only under the folder's lock.
pub(super) fn remove_unfinished(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io("read the folder", folder))? {
        let entry = entry.map_err(Error::io("read the folder", folder))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            let path = entry.path();
            tracing::info!(path = %path.display(), "removing an unfinished file");
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Writes the file in place of the one of that name: after this, and at no time before, the new bytes are there.
pub(crate) fn replace(path: &Path, bytes: &[u8], random: &dyn SecureRandom) -> Result<(), Error> {
    let (folder, unfinished) = write_beside(path, bytes, random)?;
    fs::rename(&unfinished, path).map_err(Error::io("rename a file to", path))?;
    sync_folder(&folder)
}

/// Writes the file unless there is one of that name. Returns whether it was written.
pub(super) fn create(path: &Path, bytes: &[u8], random: &dyn SecureRandom) -> Result<Creation, Error> {
    let (folder, unfinished) = write_beside(path, bytes, random)?;
    // A link fails where a file is, and where it does not fail the file is whole.
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished).map_err(Error::io("remove", &unfinished))?;
    let creation = match linked {
        Ok(()) => Creation::Made,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Creation::WasThere,
        Err(source) => {
            return Err(Error::Io {
                action: "create",
                path: path.to_owned(),
                source,
            });
        }
    };
    sync_folder(&folder)?;
    Ok(creation)
}

/// What became of a file that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Creation {
    Made,
    WasThere,
}

/// Refuses a secret file that others can read.
pub(super) fn check_private(path: &Path) -> Result<(), Error> {
    let mode = fs::metadata(path)
        .map_err(Error::io("read", path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(Error::Exposed {
            path: path.to_owned(),
            mode,
        })
    }
}

fn write_beside(path: &Path, bytes: &[u8], random: &dyn SecureRandom) -> Result<(PathBuf, PathBuf), Error> {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let suffix = random::token::<12>(random).map_err(|_| Error::Crypto("make randomness"))?;
    let unfinished = folder.join(format!("{UNFINISHED}{suffix}"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(Error::io("create", &unfinished))?;
    file.write_all(bytes).map_err(Error::io("write", &unfinished))?;
    file.sync_all().map_err(Error::io("sync", &unfinished))?;
    Ok((folder, unfinished))
}

/// A rename is durable when its folder is.
fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("sync the folder", folder))
}
