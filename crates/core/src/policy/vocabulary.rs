//! The words of a decision: what a method asks for, and what things are called in Cedar.

use std::str::FromStr as _;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};

use super::rules::{Effect, PolicyError};
use crate::identity::VerifiedIdentity;
use crate::ids::ServerName;
use crate::wire::Method;

/// What a call asks to do: the Cedar action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verb {
    /// Speak to the server at all: handshake, lists, its own session.
    Use,
    /// Hear of changes.
    Listen,
    /// Call a tool.
    CallTool,
    /// Get a prompt.
    GetPrompt,
    /// Read or follow a resource.
    ReadResource,
    /// Ask how a task is doing.
    ReadTask,
    /// Answer or cancel a task.
    ChangeTask,
}

impl Verb {
    pub(super) const ALL: [Self; 7] = [
        Self::Use,
        Self::Listen,
        Self::CallTool,
        Self::GetPrompt,
        Self::ReadResource,
        Self::ReadTask,
        Self::ChangeTask,
    ];

    /// What the method asks for; nothing for a method we do not know, which is denied.
    pub(super) fn of(method: &Method) -> Option<Self> {
        match method {
            Method::Initialize
            | Method::Ping
            | Method::Discover
            | Method::ToolsList
            | Method::ResourcesList
            | Method::ResourcesTemplatesList
            | Method::PromptsList
            | Method::Complete
            | Method::LoggingSetLevel
            | Method::Notification(_)
            | Method::Response
            | Method::OpenStream
            | Method::EndSession => Some(Self::Use),
            Method::SubscriptionsListen => Some(Self::Listen),
            Method::ToolsCall => Some(Self::CallTool),
            Method::PromptsGet => Some(Self::GetPrompt),
            Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                Some(Self::ReadResource)
            }
            Method::TasksGet => Some(Self::ReadTask),
            Method::TasksUpdate | Method::TasksCancel => Some(Self::ChangeTask),
            Method::Other(_) => None,
        }
    }

    /// The id of the Cedar action.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Use => "use",
            Self::Listen => "listen",
            Self::CallTool => "call_tool",
            Self::GetPrompt => "get_prompt",
            Self::ReadResource => "read_resource",
            Self::ReadTask => "read_task",
            Self::ChangeTask => "change_task",
        }
    }

    /// What it does to the world, where the tool does not say.
    pub(super) const fn effect(self) -> Effect {
        match self {
            Self::Use | Self::Listen | Self::GetPrompt | Self::ReadResource | Self::ReadTask => Effect::Read,
            Self::ChangeTask => Effect::Write,
            Self::CallTool => Effect::Irreversible,
        }
    }
}

/// The Cedar types of things, parsed once.
#[derive(Debug)]
pub(super) struct Vocabulary {
    action: EntityTypeName,
    agent: EntityTypeName,
    user: EntityTypeName,
    issuer: EntityTypeName,
    server: EntityTypeName,
    effect: EntityTypeName,
    scope: EntityTypeName,
    tool: EntityTypeName,
    prompt: EntityTypeName,
    resource: EntityTypeName,
    task: EntityTypeName,
}

impl Vocabulary {
    pub(super) fn new() -> Result<Self, PolicyError> {
        let name = |text: &str| {
            EntityTypeName::from_str(text)
                .map_err(|error| PolicyError::new(format!("type `{text}`: {error}")))
        };
        Ok(Self {
            action: name("Action")?,
            agent: name("Agent")?,
            user: name("User")?,
            issuer: name("Issuer")?,
            server: name("Server")?,
            effect: name("Effect")?,
            scope: name("Scope")?,
            tool: name("Tool")?,
            prompt: name("Prompt")?,
            resource: name("Resource")?,
            task: name("Task")?,
        })
    }

    pub(super) fn action(&self, verb: Verb) -> EntityUid {
        uid(&self.action, verb.as_str())
    }

    /// `Agent::"{issuer}#{client}"`: a client identifier means something within its issuer only, and no issuer
    /// has a `#` (RFC 8414 §2), so no two pairs are spelled alike.
    pub(super) fn agent(&self, who: &VerifiedIdentity) -> EntityUid {
        uid(&self.agent, &format!("{}#{}", who.issuer(), who.client()))
    }

    /// `User::"{issuer}#{subject}"`, when the agent acts for somebody.
    pub(super) fn user(&self, who: &VerifiedIdentity) -> Option<EntityUid> {
        (!who.is_client_itself()).then(|| uid(&self.user, &format!("{}#{}", who.issuer(), who.subject())))
    }

    pub(super) fn issuer(&self, who: &VerifiedIdentity) -> EntityUid {
        uid(&self.issuer, who.issuer().as_str())
    }

    pub(super) fn server(&self, server: &ServerName) -> EntityUid {
        uid(&self.server, server.as_str())
    }

    pub(super) fn effect(&self, effect: Effect) -> EntityUid {
        uid(&self.effect, effect.as_str())
    }

    /// The group of tools that one scope opens by default.
    pub(super) fn scope(&self, scope: &str) -> EntityUid {
        uid(&self.scope, scope)
    }

    pub(super) fn tool(&self, server: &ServerName, name: &str) -> EntityUid {
        within(&self.tool, server, name)
    }

    /// What a call of this verb is aimed at; the server itself where it has no target.
    pub(super) fn target(&self, verb: Verb, server: &ServerName, name: &str) -> EntityUid {
        match verb {
            Verb::Use | Verb::Listen => self.server(server),
            Verb::CallTool => self.tool(server, name),
            Verb::GetPrompt => within(&self.prompt, server, name),
            Verb::ReadResource => within(&self.resource, server, name),
            Verb::ReadTask | Verb::ChangeTask => within(&self.task, server, name),
        }
    }

    /// The server that an entity named in a rule belongs to, if its type says so.
    pub(super) fn server_of<'u>(&self, uid: &'u EntityUid) -> Option<&'u str> {
        let id = uid.id().unescaped();
        let kind = uid.type_name();
        if *kind == self.server {
            return Some(id);
        }
        [&self.tool, &self.prompt, &self.resource, &self.task]
            .contains(&kind)
            .then(|| id.split_once('/').map_or(id, |(server, _)| server))
    }

    /// Whether a rule names an effect that there is none.
    pub(super) fn is_unknown_effect(&self, uid: &EntityUid) -> bool {
        *uid.type_name() == self.effect && !Effect::ALL.iter().any(|effect| *uid == self.effect(*effect))
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// Names on different servers are different things: `{server}/{name}`, and no server name has a `/`.
fn within(kind: &EntityTypeName, server: &ServerName, name: &str) -> EntityUid {
    uid(kind, &format!("{server}/{name}"))
}
