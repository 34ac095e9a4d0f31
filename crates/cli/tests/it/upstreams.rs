//! A guarded server that misbehaves: what it answers never gives a caller more than policy does, nor a word in our name.

use portcullis_testkit::{Answer, Outcome, Upstream, mcp};
use serde_json::json;

use crate::{portcullis, script_token, tool_names};

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"secret_tool","inputSchema":{}}],"ttlMs":0,"cacheScope":"public","resultType":"complete"}}"#;

/// What a reader of `upstream` gets when it lists tools and the upstream answers so.
async fn listed(status: u16, headers: &[(&str, &str)], body: &str) -> Outcome<Answer> {
    let mut upstream = Upstream::start().await?;
    let running = portcullis().arg("--upstream").arg(upstream.url()).up().await?;
    let token = script_token(&running, "upstream:read").await?;
    let asked = tokio::spawn(
        mcp::modern(&running.ready().mcp_url, "tools/list", json!({}))
            .bearer(&token)
            .send(),
    );
    upstream.next().await?.answer(status, headers, body.to_owned())?;
    let answer = asked.await??;
    assert!(!running.logs().contains("panicked"), "{}", running.logs());
    Ok(answer)
}

#[tokio::test]
async fn a_list_is_filtered_whatever_its_status_and_its_framing() -> Outcome {
    let json = [("content-type", "application/json")];
    let events = [("content-type", "text/event-stream")];
    for status in [200, 404, 500] {
        let plain = listed(status, &json, LIST).await?;
        assert_eq!((plain.status, tool_names(&plain.json()?)), (status, vec![]));
        let stream = listed(status, &events, &format!("data: {LIST}\n\n")).await?;
        assert!(!stream.text().contains("secret_tool"), "{}", stream.text());
    }
    for (what, body) in [
        (
            "no list",
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{"name":"secret_tool"}}}"#.to_owned(),
        ),
        (
            "a name twice",
            LIST.replacen("\"tools\":", "\"tools\":[],\"tools\":", 1),
        ),
        ("not JSON", format!("{LIST}{LIST}")),
    ] {
        let refused = listed(200, &json, &body).await?;
        assert_eq!(refused.status, 502, "{what}: {}", refused.text());
        assert!(!refused.text().contains("secret_tool"), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn the_upstream_does_not_speak_in_our_name() -> Outcome {
    let json = ("content-type", "application/json");
    for (what, status, headers, expected) in [
        (
            "a challenge",
            401,
            vec![
                json,
                (
                    "www-authenticate",
                    "Bearer resource_metadata=\"https://evil.example\"",
                ),
            ],
            502,
        ),
        (
            "a redirect",
            302,
            vec![("location", "https://evil.example/")],
            502,
        ),
        ("a page", 200, vec![("content-type", "text/html")], 502),
        (
            "a cookie",
            200,
            vec![
                json,
                ("set-cookie", "session=theirs"),
                ("access-control-allow-origin", "*"),
            ],
            200,
        ),
    ] {
        let answer = listed(status, &headers, LIST).await?;
        assert_eq!(answer.status, expected, "{what}: {}", answer.text());
        for header in [
            "set-cookie",
            "location",
            "www-authenticate",
            "access-control-allow-origin",
        ] {
            assert_eq!(answer.header(header), "", "{what}: {header}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
    }
    Ok(())
}
