//! `[dpop]`, `[servers.dpop]` and `[ephemeral]`.

use portcullis_core::identity::dpop::WINDOW;

use super::build::Builder;
use super::document::Node;
use super::settings::{
    DpopConfig, DpopNonce, DpopRequired, DpopRule, EphemeralConfig, RedisConfig, SecretFrom,
};
use crate::ephemeral::{self, InvalidRedisUrl, RedisUrl};

impl Builder<'_> {
    pub(super) fn dpop(&mut self, node: Option<&Node>) -> DpopConfig {
        let usual = DpopConfig::default();
        let Some(node) = node else {
            return usual;
        };
        let window = node.duration("window").unwrap_or(usual.window);
        if window > WINDOW {
            let hint = Some("write `\"60s\"` or less".to_owned());
            let message = "a proof that may be old this long can be stolen for this long".to_owned();
            self.report
                .add(self.text, node.at(), "dpop.window", message, hint);
        }
        DpopConfig {
            rule: dpop_rule(node, usual.rule),
            window,
        }
    }

    pub(super) fn ephemeral(&mut self, node: &Node) -> Option<EphemeralConfig> {
        let password = match (node.path_value("password_file"), node.text("password_env")) {
            (Some(_), Some(variable)) => {
                let hint = Some("keep one of them".to_owned());
                self.add(
                    &variable,
                    "`password_file` and `password_env` are both given",
                    hint,
                );
                None
            }
            (Some(file), None) => Some(SecretFrom::File(file)),
            (None, Some(variable)) => Some(SecretFrom::Env(variable.value.to_owned())),
            (None, None) => None,
        };
        let memory = node.size("memory").unwrap_or(ephemeral::MEMORY);
        let ca_file = node.path_value("ca_file");
        let Some(url) = node.text("url").filter(|url| url.value != "memory:") else {
            if password.is_some() || ca_file.is_some() {
                let hint = Some("add `url = \"rediss://…\"`, or remove them".to_owned());
                let message = "a password or certificates are given, and no Redis".to_owned();
                self.report.add(self.text, node.at(), node.path(), message, hint);
            }
            return Some(EphemeralConfig { redis: None, memory });
        };
        match RedisUrl::parse(url.value) {
            Ok(at) => {
                if ca_file.is_some() && !at.is_tls() {
                    let hint = Some("write `rediss://…`, or remove `ca_file`".to_owned());
                    self.add(&url, "certificates are given for a connection without TLS", hint);
                }
                let redis = Some(RedisConfig {
                    url: at,
                    password,
                    ca_file,
                });
                Some(EphemeralConfig { redis, memory })
            }
            Err(error) => {
                let hint = match error {
                    InvalidRedisUrl::Password => {
                        "put the password into a file and name it with `password_file`"
                    }
                    InvalidRedisUrl::Extra | InvalidRedisUrl::Malformed => {
                        "write `memory:`, `redis://USER@HOST:PORT/DATABASE` or `rediss://…`"
                    }
                };
                self.add(&url, &error.to_string(), Some(hint.to_owned()));
                None
            }
        }
    }
}

/// What a section says, and what holds where it says nothing.
pub(super) fn dpop_rule(node: &Node, otherwise: DpopRule) -> DpopRule {
    DpopRule {
        required: match node.text("required").map(|found| found.value) {
            Some("always") => DpopRequired::Always,
            Some("bound-tokens") => DpopRequired::BoundTokens,
            Some(_) | None => otherwise.required,
        },
        nonce: match node.text("nonce").map(|found| found.value) {
            Some("always") => DpopNonce::Always,
            Some("never") => DpopNonce::Never,
            Some(_) | None => otherwise.nonce,
        },
    }
}
