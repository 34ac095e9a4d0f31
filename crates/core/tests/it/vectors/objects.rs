//! Wycheproof's whole JOSE objects and key sets.

use portcullis_core::jose::jwk::KeySet;
use portcullis_core::jose::jws::Unverified;
use serde_json::{Value, json};

use super::verdict::{Cases, Outcome};
use super::{hex, reader, wycheproof};

/// A JWS or a JWE in each case.
pub(super) fn either(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| {
        if let Some(token) = test.get("jws") {
            let key = group.get("public").unwrap_or(&group["private"]);
            if key.get("keys").is_some() {
                return by_set(token, key);
            }
            return reader::jws(token, key, None);
        }
        let plaintext = test.get("pt").map(hex);
        reader::jwe(&test["jwe"], &group["private"], plaintext.as_deref())
    });
}

pub(super) fn key_sets(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| {
        by_set(&test["jws"], group.get("public").unwrap_or(&group["private"]))
    });
}

/// As a resource server does: the set of the issuer, then the key that the token names.
fn by_set(token: &Value, set: &Value) -> Outcome {
    let token = match Unverified::parse(token.as_str().unwrap()) {
        Ok(token) => token,
        Err(error) => return reader::jws_error(error),
    };
    let set = if set.get("keys").is_some() {
        set.clone()
    } else {
        json!({ "keys": [set] })
    };
    let set = match KeySet::parse(set.to_string().as_bytes()) {
        Ok(set) => set,
        Err(error) => return Outcome::refused(error),
    };
    let Some(key) = set.find(token.kid(), token.algorithm()) else {
        return Outcome::refused(format!("no such key; left out: {:?}", set.skipped()));
    };
    match token.verify(key) {
        Ok(_) => Outcome::Held,
        Err(error) => reader::jws_error(error),
    }
}
