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
    /// This many requests per second over all connections, evenly, each timed from when it was sent.
    Open(f64),
}

/// What one connection sends.
#[derive(Clone, Debug)]
pub(crate) enum Requests {
    /// This one, over and over.
    Same(Vec<u8>),
    /// Each of these once. Without another one the connection ends.
    Each(Vec<Vec<u8>>),
}

impl Requests {
    fn number(&self, number: usize) -> Option<&[u8]> {
        match self {
            Self::Same(request) => Some(request),
            Self::Each(requests) => requests.get(number).map(Vec::as_slice),
        }
    }
}

/// Sends `requests[i]` on connection `i` for `time` and returns what came of it. Every answer must be a 200.
pub(crate) async fn run(
    address: &str,
    requests: &[Vec<u8>],
    time: Duration,
    pace: Pace,
) -> Result<Run, Failure> {
    let requests = requests.iter().cloned().map(Requests::Same).collect();
    run_each(address, requests, time, pace).await
}

/// The same with requests that may differ.
pub(crate) async fn run_each(
    address: &str,
    requests: Vec<Requests>,
    time: Duration,
    pace: Pace,
) -> Result<Run, Failure> {
    let connections = requests.len().max(1);
    let started = Instant::now();
    let mut times = Vec::new();
    match pace {
        Pace::Closed => {
            let mut tasks = Vec::new();
            for requests in requests {
                let address = address.to_owned();
                tasks.push(tokio::spawn(async move {
                    as_fast_as_answered(&address, &requests, started + time).await
                }));
            }
            for task in tasks {
                times.extend(task.await??);
            }
        }
        Pace::Open(rate) => {
            let interval = Duration::from_secs_f64(connections as f64 / rate);
            let mut tasks = Vec::new();
            for (index, requests) in requests.into_iter().enumerate() {
                let address = address.to_owned();
                let first = started + interval.mul_f64(index as f64 / connections as f64);
                // A thread each: the system wakes one within some microseconds of its time, and the runtime's timer is a millisecond
                // coarse, so that everything due within one would be sent at once.
                let (done, sent) = tokio::sync::oneshot::channel();
                std::thread::spawn(move || {
                    // Whoever measures has given up if nobody takes it.
                    drop(done.send(evenly(&address, &requests, first, interval, started + time)));
                });
                tasks.push(sent);
            }
            for task in tasks {
                times.extend(task.await.map_err(|_| "a sender panicked")??);
            }
        }
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

async fn as_fast_as_answered(
    address: &str,
    requests: &Requests,
    end: Instant,
) -> Result<Vec<Duration>, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(1 << 16);
    let mut buffer = vec![0_u8; 16 * 1024];
    while let Some(request) = requests.number(times.len()) {
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        stream.write_all(request).await?;
        let mut filled = 0;
        while !is_whole(buffer.get(..filled).unwrap_or_default())? {
            let free = free(&mut buffer, filled)?;
            filled += some(stream.read(free).await?)?;
        }
        times.push(sent.elapsed());
    }
    Ok(times)
}

fn evenly(
    address: &str,
    requests: &Requests,
    mut due: Instant,
    interval: Duration,
    end: Instant,
) -> Result<Vec<Duration>, Failure> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut times = Vec::with_capacity(1 << 14);
    let mut buffer = vec![0_u8; 16 * 1024];
    while let Some(request) = requests.number(times.len()) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += interval;
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        stream.write_all(request)?;
        let mut filled = 0;
        while !is_whole(buffer.get(..filled).unwrap_or_default())? {
            let free = free(&mut buffer, filled)?;
            filled += some(stream.read(free)?)?;
        }
        times.push(sent.elapsed());
    }
    Ok(times)
}

fn free(buffer: &mut [u8], filled: usize) -> Result<&mut [u8], Failure> {
    buffer
        .get_mut(filled..)
        .filter(|free| !free.is_empty())
        .ok_or_else(|| "an answer larger than expected".into())
}

fn some(read: usize) -> Result<usize, Failure> {
    match read {
        0 => Err("the connection closed in the middle of an answer".into()),
        read => Ok(read),
    }
}

/// Whether there is exactly one answer, with `Content-Length` or chunked framing.
fn is_whole(got: &[u8]) -> Result<bool, Failure> {
    let Some(head) = find(got, b"\r\n\r\n") else {
        return Ok(false);
    };
    let (headers, body) = got.split_at(head + 4);
    if !headers.starts_with(b"HTTP/1.1 200") {
        return Err(format!("not a 200: {}", String::from_utf8_lossy(got)).into());
    }
    let headers = headers.to_ascii_lowercase();
    Ok(match find(&headers, b"content-length: ") {
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
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// What a request shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown<'a> {
    Nothing,
    Bearer(&'a str),
    /// A token, and a proof.
    Dpop(&'a str, &'a str),
}

/// The bytes of one `tools/call` of the 2026-07-28 revision.
pub(crate) fn tools_call(host: &str, path: &str, tool: &str, shown: Shown<'_>) -> Vec<u8> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"a":2,"b":3}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    );
    let authorization = match shown {
        Shown::Nothing => String::new(),
        Shown::Bearer(token) => format!("Authorization: Bearer {token}\r\n"),
        Shown::Dpop(token, proof) => format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n"),
    };
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
