//! Every way in which a request to the authorization server can be refused.

use crate::fault::Fault;

/// Why a request is refused. What the outside is told of it is decided in the authority's `refusal.rs` alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// RFC 6749 §3.1, §3.2: a parameter comes more than once.
    #[error("`{0}` comes more than once")]
    Repeated(&'static str),
    /// A required parameter is absent or empty.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A parameter has no meaning: wrong syntax, or a value that does not exist.
    #[error("`{0}` is malformed")]
    Malformed(&'static str),
    /// RFC 6749 §3.2: parameters of a form came in the query of the address.
    #[error("parameters came in the query of the address")]
    ParametersInQuery,
    /// No client of this id.
    #[error("the client is not known here")]
    UnknownClient,
    /// The client's metadata document cannot be had or says nothing usable.
    #[error("the client's metadata document cannot be used: {0}")]
    ClientDocument(String),
    /// Too many metadata documents would have to be fetched in a short time.
    #[error("there are too many metadata documents to fetch now")]
    DocumentQuota,
    /// The redirect URI is not one of the client's (RFC 9700 §2.1).
    #[error("the redirect URI is not registered for this client")]
    RedirectUri,
    /// RFC 6749 §3.1.1: only `code`.
    #[error("the response type is not supported")]
    ResponseType,
    /// RFC 9101: request objects are not read.
    #[error("request objects are not supported")]
    RequestObject,
    /// RFC 9126, RFC 9101: references to requests are not followed.
    #[error("request references are not supported")]
    RequestReference,
    /// RFC 8707 §2: not exactly one resource, or one that is not served.
    #[error("the resource is not one that tokens are issued for")]
    Resource,
    /// A scope that the resource does not have, or that this client may not have.
    #[error("a scope is unknown or not available to this client")]
    Scope,
    /// RFC 6749 §5.2: the client is not registered for this grant.
    #[error("the client may not use this grant")]
    GrantNotRegistered,
    /// RFC 6749 §5.2: a grant that does not exist here.
    #[error("the grant type is not supported")]
    GrantType,
    /// The user said no.
    #[error("the user did not consent")]
    ConsentDenied,
    /// RFC 6749 §2.3: more than one way of client authentication at once.
    #[error("the client authenticates in more than one way")]
    ClientAuthenticationTwice,
    /// A secret that is wrong, missing, or sent another way than registered.
    #[error("client authentication failed")]
    ClientAuthentication,
    /// A code that does not exist, is of another client or redirect URI, or whose verifier does not match.
    #[error("the code is not valid")]
    Code,
    /// The code's time is over.
    #[error("the code has expired")]
    CodeExpired,
    /// RFC 6749 §4.1.2: a code came a second time; what it gave is revoked.
    #[error("the code was used before")]
    CodeReplayed,
    /// A refresh token that does not exist, or of another client.
    #[error("the refresh token is not valid")]
    RefreshToken,
    /// The refresh token's time is over.
    #[error("the refresh token has expired")]
    RefreshTokenExpired,
    /// Its family was revoked before.
    #[error("the refresh token is revoked")]
    RefreshTokenRevoked,
    /// RFC 9700 §4.14.2: a refresh token came a second time; its family is revoked.
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    /// The client was revoked here, until that is lifted.
    #[error("the client is revoked")]
    ClientRevoked,
    /// The user was revoked here, until that is lifted.
    #[error("the user is revoked")]
    UserRevoked,
    /// RFC 7009 §2.2.1: not a kind of token that can be revoked.
    #[error("this kind of token cannot be revoked")]
    TokenType,
    /// RFC 7591 §3.2.2, `invalid_redirect_uri`.
    #[error("a redirect URI cannot be registered: {0}")]
    RegistrationRedirectUri(&'static str),
    /// RFC 7591 §3.2.2, `invalid_client_metadata`.
    #[error("the client metadata cannot be registered: {0}")]
    RegistrationMetadata(&'static str),
    /// Too many registrations in a short time.
    #[error("there are too many registrations now")]
    RegistrationQuota,
    /// The body is not of the media type that the endpoint takes.
    #[error("the body is not of the media type `{0}`")]
    MediaType(&'static str),
    /// The body is larger than the endpoint takes.
    #[error("the body is too large")]
    TooLarge,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    TooSlow,
}

impl Refusal {
    /// The stable name, as written into audit records and documentation.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Repeated(_) => "request.repeated-parameter",
            Self::Missing(_) => "request.missing-parameter",
            Self::Malformed(_) => "request.malformed-parameter",
            Self::ParametersInQuery => "request.parameters-in-query",
            Self::UnknownClient => "client.unknown",
            Self::ClientDocument(_) => "client.document",
            Self::DocumentQuota => "client.document-quota",
            Self::RedirectUri => "client.redirect-uri",
            Self::ResponseType => "authorization.response-type",
            Self::RequestObject => "authorization.request-object",
            Self::RequestReference => "authorization.request-reference",
            Self::Resource => "grant.resource",
            Self::Scope => "grant.scope",
            Self::GrantNotRegistered => "client.grant-not-registered",
            Self::GrantType => "grant.type",
            Self::ConsentDenied => "consent.denied",
            Self::ClientAuthenticationTwice => "client.authenticated-twice",
            Self::ClientAuthentication => "client.authentication",
            Self::Code => "code.invalid",
            Self::CodeExpired => "code.expired",
            Self::CodeReplayed => "code.replayed",
            Self::RefreshToken => "refresh.invalid",
            Self::RefreshTokenExpired => "refresh.expired",
            Self::RefreshTokenRevoked => "refresh.revoked",
            Self::RefreshTokenReused => "refresh.reused",
            Self::ClientRevoked => "revoked.agent",
            Self::UserRevoked => "revoked.user",
            Self::TokenType => "revocation.token-type",
            Self::RegistrationRedirectUri(_) => "registration.redirect-uri",
            Self::RegistrationMetadata(_) => "registration.metadata",
            Self::RegistrationQuota => "registration.quota",
            Self::MediaType(_) => "request.media-type",
            Self::TooLarge => "request.too-large",
            Self::TooSlow => "request.too-slow",
        }
    }

    /// Who has to act.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::ClientDocument(_) => Fault::Peer,
            Self::Repeated(_)
            | Self::Missing(_)
            | Self::Malformed(_)
            | Self::ParametersInQuery
            | Self::UnknownClient
            | Self::DocumentQuota
            | Self::RedirectUri
            | Self::ResponseType
            | Self::RequestObject
            | Self::RequestReference
            | Self::Resource
            | Self::Scope
            | Self::GrantNotRegistered
            | Self::GrantType
            | Self::ConsentDenied
            | Self::ClientAuthenticationTwice
            | Self::ClientAuthentication
            | Self::Code
            | Self::CodeExpired
            | Self::CodeReplayed
            | Self::RefreshToken
            | Self::RefreshTokenExpired
            | Self::RefreshTokenRevoked
            | Self::RefreshTokenReused
            | Self::ClientRevoked
            | Self::UserRevoked
            | Self::TokenType
            | Self::RegistrationRedirectUri(_)
            | Self::RegistrationMetadata(_)
            | Self::RegistrationQuota
            | Self::MediaType(_)
            | Self::TooLarge
            | Self::TooSlow => Fault::Caller,
        }
    }
}
