//! How much each may ask for.
//!
//! Takes: who sent what, and the time. Gives: nothing, or [`Limited`]. May use: `core`. Never: looks at the clock, waits, makes a
//! record.
//!
//! An address is asked before the signature of a token is checked, a client and a user once they are known, a tool once the call
//! is permitted and before it is recorded as that. What an address has is used up by what is refused alone: a credential that
//! holds is given back. A token that held before has a quota of its own at each address, so that whoever floods from the address
//! of others (a proxy's, an office's) does not use up theirs.

mod counted;
mod rate;
mod table;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::ids::{ClientId, Issuer, ServerName, Subject, ToolName};
use portcullis_core::time::{Lifetime, UnixTime};
use quick_cache::sync::Cache;

use crate::cache::{Key, TOKENS};
use table::{Table, Taken};

pub(crate) use counted::{Counted, Noted};
pub use rate::{InvalidRate, RATE_COUNT, Rate};

/// Opaque tokens from one address about which an issuer is asked in vain: a fifth of what it is asked at all
/// ([`portcullis_net::introspection::PER_SECOND`]).
pub(crate) const UNKNOWN_TOKENS: &str = "10/s";

/// The quotas of a guard. `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests of one address, or of one /64 with IPv6, whose credential is missing or does not hold.
    pub per_address: Option<Rate>,
    /// Requests of one client of one issuer in the name of one subject: clients are shared, and nobody stops the others.
    pub per_client: Option<Rate>,
    /// Requests of all clients of one user together.
    pub per_user: Option<Rate>,
    /// Permitted calls of one tool of one server, of all callers together.
    pub per_tool: Option<Rate>,
    /// The same, for tools that differ.
    pub tools: HashMap<(ServerName, ToolName), Option<Rate>>,
}

impl Rates {
    /// For those who are known: more than an agent asks for, and less than a flood. Whoever can tell addresses apart adds
    /// `per_address`.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            per_client: Rate::parse("6000/min").ok(),
            per_user: Rate::parse("12000/min").ok(),
            ..Self::default()
        }
    }
}

/// More than a quota has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Whose quota is used up.
    pub(crate) whose: Whose,
    /// The quota.
    pub(crate) rate: Rate,
    /// When there is some of it again: at least a second.
    pub(crate) wait: Lifetime,
}

/// Whose quota it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// The address, or the /64. `None` where the listener does not say, and for all of those together.
    Address(Option<IpAddr>),
    /// An address, or a /64, from which opaque tokens come that nobody knows.
    Asking(IpAddr),
    /// A client of an issuer.
    Client(Issuer, ClientId),
    /// A user of an issuer.
    User(Issuer, Subject),
    /// A tool.
    Tool(ServerName, ToolName),
}

impl Whose {
    /// The name of the quota, in `RateLimit-Policy` and in the configuration.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Address(_) => "per_address",
            Self::Asking(_) => "unknown_tokens",
            Self::Client(..) => "per_client",
            Self::User(..) => "per_user",
            Self::Tool(..) => "per_tool",
        }
    }

    /// Stable slug, for the record.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "limits.address",
            Self::Asking(_) => "limits.unknown-tokens",
            Self::Client(..) => "limits.client",
            Self::User(..) => "limits.user",
            Self::Tool(..) => "limits.tool",
        }
    }
}

/// What counts as one sender's: an IPv4 address, or the /64 of an IPv6 address, since whoever has one usually has all of it
/// (RFC 6177).
#[must_use]
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(peer) => {
            let [a, b, c, d, ..] = peer.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        peer @ IpAddr::V4(_) => peer,
    }
}

/// A network as records have it.
pub(crate) fn network_text(network: IpAddr) -> String {
    match network {
        IpAddr::V4(_) => network.to_string(),
        IpAddr::V6(_) => format!("{network}/64"),
    }
}

/// The quotas, and what is left of them.
#[derive(Debug)]
pub(crate) struct Limits {
    rates: Rates,
    addresses: Table,
    clients: Table,
    users: Table,
    tools: Table,
    /// Tokens that held, until they expire. The least used make room.
    held: Cache<Key, UnixTime>,
}

/// A credential that is about to be looked at, and counts until it holds.
#[derive(Debug, Default)]
pub(crate) struct Attempt(Option<Taken>);

/// The questions to issuers about opaque tokens that the callers at each address caused and that were in vain. An issuer is asked
/// so much and no more: whoever sends tokens that nobody knows uses up what one address has, and not what all have.
#[derive(Debug)]
pub(crate) struct Questions {
    table: Table,
    rate: Option<Rate>,
}

impl Questions {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(),
            rate: Rate::parse(UNKNOWN_TOKENS).ok(),
        }
    }

    /// Before an issuer is asked. Where the listener does not say who calls, nobody can be told from others.
    pub(crate) fn attempt(&self, peer: Option<IpAddr>, now: UnixTime) -> Result<Attempt, Limited> {
        let (Some(network), Some(rate)) = (peer.map(network), self.rate) else {
            return Ok(Attempt(None));
        };
        match self.table.take(&network, rate, now) {
            Ok(taken) => Ok(Attempt(Some(taken))),
            Err(wait) => Err(Limited {
                whose: Whose::Asking(network),
                rate,
                wait,
            }),
        }
    }

    /// It was not in vain.
    pub(crate) fn held(&self, attempt: Attempt) {
        if let Some(taken) = attempt.0 {
            self.table.give_back(&taken);
        }
    }
}

impl Limits {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates,
            addresses: Table::new(),
            clients: Table::new(),
            users: Table::new(),
            tools: Table::new(),
            held: Cache::new(TOKENS),
        }
    }

    pub(crate) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Before anything is looked at that costs more than reading it.
    pub(crate) fn attempt(
        &self,
        peer: Option<IpAddr>,
        token: Option<&Key>,
        now: UnixTime,
    ) -> Result<Attempt, Limited> {
        let Some(rate) = self.rates.per_address else {
            return Ok(Attempt(None));
        };
        let network = peer.map(network);
        let known = token.filter(|token| self.held.get(*token).is_some_and(|expires| now < expires));
        match self.addresses.take(&(network, known), rate, now) {
            Ok(taken) => Ok(Attempt(Some(taken))),
            Err(wait) => Err(Limited {
                whose: Whose::Address(network),
                rate,
                wait,
            }),
        }
    }

    /// The token is good until then, whatever is wrong with its sender.
    pub(crate) fn token_held(&self, token: Key, expires: UnixTime) {
        if self.rates.per_address.is_some() && self.held.get(&token).is_none() {
            self.held.insert(token, expires);
        }
    }

    /// The credential held.
    pub(crate) fn held(&self, attempt: Attempt) {
        if let Some(taken) = attempt.0 {
            self.addresses.give_back(&taken);
        }
    }

    /// One request of this caller.
    pub(crate) fn caller(&self, who: &VerifiedIdentity, now: UnixTime) -> Result<(), Limited> {
        let client = match self.rates.per_client {
            None => None,
            Some(rate) => {
                let taken = self
                    .clients
                    .take(&(who.issuer(), who.client(), who.subject()), rate, now);
                Some(taken.map_err(|wait| Limited {
                    whose: Whose::Client(who.issuer().clone(), who.client().clone()),
                    rate,
                    wait,
                })?)
            }
        };
        let Some(rate) = self.rates.per_user.filter(|_| !who.is_client_itself()) else {
            return Ok(());
        };
        match self.users.take(&(who.issuer(), who.subject()), rate, now) {
            Ok(_) => Ok(()),
            Err(wait) => {
                // What does not happen is not counted twice over.
                if let Some(client) = client {
                    self.clients.give_back(&client);
                }
                Err(Limited {
                    whose: Whose::User(who.issuer().clone(), who.subject().clone()),
                    rate,
                    wait,
                })
            }
        }
    }

    /// One permitted call of a tool.
    pub(crate) fn tool(&self, server: &ServerName, tool: &ToolName, now: UnixTime) -> Result<(), Limited> {
        let tools = &self.rates.tools;
        // Without such tools, names are not copied to ask for one.
        let own = (!tools.is_empty()).then(|| tools.get(&(server.clone(), tool.clone())));
        let Some(rate) = own.flatten().copied().unwrap_or(self.rates.per_tool) else {
            return Ok(());
        };
        match self.tools.take(&(server, tool), rate, now) {
            Ok(_) => Ok(()),
            Err(wait) => Err(Limited {
                whose: Whose::Tool(server.clone(), tool.clone()),
                rate,
                wait,
            }),
        }
    }
}
