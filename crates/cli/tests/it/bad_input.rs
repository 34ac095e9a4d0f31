//! Bad input gets the status that names it, and nothing panics.

use portcullis_testkit::{Outcome, Request, http, mcp};
use serde_json::json;

use crate::{demo, script_token};

#[tokio::test]
async fn each_bad_request_gets_its_status() -> Outcome {
    let running = demo().await?;
    let ready = running.ready();
    let url = &ready.mcp_url;
    let token = script_token(&running, "notes:read notes:write").await?;
    let good = || mcp::call(url, "list_notes", &json!({})).bearer(&token);
    let with_body = |body: &str| good().body(body.to_owned());
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{}{}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );

    let cases = [
        ("over the limit", with_body(&"x".repeat(5 << 20)), 413, None),
        ("not JSON", with_body("{nonsense"), 400, Some(-32700)),
        ("empty", with_body(""), 400, Some(-32700)),
        (
            "a duplicate key",
            with_body(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#),
            400,
            Some(-32600),
        ),
        ("a batch", with_body("[]"), 400, Some(-32600)),
        ("too deep", with_body(&deep), 400, None),
        (
            "two credentials",
            good().header("authorization", "Bearer other"),
            400,
            None,
        ),
        (
            "a header that lies",
            good().without("mcp-method").header("mcp-method", "tools/list"),
            400,
            Some(-32020),
        ),
        (
            "a name that lies",
            good().without("mcp-name").header("mcp-name", "add_note"),
            400,
            Some(-32020),
        ),
        (
            "another content type",
            good()
                .without("content-type")
                .header("content-type", "text/plain"),
            415,
            None,
        ),
        (
            "a foreign origin",
            good().header("origin", "https://evil.example"),
            403,
            None,
        ),
        ("the null origin", good().header("origin", "null"), 403, None),
        ("a foreign host", good().header("host", "evil.example"), 403, None),
    ];
    for (what, request, status, code) in cases {
        let answer = request.send().await?;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        if let Some(code) = code {
            assert_eq!(
                answer.json()?.pointer("/error/code"),
                Some(&json!(code)),
                "{what}: {}",
                answer.text()
            );
        }
        // A control after each: no lock-out, no fail-open.
        assert_eq!(good().send().await?.status, 200, "after {what}");
    }

    let query = mcp::call(&format!("{url}?access_token={token}"), "list_notes", &json!({}))
        .send()
        .await?;
    assert_eq!(query.status, 400);
    assert!(
        query
            .header("www-authenticate")
            .contains("error=\"invalid_request\"")
    );
    assert_eq!(
        Request::get(format!("{}/nothing", ready.gateway))
            .bearer(&token)
            .send()
            .await?
            .status,
        404
    );
    let put = Request::new("PUT", url).bearer(&token).send().await?;
    assert_eq!(put.status, 405);
    assert!(put.header("allow").contains("POST"), "{}", put.header("allow"));
    assert!(!running.logs().contains("panicked"), "{}", running.logs());
    Ok(())
}

#[tokio::test]
async fn a_caller_without_a_token_is_refused_before_its_body_is_read() -> Outcome {
    let running = demo().await?;
    let host = running.ready().gateway.trim_start_matches("http://").to_owned();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n{{"
    );
    let answer = http::raw(&running.ready().gateway, head.as_bytes()).await?;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn ambiguous_framing_is_refused() -> Outcome {
    let running = demo().await?;
    let host = running.ready().gateway.trim_start_matches("http://").to_owned();
    for (what, lines) in [
        (
            "two lengths that differ",
            "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        ),
        (
            "an unknown coding",
            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        ("a space before the colon", "Content-Length : 2\r\n\r\n{}"),
    ] {
        let answer = http::raw(
            &running.ready().gateway,
            format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\n{lines}").as_bytes(),
        )
        .await?;
        assert!(answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
    }
    Ok(())
}
