//! What is revoked, for the guard: by the log in the store, and by the shelf of the authority's keys. A key that is revoked there is
//! void here, without waiting for anybody's JWK Set to be fetched again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_core::ids::KeyId;
use portcullis_guard::TrustedIssuer;
use portcullis_net::offload;
use portcullis_server::config::Config;
use portcullis_server::custody::shelf::Shelf;
use portcullis_server::custody::{Watcher, list_shelf};
use portcullis_server::revocation::{Follower, Settings};
use portcullis_server::sink;
use portcullis_server::store::RevocationLog;

use crate::failure::Failure;
use crate::join::{World, cannot};
use crate::rings;

/// Who is told of revoked keys.
pub(crate) struct Followed {
    shelf: Arc<dyn Shelf>,
    watcher: Arc<Watcher>,
    issuers: Arc<ArcSwap<Vec<TrustedIssuer>>>,
}

impl Followed {
    pub(crate) fn watcher(&self) -> &Arc<Watcher> {
        &self.watcher
    }

    /// Tells these from now on, and no others. What is revoked already they know when this returns. May wait for a disk or a
    /// database.
    pub(crate) fn tell(&self, issuers: Vec<TrustedIssuer>) {
        self.issuers.store(Arc::new(issuers));
        withdraw(&self.issuers.load(), &*self.shelf, &self.watcher.revoked());
    }
}

/// Where the log of revocations is: in the store, and without one in a file of its own beside the audit log.
pub(crate) fn url(config: &Config) -> Result<String, Failure> {
    match (&config.store, &config.audit) {
        (Some(store), _) => Ok(store.url.clone()),
        (None, Some(audit)) => Ok(format!("sqlite:{}", audit.dir.join(BESIDE).display())),
        (None, None) => Err(Failure::usage(
            "neither `[store]` nor `[audit]` says where revocations are kept",
        )),
    }
}

/// Follows the log of revocations for as long as the process runs. What was revoked while it did not run is in force when this
/// returns, and on record.
pub(crate) async fn follow_log(
    config: &Config,
    world: &World,
    audit: &Path,
) -> Result<Arc<Follower>, Failure> {
    let settings = Settings {
        log: RevocationLog::open(&url(config)?).map_err(cannot("open the store of revocations"))?,
        audit: audit.to_owned(),
        recorder: world.audit.clone(),
        clock: Arc::clone(&world.clock),
    };
    let recorded = sink::revocations(audit).map_err(cannot("read the audit log"))?;
    let follower = Follower::open(settings, recorded).map_err(cannot("read what is revoked"))?;
    follower
        .record()
        .await
        .map_err(cannot("record in the audit log"))?;
    follower
        .spawn(world.stop.clone())
        .map_err(cannot("follow what is revoked"))?;
    Ok(follower)
}

/// Follows the authority's ring, if it is on the shelf that this process uses, for as long as the process runs. Whoever
/// cannot read the shelf must not start: a revoked key would count.
pub(crate) fn follow(
    config: &Config,
    world: &World,
    issuers: Vec<TrustedIssuer>,
) -> Result<Followed, Failure> {
    let [shelf] = rings::shelves(config, ["authority"])?;
    let ledger = Arc::new(rings::ledger(config, "authority")?);
    let watcher = Watcher::open(Arc::clone(&shelf), ledger).map_err(cannot("read the authority's keys"))?;
    watcher
        .spawn(world.stop.clone())
        .map_err(cannot("follow the authority's keys"))?;
    let issuers = Arc::new(ArcSwap::from_pointee(issuers));
    let followed = Followed {
        shelf: Arc::clone(&shelf),
        watcher: Arc::clone(&watcher),
        issuers: Arc::clone(&issuers),
    };
    let mut changes = watcher.changes();
    withdraw(&issuers.load(), &*shelf, &watcher.revoked());
    tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            let (issuers, shelf, revoked) = (issuers.load_full(), Arc::clone(&shelf), watcher.revoked());
            // Reading the shelf may wait for a disk or a database. Lost work is that of a process that stops.
            let _lost = offload::run(move || withdraw(&issuers, &*shelf, &revoked)).await;
        }
    });
    Ok(followed)
}

/// The file, in the folder of the audit log.
const BESIDE: &str = "revocations.db";

/// Tells the issuers that the ring's certificates name; a ring whose certificates cannot be read is everybody's.
fn withdraw(issuers: &[TrustedIssuer], shelf: &dyn Shelf, revoked: &BTreeSet<KeyId>) {
    if revoked.is_empty() {
        return;
    }
    let named: Option<BTreeSet<String>> = list_shelf(shelf)
        .ok()
        .map(|keys| keys.into_iter().flat_map(|key| key.identities).collect());
    for issuer in issuers {
        let is_meant = |named: &BTreeSet<String>| named.contains(issuer.trust.issuer.as_str());
        if named.as_ref().is_none_or(is_meant) {
            issuer.keys.withdraw(revoked.iter().cloned());
            tracing::info!(issuer = %issuer.trust.issuer, revoked = revoked.len(), "revoked keys are void");
        }
    }
}
