//! A replay log that replicas share.
//!
//! Each process asks its own log first: what was used here is refused without a question, and no sender gets more places than its
//! process has. Only then Redis is asked, in one round trip: `SET portcullis:replay:… NX PX …`. Many questions share one connection. What
//! Redis does not answer in a quarter of a second is refused.

use std::sync::Arc;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, RedisError, Value, cmd};
use portcullis_core::jose::base64url;
use portcullis_core::time::UnixTime;
use portcullis_guard::{FirstUse, LocalReplayLog, ReplayId, ReplayLog, ReplayUnavailable, Use};
use portcullis_net::clock::Clock;
use tokio_util::sync::CancellationToken;

use super::keeper::{self, Connected, Line};
use super::{EphemeralError, RedisSettings};

/// Remembers in a Redis, so that an id is used once by all who share it.
pub struct RedisLog {
    local: Arc<LocalReplayLog>,
    line: Arc<Line>,
}

impl RedisLog {
    /// A log in that Redis, behind the one of this process, connected in the background until `stop`.
    ///
    /// # Errors
    /// [`EphemeralError`]: what was configured cannot be used.
    pub fn open(
        settings: RedisSettings,
        local: Arc<LocalReplayLog>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<Self, EphemeralError> {
        let client = keeper::client(&settings)?;
        let line = Arc::new(Line::default());
        tokio::spawn(keeper::keep(Arc::clone(&line), settings, client, clock, stop));
        Ok(Self { local, line })
    }

    async fn ask(&self, connected: Arc<Connected>, command: Cmd) -> Result<Use, ReplayUnavailable> {
        let mut connection: MultiplexedConnection = connected.connection.clone();
        match command.query_async::<Value>(&mut connection).await {
            Ok(Value::Okay) => Ok(Use::First),
            Ok(Value::Nil) => Ok(Use::Again),
            // It is full and says so: there is nothing wrong with the connection.
            Err(error) if is_full(&error) => Err(ReplayUnavailable::Full),
            Ok(_) | Err(_) => {
                self.line.lose(&connected);
                Err(ReplayUnavailable::Unreachable)
            }
        }
    }
}

impl ReplayLog for RedisLog {
    fn first_use(&self, id: ReplayId, until: UnixTime, now: UnixTime) -> FirstUse<'_> {
        let Some(connected) = self.line.up() else {
            return FirstUse::known(Err(ReplayUnavailable::Unreachable));
        };
        match self.local.answer(&id, until, now) {
            Ok(Use::First) => FirstUse::asked(self.ask(connected, question(&id, until, now))),
            answer => FirstUse::known(answer),
        }
    }

    fn since(&self) -> UnixTime {
        // Without a connection there is no first use either.
        self.line
            .up()
            .map_or_else(|| self.local.since(), |connected| connected.since)
    }

    fn ready(&self) -> Result<(), ReplayUnavailable> {
        self.line
            .up()
            .ok_or(ReplayUnavailable::Unreachable)
            .and_then(|_| self.local.ready())
    }
}

/// How long clocks of replicas may differ: an id that one of them puts there lives long enough for a clock that is behind.
const CLOCKS: i64 = 60_000;

/// How long an id lives is measured by the clock of Redis from now on, and a replica whose clock is behind ours takes what
/// it names for longer than we do: [`CLOCKS`] makes up for both.
fn question(id: &ReplayId, until: UnixTime, now: UnixTime) -> Cmd {
    let lives = until
        .as_millis()
        .saturating_sub(now.as_millis())
        .saturating_add(CLOCKS);
    let mut command = cmd("SET");
    command
        .arg(format!("portcullis:replay:{}", base64url::encode(id.as_bytes())))
        .arg(1)
        .arg("NX")
        .arg("PX")
        .arg(lives);
    command
}

fn is_full(error: &RedisError) -> bool {
    error.code() == Some("OOM")
}
