use super::*;
use crate::oauth::pkce::{Challenge, Verifier};
use crate::oauth::server::Refusal;
use crate::oauth::server::code::{Code, Grant, Redemption};
use crate::oauth::server::parameters::Parameters;
use crate::oauth::server::refresh::{GRACE, Member, Standing, Use};
use crate::oauth::server::token::{PresentedClient, TokenRequest};
use crate::time::Lifetime;

fn grant() -> Grant {
    Grant {
        client: id("c1"),
        user: user(),
        resource: resource(),
        scopes: scopes("n:read n:write"),
        refreshable: true,
    }
}

fn code(used: bool) -> Code {
    Code {
        grant: grant(),
        redirect: "https://c.example/cb".to_owned(),
        challenge: Challenge::parse(CHALLENGE).unwrap(),
        expires: NOW.plus(Lifetime::from_secs(60)),
        used,
    }
}

/// What a client shows: client, redirect URI, verifier, resource.
type Shown<'s> = (&'s str, Option<&'s str>, &'s str, Option<&'s str>);

fn redeem(
    code: Code,
    (client, redirect, verifier, resource): Shown<'_>,
    now: UnixTime,
) -> Result<Grant, Refusal> {
    let verifier = Verifier::parse(verifier).unwrap();
    code.redeem(
        &Redemption {
            client: &id(client),
            redirect,
            verifier: &verifier,
            resource,
        },
        now,
    )
}

#[test]
fn a_code_is_redeemed_by_its_client_as_it_was_issued() {
    let other_verifier = "x".repeat(43);
    for (shown, expected) in [
        (
            ("c1", Some("https://c.example/cb"), VERIFIER, Some(RESOURCE)),
            Ok(grant()),
        ),
        // OAuth 2.1 leaves `redirect_uri` out, RFC 8707 lets `resource` be.
        (("c1", None, VERIFIER, None), Ok(grant())),
        (
            ("c2", Some("https://c.example/cb"), VERIFIER, Some(RESOURCE)),
            Err(Refusal::Code),
        ),
        (
            ("c1", Some("https://c.example/cb/"), VERIFIER, Some(RESOURCE)),
            Err(Refusal::Code),
        ),
        (("c1", None, other_verifier.as_str(), None), Err(Refusal::Code)),
        (
            ("c1", None, VERIFIER, Some("https://rs.example/other")),
            Err(Refusal::Resource),
        ),
    ] {
        assert_eq!(redeem(code(false), shown, NOW), expected, "{shown:?}");
    }
}

#[test]
fn a_used_code_betrays_itself_to_its_own_client_only() {
    assert_eq!(
        redeem(code(true), ("c1", None, VERIFIER, None), NOW),
        Err(Refusal::CodeReplayed)
    );
    assert_eq!(
        redeem(code(true), ("c2", None, VERIFIER, None), NOW),
        Err(Refusal::Code)
    );
    // Also when it is late, and when the thief has no verifier.
    let late = NOW.plus(Lifetime::from_days(1));
    assert_eq!(
        redeem(code(true), ("c1", None, &"x".repeat(43), None), late),
        Err(Refusal::CodeReplayed)
    );
}

#[test]
fn a_code_ends_with_its_last_second() {
    let shown = ("c1", None, VERIFIER, None);
    let end = NOW.plus(Lifetime::from_secs(60));
    assert!(redeem(code(false), shown, end.minus(Lifetime::from_secs(1))).is_ok());
    assert_eq!(redeem(code(false), shown, end), Err(Refusal::CodeExpired));
}

fn member(standing: Standing) -> Member {
    Member {
        family: GrantId::parse("f1").unwrap(),
        grant: grant(),
        revoked: false,
        family_expires: NOW.plus(Lifetime::from_days(30)),
        idle_expires: NOW.plus(Lifetime::from_days(14)),
        standing,
    }
}

static ID: std::sync::LazyLock<ClientId> = std::sync::LazyLock::new(|| id("c1"));

fn shown() -> Use<'static> {
    Use {
        client: &ID,
        scopes: None,
        resource: None,
    }
}

#[test]
fn a_refresh_token_by_standing() {
    let used = |at: UnixTime, successor_live: bool| Standing::Used { at, successor_live };
    let grace_ends = NOW.minus(GRACE);
    for (standing, expected) in [
        (Standing::Live, Ok(false)),
        (used(NOW, true), Ok(true)),
        (used(grace_ends.plus(Lifetime::from_secs(1)), true), Ok(true)),
        (used(grace_ends, true), Err(Refusal::RefreshTokenReused)),
        (used(NOW, false), Err(Refusal::RefreshTokenReused)),
        (Standing::Superseded, Err(Refusal::RefreshTokenReused)),
    ] {
        let rotated = member(standing)
            .rotate(&shown(), NOW)
            .map(|rotation| rotation.supersede);
        assert_eq!(rotated, expected, "{standing:?}");
    }
}

#[test]
fn a_refresh_token_of_another_client_or_a_revoked_family() {
    // In whatever standing: another client must not be able to end the family.
    for standing in [
        Standing::Live,
        Standing::Superseded,
        Standing::Used {
            at: NOW,
            successor_live: false,
        },
    ] {
        let foreign = Use {
            client: &id("c2"),
            scopes: None,
            resource: None,
        };
        assert_eq!(
            member(standing).rotate(&foreign, NOW),
            Err(Refusal::RefreshToken),
            "{standing:?}"
        );
        let revoked = Member {
            revoked: true,
            ..member(standing)
        };
        assert_eq!(
            revoked.rotate(&shown(), NOW),
            Err(Refusal::RefreshTokenRevoked),
            "{standing:?}"
        );
    }
}

#[test]
fn a_refresh_token_ends_when_idle_and_with_its_family() {
    let second = Lifetime::from_secs(1);
    for end in [
        member(Standing::Live).idle_expires,
        member(Standing::Live).family_expires,
    ] {
        let member = || Member {
            idle_expires: end,
            family_expires: end.plus(second),
            ..member(Standing::Live)
        };
        assert!(member().rotate(&shown(), end.minus(second)).is_ok());
        assert_eq!(member().rotate(&shown(), end), Err(Refusal::RefreshTokenExpired));
        let family = Member {
            idle_expires: end.plus(second),
            family_expires: end,
            ..member()
        };
        assert_eq!(family.rotate(&shown(), end), Err(Refusal::RefreshTokenExpired));
    }
}

#[test]
fn a_refresh_token_is_narrowed_and_never_widened() {
    let rotate = |wanted: Option<&ScopeSet>, resource: Option<&str>| {
        member(Standing::Live).rotate(
            &Use {
                client: &id("c1"),
                scopes: wanted,
                resource,
            },
            NOW,
        )
    };
    let narrow = rotate(Some(&scopes("n:read")), Some(RESOURCE)).unwrap();
    assert_eq!((narrow.scopes, narrow.grant), (scopes("n:read"), grant()));
    assert_eq!(rotate(None, None).unwrap().scopes, grant().scopes);
    assert_eq!(
        rotate(Some(&scopes("n:read n:irreversible")), None),
        Err(Refusal::Scope)
    );
    assert_eq!(rotate(Some(&ScopeSet::new()), None), Err(Refusal::Scope));
    assert_eq!(
        rotate(None, Some("https://rs.example/mcp/")),
        Err(Refusal::Resource)
    );
}

fn presented(authorization: Option<&str>, body: &str) -> Result<PresentedClient, Refusal> {
    PresentedClient::read(authorization, &Parameters::parse(body.as_bytes()).unwrap())
}

#[test]
fn a_client_authenticates_in_one_way() {
    // "a b:s+1%" with both halves form-encoded (RFC 6749 §2.3.1)
    let basic = "Basic YStiOnMlMkIxJTI1";
    let Ok(PresentedClient::Basic { id, secret }) = presented(Some(basic), "") else {
        panic!("not basic")
    };
    assert_eq!((id.as_str(), secret.reveal()), ("a b", "s+1%"));
    assert!(matches!(
        presented(None, "client_id=c1"),
        Ok(PresentedClient::Public { .. })
    ));
    assert!(matches!(
        presented(None, "client_id=c1&client_secret=s"),
        Ok(PresentedClient::Post { .. })
    ));
    assert!(matches!(
        presented(Some("basic YTpi"), "client_id=a"),
        Ok(PresentedClient::Basic { .. })
    ));
    for (authorization, body, refusal) in [
        // RFC 6749 §2.3
        (
            Some("Basic YTpi"),
            "client_id=a&client_secret=b",
            Refusal::ClientAuthenticationTwice,
        ),
        (
            Some("Basic YTpi"),
            "client_id=other",
            Refusal::ClientAuthenticationTwice,
        ),
        (
            Some("Basic YTpi"),
            "client_assertion=x",
            Refusal::ClientAuthenticationTwice,
        ),
        (
            None,
            "client_id=a&client_secret=b&client_assertion=x",
            Refusal::ClientAuthenticationTwice,
        ),
        (
            None,
            "client_id=a&client_assertion=x",
            Refusal::ClientAuthentication,
        ),
        (
            None,
            "client_id=a&client_assertion_type=x",
            Refusal::ClientAuthentication,
        ),
        (Some("Bearer abc"), "", Refusal::ClientAuthentication),
        (Some("Basic !!"), "", Refusal::ClientAuthentication),
        (Some("Basic YWI="), "", Refusal::ClientAuthentication),
        (Some("Basic"), "", Refusal::ClientAuthentication),
        (None, "", Refusal::Missing("client_id")),
        (None, "client_id=a&client_id=a", Refusal::Repeated("client_id")),
    ] {
        assert_eq!(
            presented(authorization, body).err(),
            Some(refusal),
            "{authorization:?} {body}"
        );
    }
}

#[test]
fn a_token_request_by_grant() {
    let read = |body: &str| {
        TokenRequest::read(&Parameters::parse(body.as_bytes()).unwrap()).map(|asked| asked.grant_type())
    };
    let code = format!("grant_type=authorization_code&code=x&code_verifier={VERIFIER}");
    for (body, expected) in [
        (code.as_str(), Ok(GrantType::AuthorizationCode)),
        (
            "grant_type=refresh_token&refresh_token=x",
            Ok(GrantType::RefreshToken),
        ),
        ("grant_type=client_credentials", Ok(GrantType::ClientCredentials)),
        ("", Err(Refusal::Missing("grant_type"))),
        // RFC 9700 §2.4
        (
            "grant_type=password&username=a&password=b",
            Err(Refusal::GrantType),
        ),
        ("grant_type=implicit", Err(Refusal::GrantType)),
        // RFC 7636 §4.5
        (
            "grant_type=authorization_code&code=x",
            Err(Refusal::Missing("code_verifier")),
        ),
        (
            "grant_type=authorization_code&code=x&code_verifier=short",
            Err(Refusal::Code),
        ),
        ("grant_type=authorization_code", Err(Refusal::Missing("code"))),
        ("grant_type=refresh_token", Err(Refusal::Missing("refresh_token"))),
        (
            "grant_type=refresh_token&refresh_token=x&scope=%22",
            Err(Refusal::Scope),
        ),
        (
            "grant_type=client_credentials&grant_type=client_credentials",
            Err(Refusal::Repeated("grant_type")),
        ),
        (
            "grant_type=client_credentials&resource=a&resource=b",
            Err(Refusal::Resource),
        ),
    ] {
        assert_eq!(read(body), expected, "{body}");
    }
}
