//! What callers of the guarded server may do.

use std::fmt;
use std::path::PathBuf;

use portcullis_core::ids::{Scope, ScopeSet, ServerName, ToolName};
use portcullis_core::policy::{Effect, Policy, Rules, ServerRules, ToolRule};

use super::builder::kept;

/// What callers may do. Without more, every tool is irreversible: a call needs the scope `{server}:irreversible`.
#[derive(Clone, Debug)]
#[must_use = "rules that nobody has judge nothing"]
pub struct ToolRules {
    tools: Vec<(String, Effect, Option<String>)>,
    unlisted: Effect,
    implies: Vec<(String, String)>,
    cedar: Vec<(String, String)>,
    cedar_files: Vec<PathBuf>,
}

impl ToolRules {
    /// Every tool is irreversible.
    #[expect(clippy::new_without_default, reason = "what grants has no default")]
    pub fn new() -> Self {
        Self {
            tools: Vec::new(),
            unlisted: Effect::Irreversible,
            implies: Vec::new(),
            cedar: Vec::new(),
            cedar_files: Vec::new(),
        }
    }

    /// What a tool does. A call of it needs the scope `{server}:{effect}`, or one above it: irreversible is above write, write above
    /// read.
    pub fn tool(mut self, name: &str, effect: Effect) -> Self {
        self.tools.push((name.to_owned(), effect, None));
        self
    }

    /// What a tool does, and the scopes (space-delimited) all of which a call of it needs instead.
    pub fn tool_with_scopes(mut self, name: &str, effect: Effect, scopes: &str) -> Self {
        self.tools
            .push((name.to_owned(), effect, Some(scopes.to_owned())));
        self
    }

    /// What tools do that are not named here: irreversible, unless it is said.
    pub fn unlisted_tools(mut self, effect: Effect) -> Self {
        self.unlisted = effect;
        self
    }

    /// Whoever holds the first scope holds the second one.
    pub fn implies(mut self, scope: &str, implied: &str) -> Self {
        self.implies.push((scope.to_owned(), implied.to_owned()));
        self
    }

    /// Rules finer than scopes, in Cedar (`docs/policy.md`); `name` is for messages and records.
    pub fn cedar(mut self, name: &str, rules: &str) -> Self {
        self.cedar.push((name.to_owned(), rules.to_owned()));
        self
    }

    /// The same, from a file, which is read when the rules are put in place.
    pub fn cedar_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.cedar_files.push(file.into());
        self
    }

    /// The policy of a server, or every problem in words.
    pub(super) fn policy(&self, server: &ServerName, problems: &mut Vec<String>) -> Option<Policy> {
        let before = problems.len();
        let mut tools = Vec::new();
        for (name, effect, scopes) in &self.tools {
            let of = |error: &dyn fmt::Display| format!("tool `{name}`: {error}");
            let scopes = scopes.as_deref().map(ScopeSet::parse).transpose();
            let scopes = kept(scopes.map_err(|error| of(&error)), problems).flatten();
            if let Some(name) = kept(ToolName::parse(name).map_err(|error| of(&error)), problems) {
                tools.push(ToolRule {
                    name,
                    effect: *effect,
                    scopes,
                });
            }
        }
        let mut implies = Vec::new();
        for (scope, implied) in &self.implies {
            let [scope, implied] = [scope, implied].map(|text| {
                kept(
                    Scope::parse(text).map_err(|error| format!("`{text}`: {error}")),
                    problems,
                )
            });
            implies.extend(scope.zip(implied));
        }
        let mut cedar = self.cedar.clone();
        for file in &self.cedar_files {
            let name = file.display().to_string();
            let text =
                std::fs::read_to_string(file).map_err(|error| format!("{name} cannot be read: {error}"));
            cedar.extend(kept(text, problems).map(|text| (name, text)));
        }
        if problems.len() > before {
            return None;
        }
        let rules = Rules {
            servers: vec![ServerRules {
                name: server.clone(),
                unlisted: self.unlisted,
                tools,
            }],
            implies,
            cedar,
        };
        match Policy::compile(&rules) {
            Ok(policy) => Some(policy),
            Err(errors) => {
                problems.extend(errors.into_iter().map(|error| {
                    let file = error.file.map(|file| format!("{file}: ")).unwrap_or_default();
                    let hint = error.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                    format!("{file}{}{hint}", error.message)
                }));
                None
            }
        }
    }
}
