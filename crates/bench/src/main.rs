//! Measures Portcullis and writes what it found as a Markdown page: `cargo xtask bench`.
//!
//! `portcullis-bench PORTCULLIS [SECONDS]` prints the page; `portcullis-bench backend` serves the backend of the measurement.

mod backend;
mod floods;
mod gateway;
mod load;
mod proofs;
mod replay;
mod rotation;
mod sealing;
mod sessions;
mod signatures;
mod validation;
mod warm;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use load::Failure;

const ROUNDS: usize = 5;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.as_slice() {
        [word] if word == "backend" => runtime.block_on(backend::serve(&mut std::io::stdout())),
        [portcullis, rest @ ..] => {
            let seconds = rest.first().map_or(Ok(3), |text| text.parse())?;
            measure(
                &runtime,
                Path::new(portcullis),
                Duration::from_secs(seconds),
                &mut std::io::stdout(),
            )
        }
        [] => Err("usage: portcullis-bench PORTCULLIS [SECONDS]".into()),
    }
}

/// Each section is written as soon as it is measured, so that a run that ends early has shown what it found.
fn measure(
    runtime: &tokio::runtime::Runtime,
    portcullis: &Path,
    time: Duration,
    page: &mut dyn std::io::Write,
) -> Result<(), Failure> {
    write!(
        page,
        "# Benchmarks\n\nWritten by `cargo xtask bench`; every number on this page comes from one run of it on one machine. Run it on yours: ratios travel, \
         absolute numbers do not. The load generator, the backend and what is measured share the machine's cores.\n\n{}\n\n",
        machine()
    )?;
    type Section<'s> = (&'s str, &'s dyn Fn() -> Result<String, Failure>);
    let sections: [Section<'_>; 8] = [
        ("validation, cold and warm", &|| validation_section(runtime, time)),
        ("signatures, per algorithm", &|| {
            signatures::section(ROUNDS, time / 15)
        }),
        ("hybrid encryption", &|| {
            sealing::section(ROUNDS, time / 3, tools())
        }),
        ("sealed sessions", &|| sessions::section(ROUNDS, time / 10)),
        ("replay log", &|| replay::section(runtime, time)),
        ("rotation under load", &|| rotation::section(runtime)),
        ("gateway against the direct call", &|| {
            gateway_section(runtime, portcullis, time)
        }),
        ("floods", &|| floods::section(runtime, portcullis, time)),
    ];
    for (name, section) in sections {
        writeln!(std::io::stderr(), "bench: {name}")?;
        page.write_all(section()?.as_bytes())?;
        page.flush()?;
    }
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

fn gateway_section(
    runtime: &tokio::runtime::Runtime,
    portcullis: &Path,
    time: Duration,
) -> Result<String, Failure> {
    let mut page = String::new();
    let figures = runtime.block_on(gateway::measure(portcullis, ROUNDS, time))?;
    let f = &figures;
    writeln!(
        page,
        "## The gateway\n\n`tools/call` over 32 keep-alive connections with one token each, policy and audit on, in front of a hyper server that answers at once; direct and guarded in turn, \
         median of {ROUNDS} rounds of {} s.\n",
        time.as_secs()
    )?;
    writeln!(page, "| full load | requests/s | p50 | p99 |\n|---|---|---|---|")?;
    for (name, run) in [("direct", &f.direct), ("through Portcullis", &f.guarded)] {
        writeln!(
            page,
            "| {name} | {:.0} | {} | {} |",
            run.per_second,
            micros(run.p50),
            micros(run.p99)
        )?;
    }
    writeln!(
        page,
        "\nCPU of the gateway per guarded call: {}. Resident memory after the run: {:.1} MiB.\n",
        micros(f.cpu_per_call),
        f.resident as f64 / 1_048_576.0
    )?;
    writeln!(
        page,
        "| half load ({:.0} requests/s) | p50 | p99 |\n|---|---|---|",
        f.paced_rate
    )?;
    for (name, run) in [
        ("direct", &f.paced_direct),
        ("through Portcullis", &f.paced_guarded),
    ] {
        writeln!(page, "| {name} | {} | {} |", micros(run.p50), micros(run.p99))?;
    }
    let added = |a: Duration, b: Duration| micros(a.saturating_sub(b));
    writeln!(
        page,
        "| **added** (goal 60 µs / 300 µs) | **{}** | **{}** |\n",
        added(f.paced_guarded.p50, f.paced_direct.p50),
        added(f.paced_guarded.p99, f.paced_direct.p99)
    )?;
    Ok(page)
}

/// Where `cargo xtask install` puts other people's programs, when it did.
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
        "Machine: {model}, {cores} cores, Linux {}. Portcullis {}, release profile, Rust {}.",
        kernel.trim(),
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_RUST_VERSION")
    )
}
