//! The members that all JWKs share (RFC 7517 §4).

use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use zeroize::Zeroizing;

use super::{KeyProblem, PublicKey};
use crate::ids::KeyId;
use crate::jose::base64url;
use crate::jose::json::{Object, Value};

/// Members that hold private key material: RFC 7518 §6.2.2 and §6.3.2, RFC 8037 §2, RFC 9964 §3. `k` (RFC 7518
/// §6.4.1) is not among them: a set that holds a symmetric key gives a key that is left out.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

pub(in crate::jose) fn holds_private_material(jwk: &Object<'_>) -> bool {
    jwk.iter().any(|(name, _)| PRIVATE.contains(&name))
}

/// The member as a string: absent is an answer, another JSON type is not.
pub(super) fn text<'o>(jwk: &'o Object<'_>, name: &str) -> Result<Option<&'o str>, KeyProblem> {
    jwk.text(name).map_err(|_| KeyProblem::Malformed)
}

pub(super) fn required<'o>(jwk: &'o Object<'_>, name: &str) -> Result<&'o str, KeyProblem> {
    text(jwk, name)?.ok_or(KeyProblem::Malformed)
}

/// The member as base64url of the bytes.
pub(super) fn required_bytes(jwk: &Object<'_>, name: &str) -> Result<Vec<u8>, KeyProblem> {
    base64url::decode(required(jwk, name)?).map_err(|_| KeyProblem::Malformed)
}

/// The key's name (RFC 7517 §4.5), if it has one.
pub(super) fn kid(jwk: &Object<'_>) -> Result<Option<KeyId>, KeyProblem> {
    match text(jwk, "kid")? {
        None => Ok(None),
        Some(kid) => KeyId::parse(kid).map(Some).map_err(|_| KeyProblem::Malformed),
    }
}

/// The name of a key: its own, or its thumbprint where it has none (RFC 7638 §1).
pub(super) fn name_of(kid: Option<KeyId>, key: &PublicKey) -> Result<KeyId, KeyProblem> {
    match kid {
        Some(kid) => Ok(kid),
        None => KeyId::parse(&key.thumbprint().to_string()).map_err(|_| KeyProblem::Malformed),
    }
}

/// A private number, overwritten when dropped.
pub(super) struct Private(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Private {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

pub(super) fn private(jwk: &Object<'_>, name: &str) -> Result<Private, KeyProblem> {
    required_bytes(jwk, name).map(|bytes| Private(Zeroizing::new(bytes)))
}

/// As [`private`], of exactly this length.
pub(super) fn private_of(jwk: &Object<'_>, name: &str, length: usize) -> Result<Private, KeyProblem> {
    let number = private(jwk, name)?;
    if number.0.len() == length {
        Ok(number)
    } else {
        Err(KeyProblem::Malformed)
    }
}

/// The numbers of a private RSA key (RFC 7518 §6.3.2): with all those for the Chinese remainder, and of two primes
/// (§6.3.2.7: nobody makes keys of more). The library checks that they belong together.
pub(super) fn rsa(jwk: &Object<'_>) -> Result<KeyPairComponents<Private>, KeyProblem> {
    if jwk.get("oth").is_some() {
        return Err(KeyProblem::Unsupported);
    }
    Ok(KeyPairComponents {
        public_key: PublicKeyComponents {
            n: private(jwk, "n")?,
            e: private(jwk, "e")?,
        },
        d: private(jwk, "d")?,
        p: private(jwk, "p")?,
        q: private(jwk, "q")?,
        dP: private(jwk, "dp")?,
        dQ: private(jwk, "dq")?,
        qInv: private(jwk, "qi")?,
    })
}

/// What the holder of a key is about to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// `use` that allows it.
    pub(super) purpose: &'static str,
    /// Operations of which `key_ops`, where present, must name one. With none, `key_ops` may be empty.
    pub(super) needed: &'static [&'static str],
    /// Operations that `key_ops` may name besides: the other half of the same purpose. RFC 7517 §4.3: combining
    /// `verify` with `encrypt` and the like is one key for two purposes.
    pub(super) tolerated: &'static [&'static str],
    /// What to say when it is not allowed.
    pub(super) otherwise: KeyProblem,
}

impl Intent {
    /// Verifying signatures.
    pub(super) const VERIFY: Self = Self {
        purpose: "sig",
        needed: &["verify"],
        tolerated: &["sign"],
        otherwise: KeyProblem::NotForVerifying,
    };
    /// Making signatures.
    pub(super) const SIGN: Self = Self {
        purpose: "sig",
        needed: &["sign"],
        tolerated: &["verify"],
        otherwise: KeyProblem::NotForSigning,
    };

    /// RFC 7517 §4.2 and §4.3: what `use` and `key_ops` say must include this, and they must not contradict.
    pub(super) fn check(self, jwk: &Object<'_>) -> Result<(), KeyProblem> {
        if text(jwk, "use")?.is_some_and(|named| named != self.purpose) {
            return Err(self.otherwise);
        }
        let Some(operations) = jwk.get("key_ops") else {
            return Ok(());
        };
        let operations: Vec<&str> = operations
            .as_array()
            .and_then(|operations| operations.iter().map(Value::as_text).collect())
            .ok_or(KeyProblem::Malformed)?;
        // Of different ones there are no more than are listed: so much is compared with one another below.
        if operations.len() > self.needed.len() + self.tolerated.len() {
            return Err(self.otherwise);
        }
        // RFC 7517 §4.3: duplicate operations MUST NOT be present.
        let once = |operation: &&str| operations.iter().filter(|other| *other == operation).count() == 1;
        if !operations.iter().all(once) {
            return Err(KeyProblem::Malformed);
        }
        let named =
            self.needed.is_empty() || operations.iter().any(|operation| self.needed.contains(operation));
        let nothing_else = operations
            .iter()
            .all(|operation| self.needed.contains(operation) || self.tolerated.contains(operation));
        if named && nothing_else {
            Ok(())
        } else {
            Err(self.otherwise)
        }
    }
}
