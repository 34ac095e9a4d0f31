//! Users of the embedded accounts, and their passwords.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use portcullis_core::ids::{ClientId, InvalidId, Subject};
use portcullis_core::random::{self, RandomUnavailable, SecureRandom};
use portcullis_core::secret::Secret;
use portcullis_core::time::UnixTime;
use portcullis_net::offload::{self, Lost};

use crate::store::{self, Store};

/// Longest password looked at, in bytes.
pub(super) const PASSWORD_BYTES: usize = 1024;

/// The hash of no password, with the parameters of all others: whoever names an unknown user waits as long.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A user that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No name of a user.
    #[error("not a user name: {0}")]
    Name(#[from] InvalidId),
    /// A client has this id, and `sub` would name both (RFC 9068 §5).
    #[error("`{0}` is the name of a client")]
    NameOfClient(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No randomness for a password or salt.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
    /// The work was lost.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// A password that cannot be hashed.
    #[error("the password cannot be hashed")]
    Password,
}

/// Makes sure that there is a user of this name. The generated password (120 bits) comes back only when the user was made now.
///
/// # Errors
/// [`Error`].
pub async fn ensure_user(
    store: &Store,
    name: &str,
    random: &dyn SecureRandom,
    now: UnixTime,
) -> Result<Option<Secret>, Error> {
    let user = free_name(store, name).await?;
    if store.password(name).await?.is_some() {
        return Ok(None);
    }
    let password = Secret::new(random::token::<15>(random)?);
    let hash = hash(&password, random).await?;
    Ok(store.add_user(&user, &hash, now).await?.then_some(password))
}

/// Makes sure that there is a user of this name with this password. Another password ends the login sessions of the old one.
///
/// # Errors
/// [`Error`].
pub async fn ensure_password(
    store: &Store,
    name: &str,
    password: &Secret,
    random: &dyn SecureRandom,
    now: UnixTime,
) -> Result<(), Error> {
    let user = free_name(store, name).await?;
    if verify(store, name, password).await?.is_some() {
        return Ok(());
    }
    let hash = hash(password, random).await?;
    if !store.add_user(&user, &hash, now).await? {
        store.change_password(&user, &hash).await?;
    }
    Ok(())
}

/// Names are what `sub` says, so that records can be read: no URL, no spaces, no client's id.
async fn free_name(store: &Store, name: &str) -> Result<Subject, Error> {
    let user = Subject::parse(name)?;
    let id = ClientId::parse(name)?;
    if name.contains([':', '/', ' ']) || store.client(&id).await?.is_some() {
        return Err(Error::NameOfClient(name.to_owned()));
    }
    Ok(user)
}

/// Whose password this is, if it is that user's. Takes as long for a user that does not exist.
pub(super) async fn verify(store: &Store, name: &str, password: &Secret) -> Result<Option<Subject>, Error> {
    let (user, hash) = match store.password(name).await? {
        Some((user, hash)) => (Some(user), hash),
        None => (None, NOBODY.to_owned()),
    };
    let password = password.clone();
    let held = offload::run(move || {
        PasswordHash::new(&hash).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.reveal().as_bytes(), &hash)
                .is_ok()
        })
    });
    let held = held.await?;
    Ok(user.filter(|_| held))
}

/// Argon2id with the parameters that OWASP recommends: 19 MiB, two passes, one lane.
async fn hash(password: &Secret, random: &dyn SecureRandom) -> Result<String, Error> {
    let mut salt = [0; 16];
    random.fill(&mut salt)?;
    let password = password.clone();
    let hashed = offload::run(move || {
        let hash: Result<PasswordHash, _> =
            Argon2::default().hash_password_with_salt(password.reveal().as_bytes(), &salt);
        hash.map(|hash| hash.to_string())
    });
    hashed.await?.map_err(|_| Error::Password)
}
