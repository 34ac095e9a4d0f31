//! Content encryption, key wrapping, key derivation and MACs of Wycheproof.
//!
//! What JOSE uses of them goes through our JWE reader where the case can be written as one; the primitives that we call
//! run straight; and what we do not offer is put to our reader under its JOSE name, to be refused for that.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap as _};
use aws_lc_rs::{hkdf as library_hkdf, hmac as library_hmac};
use portcullis_core::jose::base64url;
use serde_json::{Value, json};

use super::verdict::{Cases, Outcome};
use super::{hex, reader, wycheproof};

/// AES-CBC with HMAC (RFC 7518 §5.2), which is not offered.
pub(super) fn composed(text: &[u8], cases: &mut Cases) {
    let file: Value = serde_json::from_slice(text).unwrap();
    let name = file["algorithm"].as_str().unwrap().to_owned();
    wycheproof(text, cases, |_, test| direct(&name, test));
}

/// Has a name in a draft only.
pub(super) fn xchacha20_poly1305(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |_, test| direct("XC20P", test));
}

/// The case as a message under a shared key. Its additional data has no place in one: a message authenticates its header.
fn direct(enc: &str, test: &Value) -> Outcome {
    let header = json!({ "alg": "dir", "enc": enc });
    let token = reader::compact(
        &header,
        &[],
        &hex(&test["iv"]),
        &hex(&test["ct"]),
        &hex(&test["tag"]),
    );
    reader::shared(&token, &hex(&test["key"]), &hex(&test["msg"]))
}

pub(super) fn aes_gcm(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| {
        let (enc, algorithm) = match group["keySize"].as_u64().unwrap() {
            128 => ("A128GCM", &AES_128_GCM),
            192 => return direct("A192GCM", test),
            256 => ("A256GCM", &AES_256_GCM),
            other => panic!("{other} bits"),
        };
        // RFC 7518 §5.3: use of an IV of 96 bits is REQUIRED.
        if group["ivSize"] != 96 {
            return direct(enc, test);
        }
        let outcome = opened(algorithm, test);
        if matches!(outcome, Outcome::Held) {
            // The same key, IV and text as a message of ours.
            let header = json!({ "alg": "dir", "enc": enc });
            let key = LessSafeKey::new(UnboundKey::new(algorithm, &hex(&test["key"])).unwrap());
            let nonce = Nonce::try_assume_unique_for_key(&hex(&test["iv"])).unwrap();
            let mut sealed = hex(&test["msg"]);
            let aad = Aad::from(base64url::encode(header.to_string()));
            let tag = key.seal_in_place_separate_tag(nonce, aad, &mut sealed).unwrap();
            let token = reader::compact(&header, &[], &hex(&test["iv"]), &sealed, tag.as_ref());
            return reader::shared(&token, &hex(&test["key"]), &hex(&test["msg"]));
        }
        outcome
    });
}

pub(super) fn chacha20_poly1305(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |_, test| opened(&CHACHA20_POLY1305, test));
}

fn opened(algorithm: &'static Algorithm, test: &Value) -> Outcome {
    let Ok(key) = UnboundKey::new(algorithm, &hex(&test["key"])) else {
        return Outcome::refused("key length");
    };
    let Ok(nonce) = Nonce::try_assume_unique_for_key(&hex(&test["iv"])) else {
        return Outcome::refused("nonce length");
    };
    let mut sealed = [hex(&test["ct"]), hex(&test["tag"])].concat();
    match LessSafeKey::new(key).open_in_place(nonce, Aad::from(hex(&test["aad"])), &mut sealed) {
        Ok(text) => {
            assert_eq!(text, hex(&test["msg"]), "{}", test["tcId"]);
            Outcome::Held
        }
        Err(_) => Outcome::refused("tag"),
    }
}

pub(super) fn aes_wrap(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| {
        let (key, wrapped) = (hex(&test["key"]), hex(&test["ct"]));
        let mut out = vec![0; wrapped.len() + 8];
        let unwrapped = match group["keySize"].as_u64().unwrap() {
            128 => AesKek::new(&AES_128, &key).unwrap().unwrap(&wrapped, &mut out),
            192 => {
                let header = json!({ "alg": "A192KW", "enc": "A256GCM" });
                let token = reader::compact(&header, &wrapped, &[0; 12], b"text", &[0; 16]);
                return reader::shared(&token, &key, b"");
            }
            256 => AesKek::new(&AES_256, &key).unwrap().unwrap(&wrapped, &mut out),
            other => panic!("{other} bits"),
        };
        match unwrapped {
            Ok(unwrapped) => {
                assert_eq!(unwrapped, hex(&test["msg"]), "{}", test["tcId"]);
                Outcome::Held
            }
            Err(_) => Outcome::refused("not wrapped under this key"),
        }
    });
}

struct Length(usize);

impl library_hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

pub(super) fn hkdf(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |_, test| {
        let size = usize::try_from(test["size"].as_u64().unwrap()).unwrap();
        let key = library_hkdf::Salt::new(library_hkdf::HKDF_SHA256, &hex(&test["salt"]))
            .extract(&hex(&test["ikm"]));
        let info = hex(&test["info"]);
        let mut derived = vec![0; size];
        let done = key
            .expand(&[&info], Length(size))
            .and_then(|derived_key| derived_key.fill(&mut derived));
        if done.is_err() {
            return Outcome::refused("too long");
        }
        Outcome::of(derived == hex(&test["okm"]), "another key")
    });
}

/// The primitive under our own MACs. As a token's algorithm it is not offered.
pub(super) fn hmac(text: &[u8], cases: &mut Cases) {
    let file: Value = serde_json::from_slice(text).unwrap();
    let (name, algorithm) = match file["algorithm"].as_str().unwrap() {
        "HMACSHA256" => ("HS256", library_hmac::HMAC_SHA256),
        "HMACSHA384" => ("HS384", library_hmac::HMAC_SHA384),
        "HMACSHA512" => ("HS512", library_hmac::HMAC_SHA512),
        other => panic!("{other}"),
    };
    wycheproof(text, cases, |group, test| {
        let (key, message, tag) = (hex(&test["key"]), hex(&test["msg"]), hex(&test["tag"]));
        let token = [
            base64url::encode(json!({ "alg": name }).to_string()),
            base64url::encode([b"{}".as_slice(), &message].concat()),
            base64url::encode(&tag),
        ];
        let jwk = json!({ "kty": "oct", "k": base64url::encode(&key) });
        let as_token = reader::jws(&token.join(".").into(), &jwk, None);
        assert!(matches!(as_token, Outcome::NotOffered(_)), "{as_token}");
        let made = library_hmac::sign(&library_hmac::Key::new(algorithm, &key), &message);
        let length = usize::try_from(group["tagSize"].as_u64().unwrap()).unwrap() / 8;
        Outcome::of(made.as_ref()[..length] == tag, "another tag")
    });
}

/// Keys from passwords, where the message says how long its reader computes: not offered.
pub(super) fn pbkdf2(text: &[u8], cases: &mut Cases) {
    let file: Value = serde_json::from_slice(text).unwrap();
    let alg = match file["algorithm"].as_str().unwrap() {
        "PBKDF2-HMACSHA256" => "PBES2-HS256+A128KW",
        "PBKDF2-HMACSHA384" => "PBES2-HS384+A192KW",
        "PBKDF2-HMACSHA512" => "PBES2-HS512+A256KW",
        other => panic!("{other}"),
    };
    wycheproof(text, cases, |_, test| {
        let salt = base64url::encode(hex(&test["salt"]));
        let header = json!({ "alg": alg, "enc": "A128GCM", "p2s": salt, "p2c": test["iterationCount"] });
        let token = reader::compact(&header, &[7; 24], &[0; 12], b"text", &[0; 16]);
        reader::shared(&token, &hex(&test["password"]), b"")
    });
}
