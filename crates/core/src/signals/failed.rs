//! Why a SET was not taken.

use crate::fault::Fault;

/// Why a security event token was refused. Exhaustive on purpose: the one place that answers must name each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Larger than [`super::SET_BYTES`].
    #[error("the SET is too large")]
    TooLarge,
    /// No compact JWS, or its header or payload is no strict JSON object.
    #[error("the body is not a SET")]
    Malformed,
    /// `typ` is not `secevent+jwt` (RFC 8417 §2.3): something else that the transmitter signed.
    #[error("the token is not a SET: its type is not `secevent+jwt`")]
    Type,
    /// An algorithm that configuration does not accept from the transmitter; `none` never is.
    #[error("the SET is signed with an algorithm that is not accepted")]
    Algorithm,
    /// A key that the transmitter does not publish.
    #[error("the key of the SET is not among its transmitter's")]
    Key,
    /// The signature does not hold.
    #[error("the signature of the SET does not hold")]
    Signature,
    /// `iss` is not the transmitter.
    #[error("the SET is of another issuer")]
    Issuer,
    /// `aud` does not name this receiver.
    #[error("the SET is for another audience")]
    Audience,
    /// A claim is absent or malformed.
    #[error("the SET's `{0}` is missing or malformed")]
    Claim(&'static str),
    /// `iat` is in the future, or so old that nothing is left that it could concern.
    #[error("the SET was not issued within the time that is accepted")]
    Time,
}

impl Failed {
    /// Stable slug.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "signal.too-large",
            Self::Malformed => "signal.malformed",
            Self::Type => "signal.type",
            Self::Algorithm => "signal.algorithm",
            Self::Key => "signal.key-unknown",
            Self::Signature => "signal.signature",
            Self::Issuer => "signal.issuer",
            Self::Audience => "signal.audience",
            Self::Claim(_) => "signal.claim",
            Self::Time => "signal.time",
        }
    }

    /// The error code of RFC 8935 §2.4.
    #[must_use]
    pub const fn err(self) -> &'static str {
        match self {
            Self::TooLarge | Self::Malformed | Self::Type | Self::Claim(_) | Self::Time => "invalid_request",
            Self::Algorithm | Self::Key => "invalid_key",
            Self::Signature => "authentication_failed",
            Self::Issuer => "invalid_issuer",
            Self::Audience => "invalid_audience",
        }
    }

    /// Who has to act: whoever sent it.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match self {
            Self::TooLarge
            | Self::Malformed
            | Self::Type
            | Self::Algorithm
            | Self::Key
            | Self::Signature
            | Self::Issuer
            | Self::Audience
            | Self::Claim(_)
            | Self::Time => Fault::Peer,
        }
    }
}
