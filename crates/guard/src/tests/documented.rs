//! `docs/audit-fields.md` has every reason with whose fault it is and what would fix it, and no other.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::fault::Fault;
use portcullis_core::identity::{ClaimName, Failed, dpop};
use portcullis_core::ids::{ClientId, Issuer, ScopeSet, ServerName, Subject, ToolName};
use portcullis_core::policy::Denial;
use portcullis_core::revocation::Revoked;
use portcullis_core::time::Lifetime;
use portcullis_core::wire::Error;
use portcullis_net::discovery::KeysUnavailable;
use portcullis_net::introspection::IntrospectionUnavailable;

use crate::limits::{Limited, Whose};
use crate::reason::CertificateRefused;
use crate::recorder::RecorderUnavailable;
use crate::revocations::RevocationsUnreadable;
use crate::{Rate, Reason, ReplayUnavailable, SealProblem, SealRefused, UpstreamError};

const PAGE: &str = include_str!("../../../../docs/audit-fields.md");

/// Where codes are written. What comes after the tests of a file is not looked at.
const SOURCES: [&str; 12] = [
    include_str!("../reason.rs"),
    include_str!("../limits/mod.rs"),
    include_str!("../replay.rs"),
    include_str!("../revocations.rs"),
    include_str!("../sealing/refused.rs"),
    include_str!("../../../core/src/revocation/table.rs"),
    include_str!("../../../core/src/identity/failed.rs"),
    include_str!("../../../core/src/identity/dpop.rs"),
    include_str!("../../../core/src/policy/decide.rs"),
    include_str!("../../../core/src/seal/error.rs"),
    include_str!("../../../core/src/wire/error.rs"),
    include_str!("../../../net/src/introspection.rs"),
];

/// Every code that some arm of a match gives.
fn written() -> BTreeSet<&'static str> {
    let product = |source: &'static str| source.split("#[cfg(test)]").next().unwrap();
    // `Self::Variant => "code"`, and a code alone where there is one for all.
    let arms = SOURCES.into_iter().flat_map(|source| product(source).lines());
    let arms = arms.filter_map(|line| {
        line.split_once("=> \"")
            .map_or_else(|| line.trim().strip_prefix('"'), |(_, arm)| Some(arm))
    });
    let code = |text: &str| {
        text.split_once('.').is_some_and(|(room, name)| {
            let slug =
                |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            slug(room) && slug(name)
        })
    };
    arms.filter_map(|arm| arm.split('"').next())
        .filter(|text| code(text))
        .collect()
}

fn limited(whose: Whose) -> Reason {
    Limited {
        whose,
        rate: Rate::parse("60/min").unwrap(),
        wait: Lifetime::from_secs(7),
    }
    .into()
}

/// One reason for each code. Sealed fields have a page of their own, and here one for each hint.
fn every() -> Vec<Reason> {
    let issuer = || Issuer::parse("https://i").unwrap();
    let (detail, id) = (String::new(), None);
    let mut all = vec![
        Reason::NotFound,
        Reason::MethodNotAllowed { allow: "GET" },
        Reason::HostMalformed,
        Reason::HostRefused,
        Reason::OriginRefused,
        Reason::NoCredential,
        Reason::WorkloadNotGranted,
        CertificateRefused::Two.into(),
        CertificateRefused::Malformed.into(),
        CertificateRefused::Untrusted.into(),
        Reason::NonceNeeded,
        Reason::ProofReplayed,
        Reason::TokenReplayed,
        Reason::IssuerNotForTarget,
        Reason::KeysUnavailable(KeysUnavailable {
            issuer: "i".to_owned(),
            detail: detail.clone(),
        }),
        IntrospectionUnavailable::Unreachable {
            issuer: issuer(),
            detail: detail.clone(),
        }
        .into(),
        IntrospectionUnavailable::RefusesUs {
            issuer: issuer(),
            status: 401,
        }
        .into(),
        IntrospectionUnavailable::Busy { issuer: issuer() }.into(),
        Reason::BodyTooLarge { limit: 9 },
        Reason::BodyTooSlow,
        Reason::BodyBroken,
        Reason::TooManyStreams { limit: 9 },
        Reason::StreamsFull { limit: 9 },
        limited(Whose::Address(None)),
        limited(Whose::Asking([127, 0, 0, 1].into())),
        limited(Whose::Client(issuer(), ClientId::parse("c").unwrap())),
        limited(Whose::User(issuer(), Subject::parse("s").unwrap())),
        limited(Whose::Tool(
            ServerName::parse("s").unwrap(),
            ToolName::parse("t").unwrap(),
        )),
        Reason::SessionNeeded,
        Reason::SessionUnknown,
        RevocationsUnreadable.into(),
        Denial::InsufficientScope {
            needed: ScopeSet::new(),
        }
        .into(),
        Denial::Forbidden { rules: Vec::new() }.into(),
        Denial::UnknownMethod.into(),
        Denial::Fault {
            detail: detail.clone(),
        }
        .into(),
        RecorderUnavailable(detail.clone()).into(),
        UpstreamError::Unreachable { detail }.into(),
        UpstreamError::TimedOut.into(),
        UpstreamError::Busy.into(),
        UpstreamError::RefusesUs { status: 401 }.into(),
        UpstreamError::Withheld.into(),
        UpstreamError::BadAnswer { detail: "" }.into(),
    ];
    all.extend(
        [
            Revoked::Token,
            Revoked::Grant,
            Revoked::UserTokens,
            Revoked::AgentTokens,
            Revoked::User,
            Revoked::Agent,
            Revoked::Server,
        ]
        .map(Reason::from),
    );
    all.extend(
        [
            ReplayUnavailable::Full,
            ReplayUnavailable::SenderFull,
            ReplayUnavailable::ClockWentBack,
            ReplayUnavailable::Unreachable,
        ]
        .map(Reason::from),
    );
    all.extend(
        [
            Error::TwoAuthorizationHeaders,
            Error::MalformedAuthorization,
            Error::AuthorizationTooLong,
            Error::TokenInQuery,
            Error::ProofMissing,
            Error::TwoProofs,
            Error::MalformedProof,
            Error::ProofTooLong,
            Error::ContentType,
            Error::ContentEncoding,
            Error::NotJson,
            Error::DuplicateKey,
            Error::AmbiguousKey { expected: "method" },
            Error::TooDeep,
            Error::Batch,
            Error::NotAMessage {
                reason: "r",
                id: id.clone(),
            },
            Error::InvalidParams {
                member: "name",
                id: id.clone(),
            },
            Error::NameTooLong {
                member: "name",
                id: id.clone(),
            },
            Error::HeaderMismatch {
                header: "Mcp-Name",
                id: id.clone(),
            },
            Error::MissingMeta {
                key: "k",
                id: id.clone(),
            },
            Error::UnsupportedVersion {
                requested: "v".into(),
                id: id.clone(),
            },
            Error::BadSession {
                header: "Mcp-Session-Id",
                id,
            },
            Error::PostOnly,
        ]
        .map(Reason::from),
    );
    all.extend(
        [
            Failed::NotCompact,
            Failed::Header,
            Failed::HeaderRefused("jwk"),
            Failed::Payload,
            Failed::AlgorithmUnsupported,
            Failed::AlgorithmNotAllowed,
            Failed::IssuerUnknown,
            Failed::IssuerNotForServer,
            Failed::Inactive,
            Failed::IntrospectionAnswer,
            Failed::KeyUnknown,
            Failed::Signature,
            Failed::NotAnAccessToken,
            Failed::OtherIssuer,
            Failed::OtherAudience,
            Failed::ManyAudiences,
            Failed::ClaimMissing(ClaimName::Sub),
            Failed::ClaimMalformed(ClaimName::Sub),
            Failed::Expired,
            Failed::NotYetValid,
            Failed::IssuedInFuture,
            Failed::Lifetime,
            Failed::SenderConstrained,
            Failed::OtherKey,
            Failed::NotBound,
            Failed::CertificateMissing,
            Failed::OtherCertificate,
            Failed::OtherWorkload,
            Failed::ConfirmationUnknown,
            Failed::NotConstrained,
        ]
        .map(Reason::from),
    );
    all.extend(
        [
            dpop::Failed::NotCompact,
            dpop::Failed::Header,
            dpop::Failed::HeaderRefused("jku"),
            dpop::Failed::Type,
            dpop::Failed::Algorithm,
            dpop::Failed::KeyMissing,
            dpop::Failed::KeyPrivate,
            dpop::Failed::Key,
            dpop::Failed::Signature,
            dpop::Failed::Payload,
            dpop::Failed::ClaimMissing(dpop::ProofClaim::Jti),
            dpop::Failed::ClaimMalformed(dpop::ProofClaim::Jti),
            dpop::Failed::OtherMethod,
            dpop::Failed::OtherTarget,
            dpop::Failed::OtherToken,
            dpop::Failed::Stale,
            dpop::Failed::Future,
        ]
        .map(Reason::from),
    );
    all
}

/// The table of the page, row by row.
fn table() -> String {
    let rows: BTreeMap<&str, (Fault, &str)> = every()
        .iter()
        .map(|reason| (reason.code(), (reason.fault(), reason.hint())))
        .collect();
    let mut table = String::from("| code | whose turn | what helps |\n|---|---|---|\n");
    for (code, (fault, hint)) in rows {
        table.push_str(&format!("| `{code}` | {} | {hint} |\n", fault.as_str()));
    }
    table
}

#[test]
fn the_page_has_every_reason_with_its_fault_and_its_hint() {
    let given = PAGE.split("<!-- reasons -->\n").nth(1).unwrap_or_default();
    assert_eq!(
        given,
        table(),
        "put this between the marks of docs/audit-fields.md:\n{}",
        table()
    );
    for reason in every() {
        let hint = reason.hint();
        assert!(hint.len() > 15 && !hint.ends_with('.'), "{hint}");
    }
}

#[test]
fn no_code_is_missing_and_none_stands_for_two() {
    let (listed, written) = (every(), written());
    let codes: BTreeSet<&str> = listed.iter().map(Reason::code).collect();
    assert_eq!(codes.len(), listed.len(), "one code for two reasons");
    let (sealed, others): (BTreeSet<_>, BTreeSet<_>) =
        written.into_iter().partition(|code| code.starts_with("seal."));
    assert_eq!(codes, others);
    let page = PAGE.replace("<!-- reasons -->", "");
    let unsaid: Vec<_> = sealed
        .iter()
        .filter(|code| !page.contains(&format!("`{code}`")))
        .collect();
    assert!(unsaid.is_empty(), "not on the page: {unsaid:?}");
    for problem in [SealProblem::Needed, SealProblem::NoMessage, SealProblem::Lost] {
        let told = std::sync::Arc::new(serde_json::Value::Null);
        assert!(!Reason::Sealing(SealRefused { problem, told }).hint().is_empty());
    }
}
