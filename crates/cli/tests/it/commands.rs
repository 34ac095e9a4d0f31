//! The commands that need no server, and those that read what one left.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use portcullis_testkit::{Outcome, Scratch};
use serde_json::Value;

use crate::{demo, portcullis, text};

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
    for name in ["gateway.toml", "authority.toml", "sealed.toml"] {
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

/// The same state, named by a configuration file: keys and audit log of a data folder.
fn configuration(data: &Path, scratch: &Scratch) -> Outcome<String> {
    let file = scratch.path().join("same.toml");
    let data = data.display();
    fs::write(
        &file,
        format!(
            "version = 1\n[audit]\ndir = \"{data}/audit\"\n[keys]\ndir = \"{data}/keys\"\nmaster_key_file = \"{data}/master.key\"\n"
        ),
    )?;
    Ok(file.display().to_string())
}

#[tokio::test]
async fn keys_and_audit_read_the_state_of_a_configuration_as_that_of_a_data_folder() -> Outcome {
    let running = demo().await?;
    let data = running.data().display().to_string();
    let scratch = Scratch::new("same")?;
    let config = configuration(running.data(), &scratch)?;
    for command in [
        &["keys", "list"][..],
        &["keys", "list", "--json"],
        &["audit", "tail", "-n", "1000"],
        &["audit", "query", "--json"],
    ] {
        let by_data = portcullis().run(command.iter().chain(&["--data", &data]))?;
        let by_config = portcullis().run(command.iter().chain(&["--config", &config]))?;
        assert_eq!(by_config.code, Some(0), "{command:?}: {}", by_config.stderr);
        // The server goes on writing its log.
        assert!(by_config.stdout.starts_with(&by_data.stdout), "{command:?}");
        assert!(!by_data.stdout.is_empty(), "{command:?}");
    }
    let verified = portcullis().run(["audit", "verify", "--config", &config])?;
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    let both = portcullis().run(["audit", "tail", "--data", &data, "--config", &config])?;
    assert_eq!(both.code, Some(2));
    Ok(())
}

#[tokio::test]
async fn the_plan_shows_the_coming_year_of_each_key_and_what_each_step_waits_for() -> Outcome {
    let running = demo().await?;
    let data = running.data().display().to_string();
    let listed = portcullis().run(["keys", "list", "--json", "--data", &data])?;
    let listed: Value = serde_json::from_str(&listed.stdout)?;
    let plan = |options: &[&str]| portcullis().run(["keys", "plan", "--data", &data].iter().chain(options));
    let year = plan(&["--json"])?;
    assert_eq!(year.code, Some(0), "{}", year.stderr);
    let steps: Vec<Value> = serde_json::from_str(&year.stdout)?;
    for role in ["authority", "gateway"] {
        for (purpose, prefix) in [("signing", "sig"), ("encryption", "enc")] {
            let own: Vec<&Value> = steps
                .iter()
                .filter(|step| step["role"] == role && step["purpose"] == purpose)
                .collect();
            // Every 15 days one takes over: staged, enabled, retired and removed.
            assert!(own.len() > 80, "{role} {purpose}: {}", own.len());
            let first = listed.as_array().into_iter().flatten();
            let first = first
                .filter(|key| key["role"] == role && key["purpose"] == purpose)
                .map(|key| text(key, "/kid"))
                .next()
                .unwrap_or_default();
            let becomes = |kid: &str| -> Vec<String> {
                let steps = own.iter().filter(|step| step["kid"] == kid);
                steps.map(|step| text(step, "/becomes")).collect()
            };
            assert_eq!(becomes(&first), ["disabled", "deleted"], "{role} {purpose}");
            let next = format!("{prefix}-new-0001");
            assert_eq!(becomes(&next), ["staged", "enabled", "disabled", "deleted"]);
            let waits = text(own[0], "/waits_for");
            assert!(
                waits.contains("75 days before the certificate of") && waits.contains(&first),
                "{waits}"
            );
        }
    }
    let month = plan(&["--days", "20"])?;
    assert!(
        month
            .stdout
            .contains("sig-new-0001 is made and published: 75 days before"),
        "{}",
        month.stdout
    );
    assert!(!month.stdout.contains("becomes the primary"), "{}", month.stdout);
    let day = plan(&["--days", "1"])?;
    assert!(day.stdout.contains("nothing within 1 days"), "{}", day.stdout);
    Ok(())
}

#[tokio::test]
async fn a_request_that_cannot_be_written_stages_no_key() -> Outcome {
    let running = demo().await?;
    let data = running.data().display().to_string();
    let count = || -> Outcome<usize> {
        let listed = portcullis().run(["keys", "list", "--json", "--all", "--data", &data])?;
        Ok(serde_json::from_str::<Vec<Value>>(&listed.stdout)?.len())
    };
    let before = count()?;
    let out = running.data().join("nowhere/request.pem").display().to_string();
    let csr = ["keys", "csr", "--role", "gateway", "--data", &data, "--out"];
    let refused = portcullis().run(csr.iter().chain(&[out.as_str()]))?;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("cannot be written"), "{}", refused.stderr);
    assert_eq!(count()?, before);
    let scratch = Scratch::new("csr")?;
    let out = scratch.path().join("request.pem");
    let made = portcullis().run(csr.iter().chain(&[out.display().to_string().as_str()]))?;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(fs::read_to_string(&out)?.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    assert_eq!((count()?, fs::read_dir(scratch.path())?.count()), (before + 1, 1));
    Ok(())
}

#[test]
fn config_check_looks_at_what_the_configuration_names_and_tells_all_of_it() -> Outcome {
    let scratch = Scratch::new("named")?;
    let file = scratch.path().join("named.toml");
    let write = |keys: &str, store: &str| {
        fs::write(
            &file,
            format!(
                "version = 1\n[audit]\ndir = \"audit\"\n[store]\nurl = \"{store}\"\n[keys]\ndir = \"keys\"\nmaster_key_file = \"master.key\"\n{keys}"
            ),
        )
    };
    let checked = || portcullis().run(["config", "check", &file.display().to_string()]);
    let private = |name: &str, content: &str| -> Outcome {
        let path = scratch.path().join(name);
        fs::write(&path, content)?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
    };
    let pkcs11 =
        "custody = \"pkcs11\"\n[keys.pkcs11]\nmodule = \"hsm.so\"\ntoken = \"t\"\npin_file = \"pin\"\n";
    fs::write(scratch.path().join("keys"), "a file")?;
    fs::write(scratch.path().join("pin"), "1234")?;
    write(pkcs11, "sqlite:below/portcullis.db")?;
    let all = checked()?;
    assert_eq!(all.code, Some(2), "{}", all.stdout);
    for expected in [
        "keys.dir: the folder",
        "keys.pkcs11.module: the module",
        "keys.pkcs11.pin_file: ",
        "hint: chmod 600",
        "store.url: the folder",
    ] {
        assert!(
            all.stdout.contains(expected),
            "no {expected:?} in\n{}",
            all.stdout
        );
    }
    assert!(!all.stdout.contains("1234"), "{}", all.stdout);
    let json = portcullis().run(["config", "check", "--json", &file.display().to_string()])?;
    let findings: Vec<Value> = serde_json::from_str(&json.stdout)?;
    assert_eq!((json.code, findings.len()), (Some(2), 4), "{}", json.stdout);

    fs::remove_file(scratch.path().join("keys"))?;
    private("pin", "1234")?;
    fs::copy("/proc/self/exe", scratch.path().join("hsm.so"))?;
    write(pkcs11, "sqlite:portcullis.db")?;
    let good = checked()?;
    assert_eq!(good.code, Some(0), "{}", good.stdout);
    fs::write(scratch.path().join("hsm.so"), "text")?;
    fs::write(scratch.path().join("portcullis.db"), "not a database")?;
    let wrong = checked()?;
    assert!(
        wrong.stdout.contains("is no shared library") && wrong.stdout.contains("is no SQLite database"),
        "{}",
        wrong.stdout
    );
    fs::remove_file(scratch.path().join("portcullis.db"))?;

    let kms = "custody = \"external\"\nencryption_algorithm = \"RSA-OAEP-256\"\n[keys.external]\nservice = \"aws-kms\"\nregion = \"eu-central-1\"\nca_file = \"ca.pem\"\ncredentials_file = \"aws\"\nprofile = \"signer\"\n";
    private("aws", "[default]\naws_access_key_id = A\n")?;
    write(kms, "postgres://keys@127.0.0.1:1/keys")?;
    let wrong = checked()?;
    assert_eq!(wrong.code, Some(2), "{}", wrong.stdout);
    for expected in [
        "keys.external.ca_file: ",
        "has no `[signer]`",
        "store.url: nothing answers at 127.0.0.1:1",
    ] {
        assert!(
            wrong.stdout.contains(expected),
            "no {expected:?} in\n{}",
            wrong.stdout
        );
    }
    Ok(())
}

#[test]
fn config_show_writes_what_the_file_means_as_toml_and_json() -> Outcome {
    let file = format!("{}/../../examples/gateway.toml", env!("CARGO_MANIFEST_DIR"));
    let shown = portcullis().run(["config", "show", &file])?;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let scratch = Scratch::new("shown")?;
    let again = scratch.path().join("shown.toml");
    fs::write(&again, &shown.stdout)?;
    let again = again.display().to_string();
    assert_eq!(
        portcullis().run(["config", "check", &again])?.code,
        Some(0),
        "{}",
        shown.stdout
    );
    let json = |file: &str| -> Outcome<Value> {
        Ok(serde_json::from_str(
            &portcullis().run(["config", "show", "--json", file])?.stdout,
        )?)
    };
    assert_eq!(json(&again)?, json(&file)?);
    assert_eq!(json(&file)?["servers"][0]["credential_file"], "crm.token");
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
        &["keys", "plan"],
        &["keys", "rotate"],
        &["keys", "revoke"],
        &["keys", "publish"],
        &["keys", "csr"],
        &["keys", "import"],
        &["keys", "simulate"],
        &["seal", "seal"],
        &["seal", "open"],
        &["seal", "keygen-session"],
        &["audit", "tail"],
        &["audit", "query"],
        &["audit", "verify"],
        &["config", "check"],
        &["config", "show"],
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
