//! Tokens and messages that three other implementations made.

use std::fs;

use serde_json::Value;

use super::verdict::{Cases, Expected};
use super::{folder, keys as one_key, reader};

pub(super) fn keys(text: &[u8], cases: &mut Cases) {
    let file: serde_json::Map<String, Value> = serde_json::from_slice(text).unwrap();
    for (name, jwk) in &file {
        cases.next(name, Expected::Holds, one_key::usable(jwk));
    }
}

#[expect(clippy::disallowed_methods, reason = "tests: the vectors are files")]
pub(super) fn tokens(text: &[u8], cases: &mut Cases) {
    let keys = fs::read(folder().join("interop/keys.json")).unwrap();
    let keys: Value = serde_json::from_slice(&keys).unwrap();
    let file: Vec<Value> = serde_json::from_slice(text).unwrap();
    for entry in &file {
        let mut key = keys[entry["key"].as_str().unwrap()].clone();
        key["alg"] = entry["alg"].clone();
        let outcome = if entry["kind"] == "jws" {
            reader::jws(
                &entry["compact"],
                &reader::public(&key),
                Some(entry["payload"].as_str().unwrap().as_bytes()),
            )
        } else {
            reader::jwe(
                &entry["compact"],
                &key,
                Some(entry["plaintext"].as_str().unwrap().as_bytes()),
            )
        };
        let comment = format!("{} {} {}", entry["alg"], entry["enc"], entry["key"]);
        cases.next(&comment, Expected::Holds, outcome);
    }
}
