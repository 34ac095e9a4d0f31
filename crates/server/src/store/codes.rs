//! Authorization codes: kept by their hash, redeemed once.

use portcullis_core::oauth::pkce::Challenge;
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::code::{Code, Grant, Redemption};
use portcullis_core::oauth::server::opaque::OpaqueHash;
use portcullis_core::time::UnixTime;
use sqlx::sqlite::SqliteRow;

use super::clients::used;
use super::families::{NewFamily, begin};
use super::row::Columns;
use super::{Error, Store};

impl Store {
    /// Keeps a code.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep_code(&self, hash: &OpaqueHash, code: &Code) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO codes (hash, client, user, resource, scopes, refreshable, redirect, challenge, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(hash.as_bytes())
        .bind(code.grant.client.as_str())
        .bind(code.grant.user.as_str())
        .bind(code.grant.resource.as_str())
        .bind(code.grant.scopes.to_string())
        .bind(i64::from(code.grant.refreshable))
        .bind(code.redirect.as_str())
        .bind(code.challenge.as_str())
        .bind(code.expires.as_millis())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Redeems a code, once. `family` names its grant, and begins with it if that is refreshable; if the code was redeemed before, the
    /// grant of then is revoked, with every token of it (RFC 6749 §4.1.2).
    ///
    /// # Errors
    /// [`Error`]; the inner error is the state machine's refusal, with its consequences on disk.
    pub async fn redeem(
        &self,
        hash: &OpaqueHash,
        shown: &Redemption<'_>,
        family: &NewFamily,
        now: UnixTime,
    ) -> Result<Result<Grant, Refusal>, Error> {
        let mut write = self.write().await?;
        let row = sqlx::query("SELECT * FROM codes WHERE hash = ?")
            .bind(hash.as_bytes())
            .fetch_optional(&mut *write)
            .await?;
        let Some(row) = row else {
            return Ok(Err(Refusal::Code));
        };
        let judged = code(&row)?.redeem(shown, now);
        match &judged {
            Ok(grant) => {
                if grant.refreshable {
                    begin(&mut write, family, grant).await?;
                }
                // The write lock makes the condition hold; it stands here so that no change of ours can lift it.
                let spent = sqlx::query(
                    "UPDATE codes SET used_at = ?, family = ? WHERE hash = ? AND used_at IS NULL RETURNING hash",
                )
                .bind(now.as_millis())
                .bind(family.id.as_str())
                .bind(hash.as_bytes())
                .fetch_optional(&mut *write)
                .await?;
                spent.ok_or(Error::Damaged("code"))?;
                used(&mut write, &grant.client, now).await?;
            }
            Err(Refusal::CodeReplayed) => {
                let family: Option<&str> = sqlx::Row::try_get(&row, "family")?;
                if let Some(family) = family {
                    self.end_grant(&mut write, family, "a code came twice", now)
                        .await?;
                }
            }
            Err(_) => {}
        }
        write.commit().await?;
        Ok(judged)
    }
}

fn code(row: &SqliteRow) -> Result<Code, Error> {
    let columns = Columns(row);
    let grant = Grant {
        client: columns.client("client")?,
        user: columns.user("user")?,
        resource: columns.resource("resource")?,
        scopes: columns.scopes("scopes")?,
        refreshable: columns.flag("refreshable")?,
    };
    Ok(Code {
        grant,
        redirect: columns.text("redirect")?.to_owned(),
        challenge: Challenge::parse(columns.text("challenge")?).map_err(|_| Error::Damaged("challenge"))?,
        expires: columns.time("expires_at")?,
        used: columns.time_or_none("used_at")?.is_some(),
    })
}
