//! What came of a request, in the words of the other era.

use serde_json::value::RawValue;

use super::{Ask, Fault, Need, Unreadable, meta, raw, string};
use crate::wire::Method;
use crate::wire::entries::Entries;

/// The error of 2025-11-25 for a resource that there is none of.
const RESOURCE_NOT_FOUND: i64 = -32002;
/// The error of 2025-11-25 for a call that needs the client to open a URL first.
const URL_NEEDED: i64 = -32042;
/// JSON-RPC 2.0 §5.1, which took the former's place.
const INVALID_PARAMS: i64 = -32602;

/// What a modern client hears of a legacy server's error.
#[derive(Debug)]
pub enum ForModern {
    /// This error.
    Error(Fault),
    /// That it is to ask its user first, and then to call again.
    Ask(Vec<Ask>),
}

/// A legacy server's result for a modern client: it says that it is complete, whose server it is, and that nobody keeps it where
/// the revision wants that said.
///
/// # Errors
/// [`Unreadable`].
pub fn for_modern(
    method: &Method,
    result: &RawValue,
    server: Option<&RawValue>,
) -> Result<Box<RawValue>, Unreadable> {
    let mut result = Entries::read(
        result.get(),
        &[
            "resultType",
            "ttlMs",
            "cacheScope",
            "_meta",
            "inputRequests",
            "requestState",
        ],
    )?;
    // A legacy server knows nothing of these, and a client would act on them.
    result.remove("inputRequests");
    result.remove("requestState");
    if is_cacheable(method) {
        fresh(&mut result)?;
    } else {
        result.put("resultType", &"complete")?;
    }
    if let Some(server) = server {
        let text = result.raw("_meta").map_or("{}", RawValue::get);
        let mut about = Entries::read(text, &[meta::SERVER])?;
        about.put(meta::SERVER, &server)?;
        let about = raw(&about)?;
        result.put("_meta", &about)?;
    }
    raw(&result)
}

/// Says that a result is complete, and nobody's but the caller's, for no time at all.
pub(super) fn fresh(result: &mut Entries<'_>) -> Result<(), Unreadable> {
    result.put("resultType", &"complete")?;
    result.put("ttlMs", &0)?;
    result.put("cacheScope", &"private")?;
    Ok(())
}

/// MCP 2026-07-28, Caching.
fn is_cacheable(method: &Method) -> bool {
    match method {
        Method::Discover
        | Method::ToolsList
        | Method::PromptsList
        | Method::ResourcesList
        | Method::ResourcesTemplatesList
        | Method::ResourcesRead => true,
        Method::Initialize
        | Method::Ping
        | Method::ToolsCall
        | Method::ResourcesSubscribe
        | Method::ResourcesUnsubscribe
        | Method::PromptsGet
        | Method::Complete
        | Method::LoggingSetLevel
        | Method::SubscriptionsListen
        | Method::TasksGet
        | Method::TasksUpdate
        | Method::TasksCancel
        | Method::Notification(_)
        | Method::Response
        | Method::OpenStream
        | Method::EndSession
        | Method::Other(_) => false,
    }
}

impl ForModern {
    /// Of a legacy server's error.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn of(error: Fault) -> Result<Self, Unreadable> {
        match error.code {
            RESOURCE_NOT_FOUND => {
                let mut json = Entries::read(error.json.get(), &["code"])?;
                json.put("code", &INVALID_PARAMS)?;
                Ok(Self::Error(Fault {
                    code: INVALID_PARAMS,
                    json: raw(&json)?,
                }))
            }
            URL_NEEDED => Ok(Self::Ask(urls(&error)?)),
            _ => Ok(Self::Error(error)),
        }
    }
}

/// The URLs that a client is to open: `error.data.elicitations`, each the parameters of an elicitation.
fn urls(error: &Fault) -> Result<Vec<Ask>, Unreadable> {
    let json = Entries::read(error.json.get(), &["data"])?;
    let data = Entries::read(json.raw("data").map_or("{}", RawValue::get), &["elicitations"])?;
    let elicitations = data.raw("elicitations").ok_or(Unreadable)?;
    let elicitations: Vec<&RawValue> = serde_json::from_str(elicitations.get())?;
    let ask = |(number, params): (usize, &&RawValue)| Ask {
        key: format!("url-{number}"),
        need: Need::Elicitation,
        params: Some((**params).to_owned()),
    };
    let asks: Vec<Ask> = elicitations.iter().enumerate().map(ask).collect();
    if asks.is_empty() {
        Err(Unreadable)
    } else {
        Ok(asks)
    }
}

/// What a modern server's result says.
#[derive(Debug)]
pub enum Needed {
    /// It is complete: what a legacy client gets of it.
    Nothing(Box<RawValue>),
    /// It is to be asked for again, with answers and a state.
    Input {
        /// The questions; none where the state alone is to be brought back.
        asks: Vec<Ask>,
        /// What is to be brought back as it is.
        state: Option<Box<RawValue>>,
    },
}

/// A modern server's result for a legacy client.
///
/// # Errors
/// [`Unreadable`]: also for a kind of result that nobody agreed on.
pub fn for_legacy(result: &RawValue) -> Result<Needed, Unreadable> {
    let mut result = Entries::read(
        result.get(),
        &[
            "resultType",
            "ttlMs",
            "cacheScope",
            "inputRequests",
            "requestState",
        ],
    )?;
    let kind = result
        .raw("resultType")
        .map(|kind| string(kind).ok_or(Unreadable));
    match kind.transpose()?.as_deref() {
        None | Some("complete") => {
            for name in ["resultType", "ttlMs", "cacheScope"] {
                result.remove(name);
            }
            Ok(Needed::Nothing(raw(&result)?))
        }
        Some("input_required") => {
            let asks = result.raw("inputRequests").map(Ask::read_all).transpose()?;
            let state = result.raw("requestState").map(ToOwned::to_owned);
            if asks.is_none() && state.is_none() {
                return Err(Unreadable);
            }
            Ok(Needed::Input {
                asks: asks.unwrap_or_default(),
                state,
            })
        }
        Some(_) => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_legacy_result_becomes_complete_and_private() {
        let server = json(r#"{"name":"s"}"#);
        let result = json(
            r#"{"content":[{"n":1.50}],"resultType":"input_required","requestState":"x","_meta":{"k":1}}"#,
        );
        assert_eq!(
            for_modern(&Method::ToolsCall, &result, Some(&server))
                .unwrap()
                .get(),
            r#"{"content":[{"n":1.50}],"resultType":"complete","_meta":{"k":1,"io.modelcontextprotocol/serverInfo":{"name":"s"}}}"#
        );
        assert_eq!(
            for_modern(
                &Method::ToolsList,
                &json(r#"{"tools":[],"cacheScope":"public","ttlMs":9}"#),
                None
            )
            .unwrap()
            .get(),
            r#"{"tools":[],"cacheScope":"private","ttlMs":0,"resultType":"complete"}"#
        );
        assert!(for_modern(&Method::ToolsCall, &json("[]"), None).is_err());
    }

    #[test]
    fn errors_of_the_former_revisions_are_translated() {
        let of = |text: &str| ForModern::of(Fault::read(&json(text)).unwrap());
        assert!(matches!(
            of(r#"{"code":-32002,"message":"gone","data":{"uri":"x"}}"#),
            Ok(ForModern::Error(error)) if error.code == -32602
                && error.json.get() == r#"{"code":-32602,"message":"gone","data":{"uri":"x"}}"#
        ));
        assert!(
            matches!(of(r#"{"code":-32000,"message":"x"}"#), Ok(ForModern::Error(error)) if error.code == -32000)
        );
        let asks = of(
            r#"{"code":-32042,"message":"open","data":{"elicitations":[{"mode":"url","url":"https://a.example","elicitationId":"e","message":"m"}]}}"#,
        );
        let Ok(ForModern::Ask(asks)) = asks else {
            panic!("{asks:?}")
        };
        assert_eq!(asks[0].key, "url-0");
        assert!(
            asks[0]
                .params
                .as_ref()
                .unwrap()
                .get()
                .contains("https://a.example")
        );
        assert!(of(r#"{"code":-32042,"message":"x","data":{"elicitations":[]}}"#).is_err());
        assert!(of(r#"{"code":-32042,"message":"x"}"#).is_err());
    }

    #[test]
    fn a_modern_result_is_complete_or_wants_input_and_nothing_else() {
        let complete = for_legacy(&json(
            r#"{"resultType":"complete","tools":[],"ttlMs":5,"cacheScope":"public"}"#,
        ));
        assert!(matches!(complete, Ok(Needed::Nothing(result)) if result.get() == r#"{"tools":[]}"#));
        assert!(matches!(for_legacy(&json(r#"{"a":1}"#)), Ok(Needed::Nothing(_))));
        let input = for_legacy(&json(
            r#"{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}},"requestState":"s"}"#,
        ));
        assert!(matches!(input, Ok(Needed::Input { asks, state: Some(_) }) if asks.len() == 1));
        assert!(matches!(
            for_legacy(&json(r#"{"resultType":"input_required","requestState":"s"}"#)),
            Ok(Needed::Input { asks, state: Some(_) }) if asks.is_empty()
        ));
        for wrong in [
            r#"{"resultType":"input_required"}"#,
            r#"{"resultType":"task","task":{}}"#,
            r#"{"resultType":7}"#,
            r#"{"resultType":"complete","resulttype":"task"}"#,
        ] {
            assert!(for_legacy(&json(wrong)).is_err(), "{wrong}");
        }
    }
}
