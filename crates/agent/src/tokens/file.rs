//! Files on the disk: private, encrypted, replaced whole. Everything here blocks.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use portcullis_core::random::SecureRandom as _;
use portcullis_net::random;
use zeroize::Zeroizing;

use super::{Kept, StoreError};

const TOKENS: &str = "tokens";
const KEY: &str = "key";
/// What the file begins with: its version, and authenticated with the rest.
const MAGIC: &[u8] = b"portcullis-agent-tokens-1\n";
const KEY_BYTES: usize = 32;
/// Largest file read: some thousands of grants.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Makes the folder and its key when they are not there, and refuses a folder that others can write to.
pub(super) fn prepare(folder: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io("make the folder", folder))?;
    let mode = fs::metadata(folder)
        .map_err(io("read", folder))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o022 != 0 {
        return Err(StoreError::Exposed {
            path: folder.to_owned(),
            mode,
        });
    }
    let _lock = lock(&folder.join("lock"))?;
    let key = folder.join(KEY);
    if private_bytes(&key)?.is_some() {
        return Ok(());
    }
    if private_bytes(&folder.join(TOKENS))?.is_some() {
        return Err(StoreError::Damaged {
            path: key,
            detail: "the key is gone",
        });
    }
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    random::System
        .fill(bytes.as_mut())
        .map_err(|_| StoreError::Crypto)?;
    replace(folder, KEY, bytes.as_ref())
}

/// Takes a lock, waiting for it. The system frees it when the file is closed or the process dies.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let file = lock_file(path)?;
    file.lock().map_err(io("lock", path))?;
    Ok(file)
}

/// Takes a lock, if nobody has it.
pub(super) fn try_lock(path: &Path) -> Result<Option<File>, StoreError> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(io("lock", path)(source)),
    }
}

fn lock_file(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(path).map_err(io("open", path))
}

/// Reads what is kept: nothing when there is no file yet.
pub(super) fn read(folder: &Path) -> Result<Kept, StoreError> {
    let path = folder.join(TOKENS);
    let Some(sealed) = private_bytes(&path)? else {
        return Ok(Kept::default());
    };
    let damaged = |detail| StoreError::Damaged {
        path: path.clone(),
        detail,
    };
    let rest = sealed
        .strip_prefix(MAGIC)
        .ok_or_else(|| damaged("another version wrote it"))?;
    let (nonce, ciphertext) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or_else(|| damaged("it is cut off"))?;
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let text = cipher(folder)?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(MAGIC), &mut text)
        .map_err(|_| damaged("it was changed, or the key beside it is another's"))?;
    serde_json::from_slice(text).map_err(|_| damaged("another version wrote it"))
}

/// Writes what is kept in place of what was: whole or not at all, and durable when this returns.
pub(super) fn write(folder: &Path, kept: &Kept) -> Result<(), StoreError> {
    let mut text = Zeroizing::new(serde_json::to_vec(kept).map_err(|_| StoreError::Crypto)?);
    // A random nonce is safe for 2^32 messages (NIST SP 800-38D §8.3); a login or a refresh makes one.
    let (nonce, tag) = cipher(folder)?
        .seal_in_place_separate_tag(Aad::from(MAGIC), &mut text)
        .map_err(|_| StoreError::Crypto)?;
    replace(
        folder,
        TOKENS,
        &[MAGIC, nonce.as_ref(), &text, tag.as_ref()].concat(),
    )
}

fn cipher(folder: &Path) -> Result<RandomizedNonceKey, StoreError> {
    let path = folder.join(KEY);
    let key = private_bytes(&path)?.ok_or(StoreError::Damaged {
        path,
        detail: "the key is gone",
    })?;
    RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| StoreError::Damaged {
        path: folder.join(KEY),
        detail: "it is not a key",
    })
}

/// The bytes of a file that only its owner can read; refuses links, and files that others can read.
fn private_bytes(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io("read", path)(source)),
    };
    if !metadata.is_file() {
        return Err(StoreError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(io("read", path))?;
    let _length = file
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(io("read", path))?;
    Ok(Some(bytes))
}

/// Only under the folder's lock: the temporary name is one per folder, so that a crash leaves one file at most.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let path = folder.join(name);
    let unfinished = folder.join(format!(".unfinished-{name}"));
    match fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(io("remove", &unfinished)(source)),
    }
    let mut options = OpenOptions::new();
    // create_new: a link that someone put there is not followed.
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(io("create", &unfinished))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io("write", &unfinished))?;
    fs::rename(&unfinished, &path).map_err(io("replace", &path))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io("sync the folder", folder))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}
