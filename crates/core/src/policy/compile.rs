//! From rules to a compiled policy: generated rules, the operator's rules, and the index over both.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::str::FromStr as _;
use std::sync::Arc;

use cedar_policy::{EntityUid, Policy as CedarPolicy, PolicyId, PolicySet, ValidationMode, Validator};
use miette::Diagnostic;

use super::arguments;
use super::index::{Author, Index, Layer};
use super::rules::{Effect, PolicyError, Rules, ScopeDescription, ServerRules, ToolRule};
use super::schema;
use super::scopes::{self, Hierarchy, scope_for};
use super::vocabulary::{Verb, Vocabulary};
use crate::ids::{ScopeSet, ServerName, ToolName};

/// All that a decision looks up.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) vocabulary: Vocabulary,
    pub(super) hierarchy: Hierarchy,
    pub(super) index: Index,
    pub(super) servers: HashMap<ServerName, Server>,
}

/// One server, ready to decide on.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) tools: HashMap<ToolName, Slot>,
    pub(super) unlisted: Slot,
    pub(super) verbs: HashMap<Verb, Slot>,
    pub(super) basic: ScopeSet,
    pub(super) scopes: Vec<ScopeDescription>,
}

/// What is known in advance about a call of one kind.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) effect: Effect,
    /// Whether the operator named the tool.
    pub(super) listed: bool,
    /// All scopes that a call needs.
    pub(super) needed: Arc<ScopeSet>,
    /// The groups that the resource is in.
    pub(super) groups: Vec<EntityUid>,
    /// The rules that can match it.
    pub(super) layers: Vec<Arc<Layer>>,
    /// Whether rules that name the resource itself may be missing there, since nobody listed it.
    pub(super) open: bool,
}

impl Compiled {
    /// Compiles; every error at once.
    pub(super) fn build(rules: &Rules) -> Result<Self, Vec<PolicyError>> {
        let vocabulary = Vocabulary::new().map_err(|error| vec![error])?;
        let mut errors = Vec::new();
        named_once(rules, &mut errors);
        let hierarchy = Hierarchy::build(rules, &mut errors);
        let mut policies = Vec::new();
        for server in &rules.servers {
            generate(server, &vocabulary, &mut policies, &mut errors);
        }
        let names: BTreeSet<&str> = rules.servers.iter().map(|server| server.name.as_str()).collect();
        let mut files = BTreeSet::new();
        for (file, text) in &rules.cedar {
            if files.insert(file) {
                let written = operators_rules(file, text, &names, &vocabulary, &mut errors);
                policies.extend(written.into_iter().map(|policy| (policy, Author::Operator)));
            } else {
                errors.push(PolicyError::new("the file is given twice").of_file(file));
            }
        }
        let index = Index::build(
            policies.iter().map(|(policy, author)| (policy, *author)),
            &vocabulary,
            &mut errors,
        );
        let mut servers = HashMap::new();
        for server in &rules.servers {
            match Server::build(server, &vocabulary, &index, &hierarchy) {
                Ok(built) => drop(servers.insert(server.name.clone(), built)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(Self {
                vocabulary,
                hierarchy,
                index,
                servers,
            })
        } else {
            Err(errors)
        }
    }
}

fn named_once(rules: &Rules, errors: &mut Vec<PolicyError>) {
    let mut servers = BTreeSet::new();
    for server in &rules.servers {
        let name = &server.name;
        if !servers.insert(name) {
            errors.push(
                PolicyError::new(format!("server `{name}` is given twice"))
                    .hint("give each server its own name"),
            );
        }
        let mut tools = BTreeSet::new();
        for tool in &server.tools {
            if !tools.insert(&tool.name) {
                errors.push(PolicyError::new(format!(
                    "tool `{}` of server `{name}` is listed twice",
                    tool.name
                )));
            }
            if tool.scopes.as_ref().is_some_and(ScopeSet::is_empty) {
                errors.push(
                    PolicyError::new(format!(
                        "tool `{}` of server `{name}` has an empty list of scopes",
                        tool.name
                    ))
                    .hint("leave `scopes` out for the default, or name at least one"),
                );
            }
        }
    }
}

/// What scopes open on one server.
fn generate(
    server: &ServerRules,
    vocabulary: &Vocabulary,
    policies: &mut Vec<(CedarPolicy, Author)>,
    errors: &mut Vec<PolicyError>,
) {
    let this = vocabulary.server(&server.name);
    let actions = |effect: Effect| {
        let verbs = Verb::ALL
            .into_iter()
            .filter(|verb| *verb != Verb::CallTool && verb.effect() == effect);
        verbs
            .map(|verb| vocabulary.action(verb).to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut texts = Vec::new();
    for effect in Effect::ALL {
        let scope = format!("{}:{}", server.name, effect.as_str());
        let holds = format!("when {{ context.scopes.contains(\"{scope}\") }};");
        texts.push((
            format!("scope/{scope}/tools"),
            format!(
                "permit(principal, action == {}, resource in {}) {holds}",
                vocabulary.action(Verb::CallTool),
                vocabulary.scope(&scope),
            ),
        ));
        let actions = actions(effect);
        if !actions.is_empty() {
            texts.push((
                format!("scope/{scope}/server"),
                format!("permit(principal, action in [{actions}], resource in {this}) {holds}"),
            ));
        }
    }
    for tool in &server.tools {
        let Some(scopes) = tool.scopes.as_ref().filter(|scopes| !scopes.is_empty()) else {
            continue;
        };
        // A scope has neither `"` nor `\` (RFC 6749 §3.3), so it is a Cedar string as it stands.
        let scopes = scopes.iter().fold(String::new(), |mut list, scope| {
            let comma = if list.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail; the result carries no information.
            let _ = write!(list, "{comma}\"{scope}\"");
            list
        });
        texts.push((
            format!("tool/{}/{}", server.name, tool.name),
            format!(
                "permit(principal, action == {}, resource == {}) when {{ context.scopes.containsAll([{scopes}]) }};",
                vocabulary.action(Verb::CallTool),
                vocabulary.tool(&server.name, tool.name.as_str()),
            ),
        ));
    }
    for (id, text) in texts {
        match CedarPolicy::parse(Some(PolicyId::new(&id)), text) {
            Ok(policy) => policies.push((policy, Author::Generated)),
            Err(error) => errors.push(PolicyError::new(format!("generated rule `{id}`: {error}"))),
        }
    }
}

/// The rules of one file, each under the id `{file}#{its @id or its place}`.
fn operators_rules(
    file: &str,
    text: &str,
    servers: &BTreeSet<&str>,
    vocabulary: &Vocabulary,
    errors: &mut Vec<PolicyError>,
) -> Vec<CedarPolicy> {
    let set = match PolicySet::from_str(text) {
        Ok(set) => set,
        Err(found) => {
            errors.extend(found.iter().map(|error| described(file, text, error)));
            return Vec::new();
        }
    };
    let mut seen = BTreeSet::new();
    let mut policies = Vec::new();
    errors.extend(
        set.templates()
            .map(|_| PolicyError::new("a template is no rule").of_file(file)),
    );
    // Cedar names the policies of a text `policy0`, `policy1`, …
    let mut parsed: Vec<(usize, &CedarPolicy)> = set
        .policies()
        .map(|policy| {
            (
                policy
                    .id()
                    .to_string()
                    .trim_start_matches("policy")
                    .parse()
                    .unwrap_or(usize::MAX),
                policy,
            )
        })
        .collect();
    parsed.sort_by_key(|(place, _)| *place);
    for (place, policy) in parsed {
        let name = policy
            .annotation("id")
            .map_or_else(|| (place + 1).to_string(), str::to_owned);
        if !seen.insert(name.clone()) {
            errors.push(PolicyError::new(format!("two rules have the id `{name}`")).of_file(file));
            continue;
        }
        let policy = policy.new_id(PolicyId::new(format!("{file}#{name}")));
        if let Err(error) = speaks_of_servers(&policy, servers, vocabulary) {
            errors.push(error.of_file(file));
        }
        match valid(&policy) {
            Ok(found) => errors.extend(found.validation(file, text)),
            Err(error) => errors.push(error.of_file(file)),
        }
        policies.push(policy);
    }
    policies
}

/// A rule that names what is not there would never match, and a `forbid` would forbid nothing.
fn speaks_of_servers(
    policy: &CedarPolicy,
    servers: &BTreeSet<&str>,
    vocabulary: &Vocabulary,
) -> Result<(), PolicyError> {
    for uid in policy.entity_literals() {
        if let Some(server) = vocabulary
            .server_of(&uid)
            .filter(|server| !servers.contains(server))
        {
            return Err(PolicyError::new(format!(
                "rule `{}` names {uid}, but there is no server `{server}`",
                policy.id()
            ))
            .hint("a server is Server::\"NAME\", a tool of it Tool::\"NAME/TOOL\""));
        }
        if vocabulary.is_unknown_effect(&uid) {
            return Err(
                PolicyError::new(format!("rule `{}` names {uid}, which is no effect", policy.id()))
                    .hint("the effects are read, write and irreversible"),
            );
        }
    }
    Ok(())
}

/// A rule checked against the schema.
struct Checked(cedar_policy::ValidationResult);

fn valid(policy: &CedarPolicy) -> Result<Checked, PolicyError> {
    let wrong = |error: &dyn std::fmt::Display| PolicyError::new(format!("rule `{}`: {error}", policy.id()));
    let json = policy.to_json().map_err(|error| wrong(&error))?;
    let validator: Validator = schema::validator(&arguments::typed(&json)).map_err(|error| wrong(&error))?;
    let set = PolicySet::from_policies([policy.clone()]).map_err(|error| wrong(&error))?;
    Ok(Checked(validator.validate(&set, ValidationMode::Strict)))
}

impl Checked {
    /// Warnings count: a rule that can never match does not do what somebody wrote it for.
    fn validation(&self, file: &str, text: &str) -> Vec<PolicyError> {
        let errors = self
            .0
            .validation_errors()
            .map(|error| described(file, text, error));
        errors
            .chain(
                self.0
                    .validation_warnings()
                    .map(|warning| described(file, text, warning)),
            )
            .collect()
    }
}

/// Cedar's message with the line it is about, and its help as our hint.
fn described(file: &str, text: &str, error: &dyn Diagnostic) -> PolicyError {
    let offset = error
        .labels()
        .and_then(|mut labels| labels.next())
        .map(|label| label.offset());
    let line = offset
        .and_then(|offset| text.get(..offset))
        .map(|before| before.matches('\n').count() + 1);
    let at = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    let hint = error.help().map(|help| help.to_string());
    PolicyError {
        hint,
        ..PolicyError::new(format!("{at}{error}")).of_file(file)
    }
}

impl Server {
    fn build(
        rules: &ServerRules,
        vocabulary: &Vocabulary,
        index: &Index,
        hierarchy: &Hierarchy,
    ) -> Result<Self, PolicyError> {
        let name = &rules.name;
        let this = vocabulary.server(name);
        let opened_by = |effect: Effect| -> Result<ScopeSet, PolicyError> {
            Ok(ScopeSet::from_iter([scope_for(name, effect)?]))
        };
        let tool = |effect: Effect, own: Option<&ToolRule>| -> Result<Slot, PolicyError> {
            let mut groups = vec![this.clone(), vocabulary.effect(effect)];
            let needed = match own.and_then(|tool| tool.scopes.clone()) {
                Some(scopes) => scopes,
                None => {
                    let scopes = opened_by(effect)?;
                    groups.extend(scopes.iter().map(|scope| vocabulary.scope(scope.as_str())));
                    scopes
                }
            };
            let itself = own.map(|tool| vocabulary.tool(name, tool.name.as_str()));
            let layers = index.layers(Verb::CallTool, groups.iter().chain(&itself));
            Ok(Slot {
                effect,
                listed: own.is_some(),
                needed: Arc::new(needed),
                groups,
                layers,
                open: own.is_none(),
            })
        };
        let mut tools = HashMap::with_capacity(rules.tools.len());
        for rule in &rules.tools {
            tools.insert(rule.name.clone(), tool(rule.effect, Some(rule))?);
        }
        let mut verbs = HashMap::new();
        for verb in Verb::ALL.into_iter().filter(|verb| *verb != Verb::CallTool) {
            let effect = verb.effect();
            // What a call is aimed at is in its server, unless it is the server, and that is in itself anyway.
            let open = !matches!(verb, Verb::Use | Verb::Listen);
            let groups = if open { vec![this.clone()] } else { Vec::new() };
            let layers = index.layers(verb, std::iter::once(&this));
            verbs.insert(
                verb,
                Slot {
                    effect,
                    listed: true,
                    needed: Arc::new(opened_by(effect)?),
                    groups,
                    layers,
                    open,
                },
            );
        }
        Ok(Self {
            tools,
            unlisted: tool(rules.unlisted, None)?,
            verbs,
            basic: opened_by(Effect::Read)?,
            scopes: scopes::describe(rules, hierarchy),
        })
    }
}
