//! Rows whose time is over.

use portcullis_core::time::{Lifetime, UnixTime};

use super::{Error, Store};

/// How long a client that registered itself has to get its first token.
pub const UNUSED_CLIENT: Lifetime = Lifetime::from_hours(24);
/// How long a client that registered itself may go without a token.
pub const IDLE_CLIENT: Lifetime = Lifetime::from_days(90);
/// How long a used or expired code is still recognised as such.
const OLD_CODE: Lifetime = Lifetime::from_hours(1);
/// How long a revoked family is still recognised as such.
const REVOKED_FAMILY: Lifetime = Lifetime::from_days(1);

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Clients that registered themselves and were not used.
    pub clients: u64,
    /// Login sessions.
    pub sessions: u64,
    /// Browsers in which nobody logged in for long.
    pub devices: u64,
    /// Codes.
    pub codes: u64,
    /// Refresh token families.
    pub families: u64,
}

impl Store {
    /// Removes what no request can use any more. To be called now and then.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reap(&self, now: UnixTime) -> Result<Reaped, Error> {
        let mut write = self.write().await?;
        let sessions = sqlx::query("DELETE FROM sessions WHERE expires_at <= ?")
            .bind(now.as_millis())
            .execute(&mut *write)
            .await?;
        let devices = sqlx::query("DELETE FROM devices WHERE expires_at <= ?")
            .bind(now.as_millis())
            .execute(&mut *write)
            .await?;
        let codes = sqlx::query("DELETE FROM codes WHERE expires_at <= ?")
            .bind(now.minus(OLD_CODE).as_millis())
            .execute(&mut *write)
            .await?;
        // An expired member is refused whether it is known or not.
        sqlx::query("DELETE FROM refresh_tokens WHERE expires_at <= ? AND state <> 'live'")
            .bind(now.as_millis())
            .execute(&mut *write)
            .await?;
        let families = sqlx::query(
            "DELETE FROM families WHERE expires_at <= ?1 OR revoked_at <= ?2
                OR NOT EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.family = families.id AND t.expires_at > ?1)",
        )
        .bind(now.as_millis())
        .bind(now.minus(REVOKED_FAMILY).as_millis())
        .execute(&mut *write)
        .await?;
        let clients = sqlx::query(
            "DELETE FROM clients WHERE provenance = 'dynamic'
                AND ((last_used_at IS NULL AND created_at <= ?1) OR last_used_at <= ?2)
                AND NOT EXISTS (SELECT 1 FROM families f WHERE f.client = clients.id)",
        )
        .bind(now.minus(UNUSED_CLIENT).as_millis())
        .bind(now.minus(IDLE_CLIENT).as_millis())
        .execute(&mut *write)
        .await?;
        // Ids of metadata documents have a scheme; they have no row in clients.
        sqlx::query(
            "DELETE FROM consents WHERE client NOT IN (SELECT id FROM clients) AND instr(client, '://') = 0",
        )
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        Ok(Reaped {
            clients: clients.rows_affected(),
            sessions: sessions.rows_affected(),
            devices: devices.rows_affected(),
            codes: codes.rows_affected(),
            families: families.rows_affected(),
        })
    }
}
