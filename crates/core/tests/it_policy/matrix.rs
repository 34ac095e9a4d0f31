//! Who may do what, as a table that is read in every review: `policies/matrix.golden`.

use std::fmt::Write as _;

use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::policy::{Denial, Policy};
use portcullis_core::wire::Call;
use serde_json::json;

use crate::calls::{call_tool, legacy, modern, notes, rules, tool};
use crate::issuer::{ISSUER, identity};

const GOLDEN: &str = include_str!("../../../../policies/matrix.golden");
const EXAMPLE: &str = include_str!("../../../../policies/example.cedar");

fn principals() -> Vec<(&'static str, VerifiedIdentity)> {
    let who = |client, subject, scopes| identity(ISSUER, client, subject, scopes);
    vec![
        ("bob, no scope", who("agent", "bob", "")),
        ("bob, read", who("agent", "bob", "notes:read")),
        ("bob, write", who("agent", "bob", "notes:write")),
        ("bob, irreversible", who("agent", "bob", "notes:irreversible")),
        ("bob, admin", who("agent", "bob", "admin")),
        ("bob, audit", who("agent", "bob", "audit")),
        ("bob, read and audit", who("agent", "bob", "notes:read audit")),
        ("bob, another server", who("agent", "bob", "other:irreversible")),
        ("alice, write", who("agent", "alice", "notes:write")),
        (
            "agent itself, irreversible",
            who("agent", "agent", "notes:irreversible"),
        ),
        ("backup, no scope", who("backup", "backup", "")),
        (
            "backup of another issuer",
            identity("https://evil.example", "backup", "backup", ""),
        ),
    ]
}

/// Makes one call; a call is spent by the decision.
type Make = fn() -> Call;

fn questions() -> Vec<(&'static str, Make)> {
    vec![
        ("tools/list", || modern("tools/list", json!({}))),
        ("initialize", || legacy("initialize", &json!({}))),
        ("subscriptions/listen", || {
            modern("subscriptions/listen", json!({}))
        }),
        ("resources/read", || {
            modern("resources/read", json!({"uri": "note:1"}))
        }),
        ("prompts/get", || modern("prompts/get", json!({"name": "p"}))),
        ("tasks/get", || modern("tasks/get", json!({"taskId": "1"}))),
        ("tasks/cancel", || modern("tasks/cancel", json!({"taskId": "1"}))),
        ("shell/run", || modern("shell/run", json!({}))),
        ("list_notes", || call_tool("list_notes", &json!({}))),
        ("add_note(hi)", || call_tool("add_note", &json!({"text": "hi"}))),
        ("add_note()", || call_tool("add_note", &json!({}))),
        ("delete_all_notes", || call_tool("delete_all_notes", &json!({}))),
        ("export", || call_tool("export", &json!({}))),
        ("purge_drafts(10)", || {
            call_tool("purge_drafts", &json!({"count": 10}))
        }),
        ("purge_drafts(11)", || {
            call_tool("purge_drafts", &json!({"count": 11}))
        }),
        ("unlisted", || call_tool("unlisted", &json!({}))),
    ]
}

fn answer(policy: &Policy, who: &VerifiedIdentity, call: Call) -> String {
    match policy.decide(who, &notes(), call) {
        Ok(permit) => format!("allowed  {}", permit.rules().join(" ")),
        Err(Denial::InsufficientScope { needed }) => format!("needs    {needed}"),
        Err(Denial::Forbidden { rules }) => format!("denied   {}", rules.join(" ")),
        Err(Denial::UnknownMethod) => "unknown".to_owned(),
        Err(Denial::Fault { .. }) => "fault".to_owned(),
    }
}

fn matrix(policy: &Policy) -> String {
    let mut table = String::new();
    for (name, who) in principals() {
        writeln!(table, "\n{name}").unwrap();
        for (question, call) in questions() {
            writeln!(
                table,
                "  {question:<21} {}",
                answer(policy, &who, call()).trim_end()
            )
            .unwrap();
        }
        let listed = [
            "list_notes",
            "add_note",
            "delete_all_notes",
            "export",
            "purge_drafts",
            "unlisted",
        ];
        let listed = listed
            .into_iter()
            .filter(|name| policy.may_list(&who, &notes(), &tool(name)));
        writeln!(table, "  {:<21} {:?}", "sees", listed.collect::<Vec<_>>()).unwrap();
    }
    table
}

#[test]
fn the_matrix_is_the_one_that_was_reviewed() {
    let plain = matrix(&Policy::compile(&rules(&[])).unwrap());
    let example = matrix(&Policy::compile(&rules(&[("example.cedar", EXAMPLE)])).unwrap());
    let table = format!("# Scopes alone\n{plain}\n# With example.cedar\n{example}");
    assert!(
        table == GOLDEN,
        "decisions changed; if they should have, review this table and commit it as policies/matrix.golden:\n{table}"
    );
}
