use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;

use super::house::{BODY_BYTES, House, call, header, json_of, json_response, message, piece, stream};

#[tokio::test]
async fn an_admitted_call_goes_on_without_the_callers_token_and_its_answer_comes_back() {
    let house = House::new().await;
    let token = house.token("notes:read");
    let request = house.post(&token, &call("list_notes"));
    let response = house.send(request.clone()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.body(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);

    let (head, body) = house.upstream.seen.lock().unwrap().pop().unwrap();
    assert_eq!(body, request.body(), "byte for byte what was judged");
    assert_eq!(head.uri.path(), "/behind");
    assert_eq!(head.headers["authorization"], "Bearer the-gateways-own");
    assert_eq!(head.headers["accept"], "application/json, text/event-stream");
    assert!(!format!("{head:?}").contains(token.rsplit_once('.').unwrap().1));

    let (decision, outcome) = (house.event(0).await, house.event(1).await);
    assert_eq!(decision["verdict"], "allowed");
    assert_eq!(decision["peer"], "127.0.0.1");
    assert_eq!(outcome["result"], "completed");
    assert_eq!(
        (outcome["upstream_status"].as_u64(), outcome["bytes_out"].as_u64()),
        (Some(200), Some(36))
    );
    assert_eq!(header(&response, "x-request-id"), decision["request"]);
}

#[tokio::test]
async fn the_server_hears_nothing_of_what_is_refused() {
    let house = House::new().await;
    let (read, other) = (
        house.token("notes:read"),
        house.token_with("notes:read", |claims| {
            claims.insert("aud".to_owned(), "https://other.example/mcp".into());
        }),
    );
    let mut evil = house.post(&read, &call("list_notes"));
    evil.headers_mut()
        .insert("origin", "http://evil.example".parse().unwrap());
    let mut bare = house.post(&read, &call("list_notes"));
    bare.headers_mut().remove("authorization");
    for (request, status) in [
        (bare, 401),
        (house.post(&other, &call("list_notes")), 401),
        (house.post(&read, &call("add_note")), 403),
        (evil, 403),
        (house.post(&read, &message("no/such")), 200),
    ] {
        let response = house.send(request).await;
        assert_eq!(response.status(), status);
        assert!(json_of(&response)["error"]["message"].is_string());
    }
    assert_eq!((house.calls_upstream(), house.events()), (0, 5));
    let response = house.send(house.post(&read, &call("list_notes"))).await;
    assert_eq!((response.status().as_u16(), house.calls_upstream()), (200, 1));
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let house = House::new().await;
    let (events, response) = stream();
    let response = Mutex::new(Some(response));
    house.reply(move |_, _| response.lock().unwrap().take().unwrap());
    let response = house
        .open(house.post(&house.token("notes:read"), &call("list_notes")))
        .await;
    assert_eq!(
        (
            header(&response, "content-type"),
            header(&response, "x-accel-buffering")
        ),
        ("text/event-stream", "no")
    );
    let mut body = response.into_body();
    for event in ["data: 1\n\n", ": keep-alive\r\n\r\n", "data: 2\n\n"] {
        // The next is not sent before this one arrived.
        events.send(event).await.unwrap();
        assert_eq!(piece(&mut body).await.as_deref(), Some(event));
    }
    drop(events);
    assert_eq!(piece(&mut body).await, None);
    assert_eq!(house.event(1).await["result"], "completed");
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_the_call() {
    let house = House::new().await;
    let (events, response) = stream();
    let response = Mutex::new(Some(response));
    house.reply(move |_, _| response.lock().unwrap().take().unwrap());
    let mut body = house
        .open(house.post(&house.token("notes:read"), &call("list_notes")))
        .await
        .into_body();
    events.send("data: 1\n\n").await.unwrap();
    assert!(piece(&mut body).await.is_some());
    drop(body);
    events.closed().await;
    assert_eq!(house.event(1).await["result"], "cancelled");
}

#[tokio::test]
async fn a_caller_that_goes_away_before_the_answer_cancels_too() {
    // A server that takes the request and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let seen = House::new().await;
    let house = House::before(
        silent.local_addr().unwrap(),
        Arc::clone(&seen.upstream),
        Duration::from_secs(20),
    )
    .await;
    let request = house
        .post(&house.token("notes:read"), &call("list_notes"))
        .map(portcullis_net::fetch::full);
    let client = house.client.clone();
    let waiting =
        tokio::spawn(async move { client.open(request, Duration::from_secs(20)).await.map(|_| ()) });
    let (mut connection, _) = silent.accept().await.unwrap();
    waiting.abort();
    // The connection ends after the request.
    tokio::io::copy(&mut connection, &mut tokio::io::sink())
        .await
        .unwrap();
    assert_eq!(house.event(1).await["result"], "cancelled");
}

#[tokio::test]
async fn a_server_that_fails_is_named_as_the_one_that_failed() {
    let house = House::new().await;
    let token = house.token("notes:read");
    for (status, reason) in [
        (401, "upstream.refuses-us"),
        (403, "upstream.refuses-us"),
        (407, "upstream.refuses-us"),
        (302, "upstream.bad-answer"),
    ] {
        house.reply(move |_, _| {
            let mut response = json_response("{}");
            *response.status_mut() = status.try_into().unwrap();
            response
                .headers_mut()
                .insert("www-authenticate", "Bearer realm=\"x\"".parse().unwrap());
            response
                .headers_mut()
                .insert("location", "http://evil.example/".parse().unwrap());
            response
        });
        let response = house.send(house.post(&token, &call("list_notes"))).await;
        assert_eq!(response.status(), 502, "{status}");
        assert_eq!(json_of(&response)["error"]["data"]["reason"], reason);
        assert_eq!(json_of(&response)["id"], 1);
        assert_eq!(
            (
                header(&response, "www-authenticate"),
                header(&response, "location")
            ),
            ("", "")
        );
    }
    assert_eq!(house.event(7).await["result"], "upstream_failed");
    // Statuses that speak of the call pass.
    for status in [202_u16, 400, 404, 429, 500] {
        house.reply(move |_, _| Response::builder().status(status).body("x".into()).unwrap());
        assert_eq!(
            house.send(house.post(&token, &call("list_notes"))).await.status(),
            status
        );
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_or_says_nothing_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let seen = House::new().await;
    let at = silent.local_addr().unwrap();
    let house = House::before(at, Arc::clone(&seen.upstream), Duration::from_millis(50)).await;
    let request = || house.post(&house.token("notes:read"), &call("list_notes"));
    let response = house.send(request()).await;
    assert_eq!(
        (
            response.status().as_u16(),
            json_of(&response)["error"]["data"]["reason"].as_str()
        ),
        (504, Some("upstream.timed-out"))
    );
    assert_eq!(house.event(1).await["result"], "timed_out");
    drop(silent);
    let response = house.send(request()).await;
    assert_eq!(
        (
            response.status().as_u16(),
            json_of(&response)["error"]["data"]["reason"].as_str()
        ),
        (502, Some("upstream.unreachable"))
    );
    assert!(
        !json_of(&response).to_string().contains(&at.port().to_string()),
        "where the server is, is not for callers"
    );
    assert_eq!(house.event(3).await["result"], "upstream_failed");
}

#[tokio::test]
async fn a_body_at_the_limit_passes_and_one_byte_more_does_not() {
    let house = House::new().await;
    let token = house.token("notes:read");
    let padded = |length: usize| {
        let body = call("list_notes").to_string();
        Bytes::from(format!("{body}{}", " ".repeat(length - body.len())))
    };
    let request = |body: Bytes| house.post(&token, &call("list_notes")).map(|_| body);
    assert_eq!(house.send(request(padded(BODY_BYTES))).await.status(), 200);
    assert_eq!(house.send(request(padded(BODY_BYTES + 1))).await.status(), 413);
    // Without a declared length too.
    let pieces = futures_util::stream::iter(
        [padded(BODY_BYTES), Bytes::from_static(b" ")]
            .map(|piece| Ok::<_, Box<dyn std::error::Error + Send + Sync>>(http_body::Frame::data(piece))),
    );
    let chunked = request(Bytes::new()).map(|_| http_body_util::StreamBody::new(pieces).boxed());
    let response = house.client.open(chunked, Duration::from_secs(20)).await.unwrap();
    assert_eq!(response.status(), 413);
    // A body that does not come.
    let never = futures_util::stream::pending::<
        Result<http_body::Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>,
    >();
    let slow: Request<portcullis_net::fetch::Body> =
        request(Bytes::new()).map(|_| http_body_util::StreamBody::new(never).boxed());
    assert_eq!(
        house
            .client
            .open(slow, Duration::from_secs(20))
            .await
            .unwrap()
            .status(),
        408
    );
    assert_eq!(house.calls_upstream(), 1);
}

#[tokio::test]
async fn nobodys_body_is_read_before_their_credential_held() {
    let house = House::new().await;
    let never = futures_util::stream::pending::<
        Result<http_body::Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>,
    >();
    let mut request = house
        .post("x", &call("list_notes"))
        .map(|_| http_body_util::StreamBody::new(never).boxed());
    request
        .headers_mut()
        .insert("content-length", "1000000".parse().unwrap());
    assert_eq!(
        house
            .client
            .open(request, Duration::from_secs(20))
            .await
            .unwrap()
            .status(),
        401
    );
}
