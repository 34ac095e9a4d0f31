//! The validated configuration. Whoever holds a [`Config`] knows that the file said nothing wrong.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use portcullis_core::ids::{ClientId, Issuer, ResourceUri, Scope, ScopeSet, ServerName, ToolName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::limits;
use portcullis_core::policy::{Effect, ToolRule};
use portcullis_core::secret::Secret;
use portcullis_core::time::Lifetime;

use super::document::{Found, Node, read};
use super::report::Report;
use super::shape::DOCUMENT;

/// One process's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[gateway]`
    pub gateway: Option<GatewayConfig>,
    /// `[[issuers]]`
    pub issuers: Vec<IssuerConfig>,
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
    /// `[authority]`
    pub authority: Option<AuthorityConfig>,
}

/// `[gateway]`
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Listening address, `HOST:PORT`.
    pub listen: String,
    /// Address of the admin listener.
    pub admin_listen: Option<String>,
    /// The public origin, without a trailing slash.
    pub public_url: String,
    /// Further allowed origins.
    pub origins: Vec<String>,
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
    /// Accepted algorithms, at least one.
    pub algorithms: BTreeSet<SignatureAlgorithm>,
    /// Longest accepted token lifetime.
    pub max_token_lifetime: Lifetime,
    /// Accepted clock difference.
    pub clock_skew: Lifetime,
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
}

/// `[policy]`
#[derive(Clone, Debug, Default)]
pub struct PolicyConfig {
    /// Cedar files.
    pub files: Vec<PathBuf>,
    /// Scopes that contain others: (broad, narrow).
    pub implies: Vec<(Scope, Scope)>,
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Largest request body, in bytes.
    pub body: usize,
}

/// `[audit]`
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// Folder of the log.
    pub dir: PathBuf,
}

/// `[keys]`
#[derive(Clone, Debug)]
pub struct KeysConfig {
    /// Folder of the keys.
    pub dir: PathBuf,
    /// The key they are encrypted under.
    pub master_key_file: PathBuf,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `sqlite:PATH`
    pub url: String,
}

/// `[authority]`
#[derive(Clone, Debug)]
pub struct AuthorityConfig {
    /// Listening address.
    pub listen: String,
    /// Its issuer identifier.
    pub issuer: Issuer,
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
    /// Makes every relative path in the configuration relative to `folder`, the folder of its file.
    pub fn relative_to(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&*path);
        for issuer in &mut self.issuers {
            issuer.jwks_file.iter_mut().for_each(join);
        }
        for server in &mut self.servers {
            if let Some(SecretFrom::File(file)) = &mut server.credential {
                join(file);
            }
        }
        self.policy.files.iter_mut().for_each(join);
        if let Some(audit) = &mut self.audit {
            join(&mut audit.dir);
        }
        if let Some(keys) = &mut self.keys {
            join(&mut keys.dir);
            join(&mut keys.master_key_file);
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

/// Builds what can be built and reports the rest: cross-field rules are checked even where a neighbour is wrong.
struct Builder<'b> {
    text: &'b str,
    report: &'b mut Report,
}

impl Builder<'_> {
    fn config(&mut self, node: &Node) -> Config {
        let servers: Vec<ServerConfig> = node
            .many("servers")
            .filter_map(|node| self.server(node))
            .collect();
        self.unique(
            node.many("servers").filter_map(|node| node.text("name")),
            "server",
        );
        self.unique(
            node.many("issuers").filter_map(|node| node.text("issuer")),
            "issuer",
        );
        let config = Config {
            gateway: node.one("gateway").and_then(|node| self.gateway(node)),
            issuers: node
                .many("issuers")
                .filter_map(|node| self.issuer(node))
                .collect(),
            policy: node
                .one("policy")
                .map(|node| self.policy(node))
                .unwrap_or_default(),
            limits: LimitsConfig {
                body: node
                    .one("limits")
                    .and_then(|node| node.size("body"))
                    .unwrap_or(limits::BODY_BYTES),
            },
            audit: node.one("audit").and_then(|node| {
                Some(AuditConfig {
                    dir: node.path_value("dir")?,
                })
            }),
            keys: node.one("keys").and_then(|node| {
                Some(KeysConfig {
                    dir: node.path_value("dir")?,
                    master_key_file: node.path_value("master_key_file")?,
                })
            }),
            store: node.one("store").and_then(|node| self.store(node)),
            authority: node
                .one("authority")
                .and_then(|authority| self.authority(authority, node)),
            servers,
        };
        self.together(node);
        config
    }

    /// Rules between sections.
    fn together(&mut self, node: &Node) {
        let at_start = 0..0;
        let mut need = |role: &str, section: &'static str, why: &str| {
            if node.one(role).is_some() && node.one(section).is_none() {
                let hint = Some(format!("add a `[{section}]` section"));
                self.report.add(
                    self.text,
                    &at_start,
                    section,
                    format!("`[{role}]` needs `[{section}]`: {why}"),
                    hint,
                );
            }
        };
        need("gateway", "audit", "no call is forwarded that is not on record");
        need("gateway", "keys", "a gateway is an identity of its own");
        need("authority", "audit", "no token is issued that is not on record");
        need("authority", "keys", "tokens are signed");
        need("authority", "store", "users, clients and grants are kept");
        if let Some(gateway) = node.one("gateway") {
            for (section, why) in [
                ("servers", "there is nothing to guard"),
                ("issuers", "no token could ever be accepted"),
            ] {
                if node.many(section).next().is_none() {
                    let hint = Some(format!("add a `[[{section}]]` section"));
                    self.report.add(
                        self.text,
                        gateway.at(),
                        section,
                        format!("`[gateway]` needs `[[{section}]]`: {why}"),
                        hint,
                    );
                }
            }
        }
    }

    fn gateway(&mut self, node: &Node) -> Option<GatewayConfig> {
        let public_url = self.origin(node.text("public_url")?)?;
        let mut origins = Vec::new();
        for origin in node.texts("origins").into_iter().flatten() {
            let found = Found {
                value: origin.value.as_str(),
                at: origin.at.clone(),
                path: origin.path.clone(),
            };
            origins.extend(self.origin(found));
        }
        Some(GatewayConfig {
            listen: node.text("listen")?.value.to_owned(),
            admin_listen: node.text("admin_listen").map(|found| found.value.to_owned()),
            public_url,
            origins,
        })
    }

    /// A scheme, host and port and nothing else, kept as written.
    fn origin(&mut self, found: Found<&str>) -> Option<String> {
        let url = url::Url::parse(found.value).ok();
        if url.is_some_and(|url| url.path() == "/" && url.query().is_none()) && !found.value.ends_with('/') {
            return Some(found.value.to_owned());
        }
        let hint = Some("write scheme, host and port only, such as `https://mcp.example.com`".to_owned());
        self.add(&found, "not an origin", hint);
        None
    }

    fn issuer(&mut self, node: &Node) -> Option<IssuerConfig> {
        if let (Some(_), Some(file)) = (node.text("jwks_uri"), node.text("jwks_file")) {
            self.add(
                &file,
                "`jwks_uri` and `jwks_file` are both given",
                Some("keep one of them".to_owned()),
            );
        }
        let issuer = self.parsed(node.text("issuer")?, Issuer::parse)?;
        let algorithms = node
            .texts("algorithms")?
            .iter()
            .filter_map(|name| SignatureAlgorithm::from_name(&name.value))
            .collect();
        Some(IssuerConfig {
            issuer,
            jwks_uri: node.text("jwks_uri").map(|found| found.value.to_owned()),
            jwks_file: node.path_value("jwks_file"),
            algorithms,
            max_token_lifetime: node
                .duration("max_token_lifetime")
                .unwrap_or(Lifetime::from_hours(1)),
            clock_skew: node.duration("clock_skew").unwrap_or(Lifetime::from_secs(30)),
        })
    }

    fn server(&mut self, node: &Node) -> Option<ServerConfig> {
        let transport = match (node.text("url"), node.texts("command")) {
            (Some(url), None) => Some(Transport::Http(url.value.to_owned())),
            (None, Some(words)) if !words.is_empty() => Some(Transport::Stdio(
                words.iter().map(|word| word.value.clone()).collect(),
            )),
            (Some(url), Some(_)) => {
                self.add(
                    &url,
                    "`url` and `command` are both given",
                    Some("keep one of them".to_owned()),
                );
                None
            }
            (None, _) => {
                let hint =
                    Some("add `url = \"https://…\"` or `command = [\"program\", \"argument\"]`".to_owned());
                self.report.add(
                    self.text,
                    node.at(),
                    node.path(),
                    "neither `url` nor `command` is given".to_owned(),
                    hint,
                );
                None
            }
        };
        let credential = match (node.path_value("credential_file"), node.text("credential_env")) {
            (Some(_), Some(variable)) => {
                self.add(
                    &variable,
                    "`credential_file` and `credential_env` are both given",
                    Some("keep one of them".to_owned()),
                );
                None
            }
            (Some(file), None) => Some(SecretFrom::File(file)),
            (None, Some(variable)) => Some(SecretFrom::Env(variable.value.to_owned())),
            (None, None) => None,
        };
        let tools = node
            .named("tools")
            .filter_map(|(name, node)| self.tool(name, node))
            .collect();
        let name = self.parsed(node.text("name")?, ServerName::parse)?;
        let unlisted = node
            .text("unlisted")
            .and_then(|found| Effect::from_name(found.value))
            .unwrap_or(Effect::Irreversible);
        Some(ServerConfig {
            name,
            transport: transport?,
            unlisted,
            credential,
            tools,
        })
    }

    fn tool(&mut self, name: &str, node: &Node) -> Option<ToolRule> {
        let name = match ToolName::parse(name) {
            Ok(name) => name,
            Err(error) => {
                self.report
                    .add(self.text, node.at(), node.path(), error.to_string(), None);
                return None;
            }
        };
        let scopes = node.texts("scopes").map(|scopes| self.scopes(scopes));
        Some(ToolRule {
            name,
            effect: Effect::from_name(node.text("effect")?.value)?,
            scopes,
        })
    }

    fn scopes(&mut self, texts: &[Found<String>]) -> ScopeSet {
        texts
            .iter()
            .filter_map(|found| {
                self.parsed(
                    Found {
                        value: found.value.as_str(),
                        at: found.at.clone(),
                        path: found.path.clone(),
                    },
                    Scope::parse,
                )
            })
            .collect()
    }

    fn policy(&mut self, node: &Node) -> PolicyConfig {
        let mut implies = Vec::new();
        for found in node.texts("implies").into_iter().flatten() {
            let scopes: Result<Vec<Scope>, _> = found
                .value
                .split('>')
                .map(|scope| Scope::parse(scope.trim()))
                .collect();
            match scopes.as_deref() {
                Ok([first, rest @ ..]) if !rest.is_empty() => {
                    let broader = std::iter::once(first).chain(rest);
                    implies.extend(
                        broader
                            .zip(rest)
                            .map(|(broad, narrow)| (broad.clone(), narrow.clone())),
                    );
                }
                _ => {
                    let hint =
                        Some("write `\"broad > narrow\"`, such as `\"crm:admin > crm:write\"`".to_owned());
                    self.report.add(
                        self.text,
                        &found.at,
                        &found.path,
                        "not an order of scopes".to_owned(),
                        hint,
                    );
                }
            }
        }
        let files = node
            .texts("files")
            .into_iter()
            .flatten()
            .map(|file| PathBuf::from(&file.value))
            .collect();
        PolicyConfig { files, implies }
    }

    fn store(&mut self, node: &Node) -> Option<StoreConfig> {
        let url = node.text("url")?;
        if url.value.strip_prefix("sqlite:").is_none_or(str::is_empty) {
            self.add(
                &url,
                "not a store this version can use",
                Some("write `sqlite:PATH`".to_owned()),
            );
            return None;
        }
        Some(StoreConfig {
            url: url.value.to_owned(),
        })
    }

    fn authority(&mut self, node: &Node, document: &Node) -> Option<AuthorityConfig> {
        let servers: BTreeSet<&str> = document
            .many("servers")
            .filter_map(|node| Some(node.text("name")?.value))
            .collect();
        let mut resources = Vec::new();
        for resource in node.many("resources") {
            let (Some(uri), Some(server)) = (resource.text("uri"), resource.text("server")) else {
                continue;
            };
            if !servers.contains(server.value) {
                let hint = Some(format!(
                    "`[[servers]]` has: {}",
                    servers.iter().copied().collect::<Vec<_>>().join(", ")
                ));
                self.add(&server, "no server of this name", hint);
            }
            if let (Some(uri), Some(server)) = (
                self.parsed(uri, ResourceUri::parse),
                self.parsed(server, ServerName::parse),
            ) {
                resources.push(ResourceConfig { uri, server });
            }
        }
        self.unique(
            node.many("resources").filter_map(|node| node.text("uri")),
            "resource",
        );
        self.unique(node.many("users").filter_map(|node| node.text("name")), "user");
        self.unique(
            node.many("clients").filter_map(|node| node.text("client_id")),
            "client",
        );
        let users = node.many("users").filter_map(|node| {
            Some(UserConfig {
                name: node.text("name")?.value.to_owned(),
                password_file: node.path_value("password_file")?,
            })
        });
        let users = users.collect();
        let mut clients = Vec::new();
        for client in node.many("clients") {
            let scopes = client.texts("scopes").map(|scopes| self.scopes(scopes));
            let client_id = client
                .text("client_id")
                .and_then(|found| self.parsed(found, ClientId::parse));
            if let (Some(client_id), Some(secret_file), Some(scopes)) =
                (client_id, client.path_value("secret_file"), scopes)
            {
                clients.push(ClientConfig {
                    client_id,
                    secret_file,
                    scopes,
                });
            }
        }
        let issuer = node
            .text("public_url")
            .and_then(|found| self.parsed(found, Issuer::parse));
        Some(AuthorityConfig {
            listen: node.text("listen")?.value.to_owned(),
            issuer: issuer?,
            access_token_lifetime: node
                .duration("access_token_lifetime")
                .unwrap_or(Lifetime::from_minutes(5)),
            refresh_token_lifetime: node
                .duration("refresh_token_lifetime")
                .unwrap_or(Lifetime::from_days(30)),
            resources,
            users,
            clients,
        })
    }

    fn parsed<T, E: std::fmt::Display>(
        &mut self,
        found: Found<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(found.value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(&found, &error.to_string(), None);
                None
            }
        }
    }

    fn unique<'n>(&mut self, names: impl Iterator<Item = Found<&'n str>>, what: &str) {
        let mut seen = BTreeSet::new();
        for found in names {
            if !seen.insert(found.value) {
                self.add(
                    &found,
                    &format!("a second {what} `{}`", found.value),
                    Some("remove or rename one of them".to_owned()),
                );
            }
        }
    }

    fn add(&mut self, found: &Found<&str>, message: &str, hint: Option<String>) {
        self.report
            .add(self.text, &found.at, &found.path, message.to_owned(), hint);
    }
}
