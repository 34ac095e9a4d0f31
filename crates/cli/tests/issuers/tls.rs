//! `oidc-provider` behind a CA of its own: what the gateway needs to find it, and tokens that are bound to the certificate of their
//! client (RFC 8705).

use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_testkit::{Failure, Outcome};
use serde_json::{Value, json};

use crate::oidc_provider::As;
use crate::stage::{Stage, text};

/// Certificates of one CA, made with OpenSSL: the authorization server's, and the client's.
struct Certificates(PathBuf);

impl Certificates {
    fn make(folder: &Path) -> Outcome<Self> {
        let made = Self(folder.to_owned());
        let authority = [
            "-x509",
            "-subj",
            "/CN=The CA of a test",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ];
        made.certificate("ca", &authority)?;
        let server = [
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ];
        let client = [
            "-subj",
            "/CN=agent-mtls",
            "-addext",
            "extendedKeyUsage=clientAuth",
        ];
        for (name, subject) in [("server", server), ("client", client)] {
            let (ca, key) = (made.file("ca", "pem"), made.file("ca", "key"));
            let issued = [
                ["-x509", "-CA", ca.as_str(), "-CAkey", key.as_str()].as_slice(),
                ["-addext", "basicConstraints=critical,CA:FALSE"].as_slice(),
                subject.as_slice(),
            ]
            .concat();
            made.certificate(name, &issued)?;
        }
        Ok(made)
    }

    fn certificate(&self, name: &str, more: &[&str]) -> Outcome {
        let (key, certificate) = (self.file(name, "key"), self.file(name, "pem"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-keyout", &key, "-out", &certificate])
            .args(more)
            .output()?;
        match made.status.success() {
            true => Ok(()),
            false => Err(Failure::new(String::from_utf8_lossy(&made.stderr).into_owned())),
        }
    }

    fn file(&self, name: &str, kind: &str) -> String {
        self.0.join(format!("{name}.{kind}")).display().to_string()
    }

    /// What the agent trusts, and shows.
    fn of_agent(&self) -> Value {
        json!({ "ca": self.file("ca", "pem"), "cert": self.file("client", "pem"), "key": self.file("client", "key") })
    }
}

#[tokio::test]
async fn real_client_tokens_of_oidc_provider_with_a_private_ca_and_bound_to_a_certificate() -> Outcome {
    let Some(mut stage) = Stage::set().await? else {
        return Ok(());
    };
    let files = Certificates::make(stage.scratch.path())?;
    let tls = json!({
        "cert": files.file("server", "pem"), "key": files.file("server", "key"), "ca": files.file("ca", "pem"),
    });
    let server = As::start(&stage, &[("crm", Some("ES256"), 600)], &json!({ "tls": tls })).await?;
    let crm = stage.mcp("crm");
    let token = |client: &str, tls: Value| {
        json!({
            "do": "token", "with": "openid-client", "issuer": server.url, "client_id": client, "resource": crm,
            "scope": "crm:read", "tls": tls,
        })
    };
    let plain = token("agent", json!({ "ca": files.file("ca", "pem") }));
    let plain = stage.granted(&plain, "bearer").await?;
    let bound = token("agent-mtls", files.of_agent());
    let bound = stage.granted(&bound, "bearer").await?;

    // Without its CA the issuer is nobody, whoever answers there.
    stage.open(&server.trusted(""), &["crm"]).await?;
    let answer = stage.refused(stage.call("crm").bearer(&plain), 503).await?;
    assert_eq!(
        text(&answer.json()?, "/error/data/reason"),
        "issuer.keys-unavailable"
    );

    let trusted = server.trusted(&format!("ca_file = \"{}\"", files.file("ca", "pem")));
    stage.open(&trusted, &["crm"]).await?;
    stage.passes(stage.call("crm").bearer(&plain)).await?;
    // RFC 8705 §3: a token that is bound to a certificate, on a connection without one.
    let answer = stage.refused(stage.call("crm").bearer(&bound), 401).await?;
    let challenge = answer.header("www-authenticate");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert_eq!(
        stage.reasons()?.last().map(String::as_str),
        Some("token.certificate-missing")
    );
    stage.passes(stage.call("crm").bearer(&plain)).await
}
