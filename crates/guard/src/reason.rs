//! Everything that can stop a call, in one list.

use portcullis_core::fault::Fault;
use portcullis_core::identity::{Failed, dpop};
use portcullis_core::policy::Denial;
use portcullis_core::revocation::Revoked;
use portcullis_core::wire;
use portcullis_net::discovery::KeysUnavailable;
use portcullis_net::introspection::IntrospectionUnavailable;

use crate::limits::Limited;
use crate::recorder::RecorderUnavailable;
use crate::replay::ReplayUnavailable;
use crate::revocations::RevocationsUnreadable;
use crate::sealing::SealRefused;

/// Why a call does not happen, or why nothing came of it. Exhaustive on purpose: the one place that answers
/// must name each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nothing is served at the path.
    #[error("nothing is served at this path")]
    NotFound,
    /// The path is served, with other methods.
    #[error("the method is not allowed at this path")]
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// `Host` is missing, repeated, or names no host.
    #[error("the `Host` is missing, repeated or malformed")]
    HostMalformed,
    /// `Host` is not ours.
    #[error("the `Host` is not one of this server's")]
    HostRefused,
    /// `Origin` is not one that may send requests.
    #[error("the `Origin` may not send requests to this server")]
    OriginRefused,
    /// The request says nothing, or two things.
    #[error(transparent)]
    Request(#[from] wire::Error),
    /// No credential.
    #[error("the request has no access token")]
    NoCredential,
    /// No credential but the certificate of a workload that has nothing at this server.
    #[error(
        "the request has no access token, and the workload that its certificate names has no grant at this server"
    )]
    WorkloadNotGranted,
    /// What is said to be a client certificate is not accepted.
    #[error(transparent)]
    Certificate(#[from] CertificateRefused),
    /// A credential that was not believed.
    #[error(transparent)]
    Token(#[from] Failed),
    /// A token that was good, or whose owner was, and was revoked.
    #[error(transparent)]
    Revoked(#[from] Revoked),
    /// Whether something is revoked cannot be found out.
    #[error(transparent)]
    RevocationsUnreadable(#[from] RevocationsUnreadable),
    /// A proof that does not hold.
    #[error(transparent)]
    Proof(#[from] dpop::Failed),
    /// A proof without a nonce of ours, or with one that is too old.
    #[error("the proof has no nonce of this server, or an old one")]
    NonceNeeded,
    /// A proof that was used before.
    #[error("the proof was used before")]
    ProofReplayed,
    /// A token for one call that was used before, or may have been before it could be remembered.
    #[error("the token is for one call, and was used, or may have been")]
    TokenReplayed,
    /// Whether a proof was used before cannot be found out.
    #[error(transparent)]
    ReplayUnavailable(#[from] ReplayUnavailable),
    /// Whether an opaque token is good cannot be found out.
    #[error(transparent)]
    IntrospectionUnavailable(#[from] IntrospectionUnavailable),
    /// The issuer of the token may speak for the server, and not for what is called on it.
    #[error("the token's issuer may not speak for what is called")]
    IssuerNotForTarget,
    /// The issuer's keys cannot be had.
    #[error(transparent)]
    KeysUnavailable(#[from] KeysUnavailable),
    /// The body is larger than the limit.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body did not come in time.
    #[error("the body did not come in time")]
    BodyTooSlow,
    /// The body broke off.
    #[error("the body broke off")]
    BodyBroken,
    /// The principal has as many streams open at the server as it may.
    #[error("the caller has {limit} streams open at this server, the most there may be")]
    TooManyStreams {
        /// The limit.
        limit: usize,
    },
    /// The server has as many streams open as it may.
    #[error("{limit} streams are open at this server, the most there may be")]
    StreamsFull {
        /// The limit.
        limit: usize,
    },
    /// A quota is used up.
    #[error("more requests than `{}` allows", .0.whose.name())]
    Limited(Box<Limited>),
    /// A GET or DELETE without `Mcp-Session-Id` at a server that has sessions.
    #[error("the request names no session")]
    SessionNeeded,
    /// No such session, or not the caller's.
    #[error("there is no such session")]
    SessionUnknown,
    /// Fields that are sealed wrongly, or not at all.
    #[error(transparent)]
    Sealing(SealRefused),
    /// The policy says no.
    #[error("the policy does not allow the call")]
    Denied(Denial),
    /// The record cannot be made.
    #[error(transparent)]
    RecorderUnavailable(#[from] RecorderUnavailable),
    /// The server behind us did not answer usefully. Never a reason of a decision: it comes after one.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Why what comes as a client certificate is not accepted. In a handshake of ours that is an alert; this is of those that a
/// trusted proxy hands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// The proxy's header is there twice, or names two certificates: one of them came through it.
    #[error("the proxy's header has two client certificates")]
    Two,
    /// The proxy's header is not in the form that configuration says.
    #[error("the proxy's header with the client certificate cannot be read")]
    Malformed,
    /// Nobody vouches for it, or not now.
    #[error("the client certificate is not accepted here")]
    Untrusted,
}

impl CertificateRefused {
    /// Stable slug.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Two => "certificate.two",
            Self::Malformed => "certificate.malformed",
            Self::Untrusted => "certificate.untrusted",
        }
    }

    /// Whose fault: the proxy is the operator's.
    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Self::Two | Self::Malformed => Fault::Operator,
            Self::Untrusted => Fault::Caller,
        }
    }
}

/// Why a forwarded call has no useful answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No connection, or no process.
    #[error("the server could not be reached: {detail}")]
    Unreachable {
        /// What was tried and what came of it, for the log.
        detail: String,
    },
    /// No answer in time.
    #[error("the server did not answer in time")]
    TimedOut,
    /// It has as much to do as we let it have.
    #[error("the server is busy")]
    Busy,
    /// It does not accept our own credential: for the operator to mend, and nothing that a caller's token
    /// could.
    #[error("the server does not accept the gateway's credential (status {status})")]
    RefusesUs {
        /// Its status.
        status: u16,
    },
    /// Its answer may hold in clear what is sealed, and belongs to no call of which that is known.
    #[error("the server's answer belongs to no call that is known, and may hold what is sealed")]
    Withheld,
    /// Its answer is none that may be passed on.
    #[error("the server's answer cannot be passed on: {detail}")]
    BadAnswer {
        /// What is wrong with it.
        detail: &'static str,
    },
}

impl Reason {
    /// Stable slug, for the record.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "http.not-found",
            Self::MethodNotAllowed { .. } => "http.method-not-allowed",
            Self::HostMalformed => "http.host-malformed",
            Self::HostRefused => "http.host-refused",
            Self::OriginRefused => "http.origin-refused",
            Self::Request(error) => error.code(),
            Self::NoCredential => "token.missing",
            Self::WorkloadNotGranted => "token.workload-not-granted",
            Self::Certificate(refused) => refused.code(),
            Self::Token(failed) => failed.code(),
            Self::Revoked(revoked) => revoked.code(),
            Self::RevocationsUnreadable(error) => error.code(),
            Self::Proof(failed) => failed.code(),
            Self::NonceNeeded => "dpop.nonce",
            Self::ProofReplayed => "dpop.replayed",
            Self::TokenReplayed => "token.replayed",
            Self::ReplayUnavailable(error) => error.code(),
            Self::IntrospectionUnavailable(error) => error.code(),
            Self::IssuerNotForTarget => "policy.issuer-not-for-target",
            Self::KeysUnavailable(_) => "issuer.keys-unavailable",
            Self::BodyTooLarge { .. } => "http.body-too-large",
            Self::BodyTooSlow => "http.body-too-slow",
            Self::BodyBroken => "http.body-broken",
            Self::TooManyStreams { .. } => "http.too-many-streams",
            Self::StreamsFull { .. } => "http.streams-full",
            Self::Limited(limited) => limited.whose.code(),
            Self::SessionNeeded => "session.needed",
            Self::SessionUnknown => "session.unknown",
            Self::Sealing(refused) => refused.problem.code(),
            Self::Denied(denial) => denial.code(),
            Self::RecorderUnavailable(_) => "audit.unavailable",
            Self::Upstream(error) => error.code(),
        }
    }

    /// Whose fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotFound
            | Self::MethodNotAllowed { .. }
            | Self::HostMalformed
            | Self::HostRefused
            | Self::OriginRefused
            | Self::NoCredential
            | Self::WorkloadNotGranted
            | Self::NonceNeeded
            | Self::ProofReplayed
            | Self::TokenReplayed
            | Self::IssuerNotForTarget
            | Self::BodyTooLarge { .. }
            | Self::BodyTooSlow
            | Self::BodyBroken
            | Self::TooManyStreams { .. }
            | Self::Limited(_)
            | Self::SessionNeeded
            | Self::SessionUnknown => Fault::Caller,
            Self::Request(error) => error.fault(),
            Self::Token(failed) => failed.fault(),
            Self::Revoked(revoked) => revoked.fault(),
            Self::RevocationsUnreadable(error) => error.fault(),
            Self::Certificate(refused) => refused.fault(),
            Self::Proof(failed) => failed.fault(),
            Self::ReplayUnavailable(error) => error.fault(),
            Self::IntrospectionUnavailable(error) => error.fault(),
            Self::KeysUnavailable(_) => Fault::Peer,
            Self::Sealing(refused) => refused.problem.fault(),
            Self::Denied(denial) => denial.fault(),
            Self::StreamsFull { .. } | Self::RecorderUnavailable(_) => Fault::Operator,
            Self::Upstream(error) => error.fault(),
        }
    }
}

impl UpstreamError {
    /// Stable slug.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "upstream.unreachable",
            Self::TimedOut => "upstream.timed-out",
            Self::Busy => "upstream.busy",
            Self::RefusesUs { .. } => "upstream.refuses-us",
            Self::Withheld => "upstream.withheld",
            Self::BadAnswer { .. } => "upstream.bad-answer",
        }
    }

    /// Whose fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut
            | Self::Busy
            | Self::Withheld
            | Self::BadAnswer { .. } => Fault::Peer,
            Self::RefusesUs { .. } => Fault::Operator,
        }
    }
}

impl From<Limited> for Reason {
    fn from(limited: Limited) -> Self {
        Self::Limited(Box::new(limited))
    }
}

impl From<Denial> for Reason {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}
