//! What a crash, a second process and other users of the machine meet.

use std::fs;

use portcullis_testkit::{Outcome, Scratch, mcp};
use serde_json::json;

use crate::{portcullis, script_token};

#[tokio::test]
async fn killed_in_the_middle_nothing_acknowledged_is_lost() -> Outcome {
    let data = Scratch::new("killed")?;
    for round in 0..3 {
        let running = portcullis().up_in(data.path()).await?;
        let token = script_token(&running, "notes:read notes:write").await?;
        let text = format!("round {round}");
        let added = mcp::call(&running.ready().mcp_url, "add_note", &json!({"text": text}))
            .bearer(&token)
            .send()
            .await?;
        assert_eq!(added.status, 200, "{}", added.text());
        running.signal("KILL")?;
    }
    let running = portcullis().up_in(data.path()).await?;
    let token = script_token(&running, "notes:read").await?;
    let notes = mcp::call(&running.ready().mcp_url, "list_notes", &json!({}))
        .bearer(&token)
        .send()
        .await?
        .text();
    for round in 0..3 {
        assert!(notes.contains(&format!("round {round}")), "{notes}");
    }
    let verified = portcullis().run(["audit", "verify", "--data", &data.path().display().to_string()])?;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    let allowed = crate::audit(&running, &["--tool", "add_note", "--kind", "decision"])?;
    assert_eq!(allowed.len(), 3, "each forwarded write is on record");
    Ok(())
}

#[tokio::test]
async fn two_processes_do_not_share_a_data_folder() -> Outcome {
    let data = Scratch::new("shared")?;
    let _first = portcullis().up_in(data.path()).await?;
    let second = portcullis().run([
        "up",
        "--listen",
        "127.0.0.1:0",
        "--data",
        &data.path().display().to_string(),
    ])?;
    assert_eq!(second.code, Some(2));
    assert!(
        second.stderr.contains("another portcullis runs on"),
        "{}",
        second.stderr
    );
    Ok(())
}

#[tokio::test]
async fn picked_ports_keys_and_the_script_clients_secret_are_kept() -> Outcome {
    let data = Scratch::new("again")?;
    let first = portcullis().up_in(data.path()).await?;
    let before = first.ready().clone();
    let keys = portcullis_testkit::Request::get(&before.jwks_uri)
        .send()
        .await?
        .json()?;
    let (status, logs) = first.stop()?;
    assert!(status.success(), "Ctrl-C drains and exits 0: {status}");
    let password = before.password.unwrap_or_default();
    assert!(
        logs.contains(&password),
        "the password is printed at the first start"
    );

    let second = portcullis().up_in(data.path()).await?;
    let after = second.ready();
    assert_eq!((&after.mcp_url, &after.issuer), (&before.mcp_url, &before.issuer));
    assert_eq!(
        (&after.client_id, &after.client_secret),
        (&before.client_id, &before.client_secret)
    );
    assert!(!second.logs().contains(&password), "and only then");
    assert_eq!(
        portcullis_testkit::Request::get(&after.jwks_uri)
            .send()
            .await?
            .json()?,
        keys
    );
    script_token(&second, "notes:read").await?;
    Ok(())
}

#[tokio::test]
async fn what_is_kept_is_private() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new("private")?;
    let running = portcullis().up_in(&scratch.path().join("data")).await?;
    let ready = running.ready();
    assert_eq!(ready.version, env!("CARGO_PKG_VERSION"));
    assert!(ready.client_id.is_some() && ready.client_secret.is_some() && ready.password.is_some());
    let mode = |name: &str| {
        fs::metadata(ready.data_dir.join(name))
            .map(|meta| meta.permissions().mode() & 0o777)
            .ok()
    };
    assert_eq!(mode(""), Some(0o700));
    for file in ["master.key", "portcullis.db", "lock"] {
        assert_eq!(mode(file), Some(0o600), "{file}");
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_master_key_is_not_made_anew_and_a_lost_password_is() -> Outcome {
    let data = Scratch::new("lost")?;
    let first = portcullis().up_in(data.path()).await?;
    let before = first.ready().password.clone();
    let made = crate::audit(&first, &["--kind", "key_transition"])?;
    assert_eq!(
        made.iter()
            .filter(|record| crate::text(record, "/from") == "none" && crate::text(record, "/to") == "enabled")
            .count(),
        4,
        "{made:#?}"
    );
    first.stop()?;

    let second = portcullis().arg("--new-password").up_in(data.path()).await?;
    assert!(second.ready().password.is_some() && second.ready().password != before);
    portcullis_testkit::login(&second, "notes:read").await?;
    second.stop()?;

    let master = data.path().join("master.key");
    fs::rename(&master, data.path().join("elsewhere"))?;
    let folder = data.path().display().to_string();
    let refused = portcullis().run(["up", "--listen", "127.0.0.1:0", "--data", &folder])?;
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("no master key"), "{}", refused.stderr);
    assert!(!master.exists(), "nothing that looks like the lost key");
    Ok(())
}

#[tokio::test]
async fn without_its_log_nothing_happens_and_with_it_everything_does_again() -> Outcome {
    let data = Scratch::new("logless")?;
    let running = portcullis().up_in(data.path()).await?;
    let token = script_token(&running, "notes:read notes:write").await?;
    let add = || {
        mcp::call(
            &running.ready().mcp_url,
            "add_note",
            &json!({"text": "on record"}),
        )
        .bearer(&token)
        .send()
    };
    assert_eq!(add().await?.status, 200);

    let (log, away) = (data.path().join("audit"), data.path().join("away"));
    fs::rename(&log, &away)?;
    let refused = add().await?;
    assert_eq!(
        (refused.status, refused.header("retry-after").is_empty()),
        (503, false),
        "{}",
        refused.text()
    );
    fs::rename(&away, &log)?;
    // The log is tried again every quarter of a second, not for each call.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while add().await?.status != 200 {
        assert!(
            std::time::Instant::now() < deadline,
            "calls are still refused:\n{}",
            running.logs()
        );
    }

    let listed = mcp::call(&running.ready().mcp_url, "list_notes", &json!({}))
        .bearer(&token)
        .send()
        .await?
        .json()?;
    let notes = listed
        .pointer("/result/structuredContent/notes")
        .and_then(serde_json::Value::as_array)
        .map(Vec::len);
    assert_eq!(notes, Some(2), "{listed}");
    let decisions = crate::audit(&running, &["--tool", "add_note", "--kind", "decision"])?;
    assert!(decisions.len() >= 2, "{decisions:#?}");
    let verified = portcullis().run(["audit", "verify", "--data", &data.path().display().to_string()])?;
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    Ok(())
}
