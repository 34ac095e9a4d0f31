//! Quotas, and floods of what does not hold.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::request::Parts;
use portcullis_core::time::UnixTime;
use serde_json::Value;

use super::issuer::{ANYONE, House, Key, NOW, policy, senders};
use super::{MCP, call, head, json_of, text};
use crate::{Judging, LocalReplayLog, Rate, Rates, Refusal};

const HERE: &str = "192.0.2.1";

impl House {
    async fn judge_from(&self, peer: &str, head: &Parts, tool: &str) -> Result<(), Refusal> {
        let peer: IpAddr = peer.parse().unwrap();
        let arrival = self.guard.arrival(Some(peer));
        let who = self.guard.authenticate(&self.short, &arrival, head).await?;
        self.guard
            .admit(&self.short, &arrival, &who, head, call(tool).into())
            .await
            .map(drop)
    }

    /// The stable code, and `ok` for what is admitted.
    async fn outcome(&self, peer: &str, head: &Parts, tool: &str) -> &'static str {
        match self.judge_from(peer, head, tool).await {
            Ok(()) => "ok",
            Err(refusal) => refusal.code(),
        }
    }

    /// Kind and reason of each event since the last time.
    fn recorded(&self) -> Vec<(String, String)> {
        let member = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let events = self.memory.taken();
        events
            .iter()
            .map(|(event, _)| (member(event, "kind"), member(event, "reason")))
            .filter(|(kind, _)| kind != "outcome")
            .collect()
    }
}

fn rate(text: &str) -> Option<Rate> {
    Some(Rate::parse(text).unwrap())
}

/// DOS-01 of the attack catalogue.
#[tokio::test]
async fn an_address_that_shows_nothing_good_is_stopped_before_signatures_and_others_are_not() {
    let (key, other) = (Key::new("k"), Key::new("k"));
    let house = House::limited(
        &[&key],
        Rates {
            per_address: rate("3/min"),
            ..Rates::default()
        },
    );
    let token = |id: &str| {
        head(Some(&key.token(MCP, "notes:read", |claims| {
            drop(claims.insert("jti".to_owned(), id.into()));
        })))
    };
    let known = token("known");
    assert_eq!(house.outcome(HERE, &known, "list_notes").await, "ok");
    for bad in [None, Some("x".to_owned()), Some(other.token(MCP, "", |_| ()))] {
        assert_ne!(
            house.outcome(HERE, &head(bad.as_deref()), "list_notes").await,
            "ok"
        );
    }
    // What is refused now was not looked at: it would hold.
    assert_eq!(
        house.outcome(HERE, &token("new"), "list_notes").await,
        "limits.address"
    );
    assert_eq!(
        house.outcome(HERE, &known, "list_notes").await,
        "ok",
        "held before"
    );
    assert_eq!(
        house.outcome("192.0.2.2", &token("new"), "list_notes").await,
        "ok"
    );
    house.clock.forward(20);
    assert_eq!(house.outcome(HERE, &token("newer"), "list_notes").await, "ok");
    // What holds uses nothing up.
    for number in 0..10 {
        let token = token(&format!("t{number}"));
        assert_eq!(house.outcome(HERE, &token, "list_notes").await, "ok");
    }
}

/// What is judged by is replaced: what was held of tokens is forgotten, and a quota that stays the same stays used up.
#[tokio::test]
async fn key_08_what_was_held_under_another_configuration_is_not_held_under_this_one() {
    let key = Key::new("k");
    let rates = |count: &str| Rates {
        per_client: rate(count),
        ..Rates::default()
    };
    let house = House::limited(&[&key], rates("2/h"));
    let judging = |issuers, rates| Judging {
        issuers,
        policy: Arc::new(ArcSwap::from_pointee(policy())),
        senders: senders(
            ANYONE,
            Arc::new(LocalReplayLog::new(10, UnixTime::from_secs(NOW - 5))),
        ),
        rates,
    };
    let good = head(Some(&key.token(MCP, "notes:read", |_| ())));
    assert_eq!(house.outcome(HERE, &good, "list_notes").await, "ok");
    house.guard.judge_by(judging(Vec::new(), rates("2/h")));
    assert_eq!(house.outcome(HERE, &good, "list_notes").await, "token.invalid");
    house.guard.judge_by(judging(vec![house.trusted()], rates("2/h")));
    assert_eq!(house.outcome(HERE, &good, "list_notes").await, "ok");
    assert_eq!(house.outcome(HERE, &good, "list_notes").await, "limits.client");
    house.guard.judge_by(judging(vec![house.trusted()], rates("3/h")));
    assert_eq!(
        house.outcome(HERE, &good, "list_notes").await,
        "ok",
        "another quota"
    );
}

#[tokio::test]
async fn a_network_of_ipv6_is_one_sender() {
    let key = Key::new("k");
    let house = House::limited(
        &[&key],
        Rates {
            per_address: rate("2/h"),
            ..Rates::default()
        },
    );
    let nothing = head(None);
    for (peer, reason) in [
        ("2001:db8::1", "token.missing"),
        ("2001:db8::ffff:2", "token.missing"),
        ("2001:db8::3", "limits.address"),
        ("2001:db8:0:1::1", "token.missing"),
    ] {
        assert_eq!(
            house.outcome(peer, &nothing, "list_notes").await,
            reason,
            "{peer}"
        );
    }
}

#[tokio::test]
async fn a_token_that_held_is_stopped_too_when_its_sender_is_never_the_right_one() {
    let (key, owner) = (Key::new("k"), Key::new("owner"));
    let house = House::limited(
        &[&key],
        Rates {
            per_address: rate("3/min"),
            ..Rates::default()
        },
    );
    let bound = key.token(MCP, "notes:read", |claims| {
        drop(claims.insert("cnf".to_owned(), serde_json::json!({ "jkt": owner.jkt() })));
    });
    // Sent as a bearer token: the token holds, and not its sender. The first counts as the address's, before it is known.
    let mut outcomes = Vec::new();
    for _ in 0..6 {
        outcomes.push(house.outcome(HERE, &head(Some(&bound)), "list_notes").await);
    }
    assert_eq!(
        outcomes.iter().filter(|code| **code == "limits.address").count(),
        2,
        "{outcomes:?}"
    );
    assert_eq!(
        house
            .outcome(
                HERE,
                &head(Some(&key.token(MCP, "notes:read", |_| ()))),
                "list_notes"
            )
            .await,
        "ok"
    );
}

#[tokio::test]
async fn a_flood_is_one_record_and_a_number() {
    let key = Key::new("k");
    let house = House::limited(
        &[&key],
        Rates {
            per_address: rate("1/min"),
            ..Rates::default()
        },
    );
    for _ in 0..100 {
        house.outcome(HERE, &head(None), "list_notes").await;
    }
    let decision = |reason: &str| ("decision".to_owned(), reason.to_owned());
    assert_eq!(
        house.recorded(),
        [decision("token.missing"), decision("limits.address")]
    );
    house.clock.forward(59);
    house.guard.record_floods().await;
    assert!(house.recorded().is_empty(), "the minute is not over");
    house.clock.forward(1);
    house.guard.record_floods().await;
    let (event, _) = house.only_event();
    assert_eq!(
        (event["kind"].as_str(), event["reason"].as_str()),
        (Some("refusals"), Some("limits.address"))
    );
    assert_eq!(
        (event["count"].as_u64(), event["seconds"].as_u64()),
        (Some(98), Some(60))
    );
    assert_eq!(event["peer"], HERE);
    // The count of all is in the metrics; what is not due yet is on record at the end.
    assert!(house.guard.tally().read().contains(&("limits.address", 99)));
    for _ in 0..3 {
        house.outcome(HERE, &head(None), "list_notes").await;
    }
    house.recorded();
    house.guard.drained().await;
    assert_eq!(house.only_event().0["count"], 1);
}

#[tokio::test]
async fn clients_and_users_have_their_quotas_and_the_answer_says_so() {
    let key = Key::new("k");
    let house = House::limited(
        &[&key],
        Rates {
            per_client: rate("3/min"),
            per_user: rate("4/min"),
            ..Rates::default()
        },
    );
    let token = |user: &str, client: &str| {
        head(Some(&key.token(MCP, "notes:read", |claims| {
            claims.insert("sub".to_owned(), user.into());
            claims.insert("client_id".to_owned(), client.into());
        })))
    };
    for _ in 0..3 {
        assert_eq!(
            house.outcome(HERE, &token("alice", "a"), "list_notes").await,
            "ok"
        );
    }
    house.recorded();
    let refusal = house
        .judge_from(HERE, &token("alice", "a"), "list_notes")
        .await
        .unwrap_err();
    let response = refusal.into_response();
    assert_eq!(response.status(), 429);
    for (name, value) in [
        ("retry-after", "20"),
        ("ratelimit-policy", "\"per_client\";q=3;w=60"),
        ("ratelimit", "\"per_client\";r=0;t=20"),
    ] {
        assert_eq!(text(response.headers(), name), value, "{name}");
    }
    assert_eq!(json_of(&response)["error"]["data"]["reason"], "limits.client");
    let (event, _) = house.only_event();
    assert_eq!(
        (event["agent"].as_str(), event["user"].as_str()),
        (Some("a"), Some("alice"))
    );
    // Another client of the same user, until the user's own are used up; and another user.
    assert_eq!(
        house.outcome(HERE, &token("alice", "b"), "list_notes").await,
        "ok"
    );
    assert_eq!(
        house.outcome(HERE, &token("alice", "b"), "list_notes").await,
        "limits.user"
    );
    // Nobody uses up a client that others use too.
    for client in ["a", "b"] {
        assert_eq!(
            house.outcome(HERE, &token("bob", client), "list_notes").await,
            "ok"
        );
    }
    // A client that acts for itself is no user.
    for _ in 0..3 {
        assert_eq!(house.outcome(HERE, &token("c", "c"), "list_notes").await, "ok");
    }
}

#[tokio::test]
async fn a_limited_write_is_not_recorded_as_allowed_and_a_denied_one_uses_nothing_up() {
    let key = Key::new("k");
    let tool = |name: &str| {
        (
            portcullis_core::ids::ServerName::parse("notes").unwrap(),
            portcullis_core::ids::ToolName::parse(name).unwrap(),
        )
    };
    let house = House::limited(
        &[&key],
        Rates {
            per_tool: rate("2/min"),
            tools: [(tool("add_note"), rate("1/min"))].into(),
            ..Rates::default()
        },
    );
    let (reader, writer) = (
        head(Some(&key.token(MCP, "notes:read", |_| ()))),
        head(Some(&key.token(MCP, "notes:write", |_| ()))),
    );
    assert_eq!(
        house.outcome(HERE, &reader, "add_note").await,
        "policy.insufficient-scope"
    );
    assert_eq!(house.outcome(HERE, &writer, "add_note").await, "ok");
    house.recorded();
    assert_eq!(house.outcome(HERE, &writer, "add_note").await, "limits.tool");
    let (event, _) = house.only_event();
    assert_eq!(
        (event["verdict"].as_str(), event["target"].as_str()),
        (Some("denied"), Some("add_note"))
    );
    for outcome in ["ok", "ok", "limits.tool"] {
        assert_eq!(house.outcome(HERE, &reader, "list_notes").await, outcome);
    }
}

#[tokio::test]
async fn one_bad_token_over_and_over_is_verified_once() {
    let (key, next) = (Key::new("k"), Key::new("k"));
    let house = House::new(&[&key]);
    let good = head(Some(&key.token(MCP, "notes:read", |_| ())));
    assert_eq!(house.outcome(HERE, &good, "list_notes").await, "ok");
    let token = |id: &str| {
        head(Some(&next.token(MCP, "notes:read", |claims| {
            drop(claims.insert("jti".to_owned(), id.into()));
        })))
    };
    // A signature is another one each time it is made: one token is kept.
    let bad = token("a");
    house.clock.forward(59);
    assert_eq!(house.outcome(HERE, &bad, "list_notes").await, "token.invalid");
    // From now on it would hold, if it were verified again.
    house.publish(&[&next]);
    house.clock.forward(2);
    assert_eq!(house.outcome(HERE, &token("b"), "list_notes").await, "ok");
    assert_eq!(house.outcome(HERE, &bad, "list_notes").await, "token.invalid");
    house.clock.forward(3);
    assert_eq!(house.outcome(HERE, &bad, "list_notes").await, "ok");
}
