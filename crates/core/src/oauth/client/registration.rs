//! Becoming a client of an authorization server: registered by hand, by a metadata document, or dynamically (RFC 7591).

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::json;

use crate::ids::{ClientId, Issuer};
use crate::jose::json::Value;
use crate::secret::Secret;
use crate::time::UnixTime;

use super::form::{self, JSON};
use super::{AuthMethod, AuthorizationServer, Endpoint, Error, OAuthError};

const WHAT: &str = "registration response";
/// What people read on the consent page.
const CLIENT_NAME: &str = "Portcullis agent";

/// This program as one authorization server knows it. Good there and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// How it authenticates.
    pub auth: ClientAuth,
    /// How it came to be registered.
    pub origin: ClientOrigin,
    /// The redirect URI that was registered for it, when it was registered dynamically.
    pub redirect_uri: Option<String>,
    /// From when on its secret is void (RFC 7591 §3.2.1).
    pub secret_expires_at: Option<UnixTime>,
}

/// How a client authenticates at the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not at all: a public client (`none`).
    None,
    /// `client_secret_basic`
    Basic(Secret),
    /// `client_secret_post`
    Post(Secret),
}

/// How a client came to be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOrigin {
    /// By a person; only a person can replace it.
    Preregistered,
    /// Its id is the URL of its metadata document; no registration is kept anywhere.
    MetadataDocument,
    /// By this program; it registers again when the authorization server has forgotten.
    Dynamic,
}

/// What a person was given when registering this program by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preregistered {
    /// The id.
    pub id: ClientId,
    /// The secret, of a confidential client.
    pub secret: Option<Secret>,
}

/// How to be a client of this authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// As this one.
    Use(Client),
    /// As one that [`build_registration`] asks for.
    Register(Endpoint),
}

/// Decides how to be a client, in the order of MCP: registered by hand, by metadata document where the server takes
/// them, the dynamic registration that is held, a new one. `held` must be of this very issuer.
///
/// # Errors
/// [`Error::NoClientAuth`], [`Error::NoRegistration`].
pub fn plan_registration(
    server: &AuthorizationServer,
    preregistered: Option<&Preregistered>,
    metadata_document: Option<&ClientId>,
    held: Option<Client>,
    now: UnixTime,
) -> Result<Plan, Error> {
    if let Some(given) = preregistered {
        return Ok(Plan::Use(Client {
            id: given.id.clone(),
            auth: auth_of(server, given.secret.clone())?,
            origin: ClientOrigin::Preregistered,
            redirect_uri: None,
            secret_expires_at: None,
        }));
    }
    if let Some(client) = held
        .as_ref()
        .filter(|client| client.origin == ClientOrigin::Preregistered)
    {
        return Ok(Plan::Use(client.clone()));
    }
    if let Some(url) = metadata_document
        && server.takes_metadata_documents()
    {
        return Ok(Plan::Use(Client {
            id: url.clone(),
            auth: ClientAuth::None,
            origin: ClientOrigin::MetadataDocument,
            redirect_uri: None,
            secret_expires_at: None,
        }));
    }
    let alive = |client: &Client| client.secret_expires_at.is_none_or(|end| now < end);
    if let Some(client) = held.filter(|client| client.origin == ClientOrigin::Dynamic && alive(client)) {
        return Ok(Plan::Use(client));
    }
    match server.registration_endpoint() {
        Some(endpoint) => Ok(Plan::Register(endpoint.clone())),
        None => Err(Error::NoRegistration(server.issuer().clone())),
    }
}

/// A secret goes by Basic if it may, else in the body; without a secret there is nothing to send but the id.
fn auth_of(server: &AuthorizationServer, secret: Option<Secret>) -> Result<ClientAuth, Error> {
    let Some(secret) = secret else {
        return Ok(ClientAuth::None);
    };
    if server.auth_methods().contains(&AuthMethod::Basic) {
        Ok(ClientAuth::Basic(secret))
    } else if server.auth_methods().contains(&AuthMethod::Post) {
        Ok(ClientAuth::Post(secret))
    } else {
        Err(Error::NoClientAuth(server.issuer().clone()))
    }
}

/// A registration request (RFC 7591 §3.1) of a native application: a public client where the server has them.
/// `jwks` are its own public keys, for sealed fields.
///
/// # Errors
/// [`Error::NoClientAuth`].
pub fn build_registration(
    server: &AuthorizationServer,
    endpoint: &Endpoint,
    redirect_uri: &str,
    jwks: Option<&serde_json::Value>,
) -> Result<Request<Bytes>, Error> {
    let preferred = [AuthMethod::None, AuthMethod::Basic, AuthMethod::Post];
    let method = preferred
        .into_iter()
        .find(|method| server.auth_methods().contains(method));
    let method = method.ok_or_else(|| Error::NoClientAuth(server.issuer().clone()))?;
    let mut wish = json!({
        "client_name": CLIENT_NAME,
        "application_type": "native",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method.as_str(),
    });
    if let (Some(jwks), Some(wish)) = (jwks, wish.as_object_mut()) {
        wish.insert("jwks".to_owned(), jwks.clone());
    }
    Ok(form::post(endpoint, JSON, wish.to_string()))
}

/// Reads a registration response (RFC 7591 §3.2).
///
/// # Errors
/// [`Error::RegistrationRefused`]; [`Error::Answer`] when it is malformed or registered something else;
/// [`Error::NoClientAuth`] when the server gave a method that this client does not speak.
pub fn process_registration(
    issuer: &Issuer,
    redirect_uri: &str,
    answer: &Response<Bytes>,
) -> Result<Client, Error> {
    // RFC 7591 says 201; servers that say 200 mean the same.
    if !matches!(answer.status(), StatusCode::CREATED | StatusCode::OK) {
        return Err(Error::RegistrationRefused(OAuthError::of(answer)));
    }
    let object = form::object(answer, WHAT)?;
    let malformed = |reason| Error::Answer { what: WHAT, reason };
    let text = |name| object.get(name).and_then(Value::as_text);
    let id = text("client_id").ok_or(malformed("it has no `client_id`"))?;
    let id = ClientId::parse(id).map_err(|_| malformed("its `client_id` cannot be sent"))?;
    if let Some(uris) = object.get("redirect_uris").and_then(Value::as_array)
        && !uris.iter().any(|uri| uri.as_text() == Some(redirect_uri))
    {
        return Err(malformed("it registered another redirect URI"));
    }
    let secret = text("client_secret")
        .filter(|secret| !secret.is_empty())
        .map(Secret::new);
    let method = match text("token_endpoint_auth_method") {
        Some(name) => AuthMethod::parse(name).ok_or_else(|| Error::NoClientAuth(issuer.clone()))?,
        None if secret.is_some() => AuthMethod::Basic,
        None => AuthMethod::None,
    };
    let auth = match (method, secret) {
        (AuthMethod::None, _) => ClientAuth::None,
        (AuthMethod::Basic, Some(secret)) => ClientAuth::Basic(secret),
        (AuthMethod::Post, Some(secret)) => ClientAuth::Post(secret),
        (AuthMethod::Basic | AuthMethod::Post, None) => return Err(malformed("it has no `client_secret`")),
    };
    let secret_expires_at = match object.get("client_secret_expires_at") {
        // RFC 7591 §3.2.1: 0 is never.
        None | Some(Value::Null | Value::Integer(0)) => None,
        Some(Value::Integer(seconds)) => Some(UnixTime::from_secs(*seconds)),
        Some(_) => return Err(malformed("its `client_secret_expires_at` is not a whole number")),
    };
    Ok(Client {
        id,
        auth,
        origin: ClientOrigin::Dynamic,
        redirect_uri: Some(redirect_uri.to_owned()),
        secret_expires_at,
    })
}
