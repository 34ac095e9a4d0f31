use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// Headers to send instead of the right ones, each with its values: none to leave it out.
type Changes<'c> = &'c [(&'static str, &'c [&'static str])];

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

fn parse(pairs: &[(&'static str, &str)], body: &[u8]) -> Result<Call, Error> {
    let mut headers = headers(pairs);
    headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    Call::parse(&headers, Bytes::copy_from_slice(body))
}

/// A legacy message without headers.
fn legacy(body: impl AsRef<[u8]>) -> Result<Call, Error> {
    parse(&[], body.as_ref())
}

/// A stateless `tools/call` of `add_note` with right headers, but for those given (an empty list: left out).
fn modern_with(changes: Changes<'_>, body: &str) -> Result<Call, Error> {
    let mut pairs: Vec<(&'static str, &str)> = Vec::new();
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "add_note"),
    ] {
        if !changes.iter().any(|(changed, _)| *changed == name) {
            pairs.push((name, value));
        }
    }
    pairs.extend(
        changes
            .iter()
            .flat_map(|(name, values)| values.iter().map(|value| (*name, *value))),
    );
    parse(&pairs, body.as_bytes())
}

fn modern_call() -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"add_note","arguments":{{"t": 1}},{META}}}}}"#
    )
}

fn code(result: Result<Call, Error>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn a_stateless_call_is_read() {
    let body = modern_call();
    let call = modern_with(&[("mcp-session-id", &["s1"]), ("last-event-id", &["7"])], &body).unwrap();
    assert_eq!((call.era(), call.kind()), (Era::Modern, Kind::Request));
    assert_eq!(*call.method(), Method::ToolsCall);
    assert_eq!(
        call.target(),
        Some(&Target::Tool(ToolName::parse("add_note").unwrap()))
    );
    assert_eq!(call.id().unwrap().as_json(), "7");
    assert_eq!(call.arguments(), Some(r#"{"t": 1}"#));
    assert_eq!(call.body(), body.as_bytes());
    // Ignored, whatever they say.
    assert_eq!((call.session(), call.last_event_id()), (None, None));
}

#[test]
fn a_legacy_call_is_read() {
    let body = r#"{"jsonrpc":"2.0","id":"a\u0062","method":"prompts/get","params":{"n\u0061me":"p\u0031"}}"#;
    let pairs = [
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-session-id", "s1"),
        ("last-event-id", "7 b"),
    ];
    let call = parse(&pairs, body.as_bytes()).unwrap();
    assert_eq!((call.era(), call.kind()), (Era::Legacy, Kind::Request));
    assert_eq!(*call.method(), Method::PromptsGet);
    assert_eq!(call.target(), Some(&Target::Prompt("p1".into())));
    assert_eq!(call.id().unwrap().as_json(), r#""a\u0062""#);
    assert_eq!(call.arguments(), None);
    assert_eq!((call.session(), call.last_event_id()), (Some("s1"), Some("7 b")));
}

#[test]
fn the_digest_is_of_the_body() {
    let call = legacy(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).unwrap();
    let spaced = legacy(r#"{"jsonrpc":"2.0","id":1,"method": "ping"}"#).unwrap();
    assert_eq!(call.digest(), call.digest());
    assert_ne!(call.digest(), spaced.digest());
    // FIPS 180-4: SHA-256 of nothing.
    let transport = Call::open_stream(&HeaderMap::new()).unwrap();
    assert_eq!(transport.digest()[..4], [0xe3, 0xb0, 0xc4, 0x42]);
}

#[test]
fn every_kind_of_message() {
    let rows: &[(&str, Kind, Method)] = &[
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#,
            Kind::Request,
            Method::Initialize,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            Kind::Request,
            Method::Ping,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#,
            Kind::Request,
            Method::ToolsList,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/List"}"#,
            Kind::Request,
            Method::Other("tools/List".into()),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#,
            Kind::Request,
            Method::Other("server/discover".into()),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"x"}"#,
            Kind::Notification,
            Method::Other("x".into()),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            Kind::Notification,
            Method::Notification("notifications/initialized".into()),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"a":1}}"#,
            Kind::Response,
            Method::Response,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#,
            Kind::Response,
            Method::Response,
        ),
        (
            r#"{"jsonrpc":"2.0","error":{"code":1,"message":""}}"#,
            Kind::Response,
            Method::Response,
        ),
    ];
    for (body, kind, method) in rows {
        let call = legacy(body).unwrap();
        assert_eq!((call.kind(), call.method()), (*kind, method), "{body}");
        assert_eq!(call.target(), None, "{body}");
    }
}

#[test]
fn methods_are_known_only_in_their_era() {
    const LEGACY: &[&str] = &[
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
    ];
    const MODERN: &[&str] = &["server/discover", "subscriptions/listen"];
    const BOTH: &[&str] = &[
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "tasks/get",
        "tasks/update",
        "tasks/cancel",
    ];
    let known = |name: &str, era| !matches!(Method::named(name, era), Method::Other(_));
    for name in LEGACY.iter().chain(MODERN).chain(BOTH) {
        assert_eq!(known(name, Era::Legacy), !MODERN.contains(name), "{name}");
        assert_eq!(known(name, Era::Modern), !LEGACY.contains(name), "{name}");
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(Method::named(name, era).as_str(), *name);
        }
    }
}

#[test]
fn what_is_not_one_json_text() {
    let rows: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}x",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}{}",
        b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\xff\"}",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xc0\xb0\"}",
        b"{\0\"\0j\0",
        br#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#,
        br#"{"jsonrpc":"2.0","id":"\udc00","method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"a":"\ud800"}}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"a":1e999}}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{a:1}}}"#,
        br#"{"jsonrpc":"2.0","id":01,"method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":'ping'}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#,
    ];
    for body in rows {
        let error = legacy(body).unwrap_err();
        assert_eq!(error, Error::NotJson, "{}", String::from_utf8_lossy(body));
        assert_eq!(error.json_rpc().unwrap().0, -32700);
    }
}

#[test]
fn a_name_twice_at_any_level() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","\u006dethod":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{},"arguments":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1,"x":1}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"l":[{"x":1,"x":1}]}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":1,"a":1}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":{"a":{"b":1,"b":1}}}"#,
    ] {
        let error = legacy(body).unwrap_err();
        assert_eq!(error, Error::DuplicateKey, "{body}");
        assert_eq!(error.json_rpc().unwrap().0, -32600);
    }
}

#[test]
fn a_name_in_another_case() {
    for (body, expected) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}"#,
            "method",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"METHOD":"tools/call"}"#, "method"),
        (r#"{"JSONRPC":"2.0","id":1,"method":"ping"}"#, "jsonrpc"),
        (r#"{"jsonrpc":"2.0","Id":1,"method":"ping"}"#, "id"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Params":{}}"#,
            "params",
        ),
        // U+017F: Go's encoding/json folds it to `s`.
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}}"#,
            "params",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Result":{}}"#,
            "result",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
            "name",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Arguments":{}}}"#,
            "arguments",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:","URI":"b:"}}"#,
            "uri",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_Meta":{}}}"#,
            "_meta",
        ),
    ] {
        let error = legacy(body).unwrap_err();
        assert_eq!(error, Error::AmbiguousKey { expected }, "{body}");
        assert_eq!(error.json_rpc().unwrap().0, -32600);
    }
    // In arguments, case is the tool's business.
    assert!(legacy(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"id":1,"ID":2,"Name":3}}}"#).is_ok());
}

#[test]
fn depth_at_the_limit_and_one_past_it() {
    // The message, `params` and `arguments` are three levels.
    let body = |depth: usize| {
        let inside = depth - 3;
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","arguments":{{"x":{}1{}}}}}}}"#,
            "[".repeat(inside),
            "]".repeat(inside)
        )
    };
    assert!(legacy(body(limits::JSON_DEPTH)).is_ok());
    for depth in [limits::JSON_DEPTH + 1, 100_000] {
        assert_eq!(legacy(body(depth)).unwrap_err(), Error::TooDeep, "{depth}");
    }
}

#[test]
fn what_is_json_but_no_message() {
    for body in ["[]", r#" [{"jsonrpc":"2.0","id":1,"method":"ping"}]"#] {
        assert_eq!(legacy(body).unwrap_err(), Error::Batch, "{body}");
    }
    for body in [
        "null",
        "1",
        r#""x""#,
        "{}",
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        // A request without an id would run unanswered; a notification with one would be answered.
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#,
    ] {
        let error = legacy(body).unwrap_err();
        assert_eq!(error.code(), "request.not-a-message", "{body}");
        assert_eq!(error.json_rpc().unwrap().0, -32600);
    }
}

#[test]
fn ids_are_strings_or_integers() {
    let body = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    for id in ["0", "-7", "9223372036854775807", r#""""#, r#""a b""#, r#""é\n""#] {
        assert_eq!(legacy(body(id)).unwrap().id().unwrap().as_json(), id);
    }
    for id in [
        "null",
        "true",
        "{}",
        "[]",
        "1.0",
        "1.5",
        "1e2",
        "9223372036854775808",
        "[1]",
        r#"{"a":1}"#,
    ] {
        let error = legacy(body(id)).unwrap_err();
        assert_eq!(
            (error.code(), error.request_id()),
            ("request.not-a-message", None),
            "{id}"
        );
    }
    let long = |n: usize| body(&format!("\"{}\"", "x".repeat(n - 2)));
    assert!(legacy(long(limits::ID_BYTES)).is_ok());
    assert_eq!(code(legacy(long(limits::ID_BYTES + 1))), "request.not-a-message");
}

#[test]
fn errors_after_reading_echo_the_id() {
    for body in [
        r#"{"jsonrpc":"1.0","id":"x","method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"_meta":1}}"#,
        r#"{"jsonrpc":"2.0","id":"x","method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
    ] {
        assert_eq!(
            legacy(body).unwrap_err().request_id().unwrap().as_json(),
            r#""x""#,
            "{body}"
        );
    }
}

#[test]
fn targets_and_their_lengths() {
    for (method, member) in [
        ("tools/call", "name"),
        ("prompts/get", "name"),
        ("resources/read", "uri"),
        ("resources/subscribe", "uri"),
        ("resources/unsubscribe", "uri"),
        ("tasks/get", "taskId"),
        ("tasks/update", "taskId"),
        ("tasks/cancel", "taskId"),
    ] {
        let body = |value: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"{member}":{value},"other":1}}}}"#
            )
        };
        let long = |n: usize| body(&format!("\"{}\"", "x".repeat(n)));
        assert_eq!(
            legacy(body(r#""a b""#)).unwrap().target().unwrap().as_str(),
            "a b",
            "{method}"
        );
        assert!(legacy(long(limits::NAME_BYTES)).is_ok(), "{method}");
        assert_eq!(
            code(legacy(long(limits::NAME_BYTES + 1))),
            "request.name-too-long",
            "{method}"
        );
        for value in ["1", "null", "[\"a\"]", "{}"] {
            let error = legacy(body(value)).unwrap_err();
            assert_eq!(
                (error.code(), error.json_rpc().unwrap().0),
                ("request.invalid-params", -32602),
                "{method} {value}"
            );
        }
        let without = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
        assert_eq!(code(legacy(without)), "request.invalid-params", "{method}");
    }
    // Tool names byte for byte: look-alikes are other tools, control characters are none.
    let tool = |name: &str| {
        legacy(format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}"}}}}"#
        ))
    };
    for name in [
        "Delete_File",
        "delete_file ",
        "delete_file%00",
        "server/../delete",
        "d\u{435}lete",
    ] {
        assert_eq!(tool(name).unwrap().target().unwrap().as_str(), name);
    }
    for name in ["", "delete_file\\u0000", "a\\nb"] {
        assert_eq!(code(tool(name)), "request.invalid-params", "{name}");
    }
    let method = |n: usize| {
        legacy(format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#,
            "x".repeat(n)
        ))
    };
    assert!(method(limits::NAME_BYTES).is_ok());
    assert_eq!(code(method(limits::NAME_BYTES + 1)), "request.not-a-message");
}

/// MCP 2026-07-28, the table of validation errors, and the order of its checks.
#[test]
fn a_stateless_request_and_its_version() {
    let call = |meta: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"add_note"{meta}}}}}"#)
    };
    let version = |v: &str| {
        format!(
            r#","_meta":{{"io.modelcontextprotocol/protocolVersion":{v},"io.modelcontextprotocol/clientCapabilities":{{}}}}"#
        )
    };
    let right = call(&format!(",{META}"));
    let rows: &[(Changes<'_>, String, &str, i64)] = &[
        // No header, though the body is stateless.
        (
            &[("mcp-protocol-version", &[])],
            right.clone(),
            "request.header-mismatch",
            -32020,
        ),
        // Twice, even if equal; joined; unreadable.
        (
            &[("mcp-protocol-version", &["2026-07-28", "2026-07-28"])],
            right.clone(),
            "request.header-mismatch",
            -32020,
        ),
        (
            &[("mcp-protocol-version", &["2026-07-28, 2026-07-28"])],
            right.clone(),
            "request.header-mismatch",
            -32020,
        ),
        (
            &[("mcp-protocol-version", &["é"])],
            right.clone(),
            "request.header-mismatch",
            -32020,
        ),
        // `_meta` or a member of it missing or malformed; outranks Mcp-*.
        (&[], call(""), "request.missing-meta", -32602),
        (
            &[("mcp-method", &["wrong"])],
            call(""),
            "request.missing-meta",
            -32602,
        ),
        (&[], call(r#","_meta":{}"#), "request.missing-meta", -32602),
        (
            &[],
            call(r#","_meta":{"io.modelcontextprotocol/clientCapabilities":{}}"#),
            "request.missing-meta",
            -32602,
        ),
        (
            &[],
            call(r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#),
            "request.missing-meta",
            -32602,
        ),
        (
            &[],
            call(
                r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}"#,
            ),
            "request.missing-meta",
            -32602,
        ),
        (&[], call(&version("1")), "request.missing-meta", -32602),
        (&[], call(&version("null")), "request.missing-meta", -32602),
        (&[], call(r#","_meta":[]"#), "request.invalid-params", -32602),
        (
            &[("mcp-protocol-version", &["2025-11-25"])],
            call(r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}"#),
            "request.missing-meta",
            -32602,
        ),
        // Header and `_meta` differ: before support is looked at.
        (
            &[("mcp-protocol-version", &["2025-11-25"])],
            right.clone(),
            "request.header-mismatch",
            -32020,
        ),
        (
            &[("mcp-protocol-version", &["1900-01-01"])],
            right.clone(),
            "request.header-mismatch",
            -32020,
        ),
        (
            &[],
            call(&version(r#""2025-11-25""#)),
            "request.header-mismatch",
            -32020,
        ),
        // Agreed on a version that is not spoken statelessly.
        (
            &[("mcp-protocol-version", &["2025-11-25"])],
            call(&version(r#""2025-11-25""#)),
            "request.unsupported-version",
            -32022,
        ),
        (
            &[("mcp-protocol-version", &["1900-01-01"])],
            call(&version(r#""1900-01-01""#)),
            "request.unsupported-version",
            -32022,
        ),
        (
            &[
                ("mcp-protocol-version", &["9999-01-01"]),
                ("mcp-method", &["wrong"]),
            ],
            call(&version(r#""9999-01-01""#)),
            "request.unsupported-version",
            -32022,
        ),
        // An unknown later version without `_meta` is a stateless request without `_meta`.
        (
            &[("mcp-protocol-version", &["9999-01-01"])],
            call(""),
            "request.missing-meta",
            -32602,
        ),
    ];
    for (changes, body, wanted, json_rpc) in rows {
        let error = modern_with(changes, body).unwrap_err();
        assert_eq!(
            (error.code(), error.json_rpc().unwrap().0),
            (*wanted, *json_rpc),
            "{changes:?} {body}"
        );
        assert_eq!(error.request_id().unwrap().as_json(), "7", "{changes:?} {body}");
    }
    assert!(modern_with(&[], &right).is_ok());
    // White space around a header's value is no part of it.
    assert!(modern_with(&[("mcp-protocol-version", &[" 2026-07-28\t"])], &right).is_ok());
}

#[test]
fn an_unsupported_version_is_named() {
    let error = parse(
        &[("mcp-protocol-version", "1900-01-01")],
        br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
    );
    let Err(Error::UnsupportedVersion { requested, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(&*requested, "1900-01-01");
}

#[test]
fn mcp_method_and_mcp_name_agree_with_the_body() {
    let rows: &[(Changes<'_>, &str)] = &[
        (&[], "ok"),
        (&[("mcp-name", &["=?base64?YWRkX25vdGU=?="])], "ok"),
        (&[("mcp-method", &[])], "request.header-mismatch"),
        (&[("mcp-method", &["tools/list"])], "request.header-mismatch"),
        (&[("mcp-method", &["Tools/Call"])], "request.header-mismatch"),
        (
            &[("mcp-method", &["tools/call", "tools/call"])],
            "request.header-mismatch",
        ),
        (
            &[("mcp-method", &["=?base64?dG9vbHMvY2FsbA==?="])],
            "request.header-mismatch",
        ),
        (&[("mcp-name", &[])], "request.header-mismatch"),
        (&[("mcp-name", &[""])], "request.header-mismatch"),
        (&[("mcp-name", &["delete_all_notes"])], "request.header-mismatch"),
        (&[("mcp-name", &["Add_note"])], "request.header-mismatch"),
        (
            &[("mcp-name", &["add_note", "add_note"])],
            "request.header-mismatch",
        ),
        (
            &[("mcp-name", &["add_note, add_note"])],
            "request.header-mismatch",
        ),
        (
            &[("mcp-name", &["=?base64?YWRkX25vdGU?="])],
            "request.header-mismatch",
        ),
        (&[("mcp-name", &["=?base64?///?="])], "request.header-mismatch"),
        (&[("mcp-name", &["é"])], "request.header-mismatch"),
    ];
    for (changes, wanted) in rows {
        assert_eq!(code(modern_with(changes, &modern_call())), *wanted, "{changes:?}");
    }
    // A name that looks encoded has to be sent encoded.
    let body = |name: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{name}",{META}}}}}"#)
    };
    assert_eq!(
        code(modern_with(
            &[("mcp-name", &["=?base64?YQ==?="])],
            &body("=?base64?YQ==?=")
        )),
        "request.header-mismatch"
    );
    assert_eq!(
        code(modern_with(
            &[("mcp-name", &["=?base64?PT9iYXNlNjQ/WVE9PT89?="])],
            &body("=?base64?YQ==?=")
        )),
        "ok"
    );
    // A name that only the header has; a name that neither has.
    let nameless = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{{META}}}}}"#);
    assert_eq!(code(modern_with(&[], &nameless)), "request.header-mismatch");
    assert_eq!(
        code(modern_with(&[("mcp-name", &[])], &nameless)),
        "request.invalid-params"
    );
}

#[test]
fn each_method_has_its_own_source_of_mcp_name() {
    for (method, member) in [
        ("prompts/get", "name"),
        ("resources/read", "uri"),
        ("tasks/get", "taskId"),
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{"{member}":"x","other":"y",{META}}}}}"#
        );
        let with = |name: &'static str| {
            parse(
                &[
                    ("mcp-protocol-version", "2026-07-28"),
                    ("mcp-method", method),
                    ("mcp-name", name),
                ],
                body.as_bytes(),
            )
        };
        assert_eq!(code(with("x")), "ok", "{method}");
        assert_eq!(code(with("y")), "request.header-mismatch", "{method}");
    }
}

#[test]
fn legacy_messages_may_leave_the_mirrors_out_but_not_lie() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
    for (pairs, wanted) in [
        (&[][..], "ok"),
        (&[("mcp-method", "tools/call"), ("mcp-name", "a")], "ok"),
        (&[("mcp-method", "tools/list")], "request.header-mismatch"),
        (&[("mcp-name", "b")], "request.header-mismatch"),
    ] {
        assert_eq!(code(parse(pairs, body)), wanted, "{pairs:?}");
    }
}

#[test]
fn stateless_notifications() {
    let plain = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
    let with_meta = format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{{META}}}}}"#);
    let version = ("mcp-protocol-version", "2026-07-28");
    for body in [plain, &with_meta] {
        for (pairs, wanted) in [
            (&[version][..], "ok"),
            (&[version, ("mcp-method", "notifications/progress")], "ok"),
            (
                &[version, ("mcp-method", "tools/call")],
                "request.header-mismatch",
            ),
        ] {
            let call = parse(pairs, body.as_bytes());
            if let Ok(call) = &call {
                assert_eq!((call.era(), call.kind()), (Era::Modern, Kind::Notification));
            }
            assert_eq!(code(call), wanted, "{pairs:?} {body}");
        }
    }
    assert_eq!(code(parse(&[], with_meta.as_bytes())), "request.header-mismatch");
    assert_eq!(
        code(parse(&[("mcp-protocol-version", "2027-01-01")], plain.as_bytes())),
        "request.unsupported-version"
    );
}

/// MCP 2026-07-28: a stateless client sends one request or notification and nothing else; removed methods are unknown.
#[test]
fn what_stateless_clients_do_not_send() {
    let version = ("mcp-protocol-version", "2026-07-28");
    let response = br#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(code(parse(&[version], response)), "request.not-a-message");
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{{META}}}}}"#);
    let call = parse(&[version, ("mcp-method", "initialize")], body.as_bytes()).unwrap();
    assert_eq!(
        (call.era(), call.method()),
        (Era::Modern, &Method::Other("initialize".into()))
    );
}

#[test]
fn legacy_versions_and_sessions() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for version in super::super::LEGACY_VERSIONS {
        assert_eq!(
            parse(&[("mcp-protocol-version", version)], body).unwrap().era(),
            Era::Legacy
        );
    }
    for version in ["2024-11-05", "1900-01-01", "x", ""] {
        let error = parse(&[("mcp-protocol-version", version)], body).unwrap_err();
        assert_eq!(error.code(), "request.unsupported-version", "{version}");
    }
    for header in ["mcp-session-id", "last-event-id"] {
        let long = |n: usize| code(parse(&[(header, &"x".repeat(n))], body));
        assert_eq!(long(limits::NAME_BYTES), "ok");
        assert_eq!(long(limits::NAME_BYTES + 1), "request.bad-session");
        for value in ["", "é", "a\tb"] {
            assert_eq!(
                code(parse(&[(header, value)], body)),
                "request.bad-session",
                "{header} {value:?}"
            );
        }
        assert_eq!(
            code(parse(&[(header, "a"), (header, "a")], body)),
            "request.bad-session"
        );
    }
    assert_eq!(
        code(parse(&[("mcp-session-id", "a b")], body)),
        "request.bad-session"
    );
}

#[test]
fn streams_and_ends_of_sessions() {
    let pairs = [
        ("mcp-protocol-version", "2025-06-18"),
        ("mcp-session-id", "s1"),
        ("last-event-id", "9"),
    ];
    for (call, method) in [
        (Call::open_stream(&headers(&pairs)), Method::OpenStream),
        (Call::end_session(&headers(&pairs)), Method::EndSession),
    ] {
        let call = call.unwrap();
        assert_eq!(
            (call.era(), call.kind(), call.method()),
            (Era::Legacy, Kind::Transport, &method)
        );
        assert_eq!((call.session(), call.last_event_id()), (Some("s1"), Some("9")));
        assert!(call.body().is_empty() && call.id().is_none());
    }
    for (pairs, wanted) in [
        (&[("mcp-protocol-version", "2026-07-28")][..], "request.post-only"),
        (
            &[("mcp-protocol-version", "2024-01-01")],
            "request.unsupported-version",
        ),
        (
            &[
                ("mcp-protocol-version", "2025-06-18"),
                ("mcp-protocol-version", "2025-06-18"),
            ],
            "request.header-mismatch",
        ),
        (
            &[("mcp-session-id", "a"), ("mcp-session-id", "b")],
            "request.bad-session",
        ),
    ] {
        assert_eq!(code(Call::open_stream(&headers(pairs))), wanted, "{pairs:?}");
        assert_eq!(code(Call::end_session(&headers(pairs))), wanted, "{pairs:?}");
    }
}

#[test]
fn only_plain_json_in_utf_8() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for value in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
    ] {
        assert_eq!(code(parse(&[("content-type", value)], body)), "ok", "{value}");
    }
    for value in [
        "",
        "text/plain",
        "application/json-seq",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; charset",
        "application/json; profile=x",
        "application/json;",
        "application/json, text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
    ] {
        assert_eq!(
            code(parse(&[("content-type", value)], body)),
            "request.content-type",
            "{value}"
        );
    }
    let twice = [
        ("content-type", "application/json"),
        ("content-type", "application/json"),
    ];
    assert_eq!(code(parse(&twice, body)), "request.content-type");
    assert_eq!(
        Call::parse(&HeaderMap::new(), Bytes::from_static(body)).unwrap_err(),
        Error::ContentType
    );

    for (value, wanted) in [
        ("identity", "ok"),
        ("Identity", "ok"),
        ("gzip", "request.content-encoding"),
        ("", "request.content-encoding"),
    ] {
        assert_eq!(
            code(parse(&[("content-encoding", value)], body)),
            wanted,
            "{value}"
        );
    }
    let twice = [("content-encoding", "identity"), ("content-encoding", "br")];
    assert_eq!(code(parse(&twice, body)), "request.content-encoding");
}

/// Messages and near-messages: each member absent or one of a few values, and sometimes one more member.
fn near_messages() -> impl Strategy<Value = String> {
    let member = |name: &'static str, values: &'static [&'static str]| {
        proptest::option::weighted(0.95, proptest::sample::select(values))
            .prop_map(move |value| (name, value))
    };
    let extra = (
        proptest::sample::select(vec![
            "method",
            "Method",
            "id",
            "params",
            "result",
            "x",
            "\\u006dethod",
        ]),
        proptest::option::weighted(
            0.3,
            proptest::sample::select(vec!["1", "\"tools/list\"", "{}", "[]", "null"]),
        ),
    );
    let members = [
        member(
            "jsonrpc",
            &["\"2.0\"", "\"2.0\"", "\"2.0\"", "\"2\\u002e0\"", "2.0"],
        ),
        member("id", &["1", "-3", "\"a\"", "\"\"", "1.5", "null"]),
        member(
            "method",
            &[
                "\"tools/call\"",
                "\"tools\\/call\"",
                "\"notifications/x\"",
                "\"ping\"",
                "1",
            ],
        ),
        member(
            "params",
            &[
                r#"{"name":"a"}"#,
                r#"{"n\u0061me":"\u0062","arguments":{"x":[1,{"y":-2.5e3}],"z":"\ud83d\ude00"}}"#,
                r#"{"arguments":null,"name":"a","_meta":{"progressToken":1}}"#,
                r#"{"name":"a","arguments":{"x":1,"x":2}}"#,
                r#"{"name":["a"]}"#,
                "[]",
            ],
        ),
    ];
    (Just(members).prop_flat_map(|members| members), extra)
        .prop_flat_map(|(members, extra)| {
            Just(members.into_iter().chain([extra]).collect::<Vec<_>>()).prop_shuffle()
        })
        .prop_map(|members| {
            let present = members
                .iter()
                .filter_map(|(name, value)| Some(format!("\"{name}\": {}", (*value)?)));
            format!("{{{}}}", present.collect::<Vec<_>>().join(" ,"))
        })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let body = Bytes::from(body);
        if let Ok(call) = legacy(&body) {
            prop_assert_eq!(call.body(), &body);
        }
    }

    /// Whatever is accepted means the same to another reader of the same bytes.
    #[test]
    fn what_is_accepted_reads_the_same_elsewhere(body in near_messages()) {
        if let Ok(call) = legacy(&body) {
            let other: serde_json::Value = serde_json::from_slice(call.body()).unwrap();
            if call.kind() != Kind::Response {
                prop_assert_eq!(Some(call.method().as_str()), other["method"].as_str());
            }
            let id = other.get("id").map(ToString::to_string);
            prop_assert_eq!(call.id().map(RequestId::as_json), id.as_deref());
            if let Some(Target::Tool(name)) = call.target() {
                prop_assert_eq!(Some(name.as_str()), other["params"]["name"].as_str());
                let arguments = call.arguments().map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
                prop_assert_eq!(arguments.as_ref(), other["params"].get("arguments"));
            }
        }
    }
}

#[test]
fn a_filter_of_changes_names_resources_at_the_limit_and_one_past_it() {
    let listen = |filter: &str| {
        parse(
            &[
                ("mcp-protocol-version", "2026-07-28"),
                ("mcp-method", "subscriptions/listen"),
            ],
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{{filter}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
            )
            .as_bytes(),
        )
    };
    let of = |uris: &str| listen(&format!(r#""notifications":{{"resourceSubscriptions":{uris}}},"#));
    for (filter, expected) in [
        ("", &[] as &[&str]),
        (r#""notifications":{},"#, &[]),
        (r#""notifications":{"toolsListChanged":true},"#, &[]),
        (
            r#""notifications":{"resourceSubscriptions":["b:","a:","\u0062:"]},"#,
            &["a:", "b:"],
        ),
    ] {
        let call = listen(filter).unwrap();
        let found: Vec<&str> = call.subscriptions().iter().map(|uri| &**uri).collect();
        assert_eq!(found, expected, "{filter}");
    }
    let many = |n: usize| format!("[{}]", vec!["\"a:\""; n].join(","));
    assert!(of(&many(limits::SUBSCRIPTIONS)).is_ok());
    assert_eq!(
        code(of(&many(limits::SUBSCRIPTIONS + 1))),
        "request.invalid-params"
    );
    let long = |n: usize| format!("[\"{}\"]", "x".repeat(n));
    assert!(of(&long(limits::NAME_BYTES)).is_ok());
    assert_eq!(code(of(&long(limits::NAME_BYTES + 1))), "request.name-too-long");
    for uris in ["null", "\"a:\"", "[1]", "[null]", "{\"0\":\"a:\"}"] {
        assert_eq!(code(of(uris)), "request.invalid-params", "{uris}");
    }
    for filter in [r#""notifications":null,"#, r#""notifications":[],"#] {
        assert_eq!(code(listen(filter)), "request.invalid-params", "{filter}");
    }
    for filter in [
        r#""Notifications":{},"#,
        r#""notifications":{"resourcesubscriptions":["a:"]},"#,
    ] {
        assert_eq!(code(listen(filter)), "request.ambiguous-key", "{filter}");
    }
}
