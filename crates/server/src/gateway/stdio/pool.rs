//! Stateless children: one for each principal, started when it is first needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::child::Child;
use crate::gateway::upstream::{Principal, UpstreamError};

/// The children of one server. What one principal's child knows, another's never hears of.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<HashMap<Principal, Arc<Child>>>);

impl Pool {
    /// The principal's child, if it has one that lives.
    pub(super) fn find(&self, principal: &Principal) -> Option<Arc<Child>> {
        self.table()
            .get(principal)
            .filter(|child| child.exchange().is_open())
            .map(Arc::clone)
    }

    /// The principal's child: the one that another of its calls has started meanwhile, or a new one.
    pub(super) fn find_or_start(
        &self,
        principal: &Principal,
        start: impl FnOnce() -> Result<Arc<Child>, UpstreamError>,
    ) -> Result<Arc<Child>, UpstreamError> {
        let mut table = self.table();
        table.retain(|_, child| child.exchange().is_open());
        if let Some(child) = table.get(principal) {
            return Ok(Arc::clone(child));
        }
        let child = start()?;
        table.insert(principal.clone(), Arc::clone(&child));
        Ok(child)
    }

    /// Takes a child in that has been started for the principal, unless another one was meanwhile: then it ends.
    pub(super) fn adopt(&self, principal: &Principal, child: Arc<Child>) {
        let mut table = self.table();
        match table.get(principal).filter(|other| other.exchange().is_open()) {
            Some(other) if !Arc::ptr_eq(other, &child) => child.stop(),
            Some(_) => {}
            None => drop(table.insert(principal.clone(), child)),
        }
    }

    /// Ends the child that was idle longest, if one is idle. It keeps nothing that a client could miss.
    pub(super) fn end_idlest(&self) -> Option<()> {
        let mut table = self.table();
        let idle = table.iter().filter(|(_, child)| !child.exchange().is_awaited());
        let idlest = idle
            .min_by_key(|(_, child)| child.exchange().used())
            .map(|(principal, _)| principal.clone())?;
        table.remove(&idlest)?.stop();
        Some(())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Principal, Arc<Child>>> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
