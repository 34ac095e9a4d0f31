//! The keys of a client's own (RFC 7591 §2, `jwks`): one that it signs with, and one that others encrypt to.

use super::members::holds_private_material;
use super::{EncryptionKey, PublicKey, Thumbprint, VerificationKey};
use crate::jose::json::{Object, Value};

/// The two keys of a client, by their thumbprints. What it seals is signed with one, and what is sealed for it can be
/// opened with the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKeys {
    /// Of the key it signs with.
    pub signature: Thumbprint,
    /// Of the key that others encrypt to.
    pub encryption: Thumbprint,
}

impl ClientKeys {
    /// Reads a client's `jwks`: exactly one `sig` and one `enc` key, both public.
    ///
    /// # Errors
    /// [`UnusableKeys`].
    pub fn read(jwks: &Value<'_>) -> Result<Self, UnusableKeys> {
        read(jwks)
    }

    /// The claim `client_keys` of an access token.
    #[must_use]
    pub fn claim(&self) -> serde_json::Value {
        serde_json::json!({ "sig": self.signature.to_string(), "enc": self.encryption.to_string() })
    }

    /// Reads that claim.
    #[must_use]
    pub fn from_claim(claim: &Value<'_>) -> Option<Self> {
        let Value::Object(keys) = claim else { return None };
        let thumbprint = |name: &str| Thumbprint::parse(keys.get(name)?.as_text()?);
        Some(Self {
            signature: thumbprint("sig")?,
            encryption: thumbprint("enc")?,
        })
    }
}

/// Most keys in one client's set.
pub const CLIENT_JWKS: usize = 8;

/// Why a client's `jwks` is none that could be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKeys {
    /// Not a JWK Set, or a long one.
    #[error("`jwks` is not a JWK Set of a few keys")]
    NotASet,
    /// It publishes what must stay secret.
    #[error("`jwks` holds a private key")]
    Private,
    /// A key without a known `use`, or that cannot be read.
    #[error(
        "`jwks` holds a key that cannot be used; each needs `use` (`sig` or `enc`), and an `alg` that fits it where it has one"
    )]
    Key,
    /// Not exactly one of each.
    #[error("`jwks` does not hold exactly one key to sign with and one to encrypt to")]
    NotOneOfEach,
}

fn read(jwks: &Value<'_>) -> Result<ClientKeys, UnusableKeys> {
    let keys = match jwks {
        Value::Object(set) => set.get("keys").and_then(Value::as_array),
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Array(_) => None,
    };
    let keys = keys
        .filter(|keys| keys.len() <= CLIENT_JWKS)
        .ok_or(UnusableKeys::NotASet)?;
    let keys: Vec<&Object<'_>> = keys
        .iter()
        .map(|key| match key {
            Value::Object(jwk) => Ok(jwk),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Array(_) => Err(UnusableKeys::NotASet),
        })
        .collect::<Result<_, _>>()?;
    if keys.iter().any(|jwk| holds_secrets(jwk)) {
        return Err(UnusableKeys::Private);
    }
    let (mut signature, mut encryption) = (None, None);
    for jwk in keys {
        let place = match jwk.get("use").and_then(Value::as_text) {
            Some("sig") if VerificationKey::from_object(jwk).is_ok_and(|key| may_sign(&key)) => {
                &mut signature
            }
            Some("enc") if EncryptionKey::from_object(jwk, None).is_ok() => &mut encryption,
            Some(_) | None => return Err(UnusableKeys::Key),
        };
        let thumbprint = PublicKey::from_jwk(jwk)
            .map_err(|_| UnusableKeys::Key)?
            .thumbprint();
        if place.replace(thumbprint).is_some() {
            return Err(UnusableKeys::NotOneOfEach);
        }
    }
    match (signature, encryption) {
        // One key for two purposes is one key too few.
        (Some(signature), Some(encryption)) if signature != encryption => Ok(ClientKeys {
            signature,
            encryption,
        }),
        _ => Err(UnusableKeys::NotOneOfEach),
    }
}

/// No configuration names algorithms for clients.
fn may_sign(key: &VerificationKey) -> bool {
    !key.algorithm().is_off_unless_named()
}

/// RFC 7518 §6.4.1: `k` is all of a symmetric key.
fn holds_secrets(jwk: &Object<'_>) -> bool {
    holds_private_material(jwk) || jwk.get("k").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7517 §A.1 and RFC 8037 §A.6: public keys of published examples.
    const SIG: &str = r#"{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const ENC: &str = r#"{"kty":"OKP","crv":"X25519","use":"enc","alg":"ECDH-ES","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}"#;

    fn of(keys: &[&str]) -> Result<ClientKeys, UnusableKeys> {
        let text = format!(r#"{{"jwks":{{"keys":[{}]}}}}"#, keys.join(","));
        let object = Object::parse(text.as_bytes()).unwrap();
        read(object.get("jwks").unwrap())
    }

    #[test]
    fn an_algorithm_that_is_off_is_off_for_clients_too() {
        use crate::ids::KeyId;
        use crate::jose::SignatureAlgorithm;
        use crate::jose::jwk::{PublicJwk, SigningKey};
        for (algorithm, expected) in [
            (SignatureAlgorithm::EdDsa, Ok(())),
            (SignatureAlgorithm::MlDsa65, Err(UnusableKeys::Key)),
        ] {
            let kid = KeyId::parse("sig").unwrap();
            let (key, _) = SigningKey::generate(kid.clone(), algorithm).unwrap();
            let jwk = PublicJwk {
                key: key.public().clone(),
                algorithm: algorithm.into(),
                kid,
                chain: Vec::new(),
            };
            let jwk = serde_json::Value::Object(jwk.to_json()).to_string();
            assert_eq!(of(&[&jwk, ENC]).map(|_| ()), expected, "{algorithm:?}");
        }
    }

    #[test]
    fn one_of_each_and_public() {
        let keys = of(&[SIG, ENC]).unwrap();
        assert_eq!(of(&[ENC, SIG]), Ok(keys));
        assert_ne!(keys.signature, keys.encryption);
        let private = SIG.replace("\"use\"", "\"d\":\"AA\",\"use\"");
        let purposeless = ENC.replace("\"use\":\"enc\",", "");
        let both = SIG.replace("sig", "enc").replace("ES256", "ECDH-ES");
        for (keys, why) in [
            (vec![], UnusableKeys::NotOneOfEach),
            (vec![SIG], UnusableKeys::NotOneOfEach),
            (vec![SIG, SIG, ENC], UnusableKeys::NotOneOfEach),
            (vec![SIG, &both], UnusableKeys::NotOneOfEach),
            (vec![SIG, &purposeless], UnusableKeys::Key),
            (vec![&private, ENC], UnusableKeys::Private),
            (vec![SIG, ENC, r#"{"kty":"oct","k":"AA"}"#], UnusableKeys::Private),
            (vec![SIG, ENC, "7"], UnusableKeys::NotASet),
            (vec![SIG; CLIENT_JWKS + 1], UnusableKeys::NotASet),
        ] {
            assert_eq!(of(&keys), Err(why), "{keys:?}");
        }
        for text in [r#"{"jwks":7}"#, r#"{"jwks":{}}"#, r#"{"jwks":[]}"#] {
            let object = Object::parse(text.as_bytes()).unwrap();
            assert_eq!(
                read(object.get("jwks").unwrap()),
                Err(UnusableKeys::NotASet),
                "{text}"
            );
        }
    }
}
