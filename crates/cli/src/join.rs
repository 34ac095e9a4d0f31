//! From a configuration to running rooms. `up`, `gateway` and `authority` all come through here, so that there is one way in which
//! the rooms are joined.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use portcullis_core::audit::{DigestKey, Event, System};
use portcullis_core::forward::UpstreamCredential;
use portcullis_core::ids::{Issuer, ServerName, ToolName};
use portcullis_core::oauth::server::document::Hosts;
use portcullis_core::policy::{Policy, Rules, ScopeDescription, ServerRules};
use portcullis_core::secret::Secret;
use portcullis_core::time::Lifetime;
use portcullis_guard::recorder::{Durability, Recorder as _};
use portcullis_guard::{Guard, PublicHost, ReplayLog, Revocations, Sealing, SealingSettings};
use portcullis_net::clock::{self, Clock};
use portcullis_net::fetch::{Fetcher, Reach};
use portcullis_net::random;
use portcullis_server::authority::{self, Authority, ScopeCatalogue};
use portcullis_server::config::{
    AuditConfig, AuthorityConfig, Config, GatewayConfig, SecretFrom, ServerConfig, Transport,
};
use portcullis_server::custody::{KeyChange, Keyring, MasterKey, Rotating, Rotator, Watcher};
use portcullis_server::ephemeral::{self, Place, RedisSettings};
use portcullis_server::gateway::bridge::Bridge;
use portcullis_server::gateway::catalogue::Catalogue;
use portcullis_server::gateway::sse::SseServer;
use portcullis_server::gateway::stdio::{self, StdioUpstream};
use portcullis_server::gateway::upstream::{HttpUpstream, Upstream};
use portcullis_server::gateway::{self, Gateway, Readiness};
use portcullis_server::revocation::Follower;
use portcullis_server::sink::{self, AuditLog, KeyTransition};
use portcullis_server::store::Store;
use portcullis_server::tls::Clients;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::issuers::Issuers;
use crate::revocations::Followed;
use crate::senders::senders;
use crate::{limits, revocations, rings, senders, signals};

/// Longest wait for a whole request body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// A stream of which nothing was heard for longer is ended. Servers keep theirs alive with comments, every few
/// seconds to minutes.
const STREAM_SILENCE: Duration = Duration::from_secs(15 * 60);

/// Longest difference of clocks that anybody accepts, in seconds.
const SLACK: u64 = 600;

/// What every server of one process shares.
pub(crate) struct World {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) master: Arc<MasterKey>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) policy: Arc<ArcSwap<Policy>>,
    /// What was used and is for one use.
    pub(crate) replays: Arc<dyn ReplayLog>,
    /// What is revoked, from the first time that a server asks.
    revocations: tokio::sync::OnceCell<Arc<Follower>>,
    /// Cancelled when the process is asked to stop.
    pub(crate) stop: CancellationToken,
    /// What keeps the rings up to date, one for each.
    rotating: Mutex<Vec<Rotating>>,
}

impl World {
    /// Opens the master key and the audit log and compiles the policy.
    pub(crate) fn open(config: &Config) -> Result<Self, Failure> {
        let (keys, audit) = (rings::keys(config)?, audit(config)?);
        let policy = policy(config)?;
        let clock: Arc<dyn Clock> = Arc::new(clock::System);
        let master = Arc::new(rings::master(keys)?);
        let audit = AuditLog::open(&audit.dir, Arc::clone(&clock), &random::System)
            .map_err(cannot("open the audit log"))?;
        let stop = CancellationToken::new();
        let replays = ephemeral::open(&remembering(config), Arc::clone(&clock), stop.clone())
            .map_err(cannot("use the ephemeral store"))?;
        Ok(Self {
            replays,
            clock,
            master,
            audit: Arc::new(audit),
            policy: Arc::new(ArcSwap::from_pointee(policy)),
            stop,
            revocations: tokio::sync::OnceCell::new(),
            rotating: Mutex::default(),
        })
    }

    /// A secret that this data folder always has and that no file holds: derived from the master key for one purpose.
    pub(crate) fn derived_secret(&self, purpose: &'static str) -> Result<Secret, Failure> {
        use base64::Engine as _;
        let key = self.master.derive(purpose).map_err(cannot("derive a secret"))?;
        Ok(Secret::new(
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key.as_slice()),
        ))
    }

    /// Puts a start or a stop on record.
    pub(crate) async fn record(&self, what: &'static str, detail: String) -> Result<(), Failure> {
        let event = Event::from(System { what, detail });
        self.audit
            .record(event, Durability::Synced)
            .await
            .map(drop)
            .map_err(cannot("record in the audit log"))
    }

    /// Opens the keys of a role, and keeps them up to date until the process stops. What was made or changed is on
    /// record before a server starts with it: at the first start that is expected, later it is not.
    async fn keyring(&self, config: &Config, role: &str, identity: &str) -> Result<Arc<Keyring>, Failure> {
        let settings = rings::settings(config, role, identity, &self.master, &self.clock)?;
        let now = self.clock.now();
        let keyring = Keyring::start(settings, now, &random::System).map_err(cannot("open the keys"))?;
        let recorded = sink::key_transitions(&audit(config)?.dir).map_err(cannot("read the audit log"))?;
        let is_known = |change: &KeyChange| {
            recorded.contains(&KeyTransition {
                role: change.role.clone(),
                kid: change.kid.to_string(),
                to: change.to.to_string(),
            })
        };
        keyring
            .record_changes(&*self.audit, &is_known)
            .await
            .map_err(cannot("record in the audit log"))?;
        let rotator = Rotator {
            keyring: Arc::clone(&keyring),
            recorder: self.audit.clone(),
            clock: Arc::clone(&self.clock),
            random: Arc::new(random::System),
        };
        let rotating = rotator
            .spawn(self.stop.clone())
            .map_err(cannot("keep the keys up to date"))?;
        self.rotating
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(rotating);
        Ok(keyring)
    }

    /// What is revoked. One follower serves all servers of the process: each entry goes on record once.
    pub(crate) async fn revocations(&self, config: &Config) -> Result<&Arc<Follower>, Failure> {
        let dir = &audit(config)?.dir;
        let following = || revocations::follow_log(config, self, dir);
        self.revocations.get_or_try_init(following).await
    }

    /// Stops keeping the rings up to date. The last uses of keys are on record after this.
    pub(crate) async fn keys_at_rest(&self) {
        self.stop.cancel();
        let all = std::mem::take(&mut *self.rotating.lock().unwrap_or_else(PoisonError::into_inner));
        for rotating in all {
            rotating.finished().await;
        }
    }
}

/// Where `[ephemeral]` remembers.
fn remembering(config: &Config) -> ephemeral::Settings {
    let at = match &config.ephemeral.redis {
        None => Place::Memory,
        Some(redis) => Place::Redis(RedisSettings {
            url: redis.url.clone(),
            password: redis.password.as_ref().map(rings::secret),
            ca_file: redis.ca_file.clone(),
        }),
    };
    ephemeral::Settings {
        at,
        memory: config.ephemeral.memory,
    }
}

/// What a gateway cannot do without: its record, its memory of what was used, and news of revoked keys.
struct Needs {
    audit: Arc<AuditLog>,
    replays: Arc<dyn ReplayLog>,
    authority: Arc<Watcher>,
    revoked: Revocations,
}

impl Readiness for Needs {
    fn ready(&self) -> Result<(), &'static str> {
        self.audit.ready()?;
        self.replays.ready().map_err(|why| why.code())?;
        self.revoked.ready().map_err(|why| why.code())?;
        self.authority.is_followed()
    }
}

impl std::fmt::Debug for Needs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Needs")
    }
}

/// A gateway that is ready to be served.
pub(crate) struct GatewayParts {
    pub(crate) gateway: Gateway,
    pub(crate) guard: Arc<Guard>,
    signals: Router,
    spawned: Vec<Arc<StdioUpstream>>,
}

/// What of a gateway is made anew when its configuration is another one.
pub(crate) struct Replaceable {
    pub(crate) issuers: Issuers,
    /// Who is told of revoked keys.
    pub(crate) followed: Followed,
}

impl GatewayParts {
    /// What callers and transmitters reach.
    pub(crate) fn router(&self) -> Router {
        self.gateway.router().merge(self.signals.clone())
    }

    /// After the last connection is gone: outcomes go on record, spawned servers end.
    pub(crate) async fn finish(self) {
        self.guard.drained().await;
        for upstream in self.spawned {
            upstream.shutdown().await;
        }
    }
}

/// Joins a gateway.
pub(crate) async fn gateway(
    config: &Config,
    settings: &GatewayConfig,
    world: &World,
    clients: Option<&Arc<Clients>>,
) -> Result<(GatewayParts, Replaceable), Failure> {
    let digest_key = world
        .master
        .derive("audit argument digest v1")
        .map_err(cannot("derive a key"))?;
    let issuers = Issuers::of(config, None, world)?;
    let followed = revocations::follow(config, world, issuers.trusted())?;
    let follower = world.revocations(config).await?;
    let signals = signals::router(config, world, follower)?;
    let revoked = follower.revocations().clone();
    let guard = Guard::new(
        portcullis_guard::Settings {
            public_host: PublicHost::of(&settings.public_url, settings.origins.clone())
                .map_err(cannot("use the public URL"))?,
            issuers: issuers.trusted(),
            policy: Arc::clone(&world.policy),
            recorder: world.audit.clone(),
            clock: Arc::clone(&world.clock),
            digest_key: DigestKey::new(*digest_key),
            senders: senders(config, world)?,
            rates: limits::rates(config),
        },
        &random::System,
    )
    .map_err(cannot("start the guard"))?
    .with_revocations(revoked.clone())
    .with_workloads(senders::workloads(config, clients));
    let guard = match senders::certificates_come(config) {
        true => guard.with_client_certificates(),
        false => guard,
    };
    let keyring = world.keyring(config, "gateway", &settings.public_url).await?;
    let guard = Arc::new(match sealing(config, settings, &keyring, world)? {
        Some(sealing) => guard.with_sealing(sealing),
        None => guard,
    });
    let fetcher = Fetcher::new(Reach::Configured).map_err(cannot("start the HTTP client"))?;
    let (mut servers, mut spawned) = (Vec::new(), Vec::new());
    for server in &config.servers {
        let credential = credential(server)?;
        let (upstream, sse): (Arc<dyn Upstream>, _) = match &server.transport {
            Transport::Http(url) => {
                let uri: http::Uri = url
                    .parse()
                    .map_err(|error| Failure::usage(format!("`{url}` cannot be called: {error}")))?;
                let sse = SseServer::new(uri.clone(), fetcher.clone(), Arc::new(random::System));
                (
                    Arc::new(HttpUpstream::new(uri, credential, fetcher.clone())),
                    Some(sse),
                )
            }
            Transport::Stdio(command) => {
                let settings =
                    stdio::Settings::new(command.clone(), passed_on()).map_err(cannot("use the command"))?;
                let upstream = Arc::new(StdioUpstream::new(settings, Arc::new(random::System)));
                spawned.push(Arc::clone(&upstream));
                (upstream, None)
            }
        };
        let bridge = Bridge::new(
            server.name.clone(),
            upstream,
            Arc::clone(&world.clock),
            Arc::new(random::System),
        )
        .map_err(cannot("bridge the eras"))?;
        let bridge = match sse {
            Some(sse) => bridge.or_sse(sse),
            None => bridge,
        };
        servers.push(gateway::Server {
            name: server.name.clone(),
            upstream: Arc::new(bridge),
        });
    }
    let settings = gateway::Settings {
        public_url: settings.public_url.clone(),
        servers,
        body_bytes: config.limits.body,
        body_time: BODY_TIME,
        stream_silence: STREAM_SILENCE,
        streams: config.limits.streams,
        readiness: Arc::new(Needs {
            audit: Arc::clone(&world.audit),
            replays: Arc::clone(&world.replays),
            authority: Arc::clone(followed.watcher()),
            revoked,
        }),
        proxy: senders::proxy(config, clients),
    };
    let gateway = Gateway::new(settings, Arc::clone(&guard), keyring, world.stop.clone())
        .map_err(cannot("use the public URL"))?;
    let parts = GatewayParts {
        gateway,
        guard,
        signals,
        spawned,
    };
    Ok((parts, Replaceable { issuers, followed }))
}

/// What opens and seals fields, if a tool has any that are sealed.
fn sealing(
    config: &Config,
    settings: &GatewayConfig,
    keyring: &Arc<Keyring>,
    world: &World,
) -> Result<Option<Arc<Sealing>>, Failure> {
    let tools: Vec<_> = config
        .servers
        .iter()
        .flat_map(|server| {
            let seals = server.seals.iter().cloned();
            seals.map(|(tool, seal)| (server.name.clone(), tool, seal))
        })
        .collect();
    if tools.is_empty() {
        return Ok(None);
    }
    Ok(Some(Sealing::new(SealingSettings {
        gateway: Issuer::parse(&settings.public_url).map_err(cannot("use the public URL"))?,
        jwks_uri: format!("{}{}", settings.public_url, gateway::JWKS_PATH),
        tools,
        ciphers: settings.seal.ciphers.clone(),
        session_lifetime: settings.seal.session_lifetime,
        keys: Arc::<Keyring>::clone(keyring),
        clock: Arc::clone(&world.clock),
        random: Arc::new(random::System),
        replays: Arc::clone(&world.replays),
    })))
}

/// The part of our environment that a spawned server gets.
fn passed_on() -> Vec<(OsString, OsString)> {
    stdio::PASSED_ON
        .iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command line may read the environment"
)]
fn credential(server: &ServerConfig) -> Result<UpstreamCredential, Failure> {
    let text = match &server.credential {
        None => return Ok(UpstreamCredential::None),
        Some(SecretFrom::Held(secret)) => secret.reveal().to_owned(),
        Some(SecretFrom::File(file)) => std::fs::read_to_string(file).map_err(|error| {
            Failure::usage(format!(
                "the credential file {} cannot be read: {error}",
                file.display()
            ))
        })?,
        Some(SecretFrom::Env(variable)) => std::env::var(variable).map_err(|_| {
            Failure::usage(format!(
                "the environment variable {variable} with the credential of `{}` is not set",
                server.name
            ))
        })?,
    };
    UpstreamCredential::bearer(Secret::new(text.trim())).map_err(cannot("use the credential"))
}

/// Joins an authority. `catalogue` knows the tools that an embedded gateway has seen, when there is one.
pub(crate) async fn authority(
    config: &Config,
    settings: &AuthorityConfig,
    world: &World,
    catalogue: Option<Arc<Catalogue>>,
) -> Result<(Arc<Authority>, Store), Failure> {
    let Some(store) = &config.store else {
        return Err(Failure::usage("`[store]` is missing"));
    };
    // As long as gateways accept what is made here, with a difference of clocks.
    let longest = Lifetime::from_secs(settings.access_token_lifetime.as_secs().saturating_add(SLACK));
    let store = Store::open(&store.url).await.map_err(cannot("open the store"))?;
    let store = store
        .issuing(&settings.issuer, longest)
        .await
        .map_err(cannot("open the store"))?;
    let revocations = world.revocations(config).await?.revocations().clone();
    let keyring = world
        .keyring(config, "authority", settings.issuer.as_str())
        .await?;
    // An authority on loopback serves a developer's machine, where clients may publish their metadata as well.
    let (reach, hosts) = match settings.issuer.as_str().starts_with("https:") {
        true => (Reach::PublicOnly, Hosts::Public),
        false => (Reach::LoopbackToo, Hosts::LoopbackToo),
    };
    let dependencies = authority::Dependencies {
        store: store.clone(),
        revocations,
        keyring,
        recorder: world.audit.clone(),
        clock: Arc::clone(&world.clock),
        random: Arc::new(random::System),
        fetcher: Fetcher::new(reach).map_err(cannot("start the HTTP client"))?,
        catalogue: Arc::new(Offered {
            policy: Arc::clone(&world.policy),
            seen: catalogue,
        }),
    };
    let resources = settings
        .resources
        .iter()
        .map(|resource| authority::Resource {
            uri: resource.uri.clone(),
            server: resource.server.clone(),
            title: resource.server.to_string(),
        })
        .collect();
    let settings = authority::Settings {
        access_token_lifetime: settings.access_token_lifetime,
        refresh_absolute_lifetime: settings.refresh_token_lifetime,
        document_hosts: hosts,
        ..authority::Settings::new(settings.issuer.clone(), resources)
    };
    Ok((Authority::new(settings, dependencies), store))
}

/// What the consent page may say: the policy's own scopes, and the tools that went by.
struct Offered {
    policy: Arc<ArcSwap<Policy>>,
    seen: Option<Arc<Catalogue>>,
}

impl ScopeCatalogue for Offered {
    fn scopes(&self, server: &ServerName) -> Vec<ScopeDescription> {
        let mut described = self.policy.load().scopes(server);
        let listed: BTreeSet<ToolName> = described
            .iter()
            .flat_map(|scope| scope.tools.iter().cloned())
            .collect();
        let seen = self
            .seen
            .as_ref()
            .map(|catalogue| catalogue.seen(server))
            .unwrap_or_default();
        for scope in described.iter_mut().filter(|scope| scope.unlisted) {
            scope
                .tools
                .extend(seen.iter().filter(|tool| !listed.contains(*tool)).cloned());
        }
        described
    }
}

/// Compiles the policy of a configuration, with the files that it names.
pub(crate) fn policy(config: &Config) -> Result<Policy, Failure> {
    let mut cedar = Vec::new();
    for file in &config.policy.files {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::usage(format!(
                "the policy file {} cannot be read: {error}",
                file.display()
            ))
        })?;
        cedar.push((file.display().to_string(), text));
    }
    let servers = config
        .servers
        .iter()
        .map(|server| ServerRules {
            name: server.name.clone(),
            unlisted: server.unlisted,
            tools: server.tools.clone(),
        })
        .collect();
    Policy::compile(&Rules {
        servers,
        implies: config.policy.implies.clone(),
        cedar,
    })
    .map_err(|errors| {
        let mut message = "the policy does not load:".to_owned();
        for error in errors {
            message.push_str("\n  ");
            if let Some(file) = &error.file {
                message.push_str(&format!("{file}: "));
            }
            message.push_str(&error.message);
            if let Some(hint) = &error.hint {
                message.push_str(&format!("\n    hint: {hint}"));
            }
        }
        Failure::usage(message)
    })
}

fn audit(config: &Config) -> Result<&AuditConfig, Failure> {
    config
        .audit
        .as_ref()
        .ok_or_else(|| Failure::usage("`[audit]` is missing"))
}

/// Reads a secret's file; one line end after it is not part of it.
pub(crate) fn secret_file(path: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!(
            "the secret file {} cannot be read: {error}",
            path.display()
        ))
    })?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

/// Turns any room's error into a failure to start.
pub(crate) fn cannot<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    let what = what.to_owned();
    move |error| Failure::usage(format!("could not {what}: {error}"))
}
