//! The configuration of a gateway that runs: read again when its files change, and on SIGHUP.
//!
//! Replaced is what is judged by: issuers, policies, tools, quotas and what is asked of senders. Everything else (addresses, servers,
//! keys, the log) is there from the start to the end of the process; a file that changes it is refused, as one is that says something
//! wrong, and what was read before goes on. Requests and streams under way are not touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_guard::{Guard, Judging};
use portcullis_net::offload;
use portcullis_server::config::Config;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;
use crate::issuers::Issuers;
use crate::join::{self, Replaceable, World, cannot};
use crate::revocations::Followed;
use crate::senders::senders;
use crate::{config, limits};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What replaces the configuration of one gateway.
pub(crate) struct Reloader {
    file: PathBuf,
    world: Arc<World>,
    guard: Arc<Guard>,
    followed: Arc<Followed>,
    issuers: Issuers,
    /// The configuration that the gateway was made of.
    running: Config,
    /// The files, as they were when they were read last.
    seen: Files,
    hangup: Signal,
}

/// The configuration file and the policies that it names, with what is in them.
pub(crate) type Files = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A configuration that can take the place of the one before.
struct Next {
    judging: Judging,
    issuers: Issuers,
}

impl Reloader {
    /// For a gateway that was made of `config`, which was read from `file`.
    pub(crate) fn new(
        file: &Path,
        (config, seen): (Config, Files),
        world: Arc<World>,
        guard: Arc<Guard>,
        Replaceable { issuers, followed }: Replaceable,
    ) -> Result<Self, Failure> {
        Ok(Self {
            running: config,
            seen,
            file: file.to_owned(),
            world,
            guard,
            followed: Arc::new(followed),
            issuers,
            hangup: signal(SignalKind::hangup()).map_err(cannot("listen for signals"))?,
        })
    }

    /// Until the process stops.
    pub(crate) async fn run(mut self) {
        let stop = self.world.stop.clone();
        let _stopped: Option<()> = stop
            .run_until_cancelled(async {
                loop {
                    self.changed().await;
                    self.reload().await;
                }
            })
            .await;
    }

    /// Waits until a file is another one, or somebody asks.
    async fn changed(&mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let paths: Vec<PathBuf> = self.seen.keys().cloned().collect();
            let now = offload::run(move || read(paths)).await;
            if now.is_ok_and(|now| now != self.seen) {
                return;
            }
        }
    }

    async fn reload(&mut self) {
        let replaced = match self.next() {
            Ok(next) => self.put_in_place(next).await,
            Err(failure) => Err(failure),
        };
        let Err(failure) = replaced else { return };
        let detail = failure.to_string();
        tracing::error!(file = %self.file.display(), "the configuration was not replaced, what was read before goes on: {detail}");
        if let Err(failure) = self.world.record("reload.refused", detail).await {
            tracing::error!(%failure, "that is not on record");
        }
    }

    /// What the files say now, if it may take the place of what they said.
    fn next(&mut self) -> Result<Next, Failure> {
        // What changes after it was looked at is another one at the next look. A file that says something wrong is read again when it
        // is another one.
        self.seen = read(self.seen.keys().cloned());
        let config = config::load(&self.file)?;
        let named = config.policy.files.iter();
        self.seen.retain(|path, _| *path == self.file);
        self.seen.extend(read(named.cloned()));
        let fixed = config.cannot_replace(&self.running);
        if !fixed.is_empty() {
            let sections = fixed.join("]`, `[");
            return Err(Failure::usage(format!(
                "something of `[{sections}]` cannot change while the gateway runs"
            ))
            .hint("start the gateway anew, or write what was there before"));
        }
        let issuers = Issuers::of(&config, Some(&self.issuers), &self.world)?;
        Ok(Next {
            judging: Judging {
                issuers: issuers.trusted(),
                policy: Arc::new(ArcSwap::from_pointee(join::policy(&config)?)),
                senders: senders(&config, &self.world)?,
                rates: limits::rates(&config),
            },
            issuers,
        })
    }

    /// On record first: what is judged by something that nobody can show later is not judged.
    async fn put_in_place(&mut self, next: Next) -> Result<(), Failure> {
        let detail = format!("gateway, {}", self.file.display());
        self.world.record("reload", detail).await?;
        let (followed, issuers) = (Arc::clone(&self.followed), next.issuers.trusted());
        offload::run(move || followed.tell(issuers))
            .await
            .map_err(cannot("read the authority's keys"))?;
        self.guard.judge_by(next.judging);
        self.issuers = next.issuers;
        tracing::info!(file = %self.file.display(), "the configuration was replaced");
        Ok(())
    }
}

/// As they are now.
pub(crate) fn files(file: &Path, config: &Config) -> Files {
    let named = config.policy.files.iter().cloned();
    read(std::iter::once(file.to_owned()).chain(named))
}

fn read(paths: impl IntoIterator<Item = PathBuf>) -> Files {
    let read = |path: PathBuf| (path.clone(), fs::read(path).ok());
    paths.into_iter().map(read).collect()
}
