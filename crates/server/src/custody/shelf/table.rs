//! A ring in a database: SQLite or PostgreSQL.
//!
//! Two tables serve all rings of a database: one row per ring with its generation and lease, one row per key with the
//! same JSON as a key file. Key material in it is as closed as in files. Time for the lease is the database's own, so
//! that replicas need not agree on theirs.
//!
//! Callers block.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::random;
use portcullis_net::random::System;
use sqlx::AssertSqlSafe;

use super::{Changed, KeyRecord, Lease, Shelf, Shelved};
use crate::custody::Error;
use crate::store::database::{self, Pool, Unanswered, on};

/// Longest wait for one answer: with the longest wait between two looks it is less than
/// [`NOTICE`](portcullis_core::keys::NOTICE).
pub(in crate::custody) const ANSWER: Duration = Duration::from_secs(7);
/// How long a lease lasts whose holder was never heard of again. A hardware module takes seconds for a key.
const LEASE_MILLIS: i64 = 60_000;

/// A database for key rings. Its rings share the connections.
#[derive(Debug)]
pub struct Database {
    database: database::Database,
    prefix: String,
}

impl Database {
    /// Opens the database and makes the tables when they are not there. `url` is `sqlite:PATH` or
    /// `postgres://USER@HOST/NAME`; `prefix` begins the names of the tables.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn open(url: &str, prefix: &str) -> Result<Arc<Self>, Error> {
        if !prefix
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        {
            return Err(Error::Store {
                place: database::without_password(url),
                detail: format!("`{prefix}` cannot begin the name of a table"),
            });
        }
        let database = database::Database::open(url, "portcullis-keys").map_err(Error::from)?;
        let database = Self {
            database,
            prefix: prefix.to_owned(),
        };
        database.run(|pool, sql| async move { prepare(&pool, &sql).await })?;
        Ok(Arc::new(database))
    }

    /// Whether this text names a database that rings can be kept in.
    #[must_use]
    pub fn is_postgres(url: &str) -> bool {
        database::is_postgres(url)
    }

    fn run<T, F>(&self, work: impl FnOnce(Pool, Sql) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        let sql = Sql::new(&self.prefix, self.database.is_postgres());
        self.database
            .run(ANSWER, |pool| work(pool, sql))
            .map_err(Error::from)
    }
}

impl From<Unanswered> for Error {
    fn from(Unanswered { place, detail }: Unanswered) -> Self {
        Self::Store { place, detail }
    }
}

/// The statements. Both databases take `$1` and `ON CONFLICT`; the clock is each one's own.
struct Sql {
    make_rings: String,
    make_keys: String,
    generation: String,
    read: String,
    begin_ring: String,
    advance: String,
    clear: String,
    put: String,
    lease: String,
    release: String,
}

impl Sql {
    fn new(prefix: &str, postgres: bool) -> Self {
        let (rings, keys) = (format!("{prefix}key_rings"), format!("{prefix}ring_keys"));
        let now = if postgres {
            "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
        } else {
            "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
        };
        Self {
            make_rings: format!(
                "CREATE TABLE IF NOT EXISTS {rings} (ring TEXT PRIMARY KEY, generation BIGINT NOT NULL, \
                 holder TEXT, held_until BIGINT NOT NULL DEFAULT 0)"
            ),
            make_keys: format!(
                "CREATE TABLE IF NOT EXISTS {keys} (ring TEXT NOT NULL, kid TEXT NOT NULL, record TEXT NOT NULL, \
                 PRIMARY KEY (ring, kid))"
            ),
            generation: format!("SELECT generation FROM {rings} WHERE ring = $1"),
            // One statement sees one moment, in both databases.
            read: format!(
                "SELECT r.generation, k.record FROM {rings} r LEFT JOIN {keys} k ON k.ring = r.ring \
                 WHERE r.ring = $1 ORDER BY k.kid"
            ),
            begin_ring: format!(
                "INSERT INTO {rings} (ring, generation) VALUES ($1, 0) ON CONFLICT (ring) DO NOTHING"
            ),
            advance: format!(
                "UPDATE {rings} SET generation = generation + 1 WHERE ring = $1 AND generation = $2"
            ),
            clear: format!("DELETE FROM {keys} WHERE ring = $1"),
            put: format!("INSERT INTO {keys} (ring, kid, record) VALUES ($1, $2, $3)"),
            lease: format!(
                "UPDATE {rings} SET holder = $2, held_until = {now} + {LEASE_MILLIS} \
                 WHERE ring = $1 AND (holder IS NULL OR held_until < {now})"
            ),
            release: format!(
                "UPDATE {rings} SET holder = NULL, held_until = 0 WHERE ring = $1 AND holder = $2"
            ),
        }
    }
}

async fn prepare(pool: &Pool, sql: &Sql) -> Result<(), sqlx::Error> {
    let statements = [&sql.make_rings, &sql.make_keys];
    match pool {
        Pool::Sqlite(pool) => {
            for statement in statements {
                sqlx::query(AssertSqlSafe(statement.clone()))
                    .execute(pool)
                    .await?;
            }
        }
        Pool::Postgres(pool) => {
            let mut transaction = pool.begin().await?;
            // Two that make one table at the same time disturb each other, `IF NOT EXISTS` or not.
            sqlx::query("SELECT pg_advisory_xact_lock(8210416)")
                .execute(&mut *transaction)
                .await?;
            for statement in statements {
                sqlx::query(AssertSqlSafe(statement.clone()))
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
        }
    }
    Ok(())
}

/// One ring of a database.
#[derive(Clone, Debug)]
pub struct Table {
    database: Arc<Database>,
    ring: String,
}

impl Table {
    /// The ring of this name.
    #[must_use]
    pub fn new(database: Arc<Database>, ring: &str) -> Self {
        Self {
            database,
            ring: ring.to_owned(),
        }
    }

    fn damaged(&self, detail: String) -> Error {
        Error::Store {
            place: self.place(),
            detail,
        }
    }
}

/// A change in one transaction; both kinds differ only in how it begins.
macro_rules! change_in {
    ($transaction:ident, $sql:ident, $ring:ident, $expected:ident, $texts:ident) => {{
        sqlx::query(AssertSqlSafe($sql.begin_ring))
            .bind(&$ring)
            .execute(&mut *$transaction)
            .await?;
        let advanced = sqlx::query(AssertSqlSafe($sql.advance))
            .bind(&$ring)
            .bind($expected)
            .execute(&mut *$transaction)
            .await?;
        if advanced.rows_affected() != 1 {
            $transaction.rollback().await?;
            return Ok(false);
        }
        sqlx::query(AssertSqlSafe($sql.clear))
            .bind(&$ring)
            .execute(&mut *$transaction)
            .await?;
        for (kid, text) in $texts {
            sqlx::query(AssertSqlSafe($sql.put.clone()))
                .bind(&$ring)
                .bind(kid)
                .bind(text)
                .execute(&mut *$transaction)
                .await?;
        }
        $transaction.commit().await?;
        Ok(true)
    }};
}

impl Shelf for Table {
    fn place(&self) -> String {
        format!("{} (ring `{}`)", self.database.database.place(), self.ring)
    }

    fn generation(&self) -> Result<u64, Error> {
        let ring = self.ring.clone();
        let generation: Option<i64> = self.database.run(|pool, sql| async move {
            on!(&pool, |pool| sqlx::query_scalar(AssertSqlSafe(sql.generation))
                .bind(ring)
                .fetch_optional(pool)
                .await)
        })?;
        Ok(number(generation.unwrap_or_default()))
    }

    fn read(&self) -> Result<Shelved, Error> {
        let ring = self.ring.clone();
        let rows: Vec<(i64, Option<String>)> = self.database.run(|pool, sql| async move {
            on!(&pool, |pool| sqlx::query_as(AssertSqlSafe(sql.read))
                .bind(ring)
                .fetch_all(pool)
                .await)
        })?;
        let generation = number(
            rows.first()
                .map(|(generation, _)| *generation)
                .unwrap_or_default(),
        );
        let mut records = rows
            .into_iter()
            .filter_map(|(_, text)| text)
            .map(|text| {
                KeyRecord::from_json(text.as_bytes()).map_err(|unreadable| {
                    self.damaged(format!("a key is damaged: {}", unreadable.into_detail()))
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        records.sort_by(|a, b| a.kid.cmp(&b.kid));
        Ok(Shelved { generation, records })
    }

    fn change(&self, expected: u64, records: &[KeyRecord]) -> Result<Changed, Error> {
        let ring = self.ring.clone();
        let counted = i64::try_from(expected).unwrap_or(i64::MAX);
        let texts: Vec<(String, String)> = records
            .iter()
            .map(|record| (record.kid.to_string(), record.to_json()))
            .collect();
        let happened = self.database.run(|pool, sql| async move {
            match pool {
                Pool::Sqlite(pool) => {
                    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                    change_in!(transaction, sql, ring, counted, texts)
                }
                Pool::Postgres(pool) => {
                    let mut transaction = pool.begin().await?;
                    change_in!(transaction, sql, ring, counted, texts)
                }
            }
        })?;
        Ok(if happened {
            Changed::To(expected.saturating_add(1))
        } else {
            Changed::Conflict
        })
    }

    fn lease(&self) -> Result<Option<Lease>, Error> {
        let holder = random::token::<16>(&System).map_err(|_| Error::Crypto("make randomness"))?;
        let (ring, name) = (self.ring.clone(), holder.clone());
        let taken = self.database.run(|pool, sql| async move {
            on!(&pool, |pool| {
                sqlx::query(AssertSqlSafe(sql.begin_ring))
                    .bind(&ring)
                    .execute(pool)
                    .await?;
                sqlx::query(AssertSqlSafe(sql.lease))
                    .bind(&ring)
                    .bind(name)
                    .execute(pool)
                    .await
                    .map(|done| done.rows_affected() == 1)
            })
        })?;
        if !taken {
            return Ok(None);
        }
        let table = self.clone();
        Ok(Some(Lease::new(move || table.release(holder))))
    }
}

impl Table {
    fn release(&self, holder: String) {
        let ring = self.ring.clone();
        let released = self.database.run(|pool, sql| async move {
            on!(&pool, |pool| sqlx::query(AssertSqlSafe(sql.release))
                .bind(ring)
                .bind(holder)
                .execute(pool)
                .await
                .map(drop))
        });
        if let Err(error) = released {
            tracing::warn!(%error, "could not give back the lease of a key ring; it ends by itself");
        }
    }
}

/// Generations are never negative.
fn number(generation: i64) -> u64 {
    u64::try_from(generation).unwrap_or_default()
}
