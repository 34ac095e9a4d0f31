//! A database that replicas may share: SQLite or PostgreSQL, whichever the URL names.
//!
//! Callers block; the database is spoken to on one thread of its own, so that a caller may be any thread at all.

use std::fmt;
use std::str::FromStr as _;
use std::sync::mpsc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::runtime::Runtime;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for another writer of an SQLite file.
const BUSY: Duration = Duration::from_secs(5);
/// Longest wait for the first connection.
const OPEN: Duration = Duration::from_secs(7);
/// Connections at most: what is asked is small.
const CONNECTIONS: u32 = 2;

/// An open database.
pub(crate) struct Database {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    pool: Pool,
    place: String,
}

/// Connections to one or the other.
#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The database has no answer, or none in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// Which, without a password.
    pub(crate) place: String,
    /// What was wrong.
    pub(crate) detail: String,
}

/// The same statements for both kinds of pool.
macro_rules! on {
    ($pool:expr, |$open:ident| $work:expr) => {
        match $pool {
            $crate::store::database::Pool::Sqlite($open) => $work,
            $crate::store::database::Pool::Postgres($open) => $work,
        }
    };
}
pub(crate) use on;

impl Database {
    /// Opens the database. `url` is `sqlite:PATH` or `postgres://USER@HOST/NAME`; `thread` names its thread.
    pub(crate) fn open(url: &str, thread: &str) -> Result<Self, Unanswered> {
        let place = without_password(url);
        let failed = |detail: String| Unanswered {
            place: place.clone(),
            detail,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(thread)
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let pool = ask(&runtime, OPEN, connect(url.to_owned()))
            .map_err(failed)?
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            runtime: Some(runtime),
            pool,
            place: place.clone(),
        })
    }

    /// Where it is, without a password.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) const fn is_postgres(&self) -> bool {
        matches!(self.pool, Pool::Postgres(_))
    }

    /// Does the work on the database's own thread and waits for its end, so long at most.
    pub(crate) fn run<T, F>(&self, longest: Duration, work: impl FnOnce(Pool) -> F) -> Result<T, Unanswered>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        let failed = |detail: String| Unanswered {
            place: self.place.clone(),
            detail,
        };
        let runtime = self
            .runtime
            .as_ref()
            .ok_or_else(|| failed("it is closed".to_owned()))?;
        ask(runtime, longest, work(self.pool.clone()))
            .map_err(failed)?
            .map_err(|error| failed(error.to_string()))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Waiting for the thread here could be waiting inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Whether this text names a PostgreSQL database.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

/// A database's address as it may be shown.
pub(crate) fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => match parsed.set_password(Some("hidden")) {
            Ok(()) => parsed.to_string(),
            Err(()) => "the database".to_owned(),
        },
        Ok(_) | Err(_) => url.to_owned(),
    }
}

/// Runs the work on the database's own thread and waits for its end.
fn ask<T: Send + 'static>(
    runtime: &Runtime,
    longest: Duration,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let (done, wait) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        // Who asked may have stopped waiting.
        drop(done.send(work.await));
    });
    wait.recv_timeout(longest)
        .map_err(|_| format!("it did not answer within {} s", longest.as_secs_f32()))
}

async fn connect(url: String) -> Result<Pool, sqlx::Error> {
    if is_postgres(&url) {
        let options = PgConnectOptions::from_str(&url)?.disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT);
        return Ok(Pool::Postgres(pool.connect_with(options).await?));
    }
    let path = url.strip_prefix("sqlite:").unwrap_or(&url);
    super::create_private(std::path::Path::new(path)).map_err(sqlx::Error::Io)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT);
    Ok(Pool::Sqlite(pool.connect_with(options).await?))
}
