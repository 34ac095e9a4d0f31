//! The only place where a refusal becomes a status, an OAuth error code and a text.
//!
//! Texts are static: nothing that a caller sent comes back in an answer.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::access_token::NotIssued;
use portcullis_core::random::RandomUnavailable;
use portcullis_core::time::Lifetime;
use portcullis_guard::recorder::RecorderUnavailable;
use portcullis_net::offload::Lost;
use serde_json::json;

use super::{pages, people};
use crate::store;

/// Why a request does not get what it asks for.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may not have it.
    Refused(Refusal),
    /// Nothing is at this address.
    Address,
    /// What is at this address does not do that.
    Method,
    /// The form is not one that we gave to this browser for this request, or came from elsewhere.
    Form,
    /// Name and password do not belong together.
    Login,
    /// Too many attempts to log in; so long to wait.
    LoginThrottled(Lifetime),
    /// We cannot answer now, and nothing was given. The detail is for the log.
    Unavailable(String),
    /// The key that signs tokens cannot be used now. The detail is for the log.
    Keys(String),
}

/// What the outside is told.
pub(super) struct Told {
    /// The status, where the answer is not a redirect.
    pub(super) status: StatusCode,
    /// The OAuth error code.
    pub(super) error: &'static str,
    /// What is wrong, for whoever wrote the client.
    pub(super) says: &'static str,
}

impl Failure {
    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Address => "http.not-found",
            Self::Method => "http.method-not-allowed",
            Self::Form => "browser.form",
            Self::Login => "login.invalid",
            Self::LoginThrottled(_) => "login.throttled",
            Self::Unavailable(_) => "authority.unavailable",
            Self::Keys(_) => "authority.keys-unavailable",
        }
    }

    /// The one decision about what the outside is told.
    pub(super) fn told(&self) -> Told {
        match self {
            Self::Refused(refusal) => told(refusal),
            Self::Address => Told {
                status: StatusCode::NOT_FOUND,
                error: "invalid_request",
                says: "there is nothing at this address",
            },
            Self::Method => Told {
                status: StatusCode::METHOD_NOT_ALLOWED,
                error: "invalid_request",
                says: "this address does not take this method",
            },
            Self::Form => Told {
                status: StatusCode::FORBIDDEN,
                error: "access_denied",
                says: "this form is not from a page of this server, or is too old",
            },
            Self::Login => Told {
                status: StatusCode::FORBIDDEN,
                error: "access_denied",
                says: "the name or the password is wrong",
            },
            Self::LoginThrottled(_) => Told {
                status: StatusCode::TOO_MANY_REQUESTS,
                error: "access_denied",
                says: "there were too many attempts to sign in; wait some minutes",
            },
            Self::Unavailable(_) => Told {
                status: StatusCode::SERVICE_UNAVAILABLE,
                error: "server_error",
                says: "the server cannot answer now; nothing was granted; try again",
            },
            Self::Keys(_) => Told {
                status: StatusCode::SERVICE_UNAVAILABLE,
                error: "temporarily_unavailable",
                says: "the server cannot sign now; try again in some seconds",
            },
        }
    }

    /// The answer of an endpoint that speaks JSON (RFC 6749 §5.2, RFC 7591 §3.2.2).
    pub(super) fn json(&self, shown: Shown) -> Response {
        let Told { status, error, says } = self.told();
        self.log();
        let body = axum::Json(json!({ "error": error, "error_description": says }));
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // RFC 6749 §5.2: MUST name the scheme that the client tried.
        if status == StatusCode::UNAUTHORIZED && shown == Shown::Header {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"portcullis\""),
            );
        }
        self.add_retry_after(&mut response);
        response
    }

    /// Says when to come back, where that helps.
    pub(super) fn add_retry_after(&self, response: &mut Response) {
        let wait = match self {
            Self::LoginThrottled(wait) => wait.as_secs(),
            Self::Unavailable(_) | Self::Keys(_) => 5,
            Self::Refused(Refusal::RegistrationQuota) => 600,
            Self::Refused(Refusal::DocumentQuota) => 60,
            Self::Refused(_) | Self::Address | Self::Method | Self::Form | Self::Login => return,
        };
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }

    /// Tells the operator what only they can mend.
    pub(super) fn log(&self) {
        match self {
            Self::Unavailable(detail) => tracing::error!(detail, "the authority could not answer"),
            Self::Keys(detail) => tracing::error!(detail, "the authority could not sign"),
            Self::Refused(_)
            | Self::Address
            | Self::Method
            | Self::Form
            | Self::Login
            | Self::LoginThrottled(_) => {
                tracing::debug!(code = self.code(), "the authority refused");
            }
        }
    }
}

/// The answer at an address where nothing is.
pub(super) async fn no_such_address(headers: HeaderMap) -> Response {
    in_kind(&Failure::Address, &headers)
}

/// The answer to a method that an address does not take. The router adds `Allow` (RFC 9110 §15.5.6).
pub(super) async fn no_such_method(headers: HeaderMap) -> Response {
    in_kind(&Failure::Method, &headers)
}

/// A page for whoever asks for pages, JSON for all others.
fn in_kind(failure: &Failure, headers: &HeaderMap) -> Response {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    if accepted.any(|value| value.to_str().is_ok_and(|list| list.contains("text/html"))) {
        pages::error(failure)
    } else {
        failure.json(Shown::Elsewhere)
    }
}

/// Where a client showed its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// In the `Authorization` header.
    Header,
    /// In the body, or nowhere.
    Elsewhere,
}

const fn bad(error: &'static str, says: &'static str) -> Told {
    Told {
        status: StatusCode::BAD_REQUEST,
        error,
        says,
    }
}

/// OAuth errors of the authorization, token and registration endpoints (RFC 6749 §4.1.2.1 and §5.2, RFC 7009 §2.2.1, RFC 7591
/// §3.2.2, RFC 8707 §2, RFC 9101 §7).
fn told(refusal: &Refusal) -> Told {
    let unauthorized = |says| Told {
        status: StatusCode::UNAUTHORIZED,
        error: "invalid_client",
        says,
    };
    match refusal {
        Refusal::Repeated(_) => bad("invalid_request", "a parameter comes more than once"),
        Refusal::Missing("client_id") => bad("invalid_request", "client_id is missing"),
        Refusal::Missing("redirect_uri") => bad("invalid_request", "redirect_uri is missing"),
        Refusal::Missing("code_challenge" | "code_challenge_method") => bad(
            "invalid_request",
            "PKCE is required: send code_challenge with code_challenge_method=S256",
        ),
        Refusal::Missing("code_verifier") => bad("invalid_request", "code_verifier is missing"),
        Refusal::Missing(_) => bad("invalid_request", "a required parameter is missing"),
        Refusal::Malformed("code_challenge_method") => {
            bad("invalid_request", "only code_challenge_method=S256 is supported")
        }
        Refusal::Malformed(_) => bad("invalid_request", "a parameter is malformed"),
        Refusal::ParametersInQuery => bad(
            "invalid_request",
            "send the parameters in the body; the address takes none",
        ),
        Refusal::UnknownClient => unauthorized("the client is not known here; register it again"),
        Refusal::ClientDocument(_) => unauthorized("the client's metadata document cannot be used"),
        Refusal::DocumentQuota => Told {
            status: StatusCode::TOO_MANY_REQUESTS,
            error: "temporarily_unavailable",
            says: "there are too many client metadata documents to fetch now; wait a minute",
        },
        Refusal::ClientAuthentication => unauthorized("client authentication failed"),
        Refusal::ClientAuthenticationTwice => {
            bad("invalid_request", "the client authenticates in more than one way")
        }
        Refusal::RedirectUri => bad(
            "invalid_request",
            "the redirect URI is not registered for this client",
        ),
        Refusal::ResponseType => bad(
            "unsupported_response_type",
            "only response_type=code is supported",
        ),
        Refusal::RequestObject => bad("request_not_supported", "request objects are not supported"),
        Refusal::RequestReference => bad("request_uri_not_supported", "request_uri is not supported"),
        Refusal::Resource => bad(
            "invalid_target",
            "send exactly one resource, as its metadata spells it",
        ),
        Refusal::Scope => bad(
            "invalid_scope",
            "a scope is unknown or not available to this client",
        ),
        Refusal::GrantNotRegistered => bad(
            "unauthorized_client",
            "the client is not registered for this grant",
        ),
        Refusal::ClientRevoked => bad(
            "unauthorized_client",
            "the client is revoked here; ask the operator",
        ),
        Refusal::UserRevoked => bad("invalid_grant", "the user is revoked here; ask the operator"),
        Refusal::GrantType => bad("unsupported_grant_type", "the grant type is not supported"),
        Refusal::ConsentDenied => bad("access_denied", "the user did not consent"),
        Refusal::Code => bad("invalid_grant", "the code is not valid for this request"),
        Refusal::CodeExpired => bad("invalid_grant", "the code has expired"),
        Refusal::CodeReplayed => bad(
            "invalid_grant",
            "the code was used before; what it gave is revoked",
        ),
        Refusal::RefreshToken => bad("invalid_grant", "the refresh token is not valid"),
        Refusal::RefreshTokenExpired => bad("invalid_grant", "the refresh token has expired"),
        Refusal::RefreshTokenRevoked => bad("invalid_grant", "the refresh token is revoked"),
        Refusal::RefreshTokenReused => bad(
            "invalid_grant",
            "the refresh token was used before; its family is revoked",
        ),
        Refusal::TokenType => bad(
            "unsupported_token_type",
            "access tokens cannot be revoked; they end within minutes",
        ),
        Refusal::RegistrationRedirectUri(_) => bad(
            "invalid_redirect_uri",
            "redirect URIs are https, or http on localhost, without a fragment",
        ),
        Refusal::RegistrationMetadata(says) => bad("invalid_client_metadata", says),
        Refusal::RegistrationQuota => Told {
            status: StatusCode::TOO_MANY_REQUESTS,
            error: "temporarily_unavailable",
            says: "there are too many registrations now; wait some minutes",
        },
        Refusal::MediaType("application/json") => {
            bad("invalid_client_metadata", "the body is not application/json")
        }
        Refusal::MediaType(_) => bad(
            "invalid_request",
            "the body is not application/x-www-form-urlencoded",
        ),
        Refusal::TooSlow => Told {
            status: StatusCode::REQUEST_TIMEOUT,
            error: "invalid_request",
            says: "the request did not come in time",
        },
        Refusal::TooLarge => Told {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            error: "invalid_request",
            says: "the request is too large",
        },
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

macro_rules! unavailable_from {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Unavailable(error.to_string())
            }
        })*
    };
}

unavailable_from!(
    store::Error,
    people::Error,
    RecorderUnavailable,
    RandomUnavailable,
    Lost
);

impl From<NotIssued> for Failure {
    fn from(error: NotIssued) -> Self {
        match error {
            NotIssued::Signing(_) => Self::Keys(error.to_string()),
            NotIssued::Random(_) | NotIssued::Identifier => Self::Unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every refusal: its code, status and error.
    fn golden() -> Vec<(Refusal, &'static str, u16, &'static str)> {
        vec![
            (
                Refusal::Repeated("scope"),
                "request.repeated-parameter",
                400,
                "invalid_request",
            ),
            (
                Refusal::Missing("x"),
                "request.missing-parameter",
                400,
                "invalid_request",
            ),
            (
                Refusal::Malformed("x"),
                "request.malformed-parameter",
                400,
                "invalid_request",
            ),
            (
                Refusal::MediaType("x"),
                "request.media-type",
                400,
                "invalid_request",
            ),
            (Refusal::TooLarge, "request.too-large", 413, "invalid_request"),
            (Refusal::TooSlow, "request.too-slow", 408, "invalid_request"),
            (
                Refusal::ParametersInQuery,
                "request.parameters-in-query",
                400,
                "invalid_request",
            ),
            (
                Refusal::DocumentQuota,
                "client.document-quota",
                429,
                "temporarily_unavailable",
            ),
            (Refusal::UnknownClient, "client.unknown", 401, "invalid_client"),
            (
                Refusal::ClientDocument(String::new()),
                "client.document",
                401,
                "invalid_client",
            ),
            (
                Refusal::ClientAuthentication,
                "client.authentication",
                401,
                "invalid_client",
            ),
            (
                Refusal::ClientAuthenticationTwice,
                "client.authenticated-twice",
                400,
                "invalid_request",
            ),
            (
                Refusal::RedirectUri,
                "client.redirect-uri",
                400,
                "invalid_request",
            ),
            (
                Refusal::GrantNotRegistered,
                "client.grant-not-registered",
                400,
                "unauthorized_client",
            ),
            (
                Refusal::ClientRevoked,
                "revoked.agent",
                400,
                "unauthorized_client",
            ),
            (Refusal::UserRevoked, "revoked.user", 400, "invalid_grant"),
            (
                Refusal::ResponseType,
                "authorization.response-type",
                400,
                "unsupported_response_type",
            ),
            (
                Refusal::RequestObject,
                "authorization.request-object",
                400,
                "request_not_supported",
            ),
            (
                Refusal::RequestReference,
                "authorization.request-reference",
                400,
                "request_uri_not_supported",
            ),
            (Refusal::Resource, "grant.resource", 400, "invalid_target"),
            (Refusal::Scope, "grant.scope", 400, "invalid_scope"),
            (Refusal::GrantType, "grant.type", 400, "unsupported_grant_type"),
            (Refusal::ConsentDenied, "consent.denied", 400, "access_denied"),
            (Refusal::Code, "code.invalid", 400, "invalid_grant"),
            (Refusal::CodeExpired, "code.expired", 400, "invalid_grant"),
            (Refusal::CodeReplayed, "code.replayed", 400, "invalid_grant"),
            (Refusal::RefreshToken, "refresh.invalid", 400, "invalid_grant"),
            (
                Refusal::RefreshTokenExpired,
                "refresh.expired",
                400,
                "invalid_grant",
            ),
            (
                Refusal::RefreshTokenRevoked,
                "refresh.revoked",
                400,
                "invalid_grant",
            ),
            (
                Refusal::RefreshTokenReused,
                "refresh.reused",
                400,
                "invalid_grant",
            ),
            (
                Refusal::TokenType,
                "revocation.token-type",
                400,
                "unsupported_token_type",
            ),
            (
                Refusal::RegistrationRedirectUri("x"),
                "registration.redirect-uri",
                400,
                "invalid_redirect_uri",
            ),
            (
                Refusal::RegistrationMetadata("x"),
                "registration.metadata",
                400,
                "invalid_client_metadata",
            ),
            (
                Refusal::RegistrationQuota,
                "registration.quota",
                429,
                "temporarily_unavailable",
            ),
        ]
    }

    #[test]
    fn every_refusal_has_its_answer() {
        for (refusal, code, status, error) in golden() {
            assert_eq!(refusal.code(), code);
            let told = Failure::from(refusal).told();
            assert_eq!((told.status.as_u16(), told.error), (status, error), "{code}");
            // RFC 6749 §5.2: printable ASCII without `"` and `\`.
            assert!(
                told.says
                    .bytes()
                    .all(|b| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
                "{code}"
            );
        }
        let codes: BTreeSet<_> = golden().into_iter().map(|(_, code, ..)| code).collect();
        assert_eq!(codes.len(), golden().len());
    }

    #[test]
    fn only_who_tried_basic_is_asked_for_basic() {
        let challenge = |failure: Failure, shown| {
            failure
                .json(shown)
                .headers()
                .contains_key(header::WWW_AUTHENTICATE)
        };
        assert!(challenge(Refusal::ClientAuthentication.into(), Shown::Header));
        assert!(!challenge(Refusal::ClientAuthentication.into(), Shown::Elsewhere));
        assert!(!challenge(Refusal::Code.into(), Shown::Header));
    }
}
