//! One public key that verifies signatures.

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};

use super::Thumbprint;
use crate::ids::KeyId;
use crate::jose::json::{Object, Value};
use crate::jose::{SignatureAlgorithm, base64url};

/// Smallest RSA modulus, in bits (RFC 7518 §3.3).
const RSA_BITS_MIN: usize = 2048;
/// Largest RSA modulus, in bits: a verification costs the square of it.
const RSA_BITS_MAX: usize = 8192;
/// Longest RSA exponent, in bytes. Everyone uses 65537; a long one makes verification slow.
const RSA_EXPONENT_BYTES: usize = 4;
/// Members that hold private key material: RFC 7518 §6.2.2 and §6.3.2, RFC 8037 §2, RFC 9964 §3. `k` (RFC 7518
/// §6.4.1) is not among them: a set that holds a symmetric key gives a key that is left out.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// A public key that verifies, parsed once. Of one algorithm, for `sig` only.
pub struct VerificationKey {
    kid: Option<KeyId>,
    algorithm: SignatureAlgorithm,
    thumbprint: Thumbprint,
    key: ParsedPublicKey,
}

/// Why one key cannot be used to verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyProblem {
    /// Not a strict JSON object with the members its type needs, each of the right JSON type.
    #[error("it is malformed")]
    Malformed,
    /// RFC 7517 §9.2: a public set never carries these.
    #[error("it holds private key material")]
    Private,
    /// A key type, curve or `alg` that is not in our table.
    #[error("its type, curve or algorithm is not supported")]
    Unsupported,
    /// `use` or `key_ops` says that it is for something else (RFC 7517 §4.2 and §4.3), or they disagree.
    #[error("it is not for verifying signatures")]
    NotForVerifying,
    /// `alg` belongs to another key type.
    #[error("its `alg` does not fit its type")]
    AlgorithmMismatch,
    /// Not a point of the curve, a point of small order, or a modulus or exponent out of range.
    #[error("its value is not an acceptable key")]
    Unacceptable,
    /// Another key of the set has the same `kid`: neither can be told from the other.
    #[error("another key has the same `kid`")]
    DuplicateKid,
}

impl VerificationKey {
    /// Reads one public JWK (RFC 7517 §4).
    ///
    /// # Errors
    /// [`KeyProblem`].
    pub fn parse(jwk: &[u8]) -> Result<Self, KeyProblem> {
        Self::from_object(&Object::parse(jwk).map_err(|_| KeyProblem::Malformed)?)
    }

    pub(super) fn from_object(jwk: &Object<'_>) -> Result<Self, KeyProblem> {
        if holds_private_material(jwk) {
            return Err(KeyProblem::Private);
        }
        let kid = match text(jwk, "kid")? {
            None => None,
            Some(kid) => Some(KeyId::parse(kid).map_err(|_| KeyProblem::Malformed)?),
        };
        check_purpose(jwk)?;
        let kty = text(jwk, "kty")?.ok_or(KeyProblem::Malformed)?;
        let (algorithm, thumbprint, key) = match kty {
            "EC" => elliptic(jwk)?,
            "RSA" => rsa(jwk)?,
            "OKP" => edwards(jwk)?,
            _ => return Err(KeyProblem::Unsupported),
        };
        // RFC 7517 §4.4. Without `alg`, the type decides: each type has one algorithm in our table.
        match text(jwk, "alg")? {
            None => {}
            Some(name) => match SignatureAlgorithm::from_name(name) {
                Some(named) if named == algorithm => {}
                Some(_) => return Err(KeyProblem::AlgorithmMismatch),
                None => return Err(KeyProblem::Unsupported),
            },
        }
        Ok(Self {
            kid,
            algorithm,
            thumbprint,
            key,
        })
    }

    /// Its `kid`, if it has one.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Its RFC 7638 thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// Checks that `signature`, in the JWS form of the algorithm, is of `message` under this key.
    ///
    /// # Errors
    /// [`SignatureInvalid`], for whatever reason.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<SignatureHolds, SignatureInvalid> {
        self.key
            .verify_sig(message, signature)
            .map(|()| SignatureHolds(()))
            .map_err(|_| SignatureInvalid)
    }
}

/// The crypto library checked a signature and it held. Made by [`VerificationKey::verify`] and nowhere else.
#[derive(Debug)]
pub struct SignatureHolds(());

/// The signature is not of this message under this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct SignatureInvalid;

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

pub(super) fn holds_private_material(jwk: &Object<'_>) -> bool {
    jwk.iter().any(|(name, _)| PRIVATE.contains(&name))
}

/// RFC 7517 §4.2 and §4.3: what `use` and `key_ops` say must include verifying, and they must not contradict.
fn check_purpose(jwk: &Object<'_>) -> Result<(), KeyProblem> {
    match text(jwk, "use")? {
        None | Some("sig") => {}
        Some(_) => return Err(KeyProblem::NotForVerifying),
    }
    let Some(operations) = jwk.get("key_ops") else {
        return Ok(());
    };
    let operations: Vec<&str> = operations
        .as_array()
        .and_then(|operations| operations.iter().map(Value::as_text).collect())
        .ok_or(KeyProblem::Malformed)?;
    // RFC 7517 §4.3: duplicate operations MUST NOT be present; combining `verify` with `encrypt` and the like is
    // one key for two purposes.
    let once = |operation: &&str| operations.iter().filter(|other| *other == operation).count() == 1;
    if !operations.iter().all(once) {
        return Err(KeyProblem::Malformed);
    }
    if operations.contains(&"verify")
        && operations
            .iter()
            .all(|operation| matches!(*operation, "verify" | "sign"))
    {
        Ok(())
    } else {
        Err(KeyProblem::NotForVerifying)
    }
}

type Parsed = (SignatureAlgorithm, Thumbprint, ParsedPublicKey);

fn elliptic(jwk: &Object<'_>) -> Result<Parsed, KeyProblem> {
    if required(jwk, "crv")? != "P-256" {
        return Err(KeyProblem::Unsupported);
    }
    let (x, y) = (required(jwk, "x")?, required(jwk, "y")?);
    // RFC 7518 §6.2.1.2: coordinates are exactly as long as the field; the library checks that the point is on the
    // curve and not at infinity.
    let mut point = [4; 65];
    let (_, coordinates) = point.split_at_mut(1);
    let (first, second) = coordinates.split_at_mut(32);
    exactly(x, first)?;
    exactly(y, second)?;
    let key = ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
        .map_err(|_| KeyProblem::Unacceptable)?;
    let thumbprint = Thumbprint::over(&[("crv", "P-256"), ("kty", "EC"), ("x", x), ("y", y)]);
    Ok((SignatureAlgorithm::Es256, thumbprint, key))
}

fn rsa(jwk: &Object<'_>) -> Result<Parsed, KeyProblem> {
    let (n_text, e_text) = (required(jwk, "n")?, required(jwk, "e")?);
    let n = base64url::decode(n_text).map_err(|_| KeyProblem::Malformed)?;
    let e = base64url::decode(e_text).map_err(|_| KeyProblem::Malformed)?;
    // RFC 7518 §6.3.1: the shortest big-endian form, so no leading zero.
    let (Some(&n_first), Some(&e_first), Some(&n_last), Some(&e_last)) =
        (n.first(), e.first(), n.last(), e.last())
    else {
        return Err(KeyProblem::Malformed);
    };
    if n_first == 0 || e_first == 0 {
        return Err(KeyProblem::Malformed);
    }
    let bits = n.len() * 8 - n_first.leading_zeros() as usize;
    let one = e.len() == 1 && e_last == 1;
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits)
        || n_last % 2 == 0
        || e_last % 2 == 0
        || one
        || e.len() > RSA_EXPONENT_BYTES
    {
        return Err(KeyProblem::Unacceptable);
    }
    let key = RsaPublicKeyComponents {
        n: n.as_slice(),
        e: e.as_slice(),
    }
    .to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256)
    .map_err(|_| KeyProblem::Unacceptable)?;
    let thumbprint = Thumbprint::over(&[("e", e_text), ("kty", "RSA"), ("n", n_text)]);
    Ok((SignatureAlgorithm::Rs256, thumbprint, key))
}

fn edwards(jwk: &Object<'_>) -> Result<Parsed, KeyProblem> {
    if required(jwk, "crv")? != "Ed25519" {
        return Err(KeyProblem::Unsupported);
    }
    let x = required(jwk, "x")?;
    let mut point = [0; 32];
    exactly(x, &mut point)?;
    if is_weak_ed25519(point) {
        return Err(KeyProblem::Unacceptable);
    }
    let key = ParsedPublicKey::new(&signature::ED25519, point).map_err(|_| KeyProblem::Unacceptable)?;
    let thumbprint = Thumbprint::over(&[("crv", "Ed25519"), ("kty", "OKP"), ("x", x)]);
    Ok((SignatureAlgorithm::EdDsa, thumbprint, key))
}

/// Whether the point is one of small order, or spelt in a way that RFC 8032 §5.1.3 does not allow (y ≥ p). Under a
/// key of small order one signature holds for many messages, and the crypto library accepts such keys.
fn is_weak_ed25519(mut point: [u8; 32]) -> bool {
    const P: [u8; 32] = [
        0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ];
    // The y coordinates of the eight points whose order divides 8, besides 0, 1 and p - 1: they have order 8.
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    // The top bit is the sign of x: y alone decides.
    point[31] &= 0x7f;
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = P;
    minus_one[0] = 0xec;
    let non_canonical = point.iter().rev().ge(P.iter().rev());
    non_canonical || point == [0; 32] || point == one || point == minus_one || ORDER_8.contains(&point)
}

/// Decodes a text that must be exactly as long as `out`.
fn exactly(text: &str, out: &mut [u8]) -> Result<(), KeyProblem> {
    let bytes = base64url::decode(text).map_err(|_| KeyProblem::Malformed)?;
    if bytes.len() != out.len() {
        return Err(KeyProblem::Malformed);
    }
    out.copy_from_slice(&bytes);
    Ok(())
}

/// The member as a string: absent is an answer, another JSON type is not.
fn text<'o>(jwk: &'o Object<'_>, name: &str) -> Result<Option<&'o str>, KeyProblem> {
    match jwk.get(name) {
        None => Ok(None),
        Some(value) => value.as_text().map(Some).ok_or(KeyProblem::Malformed),
    }
}

fn required<'o>(jwk: &'o Object<'_>, name: &str) -> Result<&'o str, KeyProblem> {
    text(jwk, name)?.ok_or(KeyProblem::Malformed)
}
