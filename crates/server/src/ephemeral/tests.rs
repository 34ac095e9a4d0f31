//! One contract for both places, and what a Redis can do to the one in it.

use std::collections::HashMap;
use std::time::Duration;

use portcullis_core::ids::TokenId;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_guard::{ReplayId, ReplayUnavailable, Use};
use portcullis_net::clock;

use super::*;

mod server;

use server::Server;

const ONE: Lifetime = Lifetime::from_minutes(1);

fn now() -> UnixTime {
    clock::System.now()
}

fn id(jti: &str) -> ReplayId {
    ReplayId::sealed("sender", &TokenId::parse(jti).unwrap())
}

async fn used(log: &dyn ReplayLog, jti: &str) -> Result<Use, ReplayUnavailable> {
    let now = now();
    log.first_use(id(jti), now.plus(ONE), now).await
}

/// Waits until it says so. How long that takes is nobody's promise; that it comes is.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1_500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within half a minute: {what}");
}

fn redis(url: &str) -> RedisSettings {
    RedisSettings {
        url: RedisUrl::parse(url).unwrap(),
        password: None,
        ca_file: None,
    }
}

/// A log as a process has it, for as long as the token lives.
struct Process {
    log: Arc<dyn ReplayLog>,
    stop: CancellationToken,
}

impl Process {
    fn start(at: Place) -> Self {
        let stop = CancellationToken::new();
        let settings = Settings { at, memory: MEMORY };
        Self {
            log: open(&settings, Arc::new(clock::System), stop.clone()).unwrap(),
            stop,
        }
    }

    async fn connected(settings: RedisSettings) -> Self {
        let process = Self::start(Place::Redis(settings));
        until("it is connected", async || process.log.ready().is_ok()).await;
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn keeps_the_contract(log: Arc<dyn ReplayLog>) {
    assert_eq!(log.ready(), Ok(()));
    assert!(log.since() <= now());
    assert_eq!(used(&*log, "1").await, Ok(Use::First));
    assert_eq!(used(&*log, "1").await, Ok(Use::Again));
    assert_eq!(used(&*log, "2").await, Ok(Use::First));
    let at = now();
    assert_eq!(
        log.first_use(id("3"), at, at).await,
        Ok(Use::Again),
        "its time is over"
    );
    let lives = at.plus(Lifetime::from_secs(3600));
    assert_eq!(log.first_use(id("3"), lives, at).await, Ok(Use::First));
    assert_eq!(
        log.first_use(id("3"), lives, lives.minus(ONE)).await,
        Ok(Use::Again)
    );

    let askers: Vec<_> = (0..64)
        .map(|_| {
            let log = Arc::clone(&log);
            tokio::spawn(async move { used(&*log, "raced for").await })
        })
        .collect();
    let mut firsts = 0;
    for asker in askers {
        match asker.await.unwrap() {
            Ok(Use::First) => firsts += 1,
            answer => assert_eq!(answer, Ok(Use::Again)),
        }
    }
    assert_eq!(firsts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_memory_keeps_the_contract() {
    let process = Process::start(Place::Memory);
    keeps_the_contract(Arc::clone(&process.log)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_redis_keeps_the_contract() {
    let server = Server::start(&[]).await;
    let process = Process::connected(redis(&server.url())).await;
    keeps_the_contract(Arc::clone(&process.log)).await;
    // The process that starts next knows what this one knew, and since when.
    let next = Process::connected(redis(&server.url())).await;
    assert_eq!(used(&*next.log, "1").await, Ok(Use::Again));
    assert_eq!(next.log.since(), process.log.since());
    for key in server.keys().await {
        assert!(key.starts_with("portcullis:"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_who_share_a_redis_one_is_first() {
    const IDS: usize = 200;
    let server = Server::start(&[]).await;
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(Process::connected(redis(&server.url())).await);
    }
    let mut askers = Vec::new();
    for number in 0..IDS {
        for process in &processes {
            let log = Arc::clone(&process.log);
            askers.push(tokio::spawn(async move {
                (number, used(&*log, &number.to_string()).await)
            }));
        }
    }
    let mut firsts = HashMap::new();
    for asker in askers {
        let (number, answer) = asker.await.unwrap();
        *firsts.entry(number).or_insert(0) += usize::from(answer == Ok(Use::First));
    }
    assert_eq!(firsts.len(), IDS);
    assert!(firsts.values().all(|count| *count == 1), "{firsts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_refuses_until_it_goes_on() {
    let server = Server::start(&[]).await;
    let process = Process::connected(redis(&server.url())).await;
    assert_eq!(used(&*process.log, "before").await, Ok(Use::First));
    let since = process.log.since();
    server.hang();
    assert_eq!(
        used(&*process.log, "while").await,
        Err(ReplayUnavailable::Unreachable)
    );
    // From now on nobody waits for it.
    assert_eq!(process.log.ready(), Err(ReplayUnavailable::Unreachable));
    assert_eq!(
        used(&*process.log, "while 2").await,
        Err(ReplayUnavailable::Unreachable)
    );
    server.go_on();
    until("it is back", async || process.log.ready().is_ok()).await;
    assert_eq!(used(&*process.log, "after").await, Ok(Use::First));
    assert_eq!(used(&*process.log, "before").await, Ok(Use::Again));
    assert_eq!(process.log.since(), since, "nothing was forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_restarted_says_that_it_forgot() {
    let mut server = Server::start(&[]).await;
    let process = Process::connected(redis(&server.url())).await;
    assert_eq!(used(&*process.log, "before").await, Ok(Use::First));
    let since = process.log.since();
    server.kill();
    until("it is missed", async || process.log.ready().is_err()).await;
    assert_eq!(
        used(&*process.log, "while").await,
        Err(ReplayUnavailable::Unreachable)
    );
    let killed = now();
    server.again().await;
    until("it is back", async || process.log.ready().is_ok()).await;
    assert_eq!(used(&*process.log, "after").await, Ok(Use::First));
    assert!(since < killed && killed <= process.log.since());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_emptied_says_so() {
    let server = Server::start(&[]).await;
    let process = Process::connected(redis(&server.url())).await;
    let emptied = now();
    server.tell(&["FLUSHALL"]).await;
    until("it is noticed", async || process.log.since() >= emptied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_takes_over_and_gives_back_says_so_each_time() {
    let (first, second) = (Server::start(&[]).await, Server::start(&[]).await);
    let process = Process::connected(redis(&first.url())).await;
    let since = process.log.since();
    // The second follows the first, takes over, is followed, and gives back: all marks go with it, and the first one's process is
    // the one that it was.
    for (follower, leader) in [(&second, &first), (&first, &second)] {
        follower.follow(leader).await;
        until("it follows", async || follower.follows().await).await;
        follower.tell(&["REPLICAOF", "NO", "ONE"]).await;
    }
    let back = Process::connected(redis(&first.url())).await;
    assert!(back.log.since() > since);
    until("it is noticed", async || process.log.since() == back.log.since()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_evicts_is_not_used() {
    let server = Server::start(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let process = Process::start(Place::Redis(redis(&server.url())));
    // It has been asked, and was not liked.
    until("it was asked", async || server.count("info").await > 0).await;
    assert_eq!(process.log.ready(), Err(ReplayUnavailable::Unreachable));
    assert_eq!(
        used(&*process.log, "1").await,
        Err(ReplayUnavailable::Unreachable)
    );
    server
        .tell(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .await;
    until("it may be used", async || process.log.ready().is_ok()).await;
    assert_eq!(used(&*process.log, "1").await, Ok(Use::First));
    server
        .tell(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"])
        .await;
    until("it is used no more", async || process.log.ready().is_err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_full_refuses_and_forgets_nothing() {
    let server = Server::start(&[]).await;
    let process = Process::connected(redis(&server.url())).await;
    let other = Process::connected(redis(&server.url())).await;
    assert_eq!(used(&*process.log, "1").await, Ok(Use::First));
    server.tell(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(used(&*process.log, "2").await, Err(ReplayUnavailable::Full));
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(used(&*process.log, "3").await, Ok(Use::First));
    assert_eq!(used(&*other.log, "1").await, Ok(Use::Again));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_read_at_each_connection() {
    let server = Server::start(&["--requirepass", "first word"]).await;
    let file = server.file("password", "another word\n");
    let process = Process::start(Place::Redis(RedisSettings {
        password: Some(SecretSource::File(file)),
        ..redis(&server.url())
    }));
    until("it was tried", async || {
        server.count("auth").await + server.count("hello").await > 0
    })
    .await;
    assert_eq!(process.log.ready(), Err(ReplayUnavailable::Unreachable));
    server.file("password", "first word\n");
    until("it is connected", async || process.log.ready().is_ok()).await;
    assert_eq!(used(&*process.log, "1").await, Ok(Use::First));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_few_rights_is_enough() {
    let server = Server::start(&[]).await;
    // As `docs/ephemeral.md` says.
    let page = include_str!("../../../../docs/ephemeral.md");
    let rights = page
        .lines()
        .find(|line| line.starts_with("ACL SETUSER portcullis "))
        .unwrap();
    server.tell(&rights.split_whitespace().collect::<Vec<_>>()).await;
    let process = Process::connected(RedisSettings {
        password: Some(SecretSource::File(server.file("password", "PASSWORD"))),
        ..redis(&server.url().replace("redis://", "redis://portcullis@"))
    })
    .await;
    assert_eq!(used(&*process.log, "1").await, Ok(Use::First));
    assert_eq!(used(&*process.log, "1").await, Ok(Use::Again));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked() {
    let (server, ca) = Server::with_tls().await;
    let trusting = Process::connected(RedisSettings {
        ca_file: Some(ca),
        ..redis(&server.tls_url())
    })
    .await;
    assert_eq!(used(&*trusting.log, "1").await, Ok(Use::First));
    let wary = Process::start(Place::Redis(redis(&server.tls_url())));
    let mut tries = server.connections().await;
    for _ in 0..2 {
        until("it was tried", async || server.connections().await > tries).await;
        tries = server.connections().await;
        assert_eq!(wary.log.ready(), Err(ReplayUnavailable::Unreachable));
    }
    let missing = RedisSettings {
        ca_file: Some("/nowhere/ca.pem".into()),
        ..redis(&server.tls_url())
    };
    let settings = Settings {
        at: Place::Redis(missing),
        memory: MEMORY,
    };
    let refused = open(&settings, Arc::new(clock::System), CancellationToken::new())
        .err()
        .unwrap();
    assert!(refused.to_string().contains("/nowhere/ca.pem"), "{refused}");
}
