//! Tokens that were refused a moment before, so that a flood of one costs one signature check and not one each.
//!
//! Kept are refusals that the token alone causes and that a few seconds do not change. The answer is to the same question as in
//! [`crate::cache`]: this token, whole, at this resource. A proof is never kept, and neither is that a key is not known or cannot be had: keys
//! come.

use portcullis_core::identity::Failed;
use portcullis_core::time::{Lifetime, UnixTime};
use quick_cache::sync::Cache;

use crate::cache::Key;

/// Most tokens remembered.
pub(crate) const REFUSED_TOKENS: usize = 4_096;
/// For how long. A key that an issuer replaces under the same name counts after this at the latest.
pub(crate) const REFUSED_FOR: Lifetime = Lifetime::from_secs(5);

/// Bounded; the least used make room.
#[derive(Debug)]
pub(crate) struct RefusedTokens(Cache<Key, (Failed, UnixTime)>);

impl RefusedTokens {
    pub(crate) fn new() -> Self {
        Self(Cache::new(REFUSED_TOKENS))
    }

    /// Why the token was refused a moment before, if it was.
    pub(crate) fn recall(&self, key: &Key, now: UnixTime) -> Option<Failed> {
        let (failed, since) = self.0.get(key)?;
        // A clock that was set back remembers nothing.
        if since <= now && now < since.plus(REFUSED_FOR) {
            return Some(failed);
        }
        self.0.remove(key);
        None
    }

    /// Remembers a refusal, if it is one that stays.
    pub(crate) fn remember(&self, key: Key, failed: Failed, now: UnixTime) {
        if stays(failed) {
            self.0.insert(key, (failed, now));
        }
    }
}

/// Whether the same token would be refused for the same reason some seconds later.
const fn stays(failed: Failed) -> bool {
    match failed {
        Failed::NotCompact
        | Failed::Header
        | Failed::HeaderRefused(_)
        | Failed::Payload
        | Failed::AlgorithmUnsupported
        | Failed::AlgorithmNotAllowed
        | Failed::IssuerUnknown
        | Failed::IssuerNotForServer
        | Failed::Signature
        | Failed::NotAnAccessToken
        | Failed::OtherIssuer
        | Failed::OtherAudience
        | Failed::ManyAudiences
        | Failed::ClaimMissing(_)
        | Failed::ClaimMalformed(_)
        | Failed::Expired
        | Failed::Lifetime
        | Failed::ConfirmationUnknown => true,
        // Keys and times come, and issuers that were asked may answer otherwise; the rest is about the sender.
        Failed::KeyUnknown
        | Failed::NotYetValid
        | Failed::IssuedInFuture
        | Failed::Inactive
        | Failed::IntrospectionAnswer
        | Failed::SenderConstrained
        | Failed::OtherKey
        | Failed::NotBound
        | Failed::CertificateMissing
        | Failed::OtherCertificate
        | Failed::OtherWorkload
        | Failed::NotConstrained => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::ids::ResourceUri;
    use portcullis_core::wire::{AccessToken, Presented};

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn key(token: &str) -> Key {
        let resource = ResourceUri::parse("https://gw.example/mcp").unwrap();
        Key::of(&presented(token), &resource)
    }

    fn presented(token: &str) -> AccessToken {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        match Presented::parse(&headers, None).unwrap() {
            Presented::Bearer(token) => token,
            Presented::Absent | Presented::Dpop { .. } => panic!("no bearer token"),
        }
    }

    #[test]
    fn what_stays_refused_is_remembered_for_seconds() {
        let refused = RefusedTokens::new();
        refused.remember(key("a"), Failed::Signature, NOW);
        let last = NOW.plus(REFUSED_FOR).minus(Lifetime::from_secs(1));
        assert_eq!(refused.recall(&key("a"), last), Some(Failed::Signature));
        assert_eq!(refused.recall(&key("b"), last), None);
        assert_eq!(refused.recall(&key("a"), NOW.plus(REFUSED_FOR)), None);
        assert_eq!(refused.recall(&key("a"), NOW), None, "and then forgotten");
    }

    #[test]
    fn what_may_change_is_not_remembered() {
        let refused = RefusedTokens::new();
        for failed in [
            Failed::KeyUnknown,
            Failed::NotYetValid,
            Failed::IssuedInFuture,
            Failed::Inactive,
            Failed::IntrospectionAnswer,
            Failed::SenderConstrained,
            Failed::OtherKey,
            Failed::NotBound,
            Failed::CertificateMissing,
            Failed::OtherCertificate,
            Failed::OtherWorkload,
            Failed::NotConstrained,
        ] {
            refused.remember(key("a"), failed, NOW);
            assert_eq!(refused.recall(&key("a"), NOW), None, "{failed:?}");
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let refused = RefusedTokens::new();
        for number in 0..REFUSED_TOKENS * 2 {
            refused.remember(key(&format!("t{number}")), Failed::Signature, NOW);
        }
        assert!(refused.0.len() <= REFUSED_TOKENS);
    }
}
