//! Clients: those set up by an operator, and finding the one that a request names.

use std::collections::BTreeSet;

use portcullis_core::ids::{ClientId, InvalidId, ScopeSet};
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::client::{Authentication, Client, ClientName, GrantType, Provenance};
use portcullis_core::oauth::server::document::DocumentUrl;
use portcullis_core::oauth::server::opaque::Opaque;
use portcullis_core::secret::Secret;
use portcullis_core::time::UnixTime;

use super::Authority;
use super::refusal::Failure;
use crate::http::Network;
use crate::store::{self, Store};

/// Shortest secret of a client, in bytes: 128 bits in base64url. Only a hash that is quick to compute is kept of it.
pub const SECRET_BYTES: usize = 22;

/// A client that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No client id.
    #[error("not a client id: {0}")]
    Id(#[from] InvalidId),
    /// The id would name something else too: a user (RFC 9068 §5) or a metadata document.
    #[error("`{0}` is the name of something else")]
    Taken(String),
    /// A secret that could be guessed.
    #[error("a client secret has at least {SECRET_BYTES} random characters")]
    SecretTooShort,
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Makes sure that there is a confidential client of this id, secret and allowance, for scripts: it asks for tokens for
/// itself (`client_credentials`), of scopes within `allowance`.
///
/// # Errors
/// [`Error`].
pub async fn ensure_confidential(
    store: &Store,
    id: &str,
    secret: &Secret,
    name: &str,
    allowance: &ScopeSet,
    now: UnixTime,
) -> Result<ClientId, Error> {
    let id = ClientId::parse(id)?;
    if DocumentUrl::is_meant(&id) || store.password(id.as_str()).await?.is_some() {
        return Err(Error::Taken(id.as_str().to_owned()));
    }
    if secret.reveal().len() < SECRET_BYTES {
        return Err(Error::SecretTooShort);
    }
    let client = Client {
        id: id.clone(),
        name: ClientName::clean(name),
        provenance: Provenance::Preregistered,
        redirects: Vec::new(),
        grants: BTreeSet::from([GrantType::ClientCredentials]),
        authentication: Authentication::BasicOrPost(Opaque::presented(secret.reveal()).hash()),
        allowance: allowance.clone(),
        keys: None,
    };
    store.keep_client(&client, now).await?;
    Ok(id)
}

impl Authority {
    /// The client that an authorization request names: a kept one, or one of a metadata document.
    pub(super) async fn client(&self, id: &ClientId, from: Network) -> Result<Client, Failure> {
        if DocumentUrl::is_meant(id) {
            return self.document_client(id, from).await;
        }
        self.kept_client(id).await
    }

    async fn kept_client(&self, id: &ClientId) -> Result<Client, Failure> {
        Ok(self.deps.store.client(id).await?.ok_or(Refusal::UnknownClient)?)
    }

    /// The client that a token request names. A document is not fetched for it: its client is public, and all that it may
    /// redeem or refresh was bound to its id when it authorized.
    pub(super) async fn redeeming_client(&self, id: &ClientId) -> Result<Client, Failure> {
        if !DocumentUrl::is_meant(id) {
            return self.kept_client(id).await;
        }
        Ok(Client {
            id: id.clone(),
            name: ClientName::clean(""),
            provenance: Provenance::Document,
            redirects: Vec::new(),
            grants: BTreeSet::from([GrantType::AuthorizationCode, GrantType::RefreshToken]),
            authentication: Authentication::Public,
            allowance: ScopeSet::new(),
            // Those of the document, as far as it was read lately: no gateway reads it by itself where a token does not say.
            keys: self.kept_document_keys(id),
        })
    }
}
