//! `Mcp-Param-*`: the arguments that a modern server wants repeated in headers (MCP 2026-07-28, Streamable HTTP, `x-mcp-header`).

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::{Unreadable, raw, string};
use crate::ids::ToolName;
use crate::limits::JSON_DEPTH;
use crate::wire::encoded;
use crate::wire::entries::Entries;

const MARK: &str = "x-mcp-header";
/// Most arguments of one tool that go into headers.
const HEADERS: usize = 32;
/// Longest name of such a header, in bytes.
const NAME_BYTES: usize = 128;

/// Keywords below which a property is not the tool's own for certain.
const APPLICATORS: [&str; 12] = [
    "items",
    "prefixItems",
    "contains",
    "oneOf",
    "anyOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "additionalProperties",
    "patternProperties",
];

/// One argument that goes into a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// What follows `Mcp-Param-`.
    header: String,
    /// The property, and those it is in.
    path: Vec<String>,
}

/// The arguments of one tool that go into headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<Parameter>);

impl Parameters {
    /// Reads a tool's `inputSchema`. `None`: what it says of headers is against the rules, and a client that speaks HTTP must not
    /// offer the tool.
    #[must_use]
    pub fn read(schema: &Value) -> Option<Self> {
        let mut found = Vec::new();
        read(schema, &mut Vec::new(), &mut found)?;
        let mut names: Vec<String> = found.iter().map(|one| one.header.to_ascii_lowercase()).collect();
        names.sort_unstable();
        let twice = names.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
        (!twice && found.len() <= HEADERS).then_some(Self(found))
    }

    /// The headers that repeat these arguments, each with its value. What is absent or null has none.
    #[must_use]
    pub fn headers(&self, arguments: Option<&RawValue>) -> Vec<(String, String)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let arguments: Value = arguments
            .and_then(|arguments| serde_json::from_str(arguments.get()).ok())
            .unwrap_or_default();
        let header = |parameter: &Parameter| {
            let mut value = &arguments;
            for step in &parameter.path {
                value = value.get(step)?;
            }
            let text = match value {
                Value::String(text) => encoded(text).into_owned(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            Some((
                format!("mcp-param-{}", parameter.header.to_ascii_lowercase()),
                text,
            ))
        };
        self.0.iter().filter_map(header).collect()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn read(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Parameter>) -> Option<()> {
    if path.len() > JSON_DEPTH {
        return None;
    }
    let Value::Object(members) = schema else {
        return Some(());
    };
    if let Some(mark) = members.get(MARK) {
        let header = mark.as_str().filter(|name| is_token(name))?;
        let kind = members.get("type").and_then(Value::as_str)?;
        if path.is_empty() || !matches!(kind, "integer" | "string" | "boolean") {
            return None;
        }
        found.push(Parameter {
            header: header.to_owned(),
            path: path.clone(),
        });
    }
    if APPLICATORS
        .iter()
        .filter_map(|name| members.get(*name))
        .any(is_marked)
    {
        return None;
    }
    let definitions = ["$defs", "definitions"]
        .iter()
        .filter_map(|name| members.get(*name));
    if definitions.into_iter().any(is_marked) {
        return None;
    }
    if let Some(Value::Object(properties)) = members.get("properties") {
        for (name, property) in properties {
            path.push(name.clone());
            read(property, path, found)?;
            path.pop();
        }
    }
    Some(())
}

/// Whether a mark is anywhere in it. The value has been read, and so is no deeper than the reader allows.
fn is_marked(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.contains_key(MARK) || members.values().any(is_marked),
        Value::Array(items) => items.iter().any(is_marked),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// RFC 9110 §5.6.2.
fn is_token(name: &str) -> bool {
    let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.len() <= NAME_BYTES && name.bytes().all(tchar)
}

/// The tools of one page of `tools/list`, and the page without those that a client which speaks HTTP must not offer.
///
/// # Errors
/// [`Unreadable`].
pub fn tools_of(result: &RawValue) -> Result<(HashMap<ToolName, Parameters>, Box<RawValue>), Unreadable> {
    let mut page = Entries::read(result.get(), &["tools"])?;
    let tools = page.raw("tools").ok_or(Unreadable)?;
    let tools: Vec<&RawValue> = serde_json::from_str(tools.get())?;
    let (mut known, mut kept) = (HashMap::new(), Vec::with_capacity(tools.len()));
    for tool in &tools {
        let about = Entries::read(tool.get(), &["name", "inputSchema"])?;
        let name = about.raw("name").and_then(string).ok_or(Unreadable)?;
        let parameters = match about.raw("inputSchema") {
            Some(schema) if schema.get().contains(MARK) || schema.get().contains('\\') => {
                Parameters::read(&serde_json::from_str(schema.get())?)
            }
            Some(_) | None => Some(Parameters::default()),
        };
        let (Some(parameters), Ok(name)) = (parameters, ToolName::parse(&name)) else {
            continue;
        };
        if !parameters.is_empty() {
            known.insert(name, parameters);
        }
        kept.push(*tool);
    }
    if kept.len() < tools.len() {
        page.put("tools", &kept)?;
    }
    Ok((known, raw(&page)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    fn property(property: Value) -> Value {
        json!({"type": "object", "properties": {"p": property}})
    }

    #[test]
    fn marked_arguments_go_into_headers() {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "plain": {"type": "string"},
            "in": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "b": {"type": "boolean", "x-mcp-header": "B"},
        }});
        let parameters = Parameters::read(&schema).unwrap();
        let mut headers = parameters.headers(Some(&text(
            &json!({"region": "日本", "plain": "x", "in": {"n": 42}, "b": null}),
        )));
        headers.sort();
        assert_eq!(
            headers,
            [
                ("mcp-param-n".to_owned(), "42".to_owned()),
                ("mcp-param-region".to_owned(), "=?base64?5pel5pys?=".to_owned()),
            ]
        );
        assert!(parameters.headers(None).is_empty());
    }

    #[test]
    fn a_tool_that_marks_what_it_may_not_is_not_offered() {
        let marked = json!({"type": "string", "x-mcp-header": "A"});
        for wrong in [
            property(json!({"type": "number", "x-mcp-header": "A"})),
            property(json!({"x-mcp-header": "A"})),
            property(json!({"type": "string", "x-mcp-header": ""})),
            property(json!({"type": "string", "x-mcp-header": "a b"})),
            property(json!({"type": "string", "x-mcp-header": 7})),
            property(json!({"type": "array", "items": marked})),
            json!({"type": "object", "anyOf": [property(marked.clone())]}),
            json!({"type": "object", "$defs": {"a": marked}}),
            json!({"type": "object", "x-mcp-header": "A"}),
            json!({"properties": {"p": marked, "q": {"type": "string", "x-mcp-header": "a"}}}),
        ] {
            assert_eq!(Parameters::read(&wrong), None, "{wrong}");
            let page = text(&json!({"tools": [
                {"name": "bad", "inputSchema": wrong}, {"name": "good", "inputSchema": {"type": "object"}}]}));
            let (known, kept) = tools_of(&page).unwrap();
            assert!(known.is_empty());
            let kept: Value = serde_json::from_str(kept.get()).unwrap();
            assert_eq!(
                kept["tools"],
                json!([{"name": "good", "inputSchema": {"type": "object"}}])
            );
        }
    }

    #[test]
    fn headers_at_the_limit_and_one_past_it() {
        let with = |count: usize| {
            let all: serde_json::Map<String, Value> = (0..count)
                .map(|n| {
                    (
                        n.to_string(),
                        json!({"type": "string", "x-mcp-header": format!("H{n}")}),
                    )
                })
                .collect();
            Parameters::read(&json!({ "properties": all })).is_some()
        };
        assert!(with(HEADERS) && !with(HEADERS + 1));
    }
}
