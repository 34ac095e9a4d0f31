//! The validated configuration. Whoever holds a [`Config`] knows that the file said nothing wrong.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use portcullis_core::identity::TokenProfile;
use portcullis_core::ids::{ClientId, Issuer, ResourceUri, Scope, ScopeSet, ServerName, ToolName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::KeyManagement;
use portcullis_core::keys::Timing;
use portcullis_core::policy::{Effect, ToolRule};
use portcullis_core::seal::session::{Cipher, SESSION_LIFETIME};
use portcullis_core::secret::Secret;
use portcullis_core::time::Lifetime;
use portcullis_guard::{CallsOfToken, Rate, Serves, ToolSeal};

use super::build::Builder;
use super::document::read;
use super::limits::LimitsConfig;
use super::mtls::{MtlsConfig, MtlsRequired};
use super::report::Report;
use super::shape::DOCUMENT;
use super::signals::SignalsConfig;
use super::workloads::TrustDomainConfig;
use crate::custody::MasterKeySource;
use crate::ephemeral::{self, RedisUrl};

/// One process's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[gateway]`
    pub gateway: Option<GatewayConfig>,
    /// `[[issuers]]`
    pub issuers: Vec<IssuerConfig>,
    /// `[[trust_domains]]`
    pub trust_domains: Vec<TrustDomainConfig>,
    /// `[[signals]]`
    pub signals: Vec<SignalsConfig>,
    /// `[[servers]]`
    pub servers: Vec<ServerConfig>,
    /// `[policy]`
    pub policy: PolicyConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[audit]`
    pub audit: Option<AuditConfig>,
    /// `[keys]`
    pub keys: Option<KeysConfig>,
    /// `[store]`
    pub store: Option<StoreConfig>,
    /// `[ephemeral]`
    pub ephemeral: EphemeralConfig,
    /// `[dpop]`
    pub dpop: DpopConfig,
    /// `[mtls]`
    pub mtls: Option<MtlsConfig>,
    /// `[authority]`
    pub authority: Option<AuthorityConfig>,
}

/// `[gateway]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Listening address, `HOST:PORT`.
    pub listen: String,
    /// Address of the admin listener.
    pub admin_listen: Option<String>,
    /// The public origin, without a trailing slash.
    pub public_url: String,
    /// Further allowed origins.
    pub origins: Vec<String>,
    /// `[gateway.seal]`
    pub seal: SealConfig,
    /// `[gateway.tls]`
    pub tls: Option<TlsConfig>,
}

/// `[gateway.tls]` and `[authority.tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate, with those above it.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// `[gateway.seal]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealConfig {
    /// Ciphers of sessions, the preferred one first.
    pub ciphers: Vec<Cipher>,
    /// How long a session lasts.
    pub session_lifetime: Lifetime,
}

impl Default for SealConfig {
    /// Sessions are offered to whoever may call: this grants nothing.
    fn default() -> Self {
        Self {
            ciphers: Cipher::ALL.to_vec(),
            session_lifetime: SESSION_LIFETIME,
        }
    }
}

/// `[[issuers]]`
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// The issuer identifier.
    pub issuer: Issuer,
    /// JWK Set URL; without one and without a file, the issuer's metadata names it.
    pub jwks_uri: Option<String>,
    /// JWK Set file.
    pub jwks_file: Option<PathBuf>,
    /// Certificates that are trusted for it besides the operating system's.
    pub ca_file: Option<PathBuf>,
    /// Accepted algorithms, at least one.
    pub algorithms: BTreeSet<SignatureAlgorithm>,
    /// Longest accepted token lifetime.
    pub max_token_lifetime: Lifetime,
    /// Accepted clock difference.
    pub clock_skew: Lifetime,
    /// What its tokens look like.
    pub tokens: TokenProfile,
    /// What it may speak for.
    pub serves: Serves,
    /// For how many calls each token is.
    pub calls: CallsOfToken,
    /// Where it is asked about tokens that are no JWTs.
    pub introspection: Option<IntrospectionConfig>,
}

/// `[issuers.introspection]`
#[derive(Clone, Debug)]
pub struct IntrospectionConfig {
    /// The endpoint.
    pub url: String,
    /// How we are known there.
    pub client_id: ClientId,
    /// Where our secret is.
    pub client_secret_file: PathBuf,
    /// How long an answer counts.
    pub cache: Lifetime,
    /// What answers look like.
    pub answers: TokenProfile,
}

/// How a guarded server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP at this URL.
    Http(String),
    /// A program spoken to over stdio; never empty.
    Stdio(Vec<String>),
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretFrom {
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
    /// Held by the program itself. No file can say this.
    Held(Secret),
}

/// `[[servers]]`
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Its name.
    pub name: ServerName,
    /// How it is reached.
    pub transport: Transport,
    /// Effect of unlisted tools.
    pub unlisted: Effect,
    /// The gateway's own credential for it.
    pub credential: Option<SecretFrom>,
    /// Listed tools.
    pub tools: Vec<ToolRule>,
    /// Tools with sealed fields.
    pub seals: Vec<(ToolName, ToolSeal)>,
    /// Tools with a rate of their own; `None` is no limit.
    pub rates: Vec<(ToolName, Option<Rate>)>,
    /// Which proofs its callers give.
    pub dpop: DpopRule,
    /// Which of its callers have a client certificate.
    pub mtls: MtlsRequired,
}

/// `[dpop]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DpopConfig {
    /// What holds where a server says nothing else.
    pub rule: DpopRule,
    /// How old a proof may be.
    pub window: Lifetime,
}

impl Default for DpopConfig {
    /// A bound token needs its proof whatever is configured: this grants nothing.
    fn default() -> Self {
        Self {
            rule: DpopRule {
                required: DpopRequired::BoundTokens,
                nonce: DpopNonce::Never,
            },
            window: Lifetime::from_secs(60),
        }
    }
}

/// Which proofs callers give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DpopRule {
    /// Who gives one.
    pub required: DpopRequired,
    /// Whether it has a nonce in it.
    pub nonce: DpopNonce,
}

/// Of whom a proof is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DpopRequired {
    /// Of those whose token is bound to a key.
    BoundTokens,
    /// Of all: a token that is not bound is refused.
    Always,
}

/// Whether a proof must carry a nonce of the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DpopNonce {
    /// It need not.
    Never,
    /// It must.
    Always,
}

/// `[ephemeral]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EphemeralConfig {
    /// The Redis that replicas share; without one, every process remembers for itself.
    pub redis: Option<RedisConfig>,
    /// Memory that ids may take in this process, in bytes.
    pub memory: usize,
}

impl Default for EphemeralConfig {
    fn default() -> Self {
        Self {
            redis: None,
            memory: ephemeral::MEMORY,
        }
    }
}

/// `[ephemeral]` with a `redis:` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// Where it is.
    pub url: RedisUrl,
    /// Where its password is.
    pub password: Option<SecretFrom>,
    /// Certificates that are trusted for it.
    pub ca_file: Option<PathBuf>,
}

/// `[policy]`
#[derive(Clone, Debug, Default)]
pub struct PolicyConfig {
    /// Cedar files.
    pub files: Vec<PathBuf>,
    /// Scopes that contain others: (broad, narrow).
    pub implies: Vec<(Scope, Scope)>,
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// Folder of the log.
    pub dir: PathBuf,
}

/// `[keys]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysConfig {
    /// Folder of the keys.
    pub dir: PathBuf,
    /// The key they are encrypted under.
    pub master_key: MasterKeySource,
    /// Where their records are.
    pub kept_in: KeptIn,
    /// Where new private keys are made.
    pub custody: CustodyConfig,
    /// Algorithm of new signing keys.
    pub signing_algorithm: SignatureAlgorithm,
    /// Algorithm of new encryption keys.
    pub encryption_algorithm: KeyManagement,
    /// When they change. The longest token is the authority's to say.
    pub timing: Timing,
}

/// Where the records of keys are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeptIn {
    /// In files.
    #[default]
    Folder,
    /// In the database of `[store]`.
    Store,
}

/// Where private keys are made and stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CustodyConfig {
    /// In files, encrypted under the master key.
    #[default]
    File,
    /// `[keys.pkcs11]`
    Pkcs11 {
        /// The PKCS #11 library.
        module: PathBuf,
        /// Label or serial number of the token.
        token: String,
        /// Where the PIN is; never held.
        pin: SecretFrom,
        /// Length of new RSA keys, in bits.
        rsa_bits: u32,
    },
    /// `[keys.external]` with `service = "aws-kms"`.
    AwsKms {
        /// The region of the keys.
        region: String,
        /// The service's URL where it is not the region's own.
        endpoint: Option<String>,
        /// Certificates that are trusted besides the operating system's.
        ca_file: Option<PathBuf>,
        /// A credentials file and a profile in it; the environment otherwise.
        credentials: Option<(PathBuf, String)>,
        /// Length of new RSA keys, in bits.
        rsa_bits: u32,
    },
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// `sqlite:PATH` or `postgres:…`
    pub url: String,
}

/// `[authority]`
#[derive(Clone, Debug)]
pub struct AuthorityConfig {
    /// Listening address.
    pub listen: String,
    /// Address of the admin listener.
    pub admin_listen: Option<String>,
    /// Its issuer identifier.
    pub issuer: Issuer,
    /// `[authority.tls]`
    pub tls: Option<TlsConfig>,
    /// Lifetime of access tokens.
    pub access_token_lifetime: Lifetime,
    /// Absolute lifetime of a login.
    pub refresh_token_lifetime: Lifetime,
    /// Endpoints that tokens are issued for.
    pub resources: Vec<ResourceConfig>,
    /// People.
    pub users: Vec<UserConfig>,
    /// Confidential clients.
    pub clients: Vec<ClientConfig>,
}

/// `[[authority.resources]]`
#[derive(Clone, Debug)]
pub struct ResourceConfig {
    /// Its identifier.
    pub uri: ResourceUri,
    /// The server it is.
    pub server: ServerName,
}

/// `[[authority.users]]`
#[derive(Clone, Debug)]
pub struct UserConfig {
    /// Login name.
    pub name: String,
    /// Where the password is.
    pub password_file: PathBuf,
}

/// `[[authority.clients]]`
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Its identifier.
    pub client_id: ClientId,
    /// Where its secret is.
    pub secret_file: PathBuf,
    /// What it may ask for.
    pub scopes: ScopeSet,
}

impl Config {
    /// Reads a configuration file's text. Paths stay as written: whoever reads the file resolves them.
    ///
    /// # Errors
    /// A [`Report`] of everything that is wrong, in the order of the file.
    pub fn parse(text: &str) -> Result<Self, Report> {
        let mut report = Report::default();
        let node = read(text, &DOCUMENT, &mut report);
        let config = Builder {
            text,
            report: &mut report,
        }
        .config(&node);
        if report.is_empty() {
            Ok(config)
        } else {
            report.sort();
            Err(report)
        }
    }
}

impl Config {
    /// The files that it names and that must be there when a server starts: policies, secrets, key sets.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = self.policy.files.iter().map(PathBuf::as_path).collect();
        files.extend(
            self.issuers
                .iter()
                .filter_map(|issuer| issuer.jwks_file.as_deref()),
        );
        let asked = self
            .issuers
            .iter()
            .filter_map(|issuer| issuer.introspection.as_ref());
        files.extend(asked.map(|introspection| introspection.client_secret_file.as_path()));
        for signals in &self.signals {
            files.extend(signals.jwks_file.as_deref());
            if let SecretFrom::File(file) = &signals.bearer {
                files.push(file);
            }
        }
        for server in &self.servers {
            if let Some(SecretFrom::File(file)) = &server.credential {
                files.push(file);
            }
        }
        files.extend(
            self.trust_domains
                .iter()
                .map(|domain| domain.bundle_file.as_path()),
        );
        if let Some(mtls) = &self.mtls {
            let named = mtls.client_ca_files.iter().chain(&mtls.crl_files);
            files.extend(named.map(PathBuf::as_path));
        }
        for tls in self.listeners() {
            files.extend([tls.certificate_file.as_path(), tls.key_file.as_path()]);
        }
        if let Some(redis) = &self.ephemeral.redis {
            if let Some(SecretFrom::File(file)) = &redis.password {
                files.push(file);
            }
            files.extend(redis.ca_file.as_deref());
        }
        if let Some(authority) = &self.authority {
            files.extend(authority.users.iter().map(|user| user.password_file.as_path()));
            files.extend(
                authority
                    .clients
                    .iter()
                    .map(|client| client.secret_file.as_path()),
            );
        }
        files
    }

    /// The TLS of each listener that has it.
    fn listeners(&self) -> impl Iterator<Item = &TlsConfig> {
        let gateway = self.gateway.iter().filter_map(|gateway| gateway.tls.as_ref());
        let authority = self
            .authority
            .iter()
            .filter_map(|authority| authority.tls.as_ref());
        gateway.chain(authority)
    }

    /// Makes every relative path in the configuration relative to `folder`, the folder of its file.
    pub fn relative_to(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&*path);
        for issuer in &mut self.issuers {
            issuer.jwks_file.iter_mut().for_each(join);
            if let Some(introspection) = &mut issuer.introspection {
                join(&mut introspection.client_secret_file);
            }
        }
        for signals in &mut self.signals {
            signals.jwks_file.iter_mut().for_each(join);
            if let SecretFrom::File(file) = &mut signals.bearer {
                join(file);
            }
        }
        for server in &mut self.servers {
            if let Some(SecretFrom::File(file)) = &mut server.credential {
                join(file);
            }
        }
        let gateway = self.gateway.iter_mut().filter_map(|gateway| gateway.tls.as_mut());
        let authority = self
            .authority
            .iter_mut()
            .filter_map(|authority| authority.tls.as_mut());
        for tls in gateway.chain(authority) {
            join(&mut tls.certificate_file);
            join(&mut tls.key_file);
        }
        for domain in &mut self.trust_domains {
            join(&mut domain.bundle_file);
        }
        if let Some(mtls) = &mut self.mtls {
            mtls.client_ca_files.iter_mut().for_each(join);
            mtls.crl_files.iter_mut().for_each(join);
        }
        self.policy.files.iter_mut().for_each(join);
        if let Some(audit) = &mut self.audit {
            join(&mut audit.dir);
        }
        if let Some(keys) = &mut self.keys {
            join(&mut keys.dir);
            if let MasterKeySource::File(file) = &mut keys.master_key {
                join(file);
            }
            match &mut keys.custody {
                CustodyConfig::File => {}
                CustodyConfig::Pkcs11 { module, pin, .. } => {
                    join(module);
                    if let SecretFrom::File(file) = pin {
                        join(file);
                    }
                }
                CustodyConfig::AwsKms {
                    ca_file, credentials, ..
                } => {
                    ca_file.iter_mut().for_each(join);
                    credentials.iter_mut().for_each(|(file, _)| join(file));
                }
            }
        }
        if let Some(redis) = &mut self.ephemeral.redis {
            if let Some(SecretFrom::File(file)) = &mut redis.password {
                join(file);
            }
            redis.ca_file.iter_mut().for_each(join);
        }
        if let Some(store) = &mut self.store
            && let Some(path) = store.url.strip_prefix("sqlite:")
        {
            store.url = format!("sqlite:{}", folder.join(path).display());
        }
        if let Some(authority) = &mut self.authority {
            authority
                .users
                .iter_mut()
                .for_each(|user| join(&mut user.password_file));
            authority
                .clients
                .iter_mut()
                .for_each(|client| join(&mut client.secret_file));
        }
    }
}
