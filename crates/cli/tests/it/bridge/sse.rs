//! Clients of both eras before a server of 2024-11-05: a stream that is opened by GET, and an address to post to that it names.

use portcullis_testkit::upstream::{Feed, Heard};
use portcullis_testkit::{Outcome, Running, Upstream, login, mcp};
use serde_json::{Value, json};

use super::stage::{SCOPES, askable, at, event, modern};
use crate::{portcullis, text};

async fn before(upstream: &Upstream) -> Outcome<(Running, String)> {
    let running = portcullis().arg("--upstream").arg(upstream.url()).up().await?;
    let token = login(&running, SCOPES).await?.access_token;
    Ok((running, token))
}

/// Refuses whatever comes by POST to the stream's address, and opens the stream, which names `address`.
async fn opened(upstream: &mut Upstream, address: &str) -> Outcome<Feed> {
    loop {
        let heard = upstream.next().await?;
        if heard.method == "GET" {
            let feed = heard.stream(&[])?;
            feed.send(format!("event: endpoint\ndata: {address}\n\n")).await?;
            return Ok(feed);
        }
        assert_eq!((&*heard.method, &*heard.path), ("POST", "/mcp"));
        heard.answer(405, &[("allow", "GET")], "")?;
    }
}

/// The next message that is posted, taken; and answered on the stream if it is a request.
async fn answered(upstream: &mut Upstream, feed: &Feed, result: Value) -> Outcome<Value> {
    let heard: Heard = upstream.next().await?;
    assert_eq!(
        (&*heard.method, &*heard.path),
        ("POST", "/messages?s=1"),
        "{:?}",
        heard.body
    );
    assert_eq!(
        (
            heard.header("mcp-session-id"),
            heard.header("mcp-protocol-version")
        ),
        ("", "")
    );
    let said = heard.json()?;
    heard.answer(202, &[], "Accepted")?;
    if said.get("id").is_some() && said.get("method").is_some() {
        feed.send(event(
            &json!({"jsonrpc": "2.0", "id": at(&said, "/id"), "result": result}),
        ))
        .await?;
    }
    Ok(said)
}

fn welcome() -> Value {
    json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "older", "version": "1"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_calls_a_server_of_2024() -> Outcome {
    let mut upstream = Upstream::of_any_era().await?;
    let (running, token) = before(&upstream).await?;
    let url = running.ready().mcp_url.clone();
    let params = json!({"name": "t", "arguments": {}});
    let calling = tokio::spawn(
        modern(&url, json!("c"), "tools/call", params.clone(), &askable())
            .bearer(&token)
            .send(),
    );
    let feed = opened(&mut upstream, "/messages?s=1").await?;
    assert_eq!(
        text(&answered(&mut upstream, &feed, welcome()).await?, "/method"),
        "initialize"
    );
    let begun = answered(&mut upstream, &feed, json!({})).await?;
    assert_eq!(text(&begun, "/method"), "notifications/initialized");
    // It asks in the middle of the call, on the one stream that there is.
    let call = upstream.next().await?;
    let said = call.json()?;
    call.answer(202, &[], "")?;
    let question =
        json!({"jsonrpc": "2.0", "id": 0, "method": "sampling/createMessage", "params": {"maxTokens": 1}});
    feed.send(event(&question)).await?;
    let first = calling.await??.json()?;
    assert_eq!(text(&first, "/result/resultType"), "input_required", "{first}");
    let mut again = params;
    again["requestState"] = first["result"]["requestState"].clone();
    again["inputResponses"] = json!({"sampling-1": {"role": "assistant"}});
    let retrying = tokio::spawn(
        modern(&url, json!("d"), "tools/call", again, &askable())
            .bearer(&token)
            .send(),
    );
    let answer = answered(&mut upstream, &feed, json!({})).await?;
    assert_eq!(
        answer,
        json!({"jsonrpc": "2.0", "id": 0, "result": {"role": "assistant"}})
    );
    feed.send(event(
        &json!({"jsonrpc": "2.0", "id": said["id"], "result": {"content": []}}),
    ))
    .await?;
    let last = retrying.await??.json()?;
    assert_eq!(
        (&last["id"], &last["result"]["resultType"]),
        (&json!("d"), &json!("complete"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_sessions_calls_a_server_of_2024() -> Outcome {
    let mut upstream = Upstream::of_any_era().await?;
    let (running, token) = before(&upstream).await?;
    let url = running.ready().mcp_url.clone();
    let beginning = tokio::spawn(mcp::initialize(&url).bearer(&token).send());
    let feed = opened(&mut upstream, "messages?s=1").await?;
    answered(&mut upstream, &feed, welcome()).await?;
    let hello = beginning.await??;
    let session = hello.header("mcp-session-id").to_owned();
    assert_eq!((hello.status, session.len()), (200, 43), "{}", hello.text());
    let listing = tokio::spawn(
        mcp::legacy(&url, &session, "prompts/list", &json!({}))
            .bearer(&token)
            .send(),
    );
    answered(&mut upstream, &feed, json!({"prompts": []})).await?;
    let listed = listing.await??;
    assert_eq!(
        (listed.status, listed.json()?["result"].clone()),
        (200, json!({"prompts": []}))
    );
    // Its end is the end of the session: the client begins another one.
    drop(feed);
    for _ in 0..100 {
        let asking = tokio::spawn(
            mcp::legacy(&url, &session, "prompts/list", &json!({}))
                .bearer(&token)
                .send(),
        );
        let answer = tokio::select! {
            answer = asking => answer??,
            heard = upstream.next() => {
                heard?.answer(202, &[], "")?;
                continue;
            }
        };
        if answer.status == 404 {
            return Ok(());
        }
    }
    panic!("the session is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_send_us_to_another_origin() -> Outcome {
    let mut upstream = Upstream::of_any_era().await?;
    let mut elsewhere = Upstream::of_any_era().await?;
    let (running, token) = before(&upstream).await?;
    let url = running.ready().mcp_url.clone();
    let asking = tokio::spawn(mcp::initialize(&url).bearer(&token).send());
    let _feed = opened(&mut upstream, elsewhere.url()).await?;
    assert_eq!(asking.await??.status, 502);
    assert!(elsewhere.pending().is_none(), "nothing was sent there");
    // The same server, behaving.
    let asking = tokio::spawn(mcp::initialize(&url).bearer(&token).send());
    let feed = opened(&mut upstream, "/messages?s=1").await?;
    answered(&mut upstream, &feed, welcome()).await?;
    assert_eq!(asking.await??.status, 200);
    Ok(())
}
