//! What a guard can have besides its settings, before it judges.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Certificates, Guard, Terms};
use crate::revocations::Revocations;
use crate::sealing::Sealing;
use crate::workloads::{Domains, TrustedDomain};

impl Guard {
    /// The same, with tools that have sealed fields.
    #[must_use]
    pub fn with_sealing(mut self, sealing: Arc<Sealing>) -> Self {
        self.sealing = Some(sealing);
        self
    }

    /// The same, with revocations that somebody else feeds. Without them, nothing is ever revoked.
    #[must_use]
    pub fn with_revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = revocations;
        self
    }

    /// The same, where client certificates may come with requests: the metadata says that tokens can be bound to them.
    #[must_use]
    pub fn with_client_certificates(mut self) -> Self {
        self.certificates = Certificates::Possible;
        self
    }

    /// The same, with workloads of these trust domains: by their certificates where client certificates come with requests, and
    /// by their tokens.
    #[must_use]
    pub fn with_workloads(mut self, domains: Vec<TrustedDomain>) -> Self {
        self.domains = Arc::new(Domains::new(domains));
        // Nobody else has the terms yet.
        self.terms = match Arc::try_unwrap(self.terms.into_inner()) {
            Ok(terms) => ArcSwap::from_pointee(Terms {
                verifier: terms.verifier.knowing(&self.domains),
                ..terms
            }),
            Err(shared) => ArcSwap::new(shared),
        };
        self
    }
}
