//! How many calls of legacy clients are under way. Each is a task of its own that outlives its client, so it takes a place first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::ids::Principal;

use crate::gateway::upstream::UpstreamError;

/// Most calls of one principal, in all of its sessions, at one server.
const CALLS_PER_PRINCIPAL: usize = 256;
/// Most calls at one server.
const CALLS: usize = 4_096;

/// The places of one server.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Principal, usize>,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    by: Principal,
}

impl Places {
    /// Takes a place.
    ///
    /// # Errors
    /// [`UpstreamError::Busy`]: the principal has as many as it may, or all are taken.
    pub(super) fn take(self: &Arc<Self>, by: &Principal) -> Result<Place, UpstreamError> {
        let mut taken = self.taken();
        let own = taken.by.get(by).copied().unwrap_or_default();
        if own >= CALLS_PER_PRINCIPAL || taken.all >= CALLS {
            return Err(UpstreamError::Busy);
        }
        taken.all = taken.all.saturating_add(1);
        taken.by.insert(by.clone(), own.saturating_add(1));
        Ok(Place {
            places: Arc::clone(self),
            by: by.clone(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing that is done under the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.by.get_mut(&self.by) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.by.remove(&self.by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::tests::principal;
    use super::*;

    #[test]
    fn calls_of_one_and_of_all_at_the_limit_and_one_past_it() {
        let places = Arc::new(Places::default());
        let one = principal("one");
        let mut taken: Vec<Place> = (0..CALLS_PER_PRINCIPAL)
            .map(|_| places.take(&one).unwrap())
            .collect();
        assert_eq!(places.take(&one).unwrap_err(), UpstreamError::Busy);
        taken.pop();
        taken.push(places.take(&one).unwrap());
        for number in CALLS_PER_PRINCIPAL..CALLS {
            let other = principal(&(number / CALLS_PER_PRINCIPAL).to_string());
            taken.push(places.take(&other).unwrap());
        }
        assert_eq!(places.take(&principal("new")).unwrap_err(), UpstreamError::Busy);
        taken.pop();
        taken.push(places.take(&principal("new")).unwrap());
        taken.clear();
        let left = places.taken();
        assert_eq!((left.by.len(), left.all), (0, 0));
    }
}
