//! The entries of the log, as values and as JSON.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::audit::TokenHash;
use crate::ids::{ClientId, GrantId, Issuer, ServerName, Subject};
use crate::time::{Lifetime, UnixTime};

pub use crate::ids::RevocationId;

/// Longest reason, in bytes.
pub const REASON_BYTES: usize = 500;

/// One entry of the log of revocations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Entry {
    /// Something counts no more.
    Revoke(Revocation),
    /// What a standing revocation withheld counts again.
    Lift(Lift),
}

/// Something counts no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Its own name.
    pub id: RevocationId,
    /// What counts no more.
    pub target: Target,
    /// When it was revoked.
    #[serde(with = "millis")]
    pub at: UnixTime,
    /// When nothing is left that it could concern. A revocation without this lasts until it is lifted.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_or_none")]
    pub expires: Option<UnixTime>,
    /// Why, in somebody's words.
    pub reason: Reason,
    /// Who says so.
    pub by: By,
}

/// The end of a standing revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lift {
    /// Its own name.
    pub id: RevocationId,
    /// The revocation that it ends.
    pub lifts: RevocationId,
    /// When it was lifted.
    #[serde(with = "millis")]
    pub at: UnixTime,
    /// Why.
    pub reason: Reason,
}

/// What a revocation is of. Names count within their issuer, compared as strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// One token, by the hash of its `jti`, or of what its issuer signed where it has none.
    Token {
        /// Whose.
        #[serde(deserialize_with = "vouching")]
        issuer: Issuer,
        /// Which.
        token: TokenHash,
    },
    /// All tokens of one grant, by the claim that names it (`grant_id` of the embedded authority, `sid` of others).
    Grant {
        /// Whose.
        #[serde(deserialize_with = "vouching")]
        issuer: Issuer,
        /// Which.
        grant: GrantId,
    },
    /// A user: all agents that act for them.
    User {
        /// Whose.
        #[serde(deserialize_with = "vouching")]
        issuer: Issuer,
        /// `sub`.
        subject: Subject,
        /// How much.
        extent: Extent,
    },
    /// An agent: whatever it does, for whomever.
    Agent {
        /// Whose.
        #[serde(deserialize_with = "vouching")]
        issuer: Issuer,
        /// `client_id`.
        client: ClientId,
        /// How much.
        extent: Extent,
    },
    /// A guarded server: no call of it goes on until this is lifted.
    Server {
        /// The operator's name for it.
        server: ServerName,
    },
}

/// An authorization server, or the trust domain of a workload.
fn vouching<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Issuer, D::Error> {
    let text = String::deserialize(deserializer)?;
    Issuer::parse_any(&text).map_err(serde::de::Error::custom)
}

/// How much of a user's or an agent's is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Extent {
    /// What was issued up to and at this moment, by `iat`. What is issued later counts.
    IssuedUntil(#[serde(with = "millis")] UnixTime),
    /// Everything, whenever it was issued, until the revocation is lifted.
    UntilLifted,
}

/// Who revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum By {
    /// The operator, with a command.
    Operator,
    /// The embedded authority: a client ended its token (RFC 7009), or a code or refresh token came twice.
    Authority,
    /// A transmitter of security events (RFC 8417), by its name as an issuer.
    Transmitter(String),
}

impl By {
    /// As it is recorded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Operator => "operator",
            Self::Authority => "authority",
            Self::Transmitter(issuer) => issuer,
        }
    }
}

impl Entry {
    /// Its name, which no other entry has.
    #[must_use]
    pub fn id(&self) -> &RevocationId {
        match self {
            Self::Revoke(revocation) => &revocation.id,
            Self::Lift(lift) => &lift.id,
        }
    }

    /// When nothing is left that it could concern.
    #[must_use]
    pub fn expires(&self) -> Option<UnixTime> {
        match self {
            Self::Revoke(revocation) => revocation.expires,
            Self::Lift(_) => None,
        }
    }

    /// Whether nothing is left that it could concern.
    #[must_use]
    pub fn is_over(&self, now: UnixTime) -> bool {
        self.expires().is_some_and(|expires| expires <= now)
    }
}

impl Target {
    /// A revocation of this, from now on. `longest` is the longest that a token of its issuer can be accepted.
    #[must_use]
    pub fn revoked(
        self,
        id: RevocationId,
        at: UnixTime,
        longest: Lifetime,
        reason: Reason,
        by: By,
    ) -> Revocation {
        let expires = match &self {
            Self::Token { .. } | Self::Grant { .. } => Some(at.plus(longest)),
            Self::User { extent, .. } | Self::Agent { extent, .. } => match extent {
                Extent::IssuedUntil(until) => Some((*until).max(at).plus(longest)),
                Extent::UntilLifted => None,
            },
            Self::Server { .. } => None,
        };
        Revocation {
            id,
            target: self,
            at,
            expires,
            reason,
            by,
        }
    }

    /// `token`, `grant`, `user`, `agent` or `server`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Token { .. } => "token",
            Self::Grant { .. } => "grant",
            Self::User { .. } => "user",
            Self::Agent { .. } => "agent",
            Self::Server { .. } => "server",
        }
    }

    /// Whose it is; of a server there is no issuer.
    #[must_use]
    pub const fn issuer(&self) -> Option<&Issuer> {
        match self {
            Self::Token { issuer, .. }
            | Self::Grant { issuer, .. }
            | Self::User { issuer, .. }
            | Self::Agent { issuer, .. } => Some(issuer),
            Self::Server { .. } => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Token { token, .. } => token.as_str(),
            Self::Grant { grant, .. } => grant.as_str(),
            Self::User { subject, .. } => subject.as_str(),
            Self::Agent { client, .. } => client.as_str(),
            Self::Server { server } => server.as_str(),
        }
    }

    /// Whether it lasts until it is lifted.
    #[must_use]
    pub const fn is_standing(&self) -> bool {
        match self {
            Self::Token { .. } | Self::Grant { .. } => false,
            Self::User { extent, .. } | Self::Agent { extent, .. } => match extent {
                Extent::IssuedUntil(_) => false,
                Extent::UntilLifted => true,
            },
            Self::Server { .. } => true,
        }
    }

    /// How much of it, as it is recorded: `for-good`, `issued` or `until-lifted`.
    #[must_use]
    pub const fn extent(&self) -> &'static str {
        match self {
            Self::Token { .. } | Self::Grant { .. } => "for-good",
            Self::User { extent, .. } | Self::Agent { extent, .. } => match extent {
                Extent::IssuedUntil(_) => "issued",
                Extent::UntilLifted => "until-lifted",
            },
            Self::Server { .. } => "until-lifted",
        }
    }
}

/// Why something was revoked: one line.
#[derive(Clone, PartialEq, Eq)]
pub struct Reason(Box<str>);

/// A text that is no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("say why in one line of 1 to {REASON_BYTES} bytes: the reason goes on record")]
pub struct NoReason;

impl Reason {
    /// Takes one line of 1 to [`REASON_BYTES`] bytes.
    ///
    /// # Errors
    /// `NoReason`.
    pub fn parse(text: &str) -> Result<Self, NoReason> {
        let text = text.trim();
        if text.is_empty() || text.len() > REASON_BYTES || text.chars().any(char::is_control) {
            return Err(NoReason);
        }
        Ok(Self(text.into()))
    }

    /// The line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As much of the text as a reason may be; of a text that has nothing to say, that somebody revoked.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut line = String::new();
        for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if line.len().saturating_add(c.len_utf8()) > REASON_BYTES {
                break;
            }
            line.push(c);
        }
        let line = line.trim();
        Self(if line.is_empty() { "revoked" } else { line }.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({:?})", &*self.0)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

mod millis {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::time::UnixTime;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    pub(super) fn serialize<S: Serializer>(time: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.as_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixTime, D::Error> {
        i64::deserialize(deserializer).map(UnixTime::from_millis)
    }
}

mod millis_or_none {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::time::UnixTime;

    #[expect(clippy::ref_option, reason = "serde hands out references")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<UnixTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(UnixTime::as_millis).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UnixTime>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(UnixTime::from_millis))
    }
}
