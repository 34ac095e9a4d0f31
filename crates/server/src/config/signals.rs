//! `[[signals]]`: transmitters of security events.

use std::collections::BTreeSet;
use std::path::PathBuf;

use portcullis_core::ids::{Issuer, ServerName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::signals::Sessions;
use portcullis_core::time::Lifetime;

use super::build::Builder;
use super::document::Node;
use super::settings::SecretFrom;

/// `[[signals]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalsConfig {
    /// Its name, and the last step of the address that it delivers to.
    pub name: ServerName,
    /// `iss` of its security event tokens.
    pub issuer: Issuer,
    /// JWK Set URL.
    pub jwks_uri: Option<String>,
    /// JWK Set file.
    pub jwks_file: Option<PathBuf>,
    /// Accepted algorithms, at least one.
    pub algorithms: BTreeSet<SignatureAlgorithm>,
    /// `aud` of what is for us.
    pub audience: String,
    /// Of which of `[[issuers]]` it may say that users and sessions ended.
    pub issuers: BTreeSet<Issuer>,
    /// What it shows with each delivery.
    pub bearer: SecretFrom,
    /// What a session that ended is here.
    pub sessions: Sessions,
    /// Accepted clock difference.
    pub clock_skew: Lifetime,
}

impl Builder<'_> {
    /// All of them, and the rules between them and the issuers.
    pub(super) fn signals(&mut self, document: &Node) -> Vec<SignalsConfig> {
        self.unique(
            document.many("signals").filter_map(|node| node.text("name")),
            "transmitter",
        );
        let trusted: BTreeSet<&str> = document
            .many("issuers")
            .filter_map(|node| Some(node.text("issuer")?.value))
            .collect();
        document
            .many("signals")
            .filter_map(|node| self.transmitter(node, &trusted))
            .collect()
    }

    fn transmitter(&mut self, node: &Node, trusted: &BTreeSet<&str>) -> Option<SignalsConfig> {
        let (uri, file) = (node.text("jwks_uri"), node.path_value("jwks_file"));
        if uri.is_some() == file.is_some() {
            let hint = Some("write one of `jwks_uri` and `jwks_file`".to_owned());
            let message = "where the transmitter's keys are has to be said once".to_owned();
            self.report.add(self.text, node.at(), node.path(), message, hint);
        }
        let bearer = match (node.path_value("bearer_file"), node.text("bearer_env")) {
            (Some(file), None) => Some(SecretFrom::File(file)),
            (None, Some(variable)) => Some(SecretFrom::Env(variable.value.to_owned())),
            (Some(_), Some(_)) | (None, None) => {
                let hint = Some("write one of `bearer_file` and `bearer_env`".to_owned());
                let message = "what the transmitter shows with each delivery has to be said once".to_owned();
                self.report.add(self.text, node.at(), node.path(), message, hint);
                None
            }
        };
        let mut issuers = BTreeSet::new();
        for name in node.texts("issuers").into_iter().flatten() {
            match Issuer::parse(&name.value) {
                Ok(issuer) if trusted.contains(issuer.as_str()) => drop(issuers.insert(issuer)),
                Ok(_) | Err(_) => {
                    let all: Vec<&str> = trusted.iter().copied().collect();
                    let hint = Some(format!("`[[issuers]]` has: {}", all.join(", ")));
                    let message = format!("`{}` is no issuer that is trusted here", name.value);
                    self.report.add(self.text, &name.at, &name.path, message, hint);
                }
            }
        }
        let name = self.parsed(node.text("name")?, ServerName::parse)?;
        let issuer = self.parsed(node.text("issuer")?, Issuer::parse)?;
        let algorithms = node.texts("algorithms")?;
        Some(SignalsConfig {
            name,
            issuer,
            jwks_uri: uri.map(|found| found.value.to_owned()),
            jwks_file: file,
            algorithms: algorithms
                .iter()
                .filter_map(|name| SignatureAlgorithm::from_name(&name.value))
                .collect(),
            audience: node.text("audience")?.value.to_owned(),
            issuers,
            bearer: bearer?,
            sessions: match node.text("sessions").map(|found| found.value) {
                Some("grants") => Sessions::NamedByTokens,
                Some(_) | None => Sessions::Unknown,
            },
            clock_skew: node.duration("clock_skew").unwrap_or(Lifetime::from_secs(30)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn wrong(change: &[(&str, &str)]) -> Vec<String> {
        let mut text = r#"version = 1
[[servers]]
name = "crm"
url = "http://127.0.0.1:1"
unlisted = "read"
[[issuers]]
issuer = "https://as.example"
algorithms = ["ES256"]
[[signals]]
name = "corp"
issuer = "https://ssf.example"
jwks_uri = "https://ssf.example/jwks"
algorithms = ["ES256"]
audience = "https://gw.example"
issuers = ["https://as.example"]
bearer_env = "CORP"
"#
        .to_owned();
        for (from, to) in change {
            assert!(text.contains(from));
            text = text.replace(from, to);
        }
        match Config::parse(&text) {
            Ok(_) => Vec::new(),
            Err(errors) => vec![format!("{errors:?}")],
        }
    }

    #[test]
    fn a_transmitter_has_keys_a_credential_and_issuers_that_are_trusted() {
        assert_eq!(wrong(&[]), Vec::<String>::new());
        for (change, said) in [
            (
                ("jwks_uri = \"https://ssf.example/jwks\"\n", ""),
                "keys are has to be said once",
            ),
            (("bearer_env = \"CORP\"", ""), "has to be said once"),
            (
                (
                    "bearer_env = \"CORP\"",
                    "bearer_env = \"CORP\"\nbearer_file = \"x\"",
                ),
                "has to be said once",
            ),
            (
                (
                    "issuers = [\"https://as.example\"]",
                    "issuers = [\"https://as.example/\"]",
                ),
                "no issuer that is trusted here",
            ),
        ] {
            let errors = wrong(&[change]);
            assert!(
                errors.iter().any(|error| error.contains(said)),
                "{said}: {errors:?}"
            );
        }
    }
}
