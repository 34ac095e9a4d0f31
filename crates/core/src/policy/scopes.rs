//! Which scopes contain which, and what each of them opens.

use std::collections::{BTreeMap, HashMap};

use super::rules::{Effect, PolicyError, Rules, ScopeDescription, ServerRules};
use crate::ids::{Scope, ScopeSet, ServerName};

/// `{server}:{effect}`.
pub(super) fn scope_for(server: &ServerName, effect: Effect) -> Result<Scope, PolicyError> {
    Scope::parse(&format!("{server}:{}", effect.as_str()))
        .map_err(|error| PolicyError::new(format!("server `{server}` has no usable scope: {error}")))
}

/// Scopes by the scopes they contain, directly or not.
#[derive(Debug)]
pub(super) struct Hierarchy(HashMap<Scope, ScopeSet>);

impl Hierarchy {
    /// The transitive closure. Scopes that contain each other are an error, all named.
    pub(super) fn build(rules: &Rules, errors: &mut Vec<PolicyError>) -> Self {
        let mut direct: BTreeMap<Scope, ScopeSet> = BTreeMap::new();
        for server in &rules.servers {
            for (broad, narrow) in [
                (Effect::Irreversible, Effect::Write),
                (Effect::Write, Effect::Read),
            ] {
                match (scope_for(&server.name, broad), scope_for(&server.name, narrow)) {
                    (Ok(broad), Ok(narrow)) => direct.entry(broad).or_default().insert(narrow),
                    (Err(error), _) | (_, Err(error)) => errors.push(error),
                }
            }
        }
        for (broad, narrow) in &rules.implies {
            direct.entry(broad.clone()).or_default().insert(narrow.clone());
        }
        let mut closure = HashMap::new();
        for scope in direct.keys() {
            let all = reachable(scope, &direct);
            if all.contains(scope) {
                errors.push(
                    PolicyError::new(format!(
                        "scope `{scope}` contains itself, through what it implies"
                    ))
                    .hint("remove one of the `implies` entries of this circle"),
                );
            }
            closure.insert(scope.clone(), all);
        }
        Self(closure)
    }

    /// What the scope contains, itself left out.
    pub(super) fn implied(&self, scope: &Scope) -> impl Iterator<Item = &Scope> {
        self.0.get(scope).into_iter().flat_map(ScopeSet::iter)
    }

    /// Whether holding `held` is holding `wanted`.
    pub(super) fn covers(&self, held: &Scope, wanted: &Scope) -> bool {
        held == wanted || self.0.get(held).is_some_and(|implied| implied.contains(wanted))
    }

    /// Whether holding all of `held` is holding all of `wanted`.
    pub(super) fn satisfies(&self, held: &ScopeSet, wanted: &ScopeSet) -> bool {
        wanted
            .iter()
            .all(|wanted| held.iter().any(|held| self.covers(held, wanted)))
    }

    /// Every scope that contains another.
    fn broad(&self) -> impl Iterator<Item = &Scope> {
        self.0.keys()
    }
}

fn reachable(from: &Scope, direct: &BTreeMap<Scope, ScopeSet>) -> ScopeSet {
    let mut found = ScopeSet::new();
    let mut open = vec![from];
    while let Some(scope) = open.pop() {
        for next in direct.get(scope).into_iter().flat_map(ScopeSet::iter) {
            if !found.contains(next) {
                found.insert(next.clone());
                open.push(next);
            }
        }
    }
    found
}

/// Every scope that means something on a server: its three, those its tools name, and those that contain one of them.
pub(super) fn describe(server: &ServerRules, hierarchy: &Hierarchy) -> Vec<ScopeDescription> {
    let mut own: BTreeMap<Scope, ScopeDescription> = BTreeMap::new();
    for effect in Effect::ALL {
        let Ok(scope) = scope_for(&server.name, effect) else {
            continue;
        };
        own.insert(
            scope.clone(),
            blank(scope, effect, server.unlisted == effect, hierarchy),
        );
    }
    for tool in &server.tools {
        let default = scope_for(&server.name, tool.effect).ok();
        for scope in tool
            .scopes
            .iter()
            .flat_map(ScopeSet::iter)
            .chain(default.iter().filter(|_| tool.scopes.is_none()))
        {
            let entry = own
                .entry(scope.clone())
                .or_insert_with(|| blank(scope.clone(), tool.effect, false, hierarchy));
            entry.effect = entry.effect.max(tool.effect);
            entry.tools.push(tool.name.clone());
        }
    }
    let mut all = own.clone();
    for broad in hierarchy.broad() {
        let worst = hierarchy
            .implied(broad)
            .filter_map(|narrow| own.get(narrow))
            .map(|narrow| narrow.effect)
            .max();
        if let Some(worst) = worst {
            let entry = all
                .entry(broad.clone())
                .or_insert_with(|| blank(broad.clone(), worst, false, hierarchy));
            entry.effect = entry.effect.max(worst);
        }
    }
    all.into_values().collect()
}

fn blank(scope: Scope, effect: Effect, unlisted: bool, hierarchy: &Hierarchy) -> ScopeDescription {
    let implies = hierarchy.implied(&scope).cloned().collect();
    ScopeDescription {
        scope,
        effect,
        tools: Vec::new(),
        unlisted,
        implies,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ToolName;
    use crate::policy::ToolRule;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    fn rules(implies: &[(&str, &str)]) -> Rules {
        let tool = |name: &str, effect, scopes: Option<&str>| ToolRule {
            name: ToolName::parse(name).unwrap(),
            effect,
            scopes: scopes.map(|scopes| ScopeSet::parse(scopes).unwrap()),
        };
        Rules {
            servers: vec![ServerRules {
                name: ServerName::parse("notes").unwrap(),
                unlisted: Effect::Irreversible,
                tools: vec![
                    tool("list", Effect::Read, None),
                    tool("export", Effect::Write, Some("notes:read audit")),
                ],
            }],
            implies: implies.iter().map(|(a, b)| (scope(a), scope(b))).collect(),
            cedar: Vec::new(),
        }
    }

    #[test]
    fn implication_is_transitive_and_one_way() {
        let mut errors = Vec::new();
        let hierarchy = Hierarchy::build(&rules(&[("admin", "notes:irreversible")]), &mut errors);
        assert_eq!(errors, []);
        assert!(hierarchy.covers(&scope("admin"), &scope("notes:read")));
        assert!(hierarchy.covers(&scope("notes:write"), &scope("notes:read")));
        assert!(!hierarchy.covers(&scope("notes:read"), &scope("notes:write")));
        assert!(!hierarchy.covers(&scope("other:irreversible"), &scope("notes:read")));
    }

    #[test]
    fn every_scope_of_a_circle_is_an_error() {
        let mut errors = Vec::new();
        Hierarchy::build(
            &rules(&[("notes:read", "notes:write"), ("x", "notes:read")]),
            &mut errors,
        );
        let named: Vec<&str> = errors
            .iter()
            .map(|error| error.message.split('`').nth(1).unwrap())
            .collect();
        assert_eq!(
            named,
            ["notes:read", "notes:write"],
            "x contains the circle and is none itself"
        );
    }

    #[test]
    fn a_description_says_the_worst_effect_and_only_its_own_tools() {
        let rules = rules(&[("admin", "notes:write")]);
        let hierarchy = Hierarchy::build(&rules, &mut Vec::new());
        let described: Vec<String> = describe(&rules.servers[0], &hierarchy)
            .into_iter()
            .map(|d| {
                let tools: Vec<&str> = d.tools.iter().map(ToolName::as_str).collect();
                format!(
                    "{} {} {tools:?} {} [{}]",
                    d.scope,
                    d.effect.as_str(),
                    d.unlisted,
                    d.implies
                )
            })
            .collect();
        assert_eq!(
            described,
            [
                "admin write [] false [notes:read notes:write]",
                r#"audit write ["export"] false []"#,
                "notes:irreversible irreversible [] true [notes:read notes:write]",
                "notes:read write [\"list\", \"export\"] false []",
                "notes:write write [] false [notes:read]",
            ]
        );
    }
}
