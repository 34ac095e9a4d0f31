//! What is revoked, and when a request hears of it.

use portcullis_core::audit::TokenHash;
use portcullis_core::ids::{ClientId, GrantId, Issuer, RevocationId, ServerName, Subject, TokenId};
use portcullis_core::revocation::{By, Entry, Extent, Lift, Reason, Target};
use portcullis_core::time::{Lifetime, UnixTime};

use super::issuer::{self, House, ISSUER, Key};
use super::{MCP, call, head, json_of, text};

fn issuer() -> Issuer {
    Issuer::parse(ISSUER).unwrap()
}

fn now() -> UnixTime {
    UnixTime::from_secs(issuer::NOW)
}

fn revoke(house: &House, id: &str, target: Target) {
    let (id, reason) = (RevocationId::parse(id).unwrap(), Reason::parse("a test").unwrap());
    let revocation = target.revoked(id, now(), Lifetime::from_hours(1), reason, By::Operator);
    house
        .guard
        .revocations()
        .apply([&Entry::Revoke(revocation)], now());
}

fn lift(house: &House, id: &str) {
    let lift = Entry::Lift(Lift {
        id: RevocationId::parse(&format!("lift of {id}")).unwrap(),
        lifts: RevocationId::parse(id).unwrap(),
        at: now(),
        reason: Reason::parse("over").unwrap(),
    });
    house.guard.revocations().apply([&lift], now());
}

fn agent() -> Target {
    Target::Agent {
        issuer: issuer(),
        client: ClientId::parse("agent-1").unwrap(),
        extent: Extent::UntilLifted,
    }
}

#[tokio::test]
async fn a_remembered_token_counts_no_more_from_the_next_request_on() {
    let key = Key::new("k");
    let list = call("list_notes");
    let rows = [
        (
            Target::Token {
                issuer: issuer(),
                token: TokenHash::of(&TokenId::parse("t-1").unwrap()),
            },
            401,
            "revoked.token",
        ),
        (
            Target::Grant {
                issuer: issuer(),
                grant: GrantId::parse("g-1").unwrap(),
            },
            401,
            "revoked.grant",
        ),
        (
            Target::User {
                issuer: issuer(),
                subject: Subject::parse("alice").unwrap(),
                extent: Extent::IssuedUntil(now()),
            },
            401,
            "revoked.user-tokens",
        ),
        (agent(), 403, "revoked.agent"),
        (
            Target::Server {
                server: ServerName::parse("notes").unwrap(),
            },
            403,
            "revoked.server",
        ),
    ];
    for (target, status, code) in rows {
        let is_server = matches!(target, Target::Server { .. });
        let house = House::new(&[&key]);
        let shown = |change: &[(&str, &str)]| {
            let token = key.token(MCP, "notes:read", |claims| {
                claims.insert("grant_id".to_owned(), "g-1".into());
                for (name, value) in change {
                    claims.insert((*name).to_owned(), (*value).into());
                }
            });
            head(Some(&token))
        };
        let (concerned, other) = (
            shown(&[]),
            shown(&[
                ("sub", "bob"),
                ("client_id", "agent-2"),
                ("jti", "t-2"),
                ("grant_id", "g-2"),
            ]),
        );
        assert!(house.judge(&concerned, &list).await.is_ok());
        assert!(house.judge(&other, &list).await.is_ok());
        revoke(&house, "r-1", target);
        drop(house.memory.taken());
        let refused = house.judge(&concerned, &list).await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (status, code));
        let response = refused.into_response();
        let challenge = text(response.headers(), "www-authenticate");
        let expected = r#"Bearer error="invalid_token", error_description="the access token was revoked""#;
        assert_eq!(challenge.starts_with(expected), status == 401, "{challenge}");
        assert_eq!(challenge.is_empty(), status == 403, "{challenge}");
        assert_eq!(json_of(&response)["error"]["data"]["reason"], code);
        let (event, _) = house.only_event();
        assert_eq!(
            (event["reason"].as_str(), event["verdict"].as_str()),
            (Some(code), Some("denied"))
        );
        assert_eq!(
            event["token"],
            TokenHash::of(&TokenId::parse("t-1").unwrap()).as_str()
        );
        assert_eq!(house.judge(&other, &list).await.is_ok(), !is_server);
    }
}

#[tokio::test]
async fn what_was_lifted_counts_again() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let head = head(Some(&key.token(MCP, "notes:read", |_| ())));
    revoke(&house, "r-1", agent());
    assert!(house.judge(&head, &call("list_notes")).await.is_err());
    lift(&house, "r-1");
    assert!(house.judge(&head, &call("list_notes")).await.is_ok());
}

#[tokio::test]
async fn what_is_revoked_between_head_and_body_does_not_happen() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let head = head(Some(&key.token(MCP, "notes:read", |_| ())));
    let arrival = house.guard.arrival(None);
    let who = house
        .guard
        .authenticate(&house.short, &arrival, &head)
        .await
        .unwrap();
    revoke(&house, "r-1", agent());
    let admitted = house
        .guard
        .admit(&house.short, &arrival, &who, &head, call("list_notes").into())
        .await;
    assert_eq!(admitted.unwrap_err().code(), "revoked.agent");
}

#[tokio::test]
async fn while_nobody_can_say_what_is_revoked_nothing_goes_on_and_the_caller_may_come_again() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let head = head(Some(&key.token(MCP, "notes:read", |_| ())));
    assert!(house.judge(&head, &call("list_notes")).await.is_ok());
    house.guard.revocations().unreadable();
    let refused = house.judge(&head, &call("list_notes")).await.unwrap_err();
    assert_eq!(
        (refused.status().as_u16(), refused.code()),
        (503, "revocation.unreadable")
    );
    assert_eq!(text(refused.into_response().headers(), "retry-after"), "5");
    house.guard.revocations().readable();
    assert!(house.judge(&head, &call("list_notes")).await.is_ok());
}
