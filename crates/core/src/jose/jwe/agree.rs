//! Agreeing on a key: ECDH-ES with the Concat KDF (RFC 7518 §4.6, RFC 8037 §3.2).

use aws_lc_rs::agreement::{self, Algorithm, ParsedPublicKey, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::kdf::{self, SskdfDigestAlgorithmId};
use zeroize::Zeroizing;

use super::Error;
use crate::jose::jwk::{EcCurve, OkpCurve, PublicKey};
use crate::random::SecureRandom;

/// How often a private scalar is drawn before we give up. One draw fails for P-256 once in 2^32, and for the others
/// less often: a second failure is a source of randomness that gives none.
const DRAWS: usize = 8;

/// The primitive for a key's curve; `None` for a key that agrees on nothing here.
pub(in crate::jose) fn primitive(key: &PublicKey) -> Option<&'static Algorithm> {
    match key {
        PublicKey::Ec { curve, .. } => match curve {
            EcCurve::P256 => Some(&agreement::ECDH_P256),
            EcCurve::P384 => Some(&agreement::ECDH_P384),
            EcCurve::P521 => None,
        },
        PublicKey::Okp { curve, .. } => match curve {
            OkpCurve::X25519 => Some(&agreement::X25519),
            OkpCurve::Ed25519 => None,
        },
        PublicKey::Rsa { .. } | PublicKey::Akp { .. } => None,
    }
}

/// The key in the form of the library, which checks once more that a point is on its curve.
pub(in crate::jose) fn parsed(key: &PublicKey) -> Option<ParsedPublicKey> {
    let bytes = key.uncompressed().or_else(|| key.raw())?;
    UnparsedPublicKey::new(primitive(key)?, bytes).try_into().ok()
}

/// A private key from the given randomness.
pub(in crate::jose) fn draw(
    algorithm: &'static Algorithm,
    random: &dyn SecureRandom,
) -> Result<PrivateKey, Error> {
    let length = if *algorithm == agreement::ECDH_P384 {
        48
    } else {
        32
    };
    let mut scalar = Zeroizing::new(vec![0; length]);
    for _ in 0..DRAWS {
        random.fill(&mut scalar)?;
        // Refused are zero and what is not below the order of the group (FIPS 186-5 §A.2.2). X25519 takes everything.
        if let Ok(key) = PrivateKey::from_private_key(algorithm, &scalar) {
            return Ok(key);
        }
    }
    Err(Error::Primitive("make a key out of the randomness it was given"))
}

/// The public half.
pub(in crate::jose) fn public_half(key: &PrivateKey) -> Option<PublicKey> {
    let bytes = key.compute_public_key().ok()?;
    let bytes = bytes.as_ref();
    let algorithm = key.algorithm();
    if *algorithm == agreement::ECDH_P256 {
        PublicKey::from_uncompressed(EcCurve::P256, bytes)
    } else if *algorithm == agreement::ECDH_P384 {
        PublicKey::from_uncompressed(EcCurve::P384, bytes)
    } else if *algorithm == agreement::X25519 {
        PublicKey::from_raw(OkpCurve::X25519, bytes)
    } else {
        None
    }
}

/// The raw shared secret Z; `None` when the keys are of two curves, the peer is not on it, or for X25519 when the
/// result is all zero, since then the peer chose a point of small order (RFC 7748 §6.1).
pub(in crate::jose) fn shared_secret(key: &PrivateKey, peer: ParsedPublicKey) -> Option<Zeroizing<Vec<u8>>> {
    let secret = agreement::agree(key, peer, (), |z| Ok(Zeroizing::new(z.to_vec()))).ok()?;
    let zero = secret.iter().fold(0, |seen, byte| seen | byte) == 0;
    (!zero).then_some(secret)
}

/// The Concat KDF with SHA-256 (RFC 7518 §4.6.2, NIST SP 800-56A §5.8.1).
pub(super) fn concat_kdf(
    z: &[u8],
    algorithm_id: &str,
    (apu, apv): (&[u8], &[u8]),
    bytes: usize,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    const FAILED: Error = Error::Primitive("derive a key");
    let mut info = Vec::with_capacity(16 + algorithm_id.len() + apu.len() + apv.len());
    for field in [algorithm_id.as_bytes(), apu, apv] {
        let length = u32::try_from(field.len()).map_err(|_| FAILED)?;
        info.extend_from_slice(&length.to_be_bytes());
        info.extend_from_slice(field);
    }
    // SuppPubInfo: the length of the key in bits. SuppPrivInfo is empty.
    let bits = u32::try_from(bytes * 8).map_err(|_| FAILED)?;
    info.extend_from_slice(&bits.to_be_bytes());
    let digest = kdf::get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256).ok_or(FAILED)?;
    let mut key = Zeroizing::new(vec![0; bytes]);
    kdf::sskdf_digest(digest, z, &info, &mut key).map_err(|_| FAILED)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::base64url;
    use crate::jose::json::Object;
    use crate::jose::jwe::{PayloadOpener as _, Wrapped};
    use crate::jose::jwk::DecryptionKey;

    fn public(jwk: &str) -> PublicKey {
        PublicKey::from_jwk(&Object::parse(jwk.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn rfc_7518_appendix_c() {
        let alice = r#"{"kty":"EC","crv":"P-256","x":"gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0","y":"SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"}"#;
        let bob = r#"{"kty":"EC","crv":"P-256","x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ","y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck","d":"VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw"}"#;
        let bob = DecryptionKey::from_jwk(bob.as_bytes()).unwrap();
        let z = bob.recover(Wrapped::Agreed { peer: &public(alice) }).unwrap();
        assert_eq!(
            base64url::encode(&*z),
            "nlbZHYFxNdNyg0KDv4QmnPsxbqPagGpI9tqneYz-kMQ"
        );
        let key = concat_kdf(&z, "A128GCM", (b"Alice", b"Bob"), 16).unwrap();
        assert_eq!(base64url::encode(&*key), "VqqN6vgjbSBcIijNcacQGg");
        // each field has its length before it, so none runs into the next
        for other in [
            concat_kdf(&z, "A128GCMA", (b"lice", b"Bob"), 16),
            concat_kdf(&z, "A128GCM", (b"AliceB", b"ob"), 16),
            concat_kdf(&z, "A128GCM", (b"", b""), 16),
            concat_kdf(&z, "A256GCM", (b"Alice", b"Bob"), 16),
        ] {
            assert_ne!(*other.unwrap(), *key);
        }
        // and the length of the key is one of them
        assert_ne!(
            concat_kdf(&z, "A128GCM", (b"Alice", b"Bob"), 32).unwrap()[..16],
            key[..]
        );
    }

    #[test]
    fn rfc_8037_appendix_a_6() {
        let alice =
            public(r#"{"kty":"OKP","crv":"X25519","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}"#);
        let bob = r#"{"kty":"OKP","kid":"Bob","crv":"X25519","x":"3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08","d":"XasIfmJKikt54X-Lg4AO5m87sSkmGLb9HC-LJ_-I4Os"}"#;
        let bob = DecryptionKey::from_jwk(bob.as_bytes()).unwrap();
        let z = bob.recover(Wrapped::Agreed { peer: &alice }).unwrap();
        let expected = [
            0x4a, 0x5d, 0x9d, 0x5b, 0xa4, 0xce, 0x2d, 0xe1, 0x72, 0x8e, 0x3b, 0xf4, 0x80, 0x35, 0x0f, 0x25,
            0xe0, 0x7e, 0x21, 0xc9, 0x47, 0xd1, 0x9e, 0x33, 0x76, 0xf0, 0x9b, 0x3c, 0x1e, 0x16, 0x17, 0x42,
        ];
        assert_eq!(*z, expected);
    }
}
