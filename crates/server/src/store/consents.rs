//! What users allowed which client at which resource.

use portcullis_core::ids::{ClientId, ResourceUri, ScopeSet, Subject};
use portcullis_core::time::UnixTime;

use super::row::Columns;
use super::{Error, Store};

impl Store {
    /// The scopes allowed so far.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn allowed(
        &self,
        user: &Subject,
        client: &ClientId,
        resource: &ResourceUri,
    ) -> Result<ScopeSet, Error> {
        let row = sqlx::query("SELECT scopes FROM consents WHERE user = ? AND client = ? AND resource = ?")
            .bind(user.as_str())
            .bind(client.as_str())
            .bind(resource.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.map_or(Ok(ScopeSet::new()), |row| Columns(&row).scopes("scopes"))
    }

    /// Adds scopes to those allowed.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn allow(
        &self,
        user: &Subject,
        client: &ClientId,
        resource: &ResourceUri,
        scopes: &ScopeSet,
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut write = self.write().await?;
        let row = sqlx::query("SELECT scopes FROM consents WHERE user = ? AND client = ? AND resource = ?")
            .bind(user.as_str())
            .bind(client.as_str())
            .bind(resource.as_str())
            .fetch_optional(&mut *write)
            .await?;
        let before = row.map_or(Ok(ScopeSet::new()), |row| Columns(&row).scopes("scopes"))?;
        sqlx::query(
            "INSERT INTO consents (user, client, resource, scopes, granted_at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET scopes = excluded.scopes, granted_at = excluded.granted_at",
        )
        .bind(user.as_str())
        .bind(client.as_str())
        .bind(resource.as_str())
        .bind(before.union(scopes).to_string())
        .bind(now.as_millis())
        .execute(&mut *write)
        .await?;
        Ok(write.commit().await?)
    }
}
