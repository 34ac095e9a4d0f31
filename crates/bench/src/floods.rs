//! Floods: what a good caller notices, and what the gateway holds, while others have 10,000 connections that say nothing and 5,000
//! streams open.
//!
//! The flood comes from other addresses of this machine (127.0.0.2 and on), each within what one address may have.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwk::{PublicJwk, SigningKey};
use portcullis_core::jose::{SignatureAlgorithm, jws};
use portcullis_core::keys::JwksDocument;
use portcullis_net::clock::{self, Clock as _};
use portcullis_server::http::raise_descriptors;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::gateway::{Running, backend, resident};
use crate::load::{Failure, Pace, Run, run, tools_call};
use crate::micros;

const IDLE: usize = 10_000;
const STREAMS: usize = 5_000;
/// Fewer than one client may have.
const STREAMS_OF_EACH: usize = 50;
/// Fewer than one address may have.
const CONNECTIONS_OF_EACH: usize = 2_500;
/// Keep-alive connections of good callers, and their requests per second.
const GOOD: usize = 8;
const RATE: f64 = 500.0;
const ISSUER: &str = "https://as.example.com";

/// The section of the page.
pub(crate) fn section(
    runtime: &tokio::runtime::Runtime,
    portcullis: &Path,
    time: Duration,
) -> Result<String, Failure> {
    let folder = std::env::temp_dir().join(format!("portcullis-bench-floods-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = runtime.block_on(measure(portcullis, &folder, time));
    std::fs::remove_dir_all(&folder)?;
    let [alone, among] = measured?;
    let mut page = format!(
        "## Floods\n\n`tools/call` at {RATE:.0} requests/s over {GOOD} keep-alive connections, alone, and while other addresses hold {IDLE} connections that say nothing and \
         {STREAMS} streams. The backend holds its ends of the streams on the same cores.\n\n| | p50 | p99 | resident memory of the gateway |\n|---|---|---|---|\n"
    );
    for (name, (run, bytes)) in [("alone", alone), ("among the flood", among)] {
        let mebibytes = bytes as f64 / 1_048_576.0;
        writeln!(
            page,
            "| {name} | {} | {} | {mebibytes:.1} MiB |",
            micros(run.p50),
            micros(run.p99)
        )?;
    }
    page.push('\n');
    Ok(page)
}

async fn measure(portcullis: &Path, folder: &Path, time: Duration) -> Result<[(Run, u64); 2], Failure> {
    raise_descriptors();
    let (_backend, behind) = backend()?;
    let host = free_address()?;
    let key = SigningKey::generate(KeyId::parse("bench")?, SignatureAlgorithm::Es256)?.0;
    let published = PublicJwk {
        key: key.public().clone(),
        algorithm: SignatureAlgorithm::Es256.into(),
        kid: KeyId::parse("bench")?,
        chain: Vec::new(),
    };
    std::fs::write(
        folder.join("jwks.json"),
        JwksDocument::new(vec![published]).bytes(),
    )?;
    std::fs::write(folder.join("gateway.toml"), configuration(&host, &behind))?;
    let gateway = Running(
        Command::new(portcullis)
            .args(["gateway", "--config", "gateway.toml"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .spawn()?,
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(&host).await.is_err() {
        if Instant::now() > deadline {
            return Err("the gateway did not serve within 30 s".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let token = |client: usize| token(&key, &host, client);
    let mut good = Vec::new();
    for client in 0..GOOD {
        good.push(tools_call(&host, "/mcp", "add", Some(&token(client)?)));
    }
    run(&host, &good, Duration::from_secs(1), Pace::Closed).await?;
    let alone = run(&host, &good, time, Pace::Open(RATE)).await?;
    let alone = (alone, resident(gateway.0.id())?);

    let to: SocketAddr = host.parse()?;
    let mut held = Vec::with_capacity(IDLE + STREAMS);
    for number in 0..STREAMS {
        let mut stream = connect(to, number / CONNECTIONS_OF_EACH).await?;
        let token = token(GOOD + number / STREAMS_OF_EACH)?;
        let head = format!(
            "GET /mcp HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        if !status.ends_with(b"200") {
            return Err(format!("no stream: {}", String::from_utf8_lossy(&status)).into());
        }
        held.push(stream);
    }
    // Last, because a connection that says nothing is ended after some seconds.
    for number in 0..IDLE {
        held.push(connect(to, (STREAMS + number) / CONNECTIONS_OF_EACH).await?);
    }
    let holding = resident(gateway.0.id())?;
    let among = run(&host, &good, time, Pace::Open(RATE)).await?;
    drop(held);
    Ok([alone, (among, holding)])
}

/// A connection from one of the other addresses.
async fn connect(to: SocketAddr, address: usize) -> Result<TcpStream, Failure> {
    let from = Ipv4Addr::new(127, 0, 0, u8::try_from(address + 2)?);
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::V4(SocketAddrV4::new(from, 0)))?;
    Ok(socket.connect(to).await?)
}

fn free_address() -> Result<String, Failure> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}

fn configuration(host: &str, behind: &str) -> String {
    format!(
        r#"version = 1
[gateway]
listen = "{host}"
public_url = "http://{host}"
[[issuers]]
issuer = "{ISSUER}"
jwks_file = "jwks.json"
algorithms = ["ES256"]
[[servers]]
name = "bench"
url = "http://{behind}/mcp"
unlisted = "read"
[limits]
per_client = "none"
per_user = "none"
[audit]
dir = "audit"
[keys]
dir = "keys"
master_key_file = "master.key"
"#
    )
}

fn token(key: &SigningKey, host: &str, client: usize) -> Result<String, Failure> {
    let now = clock::System.now().as_secs();
    let claims = json!({
        "iss": ISSUER, "sub": format!("user-{client}"), "client_id": format!("agent-{client}"), "aud": format!("http://{host}/mcp"),
        "scope": "bench:read", "jti": format!("t-{client}"), "iat": now, "exp": now + 3600,
    });
    let claims: Map<String, Value> = claims.as_object().cloned().unwrap_or_default();
    Ok(jws::sign(key, "at+jwt", &claims)?)
}
