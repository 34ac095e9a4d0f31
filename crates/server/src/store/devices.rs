//! Browsers in which a user has logged in before.

use portcullis_core::ids::Subject;
use portcullis_core::oauth::server::opaque::OpaqueHash;
use portcullis_core::time::UnixTime;

use super::row::Columns;
use super::{Error, Store};

impl Store {
    /// Keeps a browser as one of this user's until it expires; for one that is kept already, longer.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep_device(
        &self,
        device: &OpaqueHash,
        user: &Subject,
        expires: UnixTime,
    ) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO devices (hash, user, expires_at) VALUES (?, ?, ?)
             ON CONFLICT (hash) DO UPDATE SET user = excluded.user, expires_at = excluded.expires_at",
        )
        .bind(device.as_bytes())
        .bind(user.as_str())
        .bind(expires.as_millis())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Who logged in last in this browser, unless that is too long ago.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn device(&self, device: &OpaqueHash, now: UnixTime) -> Result<Option<Subject>, Error> {
        let row = sqlx::query("SELECT user FROM devices WHERE hash = ? AND expires_at > ?")
            .bind(device.as_bytes())
            .bind(now.as_millis())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| Columns(&row).user("user")).transpose()
    }
}
