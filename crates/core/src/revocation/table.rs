//! Every revocation that still concerns something, for quick answers.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Entry, Extent, RevocationId, Target};
use crate::audit::TokenHash;
use crate::fault::Fault;
use crate::ids::{ClientId, GrantId, Issuer, Principal, ServerName, Subject, TokenId};
use crate::time::UnixTime;

/// Most revocations that are kept at the same time. Those that clients cause have a lower bound where they are made, so that
/// nobody but the operator reaches this one.
pub const REVOCATIONS: usize = 200_000;

/// What a revocation can be about, of something verified.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'c> {
    /// The issuer that vouches.
    pub issuer: &'c Issuer,
    /// In whose name.
    pub subject: &'c Subject,
    /// Who acts.
    pub client: &'c ClientId,
    /// The name of the token, where one is shown.
    pub token: Option<&'c TokenId>,
    /// The grant that it is of, where its issuer says.
    pub grant: Option<&'c GrantId>,
    /// `iat` of the token; of a session, when it began.
    pub issued: UnixTime,
    /// The server that is called, where one is.
    pub server: Option<&'c ServerName>,
}

impl<'c> Claim<'c> {
    /// What a principal holds since then, without a token.
    #[must_use]
    pub fn of(principal: &'c Principal, issued: UnixTime, server: Option<&'c ServerName>) -> Self {
        Self {
            issuer: &principal.issuer,
            subject: &principal.subject,
            client: &principal.client,
            token: None,
            grant: None,
            issued,
            server,
        }
    }
}

/// Why something verified counts no more. Exhaustive on purpose: the one place that answers must name each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Revoked {
    /// The token itself.
    #[error("the token was revoked")]
    Token,
    /// The grant that it is of.
    #[error("the grant of the token was revoked")]
    Grant,
    /// What its user was issued up to some moment.
    #[error("what was issued for the user until then was revoked")]
    UserTokens,
    /// What its agent was issued up to some moment.
    #[error("what was issued to the agent until then was revoked")]
    AgentTokens,
    /// Its user, until that is lifted.
    #[error("the user is revoked")]
    User,
    /// Its agent, until that is lifted.
    #[error("the agent is revoked")]
    Agent,
    /// The server, until that is lifted.
    #[error("the server is revoked")]
    Server,
}

impl Revoked {
    /// Stable slug.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Token => "revoked.token",
            Self::Grant => "revoked.grant",
            Self::UserTokens => "revoked.user-tokens",
            Self::AgentTokens => "revoked.agent-tokens",
            Self::User => "revoked.user",
            Self::Agent => "revoked.agent",
            Self::Server => "revoked.server",
        }
    }

    /// Whose turn it is: the caller can get another token, or only the operator can lift the revocation.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match self {
            Self::Token | Self::Grant | Self::UserTokens | Self::AgentTokens | Self::User | Self::Agent => {
                Fault::Caller
            }
            Self::Server => Fault::Operator,
        }
    }
}

/// The revocations that still concern something. Entries may be applied in any order and more than once.
#[derive(Debug, Default)]
pub struct Table {
    issuers: HashMap<Issuer, OfIssuer>,
    servers: HashMap<ServerName, Standing>,
    /// Standing revocations that were lifted, also those that are not known yet.
    lifted: HashSet<RevocationId>,
    count: usize,
}

#[derive(Debug, Default)]
struct OfIssuer {
    tokens: HashMap<TokenHash, UnixTime>,
    grants: HashMap<GrantId, UnixTime>,
    users: HashMap<Subject, Held>,
    agents: HashMap<ClientId, Held>,
}

/// What is revoked of one user or agent.
#[derive(Debug, Default)]
struct Held {
    issued: Option<Issued>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug)]
struct Issued {
    until: UnixTime,
    expires: UnixTime,
}

#[derive(Debug, Default)]
struct Standing(BTreeSet<RevocationId>);

impl Table {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in an entry. One that is over at `now` says nothing.
    pub fn apply(&mut self, entry: &Entry, now: UnixTime) {
        if entry.is_over(now) {
            return;
        }
        match entry {
            Entry::Revoke(revocation) => {
                // What has no end of its own is kept as if it had the last one there is.
                let expires = revocation.expires.unwrap_or(UnixTime::from_millis(i64::MAX));
                self.revoke(&revocation.target, &revocation.id, expires);
            }
            Entry::Lift(lift) => {
                self.lifted.insert(lift.lifts.clone());
                for of in self.issuers.values_mut() {
                    let held = of.users.values_mut().chain(of.agents.values_mut());
                    held.for_each(|held| held.standing.lift(&lift.lifts));
                }
                self.servers.values_mut().for_each(|held| held.lift(&lift.lifts));
            }
        }
        self.recount();
    }

    fn revoke(&mut self, target: &Target, id: &RevocationId, expires: UnixTime) {
        let lifted = self.lifted.contains(id);
        if let Target::Server { server } = target {
            if !lifted {
                self.servers
                    .entry(server.clone())
                    .or_default()
                    .0
                    .insert(id.clone());
            }
            return;
        }
        let Some(issuer) = target.issuer() else { return };
        let of = self.issuers.entry(issuer.clone()).or_default();
        match target {
            Target::Token { token, .. } => later(of.tokens.entry(token.clone()).or_insert(expires), expires),
            Target::Grant { grant, .. } => later(of.grants.entry(grant.clone()).or_insert(expires), expires),
            Target::User { subject, extent, .. } => of
                .users
                .entry(subject.clone())
                .or_default()
                .take(*extent, id, expires, lifted),
            Target::Agent { client, extent, .. } => of
                .agents
                .entry(client.clone())
                .or_default()
                .take(*extent, id, expires, lifted),
            Target::Server { .. } => {}
        }
    }

    /// Whether this counts no more, and why: the widest reason first, because it says best whose turn it is.
    #[must_use]
    pub fn judge(&self, claim: &Claim<'_>) -> Option<Revoked> {
        let is_standing = |server: &ServerName| self.servers.get(server).is_some_and(Standing::is_there);
        if claim.server.is_some_and(is_standing) {
            return Some(Revoked::Server);
        }
        let of = self.issuers.get(claim.issuer)?;
        let (agent, user) = (of.agents.get(claim.client), of.users.get(claim.subject));
        let standing = |held: Option<&Held>| held.is_some_and(|held| held.standing.is_there());
        if standing(agent) {
            return Some(Revoked::Agent);
        }
        if standing(user) {
            return Some(Revoked::User);
        }
        let issued = |held: Option<&Held>| {
            held.and_then(|held| held.issued)
                .is_some_and(|issued| claim.issued <= issued.until)
        };
        if issued(agent) {
            return Some(Revoked::AgentTokens);
        }
        if issued(user) {
            return Some(Revoked::UserTokens);
        }
        if claim.grant.is_some_and(|grant| of.grants.contains_key(grant)) {
            return Some(Revoked::Grant);
        }
        let token = claim.token.filter(|_| !of.tokens.is_empty())?;
        of.tokens
            .contains_key(&TokenHash::of(token))
            .then_some(Revoked::Token)
    }

    /// Forgets what can concern nothing any more.
    pub fn forget(&mut self, now: UnixTime) {
        for of in self.issuers.values_mut() {
            of.tokens.retain(|_, expires| now < *expires);
            of.grants.retain(|_, expires| now < *expires);
            of.users.retain(|_, held| held.keep(now));
            of.agents.retain(|_, held| held.keep(now));
        }
        self.issuers.retain(|_, of| of.count() > 0);
        self.servers.retain(|_, held| held.is_there());
        self.recount();
    }

    /// How many things are revoked.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    fn recount(&mut self) {
        let of: usize = self.issuers.values().map(OfIssuer::count).sum();
        self.count = of
            .saturating_add(self.servers.len())
            .saturating_add(self.lifted.len());
    }
}

impl OfIssuer {
    fn count(&self) -> usize {
        self.tokens
            .len()
            .saturating_add(self.grants.len())
            .saturating_add(self.users.len())
            .saturating_add(self.agents.len())
    }
}

impl Held {
    fn take(&mut self, extent: Extent, id: &RevocationId, expires: UnixTime, lifted: bool) {
        match extent {
            Extent::IssuedUntil(until) => {
                let issued = self.issued.get_or_insert(Issued { until, expires });
                later(&mut issued.until, until);
                later(&mut issued.expires, expires);
            }
            Extent::UntilLifted if lifted => {}
            Extent::UntilLifted => {
                self.standing.0.insert(id.clone());
            }
        }
    }

    fn keep(&mut self, now: UnixTime) -> bool {
        self.issued = self.issued.filter(|issued| now < issued.expires);
        self.issued.is_some() || self.standing.is_there()
    }
}

impl Standing {
    fn lift(&mut self, id: &RevocationId) {
        self.0.remove(id);
    }

    fn is_there(&self) -> bool {
        !self.0.is_empty()
    }
}

fn later(kept: &mut UnixTime, other: UnixTime) {
    *kept = (*kept).max(other);
}
