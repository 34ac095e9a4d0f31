//! What is remembered for minutes: which proofs, assertions and tokens for one use were used.
//!
//! Takes: where to remember. Gives: the guard's [`ReplayLog`], kept tidy and connected until the process stops. May use: `custody`, for
//! the way to a secret. Never: forgets an id before its time, answers when it does not know.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::fault::Fault;
use portcullis_guard::{LOCAL_IDS, LocalReplayLog, ReplayLog};
use portcullis_net::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::custody::backend::SecretSource;

mod keeper;
mod redis;
mod url;

pub use redis::RedisLog;
pub use url::{InvalidRedisUrl, RedisUrl};

/// Memory for the ids of one process, in bytes, unless configured otherwise.
pub const MEMORY: usize = 400 * 1024 * 1024;
/// What one id takes at most, in bytes.
const ID_BYTES: usize = MEMORY / LOCAL_IDS;
/// Everything in this process is looked through once in this time, for what expired.
const ROUND: Duration = Duration::from_secs(16);
/// A sixteenth of it at a time.
const STEPS: u32 = 16;
const PARTS_OF_A_STEP: usize = 16;

/// Where ids are remembered, and how many.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where.
    pub at: Place,
    /// Memory that the ids of this process may take, in bytes.
    pub memory: usize,
}

/// Where ids are remembered.
#[derive(Clone, Debug)]
pub enum Place {
    /// In this process alone.
    Memory,
    /// In a Redis that replicas share, and in this process.
    Redis(RedisSettings),
}

/// How a Redis is reached.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where it is.
    pub url: RedisUrl,
    /// Its password, read at each connection.
    pub password: Option<SecretSource>,
    /// Certificates (PEM) that are trusted for it instead of the operating system's.
    pub ca_file: Option<PathBuf>,
}

/// Opens the log and keeps it until `stop`. A Redis that cannot be reached is no error here: calls that need it are refused until
/// it is there.
///
/// # Errors
/// [`EphemeralError`]: what was configured cannot be used.
pub fn open(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<Arc<dyn ReplayLog>, EphemeralError> {
    let local = Arc::new(LocalReplayLog::new(settings.memory / ID_BYTES, clock.now()));
    tokio::spawn(tidy(Arc::clone(&local), Arc::clone(&clock), stop.clone()));
    Ok(match &settings.at {
        Place::Memory => local,
        Place::Redis(redis) => Arc::new(RedisLog::open(redis.clone(), local, clock, stop)?),
    })
}

/// What was configured for the ephemeral store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EphemeralError(String);

impl EphemeralError {
    /// Stable slug.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "ephemeral.configuration"
    }

    /// Whose fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::Operator
    }
}

/// Forgets what expired, also while nobody asks.
async fn tidy(log: Arc<LocalReplayLog>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(ROUND / STEPS))
        .await
        .is_some()
    {
        for _ in 0..PARTS_OF_A_STEP {
            log.forget_some(clock.now());
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests;
