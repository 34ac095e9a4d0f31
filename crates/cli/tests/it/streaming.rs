//! Streams pass event by event, and a client that goes away is heard of behind.

use portcullis_testkit::upstream::Heard;
use portcullis_testkit::{Outcome, Upstream, login, mcp};
use serde_json::json;

use crate::portcullis;

const SCOPES: &str = "upstream:read upstream:write upstream:irreversible";

/// The next tool call; whatever else the gateway wants to know is answered with 404.
async fn tool_call(upstream: &mut Upstream) -> Outcome<Heard> {
    loop {
        let heard = upstream.next().await?;
        if heard.header("mcp-method") == "tools/call" {
            return Ok(heard);
        }
        heard.answer(404, &[], "")?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_one_by_one_and_no_token_passes_through() -> Outcome {
    let mut upstream = Upstream::start().await?;
    let running = portcullis().arg("--upstream").arg(upstream.url()).up().await?;
    let token = login(&running, SCOPES).await?.access_token;
    let calling = mcp::call(&running.ready().mcp_url, "slow", &json!({"a": 1}))
        .bearer(&token)
        .stream();
    let answering = async {
        let heard = tool_call(&mut upstream).await?;
        assert!(!heard.header("authorization").contains(&token));
        assert!(!heard.headers.values().any(|value| {
            value
                .as_bytes()
                .windows(token.len())
                .any(|part| part == token.as_bytes())
        }));
        assert_eq!(heard.json()?["params"]["arguments"], json!({"a": 1}));
        heard.stream(&[("x-accel-buffering", "no"), ("cache-control", "no-cache")])
    };
    let (calling, feed) = tokio::join!(calling, answering);
    let (mut stream, feed) = (calling?, feed?);
    assert_eq!(stream.status, 200);
    assert_eq!(
        stream
            .headers
            .get("x-accel-buffering")
            .and_then(|value| value.to_str().ok()),
        Some("no")
    );
    // Each event is read before the next is sent: nothing in between may hold it back.
    for number in 1..=3 {
        let note =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": number}});
        feed.send(format!("data: {note}\n\n")).await?;
        assert_eq!(
            stream.next().await?.map(|event| event.json()).transpose()?,
            Some(note)
        );
    }
    let last = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [], "resultType": "complete"}});
    feed.send(format!("data: {last}\n\n")).await?;
    drop(feed);
    assert_eq!(
        stream.next().await?.map(|event| event.json()).transpose()?,
        Some(last)
    );
    assert_eq!(stream.next().await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_cancels_the_call_behind() -> Outcome {
    let mut upstream = Upstream::start().await?;
    let running = portcullis().arg("--upstream").arg(upstream.url()).up().await?;
    let token = login(&running, SCOPES).await?.access_token;
    let calling = mcp::call(&running.ready().mcp_url, "slow", &json!({}))
        .bearer(&token)
        .stream();
    let answering = async { tool_call(&mut upstream).await?.stream(&[]) };
    let (calling, feed) = tokio::join!(calling, answering);
    let (mut stream, feed) = (calling?, feed?);
    let note = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}});
    feed.send(format!("data: {note}\n\n")).await?;
    stream.next().await?;
    stream.abandon();
    feed.abandoned().await
}
