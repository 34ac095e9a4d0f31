//! The answer to every reason. A change here is a change of what callers see.

use portcullis_core::identity::{ClaimName, Failed, dpop};
use portcullis_core::ids::{ClientId, Issuer, ScopeSet, ServerName, Subject, ToolName};
use portcullis_core::policy::Denial;
use portcullis_core::revocation::Revoked;
use portcullis_core::seal;
use portcullis_core::time::Lifetime;
use portcullis_core::wire::{Call, Era, Error, RequestId, Scheme};
use portcullis_net::discovery::KeysUnavailable;
use portcullis_net::introspection::IntrospectionUnavailable;

use super::issuer::ANYONE;
use super::{json_of, text};
use crate::limits::{Limited, Whose};
use crate::recorder::RecorderUnavailable;
use crate::refusal::Asked;
use crate::revocations::RevocationsUnreadable;
use crate::{
    CertificateRefused, ProofNonce, Rate, Reason, Refusal, ReplayUnavailable, SealProblem, SealRefused,
    SenderConstraint, SenderRules, UpstreamError,
};

fn id() -> RequestId {
    let mut head = super::head(None);
    head.headers
        .insert("content-type", "application/json".parse().unwrap());
    let call = Call::parse(
        &head.headers,
        r#"{"jsonrpc":"2.0","id":"a\u0062","method":"ping"}"#.into(),
    )
    .unwrap();
    call.id().unwrap().clone()
}

/// Asked without a token that could be read, at a server that takes any.
fn asked<'a>(basic: &'a dyn Fn() -> ScopeSet, id: Option<&'a RequestId>) -> Asked<'a> {
    Asked {
        request: "r-1",
        metadata_url: "https://gw/prm",
        basic,
        era: None,
        id,
        scheme: None,
        rules: ANYONE,
        nonce: None,
    }
}

/// Status, JSON-RPC code, stable code, and what else is in the head.
fn answer(reason: &Reason, era: Option<Era>, id: Option<&RequestId>) -> String {
    let basic = || ScopeSet::parse("notes:read").unwrap();
    answer_to(
        reason,
        &Asked {
            era,
            ..asked(&basic, id)
        },
    )
}

fn answer_to(reason: &Reason, asked: &Asked<'_>) -> String {
    let response = Refusal::of(reason, asked).into_response();
    assert_eq!(text(response.headers(), "content-type"), "application/json");
    assert_eq!(text(response.headers(), "cache-control"), "no-store");
    assert_eq!(text(response.headers(), "x-request-id"), "r-1");
    let body = json_of(&response);
    assert_eq!(body["jsonrpc"], "2.0");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.len() > 20 && !message.ends_with('.'), "{message}");
    let code = body["error"]["code"].as_i64().unwrap();
    let mut line = format!(
        "{} {code} {}",
        response.status().as_u16(),
        body["error"]["data"]["reason"].as_str().unwrap()
    );
    for name in ["www-authenticate", "dpop-nonce", "allow", "retry-after"] {
        let value = text(response.headers(), name);
        if !value.is_empty() {
            line = format!("{line} | {value}");
        }
    }
    line
}

fn sealing(problem: SealProblem) -> Reason {
    Reason::Sealing(SealRefused {
        problem,
        told: std::sync::Arc::new(serde_json::json!({ "arguments": ["/text"] })),
    })
}

fn limited(whose: Whose) -> Reason {
    Reason::from(Limited {
        whose,
        rate: Rate::parse("60/min").unwrap(),
        wait: Lifetime::from_secs(7),
    })
}

#[test]
fn a_refusal_of_sealed_fields_says_how_it_is_done_and_nothing_of_our_keys() {
    let reason = sealing(seal::Error::KeyUnavailable("the module says 0x30".to_owned()).into());
    let basic = ScopeSet::new;
    let body = json_of(&Refusal::of(&reason, &asked(&basic, None)).into_response());
    assert_eq!(body["error"]["data"]["sealed"]["arguments"][0], "/text");
    assert_eq!(body["error"]["data"]["extension"], "dev.portcullis/sealed-fields");
    assert!(!body.to_string().contains("0x30"), "{body}");
}

const INVALID: &str = r#" | Bearer error="invalid_token", error_description="the access token is not valid here", resource_metadata="https://gw/prm", scope="notes:read", DPoP algs="ES256 EdDSA ES384 ES512 PS256 RS256""#;

const REVOKED: &str = r#"401 -31401 revoked.token | Bearer error="invalid_token", error_description="the access token was revoked", resource_metadata="https://gw/prm", scope="notes:read", DPoP algs="ES256 EdDSA ES384 ES512 PS256 RS256""#;

#[test]
fn every_reason_has_its_answer() {
    let invalid = |text: &str| format!(r#" | Bearer error="invalid_request", error_description="{text}""#);
    let denied = |denial| Reason::Denied(denial);
    let rows: Vec<(Reason, String)> = vec![
        (Reason::NotFound, "404 -31404 http.not-found".to_owned()),
        (Reason::MethodNotAllowed { allow: "GET" }, "405 -31405 http.method-not-allowed | GET".to_owned()),
        (Reason::HostMalformed, "400 -31400 http.host-malformed".to_owned()),
        (Reason::HostRefused, "403 -31403 http.host-refused".to_owned()),
        (Reason::OriginRefused, "403 -31403 http.origin-refused".to_owned()),
        (
            Reason::NoCredential,
            r#"401 -31401 token.missing | Bearer resource_metadata="https://gw/prm", scope="notes:read", DPoP algs="ES256 EdDSA ES384 ES512 PS256 RS256""#.to_owned(),
        ),
        (
            Reason::KeysUnavailable(KeysUnavailable { issuer: "i".to_owned(), detail: "d".to_owned() }),
            "503 -31503 issuer.keys-unavailable | 5".to_owned(),
        ),
        (
            Reason::IntrospectionUnavailable(IntrospectionUnavailable::Unreachable { issuer: Issuer::parse("https://i").unwrap(), detail: "d".to_owned() }),
            "503 -31503 issuer.introspection-unavailable | 5".to_owned(),
        ),
        (
            Reason::IntrospectionUnavailable(IntrospectionUnavailable::RefusesUs { issuer: Issuer::parse("https://i").unwrap(), status: 401 }),
            "503 -31503 issuer.introspection-refuses-us | 5".to_owned(),
        ),
        (
            Reason::IntrospectionUnavailable(IntrospectionUnavailable::Busy { issuer: Issuer::parse("https://i").unwrap() }),
            "503 -31503 issuer.introspection-busy | 5".to_owned(),
        ),
        (Reason::Revoked(Revoked::Token), REVOKED.to_owned()),
        (Reason::Revoked(Revoked::Grant), REVOKED.replace("revoked.token", "revoked.grant")),
        (Reason::Revoked(Revoked::UserTokens), REVOKED.replace("revoked.token", "revoked.user-tokens")),
        (Reason::Revoked(Revoked::AgentTokens), REVOKED.replace("revoked.token", "revoked.agent-tokens")),
        (Reason::Revoked(Revoked::User), "403 -31403 revoked.user".to_owned()),
        (Reason::Revoked(Revoked::Agent), "403 -31403 revoked.agent".to_owned()),
        (Reason::Revoked(Revoked::Server), "403 -31403 revoked.server".to_owned()),
        (Reason::RevocationsUnreadable(RevocationsUnreadable), "503 -31503 revocation.unreadable | 5".to_owned()),
        (Reason::IssuerNotForTarget, "403 -31403 policy.issuer-not-for-target".to_owned()),
        (Reason::BodyTooLarge { limit: 9 }, "413 -31413 http.body-too-large".to_owned()),
        (Reason::BodyTooSlow, "408 -31408 http.body-too-slow".to_owned()),
        (Reason::BodyBroken, "400 -31400 http.body-broken".to_owned()),
        (Reason::TooManyStreams { limit: 9 }, "429 -31429 http.too-many-streams | 10".to_owned()),
        (Reason::StreamsFull { limit: 9 }, "503 -31503 http.streams-full | 10".to_owned()),
        (limited(Whose::Asking([192, 0, 2, 1].into())), "429 -31429 limits.unknown-tokens | 7".to_owned()),
        (limited(Whose::Address(None)), "429 -31429 limits.address | 7".to_owned()),
        (
            limited(Whose::Client(Issuer::parse("https://i").unwrap(), ClientId::parse("c").unwrap())),
            "429 -31429 limits.client | 7".to_owned(),
        ),
        (
            limited(Whose::User(Issuer::parse("https://i").unwrap(), Subject::parse("s").unwrap())),
            "429 -31429 limits.user | 7".to_owned(),
        ),
        (
            limited(Whose::Tool(ServerName::parse("s").unwrap(), ToolName::parse("t").unwrap())),
            "429 -31429 limits.tool | 7".to_owned(),
        ),
        (Reason::SessionNeeded, "400 -31400 session.needed".to_owned()),
        (Reason::SessionUnknown, "404 -31404 session.unknown".to_owned()),
        (sealing(SealProblem::Needed), "400 -31460 seal.needed".to_owned()),
        (sealing(SealProblem::Said), "400 -31460 seal.said".to_owned()),
        (sealing(SealProblem::NoKeys), "400 -31460 seal.no-keys".to_owned()),
        (sealing(SealProblem::OtherKeys), "400 -31460 seal.other-keys".to_owned()),
        (sealing(SealProblem::TooManySessions), "400 -31460 seal.too-many-sessions".to_owned()),
        (sealing(SealProblem::Lost), "503 -31460 seal.lost | 5".to_owned()),
        (sealing(seal::Error::Expired.into()), "400 -31460 seal.expired".to_owned()),
        (sealing(seal::Error::Other(seal::Bound::Tool).into()), "400 -31460 seal.tool".to_owned()),
        (sealing(seal::Error::Replayed.into()), "400 -31460 seal.replayed".to_owned()),
        (sealing(seal::Error::SessionUnknown.into()), "400 -31461 seal.session-unknown".to_owned()),
        (sealing(seal::Error::SessionOver.into()), "400 -31461 seal.session-over".to_owned()),
        (sealing(seal::Error::SessionSpent.into()), "400 -31461 seal.session-spent".to_owned()),
        (sealing(seal::Error::MemoryFull.into()), "503 -31460 seal.memory-full | 5".to_owned()),
        (sealing(seal::Error::KeyUnavailable("the module says 0x30".to_owned()).into()), "503 -31460 seal.key-unavailable | 5".to_owned()),
        (sealing(seal::Error::Bug.into()), "500 -31460 seal.bug".to_owned()),
        (Reason::RecorderUnavailable(RecorderUnavailable("d".to_owned())), "503 -31503 audit.unavailable | 5".to_owned()),
        (
            denied(Denial::InsufficientScope { needed: ScopeSet::parse("b a").unwrap() }),
            r#"403 -31403 policy.insufficient-scope | Bearer error="insufficient_scope", scope="a b", resource_metadata="https://gw/prm", error_description="the call needs more scope than the access token has""#.to_owned(),
        ),
        (denied(Denial::Forbidden { rules: vec!["r".to_owned()] }), "403 -31403 policy.forbidden".to_owned()),
        (denied(Denial::Fault { detail: "d".to_owned() }), "403 -31403 policy.fault".to_owned()),
        (denied(Denial::UnknownMethod), "404 -32601 policy.unknown-method".to_owned()),
        (Reason::Upstream(UpstreamError::Unreachable { detail: "d".to_owned() }), "502 -31502 upstream.unreachable".to_owned()),
        (Reason::Upstream(UpstreamError::TimedOut), "504 -31504 upstream.timed-out".to_owned()),
        (Reason::Upstream(UpstreamError::Busy), "503 -31503 upstream.busy | 1".to_owned()),
        (Reason::Upstream(UpstreamError::RefusesUs { status: 401 }), "502 -31502 upstream.refuses-us".to_owned()),
        (Reason::Upstream(UpstreamError::Withheld), "502 -31502 upstream.withheld".to_owned()),
        (Reason::Upstream(UpstreamError::BadAnswer { detail: "d" }), "502 -31502 upstream.bad-answer".to_owned()),
        (
            Error::TwoAuthorizationHeaders.into(),
            format!("400 -31400 request.two-authorization-headers{}", invalid("there is more than one `Authorization` header")),
        ),
        (
            Error::MalformedAuthorization.into(),
            format!("400 -31400 request.malformed-authorization{}", invalid("the `Authorization` header is malformed")),
        ),
        (
            Error::TokenInQuery.into(),
            format!(
                "400 -31400 request.token-in-query{}",
                invalid("the query has an `access_token`; send it in the `Authorization` header")
            ),
        ),
        (Error::AuthorizationTooLong.into(), "431 -31431 request.authorization-too-long".to_owned()),
        (Error::ContentType.into(), "415 -31415 request.content-type".to_owned()),
        (Error::ContentEncoding.into(), "415 -31415 request.content-encoding".to_owned()),
        (Error::NotJson.into(), "400 -32700 request.not-json".to_owned()),
        (Error::DuplicateKey.into(), "400 -32600 request.duplicate-key".to_owned()),
        (Error::AmbiguousKey { expected: "method" }.into(), "400 -32600 request.ambiguous-key".to_owned()),
        (Error::TooDeep.into(), "400 -32600 request.too-deep".to_owned()),
        (Error::Batch.into(), "400 -32600 request.batch".to_owned()),
        (Error::NotAMessage { reason: "r", id: None }.into(), "400 -32600 request.not-a-message".to_owned()),
        (Error::InvalidParams { member: "name", id: None }.into(), "400 -32602 request.invalid-params".to_owned()),
        (Error::NameTooLong { member: "name", id: None }.into(), "400 -32602 request.name-too-long".to_owned()),
        (Error::HeaderMismatch { header: "Mcp-Name", id: None }.into(), "400 -32020 request.header-mismatch".to_owned()),
        (Error::MissingMeta { key: "k", id: None }.into(), "400 -32602 request.missing-meta".to_owned()),
        (
            Error::UnsupportedVersion { requested: "1900-01-01".into(), id: None }.into(),
            "400 -32022 request.unsupported-version".to_owned(),
        ),
        (Error::BadSession { header: "Mcp-Session-Id", id: None }.into(), "400 -32600 request.bad-session".to_owned()),
        (Error::PostOnly.into(), "405 -31405 request.post-only | POST".to_owned()),
        (
            Failed::Expired.into(),
            r#"401 -31401 token.expired | Bearer error="invalid_token", error_description="the access token expired", resource_metadata="https://gw/prm", scope="notes:read", DPoP algs="ES256 EdDSA ES384 ES512 PS256 RS256""#.to_owned(),
        ),
    ];
    for (reason, expected) in rows {
        assert_eq!(answer(&reason, None, None), expected);
    }
}

/// One answer for all of them: which check failed is not for whoever tries tokens.
#[test]
fn tokens_that_do_not_hold_all_get_the_same_answer() {
    for failed in [
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
        Failed::ClaimMalformed(ClaimName::Exp),
        Failed::NotYetValid,
        Failed::IssuedInFuture,
        Failed::Lifetime,
        Failed::ClaimMalformed(ClaimName::Cnf),
        Failed::ConfirmationUnknown,
    ] {
        assert_eq!(
            answer(&failed.into(), None, None),
            format!("401 -31401 token.invalid{INVALID}"),
            "{failed:?}"
        );
    }
}

const ALGS: &str = r#"algs="ES256 EdDSA ES384 ES512 PS256 RS256""#;

/// RFC 9449 §7.1 and §9: the codes DIT, DIP and DN of the attack catalogue.
#[test]
fn proofs_and_senders_have_their_answers() {
    let challenge = |error: &str, text: &str| {
        format!(
            r#" | DPoP error="{error}", error_description="{text}", resource_metadata="https://gw/prm", {ALGS}"#
        )
    };
    let invalid_proof = |text: &str| challenge("invalid_dpop_proof", text);
    let invalid_token = |text: &str| challenge("invalid_token", text);
    let unavailable = |why: ReplayUnavailable| format!("503 -31503 {} | 5", why.code());
    let rows: Vec<(Reason, String)> = vec![
        (
            Error::ProofMissing.into(),
            format!(
                "401 -31401 dpop.missing{}",
                invalid_proof("the `DPoP` header is missing")
            ),
        ),
        (
            Error::TwoProofs.into(),
            format!(
                "401 -31401 dpop.two{}",
                invalid_proof("there is more than one `DPoP` header")
            ),
        ),
        (
            Error::MalformedProof.into(),
            format!(
                "401 -31401 dpop.malformed{}",
                invalid_proof("the `DPoP` header is malformed")
            ),
        ),
        (Error::ProofTooLong.into(), "431 -31431 dpop.too-long".to_owned()),
        (
            dpop::Failed::OtherTarget.into(),
            format!(
                "401 -31401 dpop.htu-mismatch{}",
                invalid_proof("the proof's `htu` is not this endpoint's public URL")
            ),
        ),
        (
            dpop::Failed::ClaimMissing(dpop::ProofClaim::Ath).into(),
            format!(
                "401 -31401 dpop.claim-missing{}",
                invalid_proof("the proof has no `ath`")
            ),
        ),
        (
            Reason::ProofReplayed,
            format!(
                "401 -31401 dpop.replayed{}",
                invalid_proof("the proof was used before")
            ),
        ),
        (
            Reason::TokenReplayed,
            "401 -31401 token.replayed | Bearer error=\"invalid_token\", error_description=\"the access token is for one call, and was used\", \
             resource_metadata=\"https://gw/prm\", scope=\"notes:read\", DPoP algs=\"ES256 EdDSA ES384 ES512 PS256 RS256\""
                .to_owned(),
        ),
        (
            Failed::SenderConstrained.into(),
            format!(
                "401 -31401 token.sender-constrained{}",
                invalid_token("the token is bound to a key and was sent without proof of it")
            ),
        ),
        (
            Failed::OtherKey.into(),
            format!(
                "401 -31401 token.other-key{}",
                invalid_token("the token is bound to another key than that of the proof")
            ),
        ),
        (
            Failed::NotBound.into(),
            format!(
                "401 -31401 token.not-bound{}",
                invalid_token("the token is not bound to a key and was sent with proof of one")
            ),
        ),
        (
            Failed::NotConstrained.into(),
            format!(
                "401 -31401 token.not-constrained{}",
                invalid_token("the server takes no token that is not bound to its sender")
            ),
        ),
        (
            Reason::ReplayUnavailable(ReplayUnavailable::Full),
            unavailable(ReplayUnavailable::Full),
        ),
        (
            Reason::ReplayUnavailable(ReplayUnavailable::Unreachable),
            unavailable(ReplayUnavailable::Unreachable),
        ),
        (
            Reason::ReplayUnavailable(ReplayUnavailable::ClockWentBack),
            unavailable(ReplayUnavailable::ClockWentBack),
        ),
        (
            Reason::ReplayUnavailable(ReplayUnavailable::SenderFull),
            "429 -31429 replay.sender-full | 5".to_owned(),
        ),
    ];
    for (reason, expected) in rows {
        assert_eq!(answer(&reason, None, None), expected);
    }
    let basic = ScopeSet::new;
    let with_nonce = Asked {
        nonce: Some("n-1".parse().unwrap()),
        ..asked(&basic, None)
    };
    let needed = "the proof needs the nonce that `DPoP-Nonce` of this answer has; make a new proof with it";
    assert_eq!(
        answer_to(&Reason::NonceNeeded, &with_nonce),
        format!(
            "401 -31401 dpop.nonce{} | n-1",
            challenge("use_dpop_nonce", needed)
        )
    );
}

/// RFC 9449 §7.2: challenges name the schemes that the server takes, and an error stands in the one that was used.
#[test]
fn challenges_are_for_the_schemes_that_the_server_takes() {
    use SenderConstraint::{Dpop, Either, Mtls, None as Anyone};
    let basic = || ScopeSet::parse("notes:read").unwrap();
    let at = |constraint, scheme, reason: Reason| {
        let rules = SenderRules {
            constraint,
            nonce: ProofNonce::Off,
        };
        let line = answer_to(
            &reason,
            &Asked {
                scheme,
                rules,
                ..asked(&basic, None)
            },
        );
        line.split_once(" | ").unwrap().1.to_owned()
    };
    let located = r#"resource_metadata="https://gw/prm", scope="notes:read""#;
    for (constraint, expected) in [
        (Anyone, format!("Bearer {located}, DPoP {ALGS}")),
        (Dpop, format!("DPoP {located}, {ALGS}")),
        // A token that is bound to a certificate comes as `Bearer`.
        (Either, format!("Bearer {located}, DPoP {ALGS}")),
        (Mtls, format!("Bearer {located}")),
    ] {
        assert_eq!(
            at(constraint, None, Reason::NoCredential),
            expected,
            "{constraint:?}"
        );
    }
    let expired = r#"error="invalid_token", error_description="the access token expired""#;
    for (constraint, scheme, expected) in [
        (
            Anyone,
            Scheme::Bearer,
            format!("Bearer {expired}, {located}, DPoP {ALGS}"),
        ),
        (Anyone, Scheme::Dpop, format!("DPoP {expired}, {located}, {ALGS}")),
        (Dpop, Scheme::Bearer, format!("DPoP {expired}, {located}, {ALGS}")),
        (Mtls, Scheme::Dpop, format!("Bearer {expired}, {located}")),
    ] {
        let challenge = at(constraint, Some(scheme), Failed::Expired.into());
        assert_eq!(challenge, expected, "{constraint:?} {scheme:?}");
    }
    // No proof helps where a certificate is wanted.
    let sentence = "the server takes no token that is not bound to its sender";
    assert_eq!(
        at(Mtls, Some(Scheme::Bearer), Failed::NotConstrained.into()),
        format!(r#"Bearer error="invalid_token", error_description="{sentence}", {located}"#)
    );
    let needed = Denial::InsufficientScope {
        needed: ScopeSet::parse("a").unwrap(),
    };
    assert_eq!(
        at(Anyone, Some(Scheme::Dpop), needed.into()),
        format!(
            r#"DPoP error="insufficient_scope", scope="a", resource_metadata="https://gw/prm", error_description="the call needs more scope than the access token has", {ALGS}"#
        )
    );
}

#[test]
fn an_unknown_method_is_answered_as_its_era_does() {
    let (unknown, id) = (Reason::Denied(Denial::UnknownMethod), id());
    for (era, id, status) in [
        (Era::Modern, Some(&id), 404),
        (Era::Modern, None, 404),
        (Era::Legacy, Some(&id), 200),
        (Era::Legacy, None, 400),
    ] {
        assert_eq!(
            answer(&unknown, Some(era), id),
            format!("{status} -32601 policy.unknown-method")
        );
    }
}

#[test]
fn the_id_is_echoed_as_it_was_written() {
    let id = id();
    let basic = ScopeSet::new;
    let body = |reason: Reason, known: Option<&RequestId>| {
        String::from_utf8(
            Refusal::of(&reason, &asked(&basic, known))
                .into_response()
                .into_body()
                .to_vec(),
        )
        .unwrap()
    };
    let echoed = r#"{"jsonrpc":"2.0","id":"a\u0062","error":{"#;
    assert!(body(Reason::SessionUnknown, Some(&id)).starts_with(echoed));
    let mismatch = Error::HeaderMismatch {
        header: "Mcp-Name",
        id: Some(id),
    };
    assert!(body(mismatch.into(), None).starts_with(echoed));
    assert!(body(Reason::NoCredential, None).starts_with(r#"{"jsonrpc":"2.0","error":{"#));
}

#[test]
fn an_unsupported_version_is_answered_with_those_that_are() {
    let basic = ScopeSet::new;
    let reason = Error::UnsupportedVersion {
        requested: "1900-01-01".into(),
        id: None,
    }
    .into();
    let data = json_of(&Refusal::of(&reason, &asked(&basic, None)).into_response())["error"]["data"].clone();
    assert_eq!(data["supported"], serde_json::json!(["2026-07-28"]));
    assert_eq!(data["requested"], "1900-01-01");
}

#[test]
fn answers_about_certificates_say_what_a_token_would_have_to_be_bound_to() {
    let basic = || ScopeSet::parse("notes:read").unwrap();
    let at = |constraint: SenderConstraint, reason: Reason| {
        let asked = Asked {
            scheme: Some(Scheme::Bearer),
            rules: SenderRules {
                constraint,
                nonce: ProofNonce::Off,
            },
            ..asked(&basic, None)
        };
        answer_to(&reason, &asked)
    };
    let told = |description: &str| {
        format!(
            r#" | Bearer error="invalid_token", error_description="{description}", resource_metadata="https://gw/prm", scope="notes:read""#
        )
    };
    const ALGORITHMS: &str = r#", DPoP algs="ES256 EdDSA ES384 ES512 PS256 RS256""#;
    let (none, other) = (
        told("the token is bound to a certificate, and the connection has none"),
        told("the token is bound to another certificate than that of the connection"),
    );
    let unbound = told("the server takes no token that is not bound to its sender");
    use SenderConstraint::{Either, Mtls};
    for (constraint, more) in [
        (SenderConstraint::None, ALGORITHMS),
        (Either, ALGORITHMS),
        (Mtls, ""),
    ] {
        assert_eq!(
            at(constraint, Failed::CertificateMissing.into()),
            format!("401 -31401 token.certificate-missing{none}{more}")
        );
        assert_eq!(
            at(constraint, Failed::OtherCertificate.into()),
            format!("401 -31401 token.other-certificate{other}{more}")
        );
    }
    for (constraint, more) in [(Either, ALGORITHMS), (Mtls, "")] {
        assert_eq!(
            at(constraint, Failed::NotConstrained.into()),
            format!("401 -31401 token.not-constrained{unbound}{more}")
        );
    }
    assert_eq!(
        at(Mtls, Failed::OtherWorkload.into()),
        format!(
            "401 -31401 token.other-workload{}",
            told("the token is another workload's than the connection's certificate")
        )
    );
    assert_eq!(
        at(Mtls, CertificateRefused::Untrusted.into()),
        format!(
            "401 -31401 certificate.untrusted{}",
            told("the client certificate is not accepted here")
        )
    );
    assert_eq!(
        at(Mtls, CertificateRefused::Two.into()),
        "400 -31400 certificate.two"
    );
    assert_eq!(
        at(Mtls, CertificateRefused::Malformed.into()),
        "400 -31400 certificate.malformed"
    );
    assert_eq!(
        at(Mtls, Reason::WorkloadNotGranted),
        r#"401 -31401 token.workload-not-granted | Bearer resource_metadata="https://gw/prm", scope="notes:read""#
    );
}
