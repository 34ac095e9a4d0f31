//! A load generator: keep-alive connections that send one prepared request each, over and over, and time the answers.
//!
//! The request is bytes made beforehand and the answer is read only as far as HTTP/1.1 framing needs, so that the generator costs
//! little of the two cores it shares with what it measures.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What one run showed.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Answers per second.
    pub(crate) per_second: f64,
    /// Half of the answers came within this time.
    pub(crate) p50: Duration,
    /// 99 of 100 answers came within this time.
    pub(crate) p99: Duration,
    /// Answers.
    pub(crate) answers: usize,
}

/// A failure to measure: nothing may be reported from such a run.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How fast each connection sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// The next request as soon as the answer is there.
    Closed,
    /// This many requests per second over all connections, each timed from when it was sent.
    Open(f64),
}

/// Sends `requests[i]` on connection `i` for `time` and returns what came of it. Every answer must be a 200.
pub(crate) async fn run(
    address: &str,
    requests: &[Vec<u8>],
    time: Duration,
    pace: Pace,
) -> Result<Run, Failure> {
    let started = Instant::now();
    let connections = requests.len().max(1);
    let mut tasks = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let (address, request) = (address.to_owned(), request.clone());
        let interval = match pace {
            Pace::Closed => None,
            Pace::Open(rate) => Some(Duration::from_secs_f64(connections as f64 / rate)),
        };
        let offset = interval
            .unwrap_or_default()
            .mul_f64(index as f64 / connections as f64);
        tasks.push(tokio::spawn(async move {
            connection(&address, &request, started + offset, time, interval).await
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let elapsed = started.elapsed();
    times.sort_unstable();
    let at = |part: f64| {
        times
            .get(((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1)))
            .copied()
    };
    Ok(Run {
        per_second: times.len() as f64 / elapsed.as_secs_f64(),
        p50: at(0.50).ok_or("no answers")?,
        p99: at(0.99).ok_or("no answers")?,
        answers: times.len(),
    })
}

async fn connection(
    address: &str,
    request: &[u8],
    mut due: Instant,
    time: Duration,
    interval: Option<Duration>,
) -> Result<Vec<Duration>, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(1 << 16);
    let mut buffer = vec![0_u8; 16 * 1024];
    let end = due + time;
    loop {
        let sent = match interval {
            None => Instant::now(),
            Some(interval) => {
                tokio::time::sleep_until(due.into()).await;
                due += interval;
                // From the sending and not from when it was due: the timer is a millisecond coarse, which is more than what is measured.
                Instant::now()
            }
        };
        if sent >= end {
            return Ok(times);
        }
        stream.write_all(request).await?;
        answer(&mut stream, &mut buffer).await?;
        times.push(sent.elapsed());
    }
}

/// Reads exactly one answer with `Content-Length` or chunked framing.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Failure> {
    let mut filled = 0;
    loop {
        let free = buffer
            .get_mut(filled..)
            .filter(|free| !free.is_empty())
            .ok_or("an answer larger than expected")?;
        let read = stream.read(free).await?;
        if read == 0 {
            return Err("the connection closed in the middle of an answer".into());
        }
        filled += read;
        let got = buffer.get(..filled).unwrap_or_default();
        let Some(head) = find(got, b"\r\n\r\n") else {
            continue;
        };
        let (headers, body) = got.split_at(head + 4);
        if !headers.starts_with(b"HTTP/1.1 200") {
            return Err(format!("not a 200: {}", String::from_utf8_lossy(got)).into());
        }
        let headers = headers.to_ascii_lowercase();
        let whole = match find(&headers, b"content-length: ") {
            Some(at) => {
                let digits: String = headers
                    .iter()
                    .skip(at + 16)
                    .take_while(|byte| byte.is_ascii_digit())
                    .map(|byte| char::from(*byte))
                    .collect();
                body.len() >= digits.parse::<usize>()?
            }
            None => body.ends_with(b"0\r\n\r\n"),
        };
        if whole {
            return Ok(());
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The bytes of one `tools/call` of the 2026-07-28 revision.
pub(crate) fn tools_call(host: &str, path: &str, tool: &str, token: Option<&str>) -> Vec<u8> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"a":2,"b":3}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    );
    let authorization = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
