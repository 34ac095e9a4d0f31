use std::sync::Mutex;

use portcullis_core::ids::ServerName;
use serde_json::{Value, json};

use super::house::{House, header, json_of, json_response, message, piece, stream};

const TOOLS: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"list_notes"},{"name":"add_note"},{"name":"delete_all"}]}}"#;

fn names(message: &Value) -> Vec<&str> {
    message["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_list_shows_what_the_caller_may_call() {
    let house = House::new().await;
    house.reply(|_, _| json_response(TOOLS));
    for (scope, expected) in [
        ("notes:read", &["list_notes"][..]),
        ("notes:write", &["list_notes", "add_note"]),
        ("notes:irreversible", &["list_notes", "add_note", "delete_all"]),
    ] {
        let response = house
            .send(house.post(&house.token(scope), &message("tools/list")))
            .await;
        assert_eq!(names(&json_of(&response)), expected, "{scope}");
        assert_eq!(
            header(&response, "content-length"),
            response.body().len().to_string()
        );
    }
    let seen = house
        .gateway
        .catalogue()
        .seen(&ServerName::parse("notes").unwrap());
    assert_eq!(
        seen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["add_note", "delete_all", "list_notes"]
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_not_passed_on() {
    let house = House::new().await;
    let token = house.token("notes:read");
    let encoded = || {
        let mut response = json_response(TOOLS);
        response
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        response
    };
    let plain = || {
        let mut response = json_response(TOOLS);
        response
            .headers_mut()
            .insert("content-type", "text/plain".parse().unwrap());
        response
    };
    house.reply(|_, _| json_response("not JSON"));
    assert_eq!(
        house
            .send(house.post(&token, &message("tools/list")))
            .await
            .status(),
        502
    );
    house.reply(move |_, _| encoded());
    assert_eq!(
        house
            .send(house.post(&token, &message("tools/list")))
            .await
            .status(),
        502
    );
    house.reply(move |_, _| plain());
    assert_eq!(
        house
            .send(house.post(&token, &message("tools/list")))
            .await
            .status(),
        502
    );
    // An error of the server's is no list.
    house.reply(|_, _| json_response(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x"}}"#));
    assert_eq!(
        json_of(&house.send(house.post(&token, &message("tools/list"))).await)["error"]["code"],
        -32603
    );
}

#[tokio::test]
async fn in_a_stream_the_list_is_filtered_and_the_rest_passes_at_once() {
    let house = House::new().await;
    let (events, response) = stream();
    let response = Mutex::new(Some(response));
    house.reply(move |_, _| response.lock().unwrap().take().unwrap());
    let mut body = house
        .open(house.post(&house.token("notes:read"), &message("tools/list")))
        .await
        .into_body();
    let progress = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n";
    for event in ["id: 1\ndata:\n\n", ": hello\n\n", progress] {
        events.send(event).await.unwrap();
        assert_eq!(piece(&mut body).await.as_deref(), Some(event));
    }
    // The list comes in pieces, and with other line ends.
    for part in ["event: message\r\nid: 2\r\nda", "ta: ", TOOLS, "\r", "\n\r\n"] {
        events.send(part).await.unwrap();
    }
    let list = piece(&mut body).await.unwrap();
    let data = list
        .strip_prefix("event: message\nid: 2\ndata: ")
        .unwrap()
        .strip_suffix("\n\n")
        .unwrap();
    assert_eq!(names(&serde_json::from_str(data).unwrap()), ["list_notes"]);
    drop(events);
    assert_eq!(piece(&mut body).await, None);
    assert_eq!(house.event(1).await["result"], "completed");
}

#[tokio::test]
async fn a_stream_with_an_unreadable_list_ends_with_an_error() {
    let house = House::new().await;
    let (events, response) = stream();
    let response = Mutex::new(Some(response));
    house.reply(move |_, _| response.lock().unwrap().take().unwrap());
    let mut body = house
        .open(house.post(&house.token("notes:read"), &message("tools/list")))
        .await
        .into_body();
    events
        .send("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"Tools\":[]}}\n\n")
        .await
        .unwrap();
    let error = piece(&mut body).await.unwrap();
    let error: Value = serde_json::from_str(error.strip_prefix("event: message\ndata: ").unwrap()).unwrap();
    assert_eq!(
        (&error["id"], &error["error"]["data"]["reason"]),
        (&json!(1), &json!("upstream.bad-answer"))
    );
    events.closed().await;
    assert_eq!(house.event(1).await["result"], "upstream_failed");
}

#[tokio::test]
async fn a_list_that_comes_again_on_a_sessions_stream_is_filtered_too() {
    let house = House::new().await;
    let (events, response) = stream();
    let response = Mutex::new(Some(response));
    house.reply(move |_, _| response.lock().unwrap().take().unwrap());
    let get = http::Request::get(format!("{}/mcp", house.public_url))
        .header("authorization", format!("Bearer {}", house.token("notes:read")))
        .header("accept", "text/event-stream")
        .body(bytes::Bytes::new())
        .unwrap();
    let mut body = house.open(get).await.into_body();
    let other = "data: {\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{\"content\":[]}}\n\n";
    events.send(other).await.unwrap();
    assert_eq!(piece(&mut body).await.as_deref(), Some(other));
    for part in ["data: ", TOOLS, "\n\n"] {
        events.send(part).await.unwrap();
    }
    let list = piece(&mut body).await.unwrap();
    assert_eq!(
        names(&serde_json::from_str(list.strip_prefix("data: ").unwrap()).unwrap()),
        ["list_notes"]
    );
}
