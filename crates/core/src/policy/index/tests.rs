use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, PolicyId, PolicySet, Request, RestrictedExpression,
};
use proptest::prelude::*;

use super::*;
use crate::policy::engine::{self, Inquiry, Thing, Verdict};

fn uid(text: &str) -> EntityUid {
    text.parse().unwrap()
}

/// Every shape of scope, by itself and against things that are and are not in the request.
const PRINCIPALS: &[&str] = &[
    "principal",
    "principal is Agent",
    "principal == Agent::\"i#a\"",
    "principal == Agent::\"i#b\"",
    "principal in User::\"i#u\"",
    "principal in User::\"i#v\"",
    "principal in Issuer::\"i\"",
    "principal is Agent in User::\"i#u\"",
    "principal is User in Issuer::\"i\"",
];
const ACTIONS: &[&str] = &[
    "action",
    "action == Action::\"call_tool\"",
    "action == Action::\"use\"",
    "action in [Action::\"use\", Action::\"call_tool\"]",
    "action in []",
];
const RESOURCES: &[&str] = &[
    "resource",
    "resource is Tool",
    "resource is Prompt",
    "resource == Tool::\"s/t\"",
    "resource == Tool::\"s/x\"",
    "resource in Server::\"s\"",
    "resource in Server::\"z\"",
    "resource in Effect::\"write\"",
    "resource in Tool::\"s/t\"",
    "resource is Tool in Server::\"s\"",
    "resource is Prompt in Server::\"s\"",
];
const CONDITIONS: &[&str] = &[
    "",
    "when { context.scopes.contains(\"s:write\") }",
    "unless { context.scopes.contains(\"s:write\") }",
    "when { context.missing == 1 }",
    "when { context.arguments has n && context.arguments.n == 1 }",
];

fn rules() -> impl Strategy<Value = Vec<String>> {
    let one = (
        prop::sample::select(&["permit", "permit", "forbid"][..]),
        prop::sample::select(PRINCIPALS),
        prop::sample::select(ACTIONS),
        prop::sample::select(RESOURCES),
        prop::sample::select(CONDITIONS),
    );
    let text = one.prop_map(|(effect, principal, action, resource, condition)| {
        format!("{effect}({principal}, {action}, {resource}) {condition};")
    });
    prop::collection::vec(text, 0..12)
}

const AGENT_IN: [&str; 2] = ["User::\"i#u\"", "Issuer::\"i\""];
const TOOL_IN: [&str; 2] = ["Server::\"s\"", "Effect::\"write\""];

/// The one question: may agent `a` call tool `t`, with this argument and this scope?
#[derive(Clone, Copy, Debug)]
struct Asked {
    argument: Option<i64>,
    scope: &'static str,
}

impl Asked {
    fn new(argument: Option<i64>, holds: bool) -> Self {
        Self {
            argument,
            scope: if holds { "s:write" } else { "s:read" },
        }
    }

    /// Our answer.
    fn cut(self, policies: &[Policy], question: Question) -> Verdict {
        let mut errors = Vec::new();
        let authored = policies.iter().map(|policy| (policy, Author::Operator));
        let index = Index::build(authored, &Vocabulary::new().unwrap(), &mut errors);
        assert_eq!(errors, []);
        let (agent, tool) = (uid("Agent::\"i#a\""), uid("Tool::\"s/t\""));
        let (agent_in, tool_in) = (AGENT_IN.map(uid), TOOL_IN.map(uid));
        let layers = index.layers(Verb::CallTool, tool_in.iter().chain([&tool]));
        let groups = layers.iter().flat_map(|layer| layer.groups(&agent, &agent_in));
        let arguments = engine::record(self.argument.map(|n| ("n".to_owned(), n.into())));
        let context = vec![
            ("scopes", engine::set([self.scope.into()])),
            ("arguments", arguments),
        ];
        let agent = Thing {
            uid: &agent,
            groups: &agent_in,
            attributes: Vec::new(),
        };
        let tool = Thing {
            uid: &tool,
            groups: &tool_in,
            attributes: Vec::new(),
        };
        let inquiry = Inquiry::new(agent, uid("Action::\"call_tool\""), tool, context).unwrap();
        inquiry.answer(groups.flat_map(|group| group.rules(question)))
    }

    /// Cedar's own answer, over the uncut set.
    fn whole(self, policies: &[Policy]) -> Verdict {
        let entity = |text: &str, within: [&str; 2]| Entity::new_no_attrs(uid(text), within.map(uid).into());
        let entities = [
            entity("Agent::\"i#a\"", AGENT_IN),
            entity("Tool::\"s/t\"", TOOL_IN),
        ];
        let entities = Entities::from_entities(entities, None).unwrap();
        let scopes = RestrictedExpression::new_set([RestrictedExpression::new_string(self.scope.to_owned())]);
        let arguments = self
            .argument
            .map(|n| ("n".to_owned(), RestrictedExpression::new_long(n)));
        let arguments = RestrictedExpression::new_record(arguments).unwrap();
        let context = [("scopes".to_owned(), scopes), ("arguments".to_owned(), arguments)];
        let context = Context::from_pairs(context).unwrap();
        let action = uid("Action::\"call_tool\"");
        let request =
            Request::new(uid("Agent::\"i#a\""), action, uid("Tool::\"s/t\""), context, None).unwrap();
        let whole = PolicySet::from_policies(policies.iter().cloned()).unwrap();
        let response = Authorizer::new().is_authorized(&request, &whole, &entities);
        if response.diagnostics().errors().next().is_some() {
            return Verdict::Failed {
                detail: String::new(),
            };
        }
        let mut rules: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        rules.sort_unstable();
        match response.decision() {
            Decision::Allow => Verdict::Allowed { rules },
            Decision::Deny => Verdict::Denied { rules },
        }
    }
}

fn parse(texts: &[String]) -> Vec<Policy> {
    let parse =
        |(n, text): (usize, &String)| Policy::parse(Some(PolicyId::new(format!("p{n}"))), text).unwrap();
    texts.iter().enumerate().map(parse).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_index_answers_as_the_uncut_set(texts in rules(), argument in prop::option::of(0..2_i64), holds: bool) {
        let (policies, asked) = (parse(&texts), Asked::new(argument, holds));
        match (asked.cut(&policies, Question::Call), asked.whole(&policies)) {
            (Verdict::Failed { .. }, Verdict::Failed { .. }) => {}
            (cut, whole) => prop_assert_eq!(cut, whole, "{:#?} for {:?}", texts, asked),
        }
    }

    /// What is not listed would be refused with any arguments.
    #[test]
    fn whatever_some_arguments_allow_is_listed(texts in rules(), argument in prop::option::of(0..2_i64), holds: bool) {
        let (policies, asked) = (parse(&texts), Asked::new(argument, holds));
        if matches!(asked.cut(&policies, Question::Call), Verdict::Allowed { .. }) {
            let listed = asked.cut(&policies, Question::Listing);
            prop_assert!(matches!(listed, Verdict::Allowed { .. }), "{:#?} gave {:?}", texts, listed);
        }
    }
}
