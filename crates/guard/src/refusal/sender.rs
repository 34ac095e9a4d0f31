//! The answers to senders whom their token is not for: no proof, no certificate, or others.

use portcullis_core::identity::Failed;

use super::{Asked, Row};
use crate::dpop::SenderConstraint;
use crate::reason::{CertificateRefused, Reason};

impl Row {
    /// A token that held, from a sender that it is not for: `invalid_token` (RFC 9449 §7.1, RFC 8705 §3).
    pub(super) fn sender(failed: Failed, asked: &Asked<'_>) -> Self {
        let sentence = failed.to_string();
        let helps = Binding::that_helps(failed, asked.rules.constraint);
        let challenges = match helps {
            Binding::Key => asked.proof_wanted("invalid_token", &sentence),
            Binding::Certificate | Binding::Any => asked.invalid_token(&sentence),
        };
        let message = format!("{sentence}; {}", helps.advice());
        Self::ours(401, failed.code(), message).challenged(challenges)
    }

    /// What a trusted proxy says of its client that is not accepted.
    pub(super) fn certificate(refused: CertificateRefused, asked: &Asked<'_>) -> Self {
        let sentence = refused.to_string();
        match refused {
            CertificateRefused::Two | CertificateRefused::Malformed => {
                Self::ours(400, refused.code(), format!("{sentence}; tell the operator"))
            }
            CertificateRefused::Untrusted => Self::ours(
                401,
                refused.code(),
                format!("{sentence}; use one that is valid now, of an authority that is trusted here, or ask the operator"),
            )
            .challenged(asked.invalid_token(&sentence)),
        }
    }

    /// RFC 9449 §7.1. Which check failed is told: it helps whoever writes a client, and nobody without the key.
    pub(super) fn proof(reason: &Reason, asked: &Asked<'_>) -> Self {
        let sentence = reason.to_string();
        let challenges = asked.proof_wanted("invalid_dpop_proof", &sentence);
        let message = format!("{sentence}; make a new proof for each request (RFC 9449)");
        Self::ours(401, reason.code(), message).challenged(challenges)
    }
}

/// What a token would have to be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    Key,
    Certificate,
    Any,
}

impl Binding {
    /// That with which the sender of a refused token would do better.
    fn that_helps(failed: Failed, constraint: SenderConstraint) -> Self {
        let about_the_certificate = matches!(
            failed,
            Failed::CertificateMissing | Failed::OtherCertificate | Failed::OtherWorkload
        );
        match constraint {
            SenderConstraint::Mtls => Self::Certificate,
            SenderConstraint::None | SenderConstraint::Dpop | SenderConstraint::Either
                if about_the_certificate =>
            {
                Self::Certificate
            }
            SenderConstraint::Either if failed == Failed::NotConstrained => Self::Any,
            SenderConstraint::None | SenderConstraint::Dpop | SenderConstraint::Either => Self::Key,
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Key => {
                "get a token for a key of your own from the issuer that the metadata names, and send it with the scheme `DPoP` and a new proof each time"
            }
            Self::Certificate => {
                "get a token for your client certificate from the issuer that the metadata names, and send it on a connection with that certificate (RFC 8705)"
            }
            Self::Any => {
                "get a token for your client certificate (RFC 8705) or for a key of your own (RFC 9449) from the issuer that the metadata names"
            }
        }
    }
}
