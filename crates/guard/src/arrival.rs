//! One HTTP request, by the name that record, log and caller know it by.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_core::random::{RandomUnavailable, SecureRandom};

use crate::revocations::Generation;

/// An HTTP request that came in.
#[derive(Clone, Debug)]
pub struct Arrival {
    request: Arc<str>,
    peer: Option<IpAddr>,
    /// What was known of revocations when it came.
    known: Generation,
}

impl Arrival {
    /// Our identifier of the request. Unique over restarts, and not secret.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    /// The address it came from.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    pub(crate) fn known(&self) -> Generation {
        self.known
    }

    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.request)
    }
}

/// Names requests: a random beginning for the process, then a count. Random names would cost more and could
/// not be put in order.
#[derive(Debug)]
pub(crate) struct Arrivals {
    process: u64,
    next: AtomicU64,
}

impl Arrivals {
    pub(crate) fn new(random: &dyn SecureRandom) -> Result<Self, RandomUnavailable> {
        let mut bytes = [0; 8];
        random.fill(&mut bytes)?;
        Ok(Self {
            process: u64::from_be_bytes(bytes),
            next: AtomicU64::new(1),
        })
    }

    pub(crate) fn next(&self, peer: Option<IpAddr>, known: Generation) -> Arrival {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        Arrival {
            request: format!("{:016x}-{count}", self.process).into(),
            peer,
            known,
        }
    }
}
