//! What a server says by itself: progress, log messages, and that something changed.

use serde_json::value::RawValue;

use super::{LogLevel, Unreadable, meta, raw, string};
use crate::wire::entries::Entries;

/// Most resources that one stream may be about.
const RESOURCES: usize = 256;

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `notifications/tools/list_changed`
    Tools,
    /// `notifications/prompts/list_changed`
    Prompts,
    /// `notifications/resources/list_changed`
    Resources,
    /// `notifications/resources/updated`, of this URI.
    Resource(String),
}

impl Change {
    /// What a notification tells of.
    #[must_use]
    pub fn of(method: &str, params: Option<&RawValue>) -> Option<Self> {
        match method {
            "notifications/tools/list_changed" => Some(Self::Tools),
            "notifications/prompts/list_changed" => Some(Self::Prompts),
            "notifications/resources/list_changed" => Some(Self::Resources),
            "notifications/resources/updated" => {
                let params = Entries::read(params?.get(), &["uri"]).ok()?;
                Some(Self::Resource(string(params.raw("uri")?)?))
            }
            _ => None,
        }
    }

    /// Its method.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
            Self::Resource(_) => "notifications/resources/updated",
        }
    }
}

/// Of what a client wants to hear: the filter of `subscriptions/listen`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `toolsListChanged`
    pub tools: bool,
    /// `promptsListChanged`
    pub prompts: bool,
    /// `resourcesListChanged`
    pub resources: bool,
    /// `resourceSubscriptions`
    pub uris: Vec<String>,
}

impl Filter {
    /// Reads the `notifications` of `subscriptions/listen`.
    ///
    /// # Errors
    /// [`Unreadable`]: also for more resources than one stream may be about.
    pub fn read(notifications: Option<&RawValue>) -> Result<Self, Unreadable> {
        let names = [
            "toolsListChanged",
            "promptsListChanged",
            "resourcesListChanged",
            "resourceSubscriptions",
        ];
        let filter = Entries::read(notifications.ok_or(Unreadable)?.get(), &names)?;
        let flag = |name: &str| match filter.raw(name).map(RawValue::get) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Unreadable),
        };
        let mut uris: Vec<String> = match filter.raw("resourceSubscriptions") {
            Some(uris) => serde_json::from_str(uris.get())?,
            None => Vec::new(),
        };
        uris.sort_unstable();
        uris.dedup();
        if uris.len() > RESOURCES {
            return Err(Unreadable);
        }
        Ok(Self {
            tools: flag("toolsListChanged")?,
            prompts: flag("promptsListChanged")?,
            resources: flag("resourcesListChanged")?,
            uris,
        })
    }

    /// Whether a change is one of those.
    #[must_use]
    pub fn wants(&self, change: &Change) -> bool {
        match change {
            Change::Tools => self.tools,
            Change::Prompts => self.prompts,
            Change::Resources => self.resources,
            Change::Resource(uri) => self.uris.binary_search(uri).is_ok(),
        }
    }

    /// Whether it is about nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The parameters of the acknowledgement, or what a request adds to its own: `notifications`, and nothing that is not wanted.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn params(&self, base: Option<&RawValue>) -> Result<Box<RawValue>, Unreadable> {
        let mut notifications = Entries::read("{}", &[])?;
        for (name, wanted) in [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ] {
            if wanted {
                notifications.put(name, &true)?;
            }
        }
        if !self.uris.is_empty() {
            notifications.put("resourceSubscriptions", &self.uris)?;
        }
        let mut params = Entries::read(base.map_or("{}", RawValue::get), &["notifications"])?;
        params.put("notifications", &notifications)?;
        raw(&params)
    }
}

/// A notification's parameters, naming the `subscriptions/listen` that they are for.
///
/// # Errors
/// [`Unreadable`].
pub fn stamped(params: Option<&RawValue>, listening: &RawValue) -> Result<Box<RawValue>, Unreadable> {
    let mut params = Entries::read(params.map_or("{}", RawValue::get), &["_meta"])?;
    let mut about = Entries::read(
        params.raw("_meta").map_or("{}", RawValue::get),
        &[meta::SUBSCRIPTION],
    )?;
    about.put(meta::SUBSCRIPTION, &listening)?;
    params.put("_meta", &about)?;
    raw(&params)
}

/// A notification's parameters without the `subscriptions/listen` that they name.
///
/// # Errors
/// [`Unreadable`].
pub fn unstamped(params: &RawValue) -> Result<Box<RawValue>, Unreadable> {
    let mut params = Entries::read(params.get(), &["_meta"])?;
    let Some(about) = params.raw("_meta") else {
        return raw(&params);
    };
    let mut about = Entries::read(about.get(), &[meta::SUBSCRIPTION])?;
    about.remove(meta::SUBSCRIPTION);
    if about.is_empty() {
        params.remove("_meta");
    } else {
        params.put("_meta", &about)?;
    }
    raw(&params)
}

/// What `notifications/progress` is about.
#[must_use]
pub fn progress_token(params: &RawValue) -> Option<Box<RawValue>> {
    let params = Entries::read(params.get(), &["progressToken"]).ok()?;
    params.raw("progressToken").map(ToOwned::to_owned)
}

/// The parameters of `notifications/progress` under another token.
///
/// # Errors
/// [`Unreadable`].
pub fn with_progress_token(params: &RawValue, token: &RawValue) -> Result<Box<RawValue>, Unreadable> {
    let mut params = Entries::read(params.get(), &["progressToken"])?;
    params.put("progressToken", &token)?;
    raw(&params)
}

/// How grave a `notifications/message` is; nothing when it does not say.
#[must_use]
pub fn log_level(params: &RawValue) -> Option<LogLevel> {
    let params = Entries::read(params.get(), &["level"]).ok()?;
    LogLevel::parse(&string(params.raw("level")?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_filter_wants_what_it_says_and_nothing_else() {
        let filter = Filter::read(Some(&json(
            r#"{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["b","a","b"]}"#,
        )))
        .unwrap();
        assert!(filter.wants(&Change::Tools) && filter.wants(&Change::Resource("a".to_owned())));
        assert!(!filter.wants(&Change::Prompts) && !filter.wants(&Change::Resources));
        assert!(!filter.wants(&Change::Resource("c".to_owned())));
        assert_eq!(
            filter.params(Some(&json(r#"{"_meta":{}}"#))).unwrap().get(),
            r#"{"_meta":{},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a","b"]}}"#
        );
        assert!(Filter::read(Some(&json("{}"))).unwrap().is_empty());
        for wrong in [
            r#"{"toolsListChanged":1}"#,
            r#"{"resourceSubscriptions":{}}"#,
            "[]",
        ] {
            assert!(Filter::read(Some(&json(wrong))).is_err(), "{wrong}");
        }
        assert!(Filter::read(None).is_err());
    }

    #[test]
    fn resources_at_the_limit_and_one_past_it() {
        let with = |count: usize| {
            let uris: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            let filter = serde_json::json!({ "resourceSubscriptions": uris }).to_string();
            Filter::read(Some(&json(&filter))).map(|filter| filter.uris.len())
        };
        assert_eq!(with(RESOURCES), Ok(RESOURCES));
        assert_eq!(with(RESOURCES + 1), Err(Unreadable));
    }

    #[test]
    fn changes_are_stamped_and_the_stamp_is_taken_off() {
        let updated = json(r#"{"uri":"u","_meta":{"k":1}}"#);
        assert_eq!(
            Change::of("notifications/resources/updated", Some(&updated)),
            Some(Change::Resource("u".to_owned()))
        );
        let with = stamped(Some(&updated), &json("\"l\"")).unwrap();
        assert_eq!(
            with.get(),
            r#"{"uri":"u","_meta":{"k":1,"io.modelcontextprotocol/subscriptionId":"l"}}"#
        );
        assert_eq!(unstamped(&with).unwrap().get(), updated.get());
        let alone = stamped(None, &json("1")).unwrap();
        assert_eq!(unstamped(&alone).unwrap().get(), "{}");
    }

    #[test]
    fn progress_and_log_messages() {
        let progress = json(r#"{"progressToken":7,"progress":0.50}"#);
        assert_eq!(progress_token(&progress).unwrap().get(), "7");
        assert_eq!(
            with_progress_token(&progress, &json("\"p\"")).unwrap().get(),
            r#"{"progressToken":"p","progress":0.50}"#
        );
        assert_eq!(
            log_level(&json(r#"{"level":"error","data":1}"#)),
            Some(LogLevel::Error)
        );
        assert_eq!(log_level(&json(r#"{"data":1}"#)), None);
    }
}
