use std::sync::Mutex;

use bytes::Bytes;
use http::{Method, Request, Response};
use portcullis_net::clock::{Clock as _, System};
use serde_json::json;

use super::house::{House, call, header, json_of, json_response, message, piece, stream};

/// Gives out this session on every answer, whether asked or not.
fn giving(
    session: &'static str,
) -> impl Fn(&http::request::Parts, &Bytes) -> Response<axum::body::Body> + Send {
    move |_, _| {
        let mut response = json_response(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        response
            .headers_mut()
            .insert("mcp-session-id", session.parse().unwrap());
        response
    }
}

fn naming(mut request: Request<Bytes>, session: &str) -> Request<Bytes> {
    request
        .headers_mut()
        .insert("mcp-session-id", session.parse().unwrap());
    request
}

#[tokio::test]
async fn a_session_is_whose_it_was_given_to() {
    let house = House::new().await;
    house.reply(giving("s-1"));
    let (alice, again) = (
        house.token("notes:read"),
        house.token_with("notes:read", |claims| {
            claims.insert("jti".to_owned(), "t-2".into());
        }),
    );
    let bob = house.token_with("notes:read", |claims| {
        claims.insert("sub".to_owned(), "bob".into());
    });
    let status = async |request: Request<Bytes>| house.send(request).await.status().as_u16();
    // Nobody has it yet.
    assert_eq!(
        status(naming(house.post(&alice, &message("ping")), "s-1")).await,
        404
    );
    let response = house.send(house.post(&alice, &message("initialize"))).await;
    assert_eq!(header(&response, "mcp-session-id"), "s-1");
    assert_eq!(
        status(naming(house.post(&alice, &message("ping")), "s-1")).await,
        200
    );
    // After a refresh it is still alice's, and never bob's.
    assert_eq!(
        status(naming(house.post(&again, &message("ping")), "s-1")).await,
        200
    );
    let calls = house.calls_upstream();
    let refused = house
        .send(naming(house.post(&bob, &message("ping")), "s-1"))
        .await;
    assert_eq!(
        (
            refused.status().as_u16(),
            json_of(&refused)["error"]["data"]["reason"].as_str()
        ),
        (404, Some("session.unknown"))
    );
    assert_eq!(house.calls_upstream(), calls);
    // The server would let bob into it.
    let taken = house.send(house.post(&bob, &message("initialize"))).await;
    assert_eq!(
        (taken.status().as_u16(), header(&taken, "mcp-session-id")),
        (502, "")
    );
    assert_eq!(
        status(naming(house.post(&alice, &message("ping")), "s-1")).await,
        200
    );
}

#[tokio::test]
async fn only_initialize_gives_a_session_and_a_stateless_message_has_none() {
    let house = House::new().await;
    house.reply(giving("s-1"));
    let token = house.token("notes:read");
    let response = house.send(house.post(&token, &call("list_notes"))).await;
    assert_eq!(
        (response.status().as_u16(), header(&response, "mcp-session-id")),
        (200, "")
    );
    let modern = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "list_notes", "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} } } });
    let mut request = naming(house.post(&token, &modern), "ignored");
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "list_notes"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = house.send(request).await;
    assert_eq!(
        (response.status().as_u16(), header(&response, "mcp-session-id")),
        (200, "")
    );
    let (head, _) = house.upstream.seen.lock().unwrap().pop().unwrap();
    assert!(!head.headers.contains_key("mcp-session-id"));
}

#[tokio::test]
async fn a_session_ends_when_its_principal_or_the_server_ends_it() {
    let house = House::new().await;
    let token = house.token("notes:read");
    let plain = |method: Method, session: Option<&str>| {
        let mut request = house.post(&token, &message("ping")).map(|_| Bytes::new());
        *request.method_mut() = method;
        match session {
            Some(session) => naming(request, session),
            None => request,
        }
    };
    let status = async |request: Request<Bytes>| house.send(request).await.status().as_u16();
    for by_server in [false, true] {
        house.reply(giving("s-1"));
        assert_eq!(status(house.post(&token, &message("initialize"))).await, 200);
        // A server with sessions is not asked for a stream without one.
        assert_eq!(status(plain(Method::GET, None)).await, 400);
        assert_eq!(status(plain(Method::DELETE, None)).await, 400);
        if by_server {
            house.reply(|_, _| Response::builder().status(404).body("gone".into()).unwrap());
            assert_eq!(
                status(naming(house.post(&token, &message("ping")), "s-1")).await,
                404
            );
        } else {
            assert_eq!(status(plain(Method::DELETE, Some("s-1"))).await, 200);
        }
        let calls = house.calls_upstream();
        assert_eq!(
            status(naming(house.post(&token, &message("ping")), "s-1")).await,
            404
        );
        assert_eq!(house.calls_upstream(), calls);
    }
}

#[tokio::test]
async fn a_sessions_stream_ends_with_its_token_and_when_the_gateway_stops() {
    for stopped in [true, false] {
        let house = House::new().await;
        let (events, response) = stream();
        let response = Mutex::new(Some(response));
        house.reply(move |_, _| response.lock().unwrap().take().unwrap());
        let token = house.token_with("notes:read", |claims| {
            if !stopped {
                claims.insert("exp".to_owned(), (System.now().as_secs() + 1).into());
            }
        });
        let mut request = house.post(&token, &message("ping")).map(|_| Bytes::new());
        *request.method_mut() = Method::GET;
        let mut body = house.open(request).await.into_body();
        events
            .send("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n")
            .await
            .unwrap();
        assert!(piece(&mut body).await.is_some());
        if stopped {
            house.stop.cancel();
        }
        assert_eq!(piece(&mut body).await, None);
        events.closed().await;
        assert_eq!(house.event(1).await["result"], "abandoned");
    }
}
