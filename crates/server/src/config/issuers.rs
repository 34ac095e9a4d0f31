//! `[[issuers]]`.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::identity::{ClaimPath, Field, Profile, TokenProfile, WithoutSubject};
use portcullis_core::ids::{ClientId, Issuer, ServerName, ToolName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::time::Lifetime;
use portcullis_guard::{CallsOfToken, Part, Serves};

use super::build::Builder;
use super::document::{Found, Node};
use super::settings::{IntrospectionConfig, IssuerConfig};

/// Longest time for which an answer about an opaque token may count.
const ANSWER: Lifetime = Lifetime::from_secs(60);

/// What is read from answers about opaque tokens as it is from JWTs: RFC 7662 §2.2 names the rest.
const OF_SUBJECTS: [(&str, Field); 4] = [
    ("groups_claim", Field::Groups),
    ("roles_claim", Field::Roles),
    ("tenant_claim", Field::Tenant),
    ("grant_claim", Field::Grant),
];
const OF_TOKENS: [(&str, Field); 3] = [
    ("subject_claim", Field::Subject),
    ("client_claim", Field::Client),
    ("scope_claim", Field::Scopes),
];

impl Builder<'_> {
    /// All of them, and the rules between them and the servers.
    pub(super) fn issuers(&mut self, document: &Node) -> Vec<IssuerConfig> {
        self.unique(
            document.many("issuers").filter_map(|node| node.text("issuer")),
            "issuer",
        );
        let servers: BTreeSet<&str> = document
            .many("servers")
            .filter_map(|node| Some(node.text("name")?.value))
            .collect();
        // The issuer of opaque tokens at each server.
        let mut opaque: BTreeMap<&str, &str> = BTreeMap::new();
        for node in document.many("issuers") {
            self.known_servers(node, &servers);
            let (Some(introspection), Some(issuer)) = (node.one("introspection"), node.text("issuer")) else {
                continue;
            };
            let named: Vec<&str> = node.named("servers").map(|(name, _)| name).collect();
            for server in servers
                .iter()
                .filter(|server| named.is_empty() || named.contains(server))
            {
                if let Some(other) = opaque.insert(server, issuer.value) {
                    let message = format!(
                        "the server `{server}` has opaque tokens of `{other}` already, and a token does not say whose it is"
                    );
                    let hint = Some(
                        "name other servers in `[issuers.servers]`, or remove `introspection`".to_owned(),
                    );
                    self.report
                        .add(self.text, introspection.at(), introspection.path(), message, hint);
                }
            }
        }
        document
            .many("issuers")
            .filter_map(|node| self.issuer(node))
            .collect()
    }

    fn known_servers(&mut self, node: &Node, servers: &BTreeSet<&str>) {
        for (name, server) in node.named("servers") {
            if !servers.contains(name) {
                let hint = Some(format!(
                    "`[[servers]]` has: {}",
                    servers.iter().copied().collect::<Vec<_>>().join(", ")
                ));
                let message = "no server of this name".to_owned();
                self.report
                    .add(self.text, server.at(), server.path(), message, hint);
            }
        }
        let audiences = node
            .named("servers")
            .filter_map(|(_, server)| server.text("audience"));
        self.unique(audiences, "server with the audience");
    }

    fn issuer(&mut self, node: &Node) -> Option<IssuerConfig> {
        if let (Some(_), Some(file)) = (node.text("jwks_uri"), node.text("jwks_file")) {
            self.add(
                &file,
                "`jwks_uri` and `jwks_file` are both given",
                Some("keep one of them".to_owned()),
            );
        }
        let profile = node
            .text("profile")
            .and_then(|found| Profile::from_name(found.value))
            .unwrap_or(Profile::Rfc9068);
        let (mut tokens, mut answers) = (TokenProfile::of(profile), TokenProfile::of_introspection());
        for (name, field) in OF_TOKENS {
            if let Some(at) = self.claim(node.text(name)) {
                tokens = tokens.with_claim(field, at);
            }
        }
        for (name, field) in OF_SUBJECTS {
            if let Some(at) = self.claim(node.text(name)) {
                tokens = tokens.with_claim(field, at.clone());
                answers = answers.with_claim(field, at);
            }
        }
        let introspection = node
            .one("introspection")
            .map(|node| self.introspection(node, answers));
        let serves = self.serves(node);
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
            ca_file: node.path_value("ca_file"),
            algorithms,
            max_token_lifetime: node
                .duration("max_token_lifetime")
                .unwrap_or(Lifetime::from_hours(1)),
            clock_skew: node.duration("clock_skew").unwrap_or(Lifetime::from_secs(30)),
            tokens,
            serves,
            calls: match node.text("tokens_for").map(|found| found.value) {
                Some("one-call") => CallsOfToken::One,
                Some(_) | None => CallsOfToken::Many,
            },
            // One that says something wrong is on the report, and must not become none.
            introspection: match introspection {
                None => None,
                Some(introspection) => Some(introspection?),
            },
        })
    }

    fn claim(&mut self, found: Option<Found<&str>>) -> Option<ClaimPath> {
        self.parsed(found?, ClaimPath::parse)
    }

    /// `[issuers.servers.NAME]`
    fn serves(&mut self, node: &Node) -> Serves {
        let mut parts = BTreeMap::new();
        let mut none = true;
        for (name, server) in node.named("servers") {
            none = false;
            let tools = server.texts("tools").map(|tools| {
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
            // A name that is none is none of a server, which is on the report.
            if let Ok(name) = ServerName::parse(name) {
                let audience = server.text("audience").map(|found| found.value.to_owned());
                parts.insert(name, Part { audience, tools });
            }
        }
        if none { Serves::Every } else { Serves::Only(parts) }
    }

    /// `[issuers.introspection]`
    fn introspection(&mut self, node: &Node, answers: TokenProfile) -> Option<IntrospectionConfig> {
        let cache = node.duration("cache").unwrap_or(Lifetime::from_secs(10));
        if cache > ANSWER {
            let hint = Some("write `\"1m\"` or less".to_owned());
            let message = "a token that was revoked would be accepted this long".to_owned();
            let path = format!("{}.cache", node.path());
            self.report.add(self.text, node.at(), &path, message, hint);
        }
        let without_sub = match node.text("without_sub").map(|found| found.value) {
            Some("client") => WithoutSubject::Client,
            Some(_) | None => WithoutSubject::Refused,
        };
        let client_id = node.text("client_id")?;
        Some(IntrospectionConfig {
            url: node.text("url")?.value.to_owned(),
            client_id: self.parsed(client_id, ClientId::parse)?,
            client_secret_file: node.path_value("client_secret_file")?,
            cache,
            answers: answers.with_absent_subject(without_sub),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::PROFILES;
    use super::super::{Config, IssuerConfig};
    use super::*;

    fn config(issuers: &str) -> Result<Vec<IssuerConfig>, Vec<(String, String)>> {
        let servers = "[[servers]]\nname = \"crm\"\nurl = \"http://127.0.0.1:1\"\n[[servers]]\nname = \"vault\"\nurl = \"http://127.0.0.1:2\"\n";
        match Config::parse(&format!("version = 1\n{servers}{issuers}")) {
            Ok(config) => Ok(config.issuers),
            Err(report) => Err(report
                .findings()
                .iter()
                .map(|finding| (finding.path.clone(), finding.message.clone()))
                .collect()),
        }
    }

    fn issuer(name: &str, rest: &str) -> String {
        format!("[[issuers]]\nissuer = \"https://{name}.example\"\nalgorithms = [\"ES256\"]\n{rest}\n")
    }

    const ASKED: &str =
        "introspection = { url = \"https://a.example/i\", client_id = \"gw\", client_secret_file = \"s\" }";

    #[test]
    fn every_profile_has_its_word() {
        assert_eq!(PROFILES, Profile::ALL.map(Profile::name));
        let plain = config(&issuer("a", "")).unwrap();
        assert_eq!(plain[0].calls, CallsOfToken::Many);
        let one = config(&issuer("a", "tokens_for = \"one-call\"")).unwrap();
        assert_eq!(one[0].calls, CallsOfToken::One);
        assert_eq!(plain[0].tokens, TokenProfile::of(Profile::Rfc9068));
        assert!(matches!(plain[0].serves, Serves::Every) && plain[0].introspection.is_none());
        for profile in Profile::ALL {
            let one = config(&issuer("a", &format!("profile = \"{}\"", profile.name()))).unwrap();
            assert_eq!(one[0].tokens, TokenProfile::of(profile));
        }
    }

    #[test]
    fn what_an_issuer_may_speak_for_is_read() {
        let text = issuer(
            "a",
            "[issuers.servers.crm]\naudience = \"guid\"\ntools = [\"find\"]",
        );
        let Serves::Only(parts) = config(&text).unwrap().remove(0).serves else {
            panic!("it may speak for every server")
        };
        let part = &parts[&ServerName::parse("crm").unwrap()];
        assert_eq!((parts.len(), part.audience.as_deref()), (1, Some("guid")));
        assert_eq!(
            part.tools,
            Some(BTreeSet::from([ToolName::parse("find").unwrap()]))
        );
    }

    #[test]
    fn claims_are_read_of_tokens_and_those_of_subjects_of_answers_too() {
        let text = issuer(
            "a",
            &format!("scope_claim = \"scp\"\nroles_claim = \"/r/s\"\n{ASKED}"),
        );
        let one = config(&text).unwrap().remove(0);
        let at = |text: &str| ClaimPath::parse(text).unwrap();
        let tokens = TokenProfile::of(Profile::Rfc9068).with_claim(Field::Scopes, at("scp"));
        assert_eq!(one.tokens, tokens.with_claim(Field::Roles, at("/r/s")));
        let introspection = one.introspection.unwrap();
        let answers = TokenProfile::of_introspection().with_claim(Field::Roles, at("/r/s"));
        assert_eq!(introspection.answers, answers);
        assert_eq!(introspection.cache, Lifetime::from_secs(10));
        let says = |word: &str| {
            let asked = ASKED.replace(" }", &format!(", without_sub = \"{word}\" }}"));
            let mut issuers = config(&issuer("a", &asked))?;
            Ok::<_, Vec<(String, String)>>(issuers.remove(0).introspection.unwrap().answers)
        };
        let answers = TokenProfile::of_introspection();
        assert_eq!(says("refused").unwrap(), answers);
        let itself = answers.with_absent_subject(WithoutSubject::Client);
        assert_eq!(says("client").unwrap(), itself);
        assert_eq!(
            says("user").unwrap_err()[0].0,
            "issuers[0].introspection.without_sub"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        let opaque = |rest: &str| format!("{ASKED}\n{rest}");
        let two = |first: &str, second: &str| issuer("a", &opaque(first)) + &issuer("b", &opaque(second));
        let rows = [
            (issuer("a", "[issuers.servers.cmr]"), "issuers[0].servers.cmr"),
            (
                issuer(
                    "a",
                    "[issuers.servers.crm]\naudience = \"x\"\n[issuers.servers.vault]\naudience = \"x\"",
                ),
                "issuers[0].servers.vault.audience",
            ),
            (issuer("a", "client_claim = \"/a//b\""), "issuers[0].client_claim"),
            (issuer("a", "profile = \"google\""), "issuers[0].profile"),
            (
                issuer("a", &ASKED.replace(" }", ", cache = \"61s\" }")),
                "issuers[0].introspection.cache",
            ),
            (two("", ""), "issuers[1].introspection"),
            (two("", "[issuers.servers.crm]"), "issuers[1].introspection"),
            (
                two("[issuers.servers.crm]", "[issuers.servers.crm]"),
                "issuers[1].introspection",
            ),
        ];
        for (text, path) in rows {
            let findings = config(&text).unwrap_err();
            assert!(
                findings.iter().all(|(found, _)| found == path),
                "{text}: {findings:?}"
            );
        }
        // Each of them at servers of its own.
        let apart = two("[issuers.servers.crm]", "[issuers.servers.vault]");
        assert_eq!(config(&apart).unwrap().len(), 2);
        assert!(config(&issuer("a", &ASKED.replace(" }", ", cache = \"60s\" }"))).is_ok());
    }
}
