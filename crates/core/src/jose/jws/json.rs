//! The JSON serialisations (RFC 7515 §7.2), general and flattened, for what more than one key may have signed.
//!
//! Stricter than the RFC where two readers could read two things: `alg`, `typ` and `cty` count only where the
//! signature covers them, no unprotected parameter may bring a key or change what is signed, and no member may appear
//! twice, neither in one object nor in both headers (RFC 7515 §4). Members of other names are ignored (RFC 7515 §7.2.1).

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::header::Header;
use super::sign::protected;
use super::{HEADER_BYTES, PAYLOAD_BYTES, SIGNATURE_BYTES, SigningUnavailable, TokenSigner, check};
use crate::fault::Fault;
use crate::ids::KeyId;
use crate::jose::base64url::exceeds;
use crate::jose::json::{Object, Value};
use crate::jose::jwk::{KeySet, SignatureHolds, VerificationKey};
use crate::jose::{REFUSED, SignatureAlgorithm, base64url};

/// Most signatures in one JWS: each costs a verification.
pub const SIGNATURES: usize = 8;
/// Largest text, in bytes: all parts at their limits in base64url, and as much again as their headers for the rest.
pub const JSON_BYTES: usize = (PAYLOAD_BYTES + SIGNATURES * (SIGNATURE_BYTES + 4 * HEADER_BYTES)) / 3 * 4;

/// Parameters that count only where the signature covers them, besides those that no header may have.
const PROTECTED_ONLY: [&str; 3] = ["alg", "typ", "cty"];

/// A JWS in JSON that cannot be read, or whose signatures do not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Larger than [`JSON_BYTES`].
    #[error("the JWS is larger than {JSON_BYTES} bytes")]
    TooLarge,
    /// Not the members of RFC 7515 §7.2.1 or §7.2.2, or those of both.
    #[error("not a JWS in JSON form: {0}")]
    NotAJws(&'static str),
    /// More signatures than [`SIGNATURES`].
    #[error("the JWS has more than {SIGNATURES} signatures")]
    TooManySignatures,
    /// A parameter is in the protected and in the unprotected header (RFC 7515 §4).
    #[error("a header parameter is protected and unprotected at once")]
    ParameterTwice,
    /// A parameter that must be protected is not.
    #[error("the header parameter `{0}` is refused where the signature does not cover it")]
    Unprotected(&'static str),
    /// One signature cannot be read, or does not hold.
    #[error("signature {index}: {error}")]
    Signature {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        error: super::Error,
    },
    /// The set has no key for a signature that must hold.
    #[error("signature {0} is of a key that is not in the set")]
    KeyUnknown(usize),
    /// A key that must have signed did not.
    #[error("a key that must have signed it did not")]
    NotSigned,
}

/// Which signatures must hold (RFC 7515 §5.2 leaves it to the application).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Required<'k> {
    /// All that are present.
    #[default]
    All,
    /// At least one of each of these keys; signatures of other keys are not looked at. With no key nothing is required,
    /// and that is refused.
    Keys(&'k [KeyId]),
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::TooLarge
            | Self::NotAJws(_)
            | Self::TooManySignatures
            | Self::ParameterTwice
            | Self::Unprotected(_)
            | Self::Signature { .. }
            | Self::KeyUnknown(_)
            | Self::NotSigned => Fault::Caller,
        }
    }
}

/// A JWS in JSON that was read and not believed. Shows what is needed to find the keys.
pub struct UnverifiedJson {
    payload: Vec<u8>,
    payload_text: String,
    signatures: Vec<Signature>,
}

struct Signature {
    protected: String,
    text: String,
    header: Header,
}

/// What one signature says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'u> {
    /// The algorithm that its protected header names.
    pub algorithm: SignatureAlgorithm,
    /// The key that its headers name, protected or not: it only helps to find the key.
    pub kid: Option<&'u KeyId>,
}

impl UnverifiedJson {
    /// Reads either serialisation.
    ///
    /// # Errors
    /// [`Error`], except for the three that need keys.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.len() > JSON_BYTES {
            return Err(Error::TooLarge);
        }
        let jws = Object::parse(text).map_err(|_| Error::NotAJws("it is not a strict JSON object"))?;
        let payload_text = member(&jws, "payload")?.ok_or(Error::NotAJws("it has no `payload`"))?;
        if payload_text.is_empty() {
            return Err(Error::NotAJws("its payload is empty or detached"));
        }
        if exceeds(payload_text, PAYLOAD_BYTES) {
            return Err(Error::TooLarge);
        }
        let payload =
            base64url::decode(payload_text).map_err(|_| Error::NotAJws("its payload is not base64url"))?;
        let signatures = match jws.get("signatures") {
            None => vec![Signature::parse(0, &jws)?],
            Some(many) => {
                // RFC 7515 §7.2.2: the flattened form MUST NOT have `signatures`.
                if ["signature", "protected", "header"]
                    .iter()
                    .any(|name| jws.get(name).is_some())
                {
                    return Err(Error::NotAJws("it is of both serialisations"));
                }
                let many = many
                    .as_array()
                    .ok_or(Error::NotAJws("`signatures` is not an array"))?;
                if many.is_empty() {
                    return Err(Error::NotAJws("it has no signature"));
                }
                if many.len() > SIGNATURES {
                    return Err(Error::TooManySignatures);
                }
                let each = many.iter().enumerate().map(|(index, one)| match one {
                    Value::Object(one) => Signature::parse(index, one),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Integer(_)
                    | Value::Float(_)
                    | Value::Text(_)
                    | Value::Array(_) => Err(Error::NotAJws("a signature is not an object")),
                });
                each.collect::<Result<_, _>>()?
            }
        };
        Ok(Self {
            payload,
            payload_text: payload_text.to_owned(),
            signatures,
        })
    }

    /// What the signatures say of themselves, in their order.
    pub fn signatures(&self) -> impl Iterator<Item = Named<'_>> {
        self.signatures.iter().map(|signature| Named {
            algorithm: signature.header.algorithm,
            kid: signature.header.kid.as_ref(),
        })
    }

    /// Checks the signatures that are required. The keys decide on the algorithms.
    ///
    /// # Errors
    /// [`Error::KeyUnknown`], [`Error::Signature`] and [`Error::NotSigned`].
    pub fn verify<'a>(&'a self, keys: &'a KeySet, required: Required<'_>) -> Result<VerifiedJson<'a>, Error> {
        let signers = match required {
            Required::All => {
                let each = self.signatures.iter().enumerate();
                each.map(|(index, _)| self.signer(index, keys))
                    .collect::<Result<Vec<_>, _>>()?
            }
            Required::Keys(kids) => {
                let each = kids.iter().map(|kid| {
                    let mut verdict = Err(Error::NotSigned);
                    for (index, signature) in self.signatures.iter().enumerate() {
                        if signature.header.kid.as_ref() == Some(kid) && verdict.is_err() {
                            verdict = self.signer(index, keys);
                        }
                    }
                    verdict
                });
                each.collect::<Result<Vec<_>, _>>()?
            }
        };
        if signers.is_empty() {
            return Err(Error::NotSigned);
        }
        Ok(VerifiedJson {
            payload: &self.payload,
            signers,
        })
    }

    /// The key of one signature, once the signature held.
    fn signer<'a>(&'a self, index: usize, keys: &'a KeySet) -> Result<Signer<'a>, Error> {
        let signature = self.signatures.get(index).ok_or(Error::NotSigned)?;
        let Header { algorithm, kid, typ } = &signature.header;
        let key = keys
            .find(kid.as_ref(), *algorithm)
            .ok_or(Error::KeyUnknown(index))?;
        // RFC 7515 §5.2, step 8.
        let input = format!("{}.{}", signature.protected, self.payload_text);
        let holds = check(&input, &signature.text, key).map_err(|error| Error::Signature { index, error })?;
        Ok(Signer::new(key, typ.as_deref(), &holds))
    }
}

impl std::fmt::Debug for UnverifiedJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.signatures()).finish()
    }
}

impl Signature {
    fn parse(index: usize, object: &Object<'_>) -> Result<Self, Error> {
        let bad = |error| Error::Signature { index, error };
        let text = member(object, "signature")?.ok_or(Error::NotAJws("it has no `signature`"))?;
        let protected = member(object, "protected")?.ok_or(Error::Unprotected("alg"))?;
        if text.is_empty() || protected.is_empty() {
            return Err(Error::NotAJws("a part of it is empty"));
        }
        if exceeds(protected, HEADER_BYTES) {
            return Err(bad(super::Error::Header));
        }
        if exceeds(text, SIGNATURE_BYTES) {
            return Err(bad(super::Error::Signature));
        }
        let json = base64url::decode(protected).map_err(|_| bad(super::Error::Header))?;
        let members = Object::parse(&json).map_err(|_| bad(super::Error::Header))?;
        let mut kid = None;
        match object.get("header") {
            None => {}
            Some(Value::Object(unprotected)) => {
                kid = unprotected_kid(index, &members, unprotected)?;
            }
            Some(_) => return Err(bad(super::Error::Header)),
        }
        if members.get("alg").is_none() {
            return Err(Error::Unprotected("alg"));
        }
        let mut header = Header::read(members).map_err(bad)?;
        header.kid = header.kid.or(kid);
        Ok(Self {
            protected: protected.to_owned(),
            text: text.to_owned(),
            header,
        })
    }
}

/// Checks the unprotected header; all that is taken from it is the key's name.
fn unprotected_kid(
    index: usize,
    protected: &Object<'_>,
    unprotected: &Object<'_>,
) -> Result<Option<KeyId>, Error> {
    let names: BTreeSet<&str> = protected.iter().map(|(name, _)| name).collect();
    let mut kid = None;
    for (name, value) in unprotected.iter() {
        if names.contains(name) {
            return Err(Error::ParameterTwice);
        }
        if let Some(refused) = REFUSED
            .iter()
            .chain(&PROTECTED_ONLY)
            .find(|refused| **refused == name)
        {
            return Err(Error::Unprotected(refused));
        }
        if name == "kid" {
            let named = value.as_text().and_then(|named| KeyId::parse(named).ok());
            kid = Some(named.ok_or(Error::Signature {
                index,
                error: super::Error::Header,
            })?);
        }
    }
    Ok(kid)
}

/// The member as a string: absent is an answer, another JSON type is not.
fn member<'o>(object: &'o Object<'_>, name: &str) -> Result<Option<&'o str>, Error> {
    object
        .text(name)
        .map_err(|_| Error::NotAJws("a member of it has the wrong JSON type"))
}

/// A JWS in JSON whose required signatures held.
pub struct VerifiedJson<'a> {
    payload: &'a [u8],
    signers: Vec<Signer<'a>>,
}

impl<'a> VerifiedJson<'a> {
    /// What was signed.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The keys whose signatures held; those that were not required are not among them.
    #[must_use]
    pub fn signers(&self) -> &[Signer<'a>] {
        &self.signers
    }
}

impl std::fmt::Debug for VerifiedJson<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedJson")
            .field("signers", &self.signers)
            .finish_non_exhaustive()
    }
}

/// One key that signed, and what its own header says.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    key: &'a VerificationKey,
    typ: Option<&'a str>,
}

impl<'a> Signer<'a> {
    /// Takes the proof, so that a caller of this cannot have forgotten the check.
    fn new(key: &'a VerificationKey, typ: Option<&'a str>, _holds: &SignatureHolds) -> Self {
        Self { key, typ }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &'a VerificationKey {
        self.key
    }

    /// The media type that this signature's protected header declares (RFC 7515 §4.1.9).
    #[must_use]
    pub fn typ(&self) -> Option<&'a str> {
        self.typ
    }
}

/// Signs with one key, in the flattened serialisation (RFC 7515 §7.2.2), with protected header `alg`, `kid`, `typ`.
///
/// # Errors
/// As [`TokenSigner::sign`]; and for an empty payload, one larger than [`PAYLOAD_BYTES`] or a header larger than
/// [`HEADER_BYTES`], which no reader would take.
pub fn sign_flattened(
    signer: &dyn TokenSigner,
    typ: Option<&str>,
    payload: &[u8],
) -> Result<Map<String, Json>, SigningUnavailable> {
    let payload = encoded(payload)?;
    let mut jws = signature(signer, typ, &payload)?;
    jws.insert("payload".to_owned(), payload.into());
    Ok(jws)
}

/// Signs with each of these keys, in the general serialisation (RFC 7515 §7.2.1), each with protected header `alg`,
/// `kid`, `typ`.
///
/// # Errors
/// As [`sign_flattened`], and for no signer or more than [`SIGNATURES`].
pub fn sign_general(
    signers: &[&dyn TokenSigner],
    typ: Option<&str>,
    payload: &[u8],
) -> Result<Map<String, Json>, SigningUnavailable> {
    if signers.is_empty() || signers.len() > SIGNATURES {
        return Err(SigningUnavailable(format!(
            "1 to {SIGNATURES} keys can sign one text"
        )));
    }
    let payload = encoded(payload)?;
    let signatures = signers
        .iter()
        .map(|signer| signature(*signer, typ, &payload).map(Json::Object))
        .collect::<Result<Vec<_>, _>>()?;
    let mut jws = Map::new();
    jws.insert("payload".to_owned(), payload.into());
    jws.insert("signatures".to_owned(), signatures.into());
    Ok(jws)
}

fn encoded(payload: &[u8]) -> Result<String, SigningUnavailable> {
    if payload.is_empty() || payload.len() > PAYLOAD_BYTES {
        return Err(SigningUnavailable(format!(
            "a payload has 1 to {PAYLOAD_BYTES} bytes"
        )));
    }
    Ok(base64url::encode(payload))
}

fn signature(
    signer: &dyn TokenSigner,
    typ: Option<&str>,
    payload: &str,
) -> Result<Map<String, Json>, SigningUnavailable> {
    let protected = protected(signer, typ)?;
    let signature = signer.sign(format!("{protected}.{payload}").as_bytes())?;
    let mut object = Map::new();
    object.insert("protected".to_owned(), protected.into());
    object.insert("signature".to_owned(), base64url::encode(signature).into());
    Ok(object)
}

#[cfg(test)]
mod tests;
