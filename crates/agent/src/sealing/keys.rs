//! The agent's own two keys, one registration's each.

use std::sync::Arc;

use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::base64url;
use portcullis_core::jose::jwe::{KeyManagement, PayloadOpener};
use portcullis_core::jose::jwk::{DecryptionKey, DecryptionKind, PublicJwk, PublicKey, SigningKey};
use portcullis_core::secret::Secret;
use portcullis_net::random;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::tokens::KeysRecord;

const SIGNATURE: SignatureAlgorithm = SignatureAlgorithm::Es256;
const ENCRYPTION: KeyManagement = KeyManagement::EcdhEs;

/// One key that signs, and one that others encrypt to.
pub(crate) struct OwnKeys {
    pub(crate) signing: SigningKey,
    pub(crate) opening: Arc<DecryptionKey>,
}

impl OwnKeys {
    /// Makes both, as they are kept.
    pub(crate) fn make() -> Option<KeysRecord> {
        let kid = KeyId::parse("new").ok()?;
        let (_, signing) = SigningKey::generate(kid.clone(), SIGNATURE).ok()?;
        let opening =
            DecryptionKey::generate(kid, ENCRYPTION, DecryptionKind::X25519, &random::System).ok()?;
        let text = |bytes: Zeroizing<Vec<u8>>| Secret::new(base64url::encode(bytes.as_slice()));
        Some(KeysRecord {
            signing: text(signing),
            opening: text(opening.dangerous_to_pkcs8()?),
        })
    }

    /// Those that are kept.
    pub(crate) fn open(kept: &KeysRecord) -> Option<Self> {
        let bytes = |text: &Secret| Some(Zeroizing::new(base64url::decode(text.reveal()).ok()?));
        let (signing, opening) = (bytes(&kept.signing)?, bytes(&kept.opening)?);
        let sign = |kid| SigningKey::from_pkcs8(kid, SIGNATURE, &signing).ok();
        let open = |kid| DecryptionKey::from_pkcs8(kid, ENCRYPTION, &opening).ok();
        // A key's name is of its public half, so each is read once to be named.
        let unnamed = KeyId::parse("unnamed").ok()?;
        let name = |prefix: &str, public: &PublicKey| {
            KeyId::parse(&format!("{prefix}-{}", public.thumbprint().short())).ok()
        };
        let signing_name = name("sig", sign(unnamed.clone())?.public())?;
        let opening_name = name("enc", open(unnamed)?.public())?;
        Some(Self {
            signing: sign(signing_name)?,
            opening: Arc::new(open(opening_name)?),
        })
    }

    /// Both public halves.
    pub(crate) fn public(&self) -> Vec<Value> {
        use portcullis_core::jose::jws::TokenSigner as _;
        let jwk = |key: &_, algorithm, kid: &KeyId| {
            let jwk = PublicJwk {
                key: Clone::clone(key),
                algorithm,
                kid: kid.clone(),
                chain: Vec::new(),
            };
            Value::Object(jwk.to_json())
        };
        vec![
            jwk(self.signing.public(), SIGNATURE.into(), self.signing.kid()),
            jwk(self.opening.public(), ENCRYPTION.into(), self.opening.kid()),
        ]
    }

    /// The JWK Set of a registration.
    pub(crate) fn jwks(&self) -> Value {
        json!({ "keys": self.public() })
    }

    /// The private key of this name, if it is ours.
    pub(crate) fn opener(&self, kid: &KeyId) -> Option<Arc<dyn PayloadOpener>> {
        (self.opening.kid() == kid)
            .then(|| Arc::<DecryptionKey>::clone(&self.opening) as Arc<dyn PayloadOpener>)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::jose::json::Object;
    use portcullis_core::jose::jwk::ClientKeys;

    use super::*;

    #[test]
    fn made_keys_are_kept_and_are_what_a_registration_takes() {
        let kept = OwnKeys::make().unwrap();
        let (one, two) = (OwnKeys::open(&kept).unwrap(), OwnKeys::open(&kept).unwrap());
        assert_eq!(one.jwks(), two.jwks());
        let text = json!({ "jwks": one.jwks() }).to_string();
        let read = ClientKeys::read(Object::parse(text.as_bytes()).unwrap().get("jwks").unwrap()).unwrap();
        assert_eq!(read.signature, one.signing.public().thumbprint());
        assert_eq!(read.encryption, one.opening.public().thumbprint());
        let kid = one.opening.kid().clone();
        assert!(one.opener(&kid).is_some());
        assert!(one.opener(&KeyId::parse("enc-00000000").unwrap()).is_none());
    }
}
