//! From what the author of a server knows to a guard.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::uri::Scheme as UriScheme;
use http::{HeaderValue, Uri};
use portcullis_core::audit::DigestKey;
use portcullis_core::fault::Fault;
use portcullis_core::identity::dpop;
use portcullis_core::ids::{ResourceUri, ServerName};
use portcullis_core::limits;
use portcullis_core::oauth::metadata::PROTECTED_RESOURCE;
use portcullis_core::policy::Effect;
use portcullis_core::random::SecureRandom as _;
use portcullis_net::clock::{self, Clock};
use portcullis_net::random;
use tokio_util::sync::CancellationToken;

use super::{AuthorizationServer, GuardLayer, Guarded, ToolRules};
use crate::dpop::{ProofNonce, SenderConstraint, SenderRules, Senders};
use crate::endpoint::Endpoint;
use crate::exchange::catalogue::Catalogue;
use crate::exchange::{Bounds, Exchange};
use crate::host::PublicHost;
use crate::limits::Rates;
use crate::nonce::NonceKey;
use crate::pipeline::{Guard, Settings};
use crate::recorder::Recorder;
use crate::replay::{LOCAL_IDS, LocalReplayLog, ReplayLog};
use crate::revocations::Revocations;
use crate::sessions::Sessions;
use crate::trust::TrustedIssuer;

/// Longest wait for a whole request body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// A stream of which nothing was heard for longer is ended. Servers keep theirs alive with comments, every few
/// seconds to minutes.
const STREAM_SILENCE: Duration = Duration::from_secs(15 * 60);
/// Between two looks at some of the 256 parts of the memory of used proofs.
const FORGETTING: Duration = Duration::from_millis(250);
/// How many of them.
const PARTS: usize = 8;

/// What is wrong with what a guard was to be built of: all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidGuard {
    pub(super) problems: Vec<String>,
}

impl InvalidGuard {
    /// Each problem, in words.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Stable slug.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "guard.invalid"
    }

    /// Whose fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::Operator
    }
}

impl fmt::Display for InvalidGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guard cannot be built: {}", self.problems.join("; "))
    }
}

impl std::error::Error for InvalidGuard {}

/// A guard to be. What it cannot do without was given at the beginning; the rest has safe values.
#[must_use = "a guard that is not built guards nothing"]
pub struct GuardBuilder {
    server: String,
    url: String,
    issuers: Vec<AuthorizationServer>,
    recorder: Arc<dyn Recorder>,
    rules: ToolRules,
    origins: Vec<String>,
    senders: SenderRules,
    replays: Option<Arc<dyn ReplayLog>>,
    nonce_key: Option<NonceKey>,
    digest_key: Option<DigestKey>,
    body_bytes: usize,
    stream_silence: Duration,
    rates: Rates,
    revocations: Revocations,
}

impl GuardBuilder {
    pub(super) fn new(
        server: &str,
        url: &str,
        issuer: AuthorizationServer,
        recorder: Arc<dyn Recorder>,
    ) -> Self {
        Self {
            server: server.to_owned(),
            url: url.to_owned(),
            issuers: vec![issuer],
            recorder,
            rules: ToolRules::new(),
            origins: Vec::new(),
            senders: SenderRules {
                constraint: SenderConstraint::None,
                nonce: ProofNonce::Off,
            },
            replays: None,
            nonce_key: None,
            digest_key: None,
            body_bytes: limits::BODY_BYTES,
            stream_silence: STREAM_SILENCE,
            rates: Rates::usual(),
            revocations: Revocations::new(),
        }
    }

    /// Takes tokens of this issuer too.
    pub fn also_trusting(mut self, issuer: AuthorizationServer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// What callers may do: nothing without the scope for what is irreversible, unless it is said. It can be
    /// [replaced](GuardLayer::replace_rules) later.
    pub fn rules(mut self, rules: ToolRules) -> Self {
        self.rules = rules;
        self
    }

    /// [`ToolRules::tool`]
    pub fn tool(mut self, name: &str, effect: Effect) -> Self {
        self.rules = self.rules.tool(name, effect);
        self
    }

    /// [`ToolRules::tool_with_scopes`]
    pub fn tool_with_scopes(mut self, name: &str, effect: Effect, scopes: &str) -> Self {
        self.rules = self.rules.tool_with_scopes(name, effect, scopes);
        self
    }

    /// [`ToolRules::unlisted_tools`]
    pub fn unlisted_tools(mut self, effect: Effect) -> Self {
        self.rules = self.rules.unlisted_tools(effect);
        self
    }

    /// [`ToolRules::implies`]
    pub fn implies(mut self, scope: &str, implied: &str) -> Self {
        self.rules = self.rules.implies(scope, implied);
        self
    }

    /// [`ToolRules::cedar`]
    pub fn cedar(mut self, name: &str, rules: &str) -> Self {
        self.rules = self.rules.cedar(name, rules);
        self
    }

    /// [`ToolRules::cedar_file`]
    pub fn cedar_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.rules = self.rules.cedar_file(file);
        self
    }

    /// Pages of this origin (`https://app.example`) may send requests, besides those of the server's own.
    pub fn origin(mut self, origin: &str) -> Self {
        self.origins.push(origin.to_owned());
        self
    }

    /// What is asked of those who send tokens. Unless it is said: a token that is bound to a key needs its proof (RFC 9449), and one that
    /// is not bound is taken too.
    pub fn senders(mut self, rules: SenderRules) -> Self {
        self.senders = rules;
        self
    }

    /// Where used proofs are remembered, and the key of nonces: for a server with replicas, which share both. Alone, it has its own in memory.
    pub fn replicated(mut self, replays: Arc<dyn ReplayLog>, nonce_key: NonceKey) -> Self {
        (self.replays, self.nonce_key) = (Some(replays), Some(nonce_key));
        self
    }

    /// How much each may ask for: as [`Rates::usual`] has it, unless it is said. Whoever gives requests a [`super::Peer`] can add
    /// `per_address`: without one, all addresses are one.
    pub fn rates(mut self, rates: Rates) -> Self {
        self.rates = rates;
        self
    }

    /// What is revoked, fed by whoever keeps the other handle: none, unless it is said. Takes effect with the next request, and ends streams.
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = revocations;
        self
    }

    /// Under which arguments are digested for the record. Without it, equal arguments are told from different ones until the next start.
    pub fn digest_key(mut self, key: DigestKey) -> Self {
        self.digest_key = Some(key);
        self
    }

    /// Largest request body: 4 MiB, unless it is said.
    pub fn body_bytes(mut self, body_bytes: usize) -> Self {
        self.body_bytes = body_bytes;
        self
    }

    /// A stream of which nothing was heard for this long is ended: 15 minutes, unless it is said.
    pub fn stream_silence(mut self, stream_silence: Duration) -> Self {
        self.stream_silence = stream_silence;
        self
    }

    /// The guard, with its tasks on the current runtime.
    ///
    /// # Errors
    /// [`InvalidGuard`], with everything that is wrong.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn build(mut self) -> Result<GuardLayer, InvalidGuard> {
        let clock: Arc<dyn Clock> = Arc::new(clock::System);
        let mut problems = Vec::new();
        let address = kept(Address::parse(&self.url), &mut problems);
        let issuers = self.trusted(&clock, &mut problems);
        let server = kept(
            ServerName::parse(&self.server).map_err(|error| format!("`{}`: {error}", self.server)),
            &mut problems,
        );
        let policy = server
            .as_ref()
            .and_then(|server| self.rules.policy(server, &mut problems));
        let secrets = kept(self.secrets(), &mut problems);
        let (Some(address), Some(server), Some(policy), Some((digest_key, nonce_key)), true) =
            (address, server, policy, secrets, problems.is_empty())
        else {
            return Err(InvalidGuard { problems });
        };
        let invalid = |error: &dyn fmt::Display| InvalidGuard {
            problems: vec![error.to_string()],
        };
        let public_host = PublicHost::of(&address.origin, self.origins).map_err(|error| invalid(&error))?;
        let stop = CancellationToken::new();
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let settings = Settings {
            public_host,
            issuers,
            policy: Arc::clone(&policy),
            recorder: self.recorder,
            digest_key,
            senders: Senders {
                usual: self.senders,
                servers: HashMap::new(),
                window: dpop::WINDOW,
                nonce_key,
                replays: self.replays.unwrap_or_else(|| remembering(&clock)),
            },
            clock,
            rates: self.rates,
        };
        let guard = Guard::new(settings, &random::System)
            .map_err(|error| invalid(&error))?
            .with_revocations(self.revocations);
        let metadata_path = format!("{PROTECTED_RESOURCE}{}", address.path.path());
        let endpoint = Endpoint::new(
            server,
            address.resource,
            format!("{}{metadata_path}", address.origin),
            Arc::new(Sessions::new()),
        );
        let bounds = Bounds {
            body_bytes: self.body_bytes,
            body_time: BODY_TIME,
            stream_silence: self.stream_silence,
            stop: stop.clone(),
        };
        let catalogue = Arc::new(Catalogue::new());
        Ok(GuardLayer(Arc::new(Guarded {
            exchange: Exchange::new(Arc::new(guard), endpoint, catalogue, bounds),
            path: address.path,
            metadata_path,
            host: address.host,
            policy,
            stop,
        })))
    }

    fn trusted(&self, clock: &Arc<dyn Clock>, problems: &mut Vec<String>) -> Vec<TrustedIssuer> {
        let mut trusted: Vec<TrustedIssuer> = Vec::new();
        for issuer in &self.issuers {
            let Some(issuer) = kept(issuer.trusted(clock), problems) else {
                continue;
            };
            let name = &issuer.trust.issuer;
            if trusted.iter().any(|other| other.trust.issuer == *name) {
                problems.push(format!("issuer `{name}` is given twice"));
            }
            trusted.push(issuer);
        }
        trusted
    }

    /// The key of digests, and that of nonces.
    fn secrets(&mut self) -> Result<(DigestKey, NonceKey), String> {
        let none = |error: &dyn fmt::Display| error.to_string();
        let digest_key = match self.digest_key.take() {
            Some(key) => key,
            None => {
                let mut bytes = [0; 32];
                random::System.fill(&mut bytes).map_err(|error| none(&error))?;
                DigestKey::new(bytes)
            }
        };
        let nonce_key = match self.nonce_key.take() {
            Some(key) => key,
            None => NonceKey::random(&random::System).map_err(|error| none(&error))?,
        };
        Ok((digest_key, nonce_key))
    }
}

impl fmt::Debug for GuardBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardBuilder")
            .field("server", &self.server)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The public URL of an MCP endpoint, in its parts.
struct Address {
    resource: ResourceUri,
    /// Scheme, host and port.
    origin: String,
    path: Uri,
    host: HeaderValue,
}

impl Address {
    fn parse(url: &str) -> Result<Self, String> {
        let of = |what: &dyn fmt::Display| format!("`{url}`: {what}");
        let resource = ResourceUri::parse(url).map_err(|error| of(&error))?;
        let uri: Uri = url.parse().map_err(|error| of(&error))?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(of(&"it names no host"));
        };
        if uri.query().is_some() {
            return Err(of(&"the URL of an MCP endpoint has no query here"));
        }
        if matches!(uri.path(), "" | "/") {
            return Err(of(&"the endpoint needs a path, such as `/mcp`"));
        }
        let origin = format!("{scheme}://{authority}");
        // Tokens travel here (RFC 6750 §5.3).
        if *scheme != UriScheme::HTTPS && !PublicHost::is_loopback(authority) {
            return Err(of(
                &"tokens would travel unencrypted; use https, which may end at a proxy",
            ));
        }
        Ok(Self {
            resource,
            path: uri.path().parse().map_err(|error| of(&error))?,
            host: HeaderValue::from_str(authority.as_str()).map_err(|error| of(&error))?,
            origin,
        })
    }
}

/// What was found, or nothing and one problem more.
pub(super) fn kept<T>(found: Result<T, String>, problems: &mut Vec<String>) -> Option<T> {
    found.map_err(|problem| problems.push(problem)).ok()
}

/// A memory of used proofs for as long as somebody asks it.
fn remembering(clock: &Arc<dyn Clock>) -> Arc<dyn ReplayLog> {
    let log = Arc::new(LocalReplayLog::new(LOCAL_IDS, clock.now()));
    let (asked, clock) = (Arc::downgrade(&log), Arc::clone(clock));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FORGETTING).await;
            let Some(log) = asked.upgrade() else { return };
            for _ in 0..PARTS {
                log.forget_some(clock.now());
            }
        }
    });
    log
}
