//! The gateway against the direct call: the same request, the same backend, in turn, in one run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::{Failure, Pace, Run, run, tools_call};

/// How many keep-alive connections, each with a token of its own.
const CONNECTIONS: usize = 32;

/// Medians over the rounds.
pub(crate) struct Figures {
    pub(crate) direct: Run,
    pub(crate) guarded: Run,
    pub(crate) paced_rate: f64,
    pub(crate) paced_direct: Run,
    pub(crate) paced_guarded: Run,
    pub(crate) cpu_per_call: Duration,
    pub(crate) resident: u64,
}

/// A child process that ends with this value.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Starts the backend (this program again) and `portcullis up` in front of it, and measures `rounds` rounds of `time`.
pub(crate) async fn measure(portcullis: &Path, rounds: usize, time: Duration) -> Result<Figures, Failure> {
    let folder = std::env::temp_dir().join(format!("portcullis-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let figures = in_folder(portcullis, &folder, rounds, time).await;
    std::fs::remove_dir_all(&folder)?;
    figures
}

async fn in_folder(
    portcullis: &Path,
    folder: &Path,
    rounds: usize,
    time: Duration,
) -> Result<Figures, Failure> {
    let (_backend, direct) = backend()?;
    let (gateway, ready) = up(portcullis, folder, &direct).await?;
    let guarded = ready
        .pointer("/gateway")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default()
        .trim_start_matches("http://")
        .to_owned();
    let mut requests = Vec::new();
    for _ in 0..CONNECTIONS {
        requests.push(tools_call(&guarded, "/mcp", "add", Some(&token(&ready).await?)));
    }
    let plain: Vec<Vec<u8>> = (0..CONNECTIONS)
        .map(|_| tools_call(&direct, "/mcp", "add", None))
        .collect();

    // Warm both, then in turn.
    run(&direct, &plain, Duration::from_secs(1), Pace::Closed).await?;
    run(&guarded, &requests, Duration::from_secs(1), Pace::Closed).await?;
    let (mut directs, mut guardeds, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        directs.push(run(&direct, &plain, time, Pace::Closed).await?);
        let before = cpu(gateway.0.id())?;
        let measured = run(&guarded, &requests, time, Pace::Closed).await?;
        let spent = cpu(gateway.0.id())?.saturating_sub(before);
        cpus.push(spent / u32::try_from(measured.answers.max(1))?);
        guardeds.push(measured);
    }
    let guarded_run = median(guardeds)?;
    let paced_rate = guarded_run.per_second / 2.0;
    let (mut paced_directs, mut paced_guardeds) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        paced_directs.push(run(&direct, &plain, time, Pace::Open(paced_rate)).await?);
        paced_guardeds.push(run(&guarded, &requests, time, Pace::Open(paced_rate)).await?);
    }
    cpus.sort_unstable();
    Ok(Figures {
        direct: median(directs)?,
        guarded: guarded_run,
        paced_rate,
        paced_direct: by_p50(paced_directs)?,
        paced_guarded: by_p50(paced_guardeds)?,
        cpu_per_call: cpus.get(rounds / 2).copied().ok_or("no rounds")?,
        resident: resident(gateway.0.id())?,
    })
}

fn median(mut runs: Vec<Run>) -> Result<Run, Failure> {
    runs.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    runs.get(runs.len() / 2)
        .cloned()
        .ok_or_else(|| "no rounds".into())
}

fn by_p50(mut runs: Vec<Run>) -> Result<Run, Failure> {
    runs.sort_by_key(|run| run.p50);
    runs.get(runs.len() / 2)
        .cloned()
        .ok_or_else(|| "no rounds".into())
}

pub(crate) fn backend() -> Result<(Running, String), Failure> {
    use std::io::BufRead as _;
    let mut child = Running(
        Command::new(std::env::current_exe()?)
            .arg("backend")
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let mut line = String::new();
    std::io::BufReader::new(child.0.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
    Ok((child, line.trim().to_owned()))
}

async fn up(
    portcullis: &Path,
    folder: &Path,
    backend: &str,
) -> Result<(Running, serde_json::Value), Failure> {
    let ready: PathBuf = folder.join("ready.json");
    let child = Command::new(portcullis)
        .args([
            "up",
            "--no-browser",
            "--listen",
            "127.0.0.1:0",
            "--unlisted",
            "read",
            "--upstream",
            &format!("http://{backend}/mcp"),
        ])
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--ready-file")
        .arg(&ready)
        .stdout(Stdio::null())
        .spawn()?;
    let child = Running(child);
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Some(ready) = std::fs::read(&ready)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        {
            return Ok((child, ready));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("`portcullis up` did not serve within 30 s".into())
}

async fn token(ready: &serde_json::Value) -> Result<String, Failure> {
    use http_body_util::{BodyExt as _, Full};
    let text = |name: &str| {
        ready
            .get(name)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let form = [
        ("grant_type", "client_credentials".to_owned()),
        ("client_id", text("client_id")),
        ("client_secret", text("client_secret")),
        ("scope", "upstream:read".to_owned()),
        ("resource", text("mcp_url")),
    ];
    let body = form
        .iter()
        .map(|(name, value)| format!("{name}={}", value.replace(':', "%3A").replace('/', "%2F")))
        .collect::<Vec<_>>();
    let request = http::Request::post(format!("{}/token", text("issuer")))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(bytes::Bytes::from(body.join("&"))))?;
    let client =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let answer = client
        .request(request)
        .await?
        .into_body()
        .collect()
        .await?
        .to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    answer
        .get("access_token")
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| format!("no token: {answer}").into())
}

/// User and system time of a process, from `/proc/PID/stat` (fields 14 and 15, in ticks of 10 ms).
fn cpu(id: u32) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let after_name = stat.rsplit_once(')').ok_or("no name in stat")?.1;
    let mut ticks = 0_u64;
    for field in after_name.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(Duration::from_millis(ticks * 10))
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(id: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kibibytes: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kibibytes * 1024)
}
