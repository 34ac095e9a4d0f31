//! Refresh tokens: a family per grant, one live member, each use gives the next (RFC 9700 §4.14.2).
//!
//! An answer can be lost between us and the client, which then has the old member only. For a short time the old one
//! is therefore taken once more, as long as nobody used the new one: the new one is superseded by a fresh one, so that there
//! still is one live member. Whoever comes with a superseded or long used member ends the family.

use super::Refusal;
use super::code::Grant;
use crate::ids::{ClientId, GrantId, ScopeSet};
use crate::time::{Lifetime, UnixTime};

/// How long a used member is taken again, for an answer that was lost.
pub const GRACE: Lifetime = Lifetime::from_secs(10);

/// Where a member of a family stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The one to use.
    Live,
    /// It was used.
    Used {
        /// When first.
        at: UnixTime,
        /// Whether the member that it gave is still live.
        successor_live: bool,
    },
    /// It was given out, and replaced before it was used.
    Superseded,
}

/// A refresh token that a client shows, as it was kept.
#[derive(Clone, Debug)]
pub struct Member {
    /// The family: what its access tokens name as their grant.
    pub family: GrantId,
    /// What the family stands for.
    pub grant: Grant,
    /// Whether the family was revoked.
    pub revoked: bool,
    /// When the family ends, whatever happens.
    pub family_expires: UnixTime,
    /// When this member ends unless it is used.
    pub idle_expires: UnixTime,
    /// Where it stands.
    pub standing: Standing,
}

/// What a client shows with a refresh token.
#[derive(Debug)]
pub struct Use<'u> {
    /// The client, authenticated.
    pub client: &'u ClientId,
    /// `scope`, to have less in this access token (RFC 6749 §6).
    pub scopes: Option<&'u ScopeSet>,
    /// `resource`.
    pub resource: Option<&'u str>,
}

/// A use that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The family.
    pub family: GrantId,
    /// The grant, unchanged by narrowing.
    pub grant: Grant,
    /// The scopes of this access token.
    pub scopes: ScopeSet,
    /// Whether live siblings must be superseded, because an answer was lost.
    pub supersede: bool,
}

impl Member {
    /// Uses the member.
    ///
    /// # Errors
    /// [`Refusal::RefreshTokenReused`] when its family must be revoked; and the refusals that leave it as it is.
    pub fn rotate(self, shown: &Use<'_>, now: UnixTime) -> Result<Rotation, Refusal> {
        if self.grant.client != *shown.client {
            return Err(Refusal::RefreshToken);
        }
        if self.revoked {
            return Err(Refusal::RefreshTokenRevoked);
        }
        let supersede = match self.standing {
            Standing::Live => false,
            Standing::Used {
                at,
                successor_live: true,
            } if now < at.plus(GRACE) => true,
            Standing::Used { .. } | Standing::Superseded => return Err(Refusal::RefreshTokenReused),
        };
        if now >= self.family_expires || now >= self.idle_expires {
            return Err(Refusal::RefreshTokenExpired);
        }
        // RFC 8707 §2.2
        if shown
            .resource
            .is_some_and(|resource| resource != self.grant.resource.as_str())
        {
            return Err(Refusal::Resource);
        }
        let scopes = match shown.scopes {
            Some(scopes) if scopes.is_empty() || !scopes.is_subset(&self.grant.scopes) => {
                return Err(Refusal::Scope);
            }
            Some(scopes) => scopes.clone(),
            None => self.grant.scopes.clone(),
        };
        Ok(Rotation {
            family: self.family,
            grant: self.grant,
            scopes,
            supersede,
        })
    }
}
