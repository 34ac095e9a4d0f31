//! Client certificates that a proxy hands on, on the wire: HAProxy, a proxy of the test's own that the gateway knows by its
//! certificate or by its address, and everybody else who says the same. The names are rows of the attack catalogue.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_testkit::tls::rcgen::{self, SanType};
use portcullis_testkit::tls::{Ca, Client, Pair};
use portcullis_testkit::{Failure, Outcome, Request, mcp};
use serde_json::{Value, json};

use crate::apart::free_ports;
use crate::secured::{More, Scene};

/// A gateway that believes a proxy of this certificate name, and how that proxy writes.
async fn scene(name: &str, proxy: &str) -> Outcome<(Scene, Ca, Pair)> {
    let ca = Ca::new("clients")?;
    let edge = named(&ca, "edge.internal")?;
    let sections = format!("[mtls]\nclient_ca_files = [\"clients.pem\"]\n[mtls.proxy]\n{proxy}\n");
    let scene = Scene::new(name, |folder| {
        fs::write(folder.join("clients.pem"), ca.pem())?;
        Ok(More {
            sections,
            of_vault: "[servers.mtls]\nrequired = \"always\"\n".to_owned(),
        })
    });
    Ok((scene.await?, ca, edge))
}

fn named(ca: &Ca, name: &str) -> Outcome<Pair> {
    let name = name.try_into().map_err(|_| Failure::new("a name"))?;
    ca.issue("proxy", |params| {
        params.subject_alt_names = vec![SanType::DnsName(name)]
    })
}

fn sequence(pair: &Pair) -> String {
    format!(":{}:", STANDARD.encode(&pair.certificate))
}

/// Percent-encoding of all that is not a letter or a digit, as nginx and Envoy do nearly.
fn escaped(pem: &str) -> String {
    let one = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    pem.bytes().map(one).collect()
}

fn bound(scene: &Scene, server: &str, pair: &Pair) -> Outcome<String> {
    scene.token(server, &json!({"x5t#S256": pair.thumbprint()}))
}

fn through(scene: &Scene, proxy: &Pair, server: &str) -> Outcome<Request> {
    Ok(scene.call(server).via(&Client::showing(&scene.ca, proxy)?))
}

#[tokio::test]
async fn mtls_04_the_header_is_believed_of_the_proxy_and_of_nobody_else() -> Outcome {
    let known = "form = \"client-cert\"\ncertificate_names = [\"edge.internal\"]";
    let (mut scene, ca, edge) = scene("proxied", known).await?;
    let (ours, others) = (ca.issue("agent", |_| ())?, ca.issue("other", |_| ())?);
    let token = bound(&scene, "vault", &ours)?;
    let good = through(&scene, &edge, "vault")?
        .bearer(&token)
        .header("client-cert", sequence(&ours));
    let heard = scene.passes(good.clone()).await?;
    assert!(
        !heard.keys().any(|name| name.as_str().contains("cert")),
        "{heard:?}"
    );
    // Two lines of the same are one too many, whoever wrote which; so is a list.
    let twice = good.clone().header("client-cert", sequence(&ours));
    let list = through(&scene, &edge, "vault")?.bearer(&token).header(
        "client-cert",
        format!("{}, {}", sequence(&ours), sequence(&others)),
    );
    for (request, reason) in [
        (twice, "certificate.two"),
        (list, "certificate.two"),
        (
            through(&scene, &edge, "vault")?
                .bearer(&token)
                .header("client-cert", "nonsense"),
            "certificate.malformed",
        ),
    ] {
        let answer = scene.refused(request, 400).await?;
        assert_eq!(crate::text(&answer.json()?, "/error/data/reason"), reason);
    }
    // What the proxy says of another client, or does not say; its own certificate is no client's.
    let own = bound(&scene, "vault", &edge)?;
    let expired = ca.issue("agent", |params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1)
    })?;
    let stranger = Ca::new("others")?.issue("agent", |_| ())?;
    let (old, strange) = (
        bound(&scene, "vault", &expired)?,
        bound(&scene, "vault", &stranger)?,
    );
    let say = |token: &str, pair: &Pair| -> Outcome<Request> {
        Ok(through(&scene, &edge, "vault")?
            .bearer(token)
            .header("client-cert", sequence(pair)))
    };
    let rows = vec![
        (say(&token, &others)?, "token.other-certificate"),
        (
            through(&scene, &edge, "vault")?.bearer(&token),
            "token.certificate-missing",
        ),
        (
            through(&scene, &edge, "vault")?.bearer(&own),
            "token.certificate-missing",
        ),
        (say(&own, &ours)?, "token.other-certificate"),
        (say(&old, &expired)?, "certificate.untrusted"),
        (say(&strange, &stranger)?, "certificate.untrusted"),
        // Spellings that the form does not have.
        (
            through(&scene, &edge, "vault")?
                .bearer(&token)
                .header("client_cert", sequence(&ours)),
            "token.certificate-missing",
        ),
        (
            through(&scene, &edge, "vault")?.bearer(&token).header(
                "x-forwarded-client-cert",
                format!("Cert=\"{}\"", escaped(&ours.chain_pem)),
            ),
            "token.certificate-missing",
        ),
    ];
    let mut expected = vec!["certificate.two", "certificate.two", "certificate.malformed"];
    for (request, reason) in rows {
        let answer = scene.refused(request, 401).await?;
        let challenge = answer.header("www-authenticate").to_owned();
        assert!(
            challenge.starts_with("Bearer error=\"invalid_token\""),
            "{reason}: {challenge}"
        );
        assert_eq!(crate::text(&answer.json()?, "/error/data/reason"), reason);
        expected.push(reason);
    }
    // The same header from others: without a certificate, with one of another name, with that name in one that nobody vouches
    // for, and from a client that has a certificate of its own.
    let (gate, nobody) = (named(&ca, "gate.internal")?, scene.client.clone());
    let imitated = named(&Ca::new("clients")?, "edge.internal")?;
    let forged = scene
        .call("vault")
        .bearer(&token)
        .header("client-cert", sequence(&ours));
    let rows = [
        (forged.clone().via(&nobody), "token.certificate-missing"),
        (
            forged.clone().via(&Client::showing(&scene.ca, &gate)?),
            "token.other-certificate",
        ),
        (
            forged.clone().via(&Client::showing(&scene.ca, &others)?),
            "token.other-certificate",
        ),
    ];
    for (request, reason) in rows {
        let answer = scene.refused(request, 401).await?;
        assert_eq!(crate::text(&answer.json()?, "/error/data/reason"), reason);
        expected.push(reason);
    }
    scene
        .broken(forged.clone().via(&Client::showing(&scene.ca, &imitated)?))
        .await?;
    // A client that comes by itself is who it is, whatever it says.
    let direct = forged
        .via(&Client::showing(&scene.ca, &ours)?)
        .without("client-cert");
    scene
        .passes(direct.header("client-cert", sequence(&others)))
        .await?;
    // Through an authority between, which the proxy hands on too.
    let middle = ca.below("middle", |_| ())?;
    let below = middle.issue("agent", |_| ())?;
    let token = bound(&scene, "vault", &below)?;
    let chain = format!(":{}:", STANDARD.encode(middle.certificate()));
    let request = through(&scene, &edge, "vault")?
        .bearer(&token)
        .header("client-cert", sequence(&below));
    scene.refused(request.clone(), 401).await?;
    expected.push("certificate.untrusted");
    scene.passes(request.header("client-cert-chain", chain)).await?;
    scene.passes(good).await?;
    assert_eq!(scene.reasons()?, expected);
    let decisions = scene.decisions()?;
    let last = decisions
        .last()
        .ok_or_else(|| Failure::new("nothing on record"))?;
    assert_eq!(last["certificate"], ours.thumbprint());
    Ok(())
}

#[tokio::test]
async fn other_proxies_write_in_other_ways_and_are_known_by_address() -> Outcome {
    let rows = [
        ("form = \"x-forwarded-client-cert\"", "x-forwarded-client-cert"),
        (
            "form = \"escaped-pem\"\nheader = \"X-SSL-Client-Cert\"",
            "x-ssl-client-cert",
        ),
    ];
    for (form, header) in rows {
        let known = format!("{form}\naddresses = [\"127.0.0.0/8\"]");
        let (mut scene, ca, _) = scene("forms", &known).await?;
        let (ours, others) = (ca.issue("agent", |_| ())?, ca.issue("other", |_| ())?);
        let token = bound(&scene, "vault", &ours)?;
        let write = |pair: &Pair| match header {
            "x-forwarded-client-cert" => {
                format!("Hash=00;Subject=\"CN=a,b\";Cert=\"{}\"", escaped(&pair.chain_pem))
            }
            _ => escaped(&pair.chain_pem),
        };
        let call = scene.call("vault").bearer(&token);
        let good = call.clone().header(header, write(&ours));
        let heard = scene.passes(good.clone()).await?;
        assert!(!heard.contains_key(header));
        let answer = scene
            .refused(call.clone().header(header, write(&others)), 401)
            .await?;
        let reason = crate::text(&answer.json()?, "/error/data/reason");
        assert_eq!(reason, "token.other-certificate");
        scene
            .refused(good.clone().header(header, write(&ours)), 400)
            .await?;
        scene
            .refused(call.clone().header("client-cert", sequence(&ours)), 401)
            .await?;
        // Whoever makes the handshake with us themselves is behind this proxy too, by its address: then only it speaks.
        let direct = call.via(&Client::showing(&scene.ca, &ours)?);
        scene.refused(direct, 401).await?;
        scene.passes(good).await?;
    }
    // From an address that is not named nothing is believed.
    let known = "form = \"client-cert\"\naddresses = [\"127.0.0.2\", \"::1\"]";
    let (mut scene, ca, _) = scene("addresses", known).await?;
    let ours = ca.issue("agent", |_| ())?;
    let token = bound(&scene, "vault", &ours)?;
    let forged = scene
        .call("vault")
        .bearer(&token)
        .header("client-cert", sequence(&ours));
    scene.refused(forged, 401).await?;
    let direct = scene
        .call("vault")
        .bearer(&token)
        .via(&Client::showing(&scene.ca, &ours)?);
    scene.passes(direct).await?;
    assert_eq!(scene.reasons()?, ["token.certificate-missing"]);
    let plain = scene.token("crm", &Value::Null)?;
    scene.passes(scene.call("crm").bearer(&plain)).await?;
    Ok(())
}

/// HAProxy, which ends with the test, by its own id.
struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        // Gone already is as good.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Haproxy {
    /// In front of a gateway, with a certificate of its own for it, and with every certificate of its clients: who is taken is
    /// the gateway's to say.
    async fn before(scene: &Scene, edge: &Pair) -> Outcome<(Self, String)> {
        let (folder, [port]) = (scene.folder(), free_ports()?);
        fs::write(folder.join("gateway-ca.pem"), scene.ca.pem())?;
        let server = scene.ca.server()?;
        fs::write(folder.join("front.pem"), server.chain_pem + &server.key_pem)?;
        fs::write(folder.join("edge.pem"), edge.chain_pem.clone() + &edge.key_pem)?;
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            r#"defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
frontend front
  bind 127.0.0.1:{port} ssl crt {front} ca-file {clients} verify optional crt-ignore-err all ca-ignore-err all
  http-request del-header client-cert
  http-request del-header client-cert-chain
  http-request set-header Client-Cert ":%[ssl_c_der,base64]:" if {{ ssl_c_used }}
  default_backend gateway
backend gateway
  server one {gateway} ssl crt {edge} ca-file {ca} verifyhost localhost sni str(localhost)
"#,
            front = at("front.pem"),
            clients = at("clients.pem"),
            edge = at("edge.pem"),
            ca = at("gateway-ca.pem"),
            gateway = scene.at(),
        );
        fs::write(folder.join("haproxy.cfg"), config)?;
        let child = Command::new("haproxy")
            .args(["-db", "-f", &at("haproxy.cfg")])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| Failure::new(format!("haproxy: {error}")))?;
        let (proxy, deadline) = (Self(child), Instant::now() + Duration::from_secs(20));
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "HAProxy does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok((proxy, format!("https://localhost:{port}/s/vault/mcp")))
    }
}

#[tokio::test]
async fn haproxy_in_front_hands_on_what_it_saw_and_nothing_that_it_was_told() -> Outcome {
    let known = "form = \"client-cert\"\ncertificate_names = [\"edge.internal\"]";
    let (mut scene, ca, edge) = scene("haproxy", known).await?;
    let (_haproxy, url) = Haproxy::before(&scene, &edge).await?;
    let (ours, others) = (ca.issue("agent", |_| ())?, ca.issue("other", |_| ())?);
    let expired = ca.issue("agent", |params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1)
    })?;
    let (token, old) = (bound(&scene, "vault", &ours)?, bound(&scene, "vault", &expired)?);
    let call = |client: &Client, token: &str| mcp::call(&url, "find", &json!({})).via(client).bearer(token);
    let showing = |pair: &Pair| Client::showing(&scene.ca, pair);
    let (ours_shown, others_shown, expired_shown) = (showing(&ours)?, showing(&others)?, showing(&expired)?);
    let nobody = scene.client.clone();
    let good = call(&ours_shown, &token);
    scene.passes(good.clone()).await?;
    let forged = sequence(&ours);
    let rows = [
        (call(&nobody, &token), "token.certificate-missing"),
        (
            call(&nobody, &token).header("client-cert", &forged),
            "token.certificate-missing",
        ),
        (
            call(&nobody, &token).header("client_cert", &forged),
            "token.certificate-missing",
        ),
        (
            call(&others_shown, &token).header("client-cert", &forged),
            "token.other-certificate",
        ),
        (call(&expired_shown, &old), "certificate.untrusted"),
    ];
    for (request, reason) in rows {
        let answer = scene.refused(request, 401).await?;
        assert_eq!(crate::text(&answer.json()?, "/error/data/reason"), reason);
    }
    scene
        .passes(good.header("client-cert", sequence(&others)))
        .await?;
    Ok(())
}
