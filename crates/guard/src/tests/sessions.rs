use std::sync::Arc;

use portcullis_core::identity::{Candidate, IssuerTrust, VerifiedIdentity, verify};
use portcullis_core::jose::jwk::KeySet;
use portcullis_core::time::UnixTime;
use portcullis_core::wire::{Call, Presented};

use super::issuer::{House, Key, NOW};
use super::{MCP, head};
use crate::sessions::{SESSION_IDLE, SESSIONS, SESSIONS_PER_PRINCIPAL};
use crate::{Reason, SessionTaken, Sessions};

async fn who(house: &House, key: &Key, name: &str, value: &str) -> std::sync::Arc<VerifiedIdentity> {
    let token = key.token(MCP, "notes:read", |claims| {
        claims.insert(name.to_owned(), value.into());
    });
    let head = head(Some(&token));
    house
        .guard
        .authenticate(&house.short, &house.guard.arrival(None), &head)
        .await
        .unwrap()
}

fn naming(session: &str) -> Call {
    let mut head = head(None);
    head.headers.insert("mcp-session-id", session.parse().unwrap());
    Call::parse(
        &head.headers,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.into(),
    )
    .unwrap()
}

const T0: UnixTime = UnixTime::from_secs(NOW);

#[tokio::test]
async fn a_session_answers_to_issuer_subject_and_client_and_not_to_a_token() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let alice = who(&house, &key, "jti", "1").await;
    let sessions = Sessions::new();
    sessions.bind("s", alice.principal().clone(), T0).unwrap();
    // The same principal after a refresh.
    assert_eq!(
        sessions.check(&naming("s"), &*who(&house, &key, "jti", "2").await, T0),
        Ok(())
    );
    // Another user, another agent of the same user, another session.
    for (claim, value) in [("sub", "bob"), ("client_id", "agent-2")] {
        let other = who(&house, &key, claim, value).await;
        assert_eq!(
            sessions.check(&naming("s"), &other, T0),
            Err(Reason::SessionUnknown),
            "{claim}"
        );
        assert_eq!(
            sessions.bind("s", other.principal().clone(), T0),
            Err(SessionTaken)
        );
    }
    assert_eq!(
        sessions.check(&naming("S"), &alice, T0),
        Err(Reason::SessionUnknown)
    );
    sessions.end("s");
    assert_eq!(
        sessions.check(&naming("s"), &alice, T0),
        Err(Reason::SessionUnknown)
    );
}

#[tokio::test]
async fn a_session_that_is_used_lives_and_an_idle_one_ends() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let alice = who(&house, &key, "jti", "1").await;
    let sessions = Sessions::new();
    sessions.bind("s", alice.principal().clone(), T0).unwrap();
    let nearly = UnixTime::from_millis(T0.plus(SESSION_IDLE).as_millis() - 1);
    assert_eq!(sessions.check(&naming("s"), &alice, nearly), Ok(()));
    assert_eq!(
        sessions.check(&naming("s"), &alice, nearly.plus(SESSION_IDLE)),
        Err(Reason::SessionUnknown)
    );
    // Its name may go to another then.
    let bob = who(&house, &key, "sub", "bob").await;
    assert_eq!(
        sessions.bind("s", bob.principal().clone(), nearly.plus(SESSION_IDLE)),
        Ok(())
    );
}

#[tokio::test]
async fn a_stream_needs_a_session_where_there_are_sessions() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let alice = who(&house, &key, "jti", "1").await;
    let sessions = Sessions::new();
    let open = Call::open_stream(&head(None).headers).unwrap();
    let end = Call::end_session(&head(None).headers).unwrap();
    assert_eq!(sessions.check(&open, &alice, T0), Ok(()));
    sessions.bind("s", alice.principal().clone(), T0).unwrap();
    assert_eq!(sessions.check(&open, &alice, T0), Err(Reason::SessionNeeded));
    assert_eq!(sessions.check(&end, &alice, T0), Err(Reason::SessionNeeded));
}

#[tokio::test]
async fn who_opens_many_sessions_ends_their_own() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let (alice, bob) = (
        who(&house, &key, "jti", "1").await,
        who(&house, &key, "sub", "bob").await,
    );
    let sessions = Sessions::new();
    sessions.bind("bob", bob.principal().clone(), T0).unwrap();
    for i in 0..=SESSIONS_PER_PRINCIPAL {
        let later = UnixTime::from_secs(NOW + 1 + i64::try_from(i).unwrap());
        sessions
            .bind(&format!("s{i}"), alice.principal().clone(), later)
            .unwrap();
    }
    assert_eq!(
        sessions.check(&naming("s0"), &alice, T0),
        Err(Reason::SessionUnknown),
        "one past the limit"
    );
    assert_eq!(sessions.check(&naming("s1"), &alice, T0), Ok(()));
    assert_eq!(sessions.check(&naming("bob"), &bob, T0), Ok(()));
}

#[test]
fn the_table_is_bounded() {
    let key = Key::new("k");
    let keys = KeySet::parse(&key.published()).unwrap();
    let trust: IssuerTrust = super::issuer::trust();
    let resource = portcullis_core::ids::ResourceUri::parse(MCP).unwrap();
    let principal = |i: usize| {
        let token = key.token(MCP, "", |claims| {
            claims.insert("sub".to_owned(), format!("u{i}").into());
        });
        let Presented::Bearer(token) = Presented::parse(&head(Some(&token)).headers, None).unwrap() else {
            panic!()
        };
        let vouched = verify(&Candidate::parse(&token).unwrap(), &trust, &keys, &resource, T0);
        Arc::new(vouched.unwrap()).confirm(None, None).unwrap()
    };
    let principals: Vec<_> = (0..=SESSIONS / SESSIONS_PER_PRINCIPAL).map(principal).collect();
    let sessions = Sessions::new();
    for i in 0..=SESSIONS {
        let by = principals[i / SESSIONS_PER_PRINCIPAL].principal().clone();
        sessions
            .bind(
                &format!("s{i}"),
                by,
                UnixTime::from_secs(NOW + i64::try_from(i).unwrap()),
            )
            .unwrap();
    }
    let now = UnixTime::from_secs(NOW + i64::try_from(SESSIONS).unwrap());
    assert_eq!(
        sessions.check(&naming("s0"), &principals[0], now),
        Err(Reason::SessionUnknown),
        "the idlest made room"
    );
    assert_eq!(sessions.check(&naming("s1"), &principals[0], now), Ok(()));
}
