//! `[[signals]]`: who may say that a user or session ended.

use super::{ALGORITHMS, Kind, Need, Section, key, many};

const SESSIONS: &[&str] = &["users", "grants"];

pub(super) const SECTION: Section = many(
    "signals",
    "A transmitter of security events (Shared Signals, CAEP, RISC) that delivers them to `/signals/NAME` of the gateway: see `signals.md`.",
    &[
        key(
            "name",
            Kind::Text,
            Need::Required,
            "Its name, and the last step of the address: lower-case letters, digits, `-` and `_`.",
        ),
        key(
            "issuer",
            Kind::Url,
            Need::Required,
            "`iss` of its security event tokens, compared as a string.",
        ),
        key(
            "jwks_uri",
            Kind::Url,
            Need::Absent("`jwks_file` says"),
            "Where its JWK Set is.",
        ),
        key(
            "jwks_file",
            Kind::Path,
            Need::Absent("`jwks_uri` says"),
            "A file that holds its JWK Set.",
        ),
        key(
            "algorithms",
            Kind::Words(ALGORITHMS),
            Need::Required,
            "Signature algorithms accepted from it.",
        ),
        key(
            "audience",
            Kind::Text,
            Need::Required,
            "`aud` of what is for this gateway, as it was agreed on with the transmitter.",
        ),
        key(
            "issuers",
            Kind::Texts,
            Need::Required,
            "Of which of `[[issuers]]` it may say that users and sessions ended.",
        ),
        key(
            "bearer_file",
            Kind::Path,
            Need::Absent("`bearer_env` says"),
            "File with the credential that it shows as a bearer token with each delivery.",
        ),
        key(
            "bearer_env",
            Kind::Text,
            Need::Absent("`bearer_file` says"),
            "Environment variable with that credential.",
        ),
        key(
            "sessions",
            Kind::Word(SESSIONS),
            Need::Absent("users"),
            "What a session that ended is here: all that its user was issued until then, or, where tokens name their session (`grant_claim`), the tokens of that session (`grants`).",
        ),
        key(
            "clock_skew",
            Kind::Duration,
            Need::Absent("30s"),
            "Accepted difference between its clock and ours.",
        ),
    ],
    &[],
);
