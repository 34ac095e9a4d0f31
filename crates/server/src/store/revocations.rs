//! The log of revocations: a table that is only added to, which every replica reads from where it last was.
//!
//! Each entry has the number after that of the entry before, given under a lock of the table, so that whoever has read up to a number
//! has everything up to it. Entries that can concern nothing any more leave, an hour after that.
//!
//! Where the table is in the store of an authority, what is revoked ends there in the same transaction: refresh tokens, codes and
//! logins of the same user, agent or grant. So none of them gives a token that is newer than the revocation.

use std::time::Duration;

use portcullis_core::ids::Issuer;
use portcullis_core::revocation::{Entry, Target};
use portcullis_core::time::{Lifetime, UnixTime};
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::Error;
use super::database::{Database, Pool, Unanswered, on};

/// Entries that are read at once.
const PAGE: i64 = 1_000;
/// Longest wait for an answer to whoever reads.
const READ: Duration = Duration::from_secs(2);
/// Longest wait for an answer to whoever adds.
const WRITE: Duration = Duration::from_secs(7);
/// How long entries are kept that can concern nothing any more: for as long as a replica may have been away before it reads all again.
const KEPT: Lifetime = Lifetime::from_hours(1);

const MAKE: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS portcullis_revocations (seq BIGINT PRIMARY KEY, id TEXT NOT NULL UNIQUE, \
     expires BIGINT, entry TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS portcullis_revocations_head (one INTEGER PRIMARY KEY CHECK (one = 1), seq BIGINT NOT NULL)",
    "INSERT INTO portcullis_revocations_head (one, seq) VALUES (1, 0) ON CONFLICT (one) DO NOTHING",
    // Written by an authority that keeps its users and grants beside the table.
    "CREATE TABLE IF NOT EXISTS portcullis_revocations_authority (one INTEGER PRIMARY KEY CHECK (one = 1), issuer TEXT NOT NULL)",
];
/// Takes the lock. The number is that of the entry before.
const LOCK: &str = "UPDATE portcullis_revocations_head SET seq = seq WHERE one = 1 RETURNING seq";
const ADD: &str = "INSERT INTO portcullis_revocations (seq, id, expires, entry) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING";
const ADVANCE: &str = "UPDATE portcullis_revocations_head SET seq = $1 WHERE one = 1";
/// One statement sees one moment. The entry that was read last comes again, to see that it is still the same.
const READ_FROM: &str = "SELECT h.seq, r.seq, r.entry FROM portcullis_revocations_head h \
     LEFT JOIN portcullis_revocations r ON r.seq >= $1 WHERE h.one = 1 ORDER BY r.seq LIMIT $2";
const FORGET: &str = "DELETE FROM portcullis_revocations WHERE expires < $1 \
     AND seq < (SELECT seq FROM portcullis_revocations_head WHERE one = 1)";
const COUNT: &str = "SELECT count(*) FROM portcullis_revocations";
const AUTHORITY: &str = "SELECT issuer FROM portcullis_revocations_authority WHERE one = 1";
const HAS_AUTHORITY: &str = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'families'";

/// The log in one database.
#[derive(Debug)]
pub struct RevocationLog {
    database: Database,
}

/// Some entries in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The number of the newest entry there is.
    pub head: u64,
    /// The entries and their numbers.
    pub entries: Vec<(u64, Entry)>,
}

impl Page {
    /// Whether there may be more after this.
    #[must_use]
    pub fn is_full(&self) -> bool {
        i64::try_from(self.entries.len()).is_ok_and(|length| length >= PAGE)
    }
}

impl RevocationLog {
    /// Opens the database and makes the table when it is not there.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(url: &str) -> Result<Self, Error> {
        let opened = |Unanswered { place, detail }| Error::Open { path: place, detail };
        let database = Database::open(url, "revocations").map_err(opened)?;
        database
            .run(WRITE, |pool| async move { prepare(&pool).await })
            .map_err(opened)?;
        Ok(Self { database })
    }

    /// Where it is, without a password.
    #[must_use]
    pub fn place(&self) -> &str {
        self.database.place()
    }

    /// The entries from this number on, a bounded number of them. Blocks, for 2 seconds at most.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(&self, from: u64) -> Result<Page, Error> {
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let rows: Vec<(i64, Option<i64>, Option<String>)> = self.database.run(READ, |pool| async move {
            on!(&pool, |pool| sqlx::query_as(READ_FROM)
                .bind(from)
                .bind(PAGE)
                .fetch_all(pool)
                .await)
        })?;
        let mut page = Page::default();
        for (head, seq, entry) in rows {
            page.head = number(head);
            if let (Some(seq), Some(entry)) = (seq, entry) {
                let entry = serde_json::from_str(&entry).map_err(|_| Error::Damaged("revocation"))?;
                page.entries.push((number(seq), entry));
            }
        }
        Ok(page)
    }

    /// Adds one entry, which `make` makes of the moment in which nobody else can add one: when this returns, it is on disk. Blocks.
    ///
    /// # Errors
    /// [`Error`]. It may have been added all the same, if the database was lost right then.
    pub fn add(&self, make: impl FnOnce() -> Entry + Send + 'static) -> Result<Entry, Error> {
        let entry = self.database.run(WRITE, |pool| async move {
            match pool {
                Pool::Sqlite(pool) => {
                    let mut write = pool.begin_with("BEGIN IMMEDIATE").await?;
                    let entry = make();
                    match add_in(&mut write, &entry).await? {
                        Added::Now => end_in(&mut write, &entry).await?,
                        Added::Before => {}
                    }
                    write.commit().await?;
                    Ok(entry)
                }
                Pool::Postgres(pool) => {
                    let mut write = pool.begin().await?;
                    let before: i64 = sqlx::query_scalar(LOCK).fetch_one(&mut *write).await?;
                    let entry = make();
                    let seq = before.saturating_add(1);
                    let added = sqlx::query(ADD)
                        .bind(seq)
                        .bind(entry.id().as_str())
                        .bind(entry.expires().map(UnixTime::as_millis))
                        .bind(text(&entry)?)
                        .execute(&mut *write)
                        .await?;
                    if added.rows_affected() == 1 {
                        sqlx::query(ADVANCE).bind(seq).execute(&mut *write).await?;
                    }
                    write.commit().await?;
                    Ok(entry)
                }
            }
        })?;
        Ok(entry)
    }

    /// Removes entries that can concern nothing any more. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn forget(&self, now: UnixTime) -> Result<(), Error> {
        let before = now.minus(KEPT).as_millis();
        self.database.run(WRITE, |pool| async move {
            on!(&pool, |pool| sqlx::query(FORGET)
                .bind(before)
                .execute(pool)
                .await
                .map(drop))
        })?;
        Ok(())
    }

    /// How many entries there are. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn count(&self) -> Result<usize, Error> {
        let count: i64 = self.database.run(READ, |pool| async move {
            on!(&pool, |pool| sqlx::query_scalar(COUNT).fetch_one(pool).await)
        })?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// The issuer whose users and grants are in the same database.
    ///
    /// # Errors
    /// [`Error`].
    pub fn authority(&self) -> Result<Option<Issuer>, Error> {
        let issuer: Option<String> = self.database.run(READ, |pool| async move {
            on!(&pool, |pool| sqlx::query_scalar(AUTHORITY)
                .fetch_optional(pool)
                .await)
        })?;
        issuer
            .map(|issuer| Issuer::parse(&issuer).map_err(|_| Error::Damaged("issuer")))
            .transpose()
    }
}

/// Whether an entry was there before. What it ended then has ended; who logged in again since is not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    Now,
    Before,
}

async fn prepare(pool: &Pool) -> Result<(), sqlx::Error> {
    match pool {
        Pool::Sqlite(pool) => {
            for statement in MAKE {
                sqlx::query(statement).execute(pool).await?;
            }
        }
        Pool::Postgres(pool) => {
            let mut transaction = pool.begin().await?;
            // Two that make one table at the same time disturb each other, `IF NOT EXISTS` or not.
            sqlx::query("SELECT pg_advisory_xact_lock(8210417)")
                .execute(&mut *transaction)
                .await?;
            for statement in MAKE {
                sqlx::query(statement).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
        }
    }
    Ok(())
}

/// Makes the table in the store of an authority, and says whose store it is.
pub(super) async fn prepare_for(write: &mut SqliteConnection, issuer: &Issuer) -> Result<(), sqlx::Error> {
    for statement in MAKE {
        sqlx::query(statement).execute(&mut *write).await?;
    }
    sqlx::query(
        "INSERT INTO portcullis_revocations_authority (one, issuer) VALUES (1, $1)
         ON CONFLICT (one) DO UPDATE SET issuer = excluded.issuer",
    )
    .bind(issuer.as_str())
    .execute(&mut *write)
    .await
    .map(drop)
}

/// Adds an entry inside a transaction that holds the write lock. One that is there already is left as it is.
pub(super) async fn add_in(
    write: &mut Transaction<'static, Sqlite>,
    entry: &Entry,
) -> Result<Added, sqlx::Error> {
    let before: i64 = sqlx::query_scalar(LOCK).fetch_one(&mut **write).await?;
    let seq = before.saturating_add(1);
    let added = sqlx::query(ADD)
        .bind(seq)
        .bind(entry.id().as_str())
        .bind(entry.expires().map(UnixTime::as_millis))
        .bind(text(entry)?)
        .execute(&mut **write)
        .await?;
    if added.rows_affected() == 1 {
        sqlx::query(ADVANCE).bind(seq).execute(&mut **write).await?;
        return Ok(Added::Now);
    }
    Ok(Added::Before)
}

/// Ends at the authority beside the table what is revoked: what is of its own users, agents and grants.
async fn end_in(write: &mut Transaction<'static, Sqlite>, entry: &Entry) -> Result<(), sqlx::Error> {
    let Entry::Revoke(revocation) = entry else {
        return Ok(());
    };
    let has_authority: i64 = sqlx::query_scalar(HAS_AUTHORITY).fetch_one(&mut **write).await?;
    let issuer: Option<String> = sqlx::query_scalar(AUTHORITY).fetch_optional(&mut **write).await?;
    let ours = revocation.target.issuer().map(Issuer::as_str);
    if has_authority == 0 || issuer.is_none() || issuer.as_deref() != ours {
        return Ok(());
    }
    let (families, others): (&str, &[&str]) = match &revocation.target {
        Target::User { .. } => (
            "UPDATE families SET revoked_at = $1 WHERE user = $2 AND revoked_at IS NULL",
            &[
                "DELETE FROM sessions WHERE user = $1",
                "DELETE FROM codes WHERE user = $1 AND used_at IS NULL",
            ],
        ),
        Target::Agent { .. } => (
            "UPDATE families SET revoked_at = $1 WHERE client = $2 AND revoked_at IS NULL",
            &["DELETE FROM codes WHERE client = $1 AND used_at IS NULL"],
        ),
        Target::Grant { .. } => (
            "UPDATE families SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL",
            &[],
        ),
        Target::Token { .. } | Target::Server { .. } => return Ok(()),
    };
    sqlx::query(families)
        .bind(revocation.at.as_millis())
        .bind(revocation.target.name())
        .execute(&mut **write)
        .await?;
    for statement in others {
        sqlx::query(*statement)
            .bind(revocation.target.name())
            .execute(&mut **write)
            .await?;
    }
    Ok(())
}

fn text(entry: &Entry) -> Result<String, sqlx::Error> {
    serde_json::to_string(entry).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// Numbers are never negative.
fn number(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or_default()
}

impl From<Unanswered> for Error {
    fn from(Unanswered { place, detail }: Unanswered) -> Self {
        Self::Unanswered { place, detail }
    }
}
