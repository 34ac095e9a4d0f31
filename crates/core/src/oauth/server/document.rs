//! Clients known by a document that they publish under their `client_id`
//! (draft-ietf-oauth-client-id-metadata-document).

use std::collections::BTreeSet;

use url::Url;

use super::Refusal;
use super::client::{Authentication, Client, ClientName, GrantType, Provenance};
use super::redirect::{REDIRECT_URIS, RedirectUri};
use crate::ids::{ClientId, ScopeSet};
use crate::jose::json::{Object, Value};
use crate::jose::jwk::{ClientKeys, UnusableKeys};
use crate::limits;

/// Which hosts may publish documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Named hosts, over https on its port.
    Public,
    /// Also this machine, over http and on any port: for development.
    LoopbackToo,
}

/// A `client_id` that is the URL of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentUrl {
    id: ClientId,
    url: Url,
}

impl DocumentUrl {
    /// Whether a `client_id` means to be one: it is looked up nowhere else then.
    #[must_use]
    pub fn is_meant(id: &ClientId) -> bool {
        id.as_str().contains("://")
    }

    /// Reads one (draft §3): https, a path, no fragment, no credentials, no dot segments; and a single spelling, so that
    /// two texts never are one client.
    ///
    /// # Errors
    /// [`Refusal::ClientDocument`] with what is wrong.
    pub fn parse(id: &ClientId, hosts: Hosts) -> Result<Self, Refusal> {
        let refused = |why: &str| Refusal::ClientDocument(why.to_owned());
        let text = id.as_str();
        let url = Url::parse(text).map_err(|_| refused("its address is not a URL"))?;
        // The parser resolves dot segments (encoded ones too), folds case, reads odd IP addresses and drops
        // default ports: whatever it changed was no canonical spelling.
        if url.as_str() != text {
            return Err(refused("its address is not in canonical form"));
        }
        if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(refused("its address has a fragment or credentials"));
        }
        if url.path() == "/" {
            return Err(refused("its address has no path"));
        }
        let host = url.host_str().ok_or_else(|| refused("its address has no host"))?;
        if host.ends_with('.') {
            return Err(refused("its host ends with a dot"));
        }
        let loopback = hosts == Hosts::LoopbackToo && matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if !loopback && (url.scheme() != "https" || url.port().is_some()) {
            return Err(refused("its address is not https on the default port"));
        }
        if loopback && !matches!(url.scheme(), "https" | "http") {
            return Err(refused("its address is neither https nor http"));
        }
        Ok(Self { id: id.clone(), url })
    }

    /// Where to fetch the document.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Reads the fetched document (draft §4, MCP "Client ID Metadata Documents").
    ///
    /// Redirect URIs that no client could register here, such as those of private-use schemes, are left out: the document
    /// is written for all servers. Without any other the client cannot be used.
    ///
    /// # Errors
    /// [`Refusal::ClientDocument`] with what is wrong.
    pub fn read(&self, document: &[u8]) -> Result<Client, Refusal> {
        let refused = |why: &str| Refusal::ClientDocument(why.to_owned());
        if document.len() > limits::CLIENT_METADATA_BYTES {
            return Err(refused("it is too large"));
        }
        let members = Object::parse(document).map_err(|_| refused("it is not one strict JSON object"))?;
        // draft §4: simple string comparison.
        if members.get("client_id").and_then(Value::as_text) != Some(self.id.as_str()) {
            return Err(refused("its `client_id` is not its address"));
        }
        // draft §4.1: nothing that is published can be a secret.
        if members.get("client_secret").is_some() || members.get("client_secret_expires_at").is_some() {
            return Err(refused("it publishes a secret"));
        }
        match members.get("token_endpoint_auth_method").map(Value::as_text) {
            None | Some(Some("none")) => {}
            Some(_) => return Err(refused("its `token_endpoint_auth_method` is not supported")),
        }
        let name = members.get("client_name").and_then(Value::as_text);
        let name = name.ok_or_else(|| refused("it has no `client_name`"))?;
        let given = members.get("redirect_uris").and_then(Value::as_array);
        let given = given.ok_or_else(|| refused("it has no `redirect_uris`"))?;
        if given.len() > REDIRECT_URIS {
            return Err(refused("it has too many `redirect_uris`"));
        }
        let redirects: Vec<RedirectUri> = given
            .iter()
            .filter_map(|value| RedirectUri::parse(value.as_text()?).ok())
            .collect();
        if redirects.is_empty() {
            return Err(refused("it has no usable `redirect_uris`"));
        }
        Ok(Client {
            id: self.id.clone(),
            name: ClientName::clean(name),
            provenance: Provenance::Document,
            redirects,
            grants: grants(&members).ok_or_else(|| refused("its `grant_types` lack `authorization_code`"))?,
            authentication: Authentication::Public,
            allowance: ScopeSet::new(),
            keys: keys(&members)?,
        })
    }
}

/// The keys for sealed fields. A set that has others (for `private_key_jwt`, say) is not for this and does no harm.
fn keys(members: &Object<'_>) -> Result<Option<ClientKeys>, Refusal> {
    match members.get("jwks").map(ClientKeys::read) {
        None | Some(Err(UnusableKeys::NotASet | UnusableKeys::Key | UnusableKeys::NotOneOfEach)) => Ok(None),
        Some(Ok(keys)) => Ok(Some(keys)),
        Some(Err(private @ UnusableKeys::Private)) => Err(Refusal::ClientDocument(private.to_string())),
    }
}

fn grants(members: &Object<'_>) -> Option<BTreeSet<GrantType>> {
    let Some(given) = members.get("grant_types") else {
        return Some(BTreeSet::from([GrantType::AuthorizationCode]));
    };
    let mut grants: BTreeSet<GrantType> = given
        .as_array()?
        .iter()
        .filter_map(|value| GrantType::from_name(value.as_text()?))
        .collect();
    grants.remove(&GrantType::ClientCredentials);
    grants.contains(&GrantType::AuthorizationCode).then_some(grants)
}
