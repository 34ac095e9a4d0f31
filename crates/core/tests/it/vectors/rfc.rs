//! Examples printed in the RFCs.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use portcullis_core::jose::base64url;
use portcullis_core::jose::json::Object;
use portcullis_core::jose::jwe::{KeyManagement, PayloadOpener as _, Wrapped};
use portcullis_core::jose::jwk::{KeySet, PublicKey, VerificationKey};
use portcullis_core::jose::jws::Unverified;
use portcullis_core::oauth::pkce::{Challenge, Verifier};
use serde_json::{Value, json};

use super::verdict::{Cases, Expected, Outcome};
use super::{keys, reader};

fn list(text: &[u8]) -> Vec<Value> {
    serde_json::from_slice(text).unwrap()
}

fn keys_of(entry: &Value) -> Vec<Value> {
    match (entry["jwks"].as_array(), entry.get("jwk")) {
        (Some(keys), _) => keys.clone(),
        (None, Some(key)) => vec![key.clone()],
        (None, None) => Vec::new(),
    }
}

fn token(entry: &Value) -> &Value {
    entry.get("compact").unwrap_or(&entry["json"])
}

pub(super) fn signed(text: &[u8], cases: &mut Cases) {
    for entry in &list(text) {
        let expected = if entry["valid"] == false {
            Expected::Fails
        } else {
            Expected::Holds
        };
        let outcome = reader::jws_by_any(token(entry), &keys_of(entry), None);
        cases.next(entry["section"].as_str().unwrap(), expected, outcome);
    }
}

pub(super) fn encrypted(text: &[u8], cases: &mut Cases) {
    for entry in &list(text) {
        let plaintext = entry["plaintext"].as_str().unwrap().as_bytes();
        let outcome = reader::jwe_by_any(token(entry), &keys_of(entry), plaintext);
        cases.next(entry["section"].as_str().unwrap(), Expected::Holds, outcome);
    }
}

/// Each key, and each set as an issuer would publish it: private keys in it make it void.
pub(super) fn key_sets(text: &[u8], cases: &mut Cases) {
    for entry in &list(text) {
        let section = entry["section"].as_str().unwrap();
        let Some(set) = entry.get("jwks") else {
            cases.next(section, Expected::Holds, keys::usable(&entry["jwk"]));
            continue;
        };
        let private = section.contains("private");
        let expected = if private { Expected::Fails } else { Expected::Holds };
        let outcome = match KeySet::parse(set.to_string().as_bytes()) {
            Ok(_) => Outcome::Held,
            Err(error) => Outcome::refused(error),
        };
        cases.next(&format!("{section}, the set"), expected, outcome);
        for (index, key) in set["keys"].as_array().unwrap().iter().enumerate() {
            cases.next(section, Expected::Holds, keys::usable(key));
            if let Some(thumbprint) = set["thumbprints"].get(index) {
                let key = public_key(key);
                assert_eq!(key.thumbprint().to_string(), *thumbprint);
            }
        }
    }
}

fn public_key(jwk: &Value) -> PublicKey {
    let text = reader::public(jwk).to_string();
    PublicKey::from_jwk(&Object::parse(text.as_bytes()).unwrap()).unwrap()
}

/// RFC 7518 §C: the secret, and the key derived of it, seen through a message that only that key opens.
pub(super) fn derivation(text: &[u8], cases: &mut Cases) {
    let example = one(text);
    let alice = public_key(&example["alice_ephemeral"]);
    let bob = reader::decryption_key(&example["bob_static"], KeyManagement::EcdhEs).unwrap();
    let outcome = match bob.recover(Wrapped::Agreed { peer: &alice }) {
        Ok(secret) => Outcome::of(base64url::encode(&*secret) == example["Z"], "another secret"),
        Err(error) => Outcome::refused(error),
    };
    cases.next("Z", Expected::Holds, outcome);
    let header = json!({
        "alg": "ECDH-ES", "enc": example["enc"], "epk": reader::public(&example["alice_ephemeral"]),
        "apu": example["apu"], "apv": example["apv"],
    });
    let derived = base64url::decode(example["derived_key"].as_str().unwrap()).unwrap();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &derived).unwrap());
    let mut sealed = b"text".to_vec();
    let aad = Aad::from(base64url::encode(header.to_string()));
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let tag = key.seal_in_place_separate_tag(nonce, aad, &mut sealed).unwrap();
    let token = reader::compact(&header, &[], &[0; 12], &sealed, tag.as_ref());
    let outcome = reader::jwe(&token.into(), &example["bob_static"], Some(b"text"));
    cases.next("derived key", Expected::Holds, outcome);
}

/// A file of one example, in an array or not.
fn one(text: &[u8]) -> Value {
    let file: Value = serde_json::from_slice(text).unwrap();
    let Some([example]) = file.as_array().map(Vec::as_slice) else {
        return file;
    };
    example.clone()
}

/// RFC 7797: a payload that is not encoded. Case 1 is signed as usual.
pub(super) fn unencoded(text: &[u8], cases: &mut Cases) {
    for entry in &list(text) {
        let token = entry.get("compact").cloned().unwrap_or_else(|| {
            json!({
                "protected": entry["protected"], "payload": entry["payload"], "signature": entry["signature"],
            })
        });
        let outcome = reader::jws_by_any(&token, &keys_of(entry), None);
        cases.next(entry["section"].as_str().unwrap(), Expected::Holds, outcome);
    }
}

/// RFC 9449: signatures of DPoP proofs, thumbprints and hashes. A proof as an access token brings its own key, and is
/// refused for that.
pub(super) fn proofs(text: &[u8], cases: &mut Cases) {
    let example = one(text);
    for proof in example["proofs"].as_array().unwrap() {
        let compact = proof["proof"].as_str().unwrap();
        let (input, signature) = compact.rsplit_once('.').unwrap();
        let jwk = &proof["header"]["jwk"];
        let key = VerificationKey::parse(jwk.to_string().as_bytes()).unwrap();
        let holds = key
            .verify(input.as_bytes(), &base64url::decode(signature).unwrap())
            .is_ok();
        cases.next(
            "the signature",
            Expected::Holds,
            Outcome::of(holds, "it does not hold"),
        );
        let same = public_key(jwk).thumbprint().to_string() == example["jkt"];
        cases.next("the thumbprint", Expected::Holds, Outcome::of(same, "another"));
        let outcome = match Unverified::parse(compact) {
            Ok(_) => Outcome::Held,
            Err(error) => reader::jws_error(error),
        };
        cases.next("as an access token", Expected::Fails, outcome);
        if let Some(token) = proof["access_token"].as_str() {
            let hash = base64url::encode(digest::digest(&digest::SHA256, token.as_bytes()));
            let same = hash == proof["claims"]["ath"];
            cases.next("ath", Expected::Holds, Outcome::of(same, "another"));
        }
    }
}

/// A pair made from RFC 7516 §A.4, one with a padding of PKCS#1 that holds and one with one that does not: both fail,
/// and in the same words.
pub(super) fn oracle(text: &[u8], cases: &mut Cases) {
    let pair = one(text);
    let of = |name: &str| reader::jwe(&pair[name], &pair["jwk"], Some(b"Live long and prosper."));
    let (valid, invalid) = (of("valid_padding_json"), of("invalid_padding_json"));
    assert_eq!(valid.to_string(), invalid.to_string());
    cases.next("the padding holds", Expected::Fails, valid);
    cases.next("it does not", Expected::Fails, invalid);
}

/// RFC 7636 §B.
pub(super) fn pkce(text: &[u8], cases: &mut Cases) {
    let example = one(text);
    let verifier = Verifier::parse(example["code_verifier"].as_str().unwrap()).unwrap();
    let challenge = Challenge::parse(example["code_challenge"].as_str().unwrap()).unwrap();
    let same = verifier.challenge().as_str() == challenge.as_str() && challenge.matches(&verifier);
    cases.next("S256", Expected::Holds, Outcome::of(same, "another challenge"));
}
