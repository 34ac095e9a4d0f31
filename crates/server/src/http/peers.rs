//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_guard::network;

/// The addresses with open connections: never more than there are connections.
#[derive(Debug)]
pub(super) struct Peers {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place, for as long as it is held.
#[derive(Debug)]
pub(super) struct Place {
    among: Arc<Peers>,
    network: IpAddr,
}

impl Peers {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            open: Mutex::default(),
        }
    }

    /// A place for one more connection from an address, unless it has as many as it may.
    pub(super) fn place(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let network = network(peer);
        let mut open = self.open();
        let held = open.get(&network).copied().unwrap_or(0);
        if held >= self.most {
            return None;
        }
        open.insert(network, held.saturating_add(1));
        Some(Place {
            among: Arc::clone(self),
            network,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.among.open();
        let left = open.get(&self.network).map_or(0, |held| held.saturating_sub(1));
        if left == 0 {
            open.remove(&self.network);
        } else {
            open.insert(self.network, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_its_own_places() {
        let peers = Arc::new(Peers::new(2));
        let place = |peer: &str| peers.place(peer.parse().unwrap());
        let first = (place("192.0.2.1").unwrap(), place("192.0.2.1").unwrap());
        assert!(place("192.0.2.1").is_none());
        let second = (place("2001:db8::1").unwrap(), place("2001:db8::2").unwrap());
        assert!(place("2001:db8::3").is_none());
        assert!(place("2001:db8:0:1::1").is_some());
        assert!(place("192.0.2.2").is_some());
        drop(first.0);
        assert!(place("192.0.2.1").is_some());
        drop((first.1, second));
        assert!(
            peers.open().is_empty(),
            "nothing is kept of addresses that are gone"
        );
    }
}
