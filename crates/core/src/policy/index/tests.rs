use cedar_policy::{Context, Entity, RestrictedExpression};
use proptest::prelude::*;

use super::*;

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

fn entities() -> Entities {
    let set = |texts: &[&str]| texts.iter().map(|text| uid(text)).collect();
    Entities::from_entities(
        [
            Entity::new_no_attrs(uid("Agent::\"i#a\""), set(&["User::\"i#u\"", "Issuer::\"i\""])),
            Entity::new_no_attrs(uid("Tool::\"s/t\""), set(&["Server::\"s\"", "Effect::\"write\""])),
        ],
        None,
    )
    .unwrap()
}

fn request(argument: Option<i64>, scope: &str) -> Request {
    let scopes = RestrictedExpression::new_set([RestrictedExpression::new_string(scope.to_owned())]);
    let arguments = argument.map(|n| ("n".to_owned(), RestrictedExpression::new_long(n)));
    let arguments = RestrictedExpression::new_record(arguments).unwrap();
    let context =
        Context::from_pairs([("scopes".to_owned(), scopes), ("arguments".to_owned(), arguments)]).unwrap();
    Request::new(
        uid("Agent::\"i#a\""),
        uid("Action::\"call_tool\""),
        uid("Tool::\"s/t\""),
        context,
        None,
    )
    .unwrap()
}

/// The index's answer to the one question, and Cedar's own over the uncut set.
fn both(policies: &[Policy], question: Question, request: &Request) -> (Verdict, Verdict) {
    let authorizer = Authorizer::new();
    let vocabulary = Vocabulary::new().unwrap();
    let mut errors = Vec::new();
    let authored = policies.iter().map(|policy| (policy, Author::Operator));
    let index = Index::build(authored, &vocabulary, &mut errors);
    assert_eq!(errors, []);
    let resources = ["Server::\"s\"", "Effect::\"write\"", "Tool::\"s/t\""].map(uid);
    let names = ["Agent::\"i#a\"", "User::\"i#u\"", "Issuer::\"i\""].map(uid);
    let layers = index.layers(Verb::CallTool, resources.iter());
    let groups = layers.iter().flat_map(|layer| layer.groups(&names));
    let cut = Answer::ask(groups, question, request, &entities(), &authorizer).verdict();

    let whole = PolicySet::from_policies(policies.iter().cloned()).unwrap();
    let mut answer = Answer::default();
    answer.add(&whole, request, &entities(), &authorizer);
    (cut, answer.verdict())
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
        let request = request(argument, if holds { "s:write" } else { "s:read" });
        match both(&parse(&texts), Question::Call, &request) {
            (Verdict::Allowed { rules }, Verdict::Allowed { rules: expected })
            | (Verdict::Denied { rules }, Verdict::Denied { rules: expected }) => prop_assert_eq!(rules, expected),
            (Verdict::Failed { .. }, Verdict::Failed { .. }) => {}
            (cut, whole) => prop_assert!(false, "{:#?} gave {:?} for {:?}", texts, cut, whole),
        }
    }

    /// What is not listed would be refused with any arguments.
    #[test]
    fn whatever_some_arguments_allow_is_listed(texts in rules(), argument in prop::option::of(0..2_i64), holds: bool) {
        let policies = parse(&texts);
        let request = request(argument, if holds { "s:write" } else { "s:read" });
        if let (Verdict::Allowed { .. }, _) = both(&policies, Question::Call, &request) {
            let listed = both(&policies, Question::Listing, &request).0;
            prop_assert!(matches!(listed, Verdict::Allowed { .. }), "{:#?} gave {:?}", texts, listed);
        }
    }
}
