use super::*;

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_note","arguments":{"text":"x"}}}"#;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

fn sent(inbound: &HeaderMap, body: &'static str, credential: &UpstreamCredential) -> Outbound {
    let call = Call::parse(inbound, Bytes::from_static(body.as_bytes())).unwrap();
    request(&call, inbound, credential)
}

#[test]
fn only_what_mcp_needs_goes_on() {
    let inbound = headers(&[
        ("accept", "application/json"),
        ("accept", "text/event-stream"),
        ("accept-encoding", "gzip"),
        ("accept-language", "de"),
        ("authorization", "Bearer hunter2"),
        ("baggage", "user.id=admin"),
        ("connection", "keep-alive, mcp-session-id"),
        ("content-length", "1"),
        ("content-type", "application/json"),
        ("cookie", "hunter2"),
        ("dpop", "hunter2"),
        ("expect", "100-continue"),
        ("forwarded", "for=1.2.3.4"),
        ("host", "gw.example"),
        ("last-event-id", "7"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "add_note"),
        ("mcp-param-region", "eu"),
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-session-id", "s1"),
        ("mcp_session_id", "hunter2"),
        ("origin", "https://a.example"),
        ("proxy-authorization", "Bearer hunter2"),
        ("te", "trailers"),
        ("traceparent", "00-1-2-01"),
        ("tracestate", "a=b"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("user-agent", "agent/1"),
        ("x-api-key", "hunter2"),
        ("x-auth-request-user", "admin"),
        ("x-forwarded-access-token", "hunter2"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-user", "admin"),
        ("x-mcp-subject", "admin"),
        ("x_mcp_subject", "admin"),
    ]);
    let outbound = sent(&inbound, CALL, &UpstreamCredential::None);
    assert_eq!(
        names(&outbound.headers),
        [
            "accept",
            "accept-language",
            "content-type",
            "last-event-id",
            "mcp-method",
            "mcp-name",
            "mcp-param-region",
            "mcp-protocol-version",
            "mcp-session-id",
            "traceparent",
            "tracestate",
            "user-agent",
        ]
    );
    assert_eq!(outbound.headers.get_all("accept").iter().count(), 2);
    assert_eq!(outbound.method, http::Method::POST);
    assert_eq!(outbound.body, CALL);
    assert!(!format!("{outbound:?}").contains("hunter2"));
}

#[test]
fn the_credential_is_our_own() {
    let inbound = headers(&[
        ("content-type", "application/json"),
        ("authorization", "Bearer theirs"),
    ]);
    let ours = UpstreamCredential::bearer(Secret::new("ours")).unwrap();
    let outbound = sent(&inbound, CALL, &ours);
    assert_eq!(
        outbound.headers.get_all(AUTHORIZATION).iter().collect::<Vec<_>>(),
        ["Bearer ours"]
    );
    assert!(!format!("{outbound:?}{ours:?}").contains("ours"));

    for text in ["", "a b", "a\r\nX: y", "ä"] {
        assert_eq!(
            UpstreamCredential::bearer(Secret::new(text)).unwrap_err(),
            UnsendableCredential,
            "{text:?}"
        );
    }
    let unsendable = UpstreamCredential::Bearer(Secret::new("a\r\nX: y"));
    assert_eq!(
        names(&sent(&inbound, CALL, &unsendable).headers),
        ["content-type"]
    );
}

#[test]
fn a_stateless_message_takes_no_session_along() {
    const MODERN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{
        "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let inbound = headers(&[
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/list"),
        // Mirrors nothing of this method, so nobody compared it.
        ("mcp-name", "delete_all_notes"),
        ("mcp-session-id", "s1"),
        ("last-event-id", "7"),
    ]);
    let outbound = sent(&inbound, MODERN, &UpstreamCredential::None);
    assert_eq!(
        names(&outbound.headers),
        ["content-type", "mcp-method", "mcp-protocol-version"]
    );
}

#[test]
fn a_session_s_stream_and_end_keep_their_methods() {
    let inbound = headers(&[
        ("mcp-session-id", "s1"),
        ("last-event-id", "7"),
        ("authorization", "Bearer a"),
        ("mcp-method", "x"),
    ]);
    for (call, method) in [
        (Call::open_stream(&inbound), http::Method::GET),
        (Call::end_session(&inbound), http::Method::DELETE),
    ] {
        let outbound = request(&call.unwrap(), &inbound, &UpstreamCredential::None);
        assert_eq!(outbound.method, method);
        assert_eq!(names(&outbound.headers), ["last-event-id", "mcp-session-id"]);
        assert!(outbound.body.is_empty());
    }
}

#[test]
fn only_what_a_client_needs_comes_back() {
    let upstream = headers(&[
        ("access-control-allow-origin", "*"),
        ("cache-control", "no-cache"),
        ("connection", "keep-alive"),
        ("content-length", "3"),
        ("content-type", "text/event-stream"),
        ("date", "x"),
        ("keep-alive", "timeout=5"),
        ("location", "https://evil.example"),
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-session-id", "s1"),
        ("proxy-authenticate", "Basic"),
        ("retry-after", "1"),
        ("server", "x"),
        ("set-cookie", "a=b"),
        ("strict-transport-security", "x"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("via", "x"),
        ("www-authenticate", "Bearer"),
        ("x-accel-buffering", "no"),
        ("x-powered-by", "Express"),
    ]);
    assert_eq!(
        names(&response_headers(&upstream)),
        [
            "cache-control",
            "content-type",
            "mcp-protocol-version",
            "mcp-session-id",
            "retry-after",
            "x-accel-buffering"
        ]
    );
}
