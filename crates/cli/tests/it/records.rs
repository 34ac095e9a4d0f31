//! The audit log: what is on it, and that a touched byte is named.

use std::fs;

use portcullis_testkit::{Outcome, login, mcp};
use serde_json::json;

use crate::{audit, demo, portcullis, script_token, text};

#[tokio::test]
async fn every_step_is_on_record() -> Outcome {
    let running = demo().await?;
    let url = &running.ready().mcp_url;
    mcp::call(url, "list_notes", &json!({})).send().await?;
    let tokens = login(&running, "notes:read").await?;
    mcp::call(url, "list_notes", &json!({}))
        .bearer(&tokens.access_token)
        .send()
        .await?;
    mcp::call(url, "delete_all_notes", &json!({}))
        .bearer(&tokens.access_token)
        .send()
        .await?;

    let records = audit(&running, &[])?;
    let kinds: Vec<String> = records.iter().map(|record| text(record, "/kind")).collect();
    for kind in ["registration", "login", "consent", "token", "decision"] {
        assert!(kinds.contains(&kind.to_owned()), "no {kind} in {kinds:?}");
    }
    let decisions: Vec<_> = records
        .iter()
        .filter(|record| text(record, "/kind") == "decision")
        .collect();
    let unauthenticated = decisions
        .iter()
        .filter(|record| record.get("agent").is_none())
        .count();
    assert!(
        unauthenticated >= 1,
        "a refusal without identity is on record too"
    );
    let allowed = decisions
        .iter()
        .find(|record| text(record, "/verdict") == "allowed")
        .expect("an allowed call");
    assert_eq!(
        (text(allowed, "/target"), text(allowed, "/effect")),
        ("list_notes".to_owned(), "read".to_owned())
    );
    assert_eq!(text(allowed, "/agent"), tokens.client.id);
    assert!(!text(allowed, "/user").is_empty());
    let denied = decisions
        .iter()
        .find(|record| text(record, "/target") == "delete_all_notes")
        .expect("a denied call");
    assert_eq!(
        (text(denied, "/verdict"), text(denied, "/effect")),
        ("denied".to_owned(), "irreversible".to_owned())
    );
    Ok(())
}

#[tokio::test]
async fn a_touched_byte_is_found_and_its_record_named() -> Outcome {
    let data = portcullis_testkit::Scratch::new("tampered")?;
    let running = portcullis().up_in(data.path()).await?;
    let token = script_token(&running, "notes:read").await?;
    for _ in 0..5 {
        mcp::call(&running.ready().mcp_url, "list_notes", &json!({}))
            .bearer(&token)
            .send()
            .await?;
    }
    assert!(running.stop()?.0.success());
    let dir = data.path().display().to_string();
    let good = portcullis().run(["audit", "verify", "--data", &dir])?;
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);

    let file = fs::read_dir(data.path().join("audit"))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .expect("a log file");
    let original = fs::read(&file)?;
    let text_of = String::from_utf8_lossy(&original).into_owned();
    let third = text_of.lines().take(2).map(|line| line.len() + 1).sum::<usize>();
    for offset in [5, 40, 90] {
        let mut touched = original.clone();
        touched[third + offset] ^= 1;
        fs::write(&file, &touched)?;
        let bad = portcullis().run(["audit", "verify", "--data", &dir])?;
        assert_eq!(bad.code, Some(1), "byte {offset}: {}", bad.stdout);
        let said = format!("{}{}", bad.stdout, bad.stderr);
        assert!(
            said.contains("line 3")
                || said.contains("record 3")
                || said.contains("seq 3")
                || said.contains("record 2"),
            "byte {offset}: {said}"
        );
    }
    // A record taken out of the middle.
    let without: String = text_of
        .lines()
        .enumerate()
        .filter(|(n, _)| *n != 2)
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    fs::write(&file, without)?;
    assert_eq!(
        portcullis().run(["audit", "verify", "--data", &dir])?.code,
        Some(1)
    );
    Ok(())
}
