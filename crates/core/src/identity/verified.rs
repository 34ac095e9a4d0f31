//! The proof that a credential was checked.

use crate::ids::{ClientId, Issuer, ResourceUri, ScopeSet, Subject, TokenId};
use crate::jose::jwk::ClientKeys;
use crate::time::UnixTime;

/// How the token is bound to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Not bound: whoever holds it may use it.
    Bearer,
}

/// Who calls: signature, issuer, audience, time and required claims of an access token all held at one instant.
/// Made by [`super::verify`] and nowhere else.
#[derive(Debug)]
pub struct VerifiedIdentity {
    pub(super) issuer: Issuer,
    pub(super) subject: Subject,
    pub(super) client: ClientId,
    pub(super) scopes: ScopeSet,
    pub(super) audience: ResourceUri,
    pub(super) token_id: TokenId,
    pub(super) issued: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) confirmation: Confirmation,
    pub(super) client_keys: Option<ClientKeys>,
}

impl VerifiedIdentity {
    /// The issuer that vouches.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The user, or the client itself when [`Self::is_client_itself`].
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The client (agent) that acts.
    #[must_use]
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// Scopes granted, as issued.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// The resource the token was accepted for.
    #[must_use]
    pub fn audience(&self) -> &ResourceUri {
        &self.audience
    }

    /// `jti`.
    #[must_use]
    pub fn token_id(&self) -> &TokenId {
        &self.token_id
    }

    /// `iat`.
    #[must_use]
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// `exp`, without the accepted difference of clocks: a kept value is not used at or after it, the token is
    /// verified again instead.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// Sender constraint.
    #[must_use]
    pub fn confirmation(&self) -> Confirmation {
        self.confirmation
    }

    /// The client's own keys, where its issuer vouches for them (claim `client_keys`).
    #[must_use]
    pub fn client_keys(&self) -> Option<&ClientKeys> {
        self.client_keys.as_ref()
    }

    /// RFC 9068 §2.2: `sub` equals `client_id` when no resource owner is involved.
    #[must_use]
    pub fn is_client_itself(&self) -> bool {
        self.subject.as_str() == self.client.as_str()
    }
}
