//! From the server's address to an authorization server that may be used (RFC 9728, RFC 8414, MCP authorization).

use url::Url;

use crate::ids::Issuer;
use crate::oauth::metadata::{
    AUTHORIZATION_SERVER, AuthorizationServerMetadata, OPENID_CONFIGURATION, PROTECTED_RESOURCE,
    ProtectedResourceMetadata,
};
use crate::oauth::pkce;

use super::address::confidential;
use super::{Challenged, Endpoint, Error, ServerUrl};

/// Where the metadata of a server may be, in the order to try: where its challenge says and nowhere else; without that,
/// before its path, then at the root (RFC 9728 §3.1, MCP).
///
/// # Errors
/// [`Error::Address`] when the challenge names an address that may not be used.
pub fn protected_resource_urls(server: &ServerUrl, challenged: &Challenged) -> Result<Vec<String>, Error> {
    if let Some(named) = &challenged.resource_metadata {
        let url = confidential(named).map_err(|reason| Error::Address {
            url: named.clone(),
            reason,
        })?;
        return Ok(vec![url.into()]);
    }
    let url = server.url();
    let root = well_known(url, PROTECTED_RESOURCE, "");
    if bare(url) && url.query().is_none() {
        return Ok(vec![root]);
    }
    let mut with_path = well_known(url, PROTECTED_RESOURCE, if bare(url) { "" } else { url.path() });
    if let Some(query) = url.query() {
        with_path.push('?');
        with_path.push_str(query);
    }
    Ok(vec![with_path, root])
}

/// Reads the metadata of a server, and checks that it speaks for this server (RFC 9728 §3.3): `resource` is the server's
/// address, or a path above it on the same origin. Strings are compared, not what a URL parser makes of them.
///
/// # Errors
/// [`Error::Metadata`], [`Error::ResourceMismatch`].
pub fn process_protected_resource(
    server: &ServerUrl,
    url: &str,
    document: &[u8],
) -> Result<ProtectedResourceMetadata, Error> {
    let metadata = ProtectedResourceMetadata::parse(document).map_err(|detail| Error::Metadata {
        url: url.to_owned(),
        detail,
    })?;
    if covers(metadata.resource.as_str(), server) {
        Ok(metadata)
    } else {
        let resource = metadata.resource.as_str().to_owned();
        Err(Error::ResourceMismatch {
            server: server.as_str().to_owned(),
            resource,
        })
    }
}

fn covers(resource: &str, server: &ServerUrl) -> bool {
    if resource == server.as_str() {
        return true;
    }
    // Guards against a "resource" such as `https:/`, which is a prefix of everything.
    if !Url::parse(resource).is_ok_and(|url| url.origin() == server.url().origin()) {
        return false;
    }
    let address = server.as_str();
    let base = address.split_once('?').map_or(address, |(base, _)| base);
    match base.strip_prefix(resource.strip_suffix('/').unwrap_or(resource)) {
        // `https://h/mcp/` is another resource than `https://h/mcp`; `https://h/` is `https://h` (RFC 3986 §6.2.3).
        Some("" | "/") => resource == base || bare(server.url()),
        Some(rest) => rest.starts_with('/'),
        None => false,
    }
}

/// Where the metadata of an issuer may be, in the order to try (RFC 8414 §3.1, OpenID Connect Discovery §4, MCP).
///
/// # Errors
/// [`Error::Endpoint`] when the issuer is not an address that may be used.
pub fn authorization_server_urls(issuer: &Issuer) -> Result<Vec<String>, Error> {
    let issuer_url = Endpoint::parse(issuer, "issuer", issuer.as_str())?;
    let url = issuer_url.url();
    let path = url.path().trim_end_matches('/');
    if path.is_empty() {
        return Ok(vec![
            well_known(url, AUTHORIZATION_SERVER, ""),
            well_known(url, OPENID_CONFIGURATION, ""),
        ]);
    }
    Ok(vec![
        well_known(url, AUTHORIZATION_SERVER, path),
        well_known(url, OPENID_CONFIGURATION, path),
        format!(
            "{}{path}{OPENID_CONFIGURATION}",
            url.origin().ascii_serialization()
        ),
    ])
}

/// A way in which a client authenticates at the token endpoint (RFC 7591 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// `none`
    None,
    /// `client_secret_basic`
    Basic,
    /// `client_secret_post`
    Post,
}

impl AuthMethod {
    /// The registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }

    /// Reads a registered name; `None` for those that this client does not speak.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::None, Self::Basic, Self::Post]
            .into_iter()
            .find(|method| method.as_str() == name)
    }
}

/// Whether an authorization server promised `iss` in its responses (RFC 9207 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssParameter {
    /// A response without it is refused.
    Promised,
    /// It may be absent; when present it is compared all the same.
    NotPromised,
}

/// An authorization server that may be used: its issuer is the one asked for, it does PKCE with S256, its endpoints are
/// encrypted or on loopback. Only [`process_authorization_server`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationServer {
    issuer: Issuer,
    authorization: Endpoint,
    token: Endpoint,
    registration: Option<Endpoint>,
    revocation: Option<Endpoint>,
    auth_methods: Vec<AuthMethod>,
    scopes: Vec<String>,
    takes_metadata_documents: bool,
    iss: IssParameter,
}

impl AuthorizationServer {
    /// Its issuer.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Where the browser goes.
    #[must_use]
    pub fn authorization_endpoint(&self) -> &Endpoint {
        &self.authorization
    }

    /// Where codes and refresh tokens go.
    #[must_use]
    pub fn token_endpoint(&self) -> &Endpoint {
        &self.token
    }

    /// Where clients register (RFC 7591), if they can.
    #[must_use]
    pub fn registration_endpoint(&self) -> Option<&Endpoint> {
        self.registration.as_ref()
    }

    /// Where tokens are revoked (RFC 7009), if they can be.
    #[must_use]
    pub fn revocation_endpoint(&self) -> Option<&Endpoint> {
        self.revocation.as_ref()
    }

    /// The ways of client authentication that it takes and this client speaks.
    #[must_use]
    pub fn auth_methods(&self) -> &[AuthMethod] {
        &self.auth_methods
    }

    pub(super) fn offers_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|offered| offered == scope)
    }

    pub(super) fn takes_metadata_documents(&self) -> bool {
        self.takes_metadata_documents
    }

    pub(super) fn iss(&self) -> IssParameter {
        self.iss
    }
}

/// Reads the metadata of an issuer, and checks everything that must hold before any of it is used.
///
/// # Errors
/// [`Error::Metadata`] (also for another issuer, RFC 8414 §3.3), [`Error::NoPkce`], [`Error::Endpoint`],
/// [`Error::MixedEndpoints`].
pub fn process_authorization_server(
    issuer: &Issuer,
    url: &str,
    document: &[u8],
) -> Result<AuthorizationServer, Error> {
    let metadata =
        AuthorizationServerMetadata::parse(document, issuer).map_err(|detail| Error::Metadata {
            url: url.to_owned(),
            detail,
        })?;
    // MCP: absent means no PKCE, in the OpenID form of the document too.
    let methods = metadata.code_challenge_methods_supported.unwrap_or_default();
    if !methods.iter().any(|method| method == pkce::METHOD) {
        return Err(Error::NoPkce(issuer.clone()));
    }
    let optional =
        |role, text: Option<String>| text.map(|text| Endpoint::parse(issuer, role, &text)).transpose();
    let required = |role, text: Option<String>| Endpoint::parse(issuer, role, &text.unwrap_or_default());
    let authorization = required("authorization_endpoint", metadata.authorization_endpoint)?;
    let token = required("token_endpoint", metadata.token_endpoint)?;
    let iss = if metadata.authorization_response_iss_parameter_supported {
        IssParameter::Promised
    } else {
        IssParameter::NotPromised
    };
    // A document that pairs an honest authorization endpoint with another party's token endpoint would have us carry
    // the honest server's code there. `iss` unmasks it; without `iss`, one origin must stand for one party.
    if iss == IssParameter::NotPromised && !authorization.shares_origin(&token) {
        return Err(Error::MixedEndpoints(issuer.clone()));
    }
    // RFC 8414 §2: "If omitted, the default is client_secret_basic".
    let auth_methods = metadata.token_endpoint_auth_methods_supported.map_or_else(
        || vec![AuthMethod::Basic],
        |names| names.iter().filter_map(|name| AuthMethod::parse(name)).collect(),
    );
    Ok(AuthorizationServer {
        issuer: metadata.issuer,
        authorization,
        token,
        registration: optional("registration_endpoint", metadata.registration_endpoint)?,
        revocation: optional("revocation_endpoint", metadata.revocation_endpoint)?,
        auth_methods,
        scopes: metadata.scopes_supported.unwrap_or_default(),
        takes_metadata_documents: metadata.client_id_metadata_document_supported,
        iss,
    })
}

fn well_known(url: &Url, name: &str, path: &str) -> String {
    format!("{}{name}{path}", url.origin().ascii_serialization())
}

fn bare(url: &Url) -> bool {
    url.path() == "/"
}
