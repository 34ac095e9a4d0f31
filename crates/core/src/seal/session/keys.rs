//! Key agreement and derivation.

use aws_lc_rs::aead::{self, LessSafeKey, UnboundKey};
use aws_lc_rs::{agreement, constant_time, digest, hkdf};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use super::super::binding::Direction;
use super::super::envelope::{Claims, exactly, text};
use super::super::error::Error;
use crate::jose::base64url;
use crate::random::SecureRandom;

/// The cipher of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cipher {
    /// AES-256-GCM (NIST SP 800-38D).
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439).
    ChaCha20Poly1305,
}

impl Cipher {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// The name in the handshake.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "A256GCM",
            Self::ChaCha20Poly1305 => "C20P",
        }
    }

    /// The cipher of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.name() == name)
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }
}

/// The curve of a session's key agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Curve {
    /// X25519 (RFC 7748).
    X25519,
    /// ECDH on P-256 (NIST SP 800-56A).
    P256,
}

impl Curve {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X25519, Self::P256];

    /// The registered name of the curve (RFC 7518 §6.2.1.1, RFC 8037 §2).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X25519 => "X25519",
            Self::P256 => "P-256",
        }
    }

    /// The curve of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }

    fn algorithm(self) -> &'static agreement::Algorithm {
        match self {
            Self::X25519 => &agreement::X25519,
            Self::P256 => &agreement::ECDH_P256,
        }
    }
}

/// An ephemeral private key. Spent by the one agreement it is for.
pub(super) struct Ephemeral {
    curve: Curve,
    private: agreement::PrivateKey,
}

impl Ephemeral {
    pub(super) fn new(curve: Curve, random: &dyn SecureRandom) -> Result<Self, Error> {
        // A random text is no scalar of P-256 once in 2^32, so this loop all but never turns.
        for _ in 0..8 {
            let mut bytes = Zeroizing::new([0; 32]);
            random.fill(bytes.as_mut())?;
            if let Ok(private) = agreement::PrivateKey::from_private_key(curve.algorithm(), bytes.as_ref()) {
                return Ok(Self { curve, private });
            }
        }
        Err(Error::Bug)
    }

    pub(super) fn curve(&self) -> Curve {
        self.curve
    }

    /// The public half as a JWK.
    pub(super) fn public(&self) -> Result<Json, Error> {
        let public = self.private.compute_public_key().map_err(|_| Error::Bug)?;
        let bytes = public.as_ref();
        match self.curve {
            Curve::X25519 => Ok(json!({ "crv": "X25519", "kty": "OKP", "x": base64url::encode(bytes) })),
            Curve::P256 => {
                // SEC 1 §2.3.3: 04 ‖ x ‖ y
                let (_, point) = bytes.split_first().ok_or(Error::Bug)?;
                let (x, y) = point.split_at_checked(32).ok_or(Error::Bug)?;
                Ok(json!({
                    "crv": "P-256", "kty": "EC", "x": base64url::encode(x), "y": base64url::encode(y)
                }))
            }
        }
    }

    /// The shared secret. A point that is not on the curve and an all-zero result are refused (RFC 7748 §6.1).
    pub(super) fn agree(self, peer: &PeerKey) -> Result<Zeroizing<[u8; 32]>, Error> {
        if peer.curve != self.curve {
            return Err(Error::NothingInCommon);
        }
        let peer = agreement::UnparsedPublicKey::new(self.curve.algorithm(), &peer.bytes);
        agreement::agree(&self.private, peer, Error::EphemeralKey, |secret| {
            let mut shared = Zeroizing::new([0; 32]);
            if secret.len() != shared.len() {
                return Err(Error::Bug);
            }
            shared.copy_from_slice(secret);
            if constant_time::verify_slices_are_equal(shared.as_ref(), &[0; 32]).is_ok() {
                return Err(Error::EphemeralKey);
            }
            Ok(shared)
        })
    }
}

/// The other side's ephemeral key.
pub(super) struct PeerKey {
    curve: Curve,
    bytes: Vec<u8>,
}

impl PeerKey {
    /// Reads exactly the public members of the one kind of key.
    pub(super) fn parse(jwk: &Claims) -> Result<Self, Error> {
        let curve = Curve::from_name(text(jwk, "crv")?).ok_or(Error::NothingInCommon)?;
        let coordinate = |name: &str| -> Result<Vec<u8>, Error> {
            let bytes = base64url::decode(text(jwk, name)?).map_err(|_| Error::Claims)?;
            if bytes.len() == 32 {
                Ok(bytes)
            } else {
                Err(Error::EphemeralKey)
            }
        };
        let (kty, bytes) = match curve {
            Curve::X25519 => {
                exactly(jwk, &["kty", "crv", "x"], &[])?;
                ("OKP", coordinate("x")?)
            }
            Curve::P256 => {
                exactly(jwk, &["kty", "crv", "x", "y"], &[])?;
                let mut point = vec![4];
                point.extend(coordinate("x")?);
                point.extend(coordinate("y")?);
                ("EC", point)
            }
        };
        if text(jwk, "kty")? != kty {
            return Err(Error::Claims);
        }
        Ok(Self { curve, bytes })
    }

    pub(super) fn curve(&self) -> Curve {
        self.curve
    }
}

/// The two keys of a session.
pub(super) struct Keys {
    pub(super) arguments: LessSafeKey,
    pub(super) result: LessSafeKey,
}

/// HKDF-SHA256 (RFC 5869): the salt is the hash of both signed messages, so two sides that saw different messages
/// have different keys, and neither cipher nor curve can be changed on the way.
pub(super) fn derive(shared: &[u8; 32], offer: &str, answer: &str, cipher: Cipher) -> Result<Keys, Error> {
    let mut transcript = digest::Context::new(&digest::SHA256);
    transcript.update(offer.as_bytes());
    // Not a character of a compact JWS: it is plain where the first ends.
    transcript.update(b"\n");
    transcript.update(answer.as_bytes());
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, transcript.finish().as_ref());
    let prk = salt.extract(shared);
    let key = |direction: Direction| -> Result<LessSafeKey, Error> {
        let info = label(cipher, direction);
        let mut bytes = Zeroizing::new([0; 32]);
        prk.expand(&[info.as_bytes()], cipher.algorithm())
            .and_then(|okm| okm.fill(bytes.as_mut()))
            .map_err(|_| Error::Bug)?;
        let key = UnboundKey::new(cipher.algorithm(), bytes.as_ref()).map_err(|_| Error::Bug)?;
        Ok(LessSafeKey::new(key))
    };
    Ok(Keys {
        arguments: key(Direction::Arguments)?,
        result: key(Direction::Result)?,
    })
}

fn label(cipher: Cipher, direction: Direction) -> String {
    format!(
        "dev.portcullis/sealed-fields s1 {} {}",
        cipher.name(),
        direction.as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::RandomUnavailable;

    struct Fixed(u8);

    impl SecureRandom for Fixed {
        fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
            out.fill(self.0);
            Ok(())
        }
    }

    fn peer(jwk: &Json) -> Result<PeerKey, Error> {
        PeerKey::parse(jwk.as_object().unwrap())
    }

    #[test]
    fn both_sides_have_one_secret() {
        for curve in Curve::ALL {
            let (one, two) = (
                Ephemeral::new(curve, &Fixed(1)).unwrap(),
                Ephemeral::new(curve, &Fixed(2)).unwrap(),
            );
            let (of_one, of_two) = (
                peer(&one.public().unwrap()).unwrap(),
                peer(&two.public().unwrap()).unwrap(),
            );
            assert_eq!(one.agree(&of_two).unwrap(), two.agree(&of_one).unwrap());
        }
    }

    #[test]
    fn points_of_small_order_and_off_the_curve_are_refused() {
        let zero = [0; 32];
        let mut one = zero;
        one[0] = 1;
        let order_8 = [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
            0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ];
        for point in [zero, one, order_8] {
            let peer =
                peer(&json!({ "kty": "OKP", "crv": "X25519", "x": base64url::encode(point) })).unwrap();
            let ours = Ephemeral::new(Curve::X25519, &Fixed(1)).unwrap();
            assert_eq!(ours.agree(&peer).unwrap_err(), Error::EphemeralKey, "{point:?}");
        }
        let x = base64url::encode([1; 32]);
        let peer = peer(&json!({ "kty": "EC", "crv": "P-256", "x": x, "y": x })).unwrap();
        let ours = Ephemeral::new(Curve::P256, &Fixed(1)).unwrap();
        assert_eq!(ours.agree(&peer).unwrap_err(), Error::EphemeralKey);
    }

    #[test]
    fn an_ephemeral_key_has_its_public_members_and_no_others() {
        let x = base64url::encode([9; 32]);
        for (jwk, verdict) in [
            (
                json!({ "kty": "OKP", "crv": "X25519", "x": x, "d": x }),
                Error::Claims,
            ),
            (
                json!({ "kty": "OKP", "crv": "X25519", "x": x, "y": x }),
                Error::Claims,
            ),
            (json!({ "kty": "OKP", "crv": "X25519" }), Error::Claims),
            (json!({ "kty": "EC", "crv": "X25519", "x": x }), Error::Claims),
            (json!({ "kty": "EC", "crv": "P-256", "x": x }), Error::Claims),
            (
                json!({ "kty": "OKP", "crv": "X448", "x": x }),
                Error::NothingInCommon,
            ),
            (
                json!({ "kty": "OKP", "crv": "X25519", "x": "AAAA" }),
                Error::EphemeralKey,
            ),
            (
                json!({ "kty": "OKP", "crv": "X25519", "x": format!("{x}=") }),
                Error::Claims,
            ),
        ] {
            assert_eq!(peer(&jwk).err(), Some(verdict), "{jwk}");
        }
    }

    #[test]
    fn keys_depend_on_secret_messages_cipher_and_direction() {
        let sealed = |keys: &LessSafeKey| {
            let mut out = b"x".to_vec();
            let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
            keys.seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut out)
                .unwrap();
            out
        };
        let mut all = std::collections::BTreeSet::new();
        for (shared, offer, answer) in [
            ([1; 32], "a", "b"),
            ([2; 32], "a", "b"),
            ([1; 32], "c", "b"),
            ([1; 32], "a", "c"),
        ] {
            for cipher in Cipher::ALL {
                let keys = derive(&shared, offer, answer, cipher).unwrap();
                all.insert(sealed(&keys.arguments));
                all.insert(sealed(&keys.result));
            }
        }
        assert_eq!(all.len(), 16);
    }
}
