//! What a client says of a call in `_meta`: its name, and the client's two public keys or the session it has.

use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::jose::jwk::{EncryptionKey, VerificationKey};
use portcullis_core::seal::{MessageId, SessionId};
use serde_json::Value;

use super::refused::SealProblem;

/// What a client that has the extension says of one call.
pub(super) struct Shown {
    /// What every field of the call, and of its result, is bound to.
    pub(super) message: MessageId,
    pub(super) how: How,
}

/// How its fields are sealed.
pub(super) enum How {
    /// With its keys, each field by itself.
    Keys(Box<AgentKeys>),
    /// With the keys of a session.
    Session(SessionId),
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
            (Some(keys), None) => How::Keys(Box::new(AgentKeys::read(keys, who)?)),
            (None, Some(session)) => {
                let session = session.as_str().ok_or(SealProblem::Said)?;
                How::Session(SessionId::parse(session)?)
            }
            (Some(_), Some(_)) | (None, None) => return Err(SealProblem::Said),
        };
        Ok(Self { message, how })
    }
}

impl AgentKeys {
    /// Two JWKs, in either order. A key counts because the issuer vouches for it, never because it was sent.
    pub(super) fn read(keys: &Value, who: &VerifiedIdentity) -> Result<Self, SealProblem> {
        let Some([one, two]) = keys.as_array().map(Vec::as_slice) else {
            return Err(SealProblem::Said);
        };
        let is_signature = |jwk: &Value| jwk.get("use").and_then(Value::as_str) == Some("sig");
        let (signature, encryption) = if is_signature(one) { (one, two) } else { (two, one) };
        let vouched = who.client_keys().ok_or(SealProblem::NoKeys)?;
        let signature = VerificationKey::parse(signature.to_string().as_bytes());
        let encryption = EncryptionKey::parse(encryption.to_string().as_bytes());
        let (Ok(signature), Ok(encryption)) = (signature, encryption) else {
            return Err(SealProblem::Said);
        };
        if *signature.thumbprint() != vouched.signature || *encryption.thumbprint() != vouched.encryption {
            return Err(SealProblem::OtherKeys);
        }
        Ok(Self {
            signature,
            encryption,
        })
    }
}
