//! The gateway beside the direct call, a bare proxy and the programs of others: the same requests, the same backend, in turn, in one
//! run.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::load::{Failure, Pace};
use crate::subjects::{Round, Subject, Subjects};
use crate::{ROUNDS, mebibytes, micros};

/// Requests per second that no program here reaches: so many requests that differ are made for a second.
const AT_MOST: f64 = 30_000.0;

/// What does fewer requests per second is measured for one round: each of its rounds takes many times as long, and it is not close.
const SLOW: f64 = 200.0;

/// The section of the page.
pub(crate) fn section(
    runtime: &tokio::runtime::Runtime,
    portcullis: &Path,
    tools: Option<&Path>,
    time: Duration,
) -> Result<String, Failure> {
    runtime.block_on(measure(portcullis, tools, time))
}

async fn measure(portcullis: &Path, tools: Option<&Path>, time: Duration) -> Result<String, Failure> {
    let subjects = Subjects::start(portcullis, tools).await?;
    let mut page = full_load(&subjects, time).await?;
    page.push_str(&half_load(&subjects, time).await?);
    Ok(page)
}

async fn full_load(subjects: &Subjects, time: Duration) -> Result<String, Failure> {
    let ours = [&subjects.es256, &subjects.rs256, &subjects.dpop];
    let all: Vec<&Subject> = [&subjects.direct, &subjects.bare]
        .into_iter()
        .chain(ours)
        .chain(&subjects.peers)
        .collect();
    let mut rounds: Vec<Vec<Round>> = Vec::new();
    let mut slow = Vec::new();
    for subject in &all {
        let warm = subject
            .round(Duration::from_secs(1), Pace::Closed, AT_MOST)
            .await?;
        slow.push(warm.run.per_second < SLOW);
        rounds.push(Vec::new());
    }
    for round in 0..ROUNDS {
        for ((subject, rounds), slow) in all.iter().zip(&mut rounds).zip(&slow) {
            if round == 0 || !slow {
                rounds.push(subject.round(time, Pace::Closed, AT_MOST).await?);
            }
        }
    }
    let mut page = format!(
        "## The gateway\n\n`tools/call` over 32 keep-alive connections with one token each, in front of a hyper server that answers at once; all in turn, median of {ROUNDS} rounds of \
         {} s (one round of what does fewer than {SLOW:.0} requests/s). Portcullis has policy and audit on: who calls what is decided and recorded before the call goes on. The others check signature, times, issuer and audience \
         (HAProxy type and scope besides) and keep no record. CPU is that of the program alone, in user and kernel, for one request: it depends less than requests/s on what load \
         generator and backend take of the same cores.\n\n| | requests/s | p50 | p99 | CPU per request |\n|---|---|---|---|---|\n",
        time.as_secs()
    );
    let mut medians = Vec::new();
    for (subject, rounds) in all.iter().zip(rounds) {
        let round = median(rounds, |round| round.run.per_second)?;
        writeln!(
            page,
            "| {} | {:.0} | {} | {} | {} |",
            subject.name,
            round.run.per_second,
            micros(round.run.p50),
            micros(round.run.p99),
            if round.cpu.is_zero() {
                "–".to_owned()
            } else {
                micros(round.cpu)
            }
        )?;
        medians.push((subject.name.as_str(), round));
    }
    let of = |name: &str| {
        medians
            .iter()
            .find(|(subject, _)| subject.contains(name))
            .map(|(_, round)| round)
    };
    let ratio = |ours: &Subject, theirs: &str| match (of(&ours.name), of(theirs)) {
        (Some(ours), Some(theirs)) => format!("{:.2}", ours.run.per_second / theirs.run.per_second),
        (None, _) | (_, None) => "not measured".to_owned(),
    };
    page.push_str("\n| requests/s against | measured | goal |\n|---|---|---|\n");
    for (what, ours, theirs, goal) in [
        (
            "ES256 / HAProxy `jwt_verify`, ES256",
            &subjects.es256,
            "`jwt_verify`, ES256",
            "1.5",
        ),
        (
            "RS256 / Envoy `jwt_authn` with its token cache, RS256",
            &subjects.rs256,
            "with its token cache",
            "1.0",
        ),
        (
            "ES256 with a DPoP proof on every request / HAProxy `jwt_verify`, ES256",
            &subjects.dpop,
            "`jwt_verify`, ES256",
            "1.0",
        ),
    ] {
        writeln!(page, "| {what} | {} | {goal} |", ratio(ours, theirs))?;
    }
    if let (Some(ours), Some(bare)) = (of(&subjects.es256.name), of(&subjects.bare.name)) {
        writeln!(
            page,
            "\nCPU per call over the bare proxy: **{:.1} µs** (goal: at most 12 µs). Resident memory after the runs: {}.\n",
            (ours.cpu.as_secs_f64() - bare.cpu.as_secs_f64()) * 1e6,
            mebibytes(subjects.es256.resident()?)
        )?;
    }
    if !subjects.absent.is_empty() {
        page.push_str("Not measured here:\n\n");
        for absent in &subjects.absent {
            writeln!(page, "- {absent}")?;
        }
        page.push('\n');
    }
    Ok(page)
}

/// Evenly, at half of what the gateway does in a second when nothing waits, all at the same rate.
async fn half_load(subjects: &Subjects, time: Duration) -> Result<String, Failure> {
    let full = subjects.es256.round(time, Pace::Closed, AT_MOST).await?;
    let rate = full.run.per_second / 2.0;
    let mut all = vec![&subjects.direct, &subjects.bare, &subjects.es256];
    all.extend(subjects.peers.iter().filter(|peer| {
        ["`jwt_verify`, ES256", "with its token cache"]
            .iter()
            .any(|name| peer.name.contains(name))
    }));
    let mut rounds: Vec<Vec<Round>> = all.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (subject, rounds) in all.iter().zip(&mut rounds) {
            rounds.push(subject.round(time, Pace::Open(rate), AT_MOST).await?);
        }
    }
    let mut page = format!(
        "At half of that load ({rate:.0} requests/s, evenly spread over the connections, median of {ROUNDS} rounds by p50):\n\n\
         | | p50 | p99 | added, p50 | added, p99 |\n|---|---|---|---|---|\n"
    );
    let mut direct = None;
    for (subject, rounds) in all.iter().zip(rounds) {
        let run = median(rounds, |round| round.run.p50.as_secs_f64())?.run;
        let (p50, p99) = *direct.get_or_insert((run.p50, run.p99));
        writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            subject.name,
            micros(run.p50),
            micros(run.p99),
            micros(run.p50.saturating_sub(p50)),
            micros(run.p99.saturating_sub(p99)),
        )?;
    }
    page.push_str("\nGoal for what Portcullis adds: 60 µs and 300 µs.\n\n");
    Ok(page)
}

fn median(mut rounds: Vec<Round>, by: impl Fn(&Round) -> f64) -> Result<Round, Failure> {
    rounds.sort_by(|a, b| by(a).total_cmp(&by(b)));
    let middle = rounds.len() / 2;
    rounds.into_iter().nth(middle).ok_or_else(|| "no rounds".into())
}
