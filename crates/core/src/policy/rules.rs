//! What the operator says about servers, tools and scopes.

use crate::ids::{Scope, ScopeSet, ServerName, ToolName};

/// What a tool does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Looks.
    Read,
    /// Changes, and the change can be undone.
    Write,
    /// Cannot be undone.
    Irreversible,
}

impl Effect {
    /// All of them, from narrow to broad.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Irreversible];

    /// `read`, `write` or `irreversible`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Irreversible => "irreversible",
        }
    }

    /// The effect of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effect| effect.as_str() == name)
    }
}

/// One tool.
#[derive(Clone, Debug)]
pub struct ToolRule {
    /// Its name on its server.
    pub name: ToolName,
    /// Its effect.
    pub effect: Effect,
    /// Scopes all of which a call needs; by default the server's scope for the effect, `{server}:{effect}`.
    pub scopes: Option<ScopeSet>,
}

/// One server.
#[derive(Clone, Debug)]
pub struct ServerRules {
    /// Its name.
    pub name: ServerName,
    /// Effect of tools nobody listed. Irreversible unless an operator says otherwise.
    pub unlisted: Effect,
    /// Listed tools.
    pub tools: Vec<ToolRule>,
}

/// Everything policy is compiled from.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The servers.
    pub servers: Vec<ServerRules>,
    /// Extra implications between scopes: holding the first is holding the second. `{s}:irreversible` implies
    /// `{s}:write` implies `{s}:read` always.
    pub implies: Vec<(Scope, Scope)>,
    /// Cedar policy sources by file name, for what is finer. A `permit` there opens calls whatever scopes the caller
    /// holds, unless it asks for `context.scopes` itself; a `forbid` closes calls that scopes would open.
    pub cedar: Vec<(String, String)>,
}

/// What holding one scope opens, for consent pages and documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeDescription {
    /// The scope.
    pub scope: Scope,
    /// The worst effect it opens, by itself or through what it implies.
    pub effect: Effect,
    /// Listed tools it opens by itself (not through what it implies).
    pub tools: Vec<ToolName>,
    /// Whether it also opens tools nobody listed, by itself.
    pub unlisted: bool,
    /// Scopes it implies.
    pub implies: ScopeSet,
}

/// A rule set that does not compile, with every error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PolicyError {
    /// The file, when the error is in one.
    pub file: Option<String>,
    /// Message, lower case, no final period.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl PolicyError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            file: None,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(super) fn of_file(self, file: &str) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..self
        }
    }
}
