//! The token request (RFC 6749 §3.2, §4.1.3, §4.4.2, §6) and client authentication (RFC 6749 §2.3.1).

use base64_simd::STANDARD;

use super::Refusal;
use super::client::GrantType;
use super::opaque::Opaque;
use super::parameters::Parameters;
use crate::ids::{ClientId, ScopeSet};
use crate::oauth::pkce::Verifier;

/// How a client presents itself.
#[derive(Clone, Debug)]
pub enum PresentedClient {
    /// By its id alone.
    Public {
        /// The id.
        id: ClientId,
    },
    /// With HTTP Basic.
    Basic {
        /// The id.
        id: ClientId,
        /// The secret it shows.
        secret: Opaque,
    },
    /// With a secret in the body.
    Post {
        /// The id.
        id: ClientId,
        /// The secret it shows.
        secret: Opaque,
    },
}

impl PresentedClient {
    /// Reads the one way in which a request authenticates. `authorization` is the value of that header, if there is one.
    ///
    /// # Errors
    /// [`Refusal::ClientAuthenticationTwice`] (RFC 6749 §2.3), [`Refusal::ClientAuthentication`] for one that cannot be
    /// read or that we do not have, [`Refusal::Missing`].
    pub fn read(authorization: Option<&str>, parameters: &Parameters) -> Result<Self, Refusal> {
        let id = parameters.once("client_id")?;
        let secret = parameters.once("client_secret")?;
        let assertion = parameters
            .once("client_assertion")?
            .or(parameters.once("client_assertion_type")?);
        match (authorization, secret, assertion) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                Err(Refusal::ClientAuthenticationTwice)
            }
            (None, None, Some(_)) => Err(Refusal::ClientAuthentication),
            (Some(header), None, None) => {
                let (basic, secret) = basic(header).ok_or(Refusal::ClientAuthentication)?;
                if id.is_some_and(|id| id != basic.as_str()) {
                    return Err(Refusal::ClientAuthenticationTwice);
                }
                Ok(Self::Basic { id: basic, secret })
            }
            (None, secret, None) => {
                let id = ClientId::parse(id.ok_or(Refusal::Missing("client_id"))?);
                let id = id.map_err(|_| Refusal::UnknownClient)?;
                Ok(match secret {
                    Some(secret) => Self::Post {
                        id,
                        secret: Opaque::presented(secret),
                    },
                    None => Self::Public { id },
                })
            }
        }
    }

    /// The id it claims.
    #[must_use]
    pub fn id(&self) -> &ClientId {
        match self {
            Self::Public { id } | Self::Basic { id, .. } | Self::Post { id, .. } => id,
        }
    }
}

/// RFC 7617 §2, with both halves form-encoded (RFC 6749 §2.3.1).
fn basic(header: &str) -> Option<(ClientId, Opaque)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode_to_vec(encoded.trim_start_matches(' ')).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let id = ClientId::parse(&form_decoded(id)?).ok()?;
    Some((id, Opaque::presented(&form_decoded(secret)?)))
}

/// One form-encoded value. `&` and `=` would end it in a form, so an encoder never leaves them bare.
fn form_decoded(text: &str) -> Option<String> {
    if text.contains(['&', '=']) {
        return Some(text.to_owned());
    }
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    let decoded = pairs
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default();
    (!decoded.contains('\u{fffd}')).then_some(decoded)
}

/// What a client asks of the token endpoint.
#[derive(Debug)]
pub enum TokenRequest {
    /// To redeem a code.
    AuthorizationCode {
        /// `code`
        code: Opaque,
        /// `redirect_uri`
        redirect: Option<String>,
        /// `code_verifier`
        verifier: Verifier,
        /// `resource`
        resource: Option<String>,
    },
    /// To use a refresh token.
    RefreshToken {
        /// `refresh_token`
        token: Opaque,
        /// `scope`
        scopes: Option<ScopeSet>,
        /// `resource`
        resource: Option<String>,
    },
    /// A token for itself. `scope` and `resource` are read against what is offered.
    ClientCredentials {
        /// `scope`, as it came
        scope: Option<String>,
    },
}

impl TokenRequest {
    /// Reads the grant.
    ///
    /// # Errors
    /// [`Refusal::Repeated`], [`Refusal::Missing`], [`Refusal::GrantType`], [`Refusal::Code`] for a verifier that none can be,
    /// [`Refusal::Scope`], [`Refusal::Resource`] for several.
    pub fn read(parameters: &Parameters) -> Result<Self, Refusal> {
        parameters.refuse_repeats()?;
        let grant = GrantType::from_name(parameters.required("grant_type")?).ok_or(Refusal::GrantType)?;
        let mut named = parameters.all("resource");
        let resource = named.next().map(str::to_owned);
        if named.next().is_some() {
            return Err(Refusal::Resource);
        }
        let scope = parameters.once("scope")?;
        Ok(match grant {
            GrantType::AuthorizationCode => Self::AuthorizationCode {
                code: Opaque::presented(parameters.required("code")?),
                redirect: parameters.once("redirect_uri")?.map(str::to_owned),
                verifier: Verifier::parse(parameters.required("code_verifier")?)
                    .map_err(|_| Refusal::Code)?,
                resource,
            },
            GrantType::RefreshToken => Self::RefreshToken {
                token: Opaque::presented(parameters.required("refresh_token")?),
                scopes: scope
                    .map(ScopeSet::parse)
                    .transpose()
                    .map_err(|_| Refusal::Scope)?,
                resource,
            },
            GrantType::ClientCredentials => Self::ClientCredentials {
                scope: scope.map(str::to_owned),
            },
        })
    }

    /// Its grant type.
    #[must_use]
    pub fn grant_type(&self) -> GrantType {
        match self {
            Self::AuthorizationCode { .. } => GrantType::AuthorizationCode,
            Self::RefreshToken { .. } => GrantType::RefreshToken,
            Self::ClientCredentials { .. } => GrantType::ClientCredentials,
        }
    }
}
