//! Calls and rules, read from bytes as the gateway does.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_core::ids::{Scope, ScopeSet, ServerName, ToolName};
use portcullis_core::policy::{Effect, Rules, ServerRules, ToolRule};
use portcullis_core::wire::Call;
use serde_json::{Value, json};

pub(crate) fn notes() -> ServerName {
    ServerName::parse("notes").unwrap()
}

pub(crate) fn tool(name: &str) -> ToolName {
    ToolName::parse(name).unwrap()
}

pub(crate) fn scopes(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )
    };
    pairs.iter().map(pair).collect()
}

/// A request of the stateless era.
pub(crate) fn modern(method: &str, mut params: Value) -> Call {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let aim = ["name", "uri", "taskId"]
        .iter()
        .find_map(|member| params.get(*member)?.as_str());
    let mut pairs = vec![
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
    ];
    pairs.extend(aim.map(|name| ("mcp-name", name)));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    Call::parse(&headers(&pairs), Bytes::from(body.to_string())).unwrap()
}

/// A request of the era of sessions.
pub(crate) fn legacy(method: &str, params: &Value) -> Call {
    let pairs = [
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    Call::parse(&headers(&pairs), Bytes::from(body.to_string())).unwrap()
}

pub(crate) fn call_tool(name: &str, arguments: &Value) -> Call {
    modern("tools/call", json!({"name": name, "arguments": arguments}))
}

/// The notes server, guarded by scopes and these Cedar rules.
pub(crate) fn rules(cedar: &[(&str, &str)]) -> Rules {
    let listed = |name: &str, effect, own: Option<&str>| ToolRule {
        name: tool(name),
        effect,
        scopes: own.map(scopes),
    };
    Rules {
        servers: vec![ServerRules {
            name: notes(),
            unlisted: Effect::Irreversible,
            tools: vec![
                listed("list_notes", Effect::Read, None),
                listed("add_note", Effect::Write, None),
                listed("delete_all_notes", Effect::Irreversible, None),
                listed("export", Effect::Read, Some("notes:read audit")),
                listed("purge_drafts", Effect::Irreversible, None),
            ],
        }],
        implies: vec![(
            Scope::parse("admin").unwrap(),
            Scope::parse("notes:irreversible").unwrap(),
        )],
        cedar: cedar
            .iter()
            .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()))
            .collect(),
    }
}
