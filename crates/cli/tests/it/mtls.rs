//! Client certificates, and tokens that are bound to them (RFC 8705), on the wire. The names are rows of the attack catalogue.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use portcullis_testkit::proofs::Key;
use portcullis_testkit::tls::rcgen::{
    self, BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyUsagePurpose,
    NameConstraints, SanType,
};
use portcullis_testkit::tls::{Ca, CertificateParams, Client, Pair};
use portcullis_testkit::{Failure, Outcome, Request};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::secured::{More, Scene, program};

const CERTIFICATES: &str = "[mtls]\nclient_ca_files = [\"clients.pem\"]\n";
const ALWAYS: &str = "[servers.mtls]\nrequired = \"always\"\n";

/// A scene whose gateway takes the certificates of one CA, and whose `vault` takes no token that is not bound to one.
async fn scene(name: &str, sections: &str) -> Outcome<(Scene, Ca)> {
    let ca = Ca::new("clients")?;
    let scene = Scene::new(name, |folder| {
        fs::write(folder.join("clients.pem"), ca.pem())?;
        fs::write(folder.join("clients.crl"), ca.crl(&[], 4000)?)?;
        Ok(More {
            sections: sections.to_owned(),
            of_vault: ALWAYS.to_owned(),
        })
    });
    Ok((scene.await?, ca))
}

fn to(pair: &Pair) -> Value {
    json!({"x5t#S256": pair.thumbprint()})
}

fn with(scene: &Scene, pair: &Pair, server: &str) -> Outcome<Request> {
    Ok(scene.call(server).via(&Client::showing(&scene.ca, pair)?))
}

#[tokio::test]
async fn clm_15_and_mtls_04_a_bound_token_is_worth_nothing_but_on_a_connection_with_its_certificate()
-> Outcome {
    let (mut scene, ca) = scene("bound", CERTIFICATES).await?;
    let (ours, others) = (ca.issue("agent", |_| ())?, ca.issue("other", |_| ())?);
    let bound = scene.token("crm", &to(&ours))?;
    let good = with(&scene, &ours, "crm")?.bearer(&bound);
    scene.passes(good.clone()).await?;

    // RFC 8705 §3: no certificate; CLM-15: the certificate of another client.
    let missing = scene.call("crm").bearer(&bound);
    let other = with(&scene, &others, "crm")?.bearer(&bound);
    for (request, description) in [
        (
            missing.clone(),
            "the token is bound to a certificate, and the connection has none",
        ),
        (
            other,
            "the token is bound to another certificate than that of the connection",
        ),
    ] {
        let answer = scene.refused(request, 401).await?;
        let challenge = answer.header("www-authenticate");
        let begins = format!("Bearer error=\"invalid_token\", error_description=\"{description}\"");
        assert!(challenge.starts_with(&begins), "{challenge}");
    }
    // MTLS-04: nobody's word for it but the connection's, in whatever spelling; and nothing of it goes on.
    let escaped: String = url::form_urlencoded::byte_serialize(ours.chain_pem.as_bytes()).collect();
    let in_one_line = ours.chain_pem.replace('\n', "");
    let base64 = in_one_line
        .replace("-----BEGIN CERTIFICATE-----", ":")
        .replace("-----END CERTIFICATE-----", ":");
    let forged: [(&str, String); 9] = [
        ("client-cert", base64.clone()),
        ("Client-Cert-Chain", base64.clone()),
        ("client_cert", base64),
        ("x-forwarded-client-cert", format!("Cert=\"{escaped}\"")),
        ("x_forwarded_client_cert", format!("Cert=\"{escaped}\"")),
        ("x-client-cert", escaped.clone()),
        ("x-ssl-cert", escaped.clone()),
        ("ssl-client-cert", escaped.clone()),
        ("x-ssl-client-verify", "SUCCESS".to_owned()),
    ];
    let mut told = good.clone();
    for (name, value) in &forged {
        let request = missing.clone().header(*name, value).header(*name, value);
        scene.refused(request, 401).await?;
        told = told.header(*name, value).header(*name, value);
    }
    let heard = scene.passes(told).await?;
    let seen: Vec<&str> = heard.keys().map(http::HeaderName::as_str).collect();
    assert!(
        !seen
            .iter()
            .any(|name| name.contains("cert") || name.contains("ssl") || *name == "authorization"),
        "{seen:?}"
    );

    // A token that is not bound needs no certificate, and one beside it changes nothing.
    let plain = scene.token("crm", &Value::Null)?;
    scene.passes(scene.call("crm").bearer(&plain)).await?;
    scene.passes(with(&scene, &others, "crm")?.bearer(&plain)).await?;
    // Another TLS library, with HTTP/2.
    let (certificate, key) = ours.write(scene.folder(), "agent")?;
    fs::write(scene.folder().join("ca.pem"), scene.ca.pem())?;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for (show, status) in [(true, "200"), (false, "401")] {
        let (ca, certificate, key) = (
            scene.folder().join("ca.pem").display().to_string(),
            certificate.display().to_string(),
            key.display().to_string(),
        );
        let (url, bearer) = (scene.mcp("crm"), format!("authorization: Bearer {bound}"));
        let resolve = scene.url.replace("https://", "") + ":127.0.0.1";
        let shown = if show {
            vec!["--cert", &certificate, "--key", &key]
        } else {
            Vec::new()
        };
        let common = [
            "-sS",
            "-m",
            "20",
            "--http2",
            "--cacert",
            &ca,
            "--resolve",
            &resolve,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            &bearer,
            "-H",
            "content-type: application/json",
            "-H",
            "accept: application/json, text/event-stream",
            "-d",
            &list,
            &url,
        ];
        let arguments: Vec<String> = shown
            .iter()
            .chain(&common)
            .map(|text| (*text).to_owned())
            .collect();
        let ran = tokio::task::spawn(async move {
            tokio::process::Command::new("curl")
                .args(arguments)
                .output()
                .await
        });
        if show {
            let heard = scene.upstream.next().await?;
            heard.result(&json!({}))?;
        }
        assert_eq!(String::from_utf8_lossy(&ran.await??.stdout), status);
    }
    scene.passes(good).await?;

    let refused = ["token.certificate-missing", "token.other-certificate"];
    let rest = ["token.certificate-missing"; 10];
    assert_eq!(scene.reasons()?, [&refused[..], &rest].concat());
    let decisions = scene.decisions()?;
    let first = decisions
        .first()
        .ok_or_else(|| Failure::new("nothing on record"))?;
    assert_eq!(first["confirmation"], "mtls");
    assert_eq!(first["certificate"], ours.thumbprint());
    Ok(())
}

#[tokio::test]
async fn mtls_05_of_a_token_that_is_bound_to_both_both_are_shown() -> Outcome {
    let (mut scene, ca) = scene("both", CERTIFICATES).await?;
    let (ours, others) = (ca.issue("agent", |_| ())?, ca.issue("other", |_| ())?);
    let key = Key::generate()?;
    let cnf = json!({"x5t#S256": ours.thumbprint(), "jkt": key.thumbprint()});
    // At a server that asks for nothing, and at one that asks for certificates.
    for server in ["crm", "vault"] {
        let (token, mcp) = (scene.token(server, &cnf)?, scene.mcp(server));
        let prove = |key: &Key| key.proof(&mcp, &token, &json!({}));
        // What was made before the gateway knew what was used needs a nonce, and so may what a clock ahead made: seconds later nothing does.
        tokio::time::sleep(Duration::from_millis(7000)).await;
        let both = with(&scene, &ours, server)?.dpop(&token, &prove(&key)?);
        scene.passes(both).await?;
        let rows = [
            (
                with(&scene, &ours, server)?.bearer(&token),
                "token.sender-constrained",
            ),
            (
                scene.call(server).dpop(&token, &prove(&key)?),
                "token.certificate-missing",
            ),
            (scene.call(server).bearer(&token), "token.certificate-missing"),
            (
                with(&scene, &others, server)?.dpop(&token, &prove(&key)?),
                "token.other-certificate",
            ),
            (
                with(&scene, &ours, server)?.dpop(&token, &prove(&Key::generate()?)?),
                "token.other-key",
            ),
        ];
        for (request, reason) in rows {
            let answer = scene.refused(request, 401).await?;
            let challenge = answer.header("www-authenticate");
            assert!(
                challenge.contains("error=\"invalid_token\""),
                "{reason}: {challenge}"
            );
            assert_eq!(crate::text(&answer.json()?, "/error/data/reason"), reason);
        }
        let both = with(&scene, &ours, server)?.dpop(&token, &prove(&key)?);
        scene.passes(both).await?;
    }
    let confirmed = scene.decisions()?;
    assert!(
        confirmed
            .iter()
            .any(|record| record["confirmation"] == "dpop+mtls")
    );
    Ok(())
}

#[tokio::test]
async fn a_server_says_that_it_takes_certificates_and_refuses_what_is_not_bound_to_one() -> Outcome {
    let either = "[[servers]]\nname = \"ledger\"\nurl = \"http://127.0.0.1:9/mcp\"\nunlisted = \"read\"\n[servers.mtls]\nrequired = \"either\"\n";
    let (mut scene, ca) = scene("takes", &format!("{CERTIFICATES}{either}")).await?;
    let (ours, key) = (ca.issue("agent", |_| ())?, Key::generate()?);
    for (server, dpop) in [
        ("crm", Value::Null),
        ("vault", Value::Null),
        ("ledger", Value::Null),
    ] {
        let url = format!(
            "{}/.well-known/oauth-protected-resource/s/{server}/mcp",
            scene.url
        );
        let document = Request::get(url).via(&scene.client).send().await?.json()?;
        assert_eq!(
            document["tls_client_certificate_bound_access_tokens"], true,
            "{server}"
        );
        assert_eq!(document["dpop_bound_access_tokens_required"], dpop, "{server}");
    }
    // A client without anything is told where to begin; the certificate alone is no credential here.
    for request in [scene.call("vault"), with(&scene, &ours, "vault")?] {
        let answer = scene.refused(request, 401).await?;
        let challenge = answer.header("www-authenticate").to_owned();
        assert!(challenge.starts_with("Bearer resource_metadata="), "{challenge}");
        assert!(!challenge.contains("error"), "{challenge}");
        assert!(!challenge.contains("DPoP"), "{challenge}");
    }
    let bound = scene.token("vault", &to(&ours))?;
    scene.passes(with(&scene, &ours, "vault")?.bearer(&bound)).await?;
    let plain = scene.token("vault", &Value::Null)?;
    let by_key = scene.token("vault", &json!({"jkt": key.thumbprint()}))?;
    tokio::time::sleep(Duration::from_millis(7000)).await;
    let proof = key.proof(&scene.mcp("vault"), &by_key, &json!({}))?;
    for request in [
        with(&scene, &ours, "vault")?.bearer(&plain),
        scene.call("vault").bearer(&plain),
        with(&scene, &ours, "vault")?.dpop(&by_key, &proof),
    ] {
        let answer = scene.refused(request, 401).await?;
        let challenge = answer.header("www-authenticate").to_owned();
        assert!(
            challenge.starts_with("Bearer error=\"invalid_token\""),
            "{challenge}"
        );
        assert_eq!(
            crate::text(&answer.json()?, "/error/data/reason"),
            "token.not-constrained"
        );
    }
    scene.passes(with(&scene, &ours, "vault")?.bearer(&bound)).await?;
    // Where either will do, both get through to a server that is away, and nothing else does.
    let (bound, plain) = (
        scene.token("ledger", &to(&ours))?,
        scene.token("ledger", &Value::Null)?,
    );
    let by_key = scene.token("ledger", &json!({"jkt": key.thumbprint()}))?;
    let proof = key.proof(&scene.mcp("ledger"), &by_key, &json!({}))?;
    scene
        .refused(with(&scene, &ours, "ledger")?.bearer(&bound), 502)
        .await?;
    scene
        .refused(scene.call("ledger").dpop(&by_key, &proof), 502)
        .await?;
    let answer = scene
        .refused(with(&scene, &ours, "ledger")?.bearer(&plain), 401)
        .await?;
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer error=\"invalid_token\"") && challenge.contains(", DPoP algs="),
        "{challenge}"
    );
    Ok(())
}

fn dns(name: &str) -> Outcome<SanType> {
    let name = name.try_into();
    Ok(SanType::DnsName(name.map_err(|_| Failure::new("a name"))?))
}

/// RFC 5280 §4.2.2.1, by hand: both ways to look for more.
fn information_access(url: &str) -> CustomExtension {
    let tlv = |tag: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap_or(0);
        [&[tag, length][..], content].concat()
    };
    let access = |last: u8| {
        let method = tlv(6, &[0x2b, 6, 1, 5, 5, 7, 0x30, last]);
        tlv(0x30, &[method, tlv(0x86, url.as_bytes())].concat())
    };
    let content = tlv(0x30, &[access(1), access(2)].concat());
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content)
}

#[tokio::test]
async fn mtls_09_12_and_13_certificates_that_do_not_hold_end_in_the_handshake() -> Outcome {
    let (mut scene, ca) = scene("alerts", CERTIFICATES).await?;
    let good = ca.issue("agent", |_| ())?;
    let bound = scene.token("crm", &to(&good))?;
    scene.passes(with(&scene, &good, "crm")?.bearer(&bound)).await?;
    let middle = ca.below("middle", |_| ())?.issue("agent", |_| ())?;
    let through = scene.token("crm", &to(&middle))?;
    scene
        .passes(with(&scene, &middle, "crm")?.bearer(&through))
        .await?;

    let narrow = ca.below("narrow", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    })?;
    let bounded = Ca::with("bounded", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("good.example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    })?;
    let all = [&ca, &bounded].map(Ca::pem).concat();
    fs::write(scene.folder().join("clients.pem"), all)?;
    scene.start().await?;
    let (inside, outside) = (dns("a.good.example")?, dns("a.evil.example")?);
    let inside = bounded.issue("agent", |params| params.subject_alt_names = vec![inside])?;
    let token = scene.token("crm", &to(&inside))?;
    scene.passes(with(&scene, &inside, "crm")?.bearer(&token)).await?;

    // MTLS-12: who asks there is seen.
    let canary = TcpListener::bind("127.0.0.1:0")?;
    canary.set_nonblocking(true)?;
    let url = format!("http://{}/c", canary.local_addr()?);
    let many: Vec<SanType> = (0..900)
        .map(|number| dns(&format!("a{number}.good.example")))
        .collect::<Outcome<_>>()?;
    let more: Vec<SanType> = (0..10_000)
        .map(|number| dns(&format!("a{number}.good.example")))
        .collect::<Outcome<_>>()?;
    let mut critical = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55_555, 1], vec![5, 0]);
    critical.set_criticality(true);
    type Change = Box<dyn FnOnce(&mut CertificateParams)>;
    let changes: Vec<(&str, Change, &str)> = vec![
        (
            "expired",
            Box::new(|params| params.not_after = rcgen::date_time_ymd(2001, 1, 1)),
            "CertificateExpired",
        ),
        (
            "not yet valid",
            Box::new(|params| params.not_before = rcgen::date_time_ymd(2999, 1, 1)),
            "CertificateExpired",
        ),
        (
            "for servers",
            Box::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "UnsupportedCertificate",
        ),
        (
            "for code",
            Box::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]),
            "UnsupportedCertificate",
        ),
        (
            "an authority",
            Box::new(|params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
            }),
            "CertificateUnknown",
        ),
        (
            "with an extension that is critical and unknown",
            Box::new(|params| params.custom_extensions = vec![critical]),
            "CertificateUnknown",
        ),
        (
            "longer than any certificate is",
            Box::new(|params| params.subject_alt_names = many),
            "BadCertificate",
        ),
        (
            // Longer than a handshake may be: the connection ends while it is still sent, perhaps before any word.
            "of ten thousand names",
            Box::new(|params| params.subject_alt_names = more),
            "",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, change, alert) in changes {
        wrong.push((what, ca.issue("agent", change)?, alert));
    }
    let below = narrow.below("below", |_| ())?;
    let stranger = Ca::new("clients")?;
    wrong.extend([
        (
            "below more authorities than may be",
            below.issue("agent", |_| ())?,
            "CertificateUnknown",
        ),
        (
            "with a name that its authority may not give",
            bounded.issue("agent", |params| params.subject_alt_names = vec![outside])?,
            "CertificateUnknown",
        ),
        (
            "of an authority that is not trusted and says where to find it",
            Ca::new("others")?.issue("agent", |params| {
                params.custom_extensions = vec![information_access(&url)];
                params.crl_distribution_points = vec![rcgen::CrlDistributionPoint {
                    uris: vec![url.clone()],
                }];
            })?,
            "UnknownCA",
        ),
        (
            "of an authority of the same name",
            stranger.issue("agent", |_| ())?,
            "",
        ),
        ("of nobody", Pair::self_signed("agent", |_| ())?, "UnknownCA"),
    ]);
    for (what, pair, alert) in &wrong {
        let token = scene.token("crm", &to(pair))?;
        let said = scene.broken(with(&scene, pair, "crm")?.bearer(&token)).await?;
        assert!(
            alert.is_empty() || said.contains(&format!("received fatal alert: {alert}")),
            "{what}: {said}"
        );
    }
    // One that is good and says where to look is not looked up either.
    let good_and_says = ca.issue("agent", |params| {
        params.custom_extensions = vec![information_access(&url)];
    })?;
    let token = scene.token("crm", &to(&good_and_says))?;
    scene
        .passes(with(&scene, &good_and_says, "crm")?.bearer(&token))
        .await?;
    assert!(canary.accept().is_err(), "somebody asked");
    // Another TLS library is told the same.
    let Some((_, expired, _)) = wrong.first() else {
        return Err(Failure::new("no row"));
    };
    let (certificate, key) = expired.write(scene.folder(), "expired")?;
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let at = scene.at();
    let arguments = [
        "s_client",
        "-connect",
        &at,
        "-tls1_2",
        "-cert",
        &certificate,
        "-key",
        &key,
    ];
    let ran = program("openssl", &arguments, &[])?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.contains("alert certificate expired"), "{said}");
    let bound = scene.token("crm", &to(&good))?;
    scene.passes(with(&scene, &good, "crm")?.bearer(&bound)).await?;
    Ok(())
}

/// Until new connections with this certificate get this alert; the first answer that is none counts.
async fn until_refused(scene: &mut Scene, request: &Request, alert: &str) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let said = match request.clone().send().await {
            Ok(_) => String::new(),
            Err(failure) => failure.to_string(),
        };
        if said.contains(&format!("received fatal alert: {alert}")) {
            assert!(scene.upstream.pending().is_none());
            return Ok(());
        }
        assert!(Instant::now() < deadline, "{alert}: {said}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn resumes(scene: &Scene, client: &Client) -> Outcome<Option<rustls::HandshakeKind>> {
    let stream = TcpStream::connect(scene.at()).await?;
    let mut stream = client.connect(stream, "localhost").await?;
    let kind = stream.get_ref().1.handshake_kind();
    // Tickets come with the first answer.
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64]).await?;
    Ok(kind)
}

#[tokio::test]
async fn mtls_11_and_14_what_is_revoked_is_out_within_seconds_resumed_or_open() -> Outcome {
    let sections = format!("{CERTIFICATES}crl_files = [\"clients.crl\"]\n");
    let (mut scene, ca) = scene("revoked", &sections).await?;
    let (ours, theirs) = (ca.issue("agent", |_| ())?, ca.issue("stolen", |_| ())?);
    // A server that is asked for what nobody can call: the answer does not need the one behind.
    let ask = |pair: &Pair| -> Outcome<Request> {
        let client = Client::showing(&scene.ca, pair)?;
        let token = scene.token("vault", &to(pair))?;
        let request = portcullis_testkit::mcp::modern(&scene.mcp("vault"), "no/such", json!({}));
        Ok(request.via(&client).bearer(&token))
    };
    let (mine, stolen) = (ask(&ours)?, ask(&theirs)?);
    let thief = Client::showing(&scene.ca, &theirs)?;
    for request in [&mine, &stolen] {
        scene.refused(request.clone(), 404).await?;
    }
    use rustls::HandshakeKind::Resumed;
    assert_ne!(resumes(&scene, &thief).await?, Some(Resumed));
    assert_eq!(
        resumes(&scene, &thief).await?,
        Some(Resumed),
        "the memory of sessions works"
    );
    // One connection stays open over the change.
    let stream = TcpStream::connect(scene.at()).await?;
    let mut open = thief.connect(stream, "localhost").await?;
    let get = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut open, get).await?;
    let mut head = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut open, &mut head).await?;
    assert_eq!(&head, b"HTTP/1.1 404");

    fs::write(scene.folder().join("clients.crl"), ca.crl(&[&theirs], 4000)?)?;
    until_refused(&mut scene, &stolen, "CertificateRevoked").await?;
    assert!(resumes(&scene, &thief).await.is_err(), "a session from before");
    // What is asked on the open connection is not answered.
    let asked = tokio::io::AsyncWriteExt::write_all(&mut open, get).await;
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut open, &mut rest).await;
    let answers = String::from_utf8_lossy(&rest).matches("HTTP/1.1").count();
    assert_eq!(answers, 0, "{asked:?} {read:?}");
    scene.refused(mine.clone(), 404).await?;

    // A list that is old, a list of somebody else's, and no authority any more: refused, and back again with what is good.
    let good = ca.crl(&[&theirs], 4000)?;
    for (file, content, alert) in [
        ("clients.crl", ca.crl(&[], 2021)?, ""),
        ("clients.crl", Ca::new("others")?.crl(&[], 4000)?, "UnknownCA"),
        ("clients.pem", Ca::new("others")?.pem(), "UnknownCA"),
    ] {
        let before = fs::read(scene.folder().join(file))?;
        fs::write(scene.folder().join(file), content)?;
        until_refused(&mut scene, &mine, alert).await?;
        fs::write(
            scene.folder().join(file),
            if file == "clients.crl" {
                good.as_bytes()
            } else {
                &before
            },
        )?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while mine.clone().send().await.is_err() {
            assert!(Instant::now() < deadline, "{file} is good again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    scene.refused(mine, 404).await?;
    until_refused(&mut scene, &stolen, "CertificateRevoked").await
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_binds_tokens_where_that_is_configured() -> Outcome {
    let sections = format!("{CERTIFICATES}self_signed = \"bind\"\n");
    let (mut scene, ca) = scene("own", &sections).await?;
    let own = Pair::self_signed("agent", |_| ())?;
    for server in ["crm", "vault"] {
        let bound = scene.token(server, &to(&own))?;
        scene.passes(with(&scene, &own, server)?.bearer(&bound)).await?;
    }
    // It is nothing more than that.
    let plain = scene.token("vault", &Value::Null)?;
    scene
        .refused(with(&scene, &own, "vault")?.bearer(&plain), 401)
        .await?;
    let another = Pair::self_signed("agent", |_| ())?;
    let bound = scene.token("crm", &to(&own))?;
    scene
        .refused(with(&scene, &another, "crm")?.bearer(&bound), 401)
        .await?;
    // What somebody else issued, and what does not hold, is not a certificate of nobody's.
    let long_ago = rcgen::date_time_ymd(2001, 1, 1);
    for (pair, alert) in [
        (
            ca.issue("agent", |params| params.not_after = long_ago)?,
            "CertificateExpired",
        ),
        (
            Pair::self_signed("agent", |params| params.not_after = long_ago)?,
            "CertificateExpired",
        ),
        (
            Pair::self_signed("agent", |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            })?,
            "UnsupportedCertificate",
        ),
        (Ca::new("others")?.issue("agent", |_| ())?, "UnknownCA"),
    ] {
        let token = scene.token("crm", &to(&pair))?;
        let said = scene.broken(with(&scene, &pair, "crm")?.bearer(&token)).await?;
        assert!(
            said.contains(&format!("received fatal alert: {alert}")),
            "{alert}: {said}"
        );
    }
    scene.passes(with(&scene, &own, "crm")?.bearer(&bound)).await?;
    let issued = ca.issue("agent", |_| ())?;
    let bound = scene.token("vault", &to(&issued))?;
    scene
        .passes(with(&scene, &issued, "vault")?.bearer(&bound))
        .await?;
    Ok(())
}
