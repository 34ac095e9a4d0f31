//! Security events of an identity provider, delivered to one gateway and in force at all of them.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::{PublicJwk, SigningKey};
use portcullis_core::jose::jws::sign;
use portcullis_net::clock::{Clock as _, System};
use portcullis_testkit::{Answer, Failure, Outcome, Request, Scratch};
use serde_json::{Value, json};

use crate::revocation::{ISSUER, Replicas, failed};
use crate::text;

const TRANSMITTER: &str = "https://ssf.example.test";
const CREDENTIAL: &str = "the-transmitters-own-credential";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const FOLLOWS: Duration = Duration::from_secs(30);

struct Stage {
    replicas: Replicas,
    key: SigningKey,
    _files: Scratch,
}

fn key(kid: &str) -> Outcome<SigningKey> {
    key_for(kid, SignatureAlgorithm::Es256)
}

fn key_for(kid: &str, algorithm: SignatureAlgorithm) -> Outcome<SigningKey> {
    let kid = KeyId::parse(kid).map_err(failed)?;
    let (key, _) = SigningKey::generate(kid, algorithm).map_err(failed)?;
    Ok(key)
}

impl Stage {
    async fn start(name: &str) -> Outcome<Self> {
        let files = Scratch::new(&format!("{name}-transmitter"))?;
        let key = key("ssf")?;
        let jwk = PublicJwk {
            key: key.public().clone(),
            algorithm: SignatureAlgorithm::Es256.into(),
            kid: KeyId::parse("ssf").map_err(failed)?,
            chain: Vec::new(),
        };
        fs::write(
            files.path().join("jwks.json"),
            json!({"keys": [jwk.to_json()]}).to_string(),
        )?;
        let mut credential = fs::OpenOptions::new();
        credential.create_new(true).write(true).mode(0o600);
        std::io::Write::write_all(
            &mut credential.open(files.path().join("credential"))?,
            CREDENTIAL.as_bytes(),
        )?;
        let folder = files.path().display();
        let more = format!(
            r#"[[signals]]
name = "corp"
issuer = "{TRANSMITTER}"
jwks_file = "{folder}/jwks.json"
algorithms = ["ES256"]
audience = "https://gw.example.test/signals"
issuers = ["{ISSUER}"]
bearer_file = "{folder}/credential"
"#
        );
        Ok(Self {
            replicas: Replicas::start_with(name, &more).await?,
            key,
            _files: files,
        })
    }

    fn set(&self, change: &Value) -> Outcome<String> {
        signed(&self.key, "secevent+jwt", change)
    }

    fn delivery(&self, set: &str) -> Request {
        let [port, _] = self.replicas.ports;
        Request::post(format!("http://127.0.0.1:{port}/signals/corp"))
            .header("host", format!("127.0.0.1:{port}"))
            .header("content-type", "application/secevent+jwt")
            .header("accept", "application/json")
            .body(set.to_owned())
    }

    async fn deliver(&self, set: &str) -> Outcome<Answer> {
        self.delivery(set).bearer(CREDENTIAL).send().await
    }

    fn records(&self, kind: &str) -> Outcome<Vec<Value>> {
        let log = fs::read_to_string(
            self.replicas
                .folder(0)
                .join("audit/audit-00000000000000000001.jsonl"),
        )?;
        let records = log.lines().map(serde_json::from_str::<Value>);
        let mut records = records.collect::<Result<Vec<_>, _>>()?;
        records.retain(|record| text(record, "/kind") == kind);
        Ok(records)
    }
}

fn signed(key: &SigningKey, typ: &str, change: &Value) -> Outcome<String> {
    let mut claims = json!({
        "iss": TRANSMITTER, "aud": "https://gw.example.test/signals", "iat": System.now().as_secs(), "jti": "set-1",
        "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "ada"},
        "events": {format!("{CAEP}session-revoked"): {"initiating_entity": "admin"}},
    });
    let (Value::Object(claims), Value::Object(change)) = (&mut claims, change) else {
        return Err(Failure::new("claims are an object"));
    };
    for (name, value) in change {
        claims.insert(name.clone(), value.clone());
    }
    sign(key, typ, claims).map_err(failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_at_the_provider_ends_at_every_gateway() -> Outcome {
    let mut stage = Stage::start("signals").await?;
    for (jti, event, subject) in [
        ("set-1", "session-revoked", "ada"),
        ("set-2", "credential-change", "bob"),
    ] {
        let token = stage.replicas.token(&json!({"sub": subject, "jti": subject}))?;
        let other = stage.replicas.token(&json!({"sub": "eve", "jti": "other"}))?;
        stage.replicas.both_allow(&token).await?;
        let set = stage.set(&json!({
            "jti": jti,
            "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": subject},
            "events": {format!("{CAEP}{event}"): {"change_type": "revoke", "credential_type": "password"}},
        }))?;
        for _ in 0..2 {
            // A transmitter that never heard of the first answer sends it again.
            let taken = stage.deliver(&set).await?;
            assert_eq!((taken.status, taken.text().as_str()), (202, ""));
        }
        for index in 0..2 {
            let (answer, took) = stage.replicas.refused_at(index, &token).await?;
            println!("{event}: gateway {index} refused {} ms after", took.as_millis());
            assert_eq!(answer.status, 401);
            assert!(
                answer
                    .header("www-authenticate")
                    .contains("error=\"invalid_token\"")
            );
            assert_eq!(text(&answer.json()?, "/error/data/reason"), "revoked.user-tokens");
        }
        stage.replicas.both_allow(&other).await?;
    }
    // Two SETs, each delivered twice, are two revocations, each once on record.
    let began = Instant::now();
    while stage.records("revocation")?.len() < 2 {
        assert!(began.elapsed() < FOLLOWS);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let revocations = stage.records("revocation")?;
    assert_eq!(revocations.len(), 2, "{revocations:?}");
    assert!(
        revocations
            .iter()
            .all(|record| text(record, "/by") == TRANSMITTER)
    );
    assert_eq!(stage.records("signal")?.len(), 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_transmitters_is_refused_as_rfc_8935_has_it_and_has_no_effect() -> Outcome {
    let mut stage = Stage::start("signals-refused").await?;
    let token = stage.replicas.token(&json!({}))?;
    stage.replicas.both_allow(&token).await?;
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoic2VjZXZlbnQrand0In0.e30.AA".to_owned();
    let es384 = key_for("ssf", SignatureAlgorithm::Es384)?;
    let (past, future) = (System.now().as_secs() - 86_500, System.now().as_secs() + 86_400);
    let rows = [
        ("issuer", stage.set(&json!({"iss": ISSUER}))?, "invalid_issuer"),
        (
            "audience",
            stage.set(&json!({"aud": "https://other.example"}))?,
            "invalid_audience",
        ),
        (
            "type",
            signed(&stage.key, "at+jwt", &json!({}))?,
            "invalid_request",
        ),
        ("type", signed(&stage.key, "JWT", &json!({}))?, "invalid_request"),
        // `none`, and what nobody configured.
        ("algorithm", unsigned, "invalid_key"),
        (
            "algorithm",
            signed(&es384, "secevent+jwt", &json!({}))?,
            "invalid_key",
        ),
        (
            "signature",
            signed(&key("ssf")?, "secevent+jwt", &json!({}))?,
            "authentication_failed",
        ),
        (
            "key-unknown",
            signed(&key("other")?, "secevent+jwt", &json!({}))?,
            "invalid_key",
        ),
        ("time", stage.set(&json!({"iat": future}))?, "invalid_request"),
        ("time", stage.set(&json!({"iat": past}))?, "invalid_request"),
        ("claim", stage.set(&json!({"events": {}}))?, "invalid_request"),
        ("body", "x".repeat(16 * 1024 + 1), "invalid_request"),
        ("malformed", "x".repeat(16 * 1024), "invalid_request"),
        ("malformed", String::new(), "invalid_request"),
    ];
    let mut codes = Vec::new();
    for (code, set, err) in rows {
        let answer = stage.deliver(&set).await?;
        assert_eq!(
            (
                answer.status,
                answer.header("content-type"),
                answer.header("content-language")
            ),
            (400, "application/json", "en"),
            "{code}"
        );
        let body = answer.json()?;
        assert_eq!(text(&body, "/err"), err, "{code}: {body}");
        assert!(!text(&body, "/description").is_empty());
        codes.push(format!("signal.{code}"));
    }
    codes.extend(["ok".to_owned(), "ok".to_owned()]);
    let good = stage.set(&json!({}))?;
    for credential in ["", "the-transmitters-own-credentiaL"] {
        let answer = stage.delivery(&good).bearer(credential).send().await?;
        assert_eq!(
            (answer.status, text(&answer.json()?, "/err")),
            (400, "authentication_failed".to_owned())
        );
    }
    assert_eq!(stage.delivery(&good).send().await?.status, 400);
    // Of an issuer that it does not speak for: acknowledged, and nothing comes of it.
    let elsewhere =
        stage.set(&json!({"sub_id": {"format": "iss_sub", "iss": "https://other.example", "sub": "ada"}}))?;
    assert_eq!(stage.deliver(&elsewhere).await?.status, 202);
    let verification = stage.set(&json!({
        "jti": "set-2", "sub_id": {"format": "opaque", "id": "stream-1"},
        "events": {"https://schemas.openid.net/secevent/ssf/event-type/verification": {"state": "try-1"}},
    }))?;
    assert_eq!(stage.deliver(&verification).await?.status, 202);
    let records = stage.records("signal")?;
    let results: Vec<String> = records.iter().map(|record| text(record, "/result")).collect();
    assert_eq!(results, codes);
    assert_eq!(
        records.last().map(|record| text(record, "/state")),
        Some("try-1".to_owned())
    );
    assert_eq!(stage.replicas.registry(&["list"])?, json!([]));
    stage.replicas.both_allow(&token).await?;
    assert_eq!(stage.deliver(&good).await?.status, 202);
    stage.replicas.refused_at(1, &token).await.map(drop)
}
