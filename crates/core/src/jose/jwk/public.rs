//! Public keys: what a JWK, a certificate or an uncompressed point says, checked once.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ParsedPublicKey};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::members::{holds_private_material, required, required_bytes};
use super::{KeyProblem, Thumbprint, roca};
use crate::jose::json::Object;
use crate::jose::{SignatureAlgorithm, base64url};

/// Smallest RSA modulus, in bits (RFC 7518 §3.3).
const RSA_BITS_MIN: usize = 2048;
/// Largest RSA modulus, in bits: a verification costs the square of it.
const RSA_BITS_MAX: usize = 8192;
/// Smallest RSA exponent (FIPS 186-5 §5.4): with a smaller one, whatever a verifier overlooks in the padding is a forgery.
const RSA_EXPONENT_MIN: u32 = 65_537;
/// Longest RSA exponent, in bytes. Everyone uses 65537; a long one makes verification slow.
const RSA_EXPONENT_BYTES: usize = 4;
/// Length of an Ed25519 or X25519 public key (RFC 8037 §2).
const OKP_BYTES: usize = 32;
/// Length of an ML-DSA-65 public key (FIPS 204, table 2).
const ML_DSA_65_BYTES: usize = 1952;

/// A curve of NIST (RFC 7518 §6.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EcCurve {
    /// P-256.
    P256,
    /// P-384.
    P384,
    /// P-521.
    P521,
}

impl EcCurve {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// The curve of this registered name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }

    /// Length of a coordinate or a private scalar, in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// What comes before the uncompressed point in a `SubjectPublicKeyInfo` (RFC 5480 §2).
    const fn spki(self) -> &'static [u8] {
        match self {
            Self::P256 => &[
                0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
                0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
            ],
            Self::P384 => &[
                0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
                0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
            ],
            Self::P521 => &[
                0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                0x05, 0x2b, 0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
            ],
        }
    }

    const fn verification(self) -> &'static signature::EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// A curve of RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OkpCurve {
    /// Signs.
    Ed25519,
    /// Agrees on keys.
    X25519,
}

impl OkpCurve {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ed25519, Self::X25519];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::X25519 => "X25519",
        }
    }

    /// The curve of this registered name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }

    /// What comes before the key in a `SubjectPublicKeyInfo` (RFC 8410 §4).
    const fn spki(self) -> &'static [u8] {
        match self {
            Self::Ed25519 => &[
                0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
            ],
            Self::X25519 => &[
                0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00,
            ],
        }
    }
}

/// What comes before an ML-DSA-65 key in a `SubjectPublicKeyInfo` (RFC 9881 §4).
const ML_DSA_65_SPKI: &[u8] = &[
    0x30, 0x82, 0x07, 0xb2, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12,
    0x03, 0x82, 0x07, 0xa1, 0x00,
];

/// A public key, whatever it is for. Every one of them was checked: a point is on its curve and has no small order,
/// an RSA modulus has 2048 to 8192 bits and not the fingerprint of primes that can be guessed (CVE-2017-15361), and each
/// text is the one spelling of its bytes (RFC 7515 §2).
///
/// Outside of this crate it can be looked into and not be put together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// A point of a NIST curve (RFC 7518 §6.2.1).
    #[non_exhaustive]
    Ec {
        /// `crv`
        curve: EcCurve,
        /// `x`, as long as the field.
        x: String,
        /// `y`, as long as the field.
        y: String,
    },
    /// An octet key pair's public half (RFC 8037 §2).
    #[non_exhaustive]
    Okp {
        /// `crv`
        curve: OkpCurve,
        /// `x`, 32 bytes.
        x: String,
    },
    /// RSA (RFC 7518 §6.3.1).
    #[non_exhaustive]
    Rsa {
        /// `n`, without leading zeros.
        n: String,
        /// `e`, without leading zeros.
        e: String,
    },
    /// An algorithm key pair's public half (RFC 9964 §3): its type is its algorithm.
    #[non_exhaustive]
    Akp {
        /// `alg`
        algorithm: SignatureAlgorithm,
        /// `pub`
        public: String,
    },
}

impl PublicKey {
    /// Reads the members of a JWK that are the key itself (RFC 7517 §4.1), and no other member.
    ///
    /// # Errors
    /// [`KeyProblem`].
    pub fn from_jwk(jwk: &Object<'_>) -> Result<Self, KeyProblem> {
        if holds_private_material(jwk) {
            return Err(KeyProblem::Private);
        }
        Self::public_half(jwk)
    }

    /// As [`Self::from_jwk`], also of a private JWK.
    pub(super) fn public_half(jwk: &Object<'_>) -> Result<Self, KeyProblem> {
        match required(jwk, "kty")? {
            "EC" => {
                let curve = EcCurve::from_name(required(jwk, "crv")?).ok_or(KeyProblem::Unsupported)?;
                Self::ec(curve, &required_bytes(jwk, "x")?, &required_bytes(jwk, "y")?)
            }
            "OKP" => {
                let curve = OkpCurve::from_name(required(jwk, "crv")?).ok_or(KeyProblem::Unsupported)?;
                Self::okp(curve, &required_bytes(jwk, "x")?)
            }
            "RSA" => Self::rsa(&required_bytes(jwk, "n")?, &required_bytes(jwk, "e")?),
            "AKP" => {
                // RFC 9964 §3: `alg` is REQUIRED; it is what other types call the curve.
                let algorithm = SignatureAlgorithm::from_name(required(jwk, "alg")?);
                Self::akp(
                    algorithm.ok_or(KeyProblem::Unsupported)?,
                    &required_bytes(jwk, "pub")?,
                )
            }
            _ => Err(KeyProblem::Unsupported),
        }
    }

    /// From a `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7), as in a certificate. `None` for a key that is none of ours,
    /// and for another encoding than the one that DER allows.
    #[must_use]
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        for curve in EcCurve::ALL {
            if let Some(point) = der.strip_prefix(curve.spki()) {
                return Self::from_uncompressed(curve, point);
            }
        }
        for curve in OkpCurve::ALL {
            if let Some(key) = der.strip_prefix(curve.spki()) {
                return Self::okp(curve, key).ok();
            }
        }
        if let Some(key) = der.strip_prefix(ML_DSA_65_SPKI) {
            return Self::akp(SignatureAlgorithm::MlDsa65, key).ok();
        }
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let Ok(x509_parser::public_key::PublicKey::RSA(numbers)) = info.parsed() else {
            return None;
        };
        // DER puts a zero before a number whose first bit is set.
        let unsigned = |number: &'_ [u8]| number.strip_prefix(&[0]).unwrap_or(number).to_vec();
        let key = Self::rsa(&unsigned(numbers.modulus), &unsigned(numbers.exponent)).ok()?;
        (key.to_spki() == der).then_some(key)
    }

    /// The `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        match self {
            Self::Ec { curve, x, y } => [curve.spki(), &[4], &bytes(x), &bytes(y)].concat(),
            Self::Okp { curve, x } => [curve.spki(), &bytes(x)].concat(),
            Self::Akp { public, .. } => [ML_DSA_65_SPKI, &bytes(public)].concat(),
            Self::Rsa { n, e } => {
                let numbers = PublicKeyComponents {
                    n: bytes(n),
                    e: bytes(e),
                };
                // Fails only for numbers that are no key, and this one was checked.
                numbers
                    .as_der()
                    .map(|der| der.as_ref().to_vec())
                    .unwrap_or_default()
            }
        }
    }

    /// From the uncompressed form of a point (SEC 1 §2.3.3): `04 ‖ x ‖ y`. `None` when it is not a point of the curve.
    #[must_use]
    pub fn from_uncompressed(curve: EcCurve, point: &[u8]) -> Option<Self> {
        let (&form, coordinates) = point.split_first()?;
        if form != 4 || coordinates.len() != 2 * curve.bytes() {
            return None;
        }
        let (x, y) = coordinates.split_at_checked(curve.bytes())?;
        Self::ec(curve, x, y).ok()
    }

    /// The uncompressed form of a point (SEC 1 §2.3.3); `None` for a key that is none.
    #[must_use]
    pub fn uncompressed(&self) -> Option<Vec<u8>> {
        match self {
            Self::Ec { x, y, .. } => Some([&[4][..], &bytes(x), &bytes(y)].concat()),
            Self::Okp { .. } | Self::Rsa { .. } | Self::Akp { .. } => None,
        }
    }

    /// From the 32 bytes of an Ed25519 or X25519 key (RFC 8037 §2). `None` for another length, a point
    /// of small order, and another spelling of a point than its one.
    #[must_use]
    pub fn from_raw(curve: OkpCurve, key: &[u8]) -> Option<Self> {
        Self::okp(curve, key).ok()
    }

    /// The bytes of an Ed25519, X25519 or ML-DSA key; `None` for a key that is more than one number.
    #[must_use]
    pub fn raw(&self) -> Option<Vec<u8>> {
        match self {
            Self::Okp { x: raw, .. } | Self::Akp { public: raw, .. } => Some(bytes(raw)),
            Self::Ec { .. } | Self::Rsa { .. } => None,
        }
    }

    /// From the two numbers of an RSA key, big-endian, leading zeros or not. `None` when out of range.
    #[must_use]
    pub fn from_numbers(n: &[u8], e: &[u8]) -> Option<Self> {
        fn trimmed(number: &[u8]) -> &[u8] {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number.get(zeros..).unwrap_or_default()
        }
        Self::rsa(trimmed(n), trimmed(e)).ok()
    }

    /// The members that are the key itself, in the order of their names: those that RFC 7638 §3.2, RFC 8037 §2 and
    /// RFC 9964 §6 take the thumbprint over.
    #[must_use]
    pub fn members(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Ec { curve, x, y } => vec![("crv", curve.name()), ("kty", "EC"), ("x", x), ("y", y)],
            Self::Okp { curve, x } => vec![("crv", curve.name()), ("kty", "OKP"), ("x", x)],
            Self::Rsa { n, e } => vec![("e", e), ("kty", "RSA"), ("n", n)],
            Self::Akp { algorithm, public } => {
                vec![("alg", algorithm.name()), ("kty", "AKP"), ("pub", public)]
            }
        }
    }

    /// The RFC 7638 thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::over(&self.members())
    }

    /// The signature algorithm of a key whose JWK names none; `None` for a key that cannot sign.
    ///
    /// An RSA key could be for six. It is for RS256: that is the one every OpenID provider must offer (OpenID Connect
    /// Core §15.1) and the one the keys without `alg` in the field sign with, and a key that took whichever of the six
    /// a token names would let the token choose. Whoever signs with another says so in `alg`.
    #[must_use]
    pub const fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        match self {
            Self::Ec { curve, .. } => Some(match curve {
                EcCurve::P256 => SignatureAlgorithm::Es256,
                EcCurve::P384 => SignatureAlgorithm::Es384,
                EcCurve::P521 => SignatureAlgorithm::Es512,
            }),
            Self::Okp { curve, .. } => match curve {
                OkpCurve::Ed25519 => Some(SignatureAlgorithm::EdDsa),
                OkpCurve::X25519 => None,
            },
            Self::Rsa { .. } => Some(SignatureAlgorithm::Rs256),
            Self::Akp { algorithm, .. } => Some(*algorithm),
        }
    }

    /// Whether a key of this type can be for this signature algorithm.
    #[must_use]
    pub fn fits(&self, algorithm: SignatureAlgorithm) -> bool {
        use SignatureAlgorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Self::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Self::Ec { .. } | Self::Okp { .. } | Self::Akp { .. } => {
                self.signature_algorithm() == Some(algorithm)
            }
        }
    }

    fn ec(curve: EcCurve, x: &[u8], y: &[u8]) -> Result<Self, KeyProblem> {
        // RFC 7518 §6.2.1.2: coordinates are exactly as long as the field.
        if x.len() != curve.bytes() || y.len() != curve.bytes() {
            return Err(KeyProblem::Malformed);
        }
        // The library checks that the point is on the curve and not at infinity.
        let point = [&[4], x, y].concat();
        ParsedPublicKey::new(curve.verification(), point).map_err(|_| KeyProblem::Unacceptable)?;
        Ok(Self::Ec {
            curve,
            x: base64url::encode(x),
            y: base64url::encode(y),
        })
    }

    fn okp(curve: OkpCurve, key: &[u8]) -> Result<Self, KeyProblem> {
        let point: [u8; OKP_BYTES] = key.try_into().map_err(|_| KeyProblem::Malformed)?;
        let weak = match curve {
            OkpCurve::Ed25519 => {
                is_weak_ed25519(point) || ParsedPublicKey::new(&signature::ED25519, point).is_err()
            }
            OkpCurve::X25519 => is_weak_x25519(point),
        };
        if weak {
            return Err(KeyProblem::Unacceptable);
        }
        Ok(Self::Okp {
            curve,
            x: base64url::encode(key),
        })
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyProblem> {
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
        let exponent = e.iter().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits)
            || n_last % 2 == 0
            || e_last % 2 == 0
            || e.len() > RSA_EXPONENT_BYTES
            || exponent < RSA_EXPONENT_MIN
            || roca::has_fingerprint(n)
        {
            return Err(KeyProblem::Unacceptable);
        }
        PublicKeyComponents { n, e }
            .to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256)
            .map_err(|_| KeyProblem::Unacceptable)?;
        Ok(Self::Rsa {
            n: base64url::encode(n),
            e: base64url::encode(e),
        })
    }

    fn akp(algorithm: SignatureAlgorithm, key: &[u8]) -> Result<Self, KeyProblem> {
        if algorithm != SignatureAlgorithm::MlDsa65 {
            return Err(KeyProblem::AlgorithmMismatch);
        }
        if key.len() != ML_DSA_65_BYTES {
            return Err(KeyProblem::Malformed);
        }
        ParsedPublicKey::new(&signature::ML_DSA_65, key).map_err(|_| KeyProblem::Unacceptable)?;
        Ok(Self::Akp {
            algorithm,
            public: base64url::encode(key),
        })
    }
}

/// The bytes of a text that was made from bytes.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    base64url::decode(text).unwrap_or_default()
}

/// p = 2^255 - 19, the field of both curves, in little-endian.
const P: [u8; 32] = [
    0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
];

/// 0, 1 and p - 1: coordinates of points of small order on both curves.
fn is_trivial(coordinate: [u8; 32]) -> bool {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = P;
    minus_one[0] = 0xec;
    coordinate == [0; 32] || coordinate == one || coordinate == minus_one
}

/// Whether the point is one of small order, with which every agreement gives zero (RFC 7748 §6.1), or spelt in another way
/// than its one form: RFC 7748 §5 has readers take u ≥ p and a set top bit, and then one key has several thumbprints.
fn is_weak_x25519(point: [u8; 32]) -> bool {
    // The u coordinates of the points of order 8.
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
            0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
            0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ],
    ];
    // The top bit is the highest of the number, so that a set one is not below p.
    let non_canonical = point.iter().rev().ge(P.iter().rev());
    non_canonical || is_trivial(point) || ORDER_8.contains(&point)
}

/// Whether the point is one of small order, or spelt in a way that RFC 8032 §5.1.3 does not allow (y ≥ p). Under a
/// key of small order one signature holds for many messages, and the crypto library accepts such keys.
fn is_weak_ed25519(mut point: [u8; 32]) -> bool {
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
    let non_canonical = point.iter().rev().ge(P.iter().rev());
    non_canonical || is_trivial(point) || ORDER_8.contains(&point)
}
