use super::*;

#[tokio::test]
async fn each_principal_has_a_process_of_its_own() {
    let server = server(&[], |_| {});
    let (one, other) = (principal("one"), principal("other"));
    let mine = result(&server, &one, "pid").await;
    assert_ne!(mine, result(&server, &other, "pid").await);
    assert_eq!(mine, result(&server, &one, "pid").await, "and keeps it");
    let mut elsewhere = one.clone();
    elsewhere.client = ClientId::parse("another-agent").unwrap();
    assert_ne!(
        mine,
        result(&server, &elsewhere, "pid").await,
        "two agents of one user do not share"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn calls_at_the_same_time_start_one_process() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let pids = futures_util::future::join_all((0..8).map(|_| result(&server, &who, "pid"))).await;
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[tokio::test]
async fn ids_come_back_as_they_were_written() {
    let server = server(&[], |_| {});
    let who = principal("one");
    for id in ["7", "-9223372036854775808", r#""a\u00e9\"\\ b""#, r#""1""#] {
        let body = tool("pid", json!({}))
            .to_string()
            .replacen(r#""id":1"#, &format!(r#""id": {id}"#), 1);
        let headers = modern_headers(&serde_json::from_str(&body).unwrap());
        let response = post(&server, &who, headers, &body).await.unwrap();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.contains(&format!(r#""id": {id}, "#)), "{text}");
    }
}

#[tokio::test]
async fn a_body_of_many_lines_is_one_line_for_the_server() {
    let server = server(&[], |_| {});
    let body = tool("line", json!({"text": "a\nb"}));
    let pretty = serde_json::to_string_pretty(&body).unwrap().replace('\n', "\r\n");
    let response = post(&server, &principal("one"), modern_headers(&body), &pretty)
        .await
        .unwrap();
    let (_, answer) = whole(response).await;
    let heard: Value = serde_json::from_str(answer["result"]["line"].as_str().unwrap()).unwrap();
    assert_eq!(heard["params"], body["params"]);
}

#[tokio::test]
async fn what_comes_before_the_answer_is_streamed_in_order() {
    let server = server(&[], |_| {});
    let body = request(
        json!("r"),
        "tools/call",
        json!({"name": "progress", "arguments": {"count": 3}}),
        Some(json!("t")),
    );
    let mut stream = events(modern(&server, &principal("one"), &body).await.unwrap());
    for count in 0..3 {
        let note = next(&mut stream).await.unwrap();
        assert_eq!(note["params"], json!({"progressToken": "t", "progress": count}));
    }
    assert_eq!(
        next(&mut stream).await.unwrap(),
        json!({"jsonrpc": "2.0", "id": "r", "result": {"done": true}})
    );
    assert_eq!(next(&mut stream).await, None);

    let log = modern(&server, &principal("one"), &tool("log", json!({})))
        .await
        .unwrap();
    assert_eq!(
        next(&mut events(log)).await.unwrap()["params"]["data"],
        "hello",
        "a log message of the only request"
    );
}

#[tokio::test]
async fn two_clients_of_one_principal_may_choose_the_same_id_and_token() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let body = request(json!(1), "tools/call", json!({"name": "hold"}), Some(json!(5)));
    let release = request(json!(1), "tools/call", json!({"name": "release"}), Some(json!(5)));
    let hold = async || events(modern(&server, &who, &body).await.unwrap());
    // The third is written last: the server answers them in the order it read them.
    let release = async {
        while result(&server, &who, "cancelled").await["held"]
            .as_array()
            .unwrap()
            .len()
            < 2
        {}
        whole(modern(&server, &who, &release).await.unwrap()).await
    };
    let (mut first, mut second, released) = tokio::join!(hold(), hold(), release);
    assert_eq!(released.1["id"], 1);
    for stream in [&mut first, &mut second] {
        assert_eq!(next(stream).await.unwrap()["params"]["progressToken"], 5);
        assert_eq!(
            next(stream).await.unwrap(),
            json!({"jsonrpc": "2.0", "id": 1, "result": {"released": true}})
        );
        assert_eq!(next(stream).await, None);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let hold = tool("hold", json!({}));
    let held = async || {
        result(&server, &who, "cancelled").await["held"]
            .as_array()
            .unwrap()
            .clone()
    };
    {
        // Before there is an answer.
        let waiting = modern(&server, &who, &hold);
        tokio::pin!(waiting);
        tokio::select! {
            _ = &mut waiting => panic!("nobody answers"),
            () = async { while held().await.is_empty() {} } => {}
        }
    }
    let listen = request(
        json!("l"),
        "subscriptions/listen",
        json!({"notifications": {}}),
        None,
    );
    let mut stream = events(modern(&server, &who, &listen).await.unwrap());
    assert_eq!(
        next(&mut stream).await.unwrap()["method"],
        "notifications/subscriptions/acknowledged"
    );
    // In the middle of a stream.
    drop(stream);
    let cancelled = result(&server, &who, "cancelled").await;
    assert_eq!(cancelled["cancelled"].as_array().unwrap().len(), 2, "{cancelled}");
    assert_eq!(cancelled["cancelled"][0], cancelled["held"][0]);
    // What was answered is not cancelled.
    result(&server, &who, "pid").await;
    assert_eq!(
        result(&server, &who, "cancelled").await["cancelled"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_client_cannot_cancel_by_an_id_that_another_may_have() {
    let server = server(&[], |_| {});
    let who = principal("one");
    result(&server, &who, "pid").await;
    let body = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let response = post(&server, &who, modern_headers(&body), &body.to_string())
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(result(&server, &who, "cancelled").await["cancelled"], json!([]));
}

#[tokio::test]
async fn a_subscription_has_its_own_stream_under_the_clients_id() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let listen = |id: &str| {
        request(
            json!(id),
            "subscriptions/listen",
            json!({"notifications": {"toolsListChanged": true}}),
            None,
        )
    };
    let mut one = events(modern(&server, &who, &listen("one")).await.unwrap());
    let mut two = events(modern(&server, &who, &listen("two")).await.unwrap());
    // Without a subscription in it, a list_changed is for nobody, not even for the only call.
    whole(modern(&server, &who, &tool("announce", json!({}))).await.unwrap()).await;
    whole(
        modern(&server, &who, &tool("end-listening", json!({})))
            .await
            .unwrap(),
    )
    .await;
    for (stream, id) in [(&mut one, "one"), (&mut two, "two")] {
        for method in [
            "notifications/subscriptions/acknowledged",
            "notifications/tools/list_changed",
        ] {
            let note = next(stream).await.unwrap();
            assert_eq!(note["method"], method);
            assert_eq!(
                note["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
                id
            );
        }
        let end = next(stream).await.unwrap();
        assert_eq!(
            (
                &end["id"],
                &end["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
            ),
            (&json!(id), &json!(id))
        );
        assert_eq!(next(stream).await, None);
    }
}

#[tokio::test]
async fn errors_that_have_a_status_get_it() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let unknown = modern(&server, &who, &request(json!(1), "tools/list", json!({}), None))
        .await
        .unwrap();
    let (status, answer) = whole(unknown).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!(-32601)));
    let (status, answer) = whole(modern(&server, &who, &tool("nonsense", json!({}))).await.unwrap()).await;
    assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32602)));
}

#[tokio::test]
async fn a_stateless_server_that_asks_is_told_no() {
    let server = server(&[], |_| {});
    let response = modern(&server, &principal("one"), &tool("ask", json!({})))
        .await
        .unwrap();
    let (_, answer) = whole(response).await;
    assert_eq!(answer["result"]["heard"]["id"], "srv-1");
    assert_eq!(answer["result"]["heard"]["error"]["code"], -32601);
}

#[tokio::test]
async fn lines_that_are_no_messages_are_skipped_and_answers_count_once() {
    let server = server(&[], |_| {});
    let who = principal("one");
    assert_eq!(result(&server, &who, "garbage").await, json!({"first": true}));
    assert!(result(&server, &who, "pid").await["pid"].is_u64());
}
