//! Cedar's evaluator, with everything prepared that can be.
//!
//! The public `Authorizer` puts each rule's condition together anew for every question, and computes the hierarchy of
//! entities anew; with ten rules that is most of a decision. Here both are done beforehand. What a rule says is still
//! said by Cedar alone, and a property test holds our answers against the `Authorizer`'s. This is the only file that
//! uses `cedar_policy_core`, which promises no stable interface: its version is pinned.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{EntityUid, Policy};
use cedar_policy_core::ast::{
    Context, Effect, Entity, EntityUID, EntityUIDEntry, Expr, PartialValue, Request, SlotEnv,
};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

/// A value as rules see it: text, number, truth, set or record.
pub(super) type Value = cedar_policy_core::ast::Value;

/// A record of these members.
pub(super) fn record(members: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::record(members, None)
}

/// A set of these.
pub(super) fn set(members: impl IntoIterator<Item = Value>) -> Value {
    Value::set(members, None)
}

/// One rule, ready to be evaluated.
#[derive(Debug)]
pub(super) struct Rule {
    id: Arc<str>,
    effect: Effect,
    condition: Expr,
}

impl Rule {
    /// From a static policy: it has no slots.
    pub(super) fn new(policy: &Policy) -> Self {
        let core: &cedar_policy_core::ast::Policy = policy.as_ref();
        Self {
            id: Arc::from(policy.id().as_ref()),
            effect: core.effect(),
            condition: core.condition(),
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// The caller, or what is called: what it is in, and its attributes.
pub(super) struct Thing<'c> {
    pub(super) uid: &'c EntityUid,
    /// All of them, those they are in included.
    pub(super) groups: &'c [EntityUid],
    pub(super) attributes: Vec<(&'static str, Value)>,
}

/// One question to the rules.
pub(super) struct Inquiry {
    request: Request,
    entities: Entities,
}

/// What the rules say, read the way we read it: a rule that failed is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// These permit, and none forbids.
    Allowed { rules: Vec<String> },
    /// These forbid, or none permits.
    Denied { rules: Vec<String> },
    /// One could not be evaluated. Cedar by itself would skip it, a `forbid` too.
    Failed { detail: String },
}

/// The question could not be put, by our fault.
#[derive(Debug)]
pub(super) struct Unaskable(String);

impl fmt::Display for Unaskable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Inquiry {
    /// May this agent do this to that?
    pub(super) fn new(
        agent: Thing<'_>,
        action: EntityUid,
        resource: Thing<'_>,
        context: Vec<(&'static str, Value)>,
    ) -> Result<Self, Unaskable> {
        let known = |uid: &EntityUid| EntityUIDEntry::known(EntityUID::clone(uid.as_ref()), None);
        let members: BTreeMap<_, _> = context
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect();
        let request = Request::new_unchecked(
            known(agent.uid),
            known(&action),
            known(resource.uid),
            Some(Context::Value(Arc::new(members))),
        );
        let entities = Entities::from_entities(
            [agent.entity(), resource.entity()],
            None::<&NoEntitiesSchema>,
            // Each of the two names everything it is in.
            TCComputation::AssumeAlreadyComputed,
            Extensions::all_available(),
        );
        Ok(Self {
            request,
            entities: entities.map_err(|error| Unaskable(error.to_string()))?,
        })
    }

    /// What these rules say together: one forbid beats every permit, wherever they stand; no permit is a denial.
    pub(super) fn answer<'r>(self, rules: impl Iterator<Item = &'r Rule>) -> Verdict {
        let evaluator = Evaluator::new(self.request, &self.entities, Extensions::all_available());
        let no_slots = SlotEnv::new();
        let (yes, no) = (Value::from(true), Value::from(false));
        let (mut permits, mut forbids) = (Vec::new(), Vec::new());
        for rule in rules {
            let failed = |why: &dyn fmt::Display| Verdict::Failed {
                detail: format!("rule `{}`: {why}", rule.id),
            };
            match evaluator.interpret(&rule.condition, &no_slots) {
                Ok(value) if value == no => {}
                Ok(value) if value == yes => match rule.effect {
                    Effect::Permit => permits.push(rule.id.to_string()),
                    Effect::Forbid => forbids.push(rule.id.to_string()),
                },
                Ok(_) => return failed(&"it is neither true nor false"),
                Err(error) => return failed(&error),
            }
        }
        permits.sort_unstable();
        forbids.sort_unstable();
        if permits.is_empty() || !forbids.is_empty() {
            Verdict::Denied { rules: forbids }
        } else {
            Verdict::Allowed { rules: permits }
        }
    }
}

impl Thing<'_> {
    fn entity(self) -> Entity {
        let groups = self
            .groups
            .iter()
            .map(|group| EntityUID::clone(group.as_ref()))
            .collect();
        let attributes = self
            .attributes
            .into_iter()
            .map(|(name, value)| (name.into(), PartialValue::Value(value)));
        Entity::new_with_attr_partial_value(
            EntityUID::clone(self.uid.as_ref()),
            attributes,
            Default::default(),
            groups,
            [],
        )
    }
}
