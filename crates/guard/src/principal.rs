//! Who owns a session.

use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::ids::{ClientId, Issuer, Subject};

/// Who a session, or an upstream process, belongs to: not the token, which changes at each refresh, but whom
/// it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The issuer that vouches.
    pub issuer: Issuer,
    /// The user, unique within the issuer.
    pub subject: Subject,
    /// The agent that acts for them: two agents of one user do not share sessions.
    pub client: ClientId,
}

impl Principal {
    /// Of a verified identity.
    #[must_use]
    pub fn of(who: &VerifiedIdentity) -> Self {
        Self {
            issuer: who.issuer().clone(),
            subject: who.subject().clone(),
            client: who.client().clone(),
        }
    }

    /// Whether the identity is this principal's.
    pub(crate) fn is(&self, who: &VerifiedIdentity) -> bool {
        self.issuer == *who.issuer() && self.subject == *who.subject() && self.client == *who.client()
    }
}
