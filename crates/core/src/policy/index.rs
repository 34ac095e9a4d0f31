//! The policy set, cut by what a question can match: action, resource, principal.
//!
//! Sound by Cedar's own semantics: a rule whose scope names an action, resource or principal that the request is
//! neither equal to nor in, is not satisfied and cannot fail, since its scope is evaluated first. What a rule says in
//! its conditions plays no part here. A property test holds the index against the uncut set.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Authorizer, Decision, Entities, EntityUid, Policy, PolicyId, PolicySet,
    PrincipalConstraint, Request, ResourceConstraint,
};

use super::arguments;
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
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Those that do not read arguments.
    plain: PolicySet,
    /// Those that do.
    reading: PolicySet,
    /// What is left of the permits of `reading` where there are no arguments.
    listing: PolicySet,
    /// Whether an operator wrote one of them: only those look at attributes of entities.
    attributes: bool,
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
    /// The groups that can match a principal with these names.
    pub(super) fn groups<'l>(&'l self, names: &'l [EntityUid]) -> impl Iterator<Item = &'l Group> {
        let named = (!self.named.is_empty()).then_some(names).into_iter().flatten();
        std::iter::once(&self.everyone).chain(named.filter_map(|name| self.named.get(name)))
    }
}

impl Group {
    fn add(&mut self, policy: &Policy, author: Author) -> Result<(), PolicyError> {
        let failed =
            |error: &dyn std::fmt::Display| PolicyError::new(format!("rule `{}`: {error}", policy.id()));
        self.attributes |= author == Author::Operator;
        if author == Author::Generated {
            return self.plain.add(policy.clone()).map_err(|error| failed(&error));
        }
        let json = policy.to_json().map_err(|error| failed(&error))?;
        if !arguments::read_by(&json) {
            return self.plain.add(policy.clone()).map_err(|error| failed(&error));
        }
        if policy.effect() == cedar_policy::Effect::Permit {
            let weaker = Policy::from_json(Some(policy.id().clone()), arguments::without_arguments(&json));
            let weaker = weaker.map_err(|error| failed(&error))?;
            self.listing.add(weaker).map_err(|error| failed(&error))?;
        }
        self.reading.add(policy.clone()).map_err(|error| failed(&error))
    }

    /// Whether some rule here looks at the arguments of a call.
    pub(super) fn reads_arguments(&self) -> bool {
        !self.reading.is_empty()
    }

    /// Whether some rule here looks at attributes of the caller or of what is called.
    pub(super) fn reads_attributes(&self) -> bool {
        self.attributes
    }

    /// The rules here that read arguments.
    pub(super) fn reading(&self) -> impl Iterator<Item = &PolicyId> {
        self.reading.policies().map(Policy::id)
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

/// What the rules say: Cedar's answer over all groups together.
#[derive(Debug, Default)]
pub(super) struct Answer {
    permits: Vec<String>,
    forbids: Vec<String>,
    failed: Option<String>,
}

/// An [`Answer`], read the way we read it: a rule that failed is no answer.
#[derive(Debug)]
pub(super) enum Verdict {
    Allowed { rules: Vec<String> },
    Denied { rules: Vec<String> },
    Failed { detail: String },
}

impl Answer {
    pub(super) fn ask<'g>(
        groups: impl Iterator<Item = &'g Group>,
        question: Question,
        request: &Request,
        entities: &Entities,
        authorizer: &Authorizer,
    ) -> Self {
        let mut answer = Self::default();
        for group in groups {
            let over_arguments = match question {
                Question::Call => &group.reading,
                Question::Listing => &group.listing,
            };
            for set in [&group.plain, over_arguments] {
                if !set.is_empty() {
                    answer.add(set, request, entities, authorizer);
                }
            }
        }
        answer
    }

    fn add(&mut self, set: &PolicySet, request: &Request, entities: &Entities, authorizer: &Authorizer) {
        let response = authorizer.is_authorized(request, set, entities);
        let diagnostics = response.diagnostics();
        let reasons = match response.decision() {
            Decision::Allow => &mut self.permits,
            Decision::Deny => &mut self.forbids,
        };
        reasons.extend(diagnostics.reason().map(PolicyId::to_string));
        if let Some(error) = diagnostics.errors().next() {
            self.failed.get_or_insert_with(|| error.to_string());
        }
    }

    /// One forbid beats every permit, wherever they stand; no permit is a denial.
    pub(super) fn verdict(mut self) -> Verdict {
        self.permits.sort_unstable();
        self.forbids.sort_unstable();
        match (self.failed, self.permits.is_empty() || !self.forbids.is_empty()) {
            (Some(detail), _) => Verdict::Failed { detail },
            (None, true) => Verdict::Denied { rules: self.forbids },
            (None, false) => Verdict::Allowed { rules: self.permits },
        }
    }
}

#[cfg(test)]
mod tests;
