//! The one table of what a configuration file may say.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

mod issuers;
mod keys;
mod limits;
mod mtls;
mod proofs;
mod seal;
mod signals;
mod tls;
mod workloads;

/// Largest number that a key may have.
pub(super) const COUNT: usize = 1_000_000;

/// What a key's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The number 1: the version of this format.
    Version,
    /// Any text.
    Text,
    /// An `http` or `https` URL, kept as written.
    Url,
    /// `HOST:PORT`.
    Address,
    /// A path, relative to the folder of the file.
    Path,
    /// `"90s"`, `"5m"`, `"12h"`, `"30d"`.
    Duration,
    /// `"64KiB"`, `"4MiB"`.
    Size,
    /// `"600/min"`, or `"none"`.
    Rate,
    /// A whole number from 1 on.
    Count,
    /// A list of texts.
    Texts,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of these words.
    Words(&'static [&'static str]),
}

/// Whether a key must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Always.
    Required,
    /// Not; and this is what its absence means.
    Absent(&'static str),
}

/// How often a section appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// `[name]`, at most once.
    Once,
    /// `[[name]]`, any number.
    Many,
    /// `[name.X]`, one for each `X`.
    Named,
}

pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
    pub(super) doc: &'static str,
}

pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) times: Times,
    pub(super) doc: &'static str,
    pub(super) keys: &'static [Key],
    pub(super) sections: &'static [Section],
}

pub(super) const DPOP_REQUIRED: &[&str] = &["bound-tokens", "always"];
pub(super) const DPOP_NONCE: &[&str] = &["never", "always"];
pub(super) const MTLS_REQUIRED: &[&str] = &["bound-tokens", "always", "either"];
pub(super) const PROXY_FORMS: &[&str] = &["client-cert", "x-forwarded-client-cert", "escaped-pem"];
pub(super) const SELF_SIGNED: &[&str] = &["refuse", "bind"];
pub(super) const CLEAR: &[&str] = &["refuse", "allow"];
pub(super) const SESSION_CIPHERS: &[&str] = &["A256GCM", "C20P"];
pub(super) const EFFECTS: &[&str] = &["read", "write", "irreversible"];
pub(super) const ALGORITHMS: &[&str] = &[
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ML-DSA-65",
];
pub(super) const PROFILES: &[&str] = &["rfc9068", "entra", "okta", "auth0", "keycloak", "cognito"];
pub(super) const TOKENS_FOR: &[&str] = &["many-calls", "one-call"];
pub(super) const WITHOUT_SUB: &[&str] = &["refused", "client"];
pub(super) const KEY_MANAGEMENT: &[&str] = &["ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW", "RSA-OAEP-256"];
const CUSTODY: &[&str] = &["file", "pkcs11", "external"];
const SERVICES: &[&str] = &["aws-kms"];
const RSA_BITS: &[&str] = &["2048", "3072", "4096"];
pub(super) const KEPT_IN: &[&str] = &["folder", "store"];

const fn key(name: &'static str, kind: Kind, need: Need, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        need,
        doc,
    }
}

const fn once(
    name: &'static str,
    doc: &'static str,
    keys: &'static [Key],
    sections: &'static [Section],
) -> Section {
    Section {
        name,
        times: Times::Once,
        doc,
        keys,
        sections,
    }
}

const fn many(
    name: &'static str,
    doc: &'static str,
    keys: &'static [Key],
    sections: &'static [Section],
) -> Section {
    Section {
        name,
        times: Times::Many,
        doc,
        keys,
        sections,
    }
}

const fn named(
    name: &'static str,
    doc: &'static str,
    keys: &'static [Key],
    sections: &'static [Section],
) -> Section {
    Section {
        name,
        times: Times::Named,
        doc,
        keys,
        sections,
    }
}

/// The whole document.
pub(super) const DOCUMENT: Section = once(
    "",
    "One file configures one process. Unknown keys are errors. Secrets are never written here, only where they are.",
    &[key(
        "version",
        Kind::Version,
        Need::Required,
        "The version of this format: `1`.",
    )],
    &[
        once(
            "gateway",
            "The resource server in front of the MCP servers.",
            &[
                key(
                    "listen",
                    Kind::Address,
                    Need::Required,
                    "Where the gateway listens.",
                ),
                key(
                    "admin_listen",
                    Kind::Address,
                    Need::Absent("no admin listener"),
                    "Where `/healthz`, `/readyz` and `/metrics` are served. Keep it private.",
                ),
                key(
                    "public_url",
                    Kind::Url,
                    Need::Required,
                    "The origin clients reach the gateway at. Resource identifiers and metadata URLs are made from it and never from a `Host` header.",
                ),
                key(
                    "origins",
                    Kind::Texts,
                    Need::Absent("only the public URL's own origin"),
                    "Further `Origin` values that browsers may send.",
                ),
            ],
            &[tls::OF_LISTENER, seal::SESSIONS],
        ),
        issuers::SECTION,
        workloads::SECTION,
        many(
            "servers",
            "An MCP server to guard.",
            &[
                key(
                    "name",
                    Kind::Text,
                    Need::Required,
                    "Lower-case letters, digits, `-` and `_`. Names its path `/s/{name}/mcp` and its scopes `{name}:read`, `{name}:write`, `{name}:irreversible`.",
                ),
                key(
                    "url",
                    Kind::Url,
                    Need::Absent("`command` is used"),
                    "Its Streamable HTTP endpoint. Either this or `command`.",
                ),
                key(
                    "command",
                    Kind::Texts,
                    Need::Absent("`url` is used"),
                    "The program and its arguments, for a server that speaks over stdio. Either this or `url`.",
                ),
                key(
                    "unlisted",
                    Kind::Word(EFFECTS),
                    Need::Absent("irreversible"),
                    "Effect of tools that no `[servers.tools.NAME]` names.",
                ),
                key(
                    "credential_file",
                    Kind::Path,
                    Need::Absent("no credential is sent"),
                    "File with the bearer token that the gateway itself shows the server.",
                ),
                key(
                    "credential_env",
                    Kind::Text,
                    Need::Absent("no credential is sent"),
                    "Environment variable with that token. Not together with `credential_file`.",
                ),
            ],
            &[
                named(
                    "tools",
                    "One tool of the server, by its exact name.",
                    &[
                        key(
                            "effect",
                            Kind::Word(EFFECTS),
                            Need::Required,
                            "What a call does: look, change, or change for good.",
                        ),
                        key(
                            "scopes",
                            Kind::Texts,
                            Need::Absent("`{server}:{effect}`"),
                            "Scopes that a call needs, all of them.",
                        ),
                        key(
                            "rate",
                            Kind::Rate,
                            Need::Absent("`per_tool` of `[limits]`"),
                            "Permitted calls, of all callers together.",
                        ),
                    ],
                    &[seal::SECTION],
                ),
                proofs::OF_SERVER,
                mtls::OF_SERVER,
            ],
        ),
        once(
            "policy",
            "Rules finer than scopes.",
            &[
                key(
                    "files",
                    Kind::Texts,
                    Need::Absent("no further rules"),
                    "Cedar policy files. Paths are relative to the folder of this file.",
                ),
                key(
                    "implies",
                    Kind::Texts,
                    Need::Absent("none"),
                    "Scopes that contain others, each as `\"broad > narrow\"`. `{server}:irreversible > {server}:write > {server}:read` always holds.",
                ),
            ],
            &[],
        ),
        proofs::DPOP,
        mtls::MTLS,
        limits::SECTION,
        once(
            "audit",
            "Where every decision is recorded.",
            &[key("dir", Kind::Path, Need::Required, "Folder of the audit log.")],
            &[],
        ),
        keys::SECTION,
        once(
            "store",
            "What is revoked, for all replicas; users, clients and grants of the authority.",
            &[key(
                "url",
                Kind::Text,
                Need::Required,
                "`sqlite:PATH`. A gateway that shares its keys with other replicas may have `postgres://USER@HOST/NAME`; the authority's users and grants are not kept there yet.",
            )],
            &[],
        ),
        signals::SECTION,
        proofs::EPHEMERAL,
        once(
            "authority",
            "The authorization server.",
            &[
                key(
                    "listen",
                    Kind::Address,
                    Need::Required,
                    "Where the authority listens.",
                ),
                key(
                    "admin_listen",
                    Kind::Address,
                    Need::Absent("no admin listener"),
                    "Where the authority's `/healthz`, `/readyz` and `/metrics` are served. Keep it private.",
                ),
                key(
                    "public_url",
                    Kind::Url,
                    Need::Required,
                    "Its issuer identifier, as clients and gateways know it.",
                ),
                key(
                    "access_token_lifetime",
                    Kind::Duration,
                    Need::Absent("5m"),
                    "How long access tokens live.",
                ),
                key(
                    "refresh_token_lifetime",
                    Kind::Duration,
                    Need::Absent("30d"),
                    "How long a login lasts at the longest, however often it is refreshed.",
                ),
            ],
            &[
                tls::OF_LISTENER,
                many(
                    "resources",
                    "An MCP endpoint that tokens are issued for.",
                    &[
                        key(
                            "uri",
                            Kind::Url,
                            Need::Required,
                            "Its resource identifier, compared as a string.",
                        ),
                        key(
                            "server",
                            Kind::Text,
                            Need::Required,
                            "Which `[[servers]]` entry it is.",
                        ),
                    ],
                    &[],
                ),
                many(
                    "users",
                    "A person who may log in.",
                    &[
                        key(
                            "name",
                            Kind::Text,
                            Need::Required,
                            "What they type on the login page.",
                        ),
                        key(
                            "password_file",
                            Kind::Path,
                            Need::Required,
                            "File with their password. Stored hashed with Argon2id.",
                        ),
                    ],
                    &[],
                ),
                many(
                    "clients",
                    "A confidential client registered by the operator, for `client_credentials`.",
                    &[
                        key("client_id", Kind::Text, Need::Required, "Its client identifier."),
                        key("secret_file", Kind::Path, Need::Required, "File with its secret."),
                        key("scopes", Kind::Texts, Need::Required, "Scopes it may ask for."),
                    ],
                    &[],
                ),
            ],
        ),
    ],
);

impl Kind {
    fn schema(self) -> Value {
        match self {
            Self::Version => json!({"const": 1}),
            Self::Text | Self::Path => json!({"type": "string", "minLength": 1}),
            Self::Url => json!({"type": "string", "format": "uri"}),
            Self::Address => json!({"type": "string", "pattern": "^.+:[0-9]+$"}),
            Self::Duration => json!({"type": "string", "pattern": "^[1-9][0-9]*[smhd]$"}),
            Self::Size => json!({"type": "string", "pattern": "^[1-9][0-9]*(B|KiB|MiB)$"}),
            Self::Rate => json!({"type": "string", "pattern": "^(none|[1-9][0-9]*/(s|min|h))$"}),
            Self::Count => json!({"type": "integer", "minimum": 1, "maximum": COUNT}),
            Self::Texts => json!({"type": "array", "items": {"type": "string", "minLength": 1}}),
            Self::Word(words) => json!({"enum": words}),
            Self::Words(words) => json!({"type": "array", "minItems": 1, "items": {"enum": words}}),
        }
    }

    pub(super) fn wanted(self) -> String {
        match self {
            Self::Version => "the number 1".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Url => "an http or https URL".to_owned(),
            Self::Address => "an address such as \"127.0.0.1:8420\"".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Duration => "a duration such as \"90s\", \"5m\", \"12h\" or \"30d\"".to_owned(),
            Self::Size => "a size such as \"64KiB\" or \"4MiB\"".to_owned(),
            Self::Rate => "a rate such as \"20/s\", \"600/min\" or \"5000/h\", or \"none\"".to_owned(),
            Self::Count => format!("a whole number from 1 to {COUNT}"),
            Self::Texts => "a list of texts".to_owned(),
            Self::Word(words) => format!("one of {}", quoted(words)),
            Self::Words(words) => format!("a list of {}", quoted(words)),
        }
    }
}

fn quoted(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The JSON Schema (draft 2020-12) of a configuration file.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = object(&DOCUMENT);
    if let Value::Object(members) = &mut schema {
        members.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        members.insert("title".to_owned(), json!("Portcullis configuration"));
    }
    schema
}

fn object(section: &Section) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in section.keys {
        let mut value = key.kind.schema();
        if let Value::Object(members) = &mut value {
            members.insert("description".to_owned(), json!(key.doc));
        }
        properties.insert(key.name.to_owned(), value);
        if key.need == Need::Required {
            required.push(key.name);
        }
    }
    for inner in section.sections {
        let value = object(inner);
        properties.insert(
            inner.name.to_owned(),
            match inner.times {
                Times::Once => value,
                Times::Many => json!({"type": "array", "items": value}),
                Times::Named => json!({"type": "object", "additionalProperties": value}),
            },
        );
    }
    json!({"type": "object", "description": section.doc, "properties": properties, "required": required, "additionalProperties": false})
}

/// The reference page in Markdown: `docs/config.md`.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration\n\nGenerated by `portcullis config schema --format markdown`; a test keeps it so.\n\n\
         `portcullis config check FILE` reports everything wrong with a file at once, each with its line and a hint.\n\n",
    );
    describe(&DOCUMENT, "", &mut page);
    page
}

fn describe(section: &Section, parent: &str, page: &mut String) {
    let path = if parent.is_empty() {
        section.name.to_owned()
    } else {
        format!("{parent}.{}", section.name)
    };
    let heading = match section.times {
        Times::Once if path.is_empty() => "The file".to_owned(),
        Times::Once => format!("`[{path}]`"),
        Times::Many => format!("`[[{path}]]`"),
        Times::Named => format!("`[{path}.NAME]`"),
    };
    // Writing to a String cannot fail; the results carry no information.
    let _ = write!(
        page,
        "## {heading}\n\n{}\n\n| key | value | when absent | meaning |\n|---|---|---|---|\n",
        section.doc
    );
    for key in section.keys {
        let need = match key.need {
            Need::Required => "required",
            Need::Absent(meaning) => meaning,
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {need} | {} |",
            key.name,
            key.kind.wanted().replace('|', "\\|"),
            key.doc
        );
    }
    page.push('\n');
    let path = match section.times {
        Times::Once | Times::Many => path,
        Times::Named => format!("{path}.NAME"),
    };
    for inner in section.sections {
        describe(inner, &path, page);
    }
}
