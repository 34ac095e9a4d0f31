//! MCP requests of both eras, ready to be bent by a test.

use serde_json::{Value, json};

use crate::Request;

/// The modern revision (stateless).
pub const MODERN: &str = "2026-07-28";
/// The legacy revision (sessions).
pub const LEGACY: &str = "2025-11-25";

/// A modern request: `_meta` in the body, and the headers that mirror it.
#[must_use]
pub fn modern(url: &str, method: &str, mut params: Value) -> Request {
    let mirrored = ["/name", "/uri", "/taskId"]
        .into_iter()
        .find_map(|member| params.pointer(member));
    let name = mirrored.and_then(Value::as_str).map(str::to_owned);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "testkit", "version": "1"},
    });
    if let Some(params) = params.as_object_mut() {
        params.insert("_meta".to_owned(), meta);
    }
    let request = post(
        url,
        &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}),
    )
    .header("mcp-protocol-version", MODERN)
    .header("mcp-method", method);
    match name {
        Some(name) => request.header("mcp-name", name),
        None => request,
    }
}

/// A modern `tools/call`.
#[must_use]
pub fn call(url: &str, tool: &str, arguments: &Value) -> Request {
    modern(url, "tools/call", json!({"name": tool, "arguments": arguments}))
}

/// The legacy handshake.
#[must_use]
pub fn initialize(url: &str) -> Request {
    let client = json!({"name": "testkit", "version": "1"});
    let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client});
    post(
        url,
        &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}),
    )
}

/// A legacy request in `session`.
#[must_use]
pub fn legacy(url: &str, session: &str, method: &str, params: &Value) -> Request {
    post(
        url,
        &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}),
    )
    .header("mcp-protocol-version", LEGACY)
    .header("mcp-session-id", session)
}

/// Any JSON body, with the headers every MCP POST has.
#[must_use]
pub fn post(url: &str, body: &Value) -> Request {
    Request::post(url)
        .header("accept", "application/json, text/event-stream")
        .json(body)
}
