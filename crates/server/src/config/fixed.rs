//! What of a configuration stays as it was while a gateway runs.

use super::settings::{Config, ServerConfig};

impl Config {
    /// The sections that differ from those of `running` in what a gateway uses from its start to its end: addresses, servers and how
    /// they are reached, transmitters of security events, sealed fields, bounds of connections, bodies and streams, keys and logs. Without any, this configuration can take
    /// the place of that one. Sections of other roles do not count.
    #[must_use]
    pub fn cannot_replace(&self, running: &Self) -> Vec<&'static str> {
        let servers = |config: &Self| config.servers.iter().map(reached).collect::<Vec<_>>();
        let bounds = |config: &Self| {
            let limits = &config.limits;
            (
                limits.body,
                limits.connections,
                limits.connections_per_address,
                limits.streams,
            )
        };
        [
            ("gateway", self.gateway == running.gateway),
            ("servers", servers(self) == servers(running)),
            ("signals", self.signals == running.signals),
            ("limits", bounds(self) == bounds(running)),
            ("audit", self.audit == running.audit),
            ("keys", self.keys == running.keys),
            ("store", self.store == running.store),
            ("ephemeral", self.ephemeral == running.ephemeral),
            ("mtls", self.mtls == running.mtls),
            ("trust_domains", self.trust_domains == running.trust_domains),
        ]
        .into_iter()
        .filter_map(|(section, same)| (!same).then_some(section))
        .collect()
    }
}

/// What a running gateway has of a server. Its tools, their quotas and what it asks of senders may change.
fn reached(server: &ServerConfig) -> impl PartialEq + use<> {
    let ServerConfig {
        name,
        transport,
        credential,
        seals,
        unlisted: _,
        tools: _,
        rates: _,
        dpop: _,
        mtls: _,
    } = server.clone();
    (name, transport, credential, seals)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"version = 1
[gateway]
listen = "127.0.0.1:1"
public_url = "http://127.0.0.1:1"
[[issuers]]
issuer = "https://as.example"
algorithms = ["ES256"]
[[servers]]
name = "crm"
url = "http://127.0.0.1:2/mcp"
[servers.tools.find]
effect = "read"
[keys]
dir = "keys"
master_key_file = "master.key"
[audit]
dir = "audit"
"#;

    fn config(from: &str, to: &str) -> Config {
        assert!(FILE.contains(from), "{from}");
        Config::parse(&FILE.replace(from, to)).unwrap()
    }

    #[test]
    fn what_is_judged_by_may_change_and_nothing_else() {
        let running = config("", "");
        for (from, to) in [
            ("as.example\"", "other.example\"\nclock_skew = \"1s\""),
            ("effect = \"read\"", "effect = \"write\"\nrate = \"1/min\""),
            ("[keys]", "[limits]\nper_client = \"1/min\"\n[keys]"),
            ("[keys]", "[dpop]\nrequired = \"always\"\n[keys]"),
            ("[keys]", "[policy]\nfiles = [\"more.cedar\"]\n[keys]"),
            (
                "/mcp\"",
                "/mcp\"\nunlisted = \"read\"\n[servers.dpop]\nnonce = \"always\"",
            ),
        ] {
            assert_eq!(config(from, to).cannot_replace(&running), [""; 0], "{to}");
        }
        for (from, to, section) in [
            ("listen = \"127.0.0.1:1\"", "listen = \"127.0.0.1:3\"", "gateway"),
            ("127.0.0.1:2", "127.0.0.1:3", "servers"),
            (
                "[servers.tools.find]",
                "credential_env = \"X\"\n[servers.tools.find]",
                "servers",
            ),
            (
                "[keys]",
                "[servers.tools.find.seal]\narguments = [\"/a\"]\n[keys]",
                "servers",
            ),
            ("name = \"crm\"", "name = \"crn\"", "servers"),
            ("[keys]", "[limits]\nstreams = 1\n[keys]", "limits"),
            ("dir = \"audit\"", "dir = \"other\"", "audit"),
            ("dir = \"keys\"", "dir = \"other\"", "keys"),
            ("[keys]", "[store]\nurl = \"sqlite:a.db\"\n[keys]", "store"),
            ("[keys]", "[ephemeral]\nmemory = \"1MiB\"\n[keys]", "ephemeral"),
        ] {
            assert_eq!(config(from, to).cannot_replace(&running), [section], "{to}");
        }
    }
}
