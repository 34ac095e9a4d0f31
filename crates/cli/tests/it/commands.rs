//! The commands that need no server, and those that read what one left.

use std::fs;

use portcullis_testkit::{Outcome, Scratch};

use crate::{demo, portcullis};

#[test]
fn config_check_reports_every_error_at_once_with_line_and_hint() -> Outcome {
    let scratch = Scratch::new("config")?;
    let file = scratch.path().join("bad.toml");
    fs::write(
        &file,
        "version = 1\n[gateway]\nlistne = \"127.0.0.1:1\"\npublic_url = 7\n[audit]\ndir = \"a\"\n",
    )?;
    let ran = portcullis().run(["config", "check", &file.display().to_string()])?;
    assert_eq!(ran.code, Some(2), "{}", ran.stdout);
    for expected in [
        "line 3",
        "unknown key `listne`",
        "did you mean `listen`?",
        "line 4",
        "gateway.public_url",
        "needs `[keys]`",
        "needs `[[servers]]`",
    ] {
        assert!(
            ran.stdout.contains(expected),
            "no {expected:?} in\n{}",
            ran.stdout
        );
    }
    let json = portcullis().run(["config", "check", "--json", &file.display().to_string()])?;
    let findings: serde_json::Value = serde_json::from_str(&json.stdout)?;
    assert!(
        findings.as_array().is_some_and(
            |findings| findings.len() >= 5 && findings.iter().all(|finding| finding["line"].is_u64())
        ),
        "{findings}"
    );
    Ok(())
}

#[test]
fn the_example_configurations_check_out() -> Outcome {
    for name in ["gateway.toml", "authority.toml"] {
        let file = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
        let ran = portcullis().run(["config", "check", &file])?;
        assert_eq!(ran.code, Some(0), "{name}: {}{}", ran.stdout, ran.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn keys_list_shows_signing_and_encryption_keys_apart_with_certificates_and_dates() -> Outcome {
    let running = demo().await?;
    let data = running.data().display().to_string();
    let ran = portcullis().run(["keys", "list", "--data", &data])?;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for expected in ["sig-20", "enc-20", "enabled", "gateway", "authority"] {
        assert!(
            ran.stdout.to_lowercase().contains(expected),
            "no {expected:?} in\n{}",
            ran.stdout
        );
    }
    let json = portcullis().run(["keys", "list", "--json", "--data", &data])?;
    serde_json::from_str::<serde_json::Value>(&json.stdout)?;
    Ok(())
}

#[test]
fn usage_mistakes_exit_with_2_and_every_command_has_help_with_an_example() -> Outcome {
    assert_eq!(portcullis().run(["nonsense"])?.code, Some(2));
    assert_eq!(portcullis().run(["up", "--upstream", "not a url"])?.code, Some(2));
    assert_eq!(
        portcullis()
            .run(["up", "--upstream", "http://127.0.0.1:1/mcp", "--stdio", "cat"])?
            .code,
        Some(2)
    );
    assert_eq!(portcullis().run(["up", "--listen", "0.0.0.0:0"])?.code, Some(2));
    for command in [
        &["up"][..],
        &["gateway"],
        &["authority"],
        &["agent", "login"],
        &["agent", "tools"],
        &["agent", "call"],
        &["agent", "token"],
        &["keys", "list"],
        &["audit", "tail"],
        &["audit", "query"],
        &["audit", "verify"],
        &["config", "check"],
    ] {
        let ran = portcullis().run(command.iter().chain(&["--help"]))?;
        assert_eq!(ran.code, Some(0), "{command:?}");
        assert!(
            ran.stdout.contains("Example"),
            "{command:?} has no example:\n{}",
            ran.stdout
        );
    }
    Ok(())
}
