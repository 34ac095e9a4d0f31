//! What scopes open, what a refusal says of them, and what documents say.

use portcullis_core::fault::Fault;
use portcullis_core::ids::ServerName;
use portcullis_core::policy::{Denial, Effect, Policy};
use serde_json::json;

use crate::calls::{call_tool, legacy, modern, notes, rules, scopes, tool};
use crate::issuer::{ISSUER, identity};

fn policy() -> Policy {
    Policy::compile(&rules(&[])).unwrap()
}

#[test]
fn a_permit_says_what_it_permits_and_by_what() {
    let who = identity(ISSUER, "agent", "bob", "notes:write other:read");
    let permit = policy()
        .decide(&who, &notes(), call_tool("list_notes", &json!({"q": "secret"})))
        .unwrap();
    assert_eq!(permit.server(), &notes());
    assert_eq!(permit.effect(), Effect::Read);
    assert_eq!(permit.rules(), ["scope/notes:read/tools"]);
    assert_eq!(permit.scopes_needed(), &scopes("notes:read"));
    assert_eq!(permit.scopes_used(), &scopes("notes:write"));
    assert_eq!(permit.call().method().as_str(), "tools/call");
    assert!(
        !format!("{permit:?}").contains("secret"),
        "arguments are not shown"
    );
}

#[test]
fn a_refusal_names_all_scopes_held_or_not() {
    let who = identity(ISSUER, "agent", "bob", "notes:read");
    let denial = policy()
        .decide(&who, &notes(), call_tool("export", &json!({})))
        .unwrap_err();
    assert_eq!(
        denial,
        Denial::InsufficientScope {
            needed: scopes("audit notes:read")
        }
    );
    assert_eq!(
        (denial.code(), denial.fault()),
        ("policy.insufficient-scope", Fault::Caller)
    );
}

#[test]
fn a_server_nobody_configured_opens_for_no_scope() {
    let who = identity(ISSUER, "agent", "bob", "notes:irreversible other:irreversible");
    let other = ServerName::parse("other").unwrap();
    let denial = policy()
        .decide(&who, &other, modern("tools/list", json!({})))
        .unwrap_err();
    assert_eq!(denial, Denial::Forbidden { rules: Vec::new() });
    assert!(!policy().may_list(&who, &other, &tool("list_notes")));
    assert_eq!(policy().effect(&other, &tool("list_notes")), Effect::Irreversible);
    assert!(policy().basic_scopes(&other).is_empty());
}

#[test]
fn tool_names_are_compared_byte_for_byte() {
    let who = identity(ISSUER, "agent", "bob", "notes:write");
    for near in [
        "Add_note",
        "add_note ",
        "notes/add_note",
        "add_note/../list_notes",
        "a\u{64}\u{0301}d_note",
    ] {
        let denial = policy()
            .decide(&who, &notes(), legacy("tools/call", &json!({"name": near})))
            .unwrap_err();
        assert_eq!(
            denial,
            Denial::InsufficientScope {
                needed: scopes("notes:irreversible")
            },
            "{near}"
        );
    }
}

#[test]
fn unknown_methods_are_denied_to_everyone() {
    let who = identity(ISSUER, "agent", "bob", "admin");
    // `ping` is no method of the stateless era.
    for method in ["tools/call2", "TOOLS/LIST", "ping", "rpc.discover"] {
        let denial = policy()
            .decide(&who, &notes(), modern(method, json!({})))
            .unwrap_err();
        assert_eq!(denial, Denial::UnknownMethod, "{method}");
    }
    assert_eq!(Denial::UnknownMethod.code(), "policy.unknown-method");
}

#[test]
fn a_call_needs_what_would_be_asked_of_it() {
    let policy = policy();
    let needs = |call: portcullis_core::wire::Call| {
        let needs = policy.needs(&notes(), call.method(), call.target())?;
        Some((needs.effect, needs.scopes.to_string()))
    };
    assert_eq!(
        needs(call_tool("add_note", &json!({}))),
        Some((Effect::Write, "notes:write".to_owned()))
    );
    assert_eq!(
        needs(modern("tools/list", json!({}))),
        Some((Effect::Read, "notes:read".to_owned()))
    );
    assert_eq!(needs(modern("nothing", json!({}))), None);
}

#[test]
fn basic_use_needs_the_narrowest_scope() {
    assert_eq!(policy().basic_scopes(&notes()), scopes("notes:read"));
}

#[test]
fn scopes_are_described_for_the_consent_page() {
    let described = policy().scopes(&notes());
    let names: Vec<&str> = described.iter().map(|scope| scope.scope.as_str()).collect();
    assert_eq!(
        names,
        [
            "admin",
            "audit",
            "notes:irreversible",
            "notes:read",
            "notes:write"
        ]
    );
    assert_eq!(described[0].effect, Effect::Irreversible);
    assert_eq!(
        described[2].tools,
        [tool("delete_all_notes"), tool("purge_drafts")]
    );
    assert!(described[2].unlisted);
}
