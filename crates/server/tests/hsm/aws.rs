//! AWS KMS, by two stand-ins that do the cryptography for real: `moto`, which also checks the requests' signatures, and
//! `ministack`, which also decrypts with RSA. Neither agrees on secrets: `DeriveSharedSecret` is not run here.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::KeyManagement;
use portcullis_net::clock;
use portcullis_server::custody::backend::{AwsCredentials, AwsKms, AwsKmsSettings, BackendError, KeyBackend};

use crate::contract::{self, Place, kid, signs};
use crate::parts::{Folder, Started, part, ports, until};

const START: Duration = Duration::from_secs(60);

fn tool(name: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let candidates: Vec<_> = ["kms", "venv"]
        .iter()
        .map(|folder| root.join(".tools").join(folder).join("bin").join(name))
        .collect();
    part(
        name,
        "python3 -m venv .tools/kms && .tools/kms/bin/pip install -r conformance/requirements-kms.txt",
        &candidates,
    )
}

fn moto(port: u16) -> Option<Started> {
    let server = Started::new(
        Command::new(tool("moto_server")?)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    serves(port);
    Some(server)
}

fn ministack(port: u16, folder: &Folder) -> Option<Started> {
    let server = Started::new(
        Command::new(tool("ministack")?)
            .current_dir(folder.path())
            .env("GATEWAY_PORT", port.to_string())
            .env("TMPDIR", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    serves(port);
    Some(server)
}

fn serves(port: u16) {
    until("the key service serves", START, || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
}

/// A credentials file that only we can read.
fn credentials(folder: &Folder, id: &str, secret: &str) -> AwsCredentials {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.path().join("credentials");
    std::fs::write(
        &path,
        format!("[signer]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"),
    )
    .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    AwsCredentials::File {
        path,
        profile: "signer".to_owned(),
    }
}

fn settings(port: u16, credentials: AwsCredentials) -> AwsKmsSettings {
    AwsKmsSettings {
        region: "eu-central-1".to_owned(),
        endpoint: Some(format!("http://127.0.0.1:{port}/")),
        ca_file: None,
        credentials,
        rsa_bits: 2048,
    }
}

fn open(settings: &AwsKmsSettings) -> Arc<dyn KeyBackend> {
    Arc::new(AwsKms::open(settings.clone(), Arc::new(clock::System)).unwrap())
}

#[test]
fn a_key_service_that_signs_keeps_the_contract() {
    let (folder, port) = (Folder::new("moto"), ports(1));
    let Some(_server) = moto(port) else { return };
    let settings = settings(port, credentials(&folder, "id", "secret"));
    contract::holds(&Place {
        open: &|| open(&settings),
        signing: &[
            SignatureAlgorithm::Es256,
            SignatureAlgorithm::Es384,
            SignatureAlgorithm::Es512,
            SignatureAlgorithm::Rs256,
        ],
        sealing: &[],
        // Its salt is as long as the key allows, which no verifier of JWS takes: found out when the key is made.
        refused_signing: &[
            (SignatureAlgorithm::MlDsa65, "ES256"),
            (SignatureAlgorithm::Ps256, "does not hold"),
        ],
        refused_sealing: &[],
        stops: false,
        bears_others: true,
        longest: 4000,
        owns: true,
    });
}

#[test]
fn a_key_service_that_decrypts_keeps_the_contract() {
    let (folder, port) = (Folder::new("ministack"), ports(1));
    let Some(_server) = ministack(port, &folder) else {
        return;
    };
    let settings = settings(port, credentials(&folder, "id", "secret"));
    contract::holds(&Place {
        open: &|| open(&settings),
        signing: &[
            SignatureAlgorithm::Es256,
            SignatureAlgorithm::Es384,
            SignatureAlgorithm::EdDsa,
            SignatureAlgorithm::Rs256,
            SignatureAlgorithm::Ps256,
        ],
        sealing: &[KeyManagement::RsaOaep256],
        refused_signing: &[(SignatureAlgorithm::MlDsa65, "ES256")],
        refused_sealing: &[],
        stops: true,
        bears_others: true,
        longest: 10_000,
        owns: true,
    });
}

#[test]
fn a_key_service_that_goes_away_is_said_and_comes_back() {
    let (folder, port) = (Folder::new("moto-away"), ports(1));
    let Some(server) = moto(port) else { return };
    let backend = open(&settings(port, credentials(&folder, "id", "secret")));
    let algorithm = SignatureAlgorithm::Es256;
    let key = backend.make_signing(algorithm, "key").unwrap();
    let signer = backend.signer(&kid("sig-1"), algorithm, &key.handle).unwrap();
    signs(&*signer, &key);
    assert!(!signer.is_quick());
    drop(server);
    let error = signer.sign(b"x").unwrap_err();
    assert!(error.0.contains("cannot be reached now"), "{error}");
    let error = backend.make_signing(algorithm, "key").unwrap_err();
    assert!(error.may_pass(), "{error:?}");
    // moto forgets everything when it ends: a key of before is gone, a new one is made over the same line.
    let Some(_server) = moto(port) else { return };
    let gone = backend
        .signer(&kid("sig-1"), algorithm, &key.handle)
        .err()
        .unwrap();
    assert!(matches!(gone, BackendError::Missing(_)), "{gone:?}");
    let key = backend.make_signing(algorithm, "key").unwrap();
    signs(
        &*backend.signer(&kid("sig-2"), algorithm, &key.handle).unwrap(),
        &key,
    );
}

/// One request and the text of its answer.
fn post(port: u16, path: &str, kind: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: iam.amazonaws.com\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, \
         Signature=none\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, text) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("{before} in {text}"));
    text.split_once(after).unwrap().0
}

#[test]
fn requests_are_signed_as_the_service_wants_and_a_wrong_secret_is_said() {
    let (folder, port) = (Folder::new("moto-auth"), ports(1));
    let Some(_server) = moto(port) else { return };
    let iam = |action: &str| post(port, "/", "application/x-www-form-urlencoded", action);
    iam("Action=CreateUser&UserName=signer&Version=2010-05-08");
    let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C\
                  %22Action%22%3A%22kms%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
    iam(&format!(
        "Action=PutUserPolicy&UserName=signer&PolicyName=kms&PolicyDocument={policy}&Version=2010-05-08"
    ));
    let made = iam("Action=CreateAccessKey&UserName=signer&Version=2010-05-08");
    let id = between(&made, "<AccessKeyId>", "</AccessKeyId>");
    let secret = between(&made, "<SecretAccessKey>", "</SecretAccessKey>");
    // From now on every request's signature is checked.
    post(port, "/moto-api/reset-auth", "text/plain", "0");

    let backend = open(&settings(port, credentials(&folder, id, secret)));
    let key = backend.make_signing(SignatureAlgorithm::Es256, "key").unwrap();
    let signer = backend
        .signer(&kid("sig-1"), SignatureAlgorithm::Es256, &key.handle)
        .unwrap();
    signs(&*signer, &key);

    // The file is read anew: a wrong secret, then the right one again.
    credentials(&folder, id, "wrong");
    let error = backend
        .make_signing(SignatureAlgorithm::Es256, "key")
        .unwrap_err();
    assert!(matches!(error, BackendError::Configuration(_)), "{error:?}");
    assert!(error.to_string().contains("check the credentials"), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    credentials(&folder, id, secret);
    signs(&*signer, &key);
}
