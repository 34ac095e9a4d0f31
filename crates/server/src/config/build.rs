//! From checked values to a [`Config`]: identifiers, and the rules between keys and between sections.

use std::collections::BTreeSet;
use std::path::PathBuf;

use portcullis_core::ids::{ClientId, Issuer, ResourceUri, Scope, ScopeSet, ServerName, ToolName};
use portcullis_core::policy::{Effect, ToolRule};
use portcullis_core::seal::session::{Cipher, SESSION_LIFETIME};
use portcullis_core::seal::{Clear, Pointers};
use portcullis_core::time::Lifetime;
use portcullis_guard::ToolSeal;

use super::document::{Found, Node};
use super::limits::tool_rate;
use super::mtls::{MtlsRequired, mtls_required};
use super::proofs::dpop_rule;
use super::report::Report;
use super::settings::{
    AuditConfig, AuthorityConfig, ClientConfig, Config, DpopRule, GatewayConfig, PolicyConfig,
    ResourceConfig, SealConfig, SecretFrom, ServerConfig, StoreConfig, Transport, UserConfig,
};
use crate::custody::shelf::Database;

/// Builds what can be built and reports the rest: cross-field rules are checked even where a neighbour is wrong.
pub(super) struct Builder<'b> {
    pub(super) text: &'b str,
    pub(super) report: &'b mut Report,
}

impl Builder<'_> {
    pub(super) fn config(&mut self, node: &Node) -> Config {
        let dpop = self.dpop(node.one("dpop"));
        let mtls = mtls_required(node.one("mtls"), MtlsRequired::default());
        let servers: Vec<ServerConfig> = node
            .many("servers")
            .filter_map(|node| self.server(node, (dpop.rule, mtls)))
            .collect();
        self.senders(node, &servers);
        self.unique(
            node.many("servers").filter_map(|node| node.text("name")),
            "server",
        );
        let config = Config {
            gateway: node.one("gateway").and_then(|node| self.gateway(node)),
            issuers: self.issuers(node),
            trust_domains: self.trust_domains(node),
            signals: self.signals(node),
            policy: node
                .one("policy")
                .map(|node| self.policy(node))
                .unwrap_or_default(),
            limits: self.limits(node.one("limits")),
            audit: node.one("audit").and_then(|node| {
                Some(AuditConfig {
                    dir: node.path_value("dir")?,
                })
            }),
            keys: node.one("keys").and_then(|keys| self.keys(keys, node)),
            store: node.one("store").and_then(|node| self.store(node)),
            authority: node
                .one("authority")
                .and_then(|authority| self.authority(authority, node)),
            ephemeral: node
                .one("ephemeral")
                .and_then(|node| self.ephemeral(node))
                .unwrap_or_default(),
            dpop,
            mtls: self.mtls(node),
            servers,
        };
        self.together(node);
        config
    }

    /// Rules between sections.
    fn together(&mut self, node: &Node) {
        let mut need = |role: &str, section: &'static str, why: &str| {
            if let (Some(role_node), None) = (node.one(role), node.one(section)) {
                let hint = Some(format!("add a `[{section}]` section"));
                let message = format!("`[{role}]` needs `[{section}]`: {why}");
                self.report.add(self.text, role_node.at(), section, message, hint);
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
            tls: self.tls(node, node.text("public_url").as_ref()),
            public_url,
            origins,
            seal: node
                .one("seal")
                .map(|node| self.sessions(node))
                .unwrap_or_default(),
        })
    }

    /// `[gateway.seal]`
    fn sessions(&mut self, node: &Node) -> SealConfig {
        let usual = SealConfig::default();
        let ciphers = node.texts("ciphers").map(|names| {
            let named = names.iter().filter_map(|name| Cipher::from_name(&name.value));
            named.collect()
        });
        let session_lifetime = node
            .duration("session_lifetime")
            .unwrap_or(usual.session_lifetime);
        if session_lifetime > SESSION_LIFETIME {
            let hint = Some("write `\"24h\"` or less".to_owned());
            let message = "a session lasts a day at most".to_owned();
            self.report.add(self.text, node.at(), node.path(), message, hint);
        }
        SealConfig {
            ciphers: ciphers.unwrap_or(usual.ciphers),
            session_lifetime,
        }
    }

    /// `[servers.tools.NAME.seal]`
    fn seal(&mut self, name: &str, node: &Node) -> Option<(ToolName, ToolSeal)> {
        let seal = node.one("seal")?;
        let tool = ToolName::parse(name).ok()?;
        let arguments = self.pointers(seal, "arguments");
        let result = self.pointers(seal, "result");
        if arguments.as_ref().is_some_and(Pointers::is_empty)
            && result.as_ref().is_some_and(Pointers::is_empty)
        {
            let hint = Some("add `arguments = [\"/field\"]` or `result = [\"/content/*/text\"]`".to_owned());
            let message = "neither `arguments` nor `result` names a field".to_owned();
            self.report.add(self.text, seal.at(), seal.path(), message, hint);
        }
        let clear = match seal.text("clear").map(|found| found.value) {
            Some("allow") => Clear::Allow,
            Some(_) | None => Clear::Refuse,
        };
        Some((
            tool,
            ToolSeal {
                arguments: arguments?,
                result: result?,
                clear,
            },
        ))
    }

    fn pointers(&mut self, node: &Node, name: &str) -> Option<Pointers> {
        let texts = node.texts(name).unwrap_or_default();
        match Pointers::parse(texts.iter().map(|found| found.value.as_str())) {
            Ok(pointers) => Some(pointers),
            Err(error) => {
                let at = texts.first().map_or(node.at(), |found| &found.at);
                self.report.add(
                    self.text,
                    at,
                    &format!("{}.{name}", node.path()),
                    error.to_string(),
                    None,
                );
                None
            }
        }
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

    fn server(&mut self, node: &Node, (dpop, mtls): (DpopRule, MtlsRequired)) -> Option<ServerConfig> {
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
        let seals = node
            .named("tools")
            .filter_map(|(name, node)| self.seal(name, node))
            .collect();
        let rates = node
            .named("tools")
            .filter_map(|(name, node)| tool_rate(name, node))
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
            seals,
            rates,
            dpop: node.one("dpop").map_or(dpop, |node| dpop_rule(node, dpop)),
            mtls: mtls_required(node.one("mtls"), mtls),
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

    pub(super) fn scopes(&mut self, texts: &[Found<String>]) -> ScopeSet {
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
        let postgres = Database::is_postgres(url.value) && url::Url::parse(url.value).is_ok();
        if !postgres && url.value.strip_prefix("sqlite:").is_none_or(str::is_empty) {
            self.add(
                &url,
                "not a store this version can use",
                Some("write `sqlite:PATH`, or `postgres://USER@HOST/NAME` for keys alone".to_owned()),
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
            admin_listen: node.text("admin_listen").map(|found| found.value.to_owned()),
            issuer: issuer?,
            tls: self.tls(node, node.text("public_url").as_ref()),
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

    pub(super) fn parsed<T, E: std::fmt::Display>(
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

    pub(super) fn unique<'n>(&mut self, names: impl Iterator<Item = Found<&'n str>>, what: &str) {
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

    pub(super) fn add(&mut self, found: &Found<&str>, message: &str, hint: Option<String>) {
        self.report
            .add(self.text, &found.at, &found.path, message.to_owned(), hint);
    }
}
