//! Modern clients before a server with sessions.

use portcullis_testkit::{Outcome, Portcullis, Upstream, login, mcp};
use serde_json::{Value, json};

use super::stage::{JSON, SCOPES, Server, askable, modern};
use crate::{portcullis, tool_names};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_sessions_is_discovered_listed_and_called() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let found = modern(&url, json!("d"), "server/discover", json!({}), &json!({}))
        .bearer(&token)
        .send()
        .await?;
    assert_eq!((found.status, found.header("mcp-session-id")), (200, ""));
    assert_eq!(
        found.json()?,
        json!({"jsonrpc": "2.0", "id": "d", "result": {
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "instructions": "be kind",
            "capabilities": {"tools": {"listChanged": true}, "logging": {},
                "resources": {"subscribe": true, "listChanged": true}},
            "ttlMs": 0, "cacheScope": "private",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "old", "version": "1"}}}})
    );

    let asking = tokio::spawn(
        modern(&url, json!(1), "tools/list", json!({}), &json!({}))
            .bearer(&token)
            .send(),
    );
    let heard = server.next().await?;
    assert_eq!(
        (
            heard.header("mcp-session-id"),
            heard.header("mcp-protocol-version")
        ),
        ("session-1", "2025-11-25")
    );
    assert_eq!(
        (heard.header("mcp-method"), heard.header("authorization")),
        ("", "")
    );
    heard.result(&json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}))?;
    let listed = asking.await??.json()?;
    assert_eq!(tool_names(&listed), ["t"]);
    let result = &listed["result"];
    assert_eq!(
        (&result["resultType"], &result["ttlMs"], &result["cacheScope"]),
        (&json!("complete"), &json!(0), &json!("private"))
    );

    let params = json!({"name": "t", "arguments": {"n": 1.5}});
    let calling = tokio::spawn(
        modern(&url, json!("c"), "tools/call", params, &json!({}))
            .bearer(&token)
            .send(),
    );
    let heard = server.next().await?;
    let said = heard.json()?;
    assert_eq!(
        said["params"],
        json!({"name": "t", "arguments": {"n": 1.5}}),
        "nothing of the modern era"
    );
    heard.result(&json!({"content": [{"type": "text", "text": "done"}], "resultType": "input_required"}))?;
    let called = calling.await??;
    assert_eq!(
        (called.status, called.header("content-type")),
        (200, "application/json")
    );
    let called = called.json()?;
    assert_eq!(
        (&called["id"], &called["result"]["resultType"]),
        (&json!("c"), &json!("complete"))
    );
    assert_eq!(called["result"]["content"][0]["text"], "done");
    let begun = server
        .heard()
        .into_iter()
        .filter(|method| method == "initialize")
        .count();
    assert_eq!(begun, 1, "{:?}", server.heard());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_a_call_does_not_depend_on_the_era() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, reader) = (server.url(), server.other_token().await?);
    let allowed = |id: i32| modern(&url, json!(id), "server/discover", json!({}), &json!({})).bearer(&reader);
    assert_eq!(allowed(1).send().await?.status, 200, "before");
    let params = json!({"name": "t", "arguments": {}});
    let refused = modern(&url, json!(2), "tools/call", params.clone(), &json!({}))
        .bearer(&reader)
        .send()
        .await?;
    assert_eq!(refused.status, 403);
    assert!(refused.header("www-authenticate").contains("insufficient_scope"));
    let naked = modern(&url, json!(3), "tools/call", params, &json!({}))
        .send()
        .await?;
    assert_eq!(naked.status, 401);
    assert!(server.is_untroubled(), "the server was not called");
    assert_eq!(allowed(4).send().await?.status, 200, "after");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_principals_and_two_kinds_of_client_have_sessions_of_their_own() -> Outcome {
    let mut server = Server::legacy().await?;
    let url = server.url();
    let (one, other) = (server.token().await?, server.other_token().await?);
    for (token, meta, session) in [
        (&one, json!({}), "session-1"),
        (&other, json!({}), "session-2"),
        (&one, askable(), "session-3"),
        (&one, json!({}), "session-1"),
    ] {
        let asking = tokio::spawn(
            modern(&url, json!(1), "tools/list", json!({}), &meta)
                .bearer(token)
                .send(),
        );
        let heard = server.next().await?;
        assert_eq!(heard.header("mcp-session-id"), session);
        heard.result(&json!({"tools": []}))?;
        assert_eq!(asking.await??.status, 200);
    }
    let hellos: Vec<Value> = server
        .noted()
        .into_iter()
        .filter(|noted| noted.method == "initialize")
        .map(|noted| noted.body["params"]["capabilities"].clone())
        .collect();
    let declared = json!({"elicitation": {}, "sampling": {}, "roots": {}});
    assert_eq!(hellos, [json!({}), json!({}), declared]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_forgot_is_begun_anew_and_the_call_made_once() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let params = json!({"name": "t", "arguments": {}});
    let calling = tokio::spawn(
        modern(&url, json!(1), "tools/call", params, &json!({}))
            .bearer(&token)
            .send(),
    );
    server.next().await?.answer(404, &[], "")?;
    let again = server.next().await?;
    assert_eq!(again.header("mcp-session-id"), "session-2");
    again.result(&json!({"content": []}))?;
    assert_eq!(calling.await??.status, 200);
    assert!(server.is_untroubled());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_stream_of_the_sessions_own_keeps_its_session() -> Outcome {
    let mut server = Server::streamless().await?;
    let (url, token) = (server.url(), server.token().await?);
    for number in 1..=4 {
        let params = json!({"name": "t", "arguments": {}});
        let calling = tokio::spawn(
            modern(&url, json!(number), "tools/call", params, &json!({}))
                .bearer(&token)
                .send(),
        );
        let heard = server.next().await?;
        assert_eq!(heard.header("mcp-session-id"), "session-1", "call {number}");
        // The session is in use until its stream was asked for, and after.
        server.until(|noted| noted.method == "GET").await?;
        heard.result(&json!({"content": []}))?;
        assert_eq!(calling.await??.status, 200);
    }
    let heard = server.heard();
    assert_eq!(heard.iter().filter(|method| *method == "initialize").count(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_old_revisions_become_those_of_the_new() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    for (old, new, status) in [
        (-32002, -32602, 200),
        (-32601, -32601, 404),
        (-32000, -32000, 200),
    ] {
        let params = json!({"uri": "file:///x"});
        let asking = tokio::spawn(
            modern(&url, json!("r"), "resources/read", params, &json!({}))
                .bearer(&token)
                .send(),
        );
        let heard = server.next().await?;
        let error = json!({"code": old, "message": "no", "data": {"uri": "file:///x"}});
        let body = json!({"jsonrpc": "2.0", "id": heard.json()?["id"], "error": error});
        heard.answer(200, &JSON, body.to_string())?;
        let answer = asking.await??;
        let said = answer.json()?;
        assert_eq!(
            (answer.status, &said["error"]["code"]),
            (status, &json!(new)),
            "{old}"
        );
        assert_eq!(
            (&said["id"], &said["error"]["data"]["uri"]),
            (&json!("r"), &json!("file:///x"))
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_only_one_era_has_are_unknown() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let params = json!({"taskId": "t"});
    let request = modern(&url, json!(1), "tasks/get", params, &json!({})).header("mcp-name", "t");
    let answer = request.bearer(&token).send().await?;
    assert_eq!(
        (answer.status, &answer.json()?["error"]["code"]),
        (404, &json!(-32601))
    );
    assert!(server.is_untroubled());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_nothing_about_the_era_changes_nothing() -> Outcome {
    let mut upstream = Upstream::of_any_era().await?;
    let running = portcullis().arg("--upstream").arg(upstream.url()).up().await?;
    let token = login(&running, SCOPES).await?.access_token;
    let url = &running.ready().mcp_url;
    for (status, seen) in [(503, 503), (401, 502), (403, 502), (429, 429)] {
        let asking = tokio::spawn(mcp::modern(url, "tools/list", json!({})).bearer(&token).send());
        // The question, and then the call as it is: no session was begun.
        for method in ["server/discover", "tools/list"] {
            let heard = upstream.next().await?;
            assert_eq!(heard.header("mcp-method"), method);
            heard.answer(status, &[], "")?;
        }
        assert_eq!(asking.await??.status, seen, "{status}");
    }
    Ok(())
}

/// Answers `initialize` and `tools/call`, and dies of anything before them, as some published servers do.
const OLD_STDIO: &str = r#"
import json, sys
begun = False
for line in sys.stdin:
    message = json.loads(line)
    method, id = message.get("method"), message.get("id")
    if method == "initialize":
        begun = True
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "pipe", "version": "1"}}
    elif not begun:
        sys.exit(1)
    elif method == "tools/call":
        ask = {"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}}
        print(json.dumps(ask), flush=True)
        answer = json.loads(sys.stdin.readline())
        result = {"content": [{"type": "text", "text": json.dumps(answer["result"])}]}
    elif id is None:
        continue
    else:
        result = {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}
    print(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_stdio_server_that_dies_of_what_it_does_not_know_is_bridged() -> Outcome {
    let folder = portcullis_testkit::Scratch::new("bridge")?;
    let script = folder.path().join("server.py");
    std::fs::write(&script, OLD_STDIO)?;
    let command = format!("python3 -u '{}'", script.display());
    let running = Portcullis::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("--stdio")
        .arg(command)
        .up()
        .await?;
    let token = login(&running, SCOPES).await?.access_token;
    let url = &running.ready().mcp_url;
    let found = mcp::modern(url, "server/discover", json!({}))
        .bearer(&token)
        .send()
        .await?;
    let found = found.json()?;
    let name = "/result/_meta/io.modelcontextprotocol~1serverInfo/name";
    assert_eq!(found.pointer(name), Some(&json!("pipe")), "{found}");
    let listed = modern(url, json!(7), "tools/list", json!({}), &askable())
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(tool_names(&listed.json()?), ["ask"]);

    let params = json!({"name": "ask", "arguments": {}});
    let first = modern(url, json!(8), "tools/call", params.clone(), &askable())
        .bearer(&token)
        .send()
        .await?
        .json()?;
    assert_eq!(first["result"]["resultType"], "input_required", "{first}");
    let mut again = params;
    again["requestState"] = first["result"]["requestState"].clone();
    again["inputResponses"] = json!({"elicitation-1": {"action": "accept", "content": {}}});
    let second = modern(url, json!(9), "tools/call", again, &askable())
        .bearer(&token)
        .send()
        .await?
        .json()?;
    let said = second["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_default();
    assert!(said.contains("accept"), "{second}");
    Ok(())
}
