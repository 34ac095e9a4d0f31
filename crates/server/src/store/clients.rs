//! Clients that registered themselves or were set up by an operator. Clients of metadata documents are not kept.

use std::collections::BTreeSet;

use portcullis_core::ids::ClientId;
use portcullis_core::jose::jwk::{ClientKeys, Thumbprint};
use portcullis_core::oauth::server::client::{Authentication, Client, ClientName, GrantType, Provenance};
use portcullis_core::oauth::server::redirect::RedirectUri;
use portcullis_core::time::UnixTime;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use super::row::Columns;
use super::{Error, Store};

impl Store {
    /// The client of this id.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn client(&self, id: &ClientId) -> Result<Option<Client>, Error> {
        let row = sqlx::query("SELECT * FROM clients WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(client).transpose()
    }

    /// Keeps a client, instead of the one of the same id if there is one. One without a place to be kept, because it is
    /// known by its document, is refused as damaged.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn keep_client(&self, client: &Client, now: UnixTime) -> Result<(), Error> {
        let provenance = match client.provenance {
            Provenance::Dynamic { .. } => "dynamic",
            Provenance::Preregistered => "preregistered",
            Provenance::Document => return Err(Error::Damaged("client")),
        };
        let (authentication, secret) = match &client.authentication {
            Authentication::Public => ("public", None),
            Authentication::Basic(hash) => ("basic", Some(hash)),
            Authentication::Post(hash) => ("post", Some(hash)),
            Authentication::BasicOrPost(hash) => ("basic_or_post", Some(hash)),
        };
        // No redirect URI has a space in it.
        let redirects: Vec<&str> = client.redirects.iter().map(RedirectUri::as_str).collect();
        let grants: Vec<&str> = client.grants.iter().map(|grant| grant.name()).collect();
        sqlx::query(
            "INSERT INTO clients (id, name, provenance, redirects, grants, authentication, secret_hash, allowance, created_at,
                 signature_key, encryption_key)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, provenance = excluded.provenance,
                 redirects = excluded.redirects, grants = excluded.grants, authentication = excluded.authentication,
                 secret_hash = excluded.secret_hash, allowance = excluded.allowance,
                 signature_key = excluded.signature_key, encryption_key = excluded.encryption_key",
        )
        .bind(client.id.as_str())
        .bind(client.name.as_str())
        .bind(provenance)
        .bind(redirects.join(" "))
        .bind(grants.join(" "))
        .bind(authentication)
        .bind(secret.map(|hash| hash.as_bytes().to_vec()))
        .bind(client.allowance.to_string())
        .bind(now.as_millis())
        .bind(client.keys.map(|keys| keys.signature.to_string()))
        .bind(client.keys.map(|keys| keys.encryption.to_string()))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// How many clients registered themselves at or after an instant.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn registered_since(&self, since: UnixTime) -> Result<u64, Error> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM clients WHERE provenance = 'dynamic' AND created_at >= ?",
        )
        .bind(since.as_millis())
        .fetch_one(&self.pool)
        .await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }
}

/// Notes inside a transaction that a client got a token, so that it is not reaped.
pub(super) async fn used(
    write: &mut Transaction<'static, Sqlite>,
    id: &ClientId,
    now: UnixTime,
) -> Result<(), Error> {
    sqlx::query("UPDATE clients SET last_used_at = ? WHERE id = ?")
        .bind(now.as_millis())
        .bind(id.as_str())
        .execute(&mut **write)
        .await?;
    Ok(())
}

fn keys(columns: &Columns<'_>) -> Result<Option<ClientKeys>, Error> {
    let thumbprint = |name| {
        let text = columns.text_or_none(name)?;
        text.map(|text| Thumbprint::parse(text).ok_or(Error::Damaged("client key")))
            .transpose()
    };
    match (thumbprint("signature_key")?, thumbprint("encryption_key")?) {
        (Some(signature), Some(encryption)) => Ok(Some(ClientKeys {
            signature,
            encryption,
        })),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(Error::Damaged("client key")),
    }
}

fn client(row: &SqliteRow) -> Result<Client, Error> {
    let columns = Columns(row);
    let provenance = match columns.text("provenance")? {
        "dynamic" => Provenance::Dynamic {
            at: columns.time("created_at")?,
        },
        "preregistered" => Provenance::Preregistered,
        _ => return Err(Error::Damaged("client")),
    };
    let authentication = match (
        columns.text("authentication")?,
        columns.hash_or_none("secret_hash")?,
    ) {
        ("public", None) => Authentication::Public,
        ("basic", Some(hash)) => Authentication::Basic(hash),
        ("post", Some(hash)) => Authentication::Post(hash),
        ("basic_or_post", Some(hash)) => Authentication::BasicOrPost(hash),
        _ => return Err(Error::Damaged("client")),
    };
    let redirects: Result<Vec<RedirectUri>, _> = columns
        .text("redirects")?
        .split_whitespace()
        .map(RedirectUri::parse)
        .collect();
    let grants: Option<BTreeSet<GrantType>> = columns
        .text("grants")?
        .split_whitespace()
        .map(GrantType::from_name)
        .collect();
    Ok(Client {
        id: columns.client("id")?,
        name: ClientName::clean(columns.text("name")?),
        provenance,
        redirects: redirects.map_err(|_| Error::Damaged("redirect URI"))?,
        grants: grants.ok_or(Error::Damaged("grant type"))?,
        authentication,
        allowance: columns.scopes("allowance")?,
        keys: keys(&columns)?,
    })
}
