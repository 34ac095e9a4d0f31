//! Login sessions of browsers.

use portcullis_core::ids::Subject;
use portcullis_core::oauth::server::opaque::OpaqueHash;
use portcullis_core::time::UnixTime;

use super::row::Columns;
use super::{Error, Store};

impl Store {
    /// Keeps a session until it expires.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep_session(
        &self,
        session: &OpaqueHash,
        user: &Subject,
        expires: UnixTime,
    ) -> Result<(), Error> {
        sqlx::query("INSERT INTO sessions (hash, user, expires_at) VALUES (?, ?, ?)")
            .bind(session.as_bytes())
            .bind(user.as_str())
            .bind(expires.as_millis())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whose session it is, unless it has expired.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn session(&self, session: &OpaqueHash, now: UnixTime) -> Result<Option<Subject>, Error> {
        let row = sqlx::query("SELECT user FROM sessions WHERE hash = ? AND expires_at > ?")
            .bind(session.as_bytes())
            .bind(now.as_millis())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| Columns(&row).user("user")).transpose()
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end_session(&self, session: &OpaqueHash) -> Result<(), Error> {
        sqlx::query("DELETE FROM sessions WHERE hash = ?")
            .bind(session.as_bytes())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
