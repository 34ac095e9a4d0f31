//! The pipeline, on real tokens.

mod documented;
mod dpop;
mod golden;
mod issuer;
mod issuers;
mod limits;
mod revoked;
mod sealed;
mod sessions;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Request, Response, request::Parts};
use portcullis_core::audit::Ending;
use portcullis_core::policy::Effect;
use serde_json::{Value, json};

use crate::recorder::Durability;
use crate::{Admitted, Endpoint, Reason, Refusal};
use issuer::{House, ISSUER, Key};

const MCP: &str = "https://gw.example/mcp";

fn head(token: Option<&str>) -> Parts {
    let mut request = Request::post("/mcp").body(()).unwrap().into_parts().0;
    request
        .headers
        .insert(HOST, HeaderValue::from_static("gw.example"));
    request
        .headers
        .insert("content-type", HeaderValue::from_static("application/json"));
    if let Some(token) = token {
        request.headers.insert(
            AUTHORIZATION,
            HeaderValue::try_from(format!("Bearer {token}")).unwrap(),
        );
    }
    request
}

fn call(tool: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": tool, "arguments": { "text": "secret" } } })
        .to_string()
}

impl House {
    async fn judge_at(&self, endpoint: &Endpoint, head: &Parts, body: &str) -> Result<Admitted, Refusal> {
        let arrival = self.guard.arrival(Some([10, 1, 2, 3].into()));
        let who = self.guard.authenticate(endpoint, &arrival, head).await?;
        self.guard
            .admit(endpoint, &arrival, &who, head, body.to_owned().into())
            .await
    }

    async fn judge(&self, head: &Parts, body: &str) -> Result<Admitted, Refusal> {
        self.judge_at(&self.short, head, body).await
    }

    /// The one event since the last time.
    fn only_event(&self) -> (Value, Durability) {
        let mut events = self.memory.taken();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }
}

fn json_of(response: &Response<bytes::Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_call_within_scope_is_admitted_and_on_record() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let head = head(Some(&key.token(MCP, "notes:write", |_| ())));
    for (tool, effect, durability) in [
        ("list_notes", Effect::Read, Durability::Queued),
        ("add_note", Effect::Write, Durability::Synced),
    ] {
        let admitted = house.judge(&head, &call(tool)).await.unwrap();
        assert_eq!(admitted.permit.effect(), effect);
        let (event, asked) = house.only_event();
        assert_eq!(asked, durability, "{tool}");
        for (member, value) in [
            ("kind", "decision"),
            ("verdict", "allowed"),
            ("reason", "ok"),
            ("issuer", ISSUER),
            ("user", "alice"),
            ("agent", "agent-1"),
            ("server", "notes"),
            ("method", "tools/call"),
            ("target", tool),
            ("target_kind", "tool"),
            ("effect", effect.as_str()),
            ("peer", "10.1.2.3"),
            ("era", "legacy"),
        ] {
            assert_eq!(event[member], value, "{member}");
        }
        assert_eq!(event["request"], admitted.ticket.request());
        assert!(!event.to_string().contains("secret"), "{event}");
        drop(admitted);
        house.guard.drained().await;
        assert_eq!(house.only_event().0["result"], "abandoned");
    }
}

#[tokio::test]
async fn every_refusal_is_on_record_once() {
    let (key, other) = (Key::new("k"), Key::new("k"));
    let house = House::new(&[&key]);
    let good = key.token(MCP, "notes:read", |_| ());
    let with = |change: &dyn Fn(&mut Parts)| {
        let mut head = head(Some(&good));
        change(&mut head);
        head
    };
    let twice = with(&|head| {
        head.headers
            .append(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    });
    let list = call("list_notes");
    let rows: Vec<(Parts, &str, u16, &str)> = vec![
        (head(None), &list, 401, "token.missing"),
        (
            with(&|head| {
                drop(
                    head.headers
                        .insert(HOST, HeaderValue::from_static("evil.example")),
                )
            }),
            &list,
            403,
            "http.host-refused",
        ),
        (
            with(&|head| drop(head.headers.insert(ORIGIN, HeaderValue::from_static("null")))),
            &list,
            403,
            "http.origin-refused",
        ),
        (twice, &list, 400, "request.two-authorization-headers"),
        (
            with(&|head| head.uri = "/mcp?access_token=x".parse().unwrap()),
            &list,
            400,
            "request.token-in-query",
        ),
        (head(Some("x")), &list, 401, "token.not-compact"),
        (
            head(Some(&other.token(MCP, "notes:read", |_| ()))),
            &list,
            401,
            "token.signature",
        ),
        (
            head(Some(&key.token(MCP, "", |claims| {
                drop(claims.insert("iss".to_owned(), "https://evil.example".into()))
            }))),
            &list,
            401,
            "token.issuer-unknown",
        ),
        (
            head(Some(&key.token(
                "https://gw.example/s/notes/mcp",
                "notes:read",
                |_| (),
            ))),
            &list,
            401,
            "token.audience",
        ),
        (
            head(Some(&key.token(MCP, "notes:read", |claims| {
                drop(claims.insert("exp".to_owned(), (issuer::NOW - 31).into()))
            }))),
            &list,
            401,
            "token.expired",
        ),
        (
            with(&|head| drop(head.headers.remove("content-type"))),
            &list,
            415,
            "request.content-type",
        ),
        (head(Some(&good)), "{", 400, "request.not-json"),
        (
            head(Some(&good)),
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            400,
            "request.duplicate-key",
        ),
        (
            with(&|head| {
                drop(
                    head.headers
                        .insert("mcp-name", HeaderValue::from_static("add_note")),
                )
            }),
            &list,
            400,
            "request.header-mismatch",
        ),
        (
            with(&|head| {
                drop(
                    head.headers
                        .insert("mcp-session-id", HeaderValue::from_static("s")),
                )
            }),
            &list,
            404,
            "session.unknown",
        ),
        (
            head(Some(&good)),
            r#"{"jsonrpc":"2.0","id":1,"method":"x/y"}"#,
            200,
            "policy.unknown-method",
        ),
    ];
    for (head, body, status, reason) in rows {
        let refusal = house.judge(&head, body).await.unwrap_err();
        let (event, durability) = house.only_event();
        assert_eq!(
            (event["reason"].as_str(), refusal.status().as_u16()),
            (Some(reason), status)
        );
        assert_eq!(
            (event["verdict"].as_str(), event["status"].as_u64()),
            (Some("denied"), Some(status.into()))
        );
        assert_eq!(durability, Durability::Queued);
        let response = refusal.into_response();
        assert_eq!(event["request"], text(response.headers(), "x-request-id"));
        assert_eq!(json_of(&response)["error"]["data"]["request"], event["request"]);
        // Nothing of a token anywhere.
        for part in good.split('.') {
            assert!(!event.to_string().contains(part) && !json_of(&response).to_string().contains(part));
        }
    }
    let tally = house.guard.tally().read();
    assert!(
        tally.contains(&("ok", 0)) && tally.contains(&("token.missing", 1)),
        "{tally:?}"
    );
}

#[tokio::test]
async fn too_little_scope_is_answered_with_all_that_is_needed() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let head = head(Some(&key.token(MCP, "notes:read", |_| ())));
    for (tool, needed) in [
        ("add_note", "notes:write"),
        ("nobody_listed_it", "notes:irreversible"),
    ] {
        let response = house.judge(&head, &call(tool)).await.unwrap_err().into_response();
        assert_eq!(response.status(), 403);
        assert_eq!(
            text(response.headers(), "www-authenticate"),
            format!(
                "Bearer error=\"insufficient_scope\", scope=\"{needed}\", \
                 resource_metadata=\"https://gw.example/.well-known/oauth-protected-resource/mcp\", \
                 error_description=\"the call needs more scope than the access token has\""
            )
        );
        assert_eq!(json_of(&response)["id"], 7);
        let (event, _) = house.only_event();
        assert_eq!(
            (event["scopes_needed"].as_str(), event["scopes_held"].as_str()),
            (Some(needed), Some("notes:read"))
        );
        assert_eq!(
            (event["target"].as_str(), event["reason"].as_str()),
            (Some(tool), Some("policy.insufficient-scope"))
        );
    }
}

#[tokio::test]
async fn what_is_not_on_record_does_not_happen() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    *house.memory.broken.lock().unwrap() = true;
    let good = key.token(MCP, "notes:write", |_| ());
    for (head, tool) in [
        (head(None), "list_notes"),
        (head(Some(&good)), "list_notes"),
        (head(Some(&good)), "delete_it"),
    ] {
        let response = house.judge(&head, &call(tool)).await.unwrap_err().into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(text(response.headers(), "retry-after"), "5");
        assert_eq!(json_of(&response)["error"]["data"]["reason"], "audit.unavailable");
        assert!(
            !json_of(&response).to_string().contains("disk"),
            "the operator's detail stays here"
        );
    }
    assert_eq!(house.guard.tally().read(), [("ok", 0), ("audit.unavailable", 3)]);
}

#[tokio::test]
async fn a_remembered_token_is_no_better_than_a_new_one() {
    let (key, next) = (Key::new("k1"), Key::new("k2"));
    let house = House::new(&[&key]);
    let head = head(Some(&key.token(MCP, "notes:read", |_| ())));
    let list = call("list_notes");
    let reason = |result: Result<Admitted, Refusal>| match result {
        Ok(_) => "ok".to_owned(),
        Err(_) => house.memory.taken().last().unwrap().0["reason"]
            .as_str()
            .unwrap()
            .to_owned(),
    };
    // Good here, and before and after that not at another address.
    assert_eq!(
        reason(house.judge_at(&house.long, &head, &list).await),
        "token.audience"
    );
    assert_eq!(reason(house.judge(&head, &list).await), "ok");
    assert_eq!(
        reason(house.judge_at(&house.long, &head, &list).await),
        "token.audience"
    );
    assert_eq!(reason(house.judge(&head, &list).await), "ok");
    // The issuer withdraws the key: the next look at its keys ends the token, remembered or not.
    house.publish(&[&next]);
    house.clock.forward(59);
    assert_eq!(reason(house.judge(&head, &list).await), "ok");
    house.clock.forward(1);
    assert_eq!(reason(house.judge(&head, &list).await), "token.key-unknown");
}

#[tokio::test]
async fn a_remembered_token_expires_when_it_says() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let lives = |secs: i64| {
        key.token(MCP, "notes:read", |claims| {
            claims.insert("exp".to_owned(), (issuer::NOW + secs).into());
        })
    };
    let head = head(Some(&lives(10)));
    assert!(house.judge(&head, &call("list_notes")).await.is_ok());
    // Until `exp` and the accepted difference of clocks, 30 s.
    house.clock.forward(39);
    assert!(house.judge(&head, &call("list_notes")).await.is_ok());
    house.clock.forward(1);
    assert_eq!(
        house.judge(&head, &call("list_notes")).await.unwrap_err().code(),
        "token.expired"
    );
}

#[tokio::test]
async fn every_ticket_has_one_outcome() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let head = head(Some(&key.token(MCP, "notes:read", |_| ())));
    for (case, result) in ["abandoned", "cancelled", "completed", "timed_out"]
        .into_iter()
        .enumerate()
    {
        let mut ticket = house.judge(&head, &call("list_notes")).await.unwrap().ticket;
        if case > 0 {
            ticket.forwarded();
        }
        ticket.answered(200);
        ticket.sent(3);
        ticket.sent(4);
        match case {
            2 => ticket.close(Ending::Completed),
            3 => ticket.close(Ending::TimedOut),
            _ => drop(ticket),
        }
        house.guard.drained().await;
        let events = house.memory.taken();
        let [(decision, _), (outcome, _)] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!(outcome["result"], result);
        assert_eq!(outcome["request"], decision["request"]);
        assert_eq!(outcome["decision_seq"], 1);
        assert_eq!(
            (outcome["upstream_status"].as_u64(), outcome["bytes_out"].as_u64()),
            (Some(200), Some(7))
        );
    }
}

#[tokio::test]
async fn reasons_found_outside_are_recorded_with_the_caller() {
    let key = Key::new("k");
    let house = House::new(&[&key]);
    let head = head(Some(&key.token(MCP, "notes:read", |_| ())));
    let arrival = house.guard.arrival(None);
    let who = house
        .guard
        .authenticate(&house.short, &arrival, &head)
        .await
        .unwrap();
    let refusal = house
        .guard
        .refuse(
            &house.short,
            &arrival,
            Some(&who),
            Reason::BodyTooLarge { limit: 10 },
        )
        .await;
    assert_eq!(refusal.status(), 413);
    let (event, _) = house.only_event();
    assert_eq!(
        (event["reason"].as_str(), event["user"].as_str()),
        (Some("http.body-too-large"), Some("alice"))
    );
}

#[tokio::test]
async fn an_issuer_without_keys_is_an_answer_to_try_again() {
    let key = Key::new("k");
    let house = House::new(&[]);
    let head = head(Some(&key.token(MCP, "notes:read", |_| ())));
    let refusal = house.judge(&head, &call("list_notes")).await.unwrap_err();
    assert_eq!(
        (refusal.status().as_u16(), refusal.code()),
        (503, "issuer.keys-unavailable")
    );
}
