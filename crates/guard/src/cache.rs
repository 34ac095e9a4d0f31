//! Tokens that were verified before.
//!
//! A signature check costs tens of microseconds and an agent sends one token for minutes. What is kept is the
//! answer to exactly one question (this token, at this resource, with these keys): the key is a hash over all
//! of both, so no two tokens share an answer because they begin alike, and no resource gets the answer meant
//! for another. The issuers' configuration does not change while a [`crate::Guard`] lives.
//!
//! Of a token that is bound to a key only what its issuer says is kept. Its proof is checked each time.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{Context, SHA256};
use portcullis_core::identity::{Failed, VerifiedIdentity, Vouched};
use portcullis_core::ids::ResourceUri;
use portcullis_core::jose::jwk::KeySet;
use portcullis_core::jose::jws::own_key::OwnKey;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_core::wire::AccessToken;
use quick_cache::sync::Cache;

/// Most tokens remembered.
pub(crate) const TOKENS: usize = 10_000;
/// A remembered token is verified again after this. Verifying asks for the issuer's keys, and asking is what
/// finds out that they changed: without it, a few busy tokens would keep a withdrawn key alive until they
/// expire.
pub(crate) const REMEMBERED_FOR: Lifetime = Lifetime::from_secs(60);

/// What a token was verified to be, and against which keys.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) vouched: Arc<Vouched>,
    /// Whom the token alone makes of its sender.
    alone: Result<Arc<VerifiedIdentity>, Failed>,
    /// The key of the sender's proofs, parsed when the first of them held.
    pub(crate) proof_key: OnceLock<Arc<OwnKey>>,
    /// Compared by pointer, and held so that the pointer names nothing else meanwhile.
    keys: Arc<KeySet>,
    verified: UnixTime,
}

impl Remembered {
    pub(crate) fn new(vouched: Vouched, keys: Arc<KeySet>, verified: UnixTime) -> Self {
        let vouched = Arc::new(vouched);
        Self {
            alone: vouched.confirm(None).map(Arc::new),
            vouched,
            proof_key: OnceLock::new(),
            keys,
            verified,
        }
    }

    /// The identity of a sender that shows the token and nothing else.
    pub(crate) fn alone(&self) -> Result<Arc<VerifiedIdentity>, Failed> {
        self.alone.clone()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn of(token: &AccessToken, resource: &ResourceUri) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(token.reveal().as_bytes());
        // No token has this byte, so no other pair gives the same bytes.
        context.update(b"\0");
        context.update(resource.as_str().as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

/// Bounded; the least used make room.
#[derive(Debug)]
pub(crate) struct TokenCache(Cache<Key, Arc<Remembered>>);

impl TokenCache {
    pub(crate) fn new() -> Self {
        Self(Cache::new(TOKENS))
    }

    /// What is remembered, if the token was verified a short while before and still would be: it has not expired,
    /// and `keys_now` says that the keys of its issuer are those it was verified with. What does not hold any
    /// more is dropped.
    pub(crate) fn recall(
        &self,
        key: &Key,
        now: UnixTime,
        keys_now: impl FnOnce(&Vouched) -> Option<Arc<KeySet>>,
    ) -> Option<Arc<Remembered>> {
        let remembered = self.0.get(key)?;
        let same_keys =
            || keys_now(&remembered.vouched).is_some_and(|keys| Arc::ptr_eq(&keys, &remembered.keys));
        let recently = remembered.verified <= now && now < remembered.verified.plus(REMEMBERED_FOR);
        if recently && now < remembered.vouched.expires() && same_keys() {
            return Some(remembered);
        }
        self.0.remove(key);
        None
    }

    pub(crate) fn remember(&self, key: Key, remembered: Arc<Remembered>) {
        self.0.insert(key, remembered);
    }
}
