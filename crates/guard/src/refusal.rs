//! The only place where a reason becomes a status, an OAuth error, a challenge and a JSON-RPC error.
//!
//! Statuses are those of MCP (2026-07-28, Authorization and Streamable HTTP) and RFC 6750 §3.1. Texts are
//! fixed, but for limits and names that the caller sent, and say what happened, whose turn it is and what
//! would help. What only the operator should read is in the record, which the caller can point to by the
//! request's identifier.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portcullis_core::fault::Fault;
use portcullis_core::identity::Failed;
use portcullis_core::ids::ScopeSet;
use portcullis_core::policy::Denial;
use portcullis_core::seal;
use portcullis_core::wire::{self, Challenge, Era, MODERN_VERSIONS, RequestId};
use serde_json::{Map, Value, json};

use crate::reason::{Reason, UpstreamError};
use crate::sealing::{SealProblem, SealRefused};

/// The header of every answer that carries our identifier of the request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// MCP 2026-07-28 reserves -32768 to -32000; ours are this minus the HTTP status.
const OURS: i64 = -31_000;
/// Sealed fields.
const SEAL: i64 = -31_460;
/// Sealed fields of a session that is unknown or over: the agent agrees on a new one and repeats the call.
const SEAL_SESSION: i64 = -31_461;

/// What a refusal must know of the request that it answers.
pub(crate) struct Asked<'a> {
    /// Our identifier of the request.
    pub(crate) request: &'a str,
    /// Where the resource's metadata is.
    pub(crate) metadata_url: &'a str,
    /// The scope that basic use needs.
    pub(crate) basic: &'a dyn Fn() -> ScopeSet,
    /// The era, where the message was read.
    pub(crate) era: Option<Era>,
    /// The message's id, where it was read.
    pub(crate) id: Option<&'a RequestId>,
}

/// An answer that says no. Nothing of it is a secret.
#[derive(Clone, Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    headers: HeaderMap,
    body: Bytes,
}

impl Refusal {
    /// The answer for a request that is judged by nobody, because it is for no endpoint or no method of one:
    /// for [`Reason::NotFound`] and [`Reason::MethodNotAllowed`]. It is not on record and has no identifier.
    #[must_use]
    pub fn outside(reason: &Reason) -> Self {
        Self::of(
            reason,
            &Asked {
                request: "",
                metadata_url: "",
                basic: &ScopeSet::new,
                era: None,
                id: None,
            },
        )
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable slug that the caller is told. For a token that was not believed it says less than the
    /// record.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The HTTP answer.
    #[must_use]
    pub fn into_response(self) -> http::Response<Bytes> {
        let mut response = http::Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    pub(crate) fn of(reason: &Reason, asked: &Asked<'_>) -> Self {
        let row = Row::of(reason, asked);
        let status = StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let mut data = Map::new();
        data.insert("reason".to_owned(), row.code.into());
        data.insert("fault".to_owned(), reason.fault().as_str().into());
        if let (false, Ok(request)) = (asked.request.is_empty(), HeaderValue::from_str(asked.request)) {
            headers.insert(REQUEST_ID, request);
            data.insert("request".to_owned(), asked.request.into());
        }
        if let Some(challenge) = row.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge.to_header_value());
        }
        if let Some(allow) = row.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = row.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        data.extend(row.data.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let error = json!({ "code": row.json_rpc, "message": row.message, "data": data });
        // JSON-RPC 2.0 §5 has `null` for an id that could not be read; MCP's schema has no `null` there and
        // leaves it out. The id is spliced in as the text that came, which was read as JSON before.
        let body = match asked.id.or(request_id(reason)) {
            Some(id) => format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.as_json()),
            None => format!(r#"{{"jsonrpc":"2.0","error":{error}}}"#),
        };
        Self {
            status,
            code: row.code,
            headers,
            body: body.into(),
        }
    }
}

/// Everything that differs between answers.
struct Row {
    status: u16,
    json_rpc: i64,
    message: Cow<'static, str>,
    code: &'static str,
    challenge: Option<Challenge>,
    allow: Option<&'static str>,
    retry_after: Option<&'static str>,
    /// Further members of `error.data`.
    data: Vec<(&'static str, Value)>,
}

impl Row {
    /// An answer with a JSON-RPC code of ours.
    fn ours(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let json_rpc = OURS.saturating_sub(i64::from(status));
        Self {
            status,
            json_rpc,
            message: message.into(),
            code,
            challenge: None,
            allow: None,
            retry_after: None,
            data: Vec::new(),
        }
    }

    fn challenged(self, challenge: Challenge) -> Self {
        Self {
            challenge: Some(challenge),
            ..self
        }
    }

    fn retried_after(self, seconds: &'static str) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    fn of(reason: &Reason, asked: &Asked<'_>) -> Self {
        let code = reason.code();
        match reason {
            Reason::NotFound => Self::ours(404, code, "nothing is served at this path; check the address of the MCP server"),
            Reason::MethodNotAllowed { allow } => Self {
                allow: Some(allow),
                ..Self::ours(405, code, "the method is not allowed at this path; `Allow` names those that are")
            },
            Reason::HostRefused => {
                Self::ours(403, code, "this server does not answer under that `Host`; use its public address")
            }
            Reason::OriginRefused => {
                Self::ours(403, code, "pages of that `Origin` may not send requests to this server; its operator can allow it")
            }
            Reason::Request(error) => Self::request(error),
            Reason::NoCredential => Self::ours(
                401,
                code,
                "an access token is needed; the metadata that `WWW-Authenticate` points to names who issues it",
            )
            .challenged(asked.bearer().with("scope", &(asked.basic)().to_string())),
            Reason::Token(failed) => Self::token(*failed, asked),
            Reason::KeysUnavailable(_) => Self::ours(
                503,
                code,
                "the token's issuer cannot be asked for its keys now, so the token cannot be checked; try again in a few seconds",
            )
            .retried_after("5"),
            Reason::BodyTooLarge { limit } => {
                Self::ours(413, code, format!("the body is larger than {limit} bytes; send less, or ask the operator for more"))
            }
            Reason::BodyTooSlow => Self::ours(408, code, "the body did not come in time; send it again"),
            Reason::BodyBroken => Self::ours(400, code, "the body broke off; send it again"),
            // RFC 6585 §4.
            Reason::TooManyStreams { limit } => Self::ours(
                429,
                code,
                format!("you have {limit} streams open at this server, the most there may be; close one, or wait until one ends"),
            )
            .retried_after("10"),
            Reason::SessionNeeded => {
                Self::ours(400, code, "`Mcp-Session-Id` is missing; send the one that the answer to `initialize` had")
            }
            Reason::SessionUnknown => {
                Self::ours(404, code, "there is no such session of yours, or it ended; start a new one with `initialize`")
            }
            Reason::Sealing(refused) => Self::sealing(refused),
            Reason::Denied(denial) => Self::denied(denial, asked),
            Reason::RecorderUnavailable(_) => Self::ours(
                503,
                code,
                "the decision could not be recorded, so the call was not made; try again in a few seconds, and tell the operator if this stays so",
            )
            .retried_after("5"),
            Reason::Upstream(error) => Self::upstream(error),
        }
    }

    /// MCP 2026-07-28, Streamable HTTP: a message that cannot be processed is answered with 400.
    fn request(error: &wire::Error) -> Self {
        let code = error.code();
        let sentence = format!("{error}");
        let (status, challenge) = match error {
            // RFC 6750 §3.1: `invalid_request` for a repeated, malformed or doubly sent token.
            wire::Error::TwoAuthorizationHeaders
            | wire::Error::MalformedAuthorization
            | wire::Error::TokenInQuery => (
                400,
                Some(
                    Challenge::bearer()
                        .with("error", "invalid_request")
                        .with("error_description", &sentence),
                ),
            ),
            // RFC 6585 §5.
            wire::Error::AuthorizationTooLong => (431, None),
            wire::Error::ContentType | wire::Error::ContentEncoding => (415, None),
            wire::Error::PostOnly => (405, None),
            wire::Error::NotJson
            | wire::Error::DuplicateKey
            | wire::Error::AmbiguousKey { .. }
            | wire::Error::TooDeep
            | wire::Error::Batch
            | wire::Error::NotAMessage { .. }
            | wire::Error::InvalidParams { .. }
            | wire::Error::NameTooLong { .. }
            | wire::Error::HeaderMismatch { .. }
            | wire::Error::MissingMeta { .. }
            | wire::Error::UnsupportedVersion { .. }
            | wire::Error::BadSession { .. } => (400, None),
        };
        let mut row = Self {
            challenge,
            ..Self::ours(status, code, sentence.clone())
        };
        if let Some((json_rpc, name)) = error.json_rpc() {
            row.json_rpc = json_rpc;
            row.message = format!("{name}: {sentence}").into();
        }
        if *error == wire::Error::PostOnly {
            row.allow = Some("POST");
        }
        if let wire::Error::UnsupportedVersion { requested, .. } = error {
            row.data = vec![
                ("supported", json!(MODERN_VERSIONS)),
                ("requested", json!(requested)),
            ];
        }
        row
    }

    /// RFC 6750 §3.1, `invalid_token`. Which check failed is for the record: told to whoever sends tokens
    /// until one fits, it would be a guide.
    fn token(failed: Failed, asked: &Asked<'_>) -> Self {
        let (code, description, advice) = match failed {
            Failed::Expired => (
                failed.code(),
                "the access token expired",
                "the access token expired; refresh it or get a new one",
            ),
            Failed::NotCompact
            | Failed::Header
            | Failed::HeaderRefused(_)
            | Failed::Payload
            | Failed::AlgorithmUnsupported
            | Failed::AlgorithmNotAllowed
            | Failed::IssuerUnknown
            | Failed::KeyUnknown
            | Failed::Signature
            | Failed::NotAnAccessToken
            | Failed::OtherIssuer
            | Failed::OtherAudience
            | Failed::ManyAudiences
            | Failed::ClaimMissing(_)
            | Failed::ClaimMalformed(_)
            | Failed::NotYetValid
            | Failed::IssuedInFuture
            | Failed::Lifetime
            | Failed::SenderConstrained => (
                "token.invalid",
                "the access token is not valid here",
                "the access token is not valid here; get one for this server from the issuer that the metadata names, or ask the operator, who finds the cause on record under the request's identifier",
            ),
        };
        let challenge = Challenge::bearer()
            .with("error", "invalid_token")
            .with("error_description", description)
            .with("resource_metadata", asked.metadata_url)
            .with("scope", &(asked.basic)().to_string());
        Self::ours(401, code, advice).challenged(challenge)
    }

    /// A code of its own, so that an agent tells it from other refusals: with what `data` says it can seal as it should.
    fn sealing(refused: &SealRefused) -> Self {
        let code = refused.problem.code();
        let (status, retry) = match refused.problem.fault() {
            Fault::Operator => (503, Some("5")),
            Fault::Bug => (500, None),
            Fault::Caller | Fault::Peer => (400, None),
        };
        // What the operator's own part said is not for the caller.
        let message: Cow<'static, str> = if let SealProblem::Fields(seal::Error::KeyUnavailable(_)) =
            &refused.problem
        {
            "a key of the gateway cannot be used now; try again in a few seconds, and tell the operator if this stays so".into()
        } else {
            refused.problem.to_string().into()
        };
        Self {
            json_rpc: if refused.problem.wants_new_session() {
                SEAL_SESSION
            } else {
                SEAL
            },
            retry_after: retry,
            data: refused.data(),
            ..Self::ours(status, code, message)
        }
    }

    fn denied(denial: &Denial, asked: &Asked<'_>) -> Self {
        let code = denial.code();
        match denial {
            // MCP 2026-07-28, Authorization: all scopes of the operation in one challenge.
            Denial::InsufficientScope { needed, .. } => {
                let needed = needed.to_string();
                let challenge = Challenge::bearer()
                    .with("error", "insufficient_scope")
                    .with("scope", &needed)
                    .with("resource_metadata", asked.metadata_url)
                    .with(
                        "error_description",
                        "the call needs more scope than the access token has",
                    );
                Self::ours(
                    403,
                    code,
                    format!("the call needs the scopes `{needed}`; authorize again with them, and whoever the token is about has to agree"),
                )
                .challenged(challenge)
            }
            Denial::Forbidden { .. } => Self::ours(
                403,
                code,
                "the policy of this server forbids the call whatever the scope; ask its operator",
            ),
            Denial::Fault { .. } => Self::ours(
                403,
                code,
                "the policy of this server could not be evaluated for the call, which counts as no; tell its operator",
            ),
            Denial::UnknownMethod => {
                // MCP 2026-07-28: 404. Before, an error of a message is a message in a 200; without an id
                // there is none to send.
                let status = match (asked.era, asked.id) {
                    (Some(Era::Modern) | None, _) => 404,
                    (Some(Era::Legacy), Some(_)) => 200,
                    (Some(Era::Legacy), None) => 400,
                };
                Self {
                    json_rpc: -32_601,
                    ..Self::ours(status, code, "Method not found: this server has no such method")
                }
            }
        }
    }

    fn upstream(error: &UpstreamError) -> Self {
        let code = error.code();
        match error {
            UpstreamError::Unreachable { .. } => Self::ours(
                502,
                code,
                "the server behind the gateway cannot be reached; try again later, and tell the operator if this stays so",
            ),
            UpstreamError::TimedOut => Self::ours(
                504,
                code,
                "the server behind the gateway did not answer in time; it may still have done what it was asked to",
            ),
            UpstreamError::Busy => Self::ours(
                503,
                code,
                "the server behind the gateway is busy; try again in a moment",
            )
            .retried_after("1"),
            UpstreamError::RefusesUs { .. } => Self::ours(
                502,
                code,
                "the server behind the gateway does not accept the gateway's own credential; its operator has to mend that, another token will not",
            ),
            UpstreamError::BadAnswer { .. } => Self::ours(
                502,
                code,
                "the server behind the gateway sent an answer that cannot be passed on; tell the operator",
            ),
        }
    }
}

impl Asked<'_> {
    /// RFC 6750 §3 and RFC 9728 §5.1.
    fn bearer(&self) -> Challenge {
        Challenge::bearer().with("resource_metadata", self.metadata_url)
    }
}

fn request_id(reason: &Reason) -> Option<&RequestId> {
    match reason {
        Reason::Request(error) => error.request_id(),
        Reason::NotFound
        | Reason::MethodNotAllowed { .. }
        | Reason::HostRefused
        | Reason::OriginRefused
        | Reason::NoCredential
        | Reason::Token(_)
        | Reason::KeysUnavailable(_)
        | Reason::BodyTooLarge { .. }
        | Reason::BodyTooSlow
        | Reason::BodyBroken
        | Reason::TooManyStreams { .. }
        | Reason::SessionNeeded
        | Reason::SessionUnknown
        | Reason::Sealing(_)
        | Reason::Denied(_)
        | Reason::RecorderUnavailable(_)
        | Reason::Upstream(_) => None,
    }
}
