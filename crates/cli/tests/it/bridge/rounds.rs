//! A server asks something in the middle of a call: of a modern client by "input required", of a legacy one on its stream.

use portcullis_testkit::{Outcome, Request, mcp};
use serde_json::{Value, json};

use super::before_modern::{begun, in_session};
use super::stage::{JSON, Server, askable, at, event, modern, with};

fn call() -> Value {
    json!({"name": "t", "arguments": {"n": 1}})
}

/// What a server asks: a form whose fields have an order.
fn question(id: &Value, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"message": "who?"}})
}

/// A call in which the server asks, and the answer that its client gets; the server's stream is still open.
async fn asked(
    server: &mut Server,
    token: &str,
) -> Outcome<(portcullis_testkit::upstream::Feed, Value, String)> {
    let calling = tokio::spawn(
        modern(&server.url(), json!(1), "tools/call", call(), &askable())
            .bearer(token)
            .send(),
    );
    let heard = server.next().await?;
    let number = at(&heard.json()?, "/id");
    let feed = heard.stream(&[])?;
    feed.send(event(&question(&json!("q1"), "elicitation/create")))
        .await?;
    let answer = calling.await??;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    let result = at(&answer.json()?, "/result");
    assert_eq!(at(&result, "/resultType"), "input_required", "{result}");
    assert_eq!(
        at(&result, "/inputRequests"),
        json!({"elicitation-1": {"method": "elicitation/create", "params": {"message": "who?"}}})
    );
    let state = crate::text(&result, "/requestState");
    Ok((feed, number, state))
}

fn retried(url: &str, state: &str, answers: &Value) -> Request {
    let mut params = call();
    with(&mut params, "requestState", json!(state));
    with(&mut params, "inputResponses", answers.clone());
    modern(url, json!(2), "tools/call", params, &askable())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_asks_in_a_call_is_asked_of_a_modern_client() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let (feed, number, state) = asked(&mut server, &token).await?;
    let answers =
        json!({"elicitation-1": {"action": "accept", "content": {"name": "Ada"}}, "nobody": {"x": 1}});
    let retrying = tokio::spawn(retried(&url, &state, &answers).bearer(&token).send());
    let told = server.until(|noted| noted.method == "response").await?;
    let expected =
        json!({"jsonrpc": "2.0", "id": "q1", "result": {"action": "accept", "content": {"name": "Ada"}}});
    assert_eq!((told.body, &*told.session), (expected, "session-1"));

    // It asks once more, for another thing, before it answers.
    feed.send(event(&question(&json!(7), "roots/list"))).await?;
    let second = retrying.await??.json()?;
    assert_eq!(second["id"], 2);
    assert_eq!(
        second["result"]["inputRequests"]["roots-2"]["method"], "roots/list",
        "{second}"
    );
    let state = second["result"]["requestState"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    // An answer is missing: the question stays.
    let missing = retried(&url, &state, &json!({}))
        .bearer(&token)
        .send()
        .await?
        .json()?;
    assert_eq!(
        missing["result"]["inputRequests"]["roots-2"]["method"], "roots/list",
        "{missing}"
    );
    let state = missing["result"]["requestState"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let retrying = tokio::spawn(
        retried(&url, &state, &json!({"roots-2": {"roots": []}}))
            .bearer(&token)
            .send(),
    );
    server.until(|noted| noted.body["id"] == 7).await?;
    feed.send(event(&json!({"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": "Hello, Ada"}]}})))
        .await?;
    let last = retrying.await??.json()?;
    assert_eq!(last["result"]["content"][0]["text"], "Hello, Ada");
    assert_eq!(last["result"]["resultType"], "complete");
    assert!(server.is_untroubled(), "the call was made once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_state_is_good_once_for_whom_and_what_it_was_given() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let other = portcullis_testkit::login(&server.running, "upstream:read")
        .await?
        .access_token;
    let script = crate::script_token(&server.running, "upstream:read upstream:write").await?;
    let (feed, number, state) = asked(&mut server, &token).await?;
    let answers = json!({"elicitation-1": {"action": "accept", "content": {}}});

    let mut tampered = state.clone().into_bytes();
    tampered[30] = if tampered[30] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8_lossy(&tampered).into_owned();
    for (what, request) in [
        ("tampered", retried(&url, &tampered, &answers).bearer(&token)),
        ("invented", retried(&url, "AAAA", &answers).bearer(&token)),
        ("of another call", {
            let mut params = call();
            params["arguments"] = json!({"n": 2});
            params["requestState"] = json!(state);
            modern(&url, json!(3), "tools/call", params, &askable()).bearer(&token)
        }),
        ("a number", {
            let mut params = call();
            params["requestState"] = json!(7);
            modern(&url, json!(3), "tools/call", params, &askable()).bearer(&token)
        }),
        ("null", {
            let mut params = call();
            params["requestState"] = Value::Null;
            modern(&url, json!(3), "tools/call", params, &askable()).bearer(&token)
        }),
    ] {
        let refused = request.send().await?.json()?;
        assert_eq!(refused["error"]["code"], -32602, "{what}: {refused}");
    }
    // Whoever may not make the call is stopped before the state is looked at; whoever may, and is another, by the state.
    assert_eq!(
        retried(&url, &state, &answers)
            .bearer(&other)
            .send()
            .await?
            .status,
        403
    );
    let refused = retried(&url, &state, &answers).bearer(&script).send().await?;
    assert!(
        refused.status == 403 || refused.json()?["error"]["code"] == -32602,
        "{}",
        refused.text()
    );
    assert!(
        !server.heard().contains(&"response".to_owned()),
        "the server heard nothing of it"
    );

    let retrying = tokio::spawn(retried(&url, &state, &answers).bearer(&token).send());
    server.until(|noted| noted.method == "response").await?;
    feed.send(event(
        &json!({"jsonrpc": "2.0", "id": number, "result": {"content": []}}),
    ))
    .await?;
    assert_eq!(
        retrying.await??.json()?["result"]["resultType"],
        "complete",
        "the right one is good"
    );
    let replayed = retried(&url, &state, &answers)
        .bearer(&token)
        .send()
        .await?
        .json()?;
    assert_eq!(replayed["error"]["code"], -32602, "and once: {replayed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_not_asked_what_it_did_not_declare() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let calling = tokio::spawn(
        modern(&url, json!(1), "tools/call", call(), &json!({}))
            .bearer(&token)
            .send(),
    );
    let heard = server.next().await?;
    let number = heard.json()?["id"].clone();
    let feed = heard.stream(&[])?;
    feed.send(event(&question(&json!("q1"), "sampling/createMessage")))
        .await?;
    feed.send(event(&question(&json!("q2"), "ping"))).await?;
    let refused = server.until(|noted| noted.body["id"] == "q1").await?;
    assert_eq!(refused.body["error"]["code"], -32601);
    let pong = server.until(|noted| noted.body["id"] == "q2").await?;
    assert_eq!(pong.body["result"], json!({}));
    feed.send(event(
        &json!({"jsonrpc": "2.0", "id": number, "result": {"content": []}}),
    ))
    .await?;
    assert_eq!(calling.await??.json()?["result"]["resultType"], "complete");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_on_the_sessions_own_stream_is_of_the_only_call_there_is() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let calling = tokio::spawn(
        modern(&url, json!(1), "tools/call", call(), &askable())
            .bearer(&token)
            .send(),
    );
    let heard = server.next().await?;
    let number = heard.json()?["id"].clone();
    let stream = server.stream().await?;
    let feed = heard.stream(&[])?;
    stream
        .send(event(&question(&json!("q1"), "elicitation/create")))
        .await?;
    let first = calling.await??.json()?;
    assert_eq!(first["result"]["resultType"], "input_required", "{first}");
    let state = first["result"]["requestState"].as_str().unwrap_or_default();
    let answers = json!({"elicitation-1": {"action": "decline"}});
    let retrying = tokio::spawn(retried(&url, state, &answers).bearer(&token).send());
    server.until(|noted| noted.body["id"] == "q1").await?;
    feed.send(event(
        &json!({"jsonrpc": "2.0", "id": number, "result": {"content": []}}),
    ))
    .await?;
    assert_eq!(retrying.await??.json()?["result"]["resultType"], "complete");
    // Without a call it is for nobody.
    stream
        .send(event(&question(&json!("q2"), "elicitation/create")))
        .await?;
    let refused = server.until(|noted| noted.body["id"] == "q2").await?;
    assert_eq!(refused.body["error"]["code"], -32601);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_must_be_opened_first_is_asked_and_the_call_made_again() -> Outcome {
    let mut server = Server::legacy().await?;
    let (url, token) = (server.url(), server.token().await?);
    let calling = tokio::spawn(
        modern(&url, json!(1), "tools/call", call(), &askable())
            .bearer(&token)
            .send(),
    );
    let heard = server.next().await?;
    let elicitation =
        json!({"mode": "url", "elicitationId": "e", "url": "https://a.example/x", "message": "open"});
    let body = json!({"jsonrpc": "2.0", "id": heard.json()?["id"],
        "error": {"code": -32042, "message": "open it", "data": {"elicitations": [elicitation]}}});
    heard.answer(200, &JSON, body.to_string())?;
    let first = calling.await??.json()?;
    assert_eq!(
        first["result"]["inputRequests"],
        json!({"url-0": {"method": "elicitation/create", "params": elicitation}}),
        "{first}"
    );
    let state = first["result"]["requestState"].as_str().unwrap_or_default();
    let retrying = tokio::spawn(
        retried(&url, state, &json!({"url-0": {"action": "accept"}}))
            .bearer(&token)
            .send(),
    );
    let heard = server.next().await?;
    assert_eq!(heard.json()?["params"], call(), "the same call");
    heard.result(&json!({"content": []}))?;
    assert_eq!(retrying.await??.json()?["result"]["resultType"], "complete");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_is_asked_on_its_stream_and_the_call_made_again() -> Outcome {
    let mut server = Server::modern().await?;
    let token = server.token().await?;
    let session = begun(
        &server,
        &token,
        &json!({"elicitation": {}, "roots": {"listChanged": true}}),
    )
    .await?;
    let url = server.url();
    let calling = tokio::spawn(
        in_session(&url, &session, json!("c"), "tools/call", call())
            .bearer(&token)
            .stream(),
    );
    // The tools are listed first, for the headers that they want.
    server
        .next()
        .await?
        .result(&json!({"resultType": "complete", "tools": [], "ttlMs": 0, "cacheScope": "public"}))?;
    let heard = server.next().await?;
    let declared = "/params/_meta/io.modelcontextprotocol~1clientCapabilities";
    assert_eq!(
        heard.json()?.pointer(declared),
        Some(&json!({"elicitation": {}, "roots": {}}))
    );
    let requests = json!({
        "name": {"method": "elicitation/create", "params": {"message": "who?"}},
        "where": {"method": "roots/list"}});
    heard
        .result(&json!({"resultType": "input_required", "inputRequests": requests, "requestState": "s1"}))?;
    let mut stream = calling.await??;
    for (method, result) in [
        (
            "elicitation/create",
            json!({"action": "accept", "content": {"name": "Ada"}}),
        ),
        ("roots/list", json!({"roots": []})),
    ] {
        let question = stream
            .next()
            .await?
            .map(|event| event.json())
            .transpose()?
            .unwrap_or_default();
        assert_eq!(question["method"], method, "{question}");
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
        let said = mcp::post(&url, &answer)
            .header("mcp-session-id", &session)
            .header("mcp-protocol-version", mcp::LEGACY)
            .bearer(&token)
            .send()
            .await?;
        assert_eq!(said.status, 202);
    }
    let again = server.next().await?;
    let said = again.json()?;
    assert_eq!(said["params"]["requestState"], "s1");
    assert_eq!(
        said["params"]["inputResponses"],
        json!({"name": {"action": "accept", "content": {"name": "Ada"}}, "where": {"roots": []}})
    );
    assert_eq!(
        (&said["params"]["name"], &said["params"]["arguments"]),
        (&json!("t"), &json!({"n": 1}))
    );
    again.result(&json!({"resultType": "complete", "content": [{"type": "text", "text": "done"}]}))?;
    let last = stream
        .next()
        .await?
        .map(|event| event.json())
        .transpose()?
        .unwrap_or_default();
    assert_eq!(
        last,
        json!({"jsonrpc": "2.0", "id": "c", "result": {"content": [{"type": "text", "text": "done"}]}})
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_that_cannot_be_asked_gets_an_error() -> Outcome {
    let mut server = Server::modern().await?;
    let token = server.token().await?;
    let session = begun(&server, &token, &json!({})).await?;
    let url = server.url();
    let request = in_session(&url, &session, json!(1), "prompts/get", json!({"name": "p"}));
    let calling = tokio::spawn(request.bearer(&token).send());
    let requests = json!({"k": {"method": "sampling/createMessage", "params": {}}});
    server
        .next()
        .await?
        .result(&json!({"resultType": "input_required", "inputRequests": requests}))?;
    let refused = calling.await??;
    assert_eq!(
        (refused.status, &refused.json()?["error"]["code"]),
        (200, &json!(-31408))
    );
    Ok(())
}
