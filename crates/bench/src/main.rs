//! Measures Portcullis and writes what it found as a Markdown page: `cargo xtask bench`.
//!
//! `portcullis-bench PORTCULLIS [SECONDS] [--only SECTION]…` prints the page, or some sections of it; `portcullis-bench backend` serves
//! the backend of the measurement, `portcullis-bench proxy BACKEND` a bare proxy in front of it.

mod backend;
mod fixture;
mod floods;
mod gateway;
mod growth;
mod idle;
mod load;
mod process;
mod proofs;
mod proxy;
mod replay;
mod rotation;
mod sealing;
mod sessions;
mod signatures;
mod subjects;
mod validation;
mod warm;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use load::Failure;

const ROUNDS: usize = 5;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    let out = &mut std::io::stdout();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["backend"] => runtime.block_on(backend::serve(out)),
        ["proxy", behind] => runtime.block_on(proxy::serve(behind, out)),
        [portcullis, rest @ ..] => {
            let (seconds, only) = match rest {
                [seconds, only @ ..] if *seconds != "--only" => (seconds.parse()?, only),
                only => (3, only),
            };
            let mut named = Vec::new();
            for pair in only.chunks(2) {
                let ["--only", name] = pair else {
                    return Err(USAGE.into());
                };
                named.push(*name);
            }
            measure(
                &runtime,
                &std::fs::canonicalize(portcullis)?,
                Duration::from_secs(seconds),
                &named,
                out,
            )
        }
        [] => Err(USAGE.into()),
    }
}

const USAGE: &str = "usage: portcullis-bench PORTCULLIS [SECONDS] [--only SECTION]…";

/// Each section is written as soon as it is measured, so that a run that ends early has shown what it found. Without a name all of
/// them.
fn measure(
    runtime: &tokio::runtime::Runtime,
    portcullis: &Path,
    time: Duration,
    only: &[&str],
    page: &mut dyn std::io::Write,
) -> Result<(), Failure> {
    write!(
        page,
        "# Benchmarks\n\nWritten by `cargo xtask bench`; every number on this page comes from one run of it on one machine. Run it on yours: ratios travel, \
         absolute numbers do not. The load generator, the backend and what is measured share the machine's cores.\n\n{}\n\n",
        machine()
    )?;
    type Section<'s> = (&'s str, &'s dyn Fn() -> Result<String, Failure>);
    let sections: [Section<'_>; 10] = [
        ("validation", &|| validation_section(runtime, time)),
        ("signatures", &|| signatures::section(ROUNDS, time / 15)),
        ("encryption", &|| sealing::section(ROUNDS, time / 3, tools())),
        ("sessions", &|| sessions::section(ROUNDS, time / 10)),
        ("replay", &|| replay::section(runtime, time)),
        ("rotation", &|| rotation::section(runtime)),
        ("idle", &|| idle::section(runtime, portcullis)),
        ("gateway", &|| {
            gateway::section(runtime, portcullis, tools(), time)
        }),
        ("growth", &|| growth::section(runtime, portcullis, time)),
        ("floods", &|| floods::section(runtime, portcullis, time)),
    ];
    if let Some(unknown) = only
        .iter()
        .find(|name| sections.iter().all(|(known, _)| known != *name))
    {
        let known: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
        return Err(format!("no section `{unknown}`: {}", known.join(", ")).into());
    }
    let began = Instant::now();
    for (name, section) in sections {
        if !only.is_empty() && !only.contains(&name) {
            continue;
        }
        writeln!(
            std::io::stderr(),
            "bench: {name}, after {} s",
            began.elapsed().as_secs()
        )?;
        page.write_all(section()?.as_bytes())?;
        page.flush()?;
    }
    writeln!(
        std::io::stderr(),
        "bench: done, after {} s",
        began.elapsed().as_secs()
    )?;
    Ok(())
}

fn validation_section(runtime: &tokio::runtime::Runtime, time: Duration) -> Result<String, Failure> {
    let mut page = String::new();
    writeln!(
        page,
        "## Validation of an access token\n\nThe bare check is the crypto library's, with a parsed key, over the same bytes. Cold: split, decode, find the key, check the signature, \
         `typ`, `iss`, `aud`, times and required claims. Warm: a token validated before and found in the cache, still before `exp`, under the same keys. Median of {ROUNDS} alternating rounds.\n"
    )?;
    writeln!(
        page,
        "| | bare signature check | cold validation | ratio | goal |\n|---|---|---|---|---|"
    )?;
    for row in validation::measure(ROUNDS, time.min(Duration::from_secs(1)))? {
        writeln!(
            page,
            "| {} | {} | {} | {:.3} | 1.05 |",
            row.algorithm.name(),
            micros(row.bare),
            micros(row.cold),
            row.ratio
        )?;
    }
    let warm = runtime.block_on(warm::measure(ROUNDS, time.min(Duration::from_secs(1))))?;
    writeln!(
        page,
        "\n| | measured | goal |\n|---|---|---|\n| warm validation | {} | 0.5 µs |\n",
        micros(warm)
    )?;
    page.push_str(&proofs::section(ROUNDS, time / 15)?);
    Ok(page)
}

/// Where `cargo xtask install` and `cargo xtask bench` put other people's programs, when they did.
fn tools() -> Option<&'static Path> {
    let tools = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools"));
    tools.join("installed").is_file().then_some(tools)
}

fn micros(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 10.0 {
        format!("{micros:.2} µs")
    } else {
        format!("{micros:.1} µs")
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "Machine: {model}, {cores} cores, Linux {}. Portcullis {}, {} profile, Rust {}.",
        kernel.trim(),
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) {
            "development"
        } else {
            "release"
        },
        env!("CARGO_PKG_RUST_VERSION")
    )
}
