//! Keeps one connection to Redis: makes it, looks whether that Redis forgets nothing, watches it, and makes it again.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, TlsCertificates, cmd, pipe};
use arc_swap::ArcSwapOption;
use portcullis_core::time::UnixTime;
use portcullis_net::clock::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{EphemeralError, RedisSettings};

/// Longest wait for an answer. A call waits for it once.
pub(super) const ANSWER: Duration = Duration::from_millis(250);
/// Longest wait for a connection, with its handshakes.
const CONNECT: Duration = Duration::from_secs(1);
/// How often a connection in use is looked after.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before the second attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Requests that may wait for their turn on the connection.
const QUEUE: usize = 1024;
/// Since when a Redis remembers is itself remembered this long after it was last looked at, in seconds.
const MARK: i64 = 24 * 3600;

/// The connection, while there is one.
#[derive(Default)]
pub(super) struct Line {
    up: ArcSwapOption<Connected>,
    lost: Notify,
}

/// A connection to a Redis that forgets nothing.
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    /// Since when it remembers.
    pub(super) since: UnixTime,
}

impl Line {
    pub(super) fn up(&self) -> Option<Arc<Connected>> {
        self.up.load_full()
    }

    /// Nobody waits for this connection any more: it did not answer in time, or not with an answer.
    pub(super) fn lose(&self, which: &Arc<Connected>) {
        let same = |now: &Arc<Connected>| Arc::ptr_eq(now, which);
        self.up.rcu(|now| now.clone().filter(|now| !same(now)));
        self.lost.notify_one();
    }
}

/// What is wrong with a Redis.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it does not answer: {0}")]
    Silent(String),
    #[error("its password cannot be read: {0}")]
    Password(String),
    #[error("it does not say whether it forgets keys: INFO has no `{0}`")]
    Secretive(&'static str),
    #[error(
        "it forgets keys that have not expired when its memory is full (`maxmemory-policy` is `{0}`); set it to `noeviction`"
    )]
    Forgets(String),
    #[error("it is a node of a cluster, where ids would be spread; give the address of a single Redis")]
    Cluster,
}

impl From<::redis::RedisError> for Unfit {
    fn from(error: ::redis::RedisError) -> Self {
        Self::Silent(error.to_string())
    }
}

/// How to connect. The password is read each time.
pub(super) fn client(settings: &RedisSettings) -> Result<Client, EphemeralError> {
    let wrong = |error: &dyn std::fmt::Display| EphemeralError(format!("{}: {error}", settings.url));
    let info = settings.url.info().map_err(|error| wrong(&error))?;
    match &settings.ca_file {
        None => Client::open(info).map_err(|error| wrong(&error)),
        Some(file) => {
            let root_cert = fs::read(file).map_err(|error| {
                EphemeralError(format!(
                    "the certificates in {} cannot be read: {error}",
                    file.display()
                ))
            })?;
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: Some(root_cert),
            };
            Client::build_with_tls(info, certificates).map_err(|error| wrong(&error))
        }
    }
}

/// Keeps `line` up until the process stops.
pub(super) async fn keep(
    line: Arc<Line>,
    settings: RedisSettings,
    client: Client,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let (mut pause, mut said) = (FIRST_PAUSE, String::new());
    let keeping = async {
        loop {
            let why = match connect(&settings, &client, clock.now()).await {
                Ok(connected) => {
                    tracing::info!(redis = %settings.url, "the shared replay log is there");
                    (pause, said) = (FIRST_PAUSE, String::new());
                    line.up.store(Some(Arc::new(connected)));
                    let why = watch(&line, &*clock).await;
                    line.up.store(None);
                    why
                }
                Err(why) => why,
            };
            // Once for each reason, however long it lasts.
            let why = why.to_string();
            if why != said {
                tracing::error!(redis = %settings.url, why, "the shared replay log is away: calls that need it are refused");
                said = why;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    };
    let _stopped: Option<()> = stop.run_until_cancelled(keeping).await;
    line.up.store(None);
}

async fn connect(settings: &RedisSettings, client: &Client, now: UnixTime) -> Result<Connected, Unfit> {
    let mut info = client.get_connection_info().clone();
    if let Some(source) = &settings.password {
        let password = source
            .read()
            .map_err(|error| Unfit::Password(error.to_string()))?;
        let redis = info.redis_settings().clone().set_password(password.as_str());
        info = info.set_redis_settings(redis);
    }
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(ANSWER))
        .set_pipeline_buffer_size(QUEUE);
    let mut connection = Client::open(info)?
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let since = look(&mut connection, now).await?;
    Ok(Connected { connection, since })
}

/// Looks after the connection until it is lost; says why.
async fn watch(line: &Line, clock: &dyn Clock) -> Unfit {
    loop {
        tokio::select! {
            () = line.lost.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        let Some(connected) = line.up() else {
            return Unfit::Silent("an answer did not come in time, or was none".to_owned());
        };
        let mut connection = connected.connection.clone();
        match look(&mut connection, clock.now()).await {
            Ok(since) if since == connected.since => {}
            // Somebody emptied it.
            Ok(since) => line.up.store(Some(Arc::new(Connected { connection, since }))),
            Err(why) => return why,
        }
    }
}

/// Since when this Redis remembers, if it is one that forgets nothing. A connection leads to one process of it, which has an id of its
/// own: a Redis that was restarted has another id and no mark under it, whatever it could save. One that takes over from another has
/// a history (`master_replid`) of its own from then on, also when it had the role before and has the mark of that time.
async fn look(connection: &mut MultiplexedConnection, now: UnixTime) -> Result<UnixTime, Unfit> {
    let info: String = cmd("INFO").query_async(connection).await?;
    let (process, history) = fit(&info)?;
    let mark = format!("portcullis:since:{process}:{history}");
    let kept = |pipe: &mut ::redis::Pipeline| {
        pipe.cmd("EXPIRE").arg(&mark).arg(MARK).ignore();
        pipe.cmd("GET").arg(&mark);
    };
    // A Redis that is full still answers this, and that it is full is for the caller to hear.
    let mut question = pipe();
    kept(&mut question);
    if let (Some(since),) = question.query_async::<(Option<i64>,)>(connection).await? {
        return Ok(UnixTime::from_millis(since));
    }
    let mut question = pipe();
    question
        .cmd("SET")
        .arg(&mark)
        .arg(now.as_millis())
        .arg("NX")
        .ignore();
    kept(&mut question);
    let (since,): (i64,) = question.query_async(connection).await?;
    Ok(UnixTime::from_millis(since))
}

/// The ids of the process and of its history, if it forgets nothing.
fn fit(info: &str) -> Result<(&str, &str), Unfit> {
    let field = |name: &'static str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
            .ok_or(Unfit::Secretive(name))
    };
    if field("cluster_enabled")? != "0" {
        return Err(Unfit::Cluster);
    }
    match (field("maxmemory")?, field("maxmemory_policy")?) {
        // Without a bound there is nothing to make room for.
        ("0", _) | (_, "noeviction") => Ok((field("run_id")?, field("master_replid")?)),
        (_, policy) => Err(Unfit::Forgets(policy.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(maxmemory: &str, policy: &str, cluster: &str) -> String {
        format!(
            "# Server\r\nrun_id:abc\r\n# Replication\r\nmaster_replid:def\r\n# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:x\r\nmaxmemory_policy:{policy}\r\n# Cluster\r\ncluster_enabled:{cluster}\r\n"
        )
    }

    #[test]
    fn only_a_redis_that_forgets_nothing_is_used() {
        assert_eq!(fit(&info("0", "allkeys-lru", "0")), Ok(("abc", "def")));
        assert_eq!(fit(&info("1000000", "noeviction", "0")), Ok(("abc", "def")));
        for policy in ["allkeys-lru", "volatile-lru", "volatile-ttl", "allkeys-random"] {
            assert_eq!(
                fit(&info("1000000", policy, "0")),
                Err(Unfit::Forgets(policy.to_owned()))
            );
        }
        assert_eq!(fit(&info("0", "noeviction", "1")), Err(Unfit::Cluster));
        assert_eq!(
            fit("cluster_enabled:0\r\nmaxmemory:1\r\n"),
            Err(Unfit::Secretive("maxmemory_policy"))
        );
        assert_eq!(fit(""), Err(Unfit::Secretive("cluster_enabled")));
    }
}
