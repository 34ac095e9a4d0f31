//! The issuers that configuration trusts, what each may speak for, and the way from a token to what they say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::identity::{
    Candidate, ClaimName, ClientCertificate, Failed, IssuerTrust, TokenProfile, Vouched, WorkloadToken,
    introspected, verify,
};
use portcullis_core::ids::{Issuer, ServerName, ToolName};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_core::wire::{AccessToken, Method, Target};
use portcullis_net::discovery::IssuerKeys;
use portcullis_net::introspection::Introspection;
use quick_cache::sync::Cache;

use crate::cache::{Inactive, Key, Remembered, TOKENS, TokenCache};
use crate::endpoint::Endpoint;
use crate::limits::{Attempt, Questions};
use crate::reason::Reason;
use crate::refused_tokens::RefusedTokens;
use crate::workloads::Domains;

/// One issuer: what is held true about it, its keys, and what it may speak for.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// From configuration.
    pub trust: IssuerTrust,
    /// Fetched from it.
    pub keys: Arc<IssuerKeys>,
    /// Where its tokens count.
    pub serves: Serves,
    /// How it is asked about opaque tokens, where it has such.
    pub opaque: Option<Opaque>,
    /// For how many calls each of its tokens is.
    pub calls: CallsOfToken,
}

/// For how many calls a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallsOfToken {
    /// For as many as there are before it expires.
    Many,
    /// For one (RFC 7519 §4.1.7): its name is remembered until it expires, and a second call with it is refused.
    One,
}

/// The servers that an issuer may speak for.
#[derive(Clone, Debug)]
pub enum Serves {
    /// All of them, and everything on them.
    Every,
    /// These, and on each no more than that. At any other its tokens are refused.
    Only(BTreeMap<ServerName, Part>),
}

/// What of a server an issuer may speak for.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// `aud` of its tokens for the server, where that is not the resource's identifier. No two servers of one issuer share one.
    pub audience: Option<String>,
    /// The tools that may be called with its tokens; all, where nothing is said. With tools named, nothing else that has a
    /// name on the server can be reached: no prompt, resource or task.
    pub tools: Option<BTreeSet<ToolName>>,
}

/// How an issuer is asked about tokens that only it can read (RFC 7662). At most one issuer of a server has this.
#[derive(Clone, Debug)]
pub struct Opaque {
    /// Asks it.
    pub ask: Arc<Introspection>,
    /// What its answers look like.
    pub answers: TokenProfile,
    /// How long an answer counts, at most until the token expires. What the issuer revokes lives on here for as long.
    pub kept: Lifetime,
}

impl TrustedIssuer {
    /// An issuer of JWTs, for every server.
    #[must_use]
    pub fn new(trust: IssuerTrust, keys: Arc<IssuerKeys>) -> Self {
        Self {
            trust,
            keys,
            serves: Serves::Every,
            opaque: None,
            calls: CallsOfToken::Many,
        }
    }
}

/// One issuer, with what is true of it at each server.
#[derive(Debug)]
struct Known {
    keys: Arc<IssuerKeys>,
    /// The accepted difference of clocks, where its tokens are for one call.
    one_call: Option<Lifetime>,
    opaque: Option<(Arc<Introspection>, Lifetime)>,
    /// At every server, or at those below alone.
    everywhere: Option<Trust>,
    at: HashMap<ServerName, Trust>,
}

/// What is true of an issuer at one server.
#[derive(Debug)]
struct Trust {
    signed: IssuerTrust,
    opaque: Option<IssuerTrust>,
    tools: Option<BTreeSet<ToolName>>,
}

impl Known {
    fn new(issuer: TrustedIssuer) -> Self {
        let with = |tokens: &TokenProfile, part: &Part| IssuerTrust {
            tokens: match &part.audience {
                Some(audience) => tokens.clone().with_audience(audience),
                None => tokens.clone(),
            },
            ..issuer.trust.clone()
        };
        let trust = |part: &Part| Trust {
            signed: with(&issuer.trust.tokens, part),
            opaque: issuer.opaque.as_ref().map(|opaque| with(&opaque.answers, part)),
            tools: part.tools.clone(),
        };
        let (everywhere, at) = match &issuer.serves {
            Serves::Every => (Some(trust(&Part::default())), HashMap::new()),
            Serves::Only(parts) => {
                let at = parts.iter().map(|(server, part)| (server.clone(), trust(part)));
                (None, at.collect())
            }
        };
        Self {
            everywhere,
            at,
            one_call: match issuer.calls {
                CallsOfToken::Many => None,
                CallsOfToken::One => Some(issuer.trust.skew),
            },
            keys: issuer.keys,
            opaque: issuer.opaque.map(|opaque| (opaque.ask, opaque.kept)),
        }
    }

    fn at(&self, server: &ServerName) -> Result<&Trust, Failed> {
        let there = self.everywhere.as_ref().or_else(|| self.at.get(server));
        there.ok_or(Failed::IssuerNotForServer)
    }
}

/// Verifies tokens of the trusted issuers.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// In the order of the configuration.
    names: Vec<Issuer>,
    issuers: HashMap<Issuer, Known>,
    domains: Arc<Domains>,
    cache: TokenCache,
    refused: RefusedTokens,
    inactive: Inactive,
    questions: Questions,
    /// Opaque tokens that their issuer knew, until they expire: that they are asked about again is nobody's flood.
    known: Cache<Key, UnixTime>,
}

impl Verifier {
    pub(crate) fn new(issuers: Vec<TrustedIssuer>) -> Self {
        let names = issuers.iter().map(|issuer| issuer.trust.issuer.clone()).collect();
        let issuers = issuers
            .into_iter()
            .map(|issuer| (issuer.trust.issuer.clone(), Known::new(issuer)))
            .collect();
        Self {
            names,
            issuers,
            domains: Arc::default(),
            cache: TokenCache::new(),
            refused: RefusedTokens::new(),
            inactive: Inactive::new(),
            questions: Questions::new(),
            known: Cache::new(TOKENS),
        }
    }

    /// The accepted difference of clocks of an issuer whose tokens are for one call.
    pub(crate) fn one_call(&self, issuer: &Issuer) -> Option<Lifetime> {
        self.issuers.get(issuer)?.one_call
    }

    /// The issuers whose tokens count at a server, in the order of the configuration.
    pub(crate) fn issuers_of(&self, server: &ServerName) -> Vec<Issuer> {
        let counts = |issuer: &&Issuer| {
            self.issuers
                .get(*issuer)
                .is_some_and(|known| known.at(server).is_ok())
        };
        self.names.iter().filter(counts).cloned().collect()
    }

    /// Knows these trust domains too.
    pub(crate) fn knowing(self, domains: &Arc<Domains>) -> Self {
        Self {
            domains: Arc::clone(domains),
            ..self
        }
    }

    /// The workload that a certificate names, with what it has at an endpoint; none, where it names none, or one that has nothing
    /// there.
    pub(crate) fn by_certificate(
        &self,
        certificate: &ClientCertificate,
        endpoint: &Endpoint,
        now: UnixTime,
    ) -> Option<Result<Vouched, Failed>> {
        self.domains.by_certificate(certificate, endpoint, now)
    }

    /// The tools that may be called with the word of an issuer, or of a trust domain; none, where it does not count at the
    /// server.
    fn tools(&self, issuer: &Issuer, server: &ServerName) -> Option<&Option<BTreeSet<ToolName>>> {
        match self.issuers.get(issuer) {
            Some(known) => known.at(server).ok().map(|trust| &trust.tools),
            None => self.domains.part(issuer, server).map(|part| &part.tools),
        }
    }

    /// Whether tokens of this issuer can reach what a call is aimed at. Of an issuer that speaks for some tools alone, a
    /// call that is aimed at nothing in particular goes on only where it cannot name anything else on the way.
    pub(crate) fn reaches(
        &self,
        issuer: &Issuer,
        server: &ServerName,
        (method, target): (&Method, Option<&Target>),
    ) -> bool {
        let Some(tools) = self.tools(issuer, server) else {
            return false;
        };
        match (tools, target) {
            (None, _) => true,
            (Some(tools), Some(Target::Tool(tool))) => tools.contains(tool),
            (Some(_), Some(Target::Prompt(_) | Target::Resource(_) | Target::Task(_))) => false,
            (Some(_), None) => match method {
                Method::Initialize
                | Method::Ping
                | Method::Discover
                | Method::ToolsList
                | Method::ResourcesList
                | Method::ResourcesTemplatesList
                | Method::PromptsList
                | Method::LoggingSetLevel
                | Method::Notification(_)
                | Method::Response
                | Method::OpenStream
                | Method::EndSession => true,
                // Completion names a prompt or a resource, and listening names resources, in places of their own.
                Method::Complete | Method::SubscriptionsListen => false,
                Method::ToolsCall
                | Method::ResourcesRead
                | Method::ResourcesSubscribe
                | Method::ResourcesUnsubscribe
                | Method::PromptsGet
                | Method::TasksGet
                | Method::TasksUpdate
                | Method::TasksCancel
                | Method::Other(_) => false,
            },
        }
    }

    /// The issuer comes from configuration (the token only says which one to look up), the key from that
    /// issuer. `key` is that of `token` at the endpoint's resource. What the token alone is refused for is remembered for some
    /// seconds.
    pub(crate) async fn verify(
        &self,
        key: Key,
        token: &AccessToken,
        (endpoint, peer): (&Endpoint, Option<IpAddr>),
        now: UnixTime,
    ) -> Result<Arc<Remembered>, Reason> {
        let keys_now = |token: &Vouched| match self.issuers.get(token.issuer()) {
            Some(known) => known.keys.cached(),
            None => self.domains.keys(token.issuer()),
        };
        if let Some(remembered) = self.cache.recall(&key, now, keys_now) {
            return Ok(remembered);
        }
        if let Some(failed) = self.refused.recall(&key, now) {
            return Err(failed.into());
        }
        let verified = match Candidate::parse(token) {
            Ok(candidate) if self.issuers.contains_key(candidate.issuer()) => {
                self.verify_signed(&candidate, endpoint, now).await
            }
            // A workload says by its own name whose it is.
            Ok(_) => self.verify_workload(token, endpoint, now, Failed::IssuerUnknown),
            Err(absent @ Failed::ClaimMissing(ClaimName::Iss)) => {
                self.verify_workload(token, endpoint, now, absent)
            }
            // What is no JWS is the business of the one issuer here whose tokens may be anything. A JWT never is: it says
            // whose it is, and nobody else is shown it.
            Err(Failed::NotCompact) => self.verify_opaque(key, token, (endpoint, peer), now).await,
            Err(failed) => Err(failed.into()),
        };
        match verified {
            Ok(remembered) => {
                let remembered = Arc::new(remembered);
                self.cache.remember(key, Arc::clone(&remembered));
                Ok(remembered)
            }
            Err(reason) => {
                if let Reason::Token(failed) = &reason {
                    self.refused.remember(key, *failed, now);
                }
                Err(reason)
            }
        }
    }

    /// Drops what was remembered of a token that does not count any more.
    pub(crate) fn forget(&self, key: &Key) {
        self.cache.forget(key);
    }

    async fn verify_signed(
        &self,
        candidate: &Candidate<'_>,
        endpoint: &Endpoint,
        now: UnixTime,
    ) -> Result<Remembered, Reason> {
        let issuer = self
            .issuers
            .get(candidate.issuer())
            .ok_or(Failed::IssuerUnknown)?;
        // What an issuer may not speak for, and an algorithm that is not accepted, needs no key, so it makes nobody fetch one.
        let trust = &issuer.at(endpoint.server())?.signed;
        if !trust.algorithms.contains(&candidate.algorithm()) {
            return Err(Failed::AlgorithmNotAllowed.into());
        }
        let keys = issuer.keys.for_kid(candidate.kid()).await?;
        let vouched = verify(candidate, trust, &keys, endpoint.resource(), now)?;
        Ok(Remembered::signed(vouched, keys, now))
    }

    /// Of a token that is about no workload of a domain that is known here, the answer is the other one.
    fn verify_workload(
        &self,
        token: &AccessToken,
        endpoint: &Endpoint,
        now: UnixTime,
        otherwise: Failed,
    ) -> Result<Remembered, Reason> {
        let verified = WorkloadToken::parse(token)
            .and_then(|token| self.domains.by_token(&token, endpoint, now))
            .unwrap_or(Err(otherwise));
        let (vouched, keys) = verified?;
        Ok(Remembered::signed(vouched, keys, now))
    }

    /// Without an issuer of opaque tokens, such a token is what it was before: no JWS.
    async fn verify_opaque(
        &self,
        key: Key,
        token: &AccessToken,
        (endpoint, peer): (&Endpoint, Option<IpAddr>),
        now: UnixTime,
    ) -> Result<Remembered, Reason> {
        let (trust, ask, kept) = self.introspects(endpoint.server()).ok_or(Failed::NotCompact)?;
        if let Some(failed) = self.inactive.recall(&key, now) {
            return Err(failed.into());
        }
        let known = self.known.get(&key).is_some_and(|expires| now < expires);
        let attempt = match known {
            true => Attempt::default(),
            false => self.questions.attempt(peer, now)?,
        };
        let answer = match ask.ask(token).await {
            Ok(answer) => answer,
            Err(unavailable) => {
                // Nobody knows what the token is worth.
                self.questions.held(attempt);
                return Err(unavailable.into());
            }
        };
        let until = now.plus(kept);
        match introspected(token, &answer, trust, endpoint.resource(), now) {
            Ok(vouched) => {
                self.known.insert(key, vouched.expires());
                self.questions.held(attempt);
                Ok(Remembered::answered(vouched, now, until))
            }
            Err(failed) => {
                // A garbled answer, or a time that is yet to come, says nothing about the next answer.
                let passes = matches!(
                    failed,
                    Failed::IntrospectionAnswer | Failed::NotYetValid | Failed::IssuedInFuture
                );
                if !passes {
                    self.inactive.remember(key, failed, now, until);
                }
                Err(failed.into())
            }
        }
    }

    /// The issuer of opaque tokens at a server: the one, or nobody. Of two, neither could be told from the other by a token.
    fn introspects(&self, server: &ServerName) -> Option<(&IssuerTrust, &Introspection, Lifetime)> {
        let mut asked = self.issuers.values().filter_map(|issuer| {
            let (ask, kept) = issuer.opaque.as_ref()?;
            let trust = issuer.at(server).ok()?.opaque.as_ref()?;
            Some((trust, &**ask, *kept))
        });
        let one = asked.next()?;
        asked.next().is_none().then_some(one)
    }
}
