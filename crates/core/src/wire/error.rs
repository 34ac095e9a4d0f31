//! What can be wrong with a request's bytes.

use crate::fault::Fault;

use super::call::RequestId;

/// A request that cannot be read, or that says two things at once. Exhaustive on purpose: the one place that
/// answers must name each.
///
/// Variants found after the message was read carry its id, for the answer to echo.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than one `Authorization` header (RFC 6750 §2: one method of sending a token per request).
    #[error("there is more than one `Authorization` header")]
    TwoAuthorizationHeaders,
    /// An `Authorization` value that is no `scheme token68` (RFC 9110 §11.4, RFC 6750 §2.1).
    #[error("the `Authorization` header is malformed")]
    MalformedAuthorization,
    /// An `Authorization` value longer than [`crate::limits::AUTHORIZATION_BYTES`].
    #[error(
        "the `Authorization` header is longer than {} bytes",
        crate::limits::AUTHORIZATION_BYTES
    )]
    AuthorizationTooLong,
    /// `access_token` in the query: the MCP specification forbids what RFC 6750 §2.3 describes.
    #[error("the query has an `access_token`; send it in the `Authorization` header")]
    TokenInQuery,
    /// The scheme `DPoP` without a `DPoP` header (RFC 9449 §7.1).
    #[error("the `DPoP` header is missing")]
    ProofMissing,
    /// More than one `DPoP` header (RFC 9449 §4.3, check 1).
    #[error("there is more than one `DPoP` header")]
    TwoProofs,
    /// A `DPoP` header that is no compact JWS by its characters: empty, a list, or not ASCII (RFC 9449 §4.3, check 2).
    #[error("the `DPoP` header is malformed")]
    MalformedProof,
    /// A `DPoP` header longer than [`crate::limits::PROOF_BYTES`].
    #[error("the `DPoP` header is longer than {} bytes", crate::limits::PROOF_BYTES)]
    ProofTooLong,
    /// A `Content-Type` that is missing, repeated, or not `application/json` in UTF-8.
    #[error("the content type is not `application/json`")]
    ContentType,
    /// A coded body: what cannot be read cannot be judged.
    #[error("the content encoding is not `identity`")]
    ContentEncoding,
    /// Not one JSON text in UTF-8 (RFC 8259).
    #[error("the body is not JSON")]
    NotJson,
    /// A name twice in one object: two readers could see two messages (RFC 8259 §4).
    #[error("an object in the body has the same name twice")]
    DuplicateKey,
    /// A name that a case-insensitive reader takes for `expected`.
    #[error("a name in the body differs from `{expected}` in case only")]
    AmbiguousKey {
        /// The name that it resembles.
        expected: &'static str,
    },
    /// Nested deeper than [`crate::limits::JSON_DEPTH`].
    #[error("the body is nested deeper than {} levels", crate::limits::JSON_DEPTH)]
    TooDeep,
    /// An array of messages: no revision since 2025-06-18 has them.
    #[error("the body is a batch; send one message")]
    Batch,
    /// JSON, but not one JSON-RPC 2.0 message as MCP allows it.
    #[error("the body is not an MCP message: {reason}")]
    NotAMessage {
        /// What is wrong.
        reason: &'static str,
        /// The message's id.
        id: Option<RequestId>,
    },
    /// A `params` member that the method needs is missing or of the wrong type.
    #[error("`params.{member}` is missing or malformed")]
    InvalidParams {
        /// The member.
        member: &'static str,
        /// The message's id.
        id: Option<RequestId>,
    },
    /// A tool, prompt, resource or task name longer than [`crate::limits::NAME_BYTES`].
    #[error("`params.{member}` is longer than {} bytes", crate::limits::NAME_BYTES)]
    NameTooLong {
        /// The member of `params` that holds it.
        member: &'static str,
        /// The message's id.
        id: Option<RequestId>,
    },
    /// A header that mirrors the body is missing, repeated, malformed, or says something else.
    #[error("the `{header}` header does not agree with the body")]
    HeaderMismatch {
        /// The header.
        header: &'static str,
        /// The message's id.
        id: Option<RequestId>,
    },
    /// A stateless request without a required member of `params._meta`.
    #[error("`params._meta` lacks `{key}`")]
    MissingMeta {
        /// The member.
        key: &'static str,
        /// The message's id.
        id: Option<RequestId>,
    },
    /// A protocol revision that is not spoken here: see [`super::MODERN_VERSIONS`] and [`super::LEGACY_VERSIONS`].
    #[error("protocol version `{requested}` is not supported")]
    UnsupportedVersion {
        /// The revision asked for.
        requested: Box<str>,
        /// The message's id.
        id: Option<RequestId>,
    },
    /// `Mcp-Session-Id` or `Last-Event-ID` repeated, too long, or not visible ASCII.
    #[error("the `{header}` header is malformed")]
    BadSession {
        /// The header.
        header: &'static str,
        /// The message's id.
        id: Option<RequestId>,
    },
    /// GET or DELETE with a stateless revision, which has neither.
    #[error("this protocol version has only POST")]
    PostOnly,
}

impl Error {
    /// Stable slug.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TwoAuthorizationHeaders => "request.two-authorization-headers",
            Self::MalformedAuthorization => "request.malformed-authorization",
            Self::AuthorizationTooLong => "request.authorization-too-long",
            Self::TokenInQuery => "request.token-in-query",
            Self::ProofMissing => "dpop.missing",
            Self::TwoProofs => "dpop.two",
            Self::MalformedProof => "dpop.malformed",
            Self::ProofTooLong => "dpop.too-long",
            Self::ContentType => "request.content-type",
            Self::ContentEncoding => "request.content-encoding",
            Self::NotJson => "request.not-json",
            Self::DuplicateKey => "request.duplicate-key",
            Self::AmbiguousKey { .. } => "request.ambiguous-key",
            Self::TooDeep => "request.too-deep",
            Self::Batch => "request.batch",
            Self::NotAMessage { .. } => "request.not-a-message",
            Self::InvalidParams { .. } => "request.invalid-params",
            Self::NameTooLong { .. } => "request.name-too-long",
            Self::HeaderMismatch { .. } => "request.header-mismatch",
            Self::MissingMeta { .. } => "request.missing-meta",
            Self::UnsupportedVersion { .. } => "request.unsupported-version",
            Self::BadSession { .. } => "request.bad-session",
            Self::PostOnly => "request.post-only",
        }
    }

    /// Whose fault: whoever sent the request, always.
    #[must_use]
    pub fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// The JSON-RPC error code and message of the answer; `None` where no message was looked at.
    ///
    /// JSON-RPC 2.0 §5.1, and for -32020 and -32022 the MCP specification of 2026-07-28.
    #[must_use]
    pub fn json_rpc(&self) -> Option<(i64, &'static str)> {
        match self {
            Self::TwoAuthorizationHeaders
            | Self::MalformedAuthorization
            | Self::AuthorizationTooLong
            | Self::TokenInQuery
            | Self::ProofMissing
            | Self::TwoProofs
            | Self::MalformedProof
            | Self::ProofTooLong
            | Self::ContentType
            | Self::ContentEncoding
            | Self::PostOnly => None,
            Self::NotJson => Some((-32700, "Parse error")),
            Self::DuplicateKey
            | Self::AmbiguousKey { .. }
            | Self::TooDeep
            | Self::Batch
            | Self::NotAMessage { .. }
            | Self::BadSession { .. } => Some((-32600, "Invalid request")),
            Self::InvalidParams { .. } | Self::NameTooLong { .. } | Self::MissingMeta { .. } => {
                Some((-32602, "Invalid params"))
            }
            Self::HeaderMismatch { .. } => Some((-32020, "Header mismatch")),
            Self::UnsupportedVersion { .. } => Some((-32022, "Unsupported protocol version")),
        }
    }

    /// The id of the message, which the answer echoes; `None` where it could not be read.
    #[must_use]
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::NotAMessage { id, .. }
            | Self::InvalidParams { id, .. }
            | Self::NameTooLong { id, .. }
            | Self::HeaderMismatch { id, .. }
            | Self::MissingMeta { id, .. }
            | Self::UnsupportedVersion { id, .. }
            | Self::BadSession { id, .. } => id.as_ref(),
            Self::TwoAuthorizationHeaders
            | Self::MalformedAuthorization
            | Self::AuthorizationTooLong
            | Self::TokenInQuery
            | Self::ProofMissing
            | Self::TwoProofs
            | Self::MalformedProof
            | Self::ProofTooLong
            | Self::ContentType
            | Self::ContentEncoding
            | Self::NotJson
            | Self::DuplicateKey
            | Self::AmbiguousKey { .. }
            | Self::TooDeep
            | Self::Batch
            | Self::PostOnly => None,
        }
    }
}
