//! What does not compile, and what is said about it.

use portcullis_core::ids::{Scope, ScopeSet};
use portcullis_core::policy::{Policy, PolicyError};

use crate::calls::rules;

fn errors(file: &str) -> Vec<PolicyError> {
    Policy::compile(&rules(&[("ops.cedar", file)])).unwrap_err()
}

#[test]
fn a_bad_rule_is_refused_with_its_file_and_line() {
    for (rule, message) in [
        ("permit(principal, action);", "line 2: "),
        (
            "permit(principal, action, resource) when { resource.owner == \"x\" };",
            "attribute `owner`",
        ),
        ("permit(principal is Robot, action, resource);", "Robot"),
        ("permit(principal, action == Action::\"run\", resource);", "run"),
        (
            "permit(principal, action, resource) when { context.arguments.n > 1 };",
            "n",
        ),
        (
            "permit(principal, action, resource) when { context.arguments has n && context.arguments.n > 1 && context.arguments.n == \"x\" };",
            "line 2",
        ),
        // Can never match: written in vain.
        (
            "forbid(principal, action == Action::\"use\", resource is Tool);",
            "policy",
        ),
        (
            "forbid(principal, action, resource == Tool::\"nots/add_note\");",
            "there is no server `nots`",
        ),
        (
            "forbid(principal, action, resource in Server::\"x\");",
            "there is no server `x`",
        ),
        (
            "forbid(principal, action, resource in Effect::\"delete\");",
            "is no effect",
        ),
        ("permit(principal == ?principal, action, resource);", "template"),
        (
            "@id(\"a\") permit(principal, action, resource); @id(\"a\") forbid(principal, action, resource);",
            "the id `a`",
        ),
    ] {
        let found = errors(&format!("// a comment\n{rule}"));
        assert!(
            found.iter().any(|error| error.message.contains(message)),
            "{rule}: {found:#?}"
        );
        assert!(
            found
                .iter()
                .all(|error| error.file.as_deref() == Some("ops.cedar")),
            "{rule}: {found:#?}"
        );
        assert!(
            found.iter().all(|error| !error.message.ends_with('.')),
            "{rule}: {found:#?}"
        );
    }
}

#[test]
fn every_error_is_reported_at_once() {
    let mut rules = rules(&[
        ("a.cedar", "permit(principal, action);"),
        (
            "b.cedar",
            "permit(principal is Robot, action, resource);\nforbid(principal, action, resource in Server::\"x\");",
        ),
        ("b.cedar", ""),
    ]);
    rules.servers.push(rules.servers[0].clone());
    let again = rules.servers[0].tools[0].clone();
    rules.servers[0].tools.push(again);
    rules.servers[0].tools[1].scopes = Some(ScopeSet::new());
    rules.implies.push((
        Scope::parse("notes:read").unwrap(),
        Scope::parse("admin").unwrap(),
    ));
    let errors = Policy::compile(&rules).unwrap_err();
    for message in [
        "server `notes` is given twice",
        "tool `list_notes` of server `notes` is listed twice",
        "tool `add_note` of server `notes` has an empty list of scopes",
        "scope `admin` contains itself",
        "scope `notes:read` contains itself",
        "line 1: ",
        "Robot",
        "there is no server `x`",
        "the file is given twice",
    ] {
        assert!(
            errors.iter().any(|error| error.message.contains(message)),
            "{message}: {errors:#?}"
        );
    }
}

#[test]
fn nothing_configured_is_a_policy_that_denies() {
    Policy::compile(&portcullis_core::policy::Rules::default()).unwrap();
}

#[test]
fn a_policy_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Policy>();
}
