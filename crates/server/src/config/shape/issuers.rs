//! `[[issuers]]`: whose access tokens count, where, and what they look like.

use super::{ALGORITHMS, Kind, Need, PROFILES, Section, TOKENS_FOR, WITHOUT_SUB, key, many, named, once};

pub(super) const SECTION: Section = many(
    "issuers",
    "An authorization server whose access tokens are accepted: see `issuers.md`.",
    &[
        key(
            "issuer",
            Kind::Url,
            Need::Required,
            "Its issuer identifier, compared as a string with `iss`.",
        ),
        key(
            "jwks_uri",
            Kind::Url,
            Need::Absent("found in the issuer's metadata"),
            "Where its JWK Set is. Not together with `jwks_file`.",
        ),
        key(
            "jwks_file",
            Kind::Path,
            Need::Absent("fetched"),
            "A file that holds its JWK Set.",
        ),
        key(
            "ca_file",
            Kind::Path,
            Need::Absent("the operating system's alone"),
            "Certificates (PEM) that are trusted for it besides the operating system's: for an issuer with a private CA.",
        ),
        key(
            "algorithms",
            Kind::Words(ALGORITHMS),
            Need::Required,
            "Signature algorithms accepted from it: no other is, whatever it publishes. `ML-DSA-65` is on for an issuer that has it here.",
        ),
        key(
            "max_token_lifetime",
            Kind::Duration,
            Need::Absent("1h"),
            "Tokens that live longer (`exp` - `iat`) are refused.",
        ),
        key(
            "clock_skew",
            Kind::Duration,
            Need::Absent("30s"),
            "Accepted difference between its clock and ours.",
        ),
        key(
            "tokens_for",
            Kind::Word(TOKENS_FOR),
            Need::Absent("many-calls"),
            "For how many calls each token is. With `one-call`, `jti` is remembered in the ephemeral store and a second call with it is refused.",
        ),
        key(
            "profile",
            Kind::Word(PROFILES),
            Need::Absent("rfc9068"),
            "What its access tokens look like, where they are not those of RFC 9068.",
        ),
        key(
            "subject_claim",
            Kind::Text,
            Need::Absent("as in the profile"),
            "The claim that says whom a token is about: a name, or with a `/` at its beginning a JSON Pointer, such as `/user/id`.",
        ),
        key(
            "client_claim",
            Kind::Text,
            Need::Absent("as in the profile"),
            "The claim that names the client.",
        ),
        key(
            "scope_claim",
            Kind::Text,
            Need::Absent("as in the profile"),
            "The claim with the scopes: one text with spaces, or a list.",
        ),
        key(
            "groups_claim",
            Kind::Text,
            Need::Absent("as in the profile, or none"),
            "The claim with the subject's groups, for `principal.groups` in policies: a text or a list.",
        ),
        key(
            "roles_claim",
            Kind::Text,
            Need::Absent("as in the profile, or none"),
            "The claim with the subject's roles, for `principal.roles`: a text or a list.",
        ),
        key(
            "tenant_claim",
            Kind::Text,
            Need::Absent("as in the profile, or none"),
            "The claim with the subject's tenant, for `principal.tenant`.",
        ),
        key(
            "grant_claim",
            Kind::Text,
            Need::Absent("as in the profile, or none"),
            "The claim that names the grant or session that a token is of: all its tokens can be revoked at once (`registry revoke grant`).",
        ),
    ],
    &[
        named(
            "servers",
            "A server that the issuer may speak for. With one such section, it may speak for no server that has none.",
            &[
                key(
                    "audience",
                    Kind::Text,
                    Need::Absent("the server's resource identifier"),
                    "`aud` of the issuer's tokens for this server, where it cannot be the resource identifier. No two servers share one.",
                ),
                key(
                    "tools",
                    Kind::Texts,
                    Need::Absent("all"),
                    "Tools that may be called with the issuer's tokens. With this, no prompt, resource or task can be reached.",
                ),
            ],
            &[],
        ),
        once(
            "introspection",
            "Tokens of the issuer that are no JWTs: it is asked about each (RFC 7662). At most one issuer of a server has this.",
            &[
                key("url", Kind::Url, Need::Required, "Its introspection endpoint."),
                key("client_id", Kind::Text, Need::Required, "How we are known there."),
                key(
                    "client_secret_file",
                    Kind::Path,
                    Need::Required,
                    "File with our secret there, private to its owner.",
                ),
                key(
                    "without_sub",
                    Kind::Word(WITHOUT_SUB),
                    Need::Absent("refused"),
                    "What an answer is that says whose the token is not (`sub`): `refused`, or about the `client` itself, for an issuer that leaves `sub` out where no user is.",
                ),
                key(
                    "cache",
                    Kind::Duration,
                    Need::Absent("10s"),
                    "How long an answer counts, `1m` at most: a token that the issuer revokes is accepted for as long.",
                ),
            ],
            &[],
        ),
    ],
);
