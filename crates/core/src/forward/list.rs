//! `tools/list` as one caller may see it.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::fault::Fault;
use crate::ids::ToolName;
use crate::wire::SEALED_FIELDS as EXTENSION;
use crate::wire::json::Refused;

use crate::wire::entries::Entries;

/// One page of a tool list after filtering.
#[derive(Debug)]
pub struct FilteredList {
    /// The message for the caller. The text of each tool that was kept, of `nextCursor`, `_meta` and the id are
    /// byte for byte the upstream's.
    pub body: Vec<u8>,
    /// Every tool of the page in its order, kept or not: what the server offers.
    pub seen: Vec<ToolName>,
}

/// An answer to `tools/list` that cannot be filtered, and so must not be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidList {
    /// Not one JSON object.
    #[error("the answer to `tools/list` is not a JSON object")]
    NotJson,
    /// A name twice, or in another case: clients could read another list than the one filtered.
    #[error("the answer to `tools/list` has a name twice")]
    Ambiguous,
    /// Neither a result with `tools` nor an error.
    #[error("the answer to `tools/list` has no list of tools")]
    NotAList,
}

impl InvalidList {
    /// Stable slug.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotJson => "list.not-json",
            Self::Ambiguous => "list.ambiguous",
            Self::NotAList => "list.not-a-list",
        }
    }

    /// Whose fault: the upstream's.
    #[must_use]
    pub fn fault(self) -> Fault {
        Fault::Peer
    }
}

impl From<Refused> for InvalidList {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotJson | Refused::TooDeep => Self::NotJson,
            Refused::Twice | Refused::LooksLike(_) => Self::Ambiguous,
        }
    }
}

/// Takes one JSON-RPC message that came back for a `tools/list`, and leaves out the tools that `keep` does not
/// want. A tool whose name is no [`ToolName`] is left out too: no call could name it. What `seals` gives for a tool is
/// put into its `_meta`, and nothing that the server says there of sealed fields stays.
///
/// A `cacheScope` becomes `private`: a list made for one caller must not be shown to another (MCP 2026-07-28,
/// Caching). An error passes as it is, and so does a notification or request on the same stream.
///
/// # Errors
/// [`InvalidList`]: nothing of the message may be passed on.
pub fn filter_list(
    body: &[u8],
    keep: &mut dyn FnMut(&ToolName) -> bool,
    seals: &dyn Fn(&ToolName) -> Option<Value>,
) -> Result<FilteredList, InvalidList> {
    let text = std::str::from_utf8(body).map_err(|_| InvalidList::NotJson)?;
    let mut message = Entries::read(text, &["jsonrpc", "id", "method", "result", "error"])?;
    let untouched = |seen| FilteredList {
        body: body.to_vec(),
        seen,
    };
    let Some(result) = message.raw("result") else {
        return match (message.raw("error"), message.raw("method")) {
            (None, None) => Err(InvalidList::NotAList),
            (Some(_), _) | (None, Some(_)) => Ok(untouched(Vec::new())),
        };
    };
    if message.raw("error").is_some() || message.raw("method").is_some() {
        return Err(InvalidList::Ambiguous);
    }
    let mut result = Entries::read(result.get(), &["tools", "nextCursor", "cacheScope"]).map_err(
        |refused| match refused {
            Refused::NotJson | Refused::TooDeep => InvalidList::NotAList,
            Refused::Twice | Refused::LooksLike(_) => InvalidList::Ambiguous,
        },
    )?;
    let tools = result.raw("tools").ok_or(InvalidList::NotAList)?;
    let tools: Vec<&RawValue> = serde_json::from_str(tools.get()).map_err(|_| InvalidList::NotAList)?;

    let mut seen = Vec::with_capacity(tools.len());
    let mut kept = Vec::with_capacity(tools.len());
    let mut told = false;
    for tool in &tools {
        let Some(name) = name(tool) else { continue };
        if keep(&name) {
            let told_of = describe(tool, seals(&name))?;
            told |= matches!(told_of, Cow::Owned(_));
            kept.push(told_of);
        }
        seen.push(name);
    }
    let is_public = result
        .raw("cacheScope")
        .is_some_and(|scope| scope.get() != r#""private""#);
    if kept.len() == tools.len() && !is_public && !told {
        return Ok(untouched(seen));
    }
    if is_public {
        result.put("cacheScope", &"private")?;
    }
    result.put("tools", &kept)?;
    message.put("result", &result)?;
    let body = serde_json::to_vec(&message).map_err(|_| InvalidList::NotJson)?;
    Ok(FilteredList { body, seen })
}

/// The tool, saying of sealed fields what is configured here and nothing else.
fn describe<'t>(tool: &'t RawValue, seals: Option<Value>) -> Result<Cow<'t, RawValue>, InvalidList> {
    // An escape can spell the name of the extension too, and `_meta` as well.
    if seals.is_none() && !tool.get().contains(EXTENSION) && !tool.get().contains('\\') {
        return Ok(Cow::Borrowed(tool));
    }
    let as_it_came = tool;
    let mut tool = Entries::read(tool.get(), &["name", "_meta"])?;
    let meta = tool.raw("_meta").map_or("{}", RawValue::get);
    let mut meta = Entries::read(meta, &[EXTENSION])?;
    match seals {
        Some(seals) => meta.put(EXTENSION, &seals)?,
        None if meta.remove(EXTENSION) => {}
        None => return Ok(Cow::Borrowed(as_it_came)),
    }
    tool.put("_meta", &meta)?;
    Ok(Cow::Owned(to_raw_value(&tool).map_err(|_| InvalidList::NotJson)?))
}

fn name(tool: &RawValue) -> Option<ToolName> {
    let tool = Entries::read(tool.get(), &["name"]).ok()?;
    let name: Cow<'_, str> = serde_json::from_str(tool.raw("name")?.get()).ok()?;
    ToolName::parse(&name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{ "jsonrpc":"2.0", "id": "a\u0062", "result": {"tools": [
        {"name":"list_notes", "inputSchema": {"type":"object", "x-n": 1.50} },
        {"name":"delete_all_notes","annotations":{"title":"é\u00e9"}},
        {"name":"add\u005fnote"}
    ], "nextCursor":"c\/1", "ttlMs": 5, "cacheScope":"public", "_meta":{"k":[ 1 ]}} }"#;

    fn filtered(text: &str, kept: &[&str]) -> Result<(String, Vec<String>), InvalidList> {
        let list = filter_list(
            text.as_bytes(),
            &mut |name| kept.contains(&name.as_str()),
            &|_| None,
        )?;
        let seen = list.seen.iter().map(ToString::to_string).collect();
        Ok((String::from_utf8(list.body).unwrap(), seen))
    }

    #[test]
    fn what_may_not_be_called_is_not_listed() {
        let (body, seen) = filtered(PAGE, &["list_notes", "add_note"]).unwrap();
        assert_eq!(
            body,
            concat!(
                r#"{"jsonrpc":"2.0","id":"a\u0062","result":{"tools":["#,
                r#"{"name":"list_notes", "inputSchema": {"type":"object", "x-n": 1.50} },{"name":"add\u005fnote"}],"#,
                r#""nextCursor":"c\/1","ttlMs":5,"cacheScope":"private","_meta":{"k":[ 1 ]}}}"#
            )
        );
        assert_eq!(seen, ["list_notes", "delete_all_notes", "add_note"]);
        let (body, seen) = filtered(PAGE, &[]).unwrap();
        assert!(body.contains(r#""tools":[],"#), "{body}");
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn a_list_for_one_caller_is_private() {
        let page =
            |scope: &str| format!(r#"{{"id":1,"result":{{"tools":[{{"name":"a"}}],"cacheScope":{scope}}}}}"#);
        for scope in [r#""public""#, r#""Public""#, r#""publi\u0063""#, "1", "null"] {
            assert_eq!(
                filtered(&page(scope), &["a"]).unwrap().0,
                page(r#""private""#),
                "{scope}"
            );
        }
        for unchanged in [
            page(r#""private""#),
            r#"{"id":1,  "result":{"tools":[{"name":"a"}]}}"#.to_owned(),
        ] {
            assert_eq!(filtered(&unchanged, &["a"]).unwrap().0, unchanged);
        }
    }

    #[test]
    fn a_tool_without_a_usable_name_is_left_out() {
        let page = r#"{"id":1,"result":{"tools":[1,null,{},{"name":1},{"name":""},{"name":"a","name":"b"},{"name":"a","Name":"b"},{"name":"c"}]}}"#;
        let (body, seen) = filtered(page, &["a", "b", "c"]).unwrap();
        assert_eq!(body, r#"{"id":1,"result":{"tools":[{"name":"c"}]}}"#);
        assert_eq!(seen, ["c"]);
    }

    #[test]
    fn what_is_no_result_passes_as_it_is() {
        for text in [
            r#"{"jsonrpc":"2.0", "id":1,"error":{"code":-32603,"message":"x"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#,
        ] {
            assert_eq!(filtered(text, &[]).unwrap(), (text.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn what_cannot_be_filtered_is_an_error() {
        for (text, wanted) in [
            ("", InvalidList::NotJson),
            ("[]", InvalidList::NotJson),
            (r#"[{"id":1,"result":{"tools":[]}}]"#, InvalidList::NotJson),
            (r#"{"id":1,"result":{"tools":[]}}{}"#, InvalidList::NotJson),
            (r#"{"id":1}"#, InvalidList::NotAList),
            (r#"{"id":1,"result":[]}"#, InvalidList::NotAList),
            (r#"{"id":1,"result":{}}"#, InvalidList::NotAList),
            (r#"{"id":1,"result":{"tools":{}}}"#, InvalidList::NotAList),
            (r#"{"id":1,"result":{"tools":null}}"#, InvalidList::NotAList),
            (
                r#"{"id":1,"result":{"tools":[]},"result":{"tools":[]}}"#,
                InvalidList::Ambiguous,
            ),
            (
                r#"{"id":1,"result":{"tools":[],"tools":[]}}"#,
                InvalidList::Ambiguous,
            ),
            (
                r#"{"id":1,"result":{"tools":[],"Tools":[]}}"#,
                InvalidList::Ambiguous,
            ),
            (r#"{"id":1,"Result":{"tools":[]}}"#, InvalidList::Ambiguous),
            (
                r#"{"id":1,"result":{"tools":[]},"error":{}}"#,
                InvalidList::Ambiguous,
            ),
            (
                r#"{"id":1,"result":{"tools":[]},"method":"x"}"#,
                InvalidList::Ambiguous,
            ),
        ] {
            assert_eq!(filtered(text, &[]), Err(wanted), "{text}");
        }
        assert_eq!(
            filter_list(b"\xff", &mut |_| true, &|_| None).unwrap_err(),
            InvalidList::NotJson
        );
    }

    #[test]
    fn tools_say_of_sealed_fields_what_is_configured_and_nothing_else() {
        let page = format!(
            r#"{{"id":1,"result":{{"tools":[{{"name":"a","n":1.50}},{{"name":"b","_meta":{{"k":[ 1 ],"{EXTENSION}":{{"arguments":["/x"]}}}}}},{{"name":"c"}}]}}}}"#
        );
        let list = filter_list(page.as_bytes(), &mut |_| true, &|tool| {
            (tool.as_str() == "a").then(|| serde_json::json!({"arguments": ["/text"]}))
        });
        assert_eq!(
            String::from_utf8(list.unwrap().body).unwrap(),
            format!(
                r#"{{"id":1,"result":{{"tools":[{{"name":"a","n":1.50,"_meta":{{"{EXTENSION}":{{"arguments":["/text"]}}}}}},{{"name":"b","_meta":{{"k":[ 1 ]}}}},{{"name":"c"}}]}}}}"#
            )
        );
    }

    #[test]
    fn an_escape_spells_no_other_name() {
        for tool in [
            r#"{"n\u0061me":"a","_meta":{"dev.portcullis\u002fsealed-fields":{"arguments":[]},"k":1}}"#,
            r#"{"name":"\u0061","\u005fmeta":{"dev.portcullis\/sealed-fields":{"arguments":[]},"k":1}}"#,
        ] {
            let page = format!(r#"{{"id":1,"resul\u0074":{{"tool\u0073":[{tool},{{"n\u0061me":"b"}}]}}}}"#);
            let (body, seen) = filtered(&page, &["a"]).unwrap();
            assert_eq!(seen, ["a", "b"]);
            let body: Value = serde_json::from_str(&body).unwrap();
            let tools = body["result"]["tools"].as_array().unwrap();
            assert_eq!(tools.len(), 1, "{body}");
            assert_eq!(tools[0], serde_json::json!({"name": "a", "_meta": {"k": 1}}));
        }
        // One name in two spellings is a name twice.
        let twice = r#"{"id":1,"result":{"tools":[{"name":"a","n\u0061me":"b"}]}}"#;
        assert_eq!(filtered(twice, &["a", "b"]).unwrap().1, Vec::<String>::new());
        let twice = r#"{"id":1,"result":{"tools":[],"tool\u0073":[]}}"#;
        assert_eq!(filtered(twice, &[]), Err(InvalidList::Ambiguous));
        // Another tool's escapes stay as they are.
        let page = r#"{"id":1,"result":{"tools":[{"name":"a","description":"\u00e9","_meta":{"k":1.50}}]}}"#;
        assert_eq!(filtered(page, &["a"]).unwrap().0, page);
    }

    #[test]
    fn a_long_list_is_filtered_whole() {
        let tools: Vec<String> = (0..10_000).map(|i| format!(r#"{{"name":"t{i}"}}"#)).collect();
        let page = format!(r#"{{"id":1,"result":{{"tools":[{}]}}}}"#, tools.join(","));
        let list = filter_list(page.as_bytes(), &mut |name| name.as_str().ends_with('7'), &|_| {
            None
        })
        .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
        assert_eq!(body["result"]["tools"].as_array().unwrap().len(), 1_000);
        assert_eq!(list.seen.len(), 10_000);
    }
}
