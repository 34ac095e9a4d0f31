//! What access tokens of an issuer look like: RFC 9068, and the issuers whose tokens differ from it, each as one table.
//!
//! A table has what the issuer's own documentation or source says, and nothing besides. An ID token must not pass for an
//! access token under any of them: RFC 9068 has `typ` for that; for the others something that the issuer's ID tokens lack
//! is required, or what only ID tokens have is refused (`docs/issuers.md` says which).

use super::translate::{ClaimPath, Field, Sources};

/// An issuer's kind of access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// RFC 9068.
    Rfc9068,
    /// Microsoft Entra ID, tokens of version 1.0 and 2.0.
    Entra,
    /// Okta, custom authorization servers.
    Okta,
    /// Auth0 with its own token profile. With its RFC 9068 profile it is [`Self::Rfc9068`].
    Auth0,
    /// Keycloak.
    Keycloak,
    /// Amazon Cognito user pools.
    Cognito,
}

/// What differs.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    /// Accepted `typ`, without `application/`; `None` is a header without one.
    types: &'static [Option<&'static str>],
    /// The claim that says what a token is for, and what it says in an access token.
    kind: Option<(&'static str, &'static [&'static str])>,
    /// Claims that ID tokens alone have.
    refused: &'static [&'static str],
    /// Where what is.
    claims: &'static [(Field, &'static str)],
    token_ids: TokenIds,
    /// What `aud` may have beside ours: the issuer with this after it.
    companion: Option<&'static str>,
}

/// Whether each token has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenIds {
    /// RFC 9068 §2.2 requires `jti`.
    Required,
    /// A token without a name is named by its hash.
    OrHash,
}

/// OpenID Connect Core §2, §3.1.3.6 and §3.3.2.11, FAPI 1.0 part 2 §5.1.1: what ties an ID token to its login.
const ID_TOKEN_CLAIMS: &[&str] = &["nonce", "at_hash", "c_hash", "s_hash"];

const RFC_9068: Table = Table {
    types: &[Some("at+jwt")],
    kind: None,
    refused: &[],
    claims: &[
        (Field::Subject, "sub"),
        (Field::Client, "client_id"),
        (Field::TokenId, "jti"),
        (Field::Scope, "scope"),
        (Field::Grant, "grant_id"),
    ],
    token_ids: TokenIds::Required,
    companion: None,
};

/// learn.microsoft.com, "Access token claims reference": `typ` is always `JWT`; the client is `azp` in tokens of version
/// 2.0 and `appid` in those of 1.0, and ID tokens ("ID token claims reference") have neither; `uti` is equivalent to `jti`,
/// and no claim may be relied on to be present.
const ENTRA: Table = Table {
    types: &[Some("JWT")],
    kind: None,
    refused: ID_TOKEN_CLAIMS,
    claims: &[
        (Field::Subject, "sub"),
        (Field::Client, "azp"),
        (Field::Client, "appid"),
        (Field::TokenId, "uti"),
        (Field::Scopes, "scp"),
        (Field::Roles, "roles"),
        (Field::Tenant, "tid"),
    ],
    token_ids: TokenIds::OrHash,
    companion: None,
};

/// Tokens of Okta as they are published: no `typ`, or `application/okta-internal-at+jwt`; the client is `cid`, which ID
/// tokens lack; `scp` is a list.
const OKTA: Table = Table {
    types: &[None, Some("okta-internal-at+jwt")],
    kind: None,
    refused: ID_TOKEN_CLAIMS,
    claims: &[
        (Field::Subject, "sub"),
        (Field::Client, "cid"),
        (Field::TokenId, "jti"),
        (Field::Scopes, "scp"),
    ],
    token_ids: TokenIds::Required,
    companion: None,
};

/// auth0.com, "Access Token Profiles": `typ` is `JWT`, the client is `azp`, there is no `jti`, and with the scope `openid`
/// the issuer's own `userinfo` is in `aud` beside the API.
const AUTH0: Table = Table {
    types: &[Some("JWT")],
    kind: None,
    refused: ID_TOKEN_CLAIMS,
    claims: &[
        (Field::Subject, "sub"),
        (Field::Client, "azp"),
        (Field::TokenId, "jti"),
        (Field::Scope, "scope"),
    ],
    token_ids: TokenIds::OrHash,
    companion: Some("userinfo"),
};

/// Keycloak (its source for `JWT`, `at+jwt` and `DPoP`, published tokens for `Bearer` and `ID`): `typ` of the header is
/// `JWT`, or `at+jwt` where the client is set so; a claim `typ` is `Bearer` or `DPoP` in access tokens, `ID` in ID tokens.
const KEYCLOAK: Table = Table {
    types: &[Some("JWT"), Some("at+jwt")],
    kind: Some(("typ", &["Bearer", "DPoP"])),
    refused: &[],
    claims: &[
        (Field::Subject, "sub"),
        (Field::Client, "azp"),
        (Field::TokenId, "jti"),
        (Field::Scope, "scope"),
        (Field::Grant, "sid"),
    ],
    token_ids: TokenIds::Required,
    companion: None,
};

/// docs.aws.amazon.com, "Understanding the access token": a header of `kid` and `alg` alone; `token_use` is `access`, and
/// `id` in ID tokens. That page names no `aud`, and a token without one is refused.
const COGNITO: Table = Table {
    types: &[None],
    kind: Some(("token_use", &["access"])),
    refused: &[],
    claims: &[
        (Field::Subject, "sub"),
        (Field::Client, "client_id"),
        (Field::TokenId, "jti"),
        (Field::Scope, "scope"),
        (Field::Groups, "cognito:groups"),
    ],
    token_ids: TokenIds::Required,
    companion: None,
};

/// RFC 7662 §2.2: the members of an answer to a question about a token. It has no header.
const INTROSPECTION: Table = Table {
    types: &[],
    kind: None,
    refused: &[],
    claims: &[
        (Field::Subject, "sub"),
        (Field::Client, "client_id"),
        (Field::TokenId, "jti"),
        (Field::Scope, "scope"),
        (Field::Grant, "grant_id"),
    ],
    token_ids: TokenIds::OrHash,
    companion: None,
};

/// JWT-SVID §3: a workload is subject and client, and what it may do is said elsewhere.
const JWT_SVID: Table = Table {
    types: &[],
    kind: None,
    refused: ID_TOKEN_CLAIMS,
    claims: &[(Field::Subject, "sub"), (Field::TokenId, "jti")],
    token_ids: TokenIds::OrHash,
    companion: None,
};

impl Profile {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Rfc9068,
        Self::Entra,
        Self::Okta,
        Self::Auth0,
        Self::Keycloak,
        Self::Cognito,
    ];

    /// Its name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc9068 => "rfc9068",
            Self::Entra => "entra",
            Self::Okta => "okta",
            Self::Auth0 => "auth0",
            Self::Keycloak => "keycloak",
            Self::Cognito => "cognito",
        }
    }

    /// The profile of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    const fn table(self) -> &'static Table {
        match self {
            Self::Rfc9068 => &RFC_9068,
            Self::Entra => &ENTRA,
            Self::Okta => &OKTA,
            Self::Auth0 => &AUTH0,
            Self::Keycloak => &KEYCLOAK,
            Self::Cognito => &COGNITO,
        }
    }
}

/// Whom a token is about that names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutSubject {
    /// RFC 9068 §2.2 requires `sub`: such a token is refused.
    Refused,
    /// The client itself: for an issuer that leaves `sub` out where no user is, which RFC 7662 §2.2 lets it do, and nowhere else.
    Client,
}

/// What the access tokens of one issuer look like, and where they say what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenProfile {
    table: &'static Table,
    sources: Sources,
    audience: Option<Box<str>>,
    without_subject: WithoutSubject,
}

impl TokenProfile {
    /// As the profile has it.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        Self::from_table(profile.table())
    }

    /// Of an issuer's answers about its tokens (RFC 7662 §2.2).
    #[must_use]
    pub fn of_introspection() -> Self {
        Self::from_table(&INTROSPECTION)
    }

    /// Of a workload's own tokens.
    pub(super) fn of_jwt_svid() -> Self {
        Self::from_table(&JWT_SVID)
    }

    fn from_table(table: &'static Table) -> Self {
        let claims = table.claims.iter();
        Self {
            table,
            sources: Sources::new(claims.map(|(field, name)| (*field, ClaimPath::member(name)))),
            audience: None,
            without_subject: WithoutSubject::Refused,
        }
    }

    /// The same, with a field at another place, and only there.
    #[must_use]
    pub fn with_claim(self, field: Field, at: ClaimPath) -> Self {
        Self {
            sources: self.sources.with(field, at),
            ..self
        }
    }

    /// The same, for an issuer that calls the resource by another name than its identifier. Whoever configures this makes
    /// sure that no other resource has the same name at this issuer.
    #[must_use]
    pub fn with_audience(self, audience: &str) -> Self {
        Self {
            audience: Some(audience.into()),
            ..self
        }
    }

    /// The same, and a token that names nobody is taken so.
    #[must_use]
    pub fn with_absent_subject(self, without_subject: WithoutSubject) -> Self {
        Self {
            without_subject,
            ..self
        }
    }

    pub(super) fn without_subject(&self) -> WithoutSubject {
        self.without_subject
    }

    pub(super) fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(super) fn token_ids(&self) -> TokenIds {
        self.table.token_ids
    }

    /// Whether `aud` may have this beside ours: it is the issuer itself, under another name.
    pub(super) fn is_companion(&self, audience: &str, issuer: &str) -> bool {
        self.table
            .companion
            .is_some_and(|end| audience.strip_prefix(issuer) == Some(end))
    }

    /// Media types have no case, and `application/` may be left out (RFC 7515 §4.1.9).
    pub(super) fn accepts_type(&self, typ: Option<&str>) -> bool {
        let bare = typ.map(|typ| match typ.split_once('/') {
            Some((tree, rest)) if tree.eq_ignore_ascii_case("application") => rest,
            Some(_) | None => typ,
        });
        self.table.types.iter().any(|accepted| match (accepted, bare) {
            (None, None) => true,
            (Some(accepted), Some(bare)) => accepted.eq_ignore_ascii_case(bare),
            (None, Some(_)) | (Some(_), None) => false,
        })
    }

    /// What the payload has to say of its kind, and where.
    pub(super) fn kind(&self) -> Option<(&'static str, &'static [&'static str])> {
        self.table.kind
    }

    /// Whether no access token has this claim.
    pub(super) fn refuses(&self, claim: &str) -> bool {
        self.table.refused.contains(&claim)
    }
}
