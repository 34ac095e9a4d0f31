//! The protocol's methods, as far as a decision distinguishes them.

use crate::ids::ToolName;

/// Which protocol era a message speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2026-07-28 and later: stateless, per-request `_meta`.
    Modern,
    /// Up to 2025-11-25: `initialize` and sessions.
    Legacy,
}

/// The method, as an exhaustive list of what policy distinguishes. A method is known only in the eras that have
/// it: `initialize` in a stateless message is [`Method::Other`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `initialize`, legacy.
    Initialize,
    /// `ping`, legacy.
    Ping,
    /// `server/discover`, modern.
    Discover,
    /// `tools/list`.
    ToolsList,
    /// `tools/call`.
    ToolsCall,
    /// `resources/list`.
    ResourcesList,
    /// `resources/templates/list`.
    ResourcesTemplatesList,
    /// `resources/read`.
    ResourcesRead,
    /// `resources/subscribe`, legacy.
    ResourcesSubscribe,
    /// `resources/unsubscribe`, legacy.
    ResourcesUnsubscribe,
    /// `prompts/list`.
    PromptsList,
    /// `prompts/get`.
    PromptsGet,
    /// `completion/complete`.
    Complete,
    /// `logging/setLevel`, legacy.
    LoggingSetLevel,
    /// `subscriptions/listen`, modern.
    SubscriptionsListen,
    /// `tasks/get`.
    TasksGet,
    /// `tasks/update`.
    TasksUpdate,
    /// `tasks/cancel`.
    TasksCancel,
    /// Any `notifications/…`, by its full name.
    Notification(Box<str>),
    /// A legacy client's answer to a server's request.
    Response,
    /// GET of a legacy session.
    OpenStream,
    /// DELETE of a legacy session.
    EndSession,
    /// A method this version does not know in this era: denied.
    Other(Box<str>),
}

impl Method {
    /// The method of this name in this era.
    pub(super) fn named(name: &str, era: Era) -> Self {
        match (name, era) {
            ("initialize", Era::Legacy) => Self::Initialize,
            ("ping", Era::Legacy) => Self::Ping,
            ("logging/setLevel", Era::Legacy) => Self::LoggingSetLevel,
            ("resources/subscribe", Era::Legacy) => Self::ResourcesSubscribe,
            ("resources/unsubscribe", Era::Legacy) => Self::ResourcesUnsubscribe,
            ("server/discover", Era::Modern) => Self::Discover,
            ("subscriptions/listen", Era::Modern) => Self::SubscriptionsListen,
            ("tools/list", _) => Self::ToolsList,
            ("tools/call", _) => Self::ToolsCall,
            ("resources/list", _) => Self::ResourcesList,
            ("resources/templates/list", _) => Self::ResourcesTemplatesList,
            ("resources/read", _) => Self::ResourcesRead,
            ("prompts/list", _) => Self::PromptsList,
            ("prompts/get", _) => Self::PromptsGet,
            ("completion/complete", _) => Self::Complete,
            ("tasks/get", _) => Self::TasksGet,
            ("tasks/update", _) => Self::TasksUpdate,
            ("tasks/cancel", _) => Self::TasksCancel,
            (other, _) if other.starts_with("notifications/") => Self::Notification(other.into()),
            (other, _) => Self::Other(other.into()),
        }
    }

    /// The name as the protocol spells it; for what is no JSON-RPC method, `response`, `GET` or `DELETE`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Initialize => "initialize",
            Self::Ping => "ping",
            Self::Discover => "server/discover",
            Self::ToolsList => "tools/list",
            Self::ToolsCall => "tools/call",
            Self::ResourcesList => "resources/list",
            Self::ResourcesTemplatesList => "resources/templates/list",
            Self::ResourcesRead => "resources/read",
            Self::ResourcesSubscribe => "resources/subscribe",
            Self::ResourcesUnsubscribe => "resources/unsubscribe",
            Self::PromptsList => "prompts/list",
            Self::PromptsGet => "prompts/get",
            Self::Complete => "completion/complete",
            Self::LoggingSetLevel => "logging/setLevel",
            Self::SubscriptionsListen => "subscriptions/listen",
            Self::TasksGet => "tasks/get",
            Self::TasksUpdate => "tasks/update",
            Self::TasksCancel => "tasks/cancel",
            Self::Notification(name) | Self::Other(name) => name,
            Self::Response => "response",
            Self::OpenStream => "GET",
            Self::EndSession => "DELETE",
        }
    }

    /// The member of `params` that says what the method is aimed at, and that `Mcp-Name` mirrors.
    pub(super) fn aim(&self) -> Option<Aim> {
        match self {
            Self::ToolsCall => Some(Aim::Tool),
            Self::PromptsGet => Some(Aim::Prompt),
            Self::ResourcesRead | Self::ResourcesSubscribe | Self::ResourcesUnsubscribe => {
                Some(Aim::Resource)
            }
            Self::TasksGet | Self::TasksUpdate | Self::TasksCancel => Some(Aim::Task),
            Self::Initialize
            | Self::Ping
            | Self::Discover
            | Self::ToolsList
            | Self::ResourcesList
            | Self::ResourcesTemplatesList
            | Self::PromptsList
            | Self::Complete
            | Self::LoggingSetLevel
            | Self::SubscriptionsListen
            | Self::Notification(_)
            | Self::Response
            | Self::OpenStream
            | Self::EndSession
            | Self::Other(_) => None,
        }
    }
}

/// What kind of thing a method is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    Tool,
    Prompt,
    Resource,
    Task,
}

impl Aim {
    /// The member of `params` that names it.
    pub(super) const fn member(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "name",
            Self::Resource => "uri",
            Self::Task => "taskId",
        }
    }
}

/// What a call is aimed at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `tools/call`: `params.name`.
    Tool(ToolName),
    /// `prompts/get`: `params.name`.
    Prompt(Box<str>),
    /// `resources/read` and (un)subscribe: `params.uri`.
    Resource(Box<str>),
    /// `tasks/*`: `params.taskId`.
    Task(Box<str>),
}

impl Target {
    /// The name, URI or id, byte for byte.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tool(name) => name.as_str(),
            Self::Prompt(text) | Self::Resource(text) | Self::Task(text) => text,
        }
    }
}
