//! Section L: MCP at a gateway.

use portcullis_testkit::{Outcome, Request, mcp};
use serde_json::{Value, json};

use super::expect::{HOST, METADATA, RESOURCE, hm, is, no, refused, unjudged};
use super::forge::with;
use super::range::Range;

#[tokio::test(flavor = "multi_thread")]
async fn mcp_at_a_gateway() -> Outcome {
    let mut range = Range::start("L", Vec::new(), "").await?;
    pages(&mut range).await?;
    mirrors(&mut range).await?;
    versions(&mut range).await?;
    messages(&mut range).await?;
    tools(&mut range).await?;
    bodies(&mut range).await?;
    onward(&mut range).await?;
    range.finish().await
}

async fn pages(range: &mut Range) -> Outcome {
    let good = range.good();

    range.row("MCP-01").await?;
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost.evil",
        "http://localhost:evil@x",
        "https://gw.example:8443",
        "file://",
        "",
    ] {
        let refusal = || refused(403, "http.origin-refused");
        range
            .refuses(origin, range.call(&good).header("origin", origin), refusal())
            .await?;
        range
            .refuses(origin, range.bare().header("origin", origin), refusal())
            .await?;
    }
    let two = range
        .call(&good)
        .header("origin", "https://gw.example")
        .header("origin", "https://evil.example");
    range
        .refuses("two", two, refused(403, "http.origin-refused"))
        .await?;

    range.row("MCP-02").await?;
    for host in [
        "evil.example",
        "127.0.0.1.evil",
        "127.0.0.1",
        "localhost",
        "gw.example.",
        "gw.example:1",
    ] {
        let named = range.call(&good).without("host").header("host", host);
        range
            .refuses(host, named, refused(403, "http.host-refused"))
            .await?;
    }
    for host in ["[fe80::1%25eth0", "gw.example:evil", "gw.example:"] {
        let bytes = Range::bytes(
            "/mcp",
            &format!("Host: {host}\r\nAuthorization: Bearer {good}\r\n"),
        );
        range
            .refuses_as_bytes(host, &bytes, refused(400, "http.host-malformed"))
            .await?;
    }

    // It listens where it was told to, and nowhere else.
    range.row("MCP-03").await?;
    let port: u16 = range
        .origin
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or(0);
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let listening: Vec<_> = tables
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(|line| {
            let mut columns = line.split_ascii_whitespace().skip(1);
            let (local, _, state) = (columns.next()?, columns.next()?, columns.next()?);
            (state == "0A" && local.ends_with(&format!(":{port:04X}"))).then(|| local.to_owned())
        })
        .collect();
    range.same("listeners", listening, vec![format!("0100007F:{port:04X}")]);

    range.row("MCP-04").await?;
    for method in ["GET", "POST", "DELETE"] {
        for path in ["/mcp", "/s/crm/mcp"] {
            let request = Request::new(method, format!("{}{path}", range.origin)).header("host", HOST);
            let expected = match path {
                "/mcp" => no(),
                _ => no().at(&METADATA.replace("/mcp", path)),
            };
            range
                .refuses(method, request.header("mcp-session-id", "1"), expected)
                .await?;
        }
        for path in [
            "/sse",
            "/message",
            "/messages/",
            "/ws",
            "/api",
            "/mcp/sse",
            "/mcp/seal",
            "/metrics",
            "/readyz",
        ] {
            let request = Request::new(method, format!("{}{path}", range.origin))
                .header("host", HOST)
                .bearer(&good);
            range
                .refuses(path, request, unjudged(404, "http.not-found"))
                .await?;
        }
    }

    range.row("MCP-34").await?;
    let upgrade = |request: Request| {
        request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let url = format!("{}/mcp", range.origin);
    let get = || upgrade(Request::get(&url).header("host", HOST));
    range.refuses("without a token", get(), no()).await?;
    range
        .refuses(
            "from a page",
            get().header("origin", "https://evil.example").bearer(&good),
            refused(403, "http.origin-refused"),
        )
        .await?;
    // With one it is what a GET is: nothing is upgraded, and the server behind is not asked to.
    let answer = get().bearer(&good).send().await?;
    range.same("switched", answer.status == 101, false);
    let heard = range.behind.last().map(|asked| asked.headers).unwrap_or_default();
    range.same("asked", heard.contains_key("upgrade"), false);

    range.row("MCP-40").await?;
    for path in ["", "/mcp"] {
        let page = Request::get(format!(
            "{}/.well-known/oauth-protected-resource{path}",
            range.origin
        ));
        let page = page.header("host", HOST).send().await?.json()?;
        let members: Vec<_> = page
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        for member in &members {
            let known = [
                "resource",
                "resource_name",
                "authorization_servers",
                "bearer_methods_supported",
                "dpop_signing_alg_values_supported",
                "dpop_bound_access_tokens_required",
                "tls_client_certificate_bound_access_tokens",
                "jwks_uri",
                "scopes_supported",
            ];
            range.same(member, known.contains(&member.as_str()), true);
        }
        let text = page.to_string();
        for inner in [
            "127.0.0.1",
            range.behind.origin().to_owned().as_str(),
            "gateway.toml",
        ] {
            range.same(inner, text.contains(inner), false);
        }
        range.same("resource", crate::text(&page, "/resource"), RESOURCE.to_owned());
    }
    Ok(())
}

async fn mirrors(range: &mut Range) -> Outcome {
    let good = range.good();
    let lying = |range: &Range, name: &str, value: &str| range.call(&good).without(name).header(name, value);

    range.row("MCP-05").await?;
    for method in [
        "tools/list",
        "TOOLS/CALL",
        "tools/call ,",
        "initialize",
        "",
        "=?base64?dG9vbHMvY2FsbA==?=",
    ] {
        range
            .refuses(method, lying(range, "mcp-method", method), hm())
            .await?;
    }

    range.row("MCP-06").await?;
    // What is decided on is the body: the header of a tool that may be called opens none that may not, nor the reverse.
    let wipe = range
        .tool("wipe")
        .without("mcp-name")
        .header("mcp-name", "find")
        .bearer(&good);
    range
        .refuses("an allowed name for a forbidden one", wipe, hm())
        .await?;
    for name in [
        "wipe",
        "Find",
        "find.",
        "",
        "=?base64?d2lwZQ==?=",
        "=?base64?ZmluZA?=",
        "=?base64?!!!!?=",
        "=?base64?ZmluZA==",
        "%66ind",
    ] {
        range.refuses(name, lying(range, "mcp-name", name), hm()).await?;
    }
    // MCP 2026-07-28, "Value encoding": decoded before it is compared, and white space around it is none of it.
    for name in ["=?base64?ZmluZA==?=", " find ", "find"] {
        range.passes(name, lying(range, "mcp-name", name)).await?;
    }

    range.row("MCP-07").await?;
    for name in ["mcp-method", "mcp-name", "mcp-protocol-version"] {
        range.refuses(name, range.call(&good).without(name), hm()).await?;
    }

    range.row("MCP-08").await?;
    for (name, value) in [
        ("mcp-name", "find"),
        ("mcp-name", "wipe"),
        ("mcp-method", "tools/call"),
        ("mcp-protocol-version", mcp::MODERN),
    ] {
        range
            .refuses(name, range.call(&good).header(name, value), hm())
            .await?;
    }
    for joined in ["find, find", "find,wipe", "wipe, find"] {
        range
            .refuses(joined, lying(range, "mcp-name", joined), hm())
            .await?;
    }
    Ok(())
}

async fn versions(range: &mut Range) -> Outcome {
    let good = range.good();
    let url = format!("{}/mcp", range.origin);
    let asked = |header: Option<&str>, meta: Option<Value>| {
        let mut fields = json!({"io.modelcontextprotocol/clientCapabilities": {}});
        if let Some(version) = meta {
            fields = with(fields, &[("io.modelcontextprotocol/protocolVersion", version)]);
        }
        let body = json!({"jsonrpc": "2.0", "id": "v", "method": "tools/list", "params": {"_meta": fields}});
        let request = mcp::post(&url, &body)
            .header("host", HOST)
            .header("mcp-method", "tools/list")
            .bearer(&good);
        match header {
            Some(version) => request.header("mcp-protocol-version", version),
            None => request,
        }
    };
    let unsupported = || refused(400, "request.unsupported-version").with_code(-32_022);
    let missing = || refused(400, "request.missing-meta").with_code(-32_602);

    range.row("MCP-11").await?;
    for (header, meta) in [
        (Some("2025-11-25"), mcp::MODERN),
        (Some(mcp::MODERN), "2025-11-25"),
        (Some(""), mcp::MODERN),
        (None, mcp::MODERN),
    ] {
        range
            .refuses(meta, asked(header, Some(json!(meta))), hm())
            .await?;
    }
    for version in [
        "2024-10-07",
        "9999-12-31",
        "1900-01-01",
        "2025-11-25",
        "draft",
        "2026-07-28x",
    ] {
        let answer = range
            .refuses(version, asked(Some(version), Some(json!(version))), unsupported())
            .await?;
        let error = answer.json()?;
        range.same(
            "supported",
            error.pointer("/error/data/supported").cloned(),
            Some(json!([mcp::MODERN])),
        );
        range.same(
            "requested",
            crate::text(&error, "/error/data/requested"),
            version.to_owned(),
        );
        range.same("id", crate::text(&error, "/id"), "v".to_owned());
    }
    range
        .refuses("no `_meta`", asked(Some(mcp::MODERN), None), missing())
        .await?;
    range
        .refuses(
            "a number",
            asked(Some(mcp::MODERN), Some(json!(20_260_728))),
            missing(),
        )
        .await?;
    for version in ["2024-11-05", "2099-01-01", "x"] {
        let get = Request::get(&url)
            .header("host", HOST)
            .header("mcp-protocol-version", version)
            .bearer(&good);
        let expected = match version {
            "2099-01-01" => refused(405, "request.post-only"),
            _ => unsupported(),
        };
        range.refuses(version, get, expected).await?;
    }

    range.row("MCP-12").await?;
    let legacy =
        |tool: &str| mcp::legacy(&url, "s", "tools/call", &json!({"name": tool})).header("host", HOST);
    for (tool, scope) in [
        ("merge", "crm:write"),
        ("wipe", "crm:irreversible"),
        ("other", "crm:irreversible"),
    ] {
        range
            .refuses(tool, legacy(tool).bearer(&good), refused(404, "session.unknown"))
            .await?;
        let without_session = legacy(tool).without("mcp-session-id").bearer(&good);
        range.refuses(tool, without_session, is(scope)).await?;
        let without_version = legacy(tool)
            .without("mcp-session-id")
            .without("mcp-protocol-version")
            .bearer(&good);
        range.refuses(tool, without_version, is(scope)).await?;
        range.refuses(tool, legacy(tool), no()).await?;
    }
    // Headers that are there have to agree in every era.
    let lies = legacy("find")
        .without("mcp-session-id")
        .header("mcp-name", "wipe")
        .bearer(&good);
    range.refuses("a lie", lies, hm()).await?;
    let initialize = mcp::modern(&url, "initialize", json!({}))
        .header("host", HOST)
        .bearer(&good);
    range
        .refuses(
            "a handshake of the modern era",
            initialize,
            refused(404, "policy.unknown-method").with_code(-32_601),
        )
        .await?;

    range.row("MCP-15").await?;
    // Whoever names no session gets nobody's: what goes on has none.
    let none = legacy("find")
        .without("mcp-session-id")
        .bearer(&good)
        .send()
        .await?;
    range.same("a session in the answer", none.header("mcp-session-id"), "");
    let heard = range.behind.last().map(|asked| asked.headers).unwrap_or_default();
    range.same("a session", heard.contains_key("mcp-session-id"), false);
    for method in ["GET", "DELETE"] {
        let named = Request::new(method, &url)
            .header("host", HOST)
            .header("mcp-session-id", "somebody's")
            .bearer(&good);
        range
            .refuses(method, named, refused(404, "session.unknown"))
            .await?;
    }
    Ok(())
}

/// A request with this body.
fn body(range: &Range, text: impl Into<String>) -> Request {
    let good = range.good();
    range.call(&good).body(text.into())
}

async fn messages(range: &mut Range) -> Outcome {
    let invalid = |reason| refused(400, reason).with_code(-32_600);

    range.row("MCP-19").await?;
    let call = |more: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"find","arguments":{{}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"{}","io.modelcontextprotocol/clientCapabilities":{{}}}}{more}"#,
            mcp::MODERN
        )
    };
    for (more, reason) in [
        (r#"},"method":"tools/list"}"#, "request.duplicate-key"),
        (r#"},"Method":"tools/list"}"#, "request.ambiguous-key"),
        (r#"},"METHOD":"tools/list"}"#, "request.ambiguous-key"),
        (r#"},"\u006dethod":"tools/list"}"#, "request.duplicate-key"),
        (r#","name":"wipe"}}"#, "request.duplicate-key"),
        (r#","Name":"wipe"}}"#, "request.ambiguous-key"),
        (r#","arguments":{"a":1}}}"#, "request.duplicate-key"),
        (r#"},"id":2}"#, "request.duplicate-key"),
        (r#","x":{"y":1,"y":2}}}"#, "request.duplicate-key"),
    ] {
        range
            .refuses(more, body(range, call(more)), invalid(reason))
            .await?;
    }
    range.passes("nothing more", body(range, call("}}"))).await?;

    range.row("MCP-20").await?;
    let one = call("}}");
    for batch in [
        "[]".to_owned(),
        format!("[{one}]"),
        format!("[{one},{one}]"),
        format!("[[{one}]]"),
    ] {
        range
            .refuses("a batch", body(range, batch), invalid("request.batch"))
            .await?;
    }
    for two in [format!("{one}{one}"), format!("{one}\n{one}"), format!("{one},")] {
        range
            .refuses(
                "two",
                body(range, two),
                refused(400, "request.not-json").with_code(-32_700),
            )
            .await?;
    }

    range.row("MCP-22").await?;
    for message in [
        json!({"jsonrpc": "2.0", "id": 1}),
        json!({"jsonrpc": "2.0", "result": {}}),
        json!({"jsonrpc": "2.0", "id": 1, "result": {}}),
        json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}}),
        json!({"jsonrpc": "1.0", "id": 1, "method": "tools/list"}),
        json!({"id": 1, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": 1, "method": 1}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "result": {}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": []}),
        json!({"jsonrpc": "2.0", "id": {"a": 1}, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": [1], "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": null, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": 1.5, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": true, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": "x".repeat(300), "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "find"}}),
    ] {
        let text = message.to_string();
        let sent = body(range, &text).without("mcp-name").without("mcp-method");
        range
            .refuses(&text, sent, invalid("request.not-a-message"))
            .await?;
    }
    let exponent = r#"{"jsonrpc":"2.0","id":1e3,"method":"tools/list"}"#;
    range
        .refuses(exponent, body(range, exponent), invalid("request.not-a-message"))
        .await?;

    range.row("MCP-38").await?;
    for text in [
        "",
        "{",
        "nonsense",
        "{\"jsonrpc\":\"2.0\",}",
        "\u{feff}{}",
        "{'a':1}",
    ] {
        range
            .refuses(
                text,
                body(range, text),
                refused(400, "request.not-json").with_code(-32_700),
            )
            .await?;
    }
    let good = range.good();
    let broken = range
        .call(&good)
        .body(b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\"}".to_vec());
    range
        .refuses(
            "not UTF-8",
            broken,
            refused(400, "request.not-json").with_code(-32_700),
        )
        .await?;
    for (method, member) in [
        ("tools/call", "name"),
        ("prompts/get", "name"),
        ("resources/read", "uri"),
        ("tasks/get", "taskId"),
    ] {
        let wrong = [
            json!({}),
            json!({member: 1}),
            json!({member: null}),
            json!({member: ["x"]}),
            json!({member: {"x": 1}}),
        ];
        for params in wrong {
            let request = mcp::modern(&format!("{}/mcp", range.origin), method, params)
                .header("host", HOST)
                .bearer(&good);
            range
                .refuses(
                    method,
                    request,
                    refused(400, "request.invalid-params").with_code(-32_602),
                )
                .await?;
        }
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    range
        .refuses(
            "deep",
            body(range, call(&format!(",\"x\":{deep}}}}}"))),
            invalid("request.too-deep"),
        )
        .await?;

    range.row("MCP-39").await?;
    let read = |range: &Range, uri: &str| {
        mcp::modern(
            &format!("{}/mcp", range.origin),
            "resources/read",
            json!({"uri": uri}),
        )
        .header("host", HOST)
        .bearer(&good)
    };
    range
        .passes(
            "a long URI",
            read(range, &format!("file:///{}!", "a/".repeat(500))),
        )
        .await?;
    let longer = read(range, &"a".repeat(1025));
    range
        .refuses(
            "a longer one",
            longer,
            refused(400, "request.name-too-long").with_code(-32_602),
        )
        .await
        .map(drop)
}

async fn tools(range: &mut Range) -> Outcome {
    let good = range.good();

    // The name of a tool is its bytes. Any other is a tool that nobody listed, and does what cannot be undone.
    range.row("MCP-24").await?;
    for tool in [
        "Find",
        "FIND",
        "find ",
        " find",
        "find%00",
        "find/../find",
        "crm/find",
        "f\u{456}nd",
        "find\u{200b}",
        "\u{ff46}ind",
        "find;wipe",
        "find,wipe",
    ] {
        let encoded = format!("=?base64?{}?=", base64_of(tool));
        // The name that a header can hold is put in its place.
        let call = range.tool("find").without("mcp-name");
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": mcp::MODERN, "io.modelcontextprotocol/clientCapabilities": {}}}});
        let call = call
            .header("mcp-name", encoded)
            .body(body.to_string())
            .bearer(&good);
        range.refuses(tool, call, is("crm:irreversible")).await?;
    }
    let nul = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find\0"}});
    let nul = mcp::post(&format!("{}/mcp", range.origin), &nul)
        .header("host", HOST)
        .bearer(&good);
    range
        .refuses(
            "NUL",
            nul,
            refused(400, "request.invalid-params").with_code(-32_602),
        )
        .await?;
    let long = "x".repeat(10 * 1024);
    let long = mcp::legacy(
        &format!("{}/mcp", range.origin),
        "s",
        "tools/call",
        &json!({"name": long}),
    );
    let long = long.without("mcp-session-id").header("host", HOST).bearer(&good);
    range
        .refuses(
            "10 KiB",
            long,
            refused(400, "request.name-too-long").with_code(-32_602),
        )
        .await
        .map(drop)
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

async fn bodies(range: &mut Range) -> Outcome {
    let good = range.good();

    // DOS-11: nothing is decompressed.
    range.row("MCP-29").await?;
    for coding in [
        "gzip",
        "br",
        "deflate",
        "zstd",
        "x-gzip",
        "gzip, identity",
        "identity, gzip",
    ] {
        let request = range.call(&good).header("content-encoding", coding);
        range
            .refuses(coding, request, refused(415, "request.content-encoding"))
            .await?;
    }
    range
        .passes(
            "identity",
            range.call(&good).header("content-encoding", "identity"),
        )
        .await?;

    range.row("MCP-30").await?;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json;charset=utf-16",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json, text/plain",
        "application/jsonp",
        "text/json",
        "application/json;",
        "",
    ] {
        let request = range
            .call(&good)
            .without("content-type")
            .header("content-type", kind);
        range
            .refuses(kind, request, refused(415, "request.content-type"))
            .await?;
    }
    let none = range.call(&good).without("content-type");
    range
        .refuses("none", none, refused(415, "request.content-type"))
        .await?;
    let two = range.call(&good).header("content-type", "text/plain");
    range
        .refuses("two", two, refused(415, "request.content-type"))
        .await?;
    for kind in ["application/json", "Application/JSON; charset=\"UTF-8\""] {
        range
            .passes(
                kind,
                range
                    .call(&good)
                    .without("content-type")
                    .header("content-type", kind),
            )
            .await?;
    }
    Ok(())
}

async fn onward(range: &mut Range) -> Outcome {
    let good = range.good();

    range.row("MCP-31").await?;
    range
        .passes(
            "a call",
            range
                .call(&good)
                .header("x-api-key", &good)
                .header("cookie", &good),
        )
        .await?;
    if let Some(heard) = range.behind.last() {
        let all = format!(
            "{:?} {} {}",
            heard.headers,
            heard.path,
            String::from_utf8_lossy(&heard.body)
        );
        for part in good.split('.') {
            range.same("a part of the token", all.contains(part), false);
        }
        let shown = heard
            .headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        range.same("shown", shown, Some("Bearer the-gateways-own-credential"));
    }

    // What a call names is for the server behind. Where that is, nobody who calls it says.
    range.row("MCP-32").await?;
    let url = format!("{}/mcp", range.origin);
    for uri in [
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "../../admin",
        "https://evil.example/\u{e4}",
        "//evil.example",
    ] {
        let encoded = format!("=?base64?{}?=", base64_of(uri));
        let read = mcp::modern(&url, "resources/read", json!({"uri": "x"}))
            .without("mcp-name")
            .header("mcp-name", encoded);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri, "_meta": {
            "io.modelcontextprotocol/protocolVersion": mcp::MODERN, "io.modelcontextprotocol/clientCapabilities": {}}}});
        range
            .passes(
                uri,
                read.body(body.to_string()).header("host", HOST).bearer(&good),
            )
            .await?;
        let path = range.behind.last().map(|asked| asked.path);
        range.same("where it went", path, Some("/mcp".to_owned()));
        let call = mcp::call(&url, "find", &json!({"path": uri, "url": uri})).header("host", HOST);
        range.passes(uri, call.bearer(&good)).await?;
        let path = range.behind.last().map(|asked| asked.path);
        range.same("where it went", path, Some("/mcp".to_owned()));
    }
    Ok(())
}
