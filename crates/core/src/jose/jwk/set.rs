//! The keys of one issuer.

use super::members::holds_private_material;
use super::{KeyProblem, VerificationKey};
use crate::ids::KeyId;
use crate::jose::SignatureAlgorithm;
use crate::jose::json::{Object, Value};
use crate::limits;

/// The verification keys of one issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
    skipped: Vec<Skipped>,
}

/// A key of a set that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its place in the set, from 0.
    pub index: usize,
    /// Its `kid`, where it has a valid one.
    pub kid: Option<KeyId>,
    /// Why.
    pub problem: KeyProblem,
}

/// A JWK Set that cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Larger than [`limits::JWKS_BYTES`].
    #[error("the key set is larger than {limit} bytes", limit = limits::JWKS_BYTES)]
    TooLarge,
    /// More keys than [`limits::JWKS_KEYS`].
    #[error("the key set has more than {limit} keys", limit = limits::JWKS_KEYS)]
    TooManyKeys,
    /// Not a JSON object with an array `keys` (RFC 7517 §5).
    #[error("not a JWK Set: {0}")]
    NotAKeySet(String),
    /// A key of it holds private key material (RFC 7517 §9.2): whoever published it lost that key, and perhaps more.
    #[error("the key set holds private key material")]
    Private,
}

impl KeySet {
    /// Reads a JWK Set (RFC 7517 §5). Keys that are not for verifying are left out; one bad key does not spoil the rest.
    ///
    /// # Errors
    /// Not a JWK Set, too large, or it holds private key material.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        if json.len() > limits::JWKS_BYTES {
            return Err(Error::TooLarge);
        }
        let set = Object::parse(json).map_err(|error| Error::NotAKeySet(error.to_string()))?;
        let Some(members) = set.get("keys").and_then(Value::as_array) else {
            return Err(Error::NotAKeySet("it has no array `keys`".to_owned()));
        };
        if members.len() > limits::JWKS_KEYS {
            return Err(Error::TooManyKeys);
        }
        let mut usable = Vec::with_capacity(members.len());
        let mut skipped = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let Value::Object(jwk) = member else {
                skipped.push(Skipped {
                    index,
                    kid: None,
                    problem: KeyProblem::Malformed,
                });
                continue;
            };
            if holds_private_material(jwk) {
                return Err(Error::Private);
            }
            match VerificationKey::from_object(jwk) {
                Ok(key) => usable.push((index, key)),
                Err(problem) => {
                    let kid = jwk
                        .get("kid")
                        .and_then(Value::as_text)
                        .and_then(|kid| KeyId::parse(kid).ok());
                    skipped.push(Skipped { index, kid, problem });
                }
            }
        }
        let shared: Vec<KeyId> = usable
            .iter()
            .filter_map(|(_, key)| key.kid())
            .filter(|kid| {
                usable
                    .iter()
                    .filter(|(_, other)| other.kid() == Some(kid))
                    .count()
                    > 1
            })
            .cloned()
            .collect();
        let mut keys = Vec::with_capacity(usable.len());
        for (index, key) in usable {
            match key.kid() {
                Some(kid) if shared.contains(kid) => {
                    skipped.push(Skipped {
                        index,
                        kid: Some(kid.clone()),
                        problem: KeyProblem::DuplicateKid,
                    });
                }
                Some(_) | None => keys.push(key),
            }
        }
        Ok(Self { keys, skipped })
    }

    /// Leaves out the keys of these names: they are void, whoever publishes them.
    pub fn remove(&mut self, kids: &std::collections::BTreeSet<KeyId>) {
        self.keys
            .retain(|key| key.kid().is_none_or(|kid| !kids.contains(kid)));
    }

    /// The key for a token header's `kid` and `alg`: without a `kid`, only when exactly one key has that algorithm.
    #[must_use]
    pub fn find(&self, kid: Option<&KeyId>, algorithm: SignatureAlgorithm) -> Option<&VerificationKey> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm() == algorithm);
        if let Some(kid) = kid {
            return fitting.find(|key| key.kid() == Some(kid));
        }
        let only = fitting.next()?;
        if fitting.next().is_none() {
            Some(only)
        } else {
            None
        }
    }

    /// Whether a key has this `kid`, of any algorithm: whether asking the issuer again could help.
    #[must_use]
    pub fn names(&self, kid: &KeyId) -> bool {
        self.keys.iter().any(|key| key.kid() == Some(kid))
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &VerificationKey> {
        self.keys.iter()
    }

    /// The keys that were left out, with the reason of each, for the operator's log.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
