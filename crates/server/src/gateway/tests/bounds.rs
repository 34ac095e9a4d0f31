//! What a caller may not have more of: bytes, streams, time.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response};
use portcullis_guard::STREAMS_PER_PRINCIPAL;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::house::{BODY_BYTES, House, call, header, json_of, json_response, message, piece, stream};

/// An answer of one event that does not end.
fn endless() -> Response<Body> {
    use futures_util::StreamExt as _;
    let first = futures_util::stream::iter([Ok::<_, Infallible>("data: {}\n\n")]);
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::from_stream(first.chain(futures_util::stream::pending())))
        .unwrap()
}

fn listening(house: &House, token: &str) -> Request<Bytes> {
    let mut request = house.post(token, &message("ping")).map(|_| Bytes::new());
    *request.method_mut() = Method::GET;
    request
}

/// Sends a head, then the whole body, and reads only after that, as many clients do.
async fn written_before_read(house: &House, head: &str, length: usize) -> String {
    let at = house.public_url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(at).await.unwrap();
    let head =
        format!("POST /mcp HTTP/1.1\r\nhost: {at}\r\ncontent-type: application/json\r\n{head}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b' '; 64 * 1024];
    let mut left = length;
    while left > 0 {
        let next = left.min(piece.len());
        connection.write_all(&piece[..next]).await.unwrap();
        left -= next;
    }
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_writes_everything_before_it_reads_sees_that_it_was_too_much() {
    let house = House::new().await;
    let token = house.token("notes:read");
    for length in [BODY_BYTES + 1, 20 * 1024 * 1024] {
        let head = format!("authorization: Bearer {token}\r\ncontent-length: {length}");
        let answer = written_before_read(&house, &head, length).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.contains("http.body-too-large"), "{answer}");
    }
    assert_eq!(house.calls_upstream(), 0);
    assert_eq!(house.event(1).await["reason"], "http.body-too-large");
}

#[tokio::test]
async fn a_client_that_asks_first_is_refused_without_its_body() {
    let house = House::new().await;
    let head = format!(
        "authorization: Bearer {}\r\nexpect: 100-continue\r\ncontent-length: 1000000",
        house.token("notes:read")
    );
    // No byte of the body is ever sent.
    let answer = written_before_read(&house, &head, 0).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// DOS-10 of the attack catalogue.
#[tokio::test]
async fn one_stream_more_than_the_limit_is_refused_before_the_call_is_made() {
    let house = House::new().await;
    house.reply(|_, _| endless());
    let token = house.token("notes:read");
    let mut open = Vec::new();
    for at in 0..STREAMS_PER_PRINCIPAL {
        // Streams that were asked for, and answers that are streams.
        let request = match at % 2 {
            0 => listening(&house, &token),
            _ => house.post(&token, &call("list_notes")),
        };
        let mut body = house.open(request).await.into_body();
        assert!(piece(&mut body).await.is_some());
        open.push(body);
    }
    let calls = house.calls_upstream();
    for request in [listening(&house, &token), house.post(&token, &call("list_notes"))] {
        let events = house.events();
        let response = house.send(request).await;
        assert_eq!(
            (
                response.status().as_u16(),
                header(&response, "retry-after"),
                json_of(&response)["error"]["data"]["reason"].as_str()
            ),
            (429, "10", Some("http.too-many-streams"))
        );
        assert_eq!(house.event(events).await["reason"], "http.too-many-streams");
    }
    assert_eq!(house.calls_upstream(), calls);
    // Another principal is not in the way of this one, and what has no answer is not in the way of anything.
    let bob = house.token_with("notes:read", |claims| {
        claims.insert("sub".to_owned(), "bob".into());
    });
    drop(house.open(listening(&house, &bob)).await);
    let note = serde_json::json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    house.reply(|_, _| Response::builder().status(202).body(Body::empty()).unwrap());
    assert_eq!(house.send(house.post(&token, &note)).await.status(), 202);
    // One that ends makes room.
    drop(open.pop());
    house.reply(|_, _| json_response("{}"));
    while house.send(house.post(&token, &call("list_notes"))).await.status() == 429 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_answer_to_a_call_ends_when_the_gateway_stops_and_not_with_its_token() {
    use portcullis_net::clock::{Clock as _, System};
    let house = House::new().await;
    let (events, response) = stream();
    let response = Mutex::new(Some(response));
    house.reply(move |_, _| response.lock().unwrap().take().unwrap());
    let expires = System.now().as_secs() + 1;
    let token = house.token_with("notes:read", |claims| {
        claims.insert("exp".to_owned(), expires.into());
    });
    let mut body = house
        .open(house.post(&token, &call("list_notes")))
        .await
        .into_body();
    events.send("data: 1\n\n").await.unwrap();
    assert!(piece(&mut body).await.is_some());
    while System.now().as_secs() <= expires {
        // The events show that the stream lives on.
        events.send(": waiting\n\n").await.unwrap();
        assert!(piece(&mut body).await.is_some());
    }
    house.stop.cancel();
    assert_eq!(piece(&mut body).await, None);
    events.closed().await;
    assert_eq!(house.event(1).await["result"], "abandoned");
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_ended() {
    let house = House::with_stream_silence(Duration::from_millis(50)).await;
    let replied = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&replied);
    house.reply(move |_, _| {
        let (events, response) = stream();
        kept.lock().unwrap().push(events);
        response
    });
    let token = house.token("notes:read");
    for (at, request) in [listening(&house, &token), house.post(&token, &call("list_notes"))]
        .into_iter()
        .enumerate()
    {
        let mut body = house.open(request).await.into_body();
        assert_eq!(piece(&mut body).await, None);
        let events = replied.lock().unwrap().pop().unwrap();
        events.closed().await;
        assert_eq!(house.event(at * 2 + 1).await["result"], "timed_out");
    }
}

#[tokio::test]
async fn an_answer_is_json_or_events_and_nothing_a_browser_shows() {
    let house = House::new().await;
    let token = house.token("notes:read");
    let note = serde_json::json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let call = call("list_notes");
    for (media_type, body, sent, status) in [
        (Some("application/json; charset=utf-8"), "{}", &call, 200),
        (Some("text/event-stream"), "data: {}\n\n", &call, 200),
        (Some("text/html"), "<p>log in</p>", &call, 502),
        (Some("application/jsonp"), "{}", &call, 502),
        (None, "{}", &call, 502),
        (None, "", &call, 502),
        (Some("text/html"), "<p>log in</p>", &note, 502),
        (None, "", &note, 200),
    ] {
        house.reply(move |_, _| {
            let mut response = Response::builder().header("x-content-type-options", "none");
            if let Some(media_type) = media_type {
                response = response.header("content-type", media_type);
            }
            response.body(body.into()).unwrap()
        });
        let response = house.send(house.post(&token, sent)).await;
        assert_eq!(response.status(), status, "{media_type:?} {body}");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        if status == 502 {
            assert_eq!(
                json_of(&response)["error"]["data"]["reason"],
                "upstream.bad-answer"
            );
        }
    }
    // Refusals, documents and what is not there, too.
    for url in [
        format!("{}/mcp", house.public_url),
        format!("{}/.well-known/jwks.json", house.public_url),
        format!("{}/other", house.public_url),
        format!("{}/metrics", house.admin_url),
    ] {
        let response = house.send(Request::get(url).body(Bytes::new()).unwrap()).await;
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    }
}
