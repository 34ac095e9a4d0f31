use super::*;

const VERSION: &str = "2025-11-25";

fn session_headers(session: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", HeaderValue::from_static(VERSION));
    headers.insert("mcp-session-id", HeaderValue::try_from(session).unwrap());
    headers
}

async fn initialize(server: &StdioUpstream, who: &Principal, version: &str) -> Response<Body> {
    let params =
        json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    post(server, who, HeaderMap::new(), &body.to_string())
        .await
        .unwrap()
}

async fn session(server: &StdioUpstream, who: &Principal) -> String {
    let response = initialize(server, who, VERSION).await;
    let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let (status, answer) = whole(response).await;
    assert_eq!(
        (status, &answer["id"], &answer["result"]["protocolVersion"]),
        (200, &json!(0), &json!(VERSION))
    );
    session
}

async fn say(server: &StdioUpstream, who: &Principal, session: &str, body: Value) -> Response<Body> {
    post(server, who, session_headers(session), &body.to_string())
        .await
        .unwrap()
}

fn tool(id: Value, name: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": arguments}})
}

async fn call(server: &StdioUpstream, who: &Principal, session: &str, name: &str) -> Value {
    let (status, mut answer) = whole(say(server, who, session, tool(json!(1), name, json!({}))).await).await;
    assert_eq!(status, 200, "{answer}");
    answer["result"].take()
}

async fn get(server: &StdioUpstream, who: &Principal, session: &str) -> Response<Body> {
    let call = Call::open_stream(&session_headers(session)).unwrap();
    send(server, who, HttpMethod::GET, &call).await.unwrap()
}

async fn delete(server: &StdioUpstream, who: &Principal, session: &str) -> u16 {
    let call = Call::end_session(&session_headers(session)).unwrap();
    send(server, who, HttpMethod::DELETE, &call)
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn a_session_is_a_process_from_initialize_to_delete() {
    let server = server(&[], |_| {});
    let (who, other) = (principal("one"), principal("other"));
    let mine = session(&server, &who).await;
    assert!(mine.len() >= 22, "at least 128 bits: {mine}");
    let second = session(&server, &who).await;
    assert_ne!(mine, second);
    let pid = call(&server, &who, &mine, "pid").await;
    assert_eq!(pid, call(&server, &who, &mine, "pid").await);
    assert_ne!(
        pid,
        call(&server, &who, &second, "pid").await,
        "each session has its own"
    );

    // Not the principal's, or nobody's: there is none.
    for (who, session) in [(&other, mine.as_str()), (&who, "0000000000000000000000")] {
        let (status, answer) =
            whole(say(&server, who, session, tool(json!("i"), "pid", json!({}))).await).await;
        assert_eq!((status, &answer["id"]), (404, &json!("i")));
        assert_eq!(get(&server, who, session).await.status(), 404);
        assert_eq!(delete(&server, who, session).await, 404);
    }
    let nameless = tool(json!(2), "pid", json!({})).to_string();
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", HeaderValue::from_static(VERSION));
    assert_eq!(
        post(&server, &who, headers, &nameless).await.unwrap().status(),
        400
    );

    assert_eq!(delete(&server, &who, &mine).await, 204);
    let (status, _) = whole(say(&server, &who, &mine, tool(json!(3), "pid", json!({}))).await).await;
    assert_eq!(status, 404);
    assert!(
        call(&server, &who, &second, "pid").await["pid"].is_u64(),
        "the other goes on"
    );
}

#[tokio::test]
async fn a_refused_initialize_makes_no_session() {
    let server = server(&[], |limits| limits.children = 1);
    let who = principal("one");
    for _ in 0..2 {
        let response = initialize(&server, &who, "refuse").await;
        assert!(!response.headers().contains_key("mcp-session-id"));
        assert_eq!(whole(response).await.1["error"]["code"], -32602);
        // Its process has ended: there is room for another.
        while server.launcher.place().is_none() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn the_server_asks_on_the_stream_of_the_only_request_and_hears_the_answer() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let session = session(&server, &who).await;
    let mut stream = events(say(&server, &who, &session, tool(json!("a"), "ask", json!({}))).await);
    let asked = next(&mut stream).await.unwrap();
    assert_eq!(
        (&asked["id"], &asked["method"]),
        (&json!("srv-1"), &json!("roots/list"))
    );
    let reply = say(
        &server,
        &who,
        &session,
        json!({"jsonrpc": "2.0", "id": "srv-1", "result": {"roots": []}}),
    )
    .await;
    assert_eq!(reply.status(), 202);
    let answer = next(&mut stream).await.unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["heard"]["result"]),
        (&json!("a"), &json!({"roots": []}))
    );
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn progress_comes_on_the_stream_of_its_request_under_the_clients_token() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let session = session(&server, &who).await;
    let with_token = |name: &str| {
        let mut body = tool(json!(1), name, json!({"count": 2}));
        body["params"]["_meta"] = json!({"progressToken": "t"});
        body
    };
    let mut stream = events(say(&server, &who, &session, with_token("progress")).await);
    for count in 0..2 {
        let note = next(&mut stream).await.unwrap();
        assert_eq!(note["params"], json!({"progressToken": "t", "progress": count}));
    }
    assert_eq!(next(&mut stream).await.unwrap()["id"], 1);
    // A task's token is used after its request is answered, so the server has the client's own.
    let (_, answer) = whole(say(&server, &who, &session, with_token("line")).await).await;
    let heard: Value = serde_json::from_str(answer["result"]["line"].as_str().unwrap()).unwrap();
    assert_eq!(heard["params"]["_meta"]["progressToken"], "t");
}

#[tokio::test]
async fn what_belongs_to_no_request_waits_for_the_sessions_stream() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let session = session(&server, &who).await;
    let announce = async |number: u32| {
        let response = say(
            &server,
            &who,
            &session,
            tool(json!(1), "announce-later", json!({"number": number})),
        )
        .await;
        whole(response).await;
    };
    announce(1).await;
    let mut first = events(get(&server, &who, &session).await);
    assert_eq!(
        next(&mut first).await.unwrap()["params"]["number"],
        1,
        "from before the stream was open"
    );
    announce(2).await;
    assert_eq!(next(&mut first).await.unwrap()["params"]["number"], 2);
    // A client whose connection broke opens another before we notice.
    let mut second = events(get(&server, &who, &session).await);
    assert_eq!(next(&mut first).await, None);
    announce(3).await;
    assert_eq!(next(&mut second).await.unwrap()["params"]["number"], 3);
    assert_eq!(delete(&server, &who, &session).await, 204);
    assert_eq!(next(&mut second).await, None, "the session's end is the stream's");
}

#[tokio::test]
async fn going_away_does_not_cancel_and_cancelling_does() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let session = session(&server, &who).await;
    {
        let waiting = say(&server, &who, &session, tool(json!("gone"), "hold", json!({})));
        tokio::pin!(waiting);
        tokio::select! {
            _ = &mut waiting => panic!("nobody answers"),
            () = async { while call(&server, &who, &session, "cancelled").await["held"] == json!([]) {} } => {}
        }
    }
    let before = call(&server, &who, &session, "cancelled").await;
    assert_eq!(before["cancelled"], json!([]));
    let cancel = |id: &str| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": "r"}});
    assert_eq!(say(&server, &who, &session, cancel("never")).await.status(), 202);
    assert_eq!(say(&server, &who, &session, cancel("gone")).await.status(), 202);
    let after = call(&server, &who, &session, "cancelled").await;
    assert_eq!(
        after["cancelled"], before["held"],
        "by the id that the server knows"
    );
}

#[tokio::test]
async fn a_process_that_ends_takes_its_session_with_it() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let session = session(&server, &who).await;
    let body = tool(json!(1), "die", json!({})).to_string();
    let failed = post(&server, &who, session_headers(&session), &body)
        .await
        .unwrap_err();
    assert!(
        matches!(&failed, UpstreamError::Unreachable { detail } if detail.contains("exit status: 3")),
        "{failed}"
    );
    assert_eq!(
        say(&server, &who, &session, tool(json!(1), "pid", json!({})))
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn a_principals_idlest_session_makes_room_for_its_next() {
    let server = server(&[], |_| {});
    let (who, other) = (principal("one"), principal("other"));
    let others = session(&server, &other).await;
    let mut mine = Vec::new();
    for _ in 0..sessions::SESSIONS_PER_PRINCIPAL {
        mine.push(session(&server, &who).await);
    }
    call(&server, &who, &mine[0], "pid").await;
    session(&server, &who).await;
    assert_eq!(
        say(&server, &who, &mine[1], tool(json!(1), "pid", json!({})))
            .await
            .status(),
        404
    );
    call(&server, &who, &mine[0], "pid").await;
    call(&server, &other, &others, "pid").await;
}
