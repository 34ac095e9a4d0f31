//! Floods: what a good caller notices, and what the gateway holds, while others send heads a byte at a time, heads without end, or
//! nothing at all, and have streams open.
//!
//! The flood comes from other addresses of this machine (127.0.0.2 and on), each within what one address may have.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis_server::http::{Limits, raise_descriptors};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::fixture::{Folder, Grant, ISSUER, Issuer, issuer_toml, server_toml};
use crate::load::{Failure, Pace, Run, Shown, run, tools_call};
use crate::process::{free_address, ourselves, resident};
use crate::subjects::gateway;
use crate::{mebibytes, micros};

/// Connections that send a byte of a head each second.
const SLOW: usize = 2_000;
/// Connections that send headers without end, and begin anew when they are cut.
const BOMBS: usize = 64;
/// Connections that say nothing.
const IDLE: usize = 10_000;
const STREAMS: usize = 5_000;
/// Fewer than one client may have.
const STREAMS_OF_EACH: usize = 50;
/// Fewer than one address may have.
const CONNECTIONS_OF_EACH: usize = 2_500;
/// Connections of good callers, and their requests per second.
const GOOD: usize = 8;
const RATE: f64 = 500.0;

/// What good callers and the gateway's memory were like.
struct Seen {
    among: String,
    run: Run,
    resident: u64,
}

/// The section of the page.
pub(crate) fn section(
    runtime: &tokio::runtime::Runtime,
    portcullis: &Path,
    time: Duration,
) -> Result<String, Failure> {
    runtime.block_on(measure(portcullis, time))
}

async fn measure(portcullis: &Path, time: Duration) -> Result<String, Failure> {
    // As many as the gateway takes of its only listener, which is fewer where it may not open files enough.
    let most = Limits::sharing(raise_descriptors(), 1).connections;
    let idle_connections = IDLE.min(most / 3 * 2);
    let open_streams = STREAMS.min(most.saturating_sub(idle_connections).saturating_sub(500));
    let folder = Folder::new("floods")?;
    let issuer = Issuer::new()?;
    folder.write("jwks.json", &issuer.jwks()?)?;
    let (_backend, behind) = ourselves(&["backend"])?;
    let listen = free_address()?;
    let servers = server_toml("bench", &behind);
    let running = gateway(portcullis, &folder, &listen, &issuer_toml(ISSUER), &servers).await?;
    let token = |client: usize| issuer.token(&issuer.es256, &Grant::USUAL, client);
    let mut good = Vec::new();
    for client in 0..GOOD {
        good.push(tools_call(&listen, "/mcp", "add", Shown::Bearer(&token(client)?)));
    }
    run(&listen, &good, Duration::from_secs(1), Pace::Closed).await?;
    let to: SocketAddr = listen.parse()?;
    let mut seen = Vec::new();
    let mut look = async |among: String| -> Result<(), Failure> {
        let run = run(&listen, &good, time, Pace::Open(RATE)).await?;
        let resident = resident(running.id())?;
        seen.push(Seen { among, run, resident });
        Ok(())
    };
    look("nobody".to_owned()).await?;

    let started = Instant::now();
    let slow = slow_heads(to).await?;
    look(format!(
        "{SLOW} connections that send a byte of a head each second"
    ))
    .await?;
    // A whole head has to come within this.
    let over = Limits::USUAL.head_time + Duration::from_secs(2);
    tokio::time::sleep(over.saturating_sub(started.elapsed())).await;
    let still = open(slow.join_all().await).await?;

    let cut = Arc::new(AtomicUsize::new(0));
    let bombs = header_bombs(to, &cut);
    look(format!(
        "{BOMBS} connections that send headers without end, and come again when they are cut"
    ))
    .await?;
    drop(bombs);

    let mut streams = Vec::with_capacity(open_streams);
    for number in 0..open_streams {
        let token = token(GOOD + number / STREAMS_OF_EACH)?;
        streams.push(stream(to, &listen, &token, number / CONNECTIONS_OF_EACH).await?);
    }
    look(format!("{open_streams} open streams")).await?;
    // Last, because a connection that says nothing is ended after some seconds.
    let mut idle = Vec::with_capacity(idle_connections);
    for number in 0..idle_connections {
        idle.push(connect(to, 2 + (open_streams + number) / CONNECTIONS_OF_EACH).await?);
    }
    look(format!(
        "{open_streams} open streams and {idle_connections} connections that say nothing"
    ))
    .await?;
    tokio::time::sleep(Limits::USUAL.first_bytes + Duration::from_secs(2)).await;
    let silent = open(idle).await?;
    drop(streams);
    let mut page = format!(
        "## Floods\n\n`tools/call` at {RATE:.0} requests/s over {GOOD} new connections of good callers, alone, and while other addresses flood the gateway. The flood and the \
         backend's ends of the streams are on the same cores.{}\n\n| among | p50 | p99 | resident memory of the gateway |\n|---|---|---|---|\n",
        if (idle_connections, open_streams) == (IDLE, STREAMS) {
            String::new()
        } else {
            format!(
                " This machine lets a process open too few files for {IDLE} idle connections and {STREAMS} streams, so there are fewer."
            )
        }
    );
    for Seen { among, run, resident } in &seen {
        let (p50, p99) = (micros(run.p50), micros(run.p99));
        writeln!(page, "| {among} | {p50} | {p99} | {} |", mebibytes(*resident))?;
    }
    writeln!(
        page,
        "\nEvery request of the good callers was answered with 200. Heads without end were cut {} times. Of {SLOW} slow heads {still} were still waited for after {} s, of \
         {idle_connections} silent connections {silent} were still open {} s after the last of them came.\n",
        cut.load(Ordering::Relaxed),
        over.as_secs(),
        time.as_secs() + Limits::USUAL.first_bytes.as_secs() + 2,
    )?;
    Ok(page)
}

/// Each sends the beginning of a request, and a byte each second from then on.
async fn slow_heads(to: SocketAddr) -> Result<JoinSet<TcpStream>, Failure> {
    let mut tasks = JoinSet::new();
    for _ in 0..SLOW {
        let mut stream = connect(to, 0).await?;
        stream
            .write_all(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            .await?;
        tasks.spawn(async move {
            for _ in 0..Limits::USUAL.head_time.as_secs() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                // It fails once the other end is closed, which is looked for later.
                if stream.write_all(b"x").await.is_err() {
                    break;
                }
            }
            stream
        });
    }
    Ok(tasks)
}

fn header_bombs(to: SocketAddr, cut: &Arc<AtomicUsize>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..BOMBS {
        let cut = Arc::clone(cut);
        tasks.spawn(async move {
            loop {
                let Ok(mut stream) = connect(to, 1).await else {
                    continue;
                };
                let line = [b"X-Bomb: ", &[b'x'; 4_000][..], b"\r\n"].concat();
                let mut sent = stream
                    .write_all(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n")
                    .await;
                while sent.is_ok() {
                    sent = stream.write_all(&line).await;
                }
                cut.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks
}

async fn stream(to: SocketAddr, host: &str, token: &str, address: usize) -> Result<TcpStream, Failure> {
    let mut stream = connect(to, address + 2).await?;
    let head = format!(
        "GET /mcp HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    if status.ends_with(b"200") {
        Ok(stream)
    } else {
        Err(format!("no stream: {}", String::from_utf8_lossy(&status)).into())
    }
}

/// How many the other end has not closed.
async fn open(held: Vec<TcpStream>) -> Result<usize, Failure> {
    let mut open = 0;
    let mut some = [0; 1024];
    for mut stream in held {
        // An answer such as 408 may come before the end.
        loop {
            match tokio::time::timeout(Duration::from_millis(1), stream.read(&mut some)).await {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) => {}
                Err(_) => {
                    open += 1;
                    break;
                }
            }
        }
    }
    Ok(open)
}

/// A connection from one of the other addresses.
async fn connect(to: SocketAddr, address: usize) -> Result<TcpStream, Failure> {
    let from = Ipv4Addr::new(127, 0, 0, u8::try_from(address + 2)?);
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::V4(SocketAddrV4::new(from, 0)))?;
    Ok(socket.connect(to).await?)
}
