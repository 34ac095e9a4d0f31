//! The way of one call, as two functions that are read from top to bottom.

mod completed;
mod identify;
mod limited;
mod unrevoked;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderValue;
use http::request::Parts;
use portcullis_core::audit::{Decision, DigestKey, Ending, Event};
use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::ids::{Issuer, ServerName, ToolName};
use portcullis_core::policy::{Denial, Effect, Permit, Policy};
use portcullis_core::random::{RandomUnavailable, SecureRandom};
use portcullis_core::wire::{self, Call, Method, RequestId, Scheme, Target};
use portcullis_net::clock::Clock;

use crate::arrival::{Arrival, Arrivals, Connection};
use crate::dpop::{SenderRules, Senders};
use crate::draft::Draft;
use crate::endpoint::Endpoint;
use crate::host::PublicHost;
use crate::limits::{Limits, Rates};
use crate::outcomes::{Outcomes, Ticket};
use crate::reason::Reason;
use crate::recorder::{Durability, Recorder, RecorderUnavailable};
use crate::refusal::{Asked, Refusal};
use crate::revocations::{Generation, Revocations};
use crate::sealing::{Open, SealedAnswer, Sealing};
use crate::tally::Tally;
use crate::trust::{TrustedIssuer, Verifier};
use crate::workloads::Domains;
use identify::Unidentified;
use limited::Floods;
pub(crate) use unrevoked::Doubt;

/// Everything a guard judges by.
pub struct Settings {
    /// Which `Host` and `Origin` requests may name.
    pub public_host: PublicHost,
    /// Whose tokens count.
    pub issuers: Vec<TrustedIssuer>,
    /// Who may call what. Swapping it takes effect with the next call.
    pub policy: Arc<ArcSwap<Policy>>,
    /// Where decisions go.
    pub recorder: Arc<dyn Recorder>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For the record of arguments.
    pub digest_key: DigestKey,
    /// What is asked of those who send tokens.
    pub senders: Senders,
    /// How much each may ask for.
    pub rates: Rates,
}

/// Judges calls. Made once, shared by all requests.
pub struct Guard {
    public_host: PublicHost,
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
    digest_key: DigestKey,
    terms: ArcSwap<Terms>,
    arrivals: Arrivals,
    outcomes: Outcomes,
    tally: Tally,
    floods: Arc<Floods>,
    revocations: Revocations,
    pub(crate) sealing: Option<Arc<Sealing>>,
    certificates: Certificates,
    domains: Arc<Domains>,
}

/// Whether client certificates come with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certificates {
    Never,
    Possible,
}

/// What a guard judges by that may be replaced while it runs: all of it at once, with the next decision.
pub struct Judging {
    /// Whose tokens count. What was held of tokens before is forgotten with it.
    pub issuers: Vec<TrustedIssuer>,
    /// Who may call what.
    pub policy: Arc<ArcSwap<Policy>>,
    /// What is asked of those who send tokens.
    pub senders: Senders,
    /// How much each may ask for. What was taken counts on where the quotas are the same.
    pub rates: Rates,
}

/// The same, at work. A decision is made by one of them from beginning to end.
struct Terms {
    verifier: Verifier,
    policy: Arc<ArcSwap<Policy>>,
    senders: Senders,
    limits: Arc<Limits>,
}

/// A call that may go on: once, and exactly as it was judged.
#[derive(Debug)]
pub struct Admitted {
    /// Owns the call; to be spent by `forward`.
    pub permit: Permit,
    /// The open half of its record.
    pub ticket: Ticket,
    /// Seals its result, where that is to be sealed.
    pub answer: Option<SealedAnswer>,
}

impl Guard {
    /// A guard, with its task for outcomes on the current runtime.
    ///
    /// # Errors
    /// [`RandomUnavailable`].
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(settings: Settings, random: &dyn SecureRandom) -> Result<Self, RandomUnavailable> {
        let arrivals = Arrivals::new(random)?;
        let outcomes = Outcomes::start(Arc::clone(&settings.recorder));
        let floods = Floods::start(Arc::clone(&settings.recorder), Arc::clone(&settings.clock));
        let terms = Terms {
            verifier: Verifier::new(settings.issuers),
            policy: settings.policy,
            senders: settings.senders,
            limits: Arc::new(Limits::new(settings.rates)),
        };
        Ok(Self {
            public_host: settings.public_host,
            recorder: settings.recorder,
            clock: settings.clock,
            digest_key: settings.digest_key,
            terms: ArcSwap::from_pointee(terms),
            arrivals,
            outcomes,
            tally: Tally::default(),
            floods,
            revocations: Revocations::new(),
            sealing: None,
            certificates: Certificates::Never,
            domains: Arc::default(),
        })
    }

    /// Judges by this from the next decision on. A request that was identified before is decided by it too: whose issuer is none any
    /// more, or may not speak for the server, is refused.
    pub fn judge_by(&self, judging: Judging) {
        let before = self.terms.load();
        let limits = if *before.limits.rates() == judging.rates {
            Arc::clone(&before.limits)
        } else {
            Arc::new(Limits::new(judging.rates))
        };
        self.terms.store(Arc::new(Terms {
            verifier: Verifier::new(judging.issuers).knowing(&self.domains),
            policy: judging.policy,
            senders: judging.senders,
            limits,
        }));
    }

    /// What is revoked here.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Whether tokens that are bound to certificates can be used (RFC 9728 §2).
    pub(crate) fn sees_certificates(&self) -> bool {
        self.certificates == Certificates::Possible
    }

    /// What seals fields here, if anything does.
    #[must_use]
    pub fn sealing(&self) -> Option<&Arc<Sealing>> {
        self.sealing.as_ref()
    }

    /// Names a request that came in.
    #[must_use]
    pub fn arrival(&self, from: impl Into<Connection>) -> Arrival {
        // Where nothing is known now, everything is judged again later.
        let known = self.revocations.generation().unwrap_or(Generation::NONE);
        self.arrivals.next(from.into(), known)
    }

    /// The first half, on the head alone: is it for us, what does it present, and whom does that prove?
    ///
    /// # Errors
    /// The refusal to send, which is on record.
    pub async fn authenticate(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        head: &Parts,
    ) -> Result<Arc<VerifiedIdentity>, Refusal> {
        match self.identify(endpoint, arrival, head).await {
            Ok(who) => {
                let within = self.terms.load().limits.caller(&who, self.clock.now());
                match within {
                    Ok(()) => Ok(who),
                    Err(limited) => Err(self.refuse(endpoint, arrival, Some(&who), limited.into()).await),
                }
            }
            Err(Unidentified { reason, token }) => {
                let scheme = Scheme::used(&head.headers);
                let draft = Draft::new(arrival, endpoint).unidentified(scheme, token.as_ref());
                Err(self.record_refusal(endpoint, arrival, draft, reason).await)
            }
        }
    }

    /// The nonce for the next proof, which every answer of a server that needs nonces has in `DPoP-Nonce` (RFC 9449 §8.2).
    /// Refusals have it already.
    #[must_use]
    pub fn dpop_nonce(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        let now = self.clock.now();
        self.terms.load().senders.nonce(endpoint.server(), now)
    }

    /// A refusal for want of a nonce has one whatever the rules are.
    fn nonce_with(&self, endpoint: &Endpoint, reason: &Reason) -> Option<HeaderValue> {
        if *reason == Reason::NonceNeeded {
            let now = self.clock.now();
            Some(self.terms.load().senders.nonce_key.nonce(now))
        } else {
            self.dpop_nonce(endpoint)
        }
    }

    /// What a server asks of those who send it tokens.
    #[must_use]
    pub fn sender_rules(&self, server: &ServerName) -> SenderRules {
        self.terms.load().senders.rules(server)
    }

    /// The second half: what is called, may they, and is that on record? A call that may change something is
    /// on disk before the permit is handed out.
    ///
    /// # Errors
    /// The refusal to send, which is on record.
    pub async fn admit(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        who: &VerifiedIdentity,
        head: &Parts,
        body: Bytes,
    ) -> Result<Admitted, Refusal> {
        let mut draft = Draft::new(arrival, endpoint).by(who);
        let (permit, answer) = match self.judge((endpoint, arrival), who, head, body, &mut draft).await {
            Ok(judged) => judged,
            Err(reason) => return Err(self.record_refusal(endpoint, arrival, draft, reason).await),
        };
        let durability = match permit.effect() {
            Effect::Read => Durability::Queued,
            Effect::Write | Effect::Irreversible => Durability::Synced,
        };
        let id = draft.id.clone();
        let recorded = async {
            // Before the decision is on record: once it is, its outcome has to follow.
            let place = self.outcomes.place().await?;
            let seq = self.record(draft.allowed(&permit), durability).await?;
            Ok((place, seq))
        };
        match recorded.await {
            Ok((place, seq)) => {
                self.tally.allowed();
                let ticket = Ticket::open(self.outcomes.clone(), place, arrival.name(), seq);
                Ok(Admitted {
                    permit,
                    ticket,
                    answer,
                })
            }
            Err(error) => Err(self.unrecorded(endpoint, arrival, id.as_ref(), error)),
        }
    }

    /// What is judged is the call as it will be sent: in clear.
    async fn judge(
        &self,
        (endpoint, arrival): (&Endpoint, &Arrival),
        who: &VerifiedIdentity,
        head: &Parts,
        body: Bytes,
        draft: &mut Draft,
    ) -> Result<(Permit, Option<SealedAnswer>), Reason> {
        let call = parse(head, body)?;
        draft.calls(&call);
        self.still_unrevoked(endpoint, arrival, who)?;
        if self.hides(endpoint, who, &call) {
            return Err(self.hidden(endpoint, who, call, draft));
        }
        let Open { call, answer } = self.open(endpoint, who, head, call).await?;
        draft.argues(&call, &self.digest_key);
        let permit = self.decide(endpoint, who, call, draft)?;
        if let Some(Target::Tool(tool)) = permit.call().target() {
            let now = self.clock.now();
            self.terms.load().limits.tool(endpoint.server(), tool, now)?;
        }
        Ok((permit, answer))
    }

    /// Whether the call is of a tool that its caller does not see in lists, so that nothing of its sealed fields may be said.
    fn hides(&self, endpoint: &Endpoint, who: &VerifiedIdentity, call: &Call) -> bool {
        let sealing = self.sealing.as_ref();
        let (true, Some(Target::Tool(tool))) = (
            sealing.is_some_and(|sealing| sealing.is_for(endpoint.server())),
            call.target(),
        ) else {
            return false;
        };
        !self.may_list(who, endpoint.server(), tool)
    }

    /// Whether a tool is in the lists that a caller gets: some call of it could be allowed, by the policy and with a token of this
    /// issuer.
    pub(crate) fn may_list(&self, who: &VerifiedIdentity, server: &ServerName, tool: &ToolName) -> bool {
        let (target, terms) = (Target::Tool(tool.clone()), self.terms.load());
        let called = (&Method::ToolsCall, Some(&target));
        terms.verifier.reaches(who.issuer(), server, called)
            && terms.policy.load().may_list(who, server, tool)
    }

    /// The issuers whose tokens count at a server, in the order of the configuration.
    pub(crate) fn issuers_of(&self, server: &ServerName) -> Vec<Issuer> {
        self.terms.load().verifier.issuers_of(server)
    }

    /// What such a call is told without sealed fields. It is not opened: what is not listed is refused with any arguments.
    fn hidden(&self, endpoint: &Endpoint, who: &VerifiedIdentity, call: Call, draft: &mut Draft) -> Reason {
        draft.argues(&call, &self.digest_key);
        match self.decide(endpoint, who, call, draft) {
            Err(reason) => reason,
            // The policy was changed in between. The call was judged as it came, so it cannot go on.
            Ok(_) => Denial::Forbidden { rules: Vec::new() }.into(),
        }
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        who: &VerifiedIdentity,
        head: &Parts,
        call: Call,
    ) -> Result<Open, Reason> {
        match &self.sealing {
            Some(sealing) => sealing.open(endpoint, who, &head.headers, call).await,
            None => Ok(Open { call, answer: None }),
        }
    }

    fn decide(
        &self,
        endpoint: &Endpoint,
        who: &VerifiedIdentity,
        call: Call,
        draft: &mut Draft,
    ) -> Result<Permit, Reason> {
        endpoint.sessions().check(&call, who, self.clock.now())?;
        let terms = self.terms.load();
        let policy = terms.policy.load();
        if let Some(needs) = policy.needs(endpoint.server(), call.method(), call.target()) {
            draft.needs(&needs);
        }
        let called = (call.method(), call.target());
        if !terms.verifier.reaches(who.issuer(), endpoint.server(), called) {
            return Err(Reason::IssuerNotForTarget);
        }
        Ok(policy.decide(who, endpoint.server(), call)?)
    }

    /// What an authenticated caller asks of sealed sessions at this endpoint: with a POST to agree on one, which gives
    /// the answer to send, and with a DELETE to end all that it has. On record either way.
    ///
    /// # Errors
    /// The refusal to send, which is on record.
    pub async fn seal_session(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        who: &VerifiedIdentity,
        head: &Parts,
        body: &[u8],
    ) -> Result<Option<String>, Refusal> {
        let mut draft = Draft::new(arrival, endpoint).by(who);
        draft.asks(if head.method == http::Method::DELETE {
            "seal/end"
        } else {
            "seal/session"
        });
        let answer = match self.agree(endpoint, who, head, body).await {
            Ok(answer) => answer,
            Err(reason) => return Err(self.record_refusal(endpoint, arrival, draft, reason).await),
        };
        let recorded = async {
            let place = self.outcomes.place().await?;
            let seq = self.record(draft.agreed(), Durability::Queued).await?;
            Ok((place, seq))
        };
        match recorded.await {
            Ok((place, seq)) => {
                self.tally.allowed();
                Ticket::open(self.outcomes.clone(), place, arrival.name(), seq).close(Ending::Completed);
                Ok(answer)
            }
            Err(error) => Err(self.unrecorded(endpoint, arrival, None, error)),
        }
    }

    async fn agree(
        &self,
        endpoint: &Endpoint,
        who: &VerifiedIdentity,
        head: &Parts,
        body: &[u8],
    ) -> Result<Option<String>, Reason> {
        let sealing = self
            .sealing
            .as_ref()
            .filter(|sealing| sealing.is_for(endpoint.server()));
        let sealing = sealing.ok_or(Reason::NotFound)?;
        match head.method {
            http::Method::POST => Ok(Some(sealing.agree(endpoint, who, body).await?)),
            http::Method::DELETE => {
                let ended = sealing.end_sessions(who);
                tracing::debug!(ended, server = %endpoint.server(), "sealed sessions ended");
                Ok(None)
            }
            _ => Err(Reason::MethodNotAllowed { allow: SEAL_METHODS }),
        }
    }

    /// Refuses for a reason that was found outside, such as a body that is too large. `who` is the caller,
    /// where known.
    pub async fn refuse(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        who: Option<&VerifiedIdentity>,
        reason: Reason,
    ) -> Refusal {
        let draft = Draft::new(arrival, endpoint);
        let draft = match who {
            Some(who) => draft.by(who),
            None => draft,
        };
        self.record_refusal(endpoint, arrival, draft, reason).await
    }

    /// The answer for a call that was admitted and came to nothing. Its record is the ticket's.
    #[must_use]
    pub fn answer(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        id: Option<&RequestId>,
        reason: &Reason,
    ) -> Refusal {
        self.refusal(endpoint, arrival, (None, None), id, reason)
    }

    /// The policy of this moment.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.terms.load().policy.load_full()
    }

    /// The time that the guard goes by.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// How often each decision was made.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Waits until what was counted, and the outcome of every ticket closed before now, is with the recorder. For a graceful stop,
    /// after the last connection is gone.
    pub async fn drained(&self) {
        self.floods.record_all().await;
        self.outcomes.drained().await;
    }

    /// Puts on record what was counted for long enough, as is done from time to time.
    #[cfg(test)]
    pub(crate) async fn record_floods(&self) {
        self.floods.record_due().await;
    }

    async fn record_refusal(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        draft: Draft,
        reason: Reason,
    ) -> Refusal {
        let of = (draft.era, draft.scheme);
        let refusal = self.refusal(endpoint, arrival, of, draft.id.as_ref(), &reason);
        if self.floods.counts(&reason) {
            self.tally.refused(reason.code());
            return refusal;
        }
        let id = draft.id.clone();
        let decision = draft.refused(&reason, refusal.status().as_u16());
        tracing::debug!(request = arrival.request(), server = %endpoint.server(), reason = reason.code(), "refused: {reason}");
        match self.record(decision, Durability::Queued).await {
            Ok(_) => {
                self.tally.refused(reason.code());
                refusal
            }
            Err(error) => self.unrecorded(endpoint, arrival, id.as_ref(), error),
        }
    }

    async fn record(&self, decision: Decision, durability: Durability) -> Result<u64, RecorderUnavailable> {
        self.recorder.record(Event::from(decision), durability).await
    }

    /// What is not on record does not happen, not even a refusal: its answer would be one that nobody can
    /// show later.
    fn unrecorded(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        id: Option<&RequestId>,
        error: RecorderUnavailable,
    ) -> Refusal {
        tracing::error!(request = arrival.request(), server = %endpoint.server(), %error, "call refused");
        let reason = Reason::RecorderUnavailable(error);
        self.tally.refused(reason.code());
        self.refusal(endpoint, arrival, (None, None), id, &reason)
    }

    fn refusal(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        (era, scheme): (Option<wire::Era>, Option<Scheme>),
        id: Option<&RequestId>,
        reason: &Reason,
    ) -> Refusal {
        let basic = || self.policy().basic_scopes(endpoint.server());
        let asked = Asked {
            request: arrival.request(),
            metadata_url: endpoint.metadata_url(),
            basic: &basic,
            era,
            id,
            scheme,
            rules: self.sender_rules(endpoint.server()),
            nonce: self.nonce_with(endpoint, reason),
        };
        Refusal::of(reason, &asked)
    }
}

/// What the address of sealed sessions answers to.
pub const SEAL_METHODS: &str = "POST, DELETE";

fn parse(head: &Parts, body: Bytes) -> Result<Call, Reason> {
    match head.method {
        http::Method::GET => Ok(Call::open_stream(&head.headers)?),
        http::Method::DELETE => Ok(Call::end_session(&head.headers)?),
        http::Method::POST => Ok(Call::parse(&head.headers, body)?),
        _ => Err(Reason::MethodNotAllowed {
            allow: ENDPOINT_METHODS,
        }),
    }
}

/// What an MCP endpoint answers to. Whether GET and DELETE mean anything to the server behind it is that
/// server's to say.
pub const ENDPOINT_METHODS: &str = "GET, POST, DELETE";

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("public_host", &self.public_host)
            .finish_non_exhaustive()
    }
}
