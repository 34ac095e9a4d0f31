//! Refresh token families.

use portcullis_core::ids::{ClientId, GrantId, RevocationId};
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::code::Grant;
use portcullis_core::oauth::server::opaque::OpaqueHash;
use portcullis_core::oauth::server::refresh::{Member, Rotation, Standing, Use};
use portcullis_core::revocation::{By, Entry, Reason, Target};
use portcullis_core::time::UnixTime;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use super::clients::used;
use super::revocations::add_in;
use super::row::Columns;
use super::{Error, Store};

/// A family about to begin.
#[derive(Clone, Debug)]
pub struct NewFamily {
    /// Its identifier: random, and no secret.
    pub id: String,
    /// Its first member.
    pub first: OpaqueHash,
    /// When the first member ends unless it is used.
    pub idle_expires: UnixTime,
    /// When the family ends.
    pub expires: UnixTime,
}

/// The member that follows one that is used.
#[derive(Clone, Copy, Debug)]
pub struct Successor {
    /// Its hash.
    pub hash: OpaqueHash,
    /// When it ends unless it is used.
    pub idle_expires: UnixTime,
}

impl Store {
    /// Uses a refresh token: marks it, puts its successor in its place; or revokes its family, if it came twice.
    ///
    /// # Errors
    /// [`Error`]; the inner error is the state machine's refusal, with its consequences on disk.
    pub async fn rotate(
        &self,
        presented: &OpaqueHash,
        shown: &Use<'_>,
        successor: &Successor,
        now: UnixTime,
    ) -> Result<Result<Rotation, Refusal>, Error> {
        let mut write = self.write().await?;
        let Some((family, member)) = member(&mut write, presented).await? else {
            return Ok(Err(Refusal::RefreshToken));
        };
        let judged = member.rotate(shown, now);
        match &judged {
            Ok(rotation) => {
                if rotation.supersede {
                    sqlx::query(
                        "UPDATE refresh_tokens SET state = 'superseded' WHERE parent = ? AND state = 'live'",
                    )
                    .bind(presented.as_bytes())
                    .execute(&mut *write)
                    .await?;
                } else {
                    let spent = sqlx::query(
                        "UPDATE refresh_tokens SET state = 'used', used_at = ?
                         WHERE hash = ? AND state = 'live' RETURNING hash",
                    )
                    .bind(now.as_millis())
                    .bind(presented.as_bytes())
                    .fetch_optional(&mut *write)
                    .await?;
                    spent.ok_or(Error::Damaged("refresh token"))?;
                }
                insert(&mut write, &family, successor, Some(presented)).await?;
                used(&mut write, &rotation.grant.client, now).await?;
            }
            Err(Refusal::RefreshTokenReused) => {
                self.end_grant(&mut write, &family, "a refresh token came twice", now)
                    .await?;
            }
            Err(_) => {}
        }
        write.commit().await?;
        Ok(judged)
    }

    /// Revokes the family of a refresh token, if it is this client's (RFC 7009 §2.1). `None` if there is no such token.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn revoke(
        &self,
        presented: &OpaqueHash,
        client: &ClientId,
        now: UnixTime,
    ) -> Result<Option<Grant>, Error> {
        let mut write = self.write().await?;
        let Some((family, member)) = member(&mut write, presented).await? else {
            return Ok(None);
        };
        if member.grant.client != *client {
            return Ok(None);
        }
        self.end_grant(&mut write, &family, "the client revoked its refresh token", now)
            .await?;
        write.commit().await?;
        Ok(Some(member.grant))
    }

    /// Revokes a family inside a transaction, and with it every access token of the grant. The first time counts.
    pub(super) async fn end_grant(
        &self,
        write: &mut Transaction<'static, Sqlite>,
        family: &str,
        why: &str,
        now: UnixTime,
    ) -> Result<(), Error> {
        sqlx::query("UPDATE families SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
            .bind(now.as_millis())
            .bind(family)
            .execute(&mut **write)
            .await?;
        let Some(issuing) = &self.issuing else {
            return Ok(());
        };
        let grant = GrantId::parse(family).map_err(|_| Error::Damaged("family"))?;
        // Named like the family, which is revoked once.
        let id = RevocationId::parse(family).map_err(|_| Error::Damaged("family"))?;
        let target = Target::Grant {
            issuer: issuing.issuer.clone(),
            grant,
        };
        let revocation = target.revoked(id, now, issuing.longest, Reason::of(why), By::Authority);
        add_in(write, &Entry::Revoke(revocation)).await?;
        Ok(())
    }
}

/// Begins a family inside a transaction.
pub(super) async fn begin(
    write: &mut Transaction<'static, Sqlite>,
    family: &NewFamily,
    grant: &Grant,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO families (id, client, user, resource, scopes, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(family.id.as_str())
    .bind(grant.client.as_str())
    .bind(grant.user.as_str())
    .bind(grant.resource.as_str())
    .bind(grant.scopes.to_string())
    .bind(family.expires.as_millis())
    .execute(&mut **write)
    .await?;
    let first = Successor {
        hash: family.first,
        idle_expires: family.idle_expires,
    };
    insert(write, &family.id, &first, None).await
}

async fn insert(
    write: &mut Transaction<'static, Sqlite>,
    family: &str,
    member: &Successor,
    parent: Option<&OpaqueHash>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO refresh_tokens (hash, family, parent, state, expires_at) VALUES (?, ?, ?, 'live', ?)",
    )
    .bind(member.hash.as_bytes())
    .bind(family)
    .bind(parent.map(|parent| parent.as_bytes().to_vec()))
    .bind(member.idle_expires.as_millis())
    .execute(&mut **write)
    .await?;
    Ok(())
}

async fn member(
    write: &mut Transaction<'static, Sqlite>,
    presented: &OpaqueHash,
) -> Result<Option<(String, Member)>, Error> {
    let row = sqlx::query(
        "SELECT f.id, f.client, f.user, f.resource, f.scopes, f.expires_at AS family_expires_at, f.revoked_at,
                t.state, t.used_at, t.expires_at,
                EXISTS (SELECT 1 FROM refresh_tokens s WHERE s.parent = t.hash AND s.state = 'live') AS successor_live
         FROM refresh_tokens t JOIN families f ON f.id = t.family WHERE t.hash = ?",
    )
    .bind(presented.as_bytes())
    .fetch_optional(&mut **write)
    .await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &SqliteRow) -> Result<(String, Member), Error> {
    let columns = Columns(row);
    let standing = match (columns.text("state")?, columns.time_or_none("used_at")?) {
        ("live", None) => Standing::Live,
        ("used", Some(at)) => Standing::Used {
            at,
            successor_live: columns.flag("successor_live")?,
        },
        ("superseded", None) => Standing::Superseded,
        _ => return Err(Error::Damaged("refresh token")),
    };
    let grant = Grant {
        client: columns.client("client")?,
        user: columns.user("user")?,
        resource: columns.resource("resource")?,
        scopes: columns.scopes("scopes")?,
        refreshable: true,
    };
    let family = columns.text("id")?.to_owned();
    let member = Member {
        family: GrantId::parse(&family).map_err(|_| Error::Damaged("family"))?,
        grant,
        revoked: columns.time_or_none("revoked_at")?.is_some(),
        family_expires: columns.time("family_expires_at")?,
        idle_expires: columns.time("expires_at")?,
        standing,
    };
    Ok((family, member))
}
