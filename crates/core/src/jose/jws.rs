//! JWS compact serialisation (RFC 7515 §3.1).
//!
//! A token is read into [`Unverified`], which shows its header alone; [`Unverified::verify`] gives [`Verified`], which
//! shows the payload. The JSON serialisations (RFC 7515 §3.2) are not read at all.

use super::json::{self, Value};
use super::jwk::{SignatureHolds, VerificationKey};
use super::{SignatureAlgorithm, base64url};
use crate::ids::KeyId;

/// Largest protected header, in bytes of its JSON.
pub const HEADER_BYTES: usize = 1024;
/// Largest signature, in bytes: RSA of 8192 bits.
pub const SIGNATURE_BYTES: usize = 1024;

/// Header parameters that would let a token bring its own key (RFC 7515 §4.1.2, §4.1.3, §4.1.5, §4.1.6), change what
/// is signed (RFC 7797 §3), or that we would have to understand (RFC 7515 §4.1.11; we understand no extension).
const REFUSED: [&str; 6] = ["crit", "b64", "jwk", "jku", "x5u", "x5c"];

/// A token that cannot be read, or whose signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not three non-empty base64url parts.
    #[error("not a compact JWS")]
    NotCompact,
    /// The header is not a strict JSON object, too large, or a member of it has the wrong type.
    #[error("the header is malformed")]
    Header,
    /// `alg` is absent or not in our table.
    #[error("the algorithm is not supported")]
    Algorithm,
    /// The header has a parameter that no token may bring.
    #[error("the header parameter `{0}` is refused")]
    Refused(&'static str),
    /// The key is of another algorithm than the header names.
    #[error("the key is of another algorithm")]
    OtherAlgorithm,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature,
}

/// A token that was read and not believed. Shows what is needed to find the key.
pub struct Unverified<'t> {
    signing_input: &'t str,
    signature: &'t str,
    payload: Vec<u8>,
    algorithm: SignatureAlgorithm,
    kid: Option<KeyId>,
    typ: Option<String>,
}

impl<'t> Unverified<'t> {
    /// Reads the three parts and the header.
    ///
    /// # Errors
    /// [`Error`], except for the two that need a key.
    pub fn parse(token: &'t str) -> Result<Self, Error> {
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Error::NotCompact)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Error::NotCompact)?;
        // A fourth part leaves a dot in the payload, which is not base64url.
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Error::NotCompact);
        }
        let mut buffer = [0; HEADER_BYTES];
        if header.len() * 3 / 4 > HEADER_BYTES {
            return Err(Error::Header);
        }
        let header = base64url::decode_into(header, &mut buffer).map_err(|_| Error::NotCompact)?;
        let header = Header::parse(header)?;
        let payload = base64url::decode(payload).map_err(|_| Error::NotCompact)?;
        let Header { algorithm, kid, typ } = header;
        Ok(Self {
            signing_input,
            signature,
            payload,
            algorithm,
            kid,
            typ,
        })
    }

    /// The algorithm that the header names. The key decides; this only helps to find it.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The key that the header names.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// The payload before its signature was checked: to find out whose token it claims to be, and nothing else.
    pub(crate) fn dangerous_unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`Error::OtherAlgorithm`] and [`Error::Signature`].
    pub fn verify(&self, key: &VerificationKey) -> Result<Verified<'_>, Error> {
        if self.algorithm != key.algorithm() {
            return Err(Error::OtherAlgorithm);
        }
        let mut buffer = [0; SIGNATURE_BYTES];
        let signature = base64url::decode_into(self.signature, &mut buffer).map_err(|_| Error::Signature)?;
        let holds = key
            .verify(self.signing_input.as_bytes(), signature)
            .map_err(|_| Error::Signature)?;
        Ok(Verified::new(self, &holds))
    }
}

impl std::fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// A token whose signature held.
#[derive(Clone, Copy)]
pub struct Verified<'u> {
    payload: &'u [u8],
    typ: Option<&'u str>,
}

impl<'u> Verified<'u> {
    /// Takes the proof, so that a caller of this cannot have forgotten the check.
    fn new(token: &'u Unverified<'_>, _holds: &SignatureHolds) -> Self {
        Self {
            payload: &token.payload,
            typ: token.typ.as_deref(),
        }
    }

    /// What was signed.
    #[must_use]
    pub fn payload(self) -> &'u [u8] {
        self.payload
    }

    /// The media type that the header declares (RFC 7515 §4.1.9).
    #[must_use]
    pub fn typ(self) -> Option<&'u str> {
        self.typ
    }
}

impl std::fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified")
            .field("typ", &self.typ)
            .finish_non_exhaustive()
    }
}

struct Header {
    algorithm: SignatureAlgorithm,
    kid: Option<KeyId>,
    typ: Option<String>,
}

impl Header {
    fn parse(text: &[u8]) -> Result<Self, Error> {
        let mut algorithm = None;
        let mut kid = None;
        let mut typ = None;
        let mut wrong = None;
        json::each_member(text, |name, value| match (&*name, value) {
            // RFC 7515 §4.1.1: REQUIRED, a case-sensitive string. Any other type names nothing we support.
            ("alg", Value::Text(named)) => algorithm = SignatureAlgorithm::from_name(&named),
            ("kid", Value::Text(named)) => match KeyId::parse(&named) {
                Ok(named) => kid = Some(named),
                Err(_) => wrong = Some(Error::Header),
            },
            ("typ", Value::Text(named)) => typ = Some(named.into_owned()),
            ("alg" | "kid" | "typ", _) => wrong = Some(Error::Header),
            (name, _) => {
                if let Some(refused) = REFUSED.into_iter().find(|refused| *refused == name) {
                    wrong = wrong.or(Some(Error::Refused(refused)));
                }
            }
        })
        .map_err(|_| Error::Header)?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        Ok(Self {
            algorithm: algorithm.ok_or(Error::Algorithm)?,
            kid,
            typ,
        })
    }
}

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
}

/// The signing key cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key cannot be used: {0}")]
pub struct SigningUnavailable(pub String);

/// Signs `claims` as a compact JWS with header `alg`, `typ`, `kid`.
///
/// # Errors
/// As [`TokenSigner::sign`].
pub fn sign(
    signer: &dyn TokenSigner,
    typ: &str,
    claims: &serde_json::Map<String, serde_json::Value>,
) -> Result<String, SigningUnavailable> {
    let header = serde_json::json!({ "alg": signer.algorithm().name(), "typ": typ, "kid": signer.kid() });
    let payload = serde_json::to_vec(claims).map_err(|error| SigningUnavailable(error.to_string()))?;
    let mut token = base64url::encode(header.to_string());
    token.push('.');
    base64url::encode_onto(&mut token, payload);
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    base64url::encode_onto(&mut token, signature);
    Ok(token)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    struct Signer(EcdsaKeyPair, KeyId);

    impl TokenSigner for Signer {
        fn kid(&self) -> &KeyId {
            &self.1
        }

        fn algorithm(&self) -> SignatureAlgorithm {
            SignatureAlgorithm::Es256
        }

        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
            Ok(self
                .0
                .sign_digest(&digest::digest(&digest::SHA256, message))
                .unwrap()
                .as_ref()
                .to_vec())
        }
    }

    fn signer() -> (Signer, VerificationKey) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "kid": "k",
            "x": base64url::encode(&point[1..33]), "y": base64url::encode(&point[33..]),
        });
        let key = VerificationKey::parse(jwk.to_string().as_bytes()).unwrap();
        (Signer(pair, KeyId::parse("k").unwrap()), key)
    }

    #[test]
    fn what_was_signed_is_what_is_shown() {
        let (signer, key) = signer();
        let claims = json!({ "sub": "alice", "n": 1 });
        let token = sign(&signer, "at+jwt", claims.as_object().unwrap()).unwrap();
        let unverified = Unverified::parse(&token).unwrap();
        assert_eq!(unverified.kid(), key.kid());
        assert_eq!(unverified.algorithm(), SignatureAlgorithm::Es256);
        let verified = unverified.verify(&key).unwrap();
        assert_eq!(verified.typ(), Some("at+jwt"));
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(verified.payload()).unwrap(),
            claims
        );
    }

    #[test]
    fn another_key_is_no_key() {
        let token = sign(&signer().0, "at+jwt", &serde_json::Map::new()).unwrap();
        assert_eq!(
            Unverified::parse(&token)
                .unwrap()
                .verify(&signer().1)
                .unwrap_err(),
            Error::Signature
        );
        let jwk = br#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let of_another_kind = VerificationKey::parse(jwk).unwrap();
        let verdict = Unverified::parse(&token)
            .unwrap()
            .verify(&of_another_kind)
            .unwrap_err();
        assert_eq!(verdict, Error::OtherAlgorithm);
    }

    #[test]
    fn parts_have_one_spelling() {
        // ENC-01, ENC-02, ENC-04: what a request's reader lets through or not, this does not
        let token = sign(&signer().0, "at+jwt", &serde_json::Map::new()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let (header, payload, signature) = (parts[0], parts[1], parts[2]);
        for odd in ["=", "==", "+", "/", "\n", " ", "\u{e9}", "."] {
            for changed in [
                format!("{header}{odd}.{payload}.{signature}"),
                format!("{header}.{payload}{odd}.{signature}"),
            ] {
                assert_eq!(
                    Unverified::parse(&changed).unwrap_err(),
                    Error::NotCompact,
                    "{odd:?}"
                );
            }
        }
    }

    #[test]
    fn debug_shows_no_payload() {
        let token = sign(
            &signer().0,
            "at+jwt",
            json!({ "sub": "hunter2" }).as_object().unwrap(),
        )
        .unwrap();
        let shown = format!("{:?}", Unverified::parse(&token).unwrap());
        assert!(
            !shown.contains("hunter2") && !shown.contains(token.split('.').nth(1).unwrap()),
            "{shown}"
        );
    }
}
