//! Users and the hashes of their passwords.

use portcullis_core::ids::Subject;
use portcullis_core::time::UnixTime;

use super::row::Columns;
use super::{Error, Store};

impl Store {
    /// The password hash of a user, in PHC form.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn password(&self, user: &str) -> Result<Option<(Subject, String)>, Error> {
        let row = sqlx::query("SELECT name, password FROM users WHERE name = ?")
            .bind(user)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            let columns = Columns(&row);
            Ok((columns.user("name")?, columns.text("password")?.to_owned()))
        })
        .transpose()
    }

    /// Adds a user. `false` when there is one of this name, who stays as they are.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn add_user(&self, user: &Subject, password: &str, now: UnixTime) -> Result<bool, Error> {
        let added = sqlx::query(
            "INSERT INTO users (name, password, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(user.as_str())
        .bind(password)
        .bind(now.as_millis())
        .execute(&self.pool)
        .await?;
        Ok(added.rows_affected() > 0)
    }

    /// Gives an existing user another password, ends their login sessions and forgets their browsers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn change_password(&self, user: &Subject, password: &str) -> Result<(), Error> {
        let mut write = self.write().await?;
        sqlx::query("UPDATE users SET password = ? WHERE name = ?")
            .bind(password)
            .bind(user.as_str())
            .execute(&mut *write)
            .await?;
        for ended in [
            "DELETE FROM sessions WHERE user = ?",
            "DELETE FROM devices WHERE user = ?",
        ] {
            sqlx::query(ended)
                .bind(user.as_str())
                .execute(&mut *write)
                .await?;
        }
        Ok(write.commit().await?)
    }
}
