//! The only place where a reason becomes a status, an OAuth error, a challenge and a JSON-RPC error.
//!
//! Statuses are those of MCP (2026-07-28, Authorization and Streamable HTTP) and RFC 6750 §3.1. Texts are
//! fixed, but for limits and names that the caller sent, and say what happened, whose turn it is and what
//! would help. What only the operator should read is in the record, which the caller can point to by the
//! request's identifier.

mod sender;
mod withheld;

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portcullis_core::fault::Fault;
use portcullis_core::identity::Failed;
use portcullis_core::ids::ScopeSet;
use portcullis_core::policy::Denial;
use portcullis_core::seal;
use portcullis_core::wire::{self, Challenge, Era, MODERN_VERSIONS, RequestId, Scheme};
use serde_json::{Map, Value, json};

use crate::dpop::{ProofNonce, SenderConstraint, SenderRules};
use crate::reason::{Reason, UpstreamError};
use crate::replay::ReplayUnavailable;
use crate::sealing::{SealProblem, SealRefused};

/// The header of every answer that carries our identifier of the request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The quota that is used up (draft-ietf-httpapi-ratelimit-headers §3).
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it, and when there is more (draft-ietf-httpapi-ratelimit-headers §4).
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The header with the nonce for the next proof (RFC 9449 §8.2, §9).
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// MCP 2026-07-28 reserves -32768 to -32000; ours are this minus the HTTP status.
const OURS: i64 = -31_000;
/// Sealed fields.
const SEAL: i64 = -31_460;
/// Sealed fields of a session that is unknown or over, or that were sealed before the gateway started: the agent seals the
/// call afresh, with a new session if it had one, and repeats it.
const SEAL_AFRESH: i64 = -31_461;

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
    /// The scheme that the caller used.
    pub(crate) scheme: Option<Scheme>,
    /// What the server asks of senders.
    pub(crate) rules: SenderRules,
    /// The nonce that the next proof should have.
    pub(crate) nonce: Option<HeaderValue>,
}

/// An answer that says no. Nothing of it is a secret.
#[derive(Clone, Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    headers: HeaderMap,
    body: Bytes,
    cause: String,
    hint: &'static str,
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
                scheme: None,
                rules: SenderRules {
                    constraint: SenderConstraint::None,
                    nonce: ProofNonce::Off,
                },
                nonce: None,
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

    /// What is wrong, in words for the operator: the caller may be told less.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// What would fix it ([`Reason::hint`]).
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.hint
    }

    /// `WWW-Authenticate`, where another credential would help.
    #[must_use]
    pub fn challenge(&self) -> Option<&str> {
        self.headers.get(WWW_AUTHENTICATE)?.to_str().ok()
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
        if !row.challenges.is_empty() {
            headers.insert(WWW_AUTHENTICATE, Challenge::join(&row.challenges));
        }
        if let Some(nonce) = &asked.nonce {
            headers.insert(DPOP_NONCE, nonce.clone());
        }
        if let Some(allow) = row.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        let valued = [(RETRY_AFTER, row.retry_after)].into_iter().chain(row.rate);
        for (name, value) in valued.filter_map(|(name, value)| Some((name, value?))) {
            // Digits and names of ours, which are header values.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
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
            cause: reason.to_string(),
            hint: reason.hint(),
        }
    }
}

/// Everything that differs between answers.
struct Row {
    status: u16,
    json_rpc: i64,
    message: Cow<'static, str>,
    code: &'static str,
    challenges: Vec<Challenge>,
    allow: Option<&'static str>,
    retry_after: Option<Cow<'static, str>>,
    /// `RateLimit-Policy` and `RateLimit`.
    rate: [(HeaderName, Option<Cow<'static, str>>); 2],
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
            challenges: Vec::new(),
            allow: None,
            retry_after: None,
            rate: [(RATE_LIMIT_POLICY, None), (RATE_LIMIT, None)],
            data: Vec::new(),
        }
    }

    fn challenged(self, challenges: Vec<Challenge>) -> Self {
        Self { challenges, ..self }
    }

    fn retried_after(self, seconds: impl Into<Cow<'static, str>>) -> Self {
        Self {
            retry_after: Some(seconds.into()),
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
            // RFC 9112 §3.2.
            Reason::HostMalformed => {
                Self::ours(400, code, "a request names the host it is for once, in `Host`; send it again with one")
            }
            Reason::HostRefused => {
                Self::ours(403, code, "this server does not answer under that `Host`; use its public address")
            }
            Reason::OriginRefused => {
                Self::ours(403, code, "pages of that `Origin` may not send requests to this server; its operator can allow it")
            }
            Reason::Request(error) => Self::request(error, asked),
            Reason::NoCredential => Self::ours(
                401,
                code,
                "an access token is needed; the metadata that `WWW-Authenticate` points to names who issues it",
            )
            .challenged(asked.invitation()),
            // RFC 6750 §3.1: without a token there is no error to name.
            Reason::WorkloadNotGranted => Self::ours(
                401,
                code,
                "the workload that the client certificate names has nothing at this server; ask its operator, or send an access token of an issuer that the metadata names",
            )
            .challenged(asked.invitation()),
            Reason::Certificate(refused) => Self::certificate(*refused, asked),
            Reason::Token(failed) => Self::token(*failed, asked),
            Reason::Revoked(revoked) => Self::revoked(*revoked, asked),
            Reason::RevocationsUnreadable(_) => Self::ours(
                503,
                code,
                "what was revoked cannot be found out now, so nothing goes on; try again in a few seconds, and tell the operator if this stays so",
            )
            .retried_after("5"),
            Reason::Proof(_) | Reason::ProofReplayed => Self::proof(reason, asked),
            Reason::TokenReplayed => Self::ours(
                401,
                code,
                "the access token is for one call, and was used; get another one for each call from the issuer that the metadata names",
            )
            .challenged(asked.invalid_token("the access token is for one call, and was used")),
            // RFC 9449 §9.
            Reason::NonceNeeded => {
                let sentence = "the proof needs the nonce that `DPoP-Nonce` of this answer has; make a new proof with it";
                Self::ours(401, code, sentence).challenged(asked.proof_wanted("use_dpop_nonce", sentence))
            }
            Reason::ReplayUnavailable(ReplayUnavailable::SenderFull) => Self::ours(
                429,
                code,
                "you have used as many proofs as can be remembered for you; try again in a few seconds, and send fewer at once",
            )
            .retried_after("5"),
            Reason::ReplayUnavailable(_) => Self::ours(
                503,
                code,
                "whether the proof was used before cannot be found out now, so the call was not made; try again in a few seconds with a new proof, and tell the operator if this stays so",
            )
            .retried_after("5"),
            Reason::IntrospectionUnavailable(_) => Self::ours(
                503,
                code,
                "the token's issuer cannot be asked about the token now, so it cannot be checked; try again in a few seconds, and tell the operator if this stays so",
            )
            .retried_after("5"),
            Reason::IssuerNotForTarget => Self::ours(
                403,
                code,
                "tokens of this issuer are not for what is called here, whatever their scope; use a token of another issuer, or ask the operator",
            ),
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
            Reason::StreamsFull { .. } => Self::ours(
                503,
                code,
                "this server has as many streams open as it may; try again in a few seconds, and tell the operator if this stays so",
            )
            .retried_after("10"),
            Reason::Limited(limited) => Self::limited(limited),
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
    fn request(error: &wire::Error, asked: &Asked<'_>) -> Self {
        let code = error.code();
        let sentence = format!("{error}");
        let (status, challenges) = match error {
            // RFC 6750 §3.1: `invalid_request` for a repeated, malformed or doubly sent token.
            wire::Error::TwoAuthorizationHeaders
            | wire::Error::MalformedAuthorization
            | wire::Error::TokenInQuery => (400, asked.invalid_request(&sentence)),
            // RFC 9449 §7.1: a proof that is missing, repeated or none at all.
            wire::Error::ProofMissing | wire::Error::TwoProofs | wire::Error::MalformedProof => {
                (401, asked.proof_wanted("invalid_dpop_proof", &sentence))
            }
            // RFC 6585 §5.
            wire::Error::AuthorizationTooLong | wire::Error::ProofTooLong => (431, Vec::new()),
            wire::Error::ContentType | wire::Error::ContentEncoding => (415, Vec::new()),
            wire::Error::PostOnly => (405, Vec::new()),
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
            | wire::Error::BadSession { .. } => (400, Vec::new()),
        };
        let mut row = Self {
            challenges,
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
            // These come after everything that a token has to be by itself, and help nobody who has no key.
            Failed::SenderConstrained
            | Failed::OtherKey
            | Failed::NotBound
            | Failed::CertificateMissing
            | Failed::OtherCertificate
            | Failed::OtherWorkload
            | Failed::NotConstrained => return Self::sender(failed, asked),
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
            | Failed::IssuerNotForServer
            | Failed::Inactive
            | Failed::IntrospectionAnswer
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
            | Failed::ConfirmationUnknown => (
                "token.invalid",
                "the access token is not valid here",
                "the access token is not valid here; get one for this server from the issuer that the metadata names, or ask the operator, who finds the cause on record under the request's identifier",
            ),
        };
        Self::ours(401, code, advice).challenged(asked.invalid_token(description))
    }

    /// A code of its own, so that an agent tells it from other refusals: with what `data` says it can seal as it should.
    fn sealing(refused: &SealRefused) -> Self {
        let code = refused.problem.code();
        let (status, retry) = match refused.problem.fault() {
            Fault::Operator => (503, Some("5".into())),
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
            json_rpc: if refused.problem.wants_sealing_afresh() {
                SEAL_AFRESH
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
                Self::ours(
                    403,
                    code,
                    format!("the call needs the scopes `{needed}`; authorize again with them, and whoever the token is about has to agree"),
                )
                .challenged(asked.more_scope(&needed))
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
            UpstreamError::Withheld => Self::ours(
                502,
                code,
                "this result is withheld: the server has tools with sealed fields, and to which call the result belongs, or that its tool has none, is not known here; make the call again and take its answer from there",
            ),
            UpstreamError::BadAnswer { .. } => Self::ours(
                502,
                code,
                "the server behind the gateway sent an answer that cannot be passed on; tell the operator",
            ),
        }
    }
}

fn request_id(reason: &Reason) -> Option<&RequestId> {
    match reason {
        Reason::Request(error) => error.request_id(),
        Reason::NotFound
        | Reason::MethodNotAllowed { .. }
        | Reason::HostMalformed
        | Reason::HostRefused
        | Reason::OriginRefused
        | Reason::NoCredential
        | Reason::WorkloadNotGranted
        | Reason::Certificate(_)
        | Reason::Token(_)
        | Reason::Revoked(_)
        | Reason::RevocationsUnreadable(_)
        | Reason::Proof(_)
        | Reason::NonceNeeded
        | Reason::ProofReplayed
        | Reason::TokenReplayed
        | Reason::ReplayUnavailable(_)
        | Reason::IntrospectionUnavailable(_)
        | Reason::IssuerNotForTarget
        | Reason::KeysUnavailable(_)
        | Reason::BodyTooLarge { .. }
        | Reason::BodyTooSlow
        | Reason::BodyBroken
        | Reason::TooManyStreams { .. }
        | Reason::StreamsFull { .. }
        | Reason::Limited(_)
        | Reason::SessionNeeded
        | Reason::SessionUnknown
        | Reason::Sealing(_)
        | Reason::Denied(_)
        | Reason::RecorderUnavailable(_)
        | Reason::Upstream(_) => None,
    }
}
