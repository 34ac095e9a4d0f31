//! Whom to encrypt to.

use super::error::NoRecipient;
use super::{Error, KeyManagement};
use crate::ids::KeyId;
use crate::jose::json::{Object, Value};
use crate::jose::jwk::{EncryptionKey, KeyProblem, holds_private_material};
use crate::limits;

/// The one key of a JWK Set (RFC 7517 §5) to encrypt to: `use` is `enc`, and `kid` and `algorithm` are those that are
/// wanted, where something is wanted. Where two keys are left nothing is guessed.
///
/// Keys without `use` are passed over: in a set that others publish they are for signing as likely as not.
///
/// # Errors
/// [`NoRecipient`].
pub fn recipient_of(
    jwks: &[u8],
    kid: Option<&KeyId>,
    algorithm: Option<KeyManagement>,
) -> Result<EncryptionKey, NoRecipient> {
    if jwks.len() > limits::JWKS_BYTES {
        return Err(NoRecipient::NotAKeySet("it is too large".to_owned()));
    }
    let set = Object::parse(jwks).map_err(|error| NoRecipient::NotAKeySet(error.to_string()))?;
    let keys = set
        .get("keys")
        .and_then(Value::as_array)
        .filter(|keys| keys.len() <= limits::JWKS_KEYS)
        .ok_or_else(|| NoRecipient::NotAKeySet("it has no array `keys`, or a very long one".to_owned()))?;
    let mut found: Option<Result<EncryptionKey, KeyProblem>> = None;
    for key in keys {
        let Value::Object(jwk) = key else { continue };
        if holds_private_material(jwk) {
            return Err(NoRecipient::Private);
        }
        let is = |name: &str, wanted: &str| jwk.get(name).and_then(Value::as_text) == Some(wanted);
        if !is("use", "enc") || kid.is_some_and(|kid| !is("kid", kid.as_str())) {
            continue;
        }
        let parsed = EncryptionKey::from_object(jwk, algorithm);
        // A key that cannot be used is no candidate, unless it is the very one that was asked for.
        let fits = match (&parsed, algorithm) {
            (Ok(key), Some(algorithm)) => key.algorithm() == algorithm,
            (Ok(_), None) => true,
            (Err(_), _) => kid.is_some(),
        };
        if fits && found.replace(parsed).is_some() {
            return Err(NoRecipient::Several);
        }
    }
    found.ok_or(NoRecipient::Missing)?.map_err(NoRecipient::Key)
}

impl From<KeyProblem> for NoRecipient {
    fn from(problem: KeyProblem) -> Self {
        Self::Key(problem)
    }
}

/// All recipients of a message are of one algorithm, which is in the protected header, and it carries a content key.
pub(super) fn common_algorithm(keys: &[&EncryptionKey]) -> Result<KeyManagement, Error> {
    let first = keys.first().ok_or(Error::Recipients)?.algorithm();
    if keys.len() > super::RECIPIENTS {
        return Err(Error::Recipients);
    }
    let alike = keys.iter().all(|key| key.algorithm() == first);
    if alike && (keys.len() == 1 || first.carries_content_key()) {
        Ok(first)
    } else {
        Err(Error::OtherAlgorithm)
    }
}
