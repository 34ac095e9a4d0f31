//! Tokens that were verified before.
//!
//! A signature check costs tens of microseconds and an agent sends one token for minutes. What is kept is the
//! answer to exactly one question (this token, at this resource, with these keys): the key is a hash over all
//! of both, so no two tokens share an answer because they begin alike, and no resource gets the answer meant
//! for another. The issuers' configuration does not change while a [`crate::Guard`] lives.
//!
//! Of an opaque token the issuer's answer is kept, for as long as configuration says. A resource is of one server, and a server has at
//! most one issuer of opaque tokens, so the key stands for the issuer as well.
//!
//! Of a token that is bound to a key or a certificate only what its issuer says is kept. Proof and certificate are checked each
//! time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{Context, SHA256};
use portcullis_core::identity::{ClientCertificate, Failed, VerifiedIdentity, Vouched};
use portcullis_core::ids::ResourceUri;
use portcullis_core::jose::jwk::KeySet;
use portcullis_core::jose::jws::own_key::OwnKey;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_core::wire::AccessToken;
use quick_cache::sync::Cache;

use crate::revocations::Generation;

/// Most tokens remembered.
pub(crate) const TOKENS: usize = 10_000;
/// A remembered token is verified again after this. Verifying asks for the issuer's keys, and asking is what
/// finds out that they changed: without it, a few busy tokens would keep a withdrawn key alive until they
/// expire.
pub(crate) const REMEMBERED_FOR: Lifetime = Lifetime::from_secs(60);

/// Most opaque tokens of which is remembered that they are not accepted.
pub(crate) const INACTIVE: usize = 10_000;

/// What a token was verified to be, and by what.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) vouched: Arc<Vouched>,
    /// Whom the token alone makes of its sender.
    alone: Result<Arc<VerifiedIdentity>, Failed>,
    /// The key of the sender's proofs, parsed when the first of them held.
    pub(crate) proof_key: OnceLock<Arc<OwnKey>>,
    basis: Basis,
    verified: UnixTime,
    /// The last generation of revocations in which nothing concerned it.
    unrevoked: AtomicU64,
}

/// Why a token was believed.
#[derive(Debug)]
enum Basis {
    /// These keys. Compared by pointer, and held so that the pointer names nothing else meanwhile.
    Keys(Arc<KeySet>),
    /// An answer of its issuer, which counts until then.
    Answer { until: UnixTime },
}

impl Remembered {
    /// A token whose signature held.
    pub(crate) fn signed(vouched: Vouched, keys: Arc<KeySet>, verified: UnixTime) -> Self {
        Self::new(vouched, Basis::Keys(keys), verified)
    }

    /// A token that its issuer says is active. The answer counts until then, or until the token expires.
    pub(crate) fn answered(vouched: Vouched, verified: UnixTime, until: UnixTime) -> Self {
        Self::new(vouched, Basis::Answer { until }, verified)
    }

    fn new(vouched: Vouched, basis: Basis, verified: UnixTime) -> Self {
        let vouched = Arc::new(vouched);
        Self {
            alone: vouched.confirm(None, None).map(Arc::new),
            vouched,
            proof_key: OnceLock::new(),
            basis,
            verified,
            unrevoked: AtomicU64::new(Generation::NONE.number()),
        }
    }

    /// Whether it was looked at in this generation of revocations, and nothing concerned it.
    pub(crate) fn is_unrevoked_in(&self, generation: Generation) -> bool {
        // The generation is all that is said: nothing else has to be seen with it.
        self.unrevoked.load(Ordering::Relaxed) == generation.number()
    }

    /// Nothing concerned it in this generation. An older one that comes late makes it be looked at again, and nothing worse.
    pub(crate) fn unrevoked_in(&self, generation: Generation) {
        self.unrevoked.store(generation.number(), Ordering::Relaxed);
    }

    /// The identity of a sender that shows the token, and perhaps a certificate, and no proof.
    pub(crate) fn without_proof(
        &self,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Arc<VerifiedIdentity>, Failed> {
        match certificate {
            None => self.alone.clone(),
            Some(_) => self.vouched.confirm(None, certificate).map(Arc::new),
        }
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
        let until = match &remembered.basis {
            Basis::Keys(_) => remembered.verified.plus(REMEMBERED_FOR),
            Basis::Answer { until } => *until,
        };
        let recently = remembered.verified <= now && now < until;
        let same_keys = || match &remembered.basis {
            Basis::Keys(held) => keys_now(&remembered.vouched).is_some_and(|keys| Arc::ptr_eq(&keys, held)),
            Basis::Answer { .. } => true,
        };
        if recently && now < remembered.vouched.expires() && same_keys() {
            return Some(remembered);
        }
        self.0.remove(key);
        None
    }

    /// Drops what does not count any more.
    pub(crate) fn forget(&self, key: &Key) {
        self.0.remove(key);
    }

    pub(crate) fn remember(&self, key: Key, remembered: Arc<Remembered>) {
        self.0.insert(key, remembered);
    }
}

/// Opaque tokens that are not accepted, so that their sender does not make us ask about them again at once. Bounded; the
/// least used make room.
#[derive(Debug)]
pub(crate) struct Inactive(Cache<Key, (Failed, UnixTime, UnixTime)>);

impl Inactive {
    pub(crate) fn new() -> Self {
        Self(Cache::new(INACTIVE))
    }

    /// Why the token was not accepted a short while before.
    pub(crate) fn recall(&self, key: &Key, now: UnixTime) -> Option<Failed> {
        let (failed, since, until) = self.0.get(key)?;
        // A clock that was set back remembers nothing.
        if since <= now && now < until {
            return Some(failed);
        }
        self.0.remove(key);
        None
    }

    pub(crate) fn remember(&self, key: Key, failed: Failed, now: UnixTime, until: UnixTime) {
        self.0.insert(key, (failed, now, until));
    }
}
