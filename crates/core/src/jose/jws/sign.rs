//! Signing.

use zeroize::Zeroizing;

use super::{HEADER_BYTES, PAYLOAD_BYTES};
use crate::ids::KeyId;
use crate::jose::{SignatureAlgorithm, base64url};

/// A private signing key held elsewhere (custody): the purpose is in the type, the bytes never come out.
pub trait TokenSigner: Send + Sync {
    /// The `kid` that verifiers find it under.
    fn kid(&self) -> &KeyId;
    /// Its algorithm.
    fn algorithm(&self) -> SignatureAlgorithm;
    /// Signs in the JWS form of the algorithm (ES256: r ‖ s, RFC 7518 §3.4).
    ///
    /// # Errors
    /// [`SigningUnavailable`] when the key cannot be used now.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable>;

    /// Whether [`Self::sign`] only computes, for a millisecond or so. A signer that waits for a device or for another
    /// machine says no, and is called on a thread for blocking work.
    fn is_quick(&self) -> bool {
        true
    }
}

/// The signing key cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key cannot be used: {0}")]
pub struct SigningUnavailable(pub String);

/// Claims are seldom longer, so that their buffer seldom moves.
const PAYLOAD_USUAL: usize = 1024;
/// Room for two dots, the rest of a base64url text and a signature of RSA with 4096 bits.
const SIGNATURE_USUAL: usize = 704;

/// Signs `claims` as a compact JWS with header `alg`, `typ`, `kid`.
///
/// # Errors
/// As [`TokenSigner::sign`]; and for claims of more than [`PAYLOAD_BYTES`] or a header of more than [`HEADER_BYTES`],
/// which no reader would take.
pub fn sign(
    signer: &dyn TokenSigner,
    typ: &str,
    claims: &serde_json::Map<String, serde_json::Value>,
) -> Result<String, SigningUnavailable> {
    // What is signed here may be about to be encrypted: it stays in as few places as can be, and those are wiped.
    let mut payload = Zeroizing::new(Vec::with_capacity(PAYLOAD_USUAL));
    serde_json::to_writer(&mut *payload, claims).map_err(|error| SigningUnavailable(error.to_string()))?;
    if payload.len() > PAYLOAD_BYTES {
        return Err(SigningUnavailable(format!(
            "claims have at most {PAYLOAD_BYTES} bytes"
        )));
    }
    let header = protected(signer, Some(typ))?;
    let mut token = String::with_capacity(header.len() + payload.len() / 3 * 4 + SIGNATURE_USUAL);
    token.push_str(&header);
    token.push('.');
    base64url::encode_onto(&mut token, &*payload);
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    base64url::encode_onto(&mut token, signature);
    Ok(token)
}

/// The protected header of this signer, in base64url.
pub(super) fn protected(signer: &dyn TokenSigner, typ: Option<&str>) -> Result<String, SigningUnavailable> {
    let mut header = serde_json::json!({ "alg": signer.algorithm().name(), "kid": signer.kid() });
    if let (Some(header), Some(typ)) = (header.as_object_mut(), typ) {
        header.insert("typ".to_owned(), typ.into());
    }
    let header = header.to_string();
    if header.len() > HEADER_BYTES {
        return Err(SigningUnavailable(format!(
            "a header has at most {HEADER_BYTES} bytes"
        )));
    }
    Ok(base64url::encode(header))
}
