//! `[[trust_domains]]`: workloads that a SPIFFE trust domain vouches for.

use super::{ALGORITHMS, Kind, Need, Section, key, many, named};

pub(super) const SECTION: Section = many(
    "trust_domains",
    "A SPIFFE trust domain whose workloads may call without an authorization server: see `workload-identity.md`. They have what is said here and nothing else.",
    &[
        key(
            "name",
            Kind::Text,
            Need::Required,
            "Its name, without `spiffe://`.",
        ),
        key(
            "bundle_file",
            Kind::Path,
            Need::Required,
            "Its bundle, in the SPIFFE format. A renewed file is in use within seconds.",
        ),
        key(
            "algorithms",
            Kind::Words(ALGORITHMS),
            Need::Absent("no JWT-SVID is taken"),
            "Signature algorithms of JWT-SVIDs. Without it, workloads call with their certificates (X.509-SVID) alone.",
        ),
        key(
            "max_token_lifetime",
            Kind::Duration,
            Need::Absent("1h"),
            "JWT-SVIDs that live longer are refused.",
        ),
        key(
            "clock_skew",
            Kind::Duration,
            Need::Absent("30s"),
            "Accepted difference between the domain's clock and ours.",
        ),
    ],
    &[named(
        "servers",
        "A server that workloads of the domain may call. At a server without such a section they have nothing.",
        &[key(
            "tools",
            Kind::Texts,
            Need::Absent("all"),
            "Tools that may be called. With this, no prompt, resource or task can be reached.",
        )],
        &[named(
            "workloads",
            "What some workloads have: one, by the path of its SPIFFE ID (`\"/ns/sales/report\"`), or all below a path (`\"/ns/sales/*\"`). A workload has all that fits it together.",
            &[
                key("scopes", Kind::Texts, Need::Required, "Scopes that they hold."),
                key(
                    "roles",
                    Kind::Texts,
                    Need::Absent("none"),
                    "Roles, for `principal.roles` in policies.",
                ),
            ],
            &[],
        )],
    )],
);
