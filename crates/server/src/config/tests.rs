//! What the file may say, and what the report says when it says something else.

use super::*;
use portcullis_core::policy::Effect;
use portcullis_core::time::Lifetime;

const GOOD: &str = r#"
version = 1

[gateway]
listen = "127.0.0.1:8420"
public_url = "https://mcp.example.com"

[[issuers]]
issuer = "https://as.example.com"
algorithms = ["ES256"]
max_token_lifetime = "10m"

[[servers]]
name = "crm"
url = "http://127.0.0.1:9000/mcp"
credential_env = "CRM_TOKEN"
[servers.tools.find]
effect = "read"
[servers.tools.merge]
effect = "write"
scopes = ["crm:merge"]

[policy]
files = ["crm.cedar"]
implies = ["crm:admin > crm:merge > crm:read"]

[audit]
dir = "audit"
[keys]
dir = "keys"
master_key_file = "master.key"
"#;

fn findings(text: &str) -> Vec<(usize, String)> {
    let report = Config::parse(text).unwrap_err();
    report
        .findings()
        .iter()
        .map(|finding| (finding.line, finding.path.clone()))
        .collect()
}

#[test]
fn a_good_file_is_read_whole() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.gateway.unwrap().public_url, "https://mcp.example.com");
    let crm = &config.servers[0];
    assert_eq!(
        crm.unlisted,
        Effect::Irreversible,
        "an unlisted tool is irreversible until an operator says otherwise"
    );
    assert_eq!(crm.credential, Some(SecretFrom::Env("CRM_TOKEN".to_owned())));
    assert_eq!(crm.tools.len(), 2);
    let implies: Vec<String> = config
        .policy
        .implies
        .iter()
        .map(|(a, b)| format!("{a}>{b}"))
        .collect();
    assert_eq!(implies, ["crm:admin>crm:merge", "crm:merge>crm:read"]);
    assert_eq!(config.limits.body, portcullis_core::limits::BODY_BYTES);
}

/// KEY-08 of the attack catalogue.
#[test]
fn every_error_is_reported_at_once_with_its_line() {
    let text = r#"version = 2

[gateway]
listne = "127.0.0.1:8420"
public_url = "https://mcp.example.com/path"

[[issuers]]
issuer = "https://as.example.com"
algorithms = ["HS256"]
max_token_lifetime = "soon"

[[servers]]
name = "CRM"
url = "http://127.0.0.1:9000/mcp"
command = ["crm"]
[servers.tools.find]
effect = "look"
"#;
    let found = findings(text);
    for expected in [
        (1, "version"),
        (3, "audit"),
        (3, "keys"),
        (3, "gateway.listen"),
        (4, "gateway.listne"),
        (5, "gateway.public_url"),
        (9, "issuers[0].algorithms[0]"),
        (10, "issuers[0].max_token_lifetime"),
        (13, "servers[0].name"),
        (14, "servers[0].url"),
        (17, "servers[0].tools.find.effect"),
    ] {
        assert!(
            found.contains(&(expected.0, expected.1.to_owned())),
            "{expected:?} not in {found:#?}"
        );
    }
    assert_eq!(found.len(), 11, "{found:#?}");
}

#[test]
fn a_misspelt_key_gets_a_suggestion() {
    let report = Config::parse(&GOOD.replace("algorithms", "algoritms")).unwrap_err();
    let hints: Vec<_> = report
        .findings()
        .iter()
        .filter_map(|finding| finding.hint.as_deref())
        .collect();
    assert!(hints.contains(&"did you mean `algorithms`?"), "{report}");
}

#[test]
fn broken_toml_is_reported_with_its_line_and_does_not_hide_the_rest() {
    let found = findings("version = 1\n[gateway\nlisten = \"x\"\n[nonsense]\n");
    assert!(
        found.iter().any(|(line, path)| *line == 2 && path.is_empty()),
        "{found:?}"
    );
    assert!(found.iter().any(|(_, path)| path == "nonsense"), "{found:?}");
}

#[test]
fn names_that_must_be_unique_are() {
    let twice = format!("{GOOD}\n[[servers]]\nname = \"crm\"\nurl = \"http://127.0.0.1:1/mcp\"\n");
    let report = Config::parse(&twice).unwrap_err();
    assert!(report.to_string().contains("a second server `crm`"), "{report}");
}

#[test]
fn a_gateway_without_audit_or_keys_or_issuers_does_not_load() {
    for section in ["[audit]", "[keys]", "[[issuers]]"] {
        let mut kept = true;
        let text: String = GOOD
            .lines()
            .filter(|line| {
                if line.starts_with('[') {
                    kept = *line != section;
                }
                kept
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let report = Config::parse(&text).unwrap_err();
        assert!(
            report.to_string().contains(&format!("needs `{section}`")),
            "{section}: {report}"
        );
    }
}

#[test]
fn every_key_the_reader_knows_is_in_the_schema_and_on_the_page() {
    let schema = json_schema().to_string();
    let page = reference_page();
    for name in [
        "listen",
        "public_url",
        "jwks_file",
        "unlisted",
        "credential_env",
        "master_key_file",
        "secret_file",
    ] {
        assert!(schema.contains(&format!("\"{name}\"")), "{name}");
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_committed_page_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
    let committed = std::fs::read_to_string(path).expect("docs/config.md is there");
    assert_eq!(
        committed,
        reference_page(),
        "run: cargo run -- config schema --format markdown > docs/config.md"
    );
}

#[test]
fn proofs_are_asked_for_as_the_server_says_and_otherwise_as_all_do() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.dpop, DpopConfig::default());
    assert_eq!(config.servers[0].dpop, config.dpop.rule);
    let text = GOOD.replace(
        "[servers.tools.find]",
        "[servers.dpop]\nnonce = \"never\"\n[servers.tools.find]",
    ) + "[dpop]\nrequired = \"always\"\nnonce = \"always\"\nwindow = \"20s\"\n";
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.dpop.window, Lifetime::from_secs(20));
    assert_eq!(
        config.servers[0].dpop,
        DpopRule {
            required: DpopRequired::Always,
            nonce: DpopNonce::Never
        }
    );
    assert_eq!(config.dpop.rule.nonce, DpopNonce::Always);
    let longer = GOOD.to_owned() + "[dpop]\nwindow = \"61s\"\n";
    assert_eq!(findings(&longer).len(), 1);
    assert!(Config::parse(&longer.replace("61s", "60s")).is_ok());
}

#[test]
fn a_redis_is_said_without_its_password() {
    let with = |section: &str| format!("{GOOD}[ephemeral]\n{section}\n");
    assert!(Config::parse(GOOD).unwrap().ephemeral.redis.is_none());
    assert!(
        Config::parse(&with("url = \"memory:\""))
            .unwrap()
            .ephemeral
            .redis
            .is_none()
    );
    let mut config = Config::parse(&with(
        "url = \"rediss://p@cache.example/1\"\npassword_file = \"p\"\nca_file = \"ca.pem\"\nmemory = \"40MiB\"",
    ))
    .unwrap();
    config.relative_to(std::path::Path::new("/etc/portcullis"));
    assert_eq!(config.ephemeral.memory, 40 << 20);
    let redis = config.ephemeral.redis.clone().unwrap();
    assert_eq!(redis.url.to_string(), "rediss://p@cache.example/1");
    assert_eq!(redis.password, Some(SecretFrom::File("/etc/portcullis/p".into())));
    assert_eq!(redis.ca_file, Some("/etc/portcullis/ca.pem".into()));
    assert!(
        config
            .files()
            .contains(&std::path::Path::new("/etc/portcullis/p"))
    );
    for (section, message) in [
        (
            "url = \"redis://:secret@cache.example\"",
            "the password is written into the URL",
        ),
        (
            "url = \"rediss://cache.example#insecure\"",
            "fragments are not accepted",
        ),
        ("url = \"memcached://cache.example\"", "not the URL of a Redis"),
        ("password_env = \"P\"", "and no Redis"),
        (
            "url = \"redis://cache.example\"\nca_file = \"ca.pem\"",
            "without TLS",
        ),
        (
            "url = \"redis://cache.example\"\npassword_env = \"P\"\npassword_file = \"p\"",
            "are both given",
        ),
    ] {
        let report = Config::parse(&with(section)).unwrap_err();
        assert!(report.to_string().contains(message), "{section}: {report}");
        assert!(!report.to_string().contains("secret"), "{report}");
        assert_eq!(report.findings().len(), 1, "{report}");
    }
}
