//! The authorization code (RFC 6749 §4.1.2, §4.1.3): one use, one client, one redirect URI, one verifier, one resource.

use super::Refusal;
use crate::ids::{ClientId, ResourceUri, ScopeSet, Subject};
use crate::oauth::pkce::{Challenge, Verifier};
use crate::time::UnixTime;

/// What a user granted a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To whom.
    pub client: ClientId,
    /// By whom.
    pub user: Subject,
    /// At which resource.
    pub resource: ResourceUri,
    /// For what.
    pub scopes: ScopeSet,
    /// Whether the client may keep it with a refresh token.
    pub refreshable: bool,
}

/// What a code stands for.
#[derive(Clone, Debug)]
pub struct Code {
    /// The grant.
    pub grant: Grant,
    /// The redirect URI that it was sent to.
    pub redirect: String,
    /// The challenge that its redeemer must answer.
    pub challenge: Challenge,
    /// When it ends.
    pub expires: UnixTime,
    /// Whether it was redeemed.
    pub used: bool,
}

/// What a client shows with a code.
#[derive(Debug)]
pub struct Redemption<'r> {
    /// The client, authenticated.
    pub client: &'r ClientId,
    /// `redirect_uri`. OAuth 2.1 clients leave it out; PKCE then does its work alone.
    pub redirect: Option<&'r str>,
    /// `code_verifier`.
    pub verifier: &'r Verifier,
    /// `resource` (RFC 8707 §2.2).
    pub resource: Option<&'r str>,
}

impl Code {
    /// Redeems the code.
    ///
    /// # Errors
    /// [`Refusal::CodeReplayed`] only to the code's own client, whose grant then is to be revoked: another client must
    /// not be able to end it. [`Refusal::Code`], [`Refusal::CodeExpired`], [`Refusal::Resource`].
    pub fn redeem(self, shown: &Redemption<'_>, now: UnixTime) -> Result<Grant, Refusal> {
        if self.grant.client != *shown.client {
            return Err(Refusal::Code);
        }
        // RFC 6749 §4.1.2
        if self.used {
            return Err(Refusal::CodeReplayed);
        }
        if now >= self.expires {
            return Err(Refusal::CodeExpired);
        }
        // RFC 6749 §4.1.3
        if shown.redirect.is_some_and(|redirect| redirect != self.redirect) {
            return Err(Refusal::Code);
        }
        // RFC 7636 §4.6
        if !self.challenge.matches(shown.verifier) {
            return Err(Refusal::Code);
        }
        // RFC 8707 §2.2
        if shown
            .resource
            .is_some_and(|resource| resource != self.grant.resource.as_str())
        {
            return Err(Refusal::Resource);
        }
        Ok(self.grant)
    }
}
