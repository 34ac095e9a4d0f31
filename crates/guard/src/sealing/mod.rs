//! Sealed fields: opened before a call is judged, sealed again before its result is handed on.
//!
//! Takes: a parsed call and who makes it. Gives: the call with its fields in clear and without a word of the extension,
//! and what seals its result. May use: `portcullis_core::seal` for every check, keys through [`SealingKeys`]. Never: takes a
//! client's key because it was sent (its issuer vouches for it), lets anything out in clear that configuration seals.

mod agreed;
mod answer;
mod once;
mod opening;
mod refused;
mod shown;
mod weight;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::ids::{Issuer, KeyId, Principal, ServerName, ToolName};
use portcullis_core::jose::jwe::PayloadOpener;
use portcullis_core::jose::jws::TokenSigner;
use portcullis_core::random::SecureRandom;
use portcullis_core::seal::session::{Answer, Answering, Cipher, Curve, SESSION_LIFETIME, respond};
use portcullis_core::seal::{self, Clear, Moment, Parties, Pointers, SenderKeys};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::Clock;
use portcullis_net::offload;
use serde_json::{Value, json};

#[cfg(test)]
pub(crate) use agreed::SEALED_SESSIONS_PER_PRINCIPAL;
pub use answer::SealedAnswer;
pub(crate) use opening::Open;
pub use refused::{SealProblem, SealRefused};

use crate::endpoint::Endpoint;
use crate::reason::Reason;
use crate::replay::ReplayLog;
use agreed::Agreed;
use once::{Noted, Unspent};
use shown::ShownKeys;

/// Accepted difference between an agent's clock and ours.
const SKEW: Lifetime = Lifetime::from_secs(30);
/// How often sessions whose time is over are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// What is sealed of one tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolSeal {
    /// Of its arguments.
    pub arguments: Pointers,
    /// Of its result.
    pub result: Pointers,
    /// What a client without the extension gets.
    pub clear: Clear,
}

/// The gateway's own keys, as far as sealing needs them. Calls may block: they are made off the I/O threads.
pub trait SealingKeys: Send + Sync {
    /// Signs with the primary key of this moment.
    fn signer(&self) -> Arc<dyn TokenSigner>;

    /// Opens with the key of this name, whichever state it is in, as long as it opens at all.
    fn opener(&self, kid: &KeyId) -> Option<Arc<dyn PayloadOpener>>;
}

/// What sealing works with.
pub struct SealingSettings {
    /// The public URL: `iss` of what is sealed here.
    pub gateway: Issuer,
    /// Where the gateway's keys are.
    pub jwks_uri: String,
    /// What is sealed.
    pub tools: Vec<(ServerName, ToolName, ToolSeal)>,
    /// Ciphers of sessions, the preferred one first.
    pub ciphers: Vec<Cipher>,
    /// How long a session lasts: a day at most.
    pub session_lifetime: Lifetime,
    /// The keys.
    pub keys: Arc<dyn SealingKeys>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn SecureRandom>,
    /// Remembers the fields and offers that were used. Replicas share one.
    pub replays: Arc<dyn ReplayLog>,
}

/// Opens and seals. Made once, shared by all requests.
pub struct Sealing {
    gateway: Issuer,
    jwks_uri: String,
    tools: HashMap<ServerName, HashMap<ToolName, Arc<ToolSeal>>>,
    ciphers: Vec<Cipher>,
    session_lifetime: Lifetime,
    keys: Arc<dyn SealingKeys>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn SecureRandom>,
    agreed: Agreed,
    replays: Arc<dyn ReplayLog>,
}

impl Sealing {
    /// With a task that ends sessions whose time is over, on the current runtime.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn new(settings: SealingSettings) -> Arc<Self> {
        let mut tools: HashMap<ServerName, HashMap<ToolName, Arc<ToolSeal>>> = HashMap::new();
        for (server, tool, seal) in settings.tools {
            tools.entry(server).or_default().insert(tool, Arc::new(seal));
        }
        let sealing = Arc::new(Self {
            gateway: settings.gateway,
            jwks_uri: settings.jwks_uri,
            tools,
            ciphers: settings.ciphers,
            session_lifetime: settings.session_lifetime.min(SESSION_LIFETIME),
            keys: settings.keys,
            clock: settings.clock,
            random: settings.random,
            agreed: Agreed::default(),
            replays: settings.replays,
        });
        let swept = Arc::downgrade(&sealing);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(sealing) = swept.upgrade() else { return };
                sealing.agreed.sweep(sealing.clock.now());
            }
        });
        sealing
    }

    /// Whether this server has tools with sealed fields.
    #[must_use]
    pub fn is_for(&self, server: &ServerName) -> bool {
        self.tools.contains_key(server)
    }

    /// What the server's capabilities say of the extension.
    #[must_use]
    pub fn capability(&self, server: &ServerName) -> Value {
        json!({ "version": 1, "jwks_uri": self.jwks_uri, "issuer": self.gateway, "server": server })
    }

    /// What a tool's `_meta` says of the extension.
    #[must_use]
    pub fn describe(&self, server: &ServerName, tool: &ToolName) -> Option<Value> {
        let seal = self.tool(server, tool)?;
        Some(self.told(server, Some(seal)))
    }

    fn tool(&self, server: &ServerName, tool: &ToolName) -> Option<&Arc<ToolSeal>> {
        self.tools.get(server)?.get(tool)
    }

    fn told(&self, server: &ServerName, seal: Option<&Arc<ToolSeal>>) -> Value {
        let mut told = self.capability(server);
        if let (Some(seal), Some(told)) = (seal, told.as_object_mut()) {
            let texts =
                |pointers: &Pointers| pointers.iter().map(|pointer| json!(pointer.as_str())).collect();
            told.insert("arguments".to_owned(), texts(&seal.arguments));
            told.insert("result".to_owned(), texts(&seal.result));
            let clear = match seal.clear {
                Clear::Refuse => "refuse",
                Clear::Allow => "allow",
            };
            told.insert("clear".to_owned(), clear.into());
        }
        told
    }

    fn parties(&self, endpoint: &Endpoint, who: &VerifiedIdentity) -> Parties {
        Parties {
            principal: who.principal().clone(),
            gateway: self.gateway.clone(),
            resource: endpoint.resource().clone(),
            server: endpoint.server().clone(),
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.clock.now(),
            skew: SKEW,
        }
    }

    fn refused(&self, endpoint: &Endpoint, seal: Option<&Arc<ToolSeal>>, problem: SealProblem) -> Reason {
        // That a store is away has nothing to do with sealing.
        if let SealProblem::Unremembered(unavailable) = problem {
            return unavailable.into();
        }
        Reason::Sealing(SealRefused {
            problem,
            told: Arc::new(self.told(endpoint.server(), seal)),
        })
    }

    /// Agrees on a session with an agent: its offer, and its keys, as `{"offer": jws, "keys": [jwk, jwk]}`. Gives the
    /// answer to send.
    pub(crate) async fn agree(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        who: &VerifiedIdentity,
        body: &[u8],
    ) -> Result<String, Reason> {
        let refused = |problem| self.refused(endpoint, None, problem);
        let said: Value =
            seal::canonical::read(body).map_err(|error| refused(seal::Error::from(error).into()))?;
        let (Some(offer), Some(keys)) = (said.get("offer").and_then(Value::as_str), said.get("keys")) else {
            return Err(refused(SealProblem::Said));
        };
        let keys = ShownKeys::of(keys, who).map_err(refused)?;
        let (sealing, offer, parties) = (Arc::clone(self), offer.to_owned(), self.parties(endpoint, who));
        let work = move || sealing.respond(&offer, &parties, keys);
        let (answer, unspent) = offload::run(work)
            .await
            .map_err(|_| refused(SealProblem::Lost))?
            .map_err(refused)?;
        self.spend(unspent, who.principal()).await.map_err(refused)?;
        self.agreed
            .keep(
                who.principal().clone(),
                endpoint.server().clone(),
                answer.session,
                self.clock.now(),
            )
            .map_err(refused)?;
        Ok(answer.text)
    }

    fn respond(
        &self,
        offer: &str,
        parties: &Parties,
        keys: ShownKeys,
    ) -> Result<(Answer, Unspent), SealProblem> {
        let (agent, noted, moment) = (keys.read()?, Noted::default(), self.moment());
        let answering = Answering {
            ciphers: self.ciphers.clone(),
            curves: vec![Curve::X25519, Curve::P256],
            ends: moment.now.plus(self.session_lifetime),
        };
        let answer = respond(
            offer,
            parties,
            SenderKeys::One(&agent.signature),
            &answering,
            &*self.keys.signer(),
            &noted,
            moment,
            &*self.random,
        )?;
        Ok((answer, noted.unspent()))
    }

    /// Ends all sessions of a caller, and says how many there were.
    pub(crate) fn end_sessions(&self, who: &VerifiedIdentity) -> usize {
        self.agreed.end(who)
    }

    /// Ends the sessions of whom this is true, by the principal, the server and since when the principal has it.
    pub(crate) fn end_sessions_where(&self, over: impl Fn(&Principal, &ServerName, UnixTime) -> bool) {
        self.agreed.end_where(over);
    }

    fn now(&self) -> UnixTime {
        self.clock.now()
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing")
            .field("gateway", &self.gateway)
            .field("tools", &self.tools)
            .finish_non_exhaustive()
    }
}
