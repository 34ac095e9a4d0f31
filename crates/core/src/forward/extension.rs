//! The extension for sealed fields, between a client and the gateway: the server hears nothing of it.

use serde_json::Value;
use serde_json::value::RawValue;

use super::list::InvalidList;
use crate::wire::SEALED_FIELDS as EXTENSION;
use crate::wire::entries::Entries;
use crate::wire::json::Refused;

const META: &str = "_meta";
const CAPABILITIES: &str = "capabilities";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const EXTENSIONS: &str = "extensions";

/// A request without what it says of the extension: its keys in `_meta`, and its name among the client's extensions.
/// Nothing, where there is nothing to leave out. The rest stays byte for byte.
///
/// The body has been read as a message before.
#[must_use]
pub fn withhold(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok().filter(|text| mentions(text))?;
    change_params(text, |params| {
        let mut changed = change(params, META, |meta| {
            let said = meta.remove(EXTENSION);
            let declared = change(meta, CLIENT_CAPABILITIES, without_extension)?;
            Ok(said || declared)
        })?;
        changed |= change(params, CAPABILITIES, without_extension)?;
        Ok(changed)
    })
    .ok()?
}

/// A request with other arguments, and without what it says of the extension.
///
/// # Errors
/// The body is no message with `params`: a bug, since it has been read before.
pub fn with_arguments(body: &[u8], arguments: &Value) -> Result<Vec<u8>, NotAMessage> {
    let text = std::str::from_utf8(body).map_err(|_| NotAMessage)?;
    let changed = change_params(text, |params| {
        params.put("arguments", arguments)?;
        Ok(true)
    });
    let changed = changed.map_err(|_| NotAMessage)?.ok_or(NotAMessage)?;
    Ok(withhold(&changed).unwrap_or(changed))
}

/// Not a JSON-RPC message with `params`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message with `params`")]
pub struct NotAMessage;

/// The answer to `initialize` or `server/discover`, with the extension among the server's. What is no result passes as
/// it is.
///
/// # Errors
/// [`InvalidList`]: the answer cannot be read, and so must not be passed on.
pub fn announce(body: &[u8], said: &Value) -> Result<Vec<u8>, InvalidList> {
    let text = std::str::from_utf8(body).map_err(|_| InvalidList::NotJson)?;
    let mut message = Entries::read(text, &["result"])?;
    let changed = change(&mut message, "result", |result| {
        let capabilities = result.raw(CAPABILITIES).map_or("{}", RawValue::get);
        let mut capabilities = Entries::read(capabilities, &[EXTENSIONS])?;
        let extensions = capabilities.raw(EXTENSIONS).map_or("{}", RawValue::get);
        let mut extensions = Entries::read(extensions, &[EXTENSION])?;
        extensions.put(EXTENSION, said)?;
        capabilities.put(EXTENSIONS, &extensions)?;
        result.put(CAPABILITIES, &capabilities)?;
        Ok(true)
    })?;
    if changed {
        serde_json::to_vec(&message).map_err(|_| InvalidList::NotJson)
    } else {
        Ok(body.to_vec())
    }
}

/// Whether a text may name the extension: an escape can spell it too.
fn mentions(text: &str) -> bool {
    text.contains(EXTENSION) || text.contains('\\')
}

fn change_params(
    text: &str,
    with: impl FnOnce(&mut Entries<'_>) -> Result<bool, Refused>,
) -> Result<Option<Vec<u8>>, Refused> {
    let mut message = Entries::read(text, &["params"])?;
    if !change(&mut message, "params", with)? {
        return Ok(None);
    }
    serde_json::to_vec(&message)
        .map(Some)
        .map_err(|_| Refused::NotJson)
}

/// Changes a member that is an object, and says whether it was changed.
fn change<'a>(
    object: &mut Entries<'a>,
    name: &'static str,
    with: impl FnOnce(&mut Entries<'_>) -> Result<bool, Refused>,
) -> Result<bool, Refused> {
    let Some(raw) = object.text(name).filter(|text| text.starts_with('{')) else {
        return Ok(false);
    };
    let raw = raw.to_owned();
    let mut inner = Entries::read(&raw, &[])?;
    if !with(&mut inner)? {
        return Ok(false);
    }
    object.put(name, &inner)?;
    Ok(true)
}

/// A list of extensions that is empty then was there for this one alone.
fn without_extension(capabilities: &mut Entries<'_>) -> Result<bool, Refused> {
    let mut left_empty = false;
    let changed = change(capabilities, EXTENSIONS, |extensions| {
        let was_there = extensions.remove(EXTENSION);
        left_empty = was_there && extensions.is_empty();
        Ok(was_there)
    })?;
    if left_empty {
        let _was_there = capabilities.remove(EXTENSIONS);
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(text: &str) -> Option<String> {
        withhold(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn the_server_hears_nothing_of_the_extension() {
        for (said, heard) in [
            (
                r#"{"id":1.0,"params":{"_meta":{"dev.portcullis/sealed-fields":{"keys":[]},"k":[ 1 ]},"arguments":{"n":1.50}}}"#,
                r#"{"id":1.0,"params":{"_meta":{"k":[ 1 ]},"arguments":{"n":1.50}}}"#,
            ),
            (
                r#"{"params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"dev.portcullis/sealed-fields":{"version":1},"x":{}}}}}}"#,
                r#"{"params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"x":{}}}}}}"#,
            ),
            (
                r#"{"params":{"capabilities":{"roots":{},"extensions":{"dev.portcullis/sealed-fields":{"version":1}}}}}"#,
                r#"{"params":{"capabilities":{"roots":{}}}}"#,
            ),
            (
                r#"{"params":{"_meta":{"dev.portcullis\u002fsealed-fields":1}}}"#,
                r#"{"params":{"_meta":{}}}"#,
            ),
        ] {
            assert_eq!(without(said).as_deref(), Some(heard), "{said}");
        }
        for untouched in [
            r#"{"params":{"_meta":{"k":1}}}"#,
            r#"{"params":{"arguments":{"dev.portcullis/sealed-fields":1}}}"#,
            r#"{"params":{"_meta":1,"capabilities":[],"x":"dev.portcullis/sealed-fields"}}"#,
            r#"{"method":"dev.portcullis/sealed-fields"}"#,
        ] {
            assert_eq!(without(untouched), None, "{untouched}");
        }
    }

    #[test]
    fn arguments_are_replaced_and_the_rest_stays() {
        let body = br#"{"id": 7,"params":{"name":"a","arguments":{"x":"sealed"},"_meta":{"dev.portcullis/sealed-fields":{}}}}"#;
        let opened = with_arguments(body, &serde_json::json!({"x": "open"})).unwrap();
        assert_eq!(
            String::from_utf8(opened).unwrap(),
            r#"{"id":7,"params":{"name":"a","arguments":{"x":"open"},"_meta":{}}}"#
        );
        assert_eq!(with_arguments(b"{}", &Value::Null), Err(NotAMessage));
    }

    #[test]
    fn the_extension_is_added_to_the_servers_own() {
        let said = serde_json::json!({"version": 1});
        for (body, told) in [
            (
                r#"{"id":1,"result":{"capabilities":{"tools":{},"extensions":{"x":{ }}},"n":1.50}}"#,
                r#"{"id":1,"result":{"capabilities":{"tools":{},"extensions":{"x":{ },"dev.portcullis/sealed-fields":{"version":1}}},"n":1.50}}"#,
            ),
            (
                r#"{"id":1,"result":{}}"#,
                r#"{"id":1,"result":{"capabilities":{"extensions":{"dev.portcullis/sealed-fields":{"version":1}}}}}"#,
            ),
            (r#"{"id":1,"error":{}}"#, r#"{"id":1,"error":{}}"#),
        ] {
            assert_eq!(
                String::from_utf8(announce(body.as_bytes(), &said).unwrap()).unwrap(),
                told
            );
        }
        assert_eq!(announce(b"[]", &said), Err(InvalidList::NotJson));
        assert_eq!(
            announce(br#"{"result":{},"Result":{}}"#, &said),
            Err(InvalidList::Ambiguous)
        );
    }
}
