//! What `WWW-Authenticate` says (RFC 6750 §3, RFC 9449 §7.1 and §7.2, RFC 9728 §5.1).

use portcullis_core::identity::dpop::ALGORITHMS;
use portcullis_core::wire::{Challenge, Scheme};

use crate::refusal::Asked;

impl Asked<'_> {
    /// For a request without a credential: every scheme that the server takes, and no error (RFC 6750 §3.1).
    pub(crate) fn invitation(&self) -> Vec<Challenge> {
        let (first, others) = self.schemes();
        let scope = (self.basic)().to_string();
        let first = with_algorithms(self.located(first).with("scope", &scope), first);
        std::iter::once(first).chain(others).collect()
    }

    /// For a token that is not taken: the error in the scheme that it came in, beside the other scheme where that could do
    /// better. `scope` is asked for with it.
    pub(crate) fn invalid_token(&self, description: &str) -> Vec<Challenge> {
        let (_, others) = self.schemes();
        let scheme = self.answered();
        let others = match scheme {
            Scheme::Bearer => others,
            // Whoever has a key is not asked to do without it.
            Scheme::Dpop => Vec::new(),
        };
        let challenge = Challenge::of(scheme)
            .with("error", "invalid_token")
            .with("error_description", description)
            .with("resource_metadata", self.metadata_url)
            .with("scope", &(self.basic)().to_string());
        let first = with_algorithms(challenge, scheme);
        std::iter::once(first).chain(others).collect()
    }

    /// For a token that needs a proof, and for a proof that does not hold: `DPoP` alone, with a code of RFC 6750 §3.1 or
    /// RFC 9449 §12.2.
    pub(crate) fn proof_wanted(&self, error: &'static str, description: &str) -> Vec<Challenge> {
        let challenge = Challenge::of(Scheme::Dpop)
            .with("error", error)
            .with("error_description", description)
            .with("resource_metadata", self.metadata_url);
        vec![with_algorithms(challenge, Scheme::Dpop)]
    }

    /// For a call that needs more scope: the scheme is the right one.
    pub(crate) fn more_scope(&self, needed: &str) -> Vec<Challenge> {
        let scheme = self.answered();
        let challenge = Challenge::of(scheme)
            .with("error", "insufficient_scope")
            .with("scope", needed)
            .with("resource_metadata", self.metadata_url)
            .with(
                "error_description",
                "the call needs more scope than the access token has",
            );
        vec![with_algorithms(challenge, scheme)]
    }

    /// For a credential that cannot be read.
    pub(crate) fn invalid_request(&self, description: &str) -> Vec<Challenge> {
        let scheme = self.answered();
        let challenge = Challenge::of(scheme)
            .with("error", "invalid_request")
            .with("error_description", description);
        vec![with_algorithms(challenge, scheme)]
    }

    /// The scheme to answer in: the caller's, where the server takes it.
    fn answered(&self) -> Scheme {
        let taken = self.rules.constraint.schemes();
        match self.scheme {
            Some(scheme) if taken.contains(&scheme) => scheme,
            Some(_) | None => self.schemes().0,
        }
    }

    /// The scheme to begin with, which every client knows how to read, and challenges for the others: short, since what is
    /// said of the resource is the same.
    fn schemes(&self) -> (Scheme, Vec<Challenge>) {
        match self.rules.constraint.schemes() {
            [] => (Scheme::Bearer, Vec::new()),
            [first, others @ ..] => {
                let others = others.iter();
                let others = others.map(|scheme| with_algorithms(Challenge::of(*scheme), *scheme));
                (*first, others.collect())
            }
        }
    }

    fn located(&self, scheme: Scheme) -> Challenge {
        Challenge::of(scheme).with("resource_metadata", self.metadata_url)
    }
}

/// RFC 9449 §7.1: `algs`, the algorithms that a proof may be signed with.
fn with_algorithms(challenge: Challenge, scheme: Scheme) -> Challenge {
    match scheme {
        Scheme::Bearer => challenge,
        Scheme::Dpop => challenge.with("algs", &ALGORITHMS.map(|algorithm| algorithm.name()).join(" ")),
    }
}
