//! Keys in an emergency, on the real binary: what may be lost or broken, and what must not be.

use std::fs;
use std::time::{Duration, Instant};

use portcullis_testkit::{Outcome, Request, Running, Scratch};
use serde_json::Value;

use crate::runbook::{kid_of, published};
use crate::{audit, portcullis, script_token, text};

/// Machines under load get longer than a server needs, and a test that hangs is one that fails.
const FOLLOWS: Duration = Duration::from_secs(20);

fn data_of(running: &Running) -> String {
    running.data().display().to_string()
}

/// The records of this key's revocation.
fn revocations(running: &Running, kid: &str) -> Outcome<Vec<Value>> {
    let mut records = audit(running, &["--kind", "key_transition"])?;
    records.retain(|record| text(record, "/kid") == kid && text(record, "/to") == "deleted");
    Ok(records)
}

#[tokio::test]
async fn a_revocation_is_on_record_once_though_the_server_was_killed_before_it_saw_it() -> Outcome {
    let data = Scratch::new("unseen")?;
    let running = portcullis().up_in(data.path()).await?;
    let kid = kid_of(&script_token(&running, "notes:read").await?)?;
    // It holds the log, and sees nothing any more.
    running.signal("STOP")?;
    let folder = data_of(&running);
    let revoke =
        |reason: &str| portcullis().run(["keys", "revoke", &kid, "--reason", reason, "--data", &folder]);
    let revoked = revoke("seen in a log")?;
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    running.signal("KILL")?;
    drop(running);

    for start in 0..2 {
        let running = portcullis().up_in(data.path()).await?;
        let records = revocations(&running, &kid)?;
        assert_eq!(records.len(), 1, "start {start}: {records:#?}");
        let record = records.first().cloned().unwrap_or_default();
        assert_eq!(text(&record, "/cause"), "emergency");
        assert_eq!(text(&record, "/reason"), "seen in a log");
        let (happened, noticed) = (text(&record, "/happened"), text(&record, "/time"));
        // Seconds against milliseconds.
        assert!(
            !happened.is_empty() && happened.trim_end_matches('Z') <= noticed.as_str(),
            "{record}"
        );
        assert!(!published(&running).await?.contains(&kid));
        running.stop()?;
    }
    // Who is not sure whether it worked may ask again.
    let again = revoke("to be sure")?;
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(
        again.stdout.contains("revoked already") && again.stdout.contains("seen in a log"),
        "{}",
        again.stdout
    );
    Ok(())
}

#[tokio::test]
async fn a_key_is_revoked_though_master_key_ca_and_another_ring_are_broken() -> Outcome {
    let running = crate::demo().await?;
    let (data, folder) = (running.data().to_owned(), data_of(&running));
    let kid = kid_of(&script_token(&running, "notes:read").await?)?;
    fs::remove_file(data.join("master.key"))?;
    fs::write(data.join("keys/ca/ca.json"), "{")?;
    fs::remove_file(data.join("keys/ca/change"))?;
    fs::write(data.join("keys/gateway/stranger.json"), "{}")?;
    let revoked = portcullis().run([
        "keys",
        "revoke",
        &kid,
        "--reason",
        "laptop stolen",
        "--data",
        &folder,
    ])?;
    assert_eq!(revoked.code, Some(1), "{revoked:?}");
    assert!(revoked.stdout.contains("is revoked"), "{}", revoked.stdout);
    assert!(
        revoked
            .stderr
            .contains("no other key has taken its place, because")
            && revoked.stderr.contains("no master key"),
        "{}",
        revoked.stderr
    );
    let deadline = Instant::now() + FOLLOWS;
    while published(&running).await?.contains(&kid) {
        assert!(Instant::now() < deadline, "the revoked key is still published");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The server has its master key and its CA in memory, and makes what the command could not.
    let token = loop {
        match script_token(&running, "notes:read").await {
            Ok(token) => break token,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}\n{}", running.logs()),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_ne!(kid_of(&token)?, kid);
    assert_eq!(revocations(&running, &kid)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn operators_read_past_a_torn_key_file_and_are_told() -> Outcome {
    let running = crate::demo().await?;
    let kid = kid_of(&script_token(&running, "notes:read").await?)?;
    let file = running.data().join(format!("keys/authority/{kid}.json"));
    let whole = fs::read(&file)?;
    for command in [["keys", "list"], ["keys", "plan"]] {
        fs::write(&file, whole.get(..whole.len() / 2).unwrap_or_default())?;
        let ran = portcullis().run(command.iter().chain(&["--data", &data_of(&running)]))?;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stderr.contains("torn"), "{}", ran.stderr);
    }
    let revoked = portcullis().run([
        "keys",
        "revoke",
        &kid,
        "--reason",
        "torn and lost",
        "--data",
        &data_of(&running),
    ])?;
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    Ok(())
}

#[tokio::test]
async fn revoking_the_ca_is_refused_with_what_to_do_instead() -> Outcome {
    let running = crate::demo().await?;
    let refused = portcullis().run([
        "keys",
        "revoke",
        "ca",
        "--reason",
        "lost",
        "--data",
        &data_of(&running),
    ])?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("remove the folder") && refused.stderr.contains("start again"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[tokio::test]
async fn the_metrics_page_counts_the_keys_of_both_roles() -> Outcome {
    let running = crate::demo().await?;
    script_token(&running, "notes:read").await?;
    published(&running).await?;
    let page = Request::get(format!("{}/metrics", running.ready().admin))
        .send()
        .await?
        .text();
    let count = |start: &str| {
        page.lines()
            .find(|line| line.starts_with(start))
            .and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    let signed = "portcullis_key_uses_total{role=\"authority\",purpose=\"signing\"";
    assert!(count(signed).is_some_and(|signed| signed >= 1), "{page}");
    let asked = "portcullis_jwks_requests_total{role=\"authority\",status=\"200\"}";
    assert!(count(asked).is_some_and(|asked| asked >= 1), "{page}");
    assert!(
        count("portcullis_jwks_requests_total{role=\"gateway\",status=\"200\"}").is_some(),
        "{page}"
    );
    Ok(())
}
