//! Workloads of a SPIFFE trust domain, on the wire: by their certificates, and by their tokens. The names are rows of the attack
//! catalogue.

use std::fs;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_testkit::proofs::{Key, now};
use portcullis_testkit::tls::rcgen::{BasicConstraints, IsCa, KeyUsagePurpose, SanType};
use portcullis_testkit::tls::{Ca, CertificateParams, Client, Pair};
use portcullis_testkit::{Failure, Outcome, Request, mcp};
use serde_json::{Value, json};

use crate::secured::{ISSUER, More, Scene};

const SECTIONS: &str = r#"
[mtls]
client_ca_files = ["clients.pem"]
[policy]
files = ["workloads.cedar"]
[[trust_domains]]
name = "prod.example"
bundle_file = "prod.json"
algorithms = ["ES256"]
[trust_domains.servers.crm.workloads."/ns/sales/*"]
scopes = ["crm:read"]
[trust_domains.servers.crm.workloads."/ns/sales/boss"]
scopes = ["crm:irreversible"]
roles = ["boss"]
[[trust_domains]]
name = "test.example"
bundle_file = "test.json"
[trust_domains.servers.crm]
tools = ["find"]
[trust_domains.servers.crm.workloads."/*"]
scopes = ["crm:read"]
"#;

/// Two trust domains, of which the first has tokens too, and a CA for clients that are none of theirs.
struct World {
    scene: Scene,
    prod: Ca,
    test: Ca,
    clients: Ca,
    tokens: Key,
}

fn bundle(ca: &Ca, tokens: Option<&Key>) -> String {
    let mut keys = vec![json!({
        "use": "x509-svid", "kty": "EC", "crv": "P-256", "x": "", "y": "", "x5c": [STANDARD.encode(ca.certificate())],
    })];
    if let Some(tokens) = tokens {
        let mut jwk = tokens.jwk();
        for (name, value) in [("use", "jwt-svid"), ("kid", "t")] {
            crate::dpop::set(&mut jwk, name, value.into());
        }
        keys.push(jwk);
    }
    json!({"keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 60}).to_string()
}

impl World {
    async fn new(name: &str) -> Outcome<Self> {
        let (prod, test, clients) = (Ca::new("prod")?, Ca::new("test")?, Ca::new("clients")?);
        let tokens = Key::generate()?;
        let scene = Scene::new(name, |folder| {
            fs::write(folder.join("prod.json"), bundle(&prod, Some(&tokens)))?;
            fs::write(folder.join("test.json"), bundle(&test, None))?;
            fs::write(folder.join("clients.pem"), clients.pem())?;
            let rules = r#"forbid (principal, action, resource) when { principal has workload && principal.workload == "spiffe://prod.example/ns/sales/fired" };
forbid (principal, action, resource == Tool::"crm/audit") unless { principal.roles.contains("boss") };"#;
            fs::write(folder.join("workloads.cedar"), rules)?;
            Ok(More {
                sections: SECTIONS.to_owned(),
                of_vault: "[servers.mtls]\nrequired = \"always\"\n".to_owned(),
            })
        });
        Ok(Self {
            scene: scene.await?,
            prod,
            test,
            clients,
            tokens,
        })
    }

    /// A call of a workload that shows this certificate and no token.
    fn by(&self, pair: &Pair, server: &str) -> Outcome<Request> {
        let client = Client::showing(&self.scene.ca, pair)?;
        Ok(self.scene.call(server).via(&client))
    }

    fn claims(&self, path: &str) -> Value {
        json!({
            "sub": format!("spiffe://prod.example{path}"), "aud": self.scene.mcp("crm"), "iat": now(), "exp": now() + 300,
        })
    }
}

fn uri(text: &str) -> Outcome<SanType> {
    let text = text.try_into();
    Ok(SanType::URI(text.map_err(|_| Failure::new("a URI"))?))
}

fn svid(ca: &Ca, id: &str) -> Outcome<Pair> {
    let id = uri(id)?;
    ca.issue("", |params| {
        params.distinguished_name = portcullis_testkit::tls::rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![id];
    })
}

#[tokio::test]
async fn a_workload_calls_with_its_certificate_alone_and_has_what_was_granted() -> Outcome {
    let mut world = World::new("svid").await?;
    let report = svid(&world.prod, "spiffe://prod.example/ns/sales/report")?;
    let (good, plain) = (world.by(&report, "crm")?, world.scene.call("crm"));
    world.scene.passes(good.clone()).await?;
    // Through an authority between.
    let middle = svid(
        &world.prod.below("middle", |_| ())?,
        "spiffe://prod.example/ns/sales/report",
    )?;
    let through = world.by(&middle, "crm")?;
    world.scene.passes(through).await?;
    // Without the certificate, at a server where the workload has nothing, and a workload that has nothing: told where to begin.
    let outside = svid(&world.prod, "spiffe://prod.example/ns/ops/report")?;
    let beside = svid(&world.prod, "spiffe://prod.example/ns/sales")?;
    let rows = [
        (plain, "token.missing"),
        (world.by(&report, "vault")?, "token.workload-not-granted"),
        (world.by(&outside, "crm")?, "token.workload-not-granted"),
        (world.by(&beside, "crm")?, "token.workload-not-granted"),
    ];
    for (request, reason) in rows {
        let answer = world.scene.refused(request, 401).await?;
        let challenge = answer.header("www-authenticate").to_owned();
        assert!(challenge.starts_with("Bearer resource_metadata="), "{challenge}");
        assert!(!challenge.contains("error"), "{challenge}");
        assert_eq!(crate::text(&answer.json()?, "/error/data/reason"), reason);
    }
    // Policies see it by its name and its roles, and tools of a domain are those that it was given.
    let fired = svid(&world.prod, "spiffe://prod.example/ns/sales/fired")?;
    let boss = svid(&world.prod, "spiffe://prod.example/ns/sales/boss")?;
    let other = svid(&world.test, "spiffe://test.example/anything")?;
    let audit = |world: &World, pair: &Pair| -> Outcome<Request> {
        let client = Client::showing(&world.scene.ca, pair)?;
        Ok(mcp::call(&world.scene.mcp("crm"), "audit", &json!({})).via(&client))
    };
    for (request, reason) in [
        (world.by(&fired, "crm")?, "policy.forbidden"),
        (audit(&world, &report)?, "policy.forbidden"),
        (audit(&world, &other)?, "policy.issuer-not-for-target"),
    ] {
        let answer = world.scene.refused(request, 403).await?;
        assert_eq!(crate::text(&answer.json()?, "/error/data/reason"), reason);
    }
    for request in [audit(&world, &boss)?, world.by(&other, "crm")?, good] {
        world.scene.passes(request).await?;
    }
    let decisions = world.scene.decisions()?;
    let first = decisions
        .first()
        .ok_or_else(|| Failure::new("nothing on record"))?;
    assert_eq!(first["issuer"], "spiffe://prod.example");
    assert_eq!(first["agent"], "spiffe://prod.example/ns/sales/report");
    assert_eq!(first["user"], Value::Null);
    assert_eq!(
        (&first["confirmation"], &first["scopes_held"]),
        (&json!("mtls"), &json!("crm:read"))
    );
    assert_eq!(first["certificate"], report.thumbprint());

    // A bundle without the authority that signed it ends the workload's word.
    fs::write(
        world.scene.folder().join("prod.json"),
        bundle(&Ca::new("prod")?, Some(&world.tokens)),
    )?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let gone = svid(&world.prod, "spiffe://prod.example/ns/ops/report")?;
        match world.by(&gone, "crm")?.send().await {
            Ok(answer) => assert_eq!(answer.status, 401),
            Err(failure) => {
                assert!(
                    failure.to_string().contains("received fatal alert: "),
                    "{failure}"
                );
                break;
            }
        }
        assert!(
            Instant::now() < deadline,
            "the domain's old authority still counts"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let said = world.by(&report, "crm")?;
    world.scene.broken(said).await?;
    let other = world.by(&other, "crm")?;
    world.scene.passes(other).await?;
    Ok(())
}

#[tokio::test]
async fn a_revoked_workload_is_refused_by_its_certificate_and_by_its_token_and_no_other_is() -> Outcome {
    let mut world = World::new("revoked-workload").await?;
    let control = svid(&world.prod, "spiffe://prod.example/ns/sales/other")?;
    let control = world.by(&control, "crm")?;
    for (what, path, status, reason) in [
        ("user", "/ns/sales/report", 401, "revoked.user-tokens"),
        ("agent", "/ns/sales/close", 403, "revoked.agent"),
    ] {
        let id = format!("spiffe://prod.example{path}");
        let mut claims = world.claims(path);
        // It does not say when it was issued: that is no way to be newer than what is revoked.
        claims.as_object_mut().map(|claims| claims.remove("iat"));
        let token = world.tokens.sign(&json!({"kid": "t"}), &claims)?;
        let by_certificate = world.by(&svid(&world.prod, &id)?, "crm")?;
        let by_token = world.scene.call("crm").bearer(&token);
        for request in [&by_certificate, &by_token, &control] {
            world.scene.passes(request.clone()).await?;
        }
        let args = ["revoke", what, &id, "--issuer", "spiffe://prod.example"];
        let args = [args.as_slice(), &["--reason", "a test"]].concat();
        crate::revocation::registry(world.scene.folder(), &args)?;
        for request in [&by_certificate, &by_token] {
            let deadline = Instant::now() + Duration::from_secs(30);
            while world.scene.answered(request.clone()).await?.status == 200 {
                assert!(Instant::now() < deadline, "{what} {id} still counts");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let answer = world.scene.refused(request.clone(), status).await?;
            assert_eq!(crate::text(&answer.json()?, "/error/data/reason"), reason);
            let challenge = answer.header("www-authenticate");
            assert_eq!(
                challenge.contains("error=\"invalid_token\""),
                status == 401,
                "{challenge}"
            );
            assert_eq!(challenge.is_empty(), status == 403, "{challenge}");
        }
        world.scene.passes(control.clone()).await?;
    }
    let unknown = [
        "revoke",
        "agent",
        "spiffe://other.example/a",
        "--reason",
        "a test",
        "--issuer",
    ];
    let unknown = [unknown.as_slice(), &["spiffe://other.example"]].concat();
    let Err(refused) = crate::revocation::registry(world.scene.folder(), &unknown) else {
        return Err(Failure::new("a domain that is none here"));
    };
    let refused = refused.to_string();
    assert!(
        refused.contains("`spiffe://other.example` is no issuer here"),
        "{refused}"
    );
    assert!(refused.contains("`spiffe://prod.example`"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn mtls_08_exactly_one_name_of_a_workload_counts_and_only_from_its_own_domain() -> Outcome {
    let mut world = World::new("names").await?;
    let id = "spiffe://prod.example/ns/sales/report";
    let report = svid(&world.prod, id)?;
    let good = world.by(&report, "crm")?;
    world.scene.passes(good.clone()).await?;

    let one = || uri(id);
    let text = |text: &str| text.try_into().map_err(|_| Failure::new("a name"));
    type Change = Box<dyn FnOnce(&mut CertificateParams)>;
    let names = |names: Vec<SanType>| -> Change { Box::new(|params| params.subject_alt_names = names) };
    let usages = |usages: Vec<KeyUsagePurpose>, name: SanType| -> Change {
        Box::new(|params| {
            params.subject_alt_names = vec![name];
            params.key_usages = usages;
        })
    };
    let (denied, unknown) = ("AccessDenied", "UnknownCA");
    let signer = KeyUsagePurpose::KeyCertSign;
    let rows: Vec<(&str, Change, &str)> = vec![
        (
            "two of the domain",
            names(vec![one()?, uri("spiffe://prod.example/ns/sales/other")?]),
            denied,
        ),
        ("one twice", names(vec![one()?, one()?]), denied),
        (
            "one and another URI",
            names(vec![one()?, uri("https://prod.example/")?]),
            denied,
        ),
        (
            "another URI and one",
            names(vec![uri("https://prod.example/")?, one()?]),
            denied,
        ),
        (
            "of two domains",
            names(vec![one()?, uri("spiffe://test.example/a")?]),
            denied,
        ),
        (
            "a wildcard",
            names(vec![uri("spiffe://prod.example/ns/sales/*")?]),
            denied,
        ),
        ("no path", names(vec![uri("spiffe://prod.example")?]), denied),
        (
            "another spelling",
            names(vec![uri("SPIFFE://Prod.Example/ns/sales/report")?]),
            denied,
        ),
        (
            "an encoded path",
            names(vec![uri("spiffe://prod.example/ns%2fsales/report")?]),
            denied,
        ),
        (
            "a step up",
            names(vec![uri("spiffe://prod.example/ns/ops/../sales/report")?]),
            denied,
        ),
        (
            "a port",
            names(vec![uri("spiffe://prod.example:1/ns/sales/report")?]),
            denied,
        ),
        ("as a DNS name", names(vec![SanType::DnsName(text(id)?)]), unknown),
        (
            "as a mail address",
            names(vec![SanType::Rfc822Name(text(id)?)]),
            unknown,
        ),
        (
            "of no domain here",
            names(vec![uri("spiffe://other.example/ns/sales/report")?]),
            unknown,
        ),
        (
            "of the other domain",
            names(vec![uri("spiffe://test.example/ns/sales/report")?]),
            "",
        ),
        (
            "that signs others",
            usages(vec![KeyUsagePurpose::DigitalSignature, signer], one()?),
            denied,
        ),
        (
            "that signs lists",
            usages(
                vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign],
                one()?,
            ),
            denied,
        ),
        (
            "that does not say that it signs",
            usages(vec![KeyUsagePurpose::KeyAgreement], one()?),
            denied,
        ),
        ("that says nothing of its key", usages(Vec::new(), one()?), denied),
    ];
    for (what, change, alert) in rows {
        let pair = world.prod.issue("workload", change)?;
        let request = world.by(&pair, "crm")?;
        let said = world.scene.broken(request).await?;
        assert!(
            said.contains(&format!("received fatal alert: {alert}")),
            "{what}: {said}"
        );
    }
    let name = one()?;
    let authority = world.prod.issue("workload", |params| {
        params.subject_alt_names = vec![name];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    })?;
    let request = world.by(&authority, "crm")?;
    world.scene.broken(request).await?;
    // The authority for clients says nothing of workloads, and what it issued for itself is no workload.
    let pretended = svid(&world.clients, id)?;
    let request = world.by(&pretended, "crm")?;
    world.scene.broken(request).await?;
    let client = world.clients.issue("agent", |_| ())?;
    let request = world.by(&client, "crm")?;
    let answer = world.scene.refused(request, 401).await?;
    assert_eq!(
        crate::text(&answer.json()?, "/error/data/reason"),
        "token.missing"
    );
    world.scene.passes(good).await?;
    Ok(())
}

#[tokio::test]
async fn clm_15_a_jwt_svid_is_taken_for_this_server_for_its_time_and_from_its_own_workload() -> Outcome {
    let mut world = World::new("jwt").await?;
    let (path, kid) = ("/ns/sales/report", json!({"kid": "t", "typ": "JWT"}));
    let bearer = |world: &World, header: &Value, claims: &Value| -> Outcome<Request> {
        let token = world.tokens.sign(header, claims)?;
        Ok(world.scene.call("crm").bearer(&token))
    };
    let good = world.claims(path);
    for header in [
        kid.clone(),
        json!({"kid": "t"}),
        json!({"kid": "t", "typ": "JOSE"}),
    ] {
        let request = bearer(&world, &header, &good)?;
        world.scene.passes(request).await?;
    }
    // An identifier for tokens alone is not needed, and what is not is not there to be believed.
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        crate::dpop::set(&mut claims, name, value);
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().map(|claims| claims.remove(name));
        claims
    };
    for claims in [
        without("iat"),
        with("jti", json!("1")),
        with("scope", json!("crm:irreversible")),
        with("iss", json!("https://spire.example")),
    ] {
        let request = bearer(&world, &kid, &claims)?;
        world.scene.passes(request).await?;
    }
    let mcp = world.scene.mcp("crm");
    let rows = [
        (kid.clone(), without("aud"), "token.claim-missing"),
        (kid.clone(), with("aud", json!([])), "token.claim-malformed"),
        (
            kid.clone(),
            with("aud", json!(world.scene.mcp("vault"))),
            "token.audience",
        ),
        (
            kid.clone(),
            with("aud", json!(mcp.clone() + "/")),
            "token.audience",
        ),
        (
            kid.clone(),
            with("aud", json!([mcp, "https://other.example"])),
            "token.audiences",
        ),
        (kid.clone(), without("exp"), "token.claim-missing"),
        (kid.clone(), with("exp", json!(now() - 60)), "token.expired"),
        (kid.clone(), with("exp", json!(now() + 7200)), "token.lifetime"),
        (
            kid.clone(),
            with("iat", json!(now() + 120)),
            "token.issued-in-future",
        ),
        (
            kid.clone(),
            with("nbf", json!(now() + 120)),
            "token.not-yet-valid",
        ),
        (json!({"kid": "t", "typ": "at+jwt"}), good.clone(), "token.type"),
        (json!({"kid": "t", "typ": "dpop+jwt"}), good.clone(), "token.type"),
        (json!({"kid": "k"}), good.clone(), "token.key-unknown"),
        (
            kid.clone(),
            world.claims("/ns/ops/report"),
            "token.issuer-not-for-server",
        ),
        (kid.clone(), world.claims(""), "token.claim-missing"),
        (
            kid.clone(),
            with("sub", json!("spiffe://other.example/ns/sales/report")),
            "token.claim-missing",
        ),
        // A domain of whose tokens nothing is said.
        (
            kid.clone(),
            with("sub", json!("spiffe://test.example/ns/sales/report")),
            "token.claim-missing",
        ),
        (
            kid.clone(),
            with("cnf", json!({"jkt": world.tokens.thumbprint()})),
            "token.sender-constrained",
        ),
        (
            kid.clone(),
            with("cnf", json!({"kid": "t"})),
            "token.confirmation-unknown",
        ),
        // A token of the issuer's, by its own word, is judged as one.
        (kid.clone(), with("iss", json!(ISSUER)), "token.key-unknown"),
    ];
    let mut expected = Vec::new();
    for (header, claims, reason) in rows {
        let request = bearer(&world, &header, &claims)?;
        let answer = world.scene.refused(request, 401).await?;
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.contains("error=\"invalid_token\""),
            "{reason}: {challenge}"
        );
        expected.push(reason);
    }
    // The key of somebody else, and that of the domain's certificates, which is for those alone.
    let forged = Key::generate()?.sign(&kid, &good)?;
    let request = world.scene.call("crm").bearer(&forged);
    world.scene.refused(request, 401).await?;
    expected.push("token.signature");
    let issuers = world
        .scene
        .issuer
        .sign(&json!({"kid": "k", "typ": "at+jwt"}), &good)?;
    let request = world.scene.call("crm").bearer(&issuers);
    world.scene.refused(request, 401).await?;
    expected.push("token.key-unknown");

    // CLM-15: on the connection of another workload it is stolen; on its own, and on one without a name, it is not.
    let token = world.tokens.sign(&kid, &good)?;
    let own = svid(&world.prod, "spiffe://prod.example/ns/sales/report")?;
    let thief = svid(&world.prod, "spiffe://prod.example/ns/sales/thief")?;
    let client = world.clients.issue("agent", |_| ())?;
    for pair in [&own, &client] {
        let request = world.by(pair, "crm")?.bearer(&token);
        world.scene.passes(request).await?;
    }
    let request = world.by(&thief, "crm")?.bearer(&token);
    let answer = world.scene.refused(request, 401).await?;
    assert!(
        answer
            .header("www-authenticate")
            .starts_with("Bearer error=\"invalid_token\"")
    );
    expected.push("token.other-workload");
    // It is a bearer token: where certificates are required it is none.
    assert_eq!(world.scene.reasons()?, expected);
    let request = world.scene.call("crm").bearer(&token);
    world.scene.passes(request).await?;
    let decisions = world.scene.decisions()?;
    let first = decisions
        .first()
        .ok_or_else(|| Failure::new("nothing on record"))?;
    assert_eq!(first["agent"], "spiffe://prod.example/ns/sales/report");
    assert_eq!(
        (&first["confirmation"], &first["scopes_held"]),
        (&json!("bearer"), &json!("crm:read"))
    );
    Ok(())
}
