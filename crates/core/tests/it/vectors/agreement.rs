//! What a private encryption key does: agree on a secret, or take a key out of RSA.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, X25519};
use portcullis_core::ids::KeyId;
use portcullis_core::jose::base64url;
use portcullis_core::jose::json::Object;
use portcullis_core::jose::jwe::{KeyManagement, PayloadOpener as _, Wrapped};
use portcullis_core::jose::jwk::{DecryptionKey, EcCurve, OkpCurve, PublicKey};
use serde_json::{Value, json};

use super::verdict::{Cases, Expected, Outcome};
use super::{hex, integer, reader, wycheproof, wycheproof_expecting};

/// Both keys as JWKs.
pub(super) fn jwks(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |_, test| {
        agreed(&test["private"], read(&test["public"]), &test["shared"])
    });
}

/// The peer's key as a point.
pub(super) fn points(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |_, test| {
        let d = integer(&test["private"]);
        let d = [vec![0; 32 - d.len()], d].concat();
        let public = PrivateKey::from_private_key(&ECDH_P256, &d)
            .unwrap()
            .compute_public_key()
            .unwrap();
        let (x, y) = public.as_ref()[1..].split_at(32);
        let private = json!({
            "kty": "EC", "crv": "P-256",
            "d": base64url::encode(&d), "x": base64url::encode(x), "y": base64url::encode(y),
        });
        let peer = PublicKey::from_uncompressed(EcCurve::P256, &hex(&test["public"]));
        agreed(
            &private,
            peer.ok_or_else(|| Outcome::refused("no point")),
            &test["shared"],
        )
    });
}

/// RFC 7748 §6.1 and RFC 8037 §3.2.1: a secret of zeros is refused. A point of the twist gives a secret like any other, and
/// by RFC 7748 §5 so does one that is not spelt in its one way, which we refuse (`exceptions.toml`).
pub(super) fn x25519(text: &[u8], cases: &mut Cases) {
    wycheproof_expecting(text, cases, |_, test| {
        let (d, x) = (hex(&test["private"]), hex(&test["public"]));
        let peer = PublicKey::from_raw(OkpCurve::X25519, &x).ok_or_else(|| Outcome::refused("no point"));
        (not_of_zeros(test), agreed(&x25519_jwk(&d), peer, &test["shared"]))
    });
}

pub(super) fn x25519_jwks(text: &[u8], cases: &mut Cases) {
    wycheproof_expecting(text, cases, |_, test| {
        let outcome = agreed(&test["private"], read(&test["public"]), &test["shared"]);
        (not_of_zeros(test), outcome)
    });
}

fn not_of_zeros(test: &Value) -> Expected {
    let zeros = test["shared"]
        .as_str()
        .unwrap()
        .bytes()
        .all(|digit| digit == b'0');
    if test["result"] == "invalid" || zeros {
        Expected::Fails
    } else {
        Expected::Holds
    }
}

fn x25519_jwk(d: &[u8]) -> Value {
    let public = PrivateKey::from_private_key(&X25519, d)
        .unwrap()
        .compute_public_key()
        .unwrap();
    json!({ "kty": "OKP", "crv": "X25519", "d": base64url::encode(d), "x": base64url::encode(public) })
}

fn read(jwk: &Value) -> Result<PublicKey, Outcome> {
    let text = jwk.to_string();
    PublicKey::from_jwk(&Object::parse(text.as_bytes()).unwrap()).map_err(reader::key_problem)
}

fn agreed(private: &Value, peer: Result<PublicKey, Outcome>, shared: &Value) -> Outcome {
    let peer = match peer {
        Ok(peer) => peer,
        Err(outcome) => return outcome,
    };
    let key = match reader::decryption_key(private, KeyManagement::EcdhEs) {
        Ok(key) => key,
        Err(outcome) => return outcome,
    };
    match key.recover(Wrapped::Agreed { peer: &peer }) {
        Ok(secret) => Outcome::of(*secret == hex(shared), "another secret"),
        Err(error) => Outcome::refused(error),
    }
}

/// RSAES-OAEP with SHA-256 in both places.
pub(super) fn rsa_oaep_256(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| {
        let kid = KeyId::parse("k").unwrap();
        let pkcs8 = hex(&group["privateKeyPkcs8"]);
        let key = DecryptionKey::from_pkcs8(kid, KeyManagement::RsaOaep256, &pkcs8).unwrap();
        let encrypted_key = hex(&test["ct"]);
        match key.recover(Wrapped::RsaOaep256 {
            encrypted_key: &encrypted_key,
        }) {
            Ok(message) => Outcome::of(*message == hex(&test["msg"]), "another message"),
            Err(error) => Outcome::refused(error),
        }
    });
}

/// The other RSA encryptions, under the names that JOSE has for them.
pub(super) fn rsa_not_offered(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| {
        let alg = match group["sha"].as_str() {
            None => "RSA1_5",
            Some("SHA-1") => "RSA-OAEP",
            Some("SHA-384") => "RSA-OAEP-384",
            Some("SHA-512") => "RSA-OAEP-512",
            Some(other) => panic!("{other}"),
        };
        let header = json!({ "alg": alg, "enc": "A256GCM" });
        let token = reader::compact(&header, &hex(&test["ct"]), &[0; 12], b"text", &[0; 16]);
        reader::jwe(&token.into(), &group["privateKeyJwk"], None)
    });
}
