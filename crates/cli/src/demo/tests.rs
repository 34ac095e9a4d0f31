//! Over HTTP, in both eras, with nothing of an MCP client's.

use portcullis_testkit::{Answer, Outcome, Request, Scratch, mcp};
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use super::*;

const CREDENTIAL: &str = "the-credential-of-this-run";

struct Demo {
    url: String,
    _stop: DropGuard,
}

async fn demo(folder: &Scratch) -> Demo {
    let stop = CancellationToken::new();
    let url = start(
        &folder.path().join("notes"),
        &Secret::new(CREDENTIAL),
        stop.clone(),
    )
    .await
    .unwrap();
    Demo {
        url: url.to_string(),
        _stop: stop.drop_guard(),
    }
}

fn message(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()
}

async fn call(demo: &Demo, tool: &str, arguments: Value) -> Outcome<Value> {
    let answer = mcp::call(&demo.url, tool, &arguments)
        .bearer(CREDENTIAL)
        .send()
        .await?;
    Ok(message(&answer)["result"].take())
}

#[tokio::test]
async fn the_stateless_era_discovers_lists_and_calls() -> Outcome {
    let folder = Scratch::new("demo-modern")?;
    let demo = demo(&folder).await;
    let found = mcp::modern(&demo.url, "server/discover", json!({}))
        .bearer(CREDENTIAL)
        .send()
        .await?;
    assert_eq!(found.header("mcp-session-id"), "");
    let found = message(&found);
    let versions = found["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!(mcp::MODERN)), "{found}");
    assert_eq!(
        found["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "portcullis-notes",
        "{found}"
    );

    let listed = mcp::modern(&demo.url, "tools/list", json!({}))
        .bearer(CREDENTIAL)
        .send()
        .await?;
    let listed = message(&listed);
    let tools = listed["result"]["tools"].as_array().unwrap();
    let hints: Vec<_> = tools
        .iter()
        .map(|tool| {
            let hint = |name: &str| tool["annotations"][name].as_bool().unwrap();
            (
                tool["name"].as_str().unwrap(),
                hint("readOnlyHint"),
                hint("destructiveHint"),
            )
        })
        .collect();
    assert_eq!(
        hints,
        [
            ("add_note", false, false),
            ("delete_all_notes", false, true),
            ("list_notes", true, false)
        ]
    );
    assert_eq!(tools[0]["inputSchema"]["required"], json!(["text"]));

    assert_eq!(
        call(&demo, "list_notes", json!({})).await?["structuredContent"],
        json!({"notes": []})
    );
    let added = call(&demo, "add_note", json!({"text": "milk"})).await?;
    assert_eq!(added["structuredContent"], json!({"id": 1, "text": "milk"}));
    assert_eq!(
        call(&demo, "list_notes", json!({})).await?["structuredContent"]["notes"][0]["text"],
        "milk"
    );
    assert_eq!(
        call(&demo, "delete_all_notes", json!({})).await?["structuredContent"],
        json!({"deleted": 1})
    );
    assert_eq!(
        call(&demo, "list_notes", json!({})).await?["structuredContent"],
        json!({"notes": []})
    );
    Ok(())
}

#[tokio::test]
async fn the_era_of_sessions_works_too() -> Outcome {
    let folder = Scratch::new("demo-legacy")?;
    let demo = demo(&folder).await;
    let hello = mcp::initialize(&demo.url).bearer(CREDENTIAL).send().await?;
    let session = hello.header("mcp-session-id").to_owned();
    assert_eq!(message(&hello)["result"]["protocolVersion"], mcp::LEGACY);
    assert!(!session.is_empty());
    let initialized = mcp::post(
        &demo.url,
        &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    )
    .header("mcp-protocol-version", mcp::LEGACY)
    .header("mcp-session-id", &session)
    .bearer(CREDENTIAL);
    assert_eq!(initialized.send().await?.status, 202);
    let add = json!({"name": "add_note", "arguments": {"text": "milk"}});
    let added = mcp::legacy(&demo.url, &session, "tools/call", &add)
        .bearer(CREDENTIAL)
        .send()
        .await?;
    assert_eq!(message(&added)["result"]["structuredContent"]["id"], 1);
    Ok(())
}

#[tokio::test]
async fn only_the_credential_opens_it() -> Outcome {
    let folder = Scratch::new("demo-credential")?;
    let demo = demo(&folder).await;
    let ask = || mcp::call(&demo.url, "add_note", &json!({"text": "mine"}));
    let longer = format!("{CREDENTIAL}x");
    for (name, request) in [
        ("none", ask()),
        ("wrong", ask().bearer("the-credential-of-this-rum")),
        ("longer", ask().bearer(&longer)),
        ("empty", ask().header("authorization", "Bearer ")),
        (
            "another scheme",
            ask().header("authorization", format!("Basic {CREDENTIAL}")),
        ),
        ("bare", ask().header("authorization", CREDENTIAL)),
        ("twice", ask().bearer(CREDENTIAL).bearer(CREDENTIAL)),
        ("elsewhere", Request::get(demo.url.replace("/mcp", "/"))),
    ] {
        let answer = request.send().await?;
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, "Bearer"),
            "{name}"
        );
    }
    assert_eq!(
        call(&demo, "list_notes", json!({})).await?["structuredContent"],
        json!({"notes": []})
    );
    Ok(())
}

#[tokio::test]
async fn a_strange_host_or_any_origin_is_refused() -> Outcome {
    let folder = Scratch::new("demo-origin")?;
    let demo = demo(&folder).await;
    for (name, value) in [
        ("host", "notes.example"),
        ("origin", "http://notes.example"),
        ("origin", "http://127.0.0.1"),
        ("origin", "null"),
    ] {
        let request = mcp::modern(&demo.url, "tools/list", json!({}))
            .bearer(CREDENTIAL)
            .without(name)
            .header(name, value);
        assert_eq!(request.send().await?.status, 403, "{name}: {value}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_tool_cannot_do_is_an_error_of_the_tool() -> Outcome {
    let folder = Scratch::new("demo-errors")?;
    let demo = demo(&folder).await;
    for (arguments, expected) in [
        (json!({"text": "x".repeat(10_001)}), "the note has 10001 bytes"),
        (json!({"text": 1}), "invalid type"),
        (json!({}), "missing field"),
        (json!({"text": "x", "more": 1}), "unknown field"),
    ] {
        let answer = call(&demo, "add_note", arguments).await?;
        assert_eq!(answer["isError"], true, "{answer}");
        assert!(
            answer["content"][0]["text"].as_str().unwrap().contains(expected),
            "{answer}"
        );
    }
    assert_eq!(
        call(&demo, "add_note", json!({"text": "x".repeat(10_000)})).await?["isError"],
        false
    );
    Ok(())
}

#[tokio::test]
async fn notes_outlive_the_server() -> Outcome {
    let folder = Scratch::new("demo-restart")?;
    let first = demo(&folder).await;
    call(&first, "add_note", json!({"text": "kept"})).await?;
    drop(first);
    let second = demo(&folder).await;
    assert_eq!(
        call(&second, "list_notes", json!({})).await?["structuredContent"]["notes"][0]["text"],
        "kept"
    );
    Ok(())
}
