//! The gateway's own TLS listener, with the TLS of others: curl, OpenSSL, and rustls as a client. The names are rows of the attack
//! catalogue.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_testkit::tls::Ca;
use portcullis_testkit::{Outcome, Request};
use serde_json::Value;

use crate::secured::{More, Scene, program};

async fn scene(name: &str) -> Outcome<Scene> {
    Scene::new(name, |_| Ok(More::default())).await
}

fn curl(scene: &Scene, arguments: &[&str]) -> Outcome<(Option<i32>, String)> {
    let ca = scene.folder().join("ca.pem");
    fs::write(&ca, scene.ca.pem())?;
    let ca = ca.display().to_string();
    let resolve = scene.url.replace("https://", "") + ":127.0.0.1";
    let common = ["-sS", "-m", "20", "--cacert", &ca, "--resolve", &resolve];
    let ran = program("curl", &[&common, arguments].concat(), &[])?;
    let said = [ran.stdout, ran.stderr].concat();
    Ok((ran.status.code(), String::from_utf8_lossy(&said).into_owned()))
}

#[tokio::test]
async fn callers_reach_the_gateway_by_tls_and_nothing_in_clear() -> Outcome {
    let mut scene = scene("tls").await?;
    let bearer = scene.token("crm", &Value::Null)?;
    scene.passes(scene.call("crm").bearer(&bearer)).await?;
    // Another TLS library, both versions of HTTP.
    let metadata = format!("{}/.well-known/oauth-protected-resource/s/crm/mcp", scene.url);
    for (asked, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let (code, said) = curl(
            &scene,
            &[asked, "-w", "\n%{http_version} %{ssl_verify_result}", &metadata],
        )?;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with(&format!("\n{version} 0")), "{said}");
        assert!(
            said.contains(&format!("\"resource\":\"{}\"", scene.mcp("crm"))),
            "{said}"
        );
    }
    // What was agreed on is what is spoken: HTTP/2 that was not agreed on is no request.
    let (code, said) = curl(&scene, &["--no-alpn", "--http2-prior-knowledge", &metadata])?;
    assert_ne!(code, Some(0), "{said}");
    // In clear there is nothing.
    let clear = scene.url.replace("https://", "http://");
    assert!(Request::get(clear).send().await.is_err());
    scene.passes(scene.call("crm").bearer(&bearer)).await?;
    Ok(())
}

#[tokio::test]
async fn mtls_16_only_tls_that_is_good_today_is_spoken() -> Outcome {
    let scene = scene("weak").await?;
    let at = scene.at();
    let config = |name: &str, options: &str| -> Outcome<std::path::PathBuf> {
        let text = format!(
            "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMinProtocol = TLSv1\nCipherString = ALL:@SECLEVEL=0\n{options}\n"
        );
        let file = scene.folder().join(name);
        fs::write(&file, text)?;
        Ok(file)
    };
    let (usual, without_ems) = (
        config("usual.cnf", "")?,
        config("ems.cnf", "Options = -ExtendedMasterSecret")?,
    );
    let try_it = |config: &Path, arguments: &[&str]| -> Outcome<(bool, String)> {
        let all = [
            &["s_client", "-connect", &at, "-servername", "localhost"],
            arguments,
        ]
        .concat();
        let ran = program("openssl", &all, &[("OPENSSL_CONF", config)])?;
        let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        let agreed = !said.contains("Cipher is (NONE)") && said.contains("Cipher is ");
        Ok((agreed, said))
    };
    for good in [
        &["-tls1_3"][..],
        &["-tls1_2"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    ] {
        let (agreed, said) = try_it(&usual, good)?;
        assert!(agreed, "{good:?}: {said}");
    }
    for (bad, alert) in [
        (&["-tls1"][..], "alert handshake failure"),
        (&["-tls1_1"], "alert handshake failure"),
        // Without forward secrecy, and with a mode that is broken again and again.
        (
            &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
            "alert handshake failure",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
            "alert handshake failure",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-NULL-SHA"],
            "alert handshake failure",
        ),
        (
            &["-tls1_2", "-cipher", "AECDH-AES256-SHA"],
            "alert handshake failure",
        ),
    ] {
        let (agreed, said) = try_it(&usual, bad)?;
        assert!(!agreed && said.contains(alert), "{bad:?}: {said}");
    }
    // RFC 7627: what two sessions have in common could be made the same by whoever is between them.
    let (agreed, said) = try_it(&without_ems, &["-tls1_2"])?;
    assert!(!agreed && said.contains("alert handshake failure"), "{said}");
    let (agreed, said) = try_it(&usual, &["-tls1_2"])?;
    assert!(agreed, "{said}");
    Ok(())
}

#[tokio::test]
async fn mtls_18_a_connection_made_for_one_name_is_for_no_other() -> Outcome {
    let mut scene = scene("names").await?;
    let bearer = scene.token("crm", &Value::Null)?;
    let call = scene.call("crm").bearer(&bearer);
    scene.passes(call.clone()).await?;
    // The loopback rule would take any of this machine's names; the connection was made for one of them.
    for host in ["127.0.0.1", "[::1]", "other.example", "localhost.other.example"] {
        let answer = scene.refused(call.clone().header("host", host), 421).await?;
        assert_eq!(answer.header("cache-control"), "no-store", "{host}");
    }
    for host in ["localhost", "LOCALHOST:1", "localhost."] {
        let request = call.clone().header("host", host);
        let status = if host == "localhost." { 403 } else { 200 };
        if status == 200 {
            scene.passes(request).await?;
        } else {
            scene.refused(request, status).await?;
        }
    }
    // An address is no name to ask for (RFC 6066 §3): then the rule of hosts is the only one.
    let client = scene.client.clone().asking_for("127.0.0.1");
    scene
        .passes(call.clone().via(&client).header("host", "127.0.0.1"))
        .await?;
    scene
        .refused(call.clone().via(&client).header("host", "other.example"), 403)
        .await?;
    // HTTP/2 has `:authority`.
    let metadata = "/.well-known/oauth-protected-resource/s/crm/mcp";
    for (host, status) in [("localhost", "200"), ("other.example", "421")] {
        let (header, url) = (format!("host: {host}"), format!("{}{metadata}", scene.url));
        let (_, said) = curl(
            &scene,
            &[
                "--http2",
                "-H",
                &header,
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                &url,
            ],
        )?;
        assert_eq!(said, status, "{host}");
    }
    scene.passes(call).await?;
    Ok(())
}

/// What the gateway shows now.
fn shown(scene: &Scene) -> Outcome<String> {
    let ran = program(
        "openssl",
        &["s_client", "-connect", &scene.at(), "-servername", "localhost"],
        &[],
    )?;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let line = said.lines().find(|line| line.starts_with("issuer="));
    Ok(line.unwrap_or_default().replace(' ', ""))
}

async fn until(scene: &Scene, issuer: &str) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(20);
    while shown(scene)? != issuer {
        assert!(Instant::now() < deadline, "{} is still shown", shown(scene)?);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_renewed_certificate_is_in_use_without_a_restart_and_half_of_one_never() -> Outcome {
    let mut scene = scene("renewed").await?;
    let bearer = scene.token("crm", &Value::Null)?;
    assert_eq!(shown(&scene)?, "issuer=CN=gateways");
    // The certificate without its key, as a slow copy leaves them for a while: nobody notices.
    let (second, third) = (Ca::new("second")?.server()?, Ca::new("third")?.server()?);
    fs::write(scene.folder().join("gateway.pem"), &second.chain_pem)?;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    scene.passes(scene.call("crm").bearer(&bearer)).await?;
    assert_eq!(shown(&scene)?, "issuer=CN=gateways");
    second.write(scene.folder(), "gateway")?;
    until(&scene, "issuer=CN=second").await?;
    // A key that others can read is as bad as none.
    third.write(scene.folder(), "gateway")?;
    fs::set_permissions(
        scene.folder().join("gateway.key"),
        fs::Permissions::from_mode(0o644),
    )?;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(shown(&scene)?, "issuer=CN=second");
    fs::set_permissions(
        scene.folder().join("gateway.key"),
        fs::Permissions::from_mode(0o600),
    )?;
    until(&scene, "issuer=CN=third").await
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_and_say_why() -> Outcome {
    let mut scene = scene("conf").await?;
    scene.stop();
    let folder = scene.folder();
    let (ours, others) = (Ca::new("ours")?.server()?, Ca::new("others")?.server()?);
    let file = folder.join("gateway.toml").display().to_string();
    let rows = [
        (
            &ours.chain_pem,
            others.key_pem.clone(),
            0o600,
            "is not that of the certificate in",
        ),
        (
            &ours.chain_pem,
            ours.key_pem.clone(),
            0o640,
            "can be read or written by other users",
        ),
        (
            &ours.key_pem,
            ours.key_pem.clone(),
            0o600,
            "does not hold certificates in PEM",
        ),
        (
            &ours.chain_pem,
            ours.chain_pem.clone(),
            0o600,
            "does not hold one private key in PEM",
        ),
        (
            &ours.chain_pem,
            ours.key_pem.clone() + &ours.key_pem,
            0o600,
            "does not hold one private key in PEM",
        ),
        (
            &ours.chain_pem,
            ours.key_pem.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            0o600,
            "does not hold one private key in PEM",
        ),
    ];
    for (certificate, key, mode, why) in rows {
        fs::write(folder.join("gateway.pem"), certificate)?;
        fs::write(folder.join("gateway.key"), key)?;
        fs::set_permissions(folder.join("gateway.key"), fs::Permissions::from_mode(mode))?;
        let started = crate::portcullis().run(["gateway", "--config", &file])?;
        assert_eq!(started.code, Some(2), "{why}: {started:?}");
        let checked = crate::portcullis().run(["config", "check", &file])?;
        assert_eq!(checked.code, Some(2), "{why}: {checked:?}");
        assert!(started.stderr.contains(why), "{started:?}");
        assert!(
            (checked.stdout.clone() + &checked.stderr).contains(why),
            "{checked:?}"
        );
        assert!(!started.stderr.contains("BEGIN"), "{started:?}");
    }
    Ok(())
}
