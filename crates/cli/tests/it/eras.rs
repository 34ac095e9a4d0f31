//! Both eras pass; a session belongs to whoever began it.

use portcullis_testkit::{Outcome, Request, login, mcp};
use serde_json::json;

use crate::{demo, script_token, text, tool_names};

#[tokio::test]
async fn a_legacy_session_works_from_initialize_to_delete() -> Outcome {
    let running = demo().await?;
    let url = &running.ready().mcp_url;
    let token = script_token(&running, "notes:read").await?;
    let hello = mcp::initialize(url).bearer(&token).send().await?;
    assert_eq!(hello.status, 200, "{}", hello.text());
    assert_eq!(text(&hello.json()?, "/result/protocolVersion"), mcp::LEGACY);
    let session = hello.header("mcp-session-id").to_owned();
    assert!(session.len() >= 16, "{session:?}");

    let initialized = mcp::post(
        url,
        &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    )
    .header("mcp-session-id", &session)
    .header("mcp-protocol-version", mcp::LEGACY)
    .bearer(&token)
    .send()
    .await?;
    assert_eq!(initialized.status, 202, "{}", initialized.text());
    let listed = mcp::legacy(url, &session, "tools/list", &json!({}))
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(tool_names(&listed.json()?), ["list_notes"]);
    let called = mcp::legacy(
        url,
        &session,
        "tools/call",
        &json!({"name": "list_notes", "arguments": {}}),
    )
    .bearer(&token)
    .send()
    .await?;
    assert_eq!(called.status, 200, "{}", called.text());
    // The same policy as in the modern era.
    let refused = mcp::legacy(
        url,
        &session,
        "tools/call",
        &json!({"name": "add_note", "arguments": {"text": "x"}}),
    )
    .bearer(&token)
    .send()
    .await?;
    assert_eq!(refused.status, 403);

    let session_request = |method: &str| {
        Request::new(method, url)
            .header("accept", "text/event-stream")
            .header("mcp-session-id", &session)
            .header("mcp-protocol-version", mcp::LEGACY)
            .bearer(&token)
    };
    let stream = session_request("GET").stream().await?;
    assert_eq!(stream.status, 200);
    drop(stream);
    let ended = session_request("DELETE").send().await?;
    assert!((200..300).contains(&ended.status), "{}", ended.status);
    let after = mcp::legacy(url, &session, "tools/list", &json!({}))
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(after.status, 404);
    Ok(())
}

/// MCP-13 and MCP-14 of the attack catalogue.
#[tokio::test]
async fn a_session_of_one_principal_is_not_there_for_another() -> Outcome {
    let running = demo().await?;
    let url = &running.ready().mcp_url;
    let mine = script_token(&running, "notes:read").await?;
    let session = mcp::initialize(url)
        .bearer(&mine)
        .send()
        .await?
        .header("mcp-session-id")
        .to_owned();
    let theirs = login(&running, "notes:read").await?;

    let stolen = mcp::legacy(url, &session, "tools/list", &json!({}))
        .bearer(&theirs.access_token)
        .send()
        .await?;
    assert_eq!(stolen.status, 404);
    let naked = mcp::legacy(url, &session, "tools/list", &json!({}))
        .send()
        .await?;
    assert_eq!(naked.status, 401, "a session is not a credential");
    let invented = mcp::legacy(url, "00000000000000000000000000000000", "tools/list", &json!({}))
        .bearer(&mine)
        .send()
        .await?;
    assert_eq!(invented.status, 404);

    // A token of the same client and user that is not the one the session began with: still the same principal.
    let fresh = script_token(&running, "notes:read").await?;
    assert_ne!(fresh, mine);
    let kept = mcp::legacy(url, &session, "tools/list", &json!({}))
        .bearer(&fresh)
        .send()
        .await?;
    assert_eq!(kept.status, 200, "a session survives a refresh: {}", kept.text());
    Ok(())
}

#[tokio::test]
async fn a_stateless_request_gets_no_session_and_a_bad_version_is_named() -> Outcome {
    let running = demo().await?;
    let url = &running.ready().mcp_url;
    let token = script_token(&running, "notes:read").await?;
    let found = mcp::modern(url, "server/discover", json!({}))
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(found.status, 200, "{}", found.text());
    assert_eq!(found.header("mcp-session-id"), "");

    let unknown = mcp::modern(url, "tools/everything", json!({}))
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(
        (unknown.status, unknown.json()?["error"]["code"].clone()),
        (404, json!(-32601))
    );
    let removed = mcp::modern(url, "initialize", json!({}))
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(
        (removed.status, removed.json()?["error"]["code"].clone()),
        (404, json!(-32601))
    );

    let body = json!({"jsonrpc": "2.0", "id": "v", "method": "tools/list", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "1900-01-01", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let old = mcp::post(url, &body)
        .header("mcp-protocol-version", "1900-01-01")
        .header("mcp-method", "tools/list")
        .bearer(&token)
        .send()
        .await?;
    let error = old.json()?;
    assert_eq!((old.status, error["error"]["code"].clone()), (400, json!(-32022)));
    assert_eq!(error["id"], json!("v"));
    assert_eq!(
        error.pointer("/error/data/supported"),
        Some(&json!(["2026-07-28"]))
    );
    assert_eq!(error.pointer("/error/data/requested"), Some(&json!("1900-01-01")));
    Ok(())
}
