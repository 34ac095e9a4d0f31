//! What events there are, and what each means here.

use super::Subject;
use crate::jose::json::{Object, Value};
use crate::time::UnixTime;

/// A kind of event, by its URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// CAEP 1.0 §3.1.
    SessionRevoked,
    /// CAEP 1.0 §3.2.
    TokenClaimsChange,
    /// CAEP 1.0 §3.3, of a credential that was made.
    CredentialCreated,
    /// CAEP 1.0 §3.3, of one that was changed, revoked or removed.
    CredentialChange,
    /// CAEP 1.0 §3.4.
    AssuranceLevelChange,
    /// CAEP 1.0 §3.5.
    DeviceComplianceChange,
    /// RISC 1.0 §2.2.
    AccountPurged,
    /// RISC 1.0 §2.3.
    AccountDisabled,
    /// RISC 1.0 §2.9, which CAEP's took the place of.
    SessionsRevoked,
    /// Shared Signals Framework 1.0 §8.1.4.1: the transmitter tries whether events arrive.
    Verification,
    /// Shared Signals Framework 1.0 §8.1.5: the transmitter paused or ended the stream, or took it up again.
    StreamUpdated,
    /// One that is not known here.
    Other,
}

/// What an event does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What was issued for its subject until then is void.
    Revokes,
    /// Nothing.
    None,
}

/// One event of a SET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Whom it is about, as far as they can be anybody's whose tokens count here.
    pub subject: Subject,
    /// When it happened.
    pub at: UnixTime,
}

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

impl EventKind {
    /// By its URI and its payload.
    pub(super) fn read(uri: &str, payload: &Object<'_>) -> Self {
        if let Some(name) = uri.strip_prefix(CAEP) {
            return match name {
                "session-revoked" => Self::SessionRevoked,
                "token-claims-change" => Self::TokenClaimsChange,
                "credential-change" => {
                    // What does not say that it was made was changed.
                    match payload.get("change_type").and_then(Value::as_text) {
                        Some("create") => Self::CredentialCreated,
                        Some(_) | None => Self::CredentialChange,
                    }
                }
                "assurance-level-change" => Self::AssuranceLevelChange,
                "device-compliance-change" => Self::DeviceComplianceChange,
                _ => Self::Other,
            };
        }
        if let Some(name) = uri.strip_prefix(RISC) {
            return match name {
                "account-purged" => Self::AccountPurged,
                "account-disabled" => Self::AccountDisabled,
                "sessions-revoked" => Self::SessionsRevoked,
                _ => Self::Other,
            };
        }
        match uri.strip_prefix(SSF) {
            Some("verification") => Self::Verification,
            Some("stream-updated") => Self::StreamUpdated,
            Some(_) | None => Self::Other,
        }
    }

    /// What it does. Claims, assurance and compliance are judged anew with the next token, which says them as they are by then.
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            Self::SessionRevoked
            | Self::CredentialChange
            | Self::AccountPurged
            | Self::AccountDisabled
            | Self::SessionsRevoked => Effect::Revokes,
            Self::TokenClaimsChange
            | Self::CredentialCreated
            | Self::AssuranceLevelChange
            | Self::DeviceComplianceChange
            | Self::Verification
            | Self::StreamUpdated
            | Self::Other => Effect::None,
        }
    }

    /// Its name, for the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionRevoked => "session-revoked",
            Self::TokenClaimsChange => "token-claims-change",
            Self::CredentialCreated => "credential-created",
            Self::CredentialChange => "credential-change",
            Self::AssuranceLevelChange => "assurance-level-change",
            Self::DeviceComplianceChange => "device-compliance-change",
            Self::AccountPurged => "account-purged",
            Self::AccountDisabled => "account-disabled",
            Self::SessionsRevoked => "sessions-revoked",
            Self::Verification => "verification",
            Self::StreamUpdated => "stream-updated",
            Self::Other => "other",
        }
    }
}
