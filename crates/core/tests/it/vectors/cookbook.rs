//! RFC 7520 and its like: one object in up to three serialisations. Case 1 is the compact one, 2 the general and 3 the
//! flattened JSON serialisation; a file of several objects counts on from 4, 7 and so on.

use serde_json::{Value, json};

use super::reader;
use super::verdict::{Cases, Expected, Outcome};

const FORMS: [&str; 3] = ["compact", "json", "json_flat"];

pub(super) fn signed(text: &[u8], cases: &mut Cases) {
    signed_object(&serde_json::from_slice(text).unwrap(), 0, cases);
}

pub(super) fn encrypted(text: &[u8], cases: &mut Cases) {
    encrypted_object(&serde_json::from_slice(text).unwrap(), 0, cases);
}

pub(super) fn all_signed(text: &[u8], cases: &mut Cases) {
    let file: Vec<Value> = serde_json::from_slice(text).unwrap();
    for (index, object) in file.iter().enumerate() {
        signed_object(object, index, cases);
    }
}

pub(super) fn all_encrypted(text: &[u8], cases: &mut Cases) {
    let file: Vec<Value> = serde_json::from_slice(text).unwrap();
    for (index, object) in file.iter().enumerate() {
        encrypted_object(object, index, cases);
    }
}

fn signed_object(object: &Value, index: usize, cases: &mut Cases) {
    let input = &object["input"];
    let payload = input["payload"].as_str().unwrap().as_bytes();
    forms(object, index, cases, |token| {
        reader::jws_by_any(token, &keys(input), Some(payload))
    });
}

fn encrypted_object(object: &Value, index: usize, cases: &mut Cases) {
    let input = &object["input"];
    let plaintext = input["plaintext"].as_str().unwrap().as_bytes();
    forms(object, index, cases, |token| {
        reader::jwe_by_any(token, &keys(input), plaintext)
    });
}

fn forms(object: &Value, index: usize, cases: &mut Cases, mut run: impl FnMut(&Value) -> Outcome) {
    let title = object["title"].as_str().unwrap_or_default();
    for (form, number) in FORMS.into_iter().zip(1..) {
        if let Some(token) = object["output"].get(form) {
            let id = index as u64 * 3 + number;
            cases.add(id, &format!("{title} ({form})"), Expected::Holds, run(token));
        }
    }
}

/// The keys, each with the algorithm that the example uses it for. A password is the key that PBES2 makes of it.
fn keys(input: &Value) -> Vec<Value> {
    let Some(key) = input.get("key") else {
        return vec![json!({ "kty": "oct", "k": "" })];
    };
    let one = |key: &Value, alg: &Value| {
        let mut key = key.clone();
        key["alg"] = alg.clone();
        key
    };
    match (key.as_array(), input["alg"].as_array()) {
        (Some(keys), Some(algs)) => keys.iter().zip(algs).map(|(key, alg)| one(key, alg)).collect(),
        _ => vec![one(key, &input["alg"])],
    }
}

/// RFC 7520 §6: signed, then encrypted. Case 1 is the signed one, 2 to 4 what it is encrypted into.
pub(super) fn nested(text: &[u8], cases: &mut Cases) {
    let file: Value = serde_json::from_slice(text).unwrap();
    let (sign, encrypt) = (&file["sign"], &file["encrypt"]);
    let payload = sign["input"]["payload"].as_str().unwrap().as_bytes();
    let inner = &sign["output"]["compact"];
    let outcome = reader::jws_by_any(inner, &keys(&sign["input"]), Some(payload));
    cases.next("signed", Expected::Holds, outcome);
    for form in FORMS {
        if let Some(token) = encrypt["output"].get(form) {
            let outcome = reader::jwe_by_any(
                token,
                &keys(&encrypt["input"]),
                inner.as_str().unwrap().as_bytes(),
            );
            cases.next(form, Expected::Holds, outcome);
        }
    }
}
