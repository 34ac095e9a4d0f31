//! Legacy clients before a server without sessions.

use portcullis_testkit::{Outcome, Request, mcp};
use serde_json::{Value, json};

use super::stage::{JSON, Server, event};
use crate::tool_names;

/// Begins a session, as a client that can be asked this.
pub(super) async fn begun(server: &Server, token: &str, capabilities: &Value) -> Outcome<String> {
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": mcp::LEGACY, "capabilities": capabilities,
        "clientInfo": {"name": "testkit", "version": "1"}}});
    let hello = mcp::post(&server.url(), &body).bearer(token).send().await?;
    assert_eq!(hello.status, 200, "{}", hello.text());
    let session = hello.header("mcp-session-id").to_owned();
    assert!(session.len() >= 43, "{session:?}");
    assert_eq!(
        hello.json()?,
        json!({"jsonrpc": "2.0", "id": 0, "result": {
            "protocolVersion": mcp::LEGACY, "instructions": "be quick",
            "serverInfo": {"name": "new", "version": "2"},
            "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true}, "logging": {}}}})
    );
    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let told = mcp::post(&server.url(), &note)
        .header("mcp-session-id", &session)
        .header("mcp-protocol-version", mcp::LEGACY)
        .bearer(token)
        .send()
        .await?;
    assert_eq!(told.status, 202);
    Ok(session)
}

pub(super) fn in_session(url: &str, session: &str, id: Value, method: &str, params: Value) -> Request {
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    mcp::post(url, &body)
        .header("mcp-session-id", session)
        .header("mcp-protocol-version", mcp::LEGACY)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_begun_used_and_ended_before_a_server_that_has_none() -> Outcome {
    let mut server = Server::modern().await?;
    let (url, token) = (server.url(), server.token().await?);
    let session = begun(&server, &token, &json!({})).await?;
    let request = |id: i32, method: &str, params: Value| {
        in_session(&url, &session, json!(id), method, params).bearer(&token)
    };
    assert_eq!(
        request(1, "ping", json!({})).send().await?.json()?["result"],
        json!({})
    );
    let level = request(2, "logging/setLevel", json!({"level": "warning"}))
        .send()
        .await?;
    assert_eq!(level.json()?["result"], json!({}));
    let wrong = request(3, "logging/setLevel", json!({"level": "loud"}))
        .send()
        .await?;
    assert_eq!(wrong.json()?["error"]["code"], -32602);
    assert!(server.is_untroubled(), "the bridge answers these itself");

    let listing = tokio::spawn(request(4, "tools/list", json!({})).send());
    let heard = server.next().await?;
    assert_eq!(
        (
            heard.header("mcp-protocol-version"),
            heard.header("mcp-method"),
            heard.header("mcp-session-id")
        ),
        (mcp::MODERN, "tools/list", "")
    );
    assert_eq!(
        heard.json()?["params"]["_meta"],
        json!({"io.modelcontextprotocol/protocolVersion": mcp::MODERN,
            "io.modelcontextprotocol/clientCapabilities": {}, "io.modelcontextprotocol/logLevel": "warning",
            "io.modelcontextprotocol/clientInfo": {"name": "testkit", "version": "1"}})
    );
    let region =
        json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    let against = json!({"type": "object", "properties": {"n": {"type": "number", "x-mcp-header": "N"}}});
    heard.result(
        &json!({"resultType": "complete", "ttlMs": 5000, "cacheScope": "public",
        "tools": [{"name": "t", "inputSchema": region}, {"name": "against", "inputSchema": against}]}),
    )?;
    let listed = listing.await??.json()?;
    assert_eq!(
        tool_names(&listed),
        ["t"],
        "one that breaks the rules of headers is not offered"
    );
    let members: Vec<&String> = listed["result"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["tools"], "nothing that only the modern era says");

    let params = json!({"name": "t", "arguments": {"region": "日本"}, "_meta": {"progressToken": "p"}});
    let calling = tokio::spawn(request(5, "tools/call", params).stream());
    let heard = server.next().await?;
    assert_eq!(
        (heard.header("mcp-name"), heard.header("mcp-param-region")),
        ("t", "=?base64?5pel5pys?=")
    );
    let id = heard.json()?["id"].clone();
    let feed = heard.stream(&[])?;
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "p", "progress": 1}});
    feed.send(event(&progress)).await?;
    let mut stream = calling.await??;
    assert_eq!(
        stream.next().await?.map(|event| event.json()).transpose()?,
        Some(progress)
    );
    feed.send(event(
        &json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "content": []}}),
    ))
    .await?;
    let last = stream.next().await?.map(|event| event.json()).transpose()?;
    assert_eq!(
        last,
        Some(json!({"jsonrpc": "2.0", "id": 5, "result": {"content": []}}))
    );

    let end = |method: &str| {
        Request::new(method, &url)
            .header("mcp-session-id", &session)
            .header("mcp-protocol-version", mcp::LEGACY)
            .bearer(&token)
    };
    assert_eq!(end("DELETE").send().await?.status, 204);
    assert_eq!(request(6, "ping", json!({})).send().await?.status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_a_call_and_whose_session_it_is_do_not_depend_on_the_era() -> Outcome {
    let mut server = Server::modern().await?;
    let (url, token, reader) = (server.url(), server.token().await?, server.other_token().await?);
    let session = begun(&server, &token, &json!({})).await?;
    let theirs = begun(&server, &reader, &json!({})).await?;
    assert_ne!(session, theirs);
    let ping =
        |session: &str, token: &str| in_session(&url, session, json!(1), "ping", json!({})).bearer(token);
    assert_eq!(ping(&session, &token).send().await?.status, 200, "before");
    assert_eq!(ping(&session, &reader).send().await?.status, 404, "another's");
    let naked = in_session(&url, &session, json!(1), "ping", json!({}))
        .send()
        .await?;
    assert_eq!(naked.status, 401, "a session is not a credential");
    let params = json!({"name": "t", "arguments": {}});
    let refused = in_session(&url, &theirs, json!(2), "tools/call", params)
        .bearer(&reader)
        .send()
        .await?;
    assert_eq!(refused.status, 403);
    assert!(refused.header("www-authenticate").contains("insufficient_scope"));
    assert!(server.is_untroubled(), "the server was not called");
    assert_eq!(ping(&session, &token).send().await?.status, 200, "after");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_that_mean_another_thing_to_a_legacy_client_do_not_reach_it() -> Outcome {
    let mut server = Server::modern().await?;
    let (url, token) = (server.url(), server.token().await?);
    let session = begun(&server, &token, &json!({})).await?;
    for (status, code) in [(404, -32601), (400, -32021), (200, -32602)] {
        let request = in_session(
            &url,
            &session,
            json!("r"),
            "resources/read",
            json!({"uri": "a://b"}),
        );
        let asking = tokio::spawn(request.bearer(&token).send());
        let heard = server.next().await?;
        assert_eq!(heard.header("mcp-name"), "a://b");
        let body =
            json!({"jsonrpc": "2.0", "id": heard.json()?["id"], "error": {"code": code, "message": "no"}});
        heard.answer(status, &JSON, body.to_string())?;
        let answer = asking.await??;
        // 404 would tell it that its session is gone.
        assert_eq!(
            (answer.status, &answer.json()?["error"]["code"]),
            (200, &json!(code))
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_a_server_misses_are_looked_up_again_once() -> Outcome {
    let mut server = Server::modern().await?;
    let (url, token) = (server.url(), server.token().await?);
    let session = begun(&server, &token, &json!({})).await?;
    let params = json!({"name": "t", "arguments": {"a": "x"}});
    let calling = tokio::spawn(
        in_session(&url, &session, json!(1), "tools/call", params)
            .bearer(&token)
            .send(),
    );
    let list = |header: &str| {
        json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "public", "tools": [{"name": "t",
            "inputSchema": {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": header}}}}]})
    };
    server.next().await?.result(&list("Old"))?;
    let first = server.next().await?;
    assert_eq!(
        (first.header("mcp-param-old"), first.header("mcp-param-new")),
        ("x", "")
    );
    let body = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32020, "message": "Header mismatch"}});
    first.answer(400, &JSON, body.to_string())?;
    server.next().await?.result(&list("New"))?;
    let second = server.next().await?;
    assert_eq!(
        (second.header("mcp-param-old"), second.header("mcp-param-new")),
        ("", "x")
    );
    second.answer(400, &JSON, body.to_string())?;
    assert_eq!(
        calling.await??.json()?["error"]["code"],
        -32020,
        "and no third time"
    );
    Ok(())
}
