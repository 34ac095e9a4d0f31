//! How soon `portcullis gateway` serves, and what it holds when nobody calls.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::fixture::{Folder, ISSUER, Issuer, issuer_toml, server_toml};
use crate::load::Failure;
use crate::process::{free_address, resident};
use crate::subjects::gateway;
use crate::{ROUNDS, mebibytes};

/// The section of the page.
pub(crate) fn section(runtime: &tokio::runtime::Runtime, portcullis: &Path) -> Result<String, Failure> {
    runtime.block_on(measure(portcullis))
}

async fn measure(portcullis: &Path) -> Result<String, Failure> {
    let folder = Folder::new("idle")?;
    folder.write("jwks.json", &Issuer::new()?.jwks()?)?;
    let listen = free_address()?;
    let (issuers, servers) = (issuer_toml(ISSUER), server_toml("bench", "127.0.0.1:9"));
    let (mut starts, mut sizes) = (Vec::new(), Vec::new());
    // The first start makes keys and a log, and warms the file cache.
    for round in 0..=ROUNDS {
        let started = Instant::now();
        let running = gateway(portcullis, &folder, &listen, &issuers, &servers).await?;
        let time = started.elapsed();
        tokio::time::sleep(Duration::from_millis(500)).await;
        if round > 0 {
            starts.push(time);
            sizes.push(resident(running.id())?);
        }
    }
    starts.sort_unstable();
    sizes.sort_unstable();
    let middle = ROUNDS / 2;
    let (start, size) = (
        starts.get(middle).copied().unwrap_or_default(),
        sizes.get(middle).copied().unwrap_or_default(),
    );
    Ok(format!(
        "## Start and idle memory\n\n`portcullis gateway` with one server, its keys and log there already, its files in the cache; until it takes connections, and half a second later. \
         Median of {ROUNDS} starts.\n\n| | measured | goal |\n|---|---|---|\n| ready after | {:.0} ms | 100 ms |\n| resident memory, idle | {} | 30 MiB |\n\n",
        start.as_secs_f64() * 1e3,
        mebibytes(size)
    ))
}
