//! What a client says of a call in `_meta`: its name, and the client's two public keys or the session it has.

use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::jose::jwk::{ClientKeys, EncryptionKey, VerificationKey};
use portcullis_core::seal::{MessageId, SessionId};
use serde_json::Value;

use super::refused::SealProblem;

/// Largest key of a client, in bytes of its JSON: RSA of 8192 bits takes 1.4 KB, and a chain of certificates may be with it.
const KEY_BYTES: usize = 16 * 1024;

/// What a client that has the extension says of one call.
pub(super) struct Shown {
    /// What every field of the call, and of its result, is bound to.
    pub(super) message: MessageId,
    pub(super) how: How,
}

/// How its fields are sealed.
pub(super) enum How {
    /// With its keys, each field by itself.
    Keys(ShownKeys),
    /// With the keys of a session.
    Session(SessionId),
}

/// Two keys as they were shown, and what the client's issuer says of them. To read them takes a while.
pub(super) struct ShownKeys {
    keys: [String; 2],
    vouched: ClientKeys,
}

/// The keys of one client, which are those that its token names.
pub(super) struct AgentKeys {
    pub(super) signature: VerificationKey,
    pub(super) encryption: EncryptionKey,
}

impl Shown {
    /// Reads the member, which has been read as strict JSON before: `message`, and `{"keys": [jwk, jwk]}` or
    /// `{"session": id}`.
    pub(super) fn read(said: &str, who: &VerifiedIdentity) -> Result<Self, SealProblem> {
        let said: Value = serde_json::from_str(said).map_err(|_| SealProblem::Said)?;
        let message = said.get("message").and_then(Value::as_str);
        let message = message.and_then(|text| MessageId::parse(text).ok());
        let message = message.ok_or(SealProblem::Said)?;
        let how = match (said.get("keys"), said.get("session")) {
            (Some(keys), None) => How::Keys(ShownKeys::of(keys, who)?),
            (None, Some(session)) => {
                let session = session.as_str().ok_or(SealProblem::Said)?;
                How::Session(SessionId::parse(session)?)
            }
            (Some(_), Some(_)) | (None, None) => return Err(SealProblem::Said),
        };
        Ok(Self { message, how })
    }
}

impl ShownKeys {
    /// Two JWKs, in either order.
    pub(super) fn of(keys: &Value, who: &VerifiedIdentity) -> Result<Self, SealProblem> {
        let Some([one, two]) = keys.as_array().map(Vec::as_slice) else {
            return Err(SealProblem::Said);
        };
        let is_signature = |jwk: &Value| jwk.get("use").and_then(Value::as_str) == Some("sig");
        let (signature, encryption) = if is_signature(one) { (one, two) } else { (two, one) };
        let vouched = *who.client_keys().ok_or(SealProblem::NoKeys)?;
        let keys = [signature, encryption].map(Value::to_string);
        if keys.iter().any(|key| key.len() > KEY_BYTES) {
            return Err(SealProblem::Said);
        }
        Ok(Self { keys, vouched })
    }

    /// Reads them. A key counts because the issuer vouches for it, never because it was sent.
    pub(super) fn read(self) -> Result<AgentKeys, SealProblem> {
        let Self { keys, vouched } = self;
        let [signature, encryption] = &keys;
        let signature = VerificationKey::parse(signature.as_bytes());
        let encryption = EncryptionKey::parse(encryption.as_bytes());
        let (Ok(signature), Ok(encryption)) = (signature, encryption) else {
            return Err(SealProblem::Said);
        };
        // No configuration names it for clients.
        if signature.algorithm().is_off_unless_named() {
            return Err(SealProblem::Said);
        }
        if *signature.thumbprint() != vouched.signature || *encryption.thumbprint() != vouched.encryption {
            return Err(SealProblem::OtherKeys);
        }
        Ok(AgentKeys {
            signature,
            encryption,
        })
    }
}
