//! Why a credential was not believed.

use crate::fault::Fault;
use crate::jose::jws;

/// A claim of an RFC 9068 access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is the claim of its name, or that which configuration reads as it: RFC 9068 §2.2, RFC 7519 §4.1 and RFC 7800 §3.1, `client_keys` ours"
)]
pub enum ClaimName {
    Iss,
    Aud,
    Exp,
    Nbf,
    Iat,
    Sub,
    ClientId,
    Jti,
    Scope,
    ClientKeys,
    Cnf,
    Groups,
    Roles,
    Tenant,
    GrantId,
}

impl ClaimName {
    /// The claim as tokens spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Iss => "iss",
            Self::Aud => "aud",
            Self::Exp => "exp",
            Self::Nbf => "nbf",
            Self::Iat => "iat",
            Self::Sub => "sub",
            Self::ClientId => "client_id",
            Self::Jti => "jti",
            Self::Scope => "scope",
            Self::ClientKeys => "client_keys",
            Self::Cnf => "cnf",
            Self::Groups => "groups",
            Self::Roles => "roles",
            Self::Tenant => "tenant",
            Self::GrantId => "grant_id",
        }
    }
}

impl std::fmt::Display for ClaimName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an access token was refused. Exhaustive on purpose: the one place that answers must name each.
///
/// The detail is for the record; a caller is told "invalid token" and at most whether it expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Not a compact JWS (RFC 9068 §2, RFC 7515 §3.1).
    #[error("the token is not a compact JWS")]
    NotCompact,
    /// The header is not a strict JSON object, or `alg`, `kid` or `typ` is not a string.
    #[error("the token's header is malformed")]
    Header,
    /// The header has a parameter that no access token may bring, such as a key of its own.
    #[error("the token's header parameter `{0}` is refused")]
    HeaderRefused(&'static str),
    /// The payload is not a strict JSON object (RFC 7519 §7.2).
    #[error("the token's payload is malformed")]
    Payload,
    /// `alg` is absent, or none that this verifier implements; `none` and HMAC are never among them.
    #[error("the token's algorithm is not supported")]
    AlgorithmUnsupported,
    /// `alg` is not one that configuration accepts from this issuer (RFC 9068 §4).
    #[error("the token's algorithm is not accepted from its issuer")]
    AlgorithmNotAllowed,
    /// No configured issuer has the name in `iss`.
    #[error("the token's issuer is not trusted here")]
    IssuerUnknown,
    /// The issuer may not speak for this server: configuration says for which it may.
    #[error("the token's issuer may not speak for this server")]
    IssuerNotForServer,
    /// The issuer says that the token is not active (RFC 7662 §2.2).
    #[error("the token is not active")]
    Inactive,
    /// The issuer was asked about the token, and its answer is none (RFC 7662 §2.2).
    #[error("the issuer's answer about the token is malformed")]
    IntrospectionAnswer,
    /// The issuer publishes no such key, or one of another algorithm.
    #[error("the token's key is not among its issuer's keys")]
    KeyUnknown,
    /// The signature does not hold.
    #[error("the token's signature does not hold")]
    Signature,
    /// `typ` is not `at+jwt` (RFC 9068 §4), or not what the issuer's profile has: an ID token or something else signed by the
    /// same issuer.
    #[error("the token is not an access token")]
    NotAnAccessToken,
    /// `iss` is not the issuer whose keys were used (RFC 9068 §4), compared as a string.
    #[error("the token is of another issuer")]
    OtherIssuer,
    /// `aud` is not this resource (RFC 9068 §4), compared as a string.
    #[error("the token is for another resource")]
    OtherAudience,
    /// `aud` names more than this resource: whoever else receives the token could use it here (RFC 9700 §2.3).
    #[error("the token is for more than one resource")]
    ManyAudiences,
    /// A required claim is absent (RFC 9068 §2.2).
    #[error("the token has no `{0}`")]
    ClaimMissing(ClaimName),
    /// A claim has the wrong JSON type or a value that is none of its kind. Not the same as absent.
    #[error("the token's `{0}` is malformed")]
    ClaimMalformed(ClaimName),
    /// `exp` has passed (RFC 7519 §4.1.4).
    #[error("the token expired")]
    Expired,
    /// `nbf` has not come (RFC 7519 §4.1.5).
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` is in the future: one of the clocks is wrong.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// `exp` is not after `iat`, or further from it than configuration accepts.
    #[error("the token's lifetime is not acceptable")]
    Lifetime,
    /// `cnf` binds the token to a key, and it was sent as a bearer token (RFC 9449 §7.2).
    #[error("the token is bound to a key and was sent without proof of it")]
    SenderConstrained,
    /// The proof is by another key than the token is bound to (RFC 9449 §4.3, check 12), or for another token.
    #[error("the token is bound to another key than that of the proof")]
    OtherKey,
    /// Sent with a proof, and bound to no key that it could prove (RFC 9449 §7.1).
    #[error("the token is not bound to a key and was sent with proof of one")]
    NotBound,
    /// Bound to a certificate (RFC 8705 §3), and the connection has none.
    #[error("the token is bound to a certificate, and the connection has none")]
    CertificateMissing,
    /// Bound to another certificate than that of the connection (RFC 8705 §3).
    #[error("the token is bound to another certificate than that of the connection")]
    OtherCertificate,
    /// A JWT-SVID of one workload on the connection of another.
    #[error("the token is another workload's than the connection's certificate")]
    OtherWorkload,
    /// Bound in a way that we do not know (RFC 7800 §3.1), and so cannot check.
    #[error("the token's `cnf` has a member that is not supported")]
    ConfirmationUnknown,
    /// A bearer token, where the server takes none.
    #[error("the server takes no token that is not bound to its sender")]
    NotConstrained,
}

impl Failed {
    /// Stable slug, such as `token.expired`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotCompact => "token.not-compact",
            Self::Header => "token.header",
            Self::HeaderRefused(_) => "token.header-refused",
            Self::Payload => "token.payload",
            Self::AlgorithmUnsupported => "token.algorithm-unsupported",
            Self::AlgorithmNotAllowed => "token.algorithm-not-allowed",
            Self::IssuerUnknown => "token.issuer-unknown",
            Self::IssuerNotForServer => "token.issuer-not-for-server",
            Self::Inactive => "token.inactive",
            Self::IntrospectionAnswer => "token.introspection-answer",
            Self::KeyUnknown => "token.key-unknown",
            Self::Signature => "token.signature",
            Self::NotAnAccessToken => "token.type",
            Self::OtherIssuer => "token.issuer",
            Self::OtherAudience => "token.audience",
            Self::ManyAudiences => "token.audiences",
            Self::ClaimMissing(_) => "token.claim-missing",
            Self::ClaimMalformed(_) => "token.claim-malformed",
            Self::Expired => "token.expired",
            Self::NotYetValid => "token.not-yet-valid",
            Self::IssuedInFuture => "token.issued-in-future",
            Self::Lifetime => "token.lifetime",
            Self::SenderConstrained => "token.sender-constrained",
            Self::OtherKey => "token.other-key",
            Self::NotBound => "token.not-bound",
            Self::CertificateMissing => "token.certificate-missing",
            Self::OtherCertificate => "token.other-certificate",
            Self::OtherWorkload => "token.other-workload",
            Self::ConfirmationUnknown => "token.confirmation-unknown",
            Self::NotConstrained => "token.not-constrained",
        }
    }

    /// Whose fault. What an unsigned token can cause is its sender's; what only the issuer can have written is the
    /// issuer's; what configuration decides against is a matter between the two and the caller picked the token.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotCompact
            | Self::Header
            | Self::HeaderRefused(_)
            | Self::Payload
            | Self::AlgorithmUnsupported
            | Self::AlgorithmNotAllowed
            | Self::IssuerUnknown
            | Self::IssuerNotForServer
            | Self::Inactive
            | Self::KeyUnknown
            | Self::Signature
            | Self::NotAnAccessToken
            | Self::OtherIssuer
            | Self::OtherAudience
            | Self::ManyAudiences
            | Self::Expired
            | Self::NotYetValid
            | Self::SenderConstrained
            | Self::OtherKey
            | Self::NotBound
            | Self::CertificateMissing
            | Self::OtherCertificate
            | Self::OtherWorkload
            | Self::NotConstrained => Fault::Caller,
            Self::IntrospectionAnswer
            | Self::ClaimMissing(_)
            | Self::ClaimMalformed(_)
            | Self::IssuedInFuture
            | Self::Lifetime
            | Self::ConfirmationUnknown => Fault::Peer,
        }
    }
}

impl From<jws::Error> for Failed {
    fn from(error: jws::Error) -> Self {
        match error {
            // A token that came in a header is never so large.
            jws::Error::NotCompact | jws::Error::TooLarge => Self::NotCompact,
            jws::Error::Header => Self::Header,
            jws::Error::Algorithm => Self::AlgorithmUnsupported,
            jws::Error::Refused(name) => Self::HeaderRefused(name),
            jws::Error::OtherAlgorithm => Self::KeyUnknown,
            jws::Error::Signature => Self::Signature,
        }
    }
}
