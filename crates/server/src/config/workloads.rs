//! `[[trust_domains]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::identity::{DomainTrust, Grant};
use portcullis_core::ids::{ServerName, ToolName, TrustDomain};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::time::Lifetime;
use portcullis_guard::{DomainPart, WorkloadPath};

use super::build::Builder;
use super::document::{Found, Node};

/// `[[trust_domains]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomainConfig {
    /// What is true of it.
    pub trust: DomainTrust,
    /// Its bundle.
    pub bundle_file: PathBuf,
    /// What its workloads have.
    pub servers: BTreeMap<ServerName, DomainPart>,
}

impl Builder<'_> {
    pub(super) fn trust_domains(&mut self, document: &Node) -> Vec<TrustDomainConfig> {
        let names = document
            .many("trust_domains")
            .filter_map(|node| node.text("name"));
        self.unique(names, "trust domain");
        let servers: BTreeSet<&str> = document
            .many("servers")
            .filter_map(|node| Some(node.text("name")?.value))
            .collect();
        document
            .many("trust_domains")
            .filter_map(|node| self.trust_domain(node, &servers))
            .collect()
    }

    fn trust_domain(&mut self, node: &Node, servers: &BTreeSet<&str>) -> Option<TrustDomainConfig> {
        let algorithms = node.texts("algorithms").into_iter().flatten();
        let algorithms = algorithms
            .filter_map(|name| SignatureAlgorithm::from_name(&name.value))
            .collect();
        let mut parts = BTreeMap::new();
        for (name, server) in node.named("servers") {
            if !servers.contains(name) {
                let known = servers.iter().copied().collect::<Vec<_>>().join(", ");
                let hint = Some(format!("`[[servers]]` has: {known}"));
                let message = "no server of this name".to_owned();
                self.report
                    .add(self.text, server.at(), server.path(), message, hint);
            }
            let part = self.part(server);
            if let Ok(name) = ServerName::parse(name) {
                parts.insert(name, part);
            }
        }
        if parts.is_empty() {
            let hint =
                Some("add `[trust_domains.servers.NAME.workloads.\"/path\"]` with `scopes = […]`".to_owned());
            let message = "no workload of the domain has anything at any server".to_owned();
            self.report.add(self.text, node.at(), node.path(), message, hint);
        }
        let name = node.text("name")?;
        Some(TrustDomainConfig {
            trust: DomainTrust {
                domain: self.parsed(name, TrustDomain::parse)?,
                algorithms,
                max_token_lifetime: node
                    .duration("max_token_lifetime")
                    .unwrap_or(Lifetime::from_hours(1)),
                skew: node.duration("clock_skew").unwrap_or(Lifetime::from_secs(30)),
            },
            bundle_file: node.path_value("bundle_file")?,
            servers: parts,
        })
    }

    /// `[trust_domains.servers.NAME]`
    fn part(&mut self, node: &Node) -> DomainPart {
        let tools = node.texts("tools").map(|tools| {
            let named = tools.iter().filter_map(|tool| {
                let found = Found {
                    value: tool.value.as_str(),
                    at: tool.at.clone(),
                    path: tool.path.clone(),
                };
                self.parsed(found, ToolName::parse)
            });
            named.collect()
        });
        let mut workloads = Vec::new();
        for (path, workload) in node.named("workloads") {
            let found = Found {
                value: path,
                at: workload.at().clone(),
                path: workload.path().to_owned(),
            };
            let roles = workload.texts("roles").into_iter().flatten();
            let grant = Grant {
                roles: roles.map(|role| Arc::from(role.value.as_str())).collect(),
                scopes: self.scopes(workload.texts("scopes").unwrap_or_default()),
            };
            if let Some(path) = self.parsed(found, WorkloadPath::parse) {
                workloads.push((path, grant));
            }
        }
        if node.named("workloads").next().is_none() {
            let hint = Some("add `[….workloads.\"/path\"]` with `scopes = […]`".to_owned());
            let message = "no workload of the domain has anything at this server".to_owned();
            self.report.add(self.text, node.at(), node.path(), message, hint);
        }
        DomainPart { tools, workloads }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn config(domains: &str) -> Result<Vec<TrustDomainConfig>, Vec<String>> {
        let servers = "[[servers]]\nname = \"crm\"\nurl = \"http://127.0.0.1:1\"\n";
        match Config::parse(&format!("version = 1\n{servers}{domains}")) {
            Ok(config) => Ok(config.trust_domains),
            Err(report) => {
                let findings = report.findings().iter();
                Err(findings.map(|finding| finding.path.clone()).collect())
            }
        }
    }

    const DOMAIN: &str = "[[trust_domains]]\nname = \"prod.example\"\nbundle_file = \"b.json\"\n";
    const WORKLOAD: &str = "[trust_domains.servers.crm.workloads.\"/ns/sales/*\"]\nscopes = [\"crm:read\"]\nroles = [\"sales\"]\n";

    #[test]
    fn a_domain_has_what_is_said_and_no_tokens_unless_that_is() {
        let read = config(&format!("{DOMAIN}{WORKLOAD}")).unwrap().remove(0);
        assert!(read.trust.algorithms.is_empty());
        assert_eq!(read.trust.domain.as_str(), "prod.example");
        let part = &read.servers[&ServerName::parse("crm").unwrap()];
        let (path, grant) = &part.workloads[0];
        assert_eq!(*path, WorkloadPath::parse("/ns/sales/*").unwrap());
        assert_eq!(grant.scopes.to_string(), "crm:read");
        assert_eq!((grant.roles.len(), part.tools.is_none()), (1, true));
        let tokens = config(&format!("{DOMAIN}algorithms = [\"ES256\"]\n{WORKLOAD}")).unwrap();
        assert!(tokens[0].trust.algorithms.contains(&SignatureAlgorithm::Es256));
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        for (domains, path) in [
            (DOMAIN.to_owned(), "trust_domains[0]"),
            (
                format!("{DOMAIN}[trust_domains.servers.crm]\n"),
                "trust_domains[0].servers.crm",
            ),
            (
                format!("{DOMAIN}{}", WORKLOAD.replace("crm.", "cmr.")),
                "trust_domains[0].servers.cmr",
            ),
            (
                format!("{DOMAIN}{}", WORKLOAD.replace("/ns/sales/*", "ns")),
                "trust_domains[0].servers.crm.workloads.ns",
            ),
            (
                format!("{}{WORKLOAD}", DOMAIN.replace("prod", "Prod")),
                "trust_domains[0].name",
            ),
            (
                format!("{DOMAIN}{WORKLOAD}{DOMAIN}{WORKLOAD}"),
                "trust_domains[1].name",
            ),
        ] {
            assert_eq!(config(&domains).unwrap_err(), [path], "{domains}");
        }
    }
}
