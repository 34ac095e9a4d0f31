//! What is heard besides answers: changes, log messages, progress; and that nobody waits any more.

use portcullis_testkit::{Outcome, Request, mcp};
use serde_json::{Value, json};

use super::before_modern::{begun, in_session};
use super::stage::{Server, event, modern};

fn note(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_listens_to_a_sessions_own_stream() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let filter = json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true,
        "resourceSubscriptions": ["a://1"]}});
    let listening = modern(&url, json!("l"), "subscriptions/listen", filter, &json!({})).bearer(&token);
    let mut listener = listening.stream().await?;
    let feed = server.stream().await?;
    let heard = async |listener: &mut portcullis_testkit::http::EventStream| -> Outcome<Value> {
        Ok(listener
            .next()
            .await?
            .map(|event| event.json())
            .transpose()?
            .unwrap_or_default())
    };
    let stamp = json!({"io.modelcontextprotocol/subscriptionId": "l"});
    assert_eq!(
        heard(&mut listener).await?,
        note(
            "notifications/subscriptions/acknowledged",
            json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": ["a://1"]}, "_meta": stamp})
        ),
        "prompts are none of this server's"
    );
    let subscribed = server
        .until(|noted| noted.method == "resources/subscribe")
        .await?;
    assert_eq!(subscribed.body["params"], json!({"uri": "a://1"}));
    for (method, params) in [
        ("notifications/resources/list_changed", json!({})),
        ("notifications/resources/updated", json!({"uri": "a://2"})),
        ("notifications/message", json!({"level": "error", "data": "x"})),
        ("notifications/tools/list_changed", json!({})),
        ("notifications/resources/updated", json!({"uri": "a://1"})),
    ] {
        feed.send(event(&note(method, params))).await?;
    }
    assert_eq!(
        heard(&mut listener).await?,
        note("notifications/tools/list_changed", json!({"_meta": stamp}))
    );
    assert_eq!(
        heard(&mut listener).await?,
        note(
            "notifications/resources/updated",
            json!({"uri": "a://1", "_meta": stamp})
        )
    );
    listener.abandon();
    let ended = server
        .until(|noted| noted.method == "resources/unsubscribe")
        .await?;
    assert_eq!(ended.body["params"], json!({"uri": "a://1"}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn log_messages_and_progress_are_of_the_call_that_wants_them() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let call = json!({"name": "t", "arguments": {}});
    let wants = json!({"io.modelcontextprotocol/logLevel": "warning", "progressToken": "mine"});
    for (meta, wanted) in [(wants, 2), (json!({}), 0)] {
        let calling = tokio::spawn(
            modern(&url, json!(1), "tools/call", call.clone(), &meta)
                .bearer(&token)
                .send(),
        );
        let heard = server.next().await?;
        let number = heard.json()?["id"].clone();
        let token = heard.json()?["params"]["_meta"]["progressToken"].clone();
        assert_eq!(token, if wanted > 0 { number.clone() } else { Value::Null });
        let feed = heard.stream(&[])?;
        for (method, params) in [
            ("notifications/message", json!({"level": "info", "data": "no"})),
            ("notifications/message", json!({"level": "error", "data": "yes"})),
            (
                "notifications/progress",
                json!({"progressToken": 9999, "progress": 0.5}),
            ),
            (
                "notifications/progress",
                json!({"progressToken": number, "progress": 0.5}),
            ),
        ] {
            feed.send(event(&note(method, params))).await?;
        }
        feed.send(event(
            &json!({"jsonrpc": "2.0", "id": number, "result": {"content": []}}),
        ))
        .await?;
        let answer = calling.await??;
        let kind = if wanted > 0 {
            "text/event-stream"
        } else {
            "application/json"
        };
        assert_eq!(answer.header("content-type"), kind);
        let text = answer.text();
        let lines = text
            .lines()
            .map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let mut messages: Vec<Value> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
        let last = messages.pop().unwrap_or_default();
        assert_eq!(
            (&last["id"], &last["result"]["resultType"]),
            (&json!(1), &json!("complete"))
        );
        let seen: Vec<Value> = messages.iter().map(|message| message["params"].clone()).collect();
        let expected = [
            json!({"level": "error", "data": "yes"}),
            json!({"progressToken": "mine", "progress": 0.5}),
        ];
        assert_eq!(seen, expected.into_iter().take(wanted).collect::<Vec<_>>());
    }
    let levels: Vec<Value> = server
        .noted()
        .into_iter()
        .filter(|noted| noted.method == "logging/setLevel")
        .map(|noted| noted.body["params"]["level"].clone())
        .collect();
    assert_eq!(levels, ["warning"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_that_goes_away_cancels_at_a_server_with_sessions() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let meta = json!({"progressToken": 1});
    let call = json!({"name": "t", "arguments": {}});
    // With its answer begun, and before.
    let calling = tokio::spawn(
        modern(&url, json!(1), "tools/call", call.clone(), &meta)
            .bearer(&token)
            .stream(),
    );
    let heard = server.next().await?;
    let number = heard.json()?["id"].clone();
    let feed = heard.stream(&[])?;
    feed.send(event(&note(
        "notifications/progress",
        json!({"progressToken": number, "progress": 1}),
    )))
    .await?;
    let mut stream = calling.await??;
    stream.next().await?;
    stream.abandon();
    let is_cancelled = |number: Value| {
        move |noted: &super::stage::Noted| {
            noted.method == "notifications/cancelled" && noted.body["params"]["requestId"] == number
        }
    };
    let told = server.until(is_cancelled(number)).await?;
    assert_eq!(told.session, "session-1");
    feed.abandoned().await?;

    let calling = tokio::spawn(
        modern(&url, json!(2), "tools/call", call, &meta)
            .bearer(&token)
            .send(),
    );
    let heard = server.next().await?;
    let number = heard.json()?["id"].clone();
    calling.abort();
    server.until(is_cancelled(number)).await?;
    drop(heard);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_hears_of_changes_on_its_sessions_stream() -> Outcome {
    let mut server = Server::modern().await?;
    let (url, token) = (server.url(), server.token().await?);
    let session = begun(&server, &token, &json!({})).await?;
    let mut stream = Request::get(&url)
        .header("accept", "text/event-stream")
        .header("mcp-session-id", &session)
        .header("mcp-protocol-version", mcp::LEGACY)
        .bearer(&token)
        .stream()
        .await?;
    let listening = server.next().await?;
    let body = listening.json()?;
    assert_eq!(body["method"], "subscriptions/listen");
    assert_eq!(body["params"]["notifications"], json!({"toolsListChanged": true}));
    let feed = listening.stream(&[])?;
    let stamp = |id: &Value| json!({"io.modelcontextprotocol/subscriptionId": id});
    feed.send(event(&note(
        "notifications/subscriptions/acknowledged",
        json!({"notifications": {}, "_meta": stamp(&body["id"])}),
    )))
    .await?;
    feed.send(event(&note(
        "notifications/tools/list_changed",
        json!({"_meta": stamp(&body["id"])}),
    )))
    .await?;
    let heard = stream.next().await?.map(|event| event.json()).transpose()?;
    assert_eq!(heard, Some(note("notifications/tools/list_changed", json!({}))));

    let subscribing = in_session(
        &url,
        &session,
        json!(1),
        "resources/subscribe",
        json!({"uri": "a://1"}),
    );
    assert_eq!(
        subscribing.bearer(&token).send().await?.json()?["result"],
        json!({})
    );
    // The server is asked anew, and its former stream is closed.
    let listening = server.next().await?;
    let body = listening.json()?;
    assert_eq!(
        body["params"]["notifications"],
        json!({"toolsListChanged": true, "resourceSubscriptions": ["a://1"]})
    );
    feed.abandoned().await?;
    let feed = listening.stream(&[])?;
    for uri in ["a://2", "a://1"] {
        let params = json!({"uri": uri, "_meta": stamp(&body["id"])});
        feed.send(event(&note("notifications/resources/updated", params)))
            .await?;
    }
    let heard = stream.next().await?.map(|event| event.json()).transpose()?;
    assert_eq!(
        heard,
        Some(note("notifications/resources/updated", json!({"uri": "a://1"})))
    );
    stream.abandon();
    feed.abandoned().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_cancels_by_saying_so_and_not_by_going_away() -> Outcome {
    let mut server = Server::modern().await?;
    let (url, token) = (server.url(), server.token().await?);
    let session = begun(&server, &token, &json!({})).await?;
    let get = |id: Value| in_session(&url, &session, id, "prompts/get", json!({"name": "p"})).bearer(&token);
    let calling = tokio::spawn(get(json!("c")).send());
    let feed = server.next().await?.stream(&[])?;
    let cancelled = note(
        "notifications/cancelled",
        json!({"requestId": "c", "reason": "enough"}),
    );
    let told = mcp::post(&url, &cancelled)
        .header("mcp-session-id", &session)
        .header("mcp-protocol-version", mcp::LEGACY)
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(told.status, 202);
    feed.abandoned().await?;
    assert_eq!(calling.await??.status, 200);

    let calling = tokio::spawn(get(json!("d")).stream());
    let heard = server.next().await?;
    let feed = heard.stream(&[])?;
    let message = note("notifications/message", json!({"level": "error", "data": 1}));
    feed.send(event(&message)).await?;
    let mut stream = calling.await??;
    stream.next().await?;
    stream.abandon();
    // More than any buffer on the way would take, one by one: it is read to its end.
    for _ in 0..64 {
        feed.send(event(&message)).await?;
    }
    let last = json!({"jsonrpc": "2.0", "id": "d", "result": {"resultType": "complete", "messages": []}});
    feed.send(event(&last)).await?;
    feed.abandoned().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_names_one_call_of_a_legacy_client_at_a_time() -> Outcome {
    let mut server = Server::modern().await?;
    let (url, token) = (server.url(), server.token().await?);
    let session = begun(&server, &token, &json!({})).await?;
    let get = |id: Value| in_session(&url, &session, id, "prompts/get", json!({"name": "p"})).bearer(&token);
    let answer = json!({"resultType": "complete", "messages": []});
    let first = tokio::spawn(get(json!("c")).send());
    let heard = server.next().await?;
    let second = get(json!("c")).send().await?;
    assert_eq!(
        (second.status, second.json()?["error"]["code"].clone()),
        (200, json!(-32600))
    );
    assert!(server.is_untroubled(), "the server did not hear of the second");
    let other = tokio::spawn(get(json!("d")).send());
    server.next().await?.result(&answer)?;
    assert_eq!(other.await??.status, 200, "another id is free");
    heard.result(&answer)?;
    assert_eq!(first.await??.json()?["id"], "c");
    let again = tokio::spawn(get(json!("c")).send());
    server.next().await?.result(&answer)?;
    assert_eq!(
        again.await??.json()?["id"],
        "c",
        "and so is this one when it is over"
    );
    Ok(())
}
