//! Rules that operators write.

use portcullis_core::fault::Fault;
use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::policy::{Denial, Policy};
use serde_json::{Value, json};

use crate::calls::{call_tool, modern, notes, rules, scopes, tool};
use crate::issuer::{ISSUER, identity};

fn with(text: &str) -> Policy {
    Policy::compile(&rules(&[("ops.cedar", text)])).unwrap()
}

fn writer() -> VerifiedIdentity {
    identity(ISSUER, "agent", "bob", "notes:write")
}

fn add_note(policy: &Policy, who: &VerifiedIdentity, arguments: &Value) -> Result<(), Denial> {
    policy
        .decide(who, &notes(), call_tool("add_note", arguments))
        .map(drop)
}

fn forbidden(rule: &str) -> Result<(), Denial> {
    Err(Denial::Forbidden {
        rules: vec![rule.to_owned()],
    })
}

#[test]
fn a_forbid_beats_every_permit() {
    let policy = with(
        "permit(principal, action, resource); forbid(principal, action == Action::\"call_tool\", resource);",
    );
    assert_eq!(add_note(&policy, &writer(), &json!({})), forbidden("ops.cedar#2"));
    assert!(!policy.may_list(&writer(), &notes(), &tool("add_note")));
    policy
        .decide(&writer(), &notes(), modern("tools/list", json!({})))
        .unwrap();
}

#[test]
fn scopes_that_would_not_help_are_not_asked_for() {
    let policy = with("forbid(principal, action, resource == Tool::\"notes/add_note\");");
    let reader = identity(ISSUER, "agent", "bob", "notes:read");
    assert_eq!(add_note(&policy, &reader, &json!({})), forbidden("ops.cedar#1"));
    let policy = with(
        "forbid(principal, action, resource == Tool::\"notes/add_note\") unless { context.scopes.contains(\"notes:write\") };",
    );
    let needed = Denial::InsufficientScope {
        needed: scopes("notes:write"),
    };
    assert_eq!(add_note(&policy, &reader, &json!({})), Err(needed));
}

#[test]
fn a_rule_that_fails_denies_even_what_another_rule_permits() {
    for rule in [
        // Cedar would skip the forbid, and permit.
        "forbid(principal, action, resource) when { context.arguments has n && context.arguments.n + 1 > 5 };",
        "permit(principal, action, resource) when { context.arguments has n && context.arguments.n + 1 > 5 };",
    ] {
        let policy = with(rule);
        assert_eq!(add_note(&policy, &writer(), &json!({"n": 1})), Ok(()), "{rule}");
        for n in [
            json!(i64::MAX),
            json!("1"),
            json!(true),
            json!(1.5),
            json!(1e30),
            json!([1]),
            json!({}),
        ] {
            let denial = add_note(&policy, &writer(), &json!({"n": n})).unwrap_err();
            assert_eq!(
                (denial.code(), denial.fault()),
                ("policy.fault", Fault::Operator),
                "{rule} {n}"
            );
        }
    }
}

#[test]
fn numbers_cannot_be_spelled_past_a_rule() {
    let policy = with(
        "@id(\"five\") forbid(principal, action, resource) when { context.arguments has n && context.arguments.n > 5 };",
    );
    for (n, verdict) in [
        (json!(5), Ok(())),
        (json!(5.0), Ok(())),
        (json!(null), Ok(())),
        (json!(6), forbidden("ops.cedar#five")),
        (json!(6.0), forbidden("ops.cedar#five")),
    ] {
        assert_eq!(add_note(&policy, &writer(), &json!({"n": n})), verdict, "{n}");
    }
}

#[test]
fn arguments_reach_the_rules_with_their_types() {
    for (condition, arguments) in [
        ("has s && context.arguments.s == \"x\"", json!({"s": "x"})),
        ("has b && context.arguments.b", json!({"b": true})),
        (
            "has l && context.arguments.l.contains(2)",
            json!({"l": [1, 2, null]}),
        ),
        (
            "has r && context.arguments.r has s && context.arguments.r.s like \"a*\"",
            json!({"r": {"s": "ab"}}),
        ),
    ] {
        let rule = format!("forbid(principal, action, resource) when {{ context.arguments {condition} }};");
        assert_eq!(
            add_note(&with(&rule), &writer(), &arguments),
            forbidden("ops.cedar#1"),
            "{condition}"
        );
        assert_eq!(
            add_note(&with(&rule), &writer(), &json!({})),
            Ok(()),
            "{condition}"
        );
    }
}

#[test]
fn arguments_that_are_no_object_do_not_pass_a_rule_that_reads_them() {
    let rule =
        "forbid(principal, action, resource) when { context.arguments has n && context.arguments.n > 5 };";
    assert_eq!(
        add_note(&with(rule), &writer(), &json!([6])),
        forbidden("ops.cedar#1")
    );
}

#[test]
fn a_tool_is_listed_when_some_arguments_would_be_allowed() {
    let reader = identity(ISSUER, "agent", "bob", "notes:read");
    let policy = with(
        "permit(principal, action, resource == Tool::\"notes/add_note\")
           when { principal has user && principal.user == \"bob\" && context.arguments has n && context.arguments.n < 5 };
         forbid(principal, action, resource == Tool::\"notes/list_notes\")
           when { context.arguments has all && context.arguments.all };",
    );
    assert!(policy.may_list(&reader, &notes(), &tool("add_note")));
    assert!(policy.may_list(&reader, &notes(), &tool("list_notes")));
    // The condition that is not about arguments still counts.
    let carol = identity(ISSUER, "agent", "carol", "notes:read");
    assert!(!policy.may_list(&carol, &notes(), &tool("add_note")));
}

#[test]
fn rules_for_things_nobody_listed_apply() {
    let admin = identity(ISSUER, "agent", "bob", "admin");
    let policy = with(
        "@id(\"tool\") forbid(principal, action, resource == Tool::\"notes/hidden\");
         @id(\"uri\") forbid(principal, action, resource == Resource::\"notes/file:///etc/passwd\");
         @id(\"prompt\") forbid(principal, action, resource == Prompt::\"notes/p\");
         @id(\"task\") forbid(principal, action, resource == Task::\"notes/7\");",
    );
    for (call, rule) in [
        (call_tool("hidden", &json!({})), "ops.cedar#tool"),
        (
            modern("resources/read", json!({"uri": "file:///etc/passwd"})),
            "ops.cedar#uri",
        ),
        (modern("prompts/get", json!({"name": "p"})), "ops.cedar#prompt"),
        (modern("tasks/cancel", json!({"taskId": "7"})), "ops.cedar#task"),
    ] {
        let denied = policy.decide(&admin, &notes(), call).unwrap_err();
        assert_eq!(
            denied,
            Denial::Forbidden {
                rules: vec![rule.to_owned()]
            }
        );
    }
    policy
        .decide(&admin, &notes(), call_tool("hidden2", &json!({})))
        .unwrap();
    assert!(!policy.may_list(&admin, &notes(), &tool("hidden")));
}

#[test]
fn rules_see_who_calls_and_what() {
    let admin = identity(ISSUER, "agent", "bob", "admin");
    for condition in [
        "principal.issuer == \"https://as.example\" && principal.client == \"agent\"",
        "principal has user && principal.user == \"bob\"",
        "principal in User::\"https://as.example#bob\"",
        "principal in Issuer::\"https://as.example\"",
        "principal == Agent::\"https://as.example#agent\"",
        "resource.name == \"add_note\" && resource.server == \"notes\" && resource.effect == \"write\" && resource.listed",
        "resource in Server::\"notes\" && resource in Effect::\"write\" && resource in Scope::\"notes:write\"",
        "context.method == \"tools/call\" && context.scopes.contains(\"notes:read\")",
    ] {
        let rule = format!(
            "forbid(principal, action == Action::\"call_tool\", resource is Tool) when {{ {condition} }};"
        );
        assert_eq!(
            add_note(&with(&rule), &admin, &json!({})),
            forbidden("ops.cedar#1"),
            "{condition}"
        );
        let unlisted = with(&rule).decide(&admin, &notes(), call_tool("other", &json!({})));
        assert_eq!(unlisted.is_ok(), condition.contains("resource"), "{condition}");
    }
}

#[test]
fn the_same_client_of_another_issuer_is_another_agent() {
    let policy = with("permit(principal == Agent::\"https://as.example#agent\", action, resource);");
    let (ours, theirs) = (
        identity(ISSUER, "agent", "bob", ""),
        identity("https://as.example/x", "agent", "bob", ""),
    );
    assert_eq!(add_note(&policy, &ours, &json!({})), Ok(()));
    assert!(add_note(&policy, &theirs, &json!({})).is_err());
}

#[test]
fn whoever_listens_for_a_resource_reads_it() {
    let policy = with(
        "@id(\"secret\") forbid(principal, action == Action::\"read_resource\", resource == Resource::\"notes/a:secret\");",
    );
    let reader = identity(ISSUER, "agent", "bob", "notes:read");
    let listen = |who: &VerifiedIdentity, uris: &[&str]| {
        let filter = json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": uris}});
        policy.decide(who, &notes(), modern("subscriptions/listen", filter))
    };
    listen(&reader, &[]).unwrap();
    let permit = listen(&reader, &["a:1", "a:2"]).unwrap();
    assert_eq!(permit.call().subscriptions().len(), 2);
    for uris in [
        &["a:secret"] as &[&str],
        &["a:1", "a:secret"],
        &["a:secret", "z:1"],
    ] {
        assert_eq!(
            listen(&reader, uris).map(drop),
            forbidden("ops.cedar#secret"),
            "{uris:?}"
        );
    }
    let anyone = identity(ISSUER, "agent", "bob", "");
    let needed = Denial::InsufficientScope {
        needed: scopes("notes:read"),
    };
    assert_eq!(listen(&anyone, &["a:1"]).map(drop), Err(needed));
    assert_eq!(
        listen(&anyone, &["a:1", "a:secret"]).map(drop),
        forbidden("ops.cedar#secret"),
        "no scope would help"
    );
}

#[test]
fn listening_alone_is_not_reading() {
    // Whoever may listen without a scope needs one for each resource still, and is told so.
    let policy =
        with("@id(\"ears\") permit(principal, action == Action::\"listen\", resource == Server::\"notes\");");
    let anyone = identity(ISSUER, "agent", "bob", "");
    let listen = |uris: &[&str]| {
        let filter = json!({"notifications": {"resourceSubscriptions": uris}});
        policy
            .decide(&anyone, &notes(), modern("subscriptions/listen", filter))
            .map(drop)
    };
    assert_eq!(listen(&[]), Ok(()));
    let needed = Denial::InsufficientScope {
        needed: scopes("notes:read"),
    };
    assert_eq!(listen(&["a:1"]), Err(needed));
}
