//! What the authority keeps: users, clients, consents, login sessions, known browsers, codes, refresh token families.
//!
//! Takes: values of `core::oauth::server`. Gives: the same values back, after a restart too. May use: SQLite.
//! Never: sees a secret (hashes only), decides anything that the state machines do not, acknowledges what is not on disk.
//!
//! SQLite in WAL mode with `synchronous=FULL`: a commit that returned survives `kill -9` and a power cut. What may
//! happen once happens in one immediate transaction with the state machine's decision inside it, so that fifty parallel
//! requests see fifty states one after the other.

mod clients;
mod codes;
mod consents;
pub(crate) mod database;
mod devices;
mod families;
mod reap;
mod revocations;
mod row;
mod sessions;
#[cfg(test)]
mod tests;
mod users;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::fault::Fault;
use portcullis_core::ids::Issuer;
use portcullis_core::time::Lifetime;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, SqlStr, Sqlite, Transaction};

pub use families::{NewFamily, Successor};
pub use reap::{IDLE_CLIENT, Reaped, UNUSED_CLIENT};
pub use revocations::{Page, RevocationLog};

/// Connections at most: one writes, the others read.
const CONNECTIONS: u32 = 4;
/// Longest wait for another writer.
const BUSY: Duration = Duration::from_secs(10);

/// The store cannot do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be made or opened.
    #[error("cannot open the store `{path}`: {detail}")]
    Open {
        /// The file.
        path: String,
        /// Why not.
        detail: String,
    },
    /// The database failed: disk full, locked for long, damaged.
    #[error("the store failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The database that replicas share has no answer, or none in time.
    #[error("the store {place} failed: {detail}")]
    Unanswered {
        /// Which, without a password.
        place: String,
        /// What was wrong.
        detail: String,
    },
    /// A row holds what we never wrote.
    #[error("the store is damaged: a {0} cannot be read")]
    Damaged(&'static str),
}

impl Error {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "store.open",
            Self::Database(_) | Self::Unanswered { .. } => "store.failed",
            Self::Damaged(_) => "store.damaged",
        }
    }

    /// Who has to act.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::Operator
    }
}

/// The open store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    /// Without it, what is revoked reaches no access token.
    issuing: Option<Arc<Issuing>>,
}

/// Whose grants these are.
#[derive(Debug)]
struct Issuing {
    issuer: Issuer,
    /// The longest that an access token can be accepted.
    longest: Lifetime,
}

impl Store {
    /// Opens the file, making it (readable by its owner alone) and bringing it to the current schema if needed.
    /// `location` is a path, or `sqlite:` and a path.
    ///
    /// # Errors
    /// [`Error::Open`], also for a file that a later version has written.
    pub async fn open(location: &str) -> Result<Self, Error> {
        let path = location.strip_prefix("sqlite:").unwrap_or(location);
        let failed = |detail: String| Error::Open {
            path: path.to_owned(),
            detail,
        };
        if database::is_postgres(location) {
            // Only the scheme: the rest may have a password in it.
            return Err(Error::Open {
                path: "postgres:…".to_owned(),
                detail: "users, clients and grants are not kept in PostgreSQL yet, only keys are \
                         (`[keys] kept_in`); an authority needs `sqlite:PATH`"
                    .to_owned(),
            });
        }
        create_private(Path::new(path)).map_err(|error| failed(error.to_string()))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options);
        let pool = pool.await.map_err(|error| failed(error.to_string()))?;
        migrations()
            .run(&pool)
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { pool, issuing: None })
    }

    /// The same, as the store of this issuer: when one of its grants is revoked, so is every access token of it, by the log of
    /// revocations in the same database. `longest` is the longest that an access token can be accepted.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn issuing(self, issuer: &Issuer, longest: Lifetime) -> Result<Self, Error> {
        let mut write = self.write().await?;
        revocations::prepare_for(&mut write, issuer).await?;
        write.commit().await?;
        let issuing = Issuing {
            issuer: issuer.clone(),
            longest,
        };
        Ok(Self {
            issuing: Some(Arc::new(issuing)),
            ..self
        })
    }

    /// Ends all connections, so that the file is complete by itself.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that holds the write lock from its start.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

fn migrations() -> Migrator {
    let texts = [
        (
            1,
            "authority",
            include_str!("../../migrations/0001_authority.sql"),
        ),
        (2, "devices", include_str!("../../migrations/0002_devices.sql")),
        (
            3,
            "client_keys",
            include_str!("../../migrations/0003_client_keys.sql"),
        ),
    ];
    let migration = |(version, name, text): (i64, &'static str, &'static str)| {
        let text = SqlStr::from_static(text);
        Migration::new(version, name.into(), MigrationType::Simple, text, false)
    };
    Migrator::with_migrations(texts.into_iter().map(migration).collect())
}

/// SQLite gives its other files the mode of this one.
pub(crate) fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}
