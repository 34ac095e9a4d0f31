//! The replay log: what ten million live ids take, how many are checked in a second on one core, and through a Redis.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::ids::TokenId;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_guard::{LOCAL_IDS, LocalReplayLog, ReplayId, ReplayLog, Use};
use portcullis_net::clock::{Clock as _, System};
use portcullis_server::ephemeral::{self, Place, RedisSettings, RedisUrl};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::load::Failure;
use crate::validation::NOW;

/// Ids whose names are made before the clock starts.
const BATCH: usize = 8_192;
/// Ids of one sender.
const OF_SENDER: usize = 1_000;
/// Askers at once, of one connection.
const TASKS: usize = 64;

/// The section of the page.
pub(crate) fn section(runtime: &Runtime, time: Duration) -> Result<String, Failure> {
    let local = local()?;
    let mut text = format!(
        "## Replay log\n\nTen million live ids from ten thousand senders in the log of one process, on one core. Memory is what the process grew by while they were put in. The time to hash the parts of \
         a proof into an id is given apart.\n\n| | measured | goal |\n|---|---|---|\n\
         | memory of 10 million live ids | {:.0} MiB | 400 MiB |\n\
         | first uses, from the first to the ten millionth | {:.0}/s | 1,000,000/s |\n\
         | replays, found among ten million | {:.0}/s | 1,000,000/s |\n\
         | one id from its parts | {} | |\n",
        local.grown as f64 / 1_048_576.0,
        local.firsts,
        local.replays,
        crate::micros(local.naming)
    );
    match redis(runtime, time)? {
        Some(rate) => writeln!(
            text,
            "| first uses through one connection to Redis, {TASKS} at once | {rate:.0}/s | |\n"
        )?,
        None => writeln!(
            text,
            "\nRedis was not measured: there is no `redis-server` here.\n"
        )?,
    }
    Ok(text)
}

struct Local {
    grown: usize,
    firsts: f64,
    replays: f64,
    naming: Duration,
}

fn local() -> Result<Local, Failure> {
    let now = UnixTime::from_secs(NOW);
    let until = now.plus(Lifetime::from_minutes(1));
    let before = resident()?;
    // Room to spare, so that the last sender finds some.
    let log = LocalReplayLog::new(LOCAL_IDS + LOCAL_IDS / 10, now);
    let (mut naming, mut first, mut again) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for start in (0..LOCAL_IDS).step_by(BATCH) {
        let started = Instant::now();
        let ids = ids(start..(start + BATCH).min(LOCAL_IDS))?;
        naming += started.elapsed();
        let started = Instant::now();
        for id in ids {
            if log.answer(black_box(&id), until, now)? != Use::First {
                return Err("an id was taken for another".into());
            }
        }
        first += started.elapsed();
    }
    // What the allocator had at hand from before does not show in what is resident.
    let grown = resident()?.saturating_sub(before).max(log.bytes());
    for start in (0..LOCAL_IDS).step_by(BATCH * 16) {
        let ids = ids(start..(start + BATCH).min(LOCAL_IDS))?;
        let started = Instant::now();
        for id in ids {
            if log.answer(black_box(&id), until, now)? != Use::Again {
                return Err("a replay was accepted".into());
            }
        }
        again += started.elapsed();
    }
    let replays: usize = (0..LOCAL_IDS)
        .step_by(BATCH * 16)
        .map(|start| BATCH.min(LOCAL_IDS - start))
        .sum();
    Ok(Local {
        grown,
        firsts: LOCAL_IDS as f64 / first.as_secs_f64(),
        replays: replays as f64 / again.as_secs_f64(),
        naming: naming / u32::try_from(LOCAL_IDS)?,
    })
}

fn ids(numbers: std::ops::Range<usize>) -> Result<Vec<ReplayId>, Failure> {
    let id = |number: usize| -> Result<ReplayId, Failure> {
        let sender = format!("https://agent.example.com/{}", number / OF_SENDER);
        Ok(ReplayId::sealed(
            &sender,
            &TokenId::parse(&format!("{number:022}"))?,
        ))
    };
    numbers.map(id).collect()
}

/// First uses in a second, by many tasks over one connection.
fn redis(runtime: &Runtime, time: Duration) -> Result<Option<f64>, Failure> {
    let Some(server) = Server::start()? else {
        return Ok(None);
    };
    let stop = CancellationToken::new();
    let rate = runtime.block_on(async {
        let settings = ephemeral::Settings {
            at: Place::Redis(RedisSettings {
                url: RedisUrl::parse(&format!("redis://127.0.0.1:{}", server.port))?,
                password: None,
                ca_file: None,
            }),
            memory: ephemeral::MEMORY,
        };
        let log = ephemeral::open(&settings, Arc::new(System), stop.clone())?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while log.ready().is_err() {
            if Instant::now() > deadline {
                return Err("redis-server does not serve".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let started = Instant::now();
        let askers: Vec<_> = (0..TASKS)
            .map(|task| tokio::spawn(ask(Arc::clone(&log), task, started + time)))
            .collect();
        let mut done = 0;
        for asker in askers {
            done += asker.await??;
        }
        Ok::<f64, Failure>(done as f64 / started.elapsed().as_secs_f64())
    });
    stop.cancel();
    rate.map(Some)
}

async fn ask(log: Arc<dyn ReplayLog>, task: usize, end: Instant) -> Result<usize, Failure> {
    let mut done = 0;
    while Instant::now() < end {
        let now = System.now();
        let id = ReplayId::sealed(&format!("agent {task}"), &TokenId::parse(&format!("{done:022}"))?);
        if log
            .first_use(id, now.plus(Lifetime::from_minutes(1)), now)
            .await?
            != Use::First
        {
            return Err("an id was taken for another".into());
        }
        done += 1;
    }
    Ok(done)
}

/// A Redis of our own, without persistence.
struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Server {
    fn start() -> Result<Option<Self>, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = std::env::temp_dir().join(format!("portcullis-bench-redis-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let started = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Ok(Some(Self { child, port, folder })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::remove_dir_all(&folder)?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// What this process has in memory, in bytes.
fn resident() -> Result<usize, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .split_whitespace()
                .next()?
                .parse::<usize>()
                .ok()
        })
        .ok_or("no VmRSS in /proc/self/status")?;
    Ok(kib * 1024)
}
