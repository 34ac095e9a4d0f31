//! The issuers that configuration trusts, and the way from a token to what they say.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_core::identity::{Candidate, Failed, IssuerTrust, Vouched, verify};
use portcullis_core::ids::{Issuer, ResourceUri};
use portcullis_core::time::UnixTime;
use portcullis_core::wire::AccessToken;
use portcullis_net::discovery::IssuerKeys;

use crate::cache::{Key, Remembered, TokenCache};
use crate::reason::Reason;

/// One issuer: what is held true about it, and its keys.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// From configuration.
    pub trust: IssuerTrust,
    /// Fetched from it.
    pub keys: Arc<IssuerKeys>,
}

/// Verifies tokens of the trusted issuers.
#[derive(Debug)]
pub(crate) struct Verifier {
    issuers: HashMap<Issuer, TrustedIssuer>,
    cache: TokenCache,
}

impl Verifier {
    pub(crate) fn new(issuers: Vec<TrustedIssuer>) -> Self {
        let issuers = issuers
            .into_iter()
            .map(|issuer| (issuer.trust.issuer.clone(), issuer))
            .collect();
        Self {
            issuers,
            cache: TokenCache::new(),
        }
    }

    /// The issuer comes from configuration (the token only says which one to look up), the key from that
    /// issuer.
    pub(crate) async fn verify(
        &self,
        token: &AccessToken,
        resource: &ResourceUri,
        now: UnixTime,
    ) -> Result<Arc<Remembered>, Reason> {
        let key = Key::of(token, resource);
        let keys_now = |token: &Vouched| self.issuers.get(token.issuer())?.keys.cached();
        if let Some(remembered) = self.cache.recall(&key, now, keys_now) {
            return Ok(remembered);
        }
        let candidate = Candidate::parse(token)?;
        let issuer = self
            .issuers
            .get(candidate.issuer())
            .ok_or(Failed::IssuerUnknown)?;
        // An algorithm that is not accepted needs no key, so it makes nobody fetch one.
        if !issuer.trust.algorithms.contains(&candidate.algorithm()) {
            return Err(Failed::AlgorithmNotAllowed.into());
        }
        let keys = issuer.keys.for_kid(candidate.kid()).await?;
        let vouched = verify(&candidate, &issuer.trust, &keys, resource, now)?;
        let remembered = Arc::new(Remembered::new(vouched, keys, now));
        self.cache.remember(key, Arc::clone(&remembered));
        Ok(remembered)
    }
}
