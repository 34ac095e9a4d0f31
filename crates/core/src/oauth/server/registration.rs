//! Dynamic client registration (RFC 7591): what a client asks for, and what it gets.

use std::collections::BTreeSet;

use super::Refusal;
use super::client::{Authentication, Client, ClientName, GrantType, Provenance};
use super::opaque::Opaque;
use super::redirect::{REDIRECT_URIS, RedirectUri};
use crate::ids::{ClientId, ScopeSet};
use crate::jose::json::{Object, Value};
use crate::jose::jwk::{ClientKeys, UnusableKeys};
use crate::random::{RandomUnavailable, SecureRandom};
use crate::time::UnixTime;

/// Largest registration request, in bytes.
pub const REGISTRATION_BYTES: usize = 16 * 1024;

/// `token_endpoint_auth_method`.
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Basic, Self::Post];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

/// `application_type` (OpenID Connect Dynamic Client Registration §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationType {
    /// On the user's machine.
    Native,
    /// On a server.
    Web,
}

impl ApplicationType {
    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Web => "web",
        }
    }
}

/// A registration that may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// `redirect_uris`
    pub redirects: Vec<RedirectUri>,
    /// `grant_types`, less those that do not exist here (RFC 7591 §3.2.1 lets a server replace values).
    pub grants: BTreeSet<GrantType>,
    /// `token_endpoint_auth_method`
    pub method: AuthMethod,
    /// `application_type`
    pub application: ApplicationType,
    /// `client_name`
    pub name: ClientName,
    /// `jwks`: what it was read as, and the set itself for the answer.
    pub keys: Option<(ClientKeys, serde_json::Value)>,
}

impl Wish {
    /// Reads a registration request. Members that we do not know are ignored (RFC 7591 §2); a member twice is refused.
    ///
    /// # Errors
    /// [`Refusal::RegistrationRedirectUri`], [`Refusal::RegistrationMetadata`].
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let wish = Object::parse(body)
            .map_err(|_| Refusal::RegistrationMetadata("it is not one strict JSON object"))?;
        let redirects = redirects(&wish)?;
        let application = application(&wish, &redirects)?;
        let method = method(&wish)?;
        let grants = grants(&wish)?;
        let name = text(&wish, "client_name")?.unwrap_or_default();
        let keys = keys(&wish)?;
        Ok(Self {
            redirects,
            grants,
            method,
            application,
            name: ClientName::clean(name),
            keys,
        })
    }

    /// Makes the client, with its secret if it has one.
    ///
    /// # Errors
    /// [`RandomUnavailable`].
    pub fn grant(
        self,
        random: &dyn SecureRandom,
        now: UnixTime,
    ) -> Result<(Client, Option<Opaque>), RandomUnavailable> {
        let id = crate::random::token::<16>(random)?;
        let id = ClientId::parse(&id).map_err(|_| RandomUnavailable)?;
        let secret = match self.method {
            AuthMethod::None => None,
            AuthMethod::Basic | AuthMethod::Post => Some(Opaque::generate(random)?),
        };
        let authentication = match (self.method, &secret) {
            (AuthMethod::Basic, Some(secret)) => Authentication::Basic(secret.hash()),
            (AuthMethod::Post, Some(secret)) => Authentication::Post(secret.hash()),
            (AuthMethod::None | AuthMethod::Basic | AuthMethod::Post, _) => Authentication::Public,
        };
        let client = Client {
            id,
            name: self.name,
            provenance: Provenance::Dynamic { at: now },
            redirects: self.redirects,
            grants: self.grants,
            authentication,
            allowance: ScopeSet::new(),
            keys: self.keys.map(|(keys, _)| keys),
        };
        Ok((client, secret))
    }
}

fn redirects(wish: &Object<'_>) -> Result<Vec<RedirectUri>, Refusal> {
    let given = wish.get("redirect_uris").and_then(Value::as_array);
    let given = given.ok_or(Refusal::RegistrationRedirectUri(
        "`redirect_uris` is not an array",
    ))?;
    if given.is_empty() || given.len() > REDIRECT_URIS {
        return Err(Refusal::RegistrationRedirectUri("there are none or too many"));
    }
    let parse = |value: &Value<'_>| {
        let text = value.as_text().ok_or("it is not a string");
        text.and_then(RedirectUri::parse)
            .map_err(Refusal::RegistrationRedirectUri)
    };
    given.iter().map(parse).collect()
}

/// A client that says nothing is what its redirect URIs make it. One that says `web` must not have its codes sent to
/// whatever listens on a user's machine (OpenID Connect Dynamic Client Registration §2).
fn application(wish: &Object<'_>, redirects: &[RedirectUri]) -> Result<ApplicationType, Refusal> {
    let loopback = redirects.iter().any(RedirectUri::is_loopback);
    match text(wish, "application_type")? {
        Some("native") => Ok(ApplicationType::Native),
        Some("web") if loopback => Err(Refusal::RegistrationRedirectUri(
            "a `web` application does not run on the user's machine",
        )),
        Some("web") => Ok(ApplicationType::Web),
        Some(_) => Err(Refusal::RegistrationMetadata(
            "`application_type` is neither `native` nor `web`",
        )),
        None if loopback => Ok(ApplicationType::Native),
        None => Ok(ApplicationType::Web),
    }
}

/// RFC 7591 §2: `client_secret_basic` unless said otherwise.
fn method(wish: &Object<'_>) -> Result<AuthMethod, Refusal> {
    let Some(name) = text(wish, "token_endpoint_auth_method")? else {
        return Ok(AuthMethod::Basic);
    };
    let known = AuthMethod::ALL.into_iter().find(|method| method.name() == name);
    known.ok_or(Refusal::RegistrationMetadata(
        "`token_endpoint_auth_method` is not supported",
    ))
}

fn grants(wish: &Object<'_>) -> Result<BTreeSet<GrantType>, Refusal> {
    let responses = names(wish, "response_types", &["code"])?;
    // RFC 7591 §2.1: the two must agree.
    if !responses.contains(&"code") {
        return Err(Refusal::RegistrationMetadata("`response_types` lacks `code`"));
    }
    let asked = names(wish, "grant_types", &["authorization_code"])?;
    let mut grants: BTreeSet<GrantType> = asked.into_iter().filter_map(GrantType::from_name).collect();
    // Nobody vouches for a client that registered itself: it acts for users only.
    grants.remove(&GrantType::ClientCredentials);
    if !grants.contains(&GrantType::AuthorizationCode) {
        return Err(Refusal::RegistrationMetadata(
            "`grant_types` lacks `authorization_code`",
        ));
    }
    Ok(grants)
}

/// A registration is made for this server, so a set that cannot be used is a mistake to be told of.
fn keys(wish: &Object<'_>) -> Result<Option<(ClientKeys, serde_json::Value)>, Refusal> {
    let Some(jwks) = wish.get("jwks") else {
        return Ok(None);
    };
    let keys = ClientKeys::read(jwks).map_err(|unusable| {
        Refusal::RegistrationMetadata(match unusable {
            UnusableKeys::NotASet => "`jwks` is not a JWK Set of a few keys",
            UnusableKeys::Private => "`jwks` holds a private key",
            UnusableKeys::Key => "`jwks` holds a key that cannot be used; each needs `use` and `alg`",
            UnusableKeys::NotOneOfEach => "`jwks` does not hold exactly one `sig` and one `enc` key",
        })
    })?;
    Ok(Some((keys, jwks.clone().into())))
}

fn text<'w>(wish: &'w Object<'_>, name: &str) -> Result<Option<&'w str>, Refusal> {
    match wish.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_text()
            .map(Some)
            .ok_or(Refusal::RegistrationMetadata("a member is not a string")),
    }
}

fn names<'w>(wish: &'w Object<'_>, name: &str, default: &[&'static str]) -> Result<Vec<&'w str>, Refusal> {
    let Some(value) = wish.get(name) else {
        return Ok(default.to_vec());
    };
    let texts = value
        .as_array()
        .and_then(|items| items.iter().map(Value::as_text).collect());
    texts.ok_or(Refusal::RegistrationMetadata(
        "a member is not an array of strings",
    ))
}
