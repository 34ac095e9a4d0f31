//! The policy set, cut by what a question can match: action, resource, principal.
//!
//! Sound by Cedar's own semantics: a rule whose scope names an action, resource or principal that the request is
//! neither equal to nor in, is not satisfied and cannot fail, since its scope is evaluated first. What a rule says in
//! its conditions plays no part here. A property test holds the index against the uncut set.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use super::arguments;
use super::engine::Rule;
use super::rules::PolicyError;
use super::vocabulary::{Verb, Vocabulary};

/// Rules by action and by the resource (or group of them) that their scope names; `None` for those that name none.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<(Verb, Option<EntityUid>), Arc<Layer>>);

/// The rules of one action and resource, by the principal that their scope names.
#[derive(Debug, Default)]
pub(super) struct Layer {
    everyone: Group,
    named: HashMap<EntityUid, Group>,
}

/// Rules whose scope is the same.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Those that do not read arguments.
    plain: Vec<Rule>,
    /// Those that do.
    reading: Vec<Rule>,
    /// What is left of the permits of `reading` where there are no arguments.
    listing: Vec<Rule>,
}

/// Who wrote a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// Generated from servers, tools and scopes.
    Generated,
    /// From the operator's files.
    Operator,
}

impl Index {
    /// Cuts the set.
    pub(super) fn build<'p>(
        policies: impl Iterator<Item = (&'p Policy, Author)>,
        vocabulary: &Vocabulary,
        errors: &mut Vec<PolicyError>,
    ) -> Self {
        let mut layers: HashMap<(Verb, Option<EntityUid>), Layer> = HashMap::new();
        for (policy, author) in policies {
            let resource = match policy.resource_constraint() {
                ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
                ResourceConstraint::In(uid)
                | ResourceConstraint::Eq(uid)
                | ResourceConstraint::IsIn(_, uid) => Some(uid),
            };
            let principal = match policy.principal_constraint() {
                PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
                PrincipalConstraint::In(uid)
                | PrincipalConstraint::Eq(uid)
                | PrincipalConstraint::IsIn(_, uid) => Some(uid),
            };
            for verb in verbs(policy, vocabulary) {
                let layer = layers.entry((verb, resource.clone())).or_default();
                let group = match &principal {
                    None => &mut layer.everyone,
                    Some(uid) => layer.named.entry(uid.clone()).or_default(),
                };
                if let Err(error) = group.add(policy, author) {
                    errors.push(error);
                }
            }
        }
        Self(
            layers
                .into_iter()
                .map(|(key, layer)| (key, Arc::new(layer)))
                .collect(),
        )
    }

    /// The rules of an action that can match a resource with these groups.
    pub(super) fn layers<'u>(
        &self,
        verb: Verb,
        resource_and_groups: impl Iterator<Item = &'u EntityUid>,
    ) -> Vec<Arc<Layer>> {
        let keys = std::iter::once(None).chain(resource_and_groups.cloned().map(Some));
        keys.filter_map(|key| self.0.get(&(verb, key)).cloned()).collect()
    }

    /// The rules of an action that name this very resource.
    pub(super) fn layer(&self, verb: Verb, resource: &EntityUid) -> Option<&Arc<Layer>> {
        self.0.get(&(verb, Some(resource.clone())))
    }
}

fn verbs(policy: &Policy, vocabulary: &Vocabulary) -> Vec<Verb> {
    let named = match policy.action_constraint() {
        ActionConstraint::Any => return Verb::ALL.to_vec(),
        ActionConstraint::Eq(uid) => vec![uid],
        ActionConstraint::In(uids) => uids,
    };
    Verb::ALL
        .into_iter()
        .filter(|verb| named.contains(&vocabulary.action(*verb)))
        .collect()
}

impl Layer {
    /// The groups that can match an agent that is in these.
    pub(super) fn groups<'l>(
        &'l self,
        agent: &'l EntityUid,
        agent_in: &'l [EntityUid],
    ) -> impl Iterator<Item = &'l Group> {
        let names = (!self.named.is_empty()).then(|| std::iter::once(agent).chain(agent_in));
        let named = names
            .into_iter()
            .flatten()
            .filter_map(|name| self.named.get(name));
        std::iter::once(&self.everyone).chain(named)
    }
}

impl Group {
    fn add(&mut self, policy: &Policy, author: Author) -> Result<(), PolicyError> {
        if author == Author::Generated {
            self.plain.push(Rule::new(policy));
            return Ok(());
        }
        let failed =
            |error: &dyn std::fmt::Display| PolicyError::new(format!("rule `{}`: {error}", policy.id()));
        let json = policy.to_json().map_err(|error| failed(&error))?;
        if !arguments::read_by(&json) {
            self.plain.push(Rule::new(policy));
            return Ok(());
        }
        if policy.effect() == cedar_policy::Effect::Permit {
            let weaker = Policy::from_json(Some(policy.id().clone()), arguments::without_arguments(&json));
            self.listing
                .push(Rule::new(&weaker.map_err(|error| failed(&error))?));
        }
        self.reading.push(Rule::new(policy));
        Ok(())
    }

    /// The rules here that answer a question.
    pub(super) fn rules(&self, question: Question) -> impl Iterator<Item = &Rule> {
        let over_arguments = match question {
            Question::Call => &self.reading,
            Question::Listing => &self.listing,
        };
        self.plain.iter().chain(over_arguments)
    }

    /// The rules here that look at the arguments of a call.
    pub(super) fn reading(&self) -> &[Rule] {
        &self.reading
    }
}

/// Whether arguments are there to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// This call, with its arguments.
    Call,
    /// Some call, with arguments not known yet.
    Listing,
}

#[cfg(test)]
mod tests;
