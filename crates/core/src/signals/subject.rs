//! Whom an event is about (RFC 9493, Shared Signals Framework 1.0 §3).

use std::collections::BTreeSet;

use super::EventKind;
use super::set::{Sessions, Transmitter};
use crate::ids::{self, GrantId, Issuer};
use crate::jose::json::{Object, Value};
use crate::revocation::{Extent, Target};
use crate::time::UnixTime;

/// Most names of one subject (`aliases`).
pub const SUBJECTS: usize = 16;
/// Names within names: a complex subject of aliases.
const DEPTH: usize = 3;

/// The users and sessions that an event is about. Empty is nobody who could have a token here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    users: BTreeSet<(Issuer, ids::Subject)>,
    grants: BTreeSet<(Issuer, GrantId)>,
}

impl Subject {
    /// Reads a subject identifier. `None` for one that is malformed; one of a format that names nobody here is empty.
    pub(super) fn read(value: &Value<'_>, of: &Transmitter, kind: EventKind) -> Option<Self> {
        let mut subject = Self::default();
        // Only a session that ended is less than its user: an account or a credential is in all of the user's sessions.
        let sessions = match kind {
            EventKind::SessionRevoked => of.sessions,
            EventKind::TokenClaimsChange
            | EventKind::CredentialCreated
            | EventKind::CredentialChange
            | EventKind::AssuranceLevelChange
            | EventKind::DeviceComplianceChange
            | EventKind::AccountPurged
            | EventKind::AccountDisabled
            | EventKind::SessionsRevoked
            | EventKind::Verification
            | EventKind::StreamUpdated
            | EventKind::Other => Sessions::Unknown,
        };
        subject.take(value, of, sessions, DEPTH)?;
        Some(subject)
    }

    fn take(&mut self, value: &Value<'_>, of: &Transmitter, sessions: Sessions, depth: usize) -> Option<()> {
        let Value::Object(members) = value else {
            return None;
        };
        let depth = depth.checked_sub(1)?;
        let text = |name: &str| members.get(name).and_then(Value::as_text);
        match text("format")? {
            // RFC 9493 §3.2.4
            "iss_sub" => self.user(text("iss")?, text("sub")?, of),
            // RFC 9493 §3.2.6: within the transmitter, which has to speak for one issuer then.
            "opaque" => {
                let id = text("id")?;
                if let Some(issuer) = of.only_issuer() {
                    self.user(issuer.as_str(), id, of)
                } else {
                    Some(())
                }
            }
            // RFC 9493 §3.2.8
            "aliases" => {
                let names = members.get("identifiers")?.as_array()?;
                if names.len() > SUBJECTS {
                    return None;
                }
                names
                    .iter()
                    .try_for_each(|name| self.take(name, of, sessions, depth))
            }
            // Shared Signals Framework 1.0 §3.2
            "complex" => self.complex(members, of, sessions, depth),
            // Who has an email address or a telephone number is not said by any token.
            _ => Some(()),
        }
    }

    /// Issuers are compared as strings. One that the transmitter does not speak for is nobody here.
    fn user(&mut self, issuer: &str, subject: &str, of: &Transmitter) -> Option<()> {
        let subject = ids::Subject::parse(subject).ok()?;
        if let Some(issuer) = of.speaks_for.get(issuer) {
            self.users.insert((issuer.clone(), subject));
        }
        Some(())
    }

    /// A session is the grant of its tokens, where they name it; where they do not, it is all that its user has. A device or tenant
    /// is not in tokens, so that the user has to stand for it.
    fn complex(
        &mut self,
        members: &Object<'_>,
        of: &Transmitter,
        sessions: Sessions,
        depth: usize,
    ) -> Option<()> {
        let session = members.get("session").and_then(|session| {
            let Value::Object(session) = session else {
                return None;
            };
            session.get("id").and_then(Value::as_text)
        });
        if let (Some(session), Some(issuer), Sessions::NamedByTokens) = (session, of.only_issuer(), sessions)
        {
            self.grants
                .insert((issuer.clone(), GrantId::parse(session).ok()?));
            return Some(());
        }
        match members.get("user") {
            Some(user) => self.take(user, of, sessions, depth),
            None => Some(()),
        }
    }

    /// Whether it is nobody who could have a token here.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.users.is_empty() && self.grants.is_empty()
    }

    /// What is to be revoked when it is revoked as of then.
    pub fn targets(&self, until: UnixTime) -> impl Iterator<Item = Target> {
        let users = self.users.iter().map(move |(issuer, subject)| Target::User {
            issuer: issuer.clone(),
            subject: subject.clone(),
            extent: Extent::IssuedUntil(until),
        });
        let grants = self.grants.iter().map(|(issuer, grant)| Target::Grant {
            issuer: issuer.clone(),
            grant: grant.clone(),
        });
        users.chain(grants)
    }
}
