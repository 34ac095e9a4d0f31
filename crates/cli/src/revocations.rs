//! From the shelf to the guard: a key that is revoked there is void here, without waiting for anybody's JWK Set to be
//! fetched again.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_core::ids::KeyId;
use portcullis_guard::TrustedIssuer;
use portcullis_net::offload;
use portcullis_server::config::Config;
use portcullis_server::custody::shelf::Shelf;
use portcullis_server::custody::{Watcher, list_shelf};

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
