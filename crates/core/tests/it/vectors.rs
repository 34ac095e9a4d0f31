//! Wycheproof (<https://github.com/C2SP/wycheproof>, Apache-2.0): thousands of signatures that are wrong in one way each.
//!
//! The files are not in this repository. Where they are absent a test says what it did not run and how to get it.

use std::path::PathBuf;

use portcullis_core::jose::base64url;
use portcullis_core::jose::jwk::{KeyProblem, VerificationKey};
use portcullis_core::jose::jws::{Error, Unverified};
use serde_json::{Value, json};

/// The folder with `wycheproof/*.json`: named by the environment, or beside the workspace.
#[expect(
    clippy::disallowed_methods,
    reason = "tests: where the vectors are is a matter of the machine"
)]
fn folder() -> PathBuf {
    match std::env::var_os("PORTCULLIS_VECTORS") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
    }
}

#[expect(clippy::disallowed_methods, reason = "tests: the vectors are files")]
fn wycheproof(name: &str) -> Option<Value> {
    let path = folder().join("wycheproof").join(name);
    let Ok(text) = std::fs::read(&path) else {
        println!(
            "not run: {name} is not at {}. To run it: git clone https://github.com/C2SP/wycheproof, copy its \
             testvectors_v1/*.json into a folder `wycheproof`, and set PORTCULLIS_VECTORS to the folder around it",
            path.display()
        );
        return None;
    };
    Some(serde_json::from_slice(&text).unwrap())
}

fn hex(value: &Value) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    value
        .as_str()
        .unwrap()
        .as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn each<'v>(file: &'v Value, mut run: impl FnMut(&'v Value, &'v Value)) -> usize {
    let mut count = 0;
    for group in file["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            run(group, test);
            count += 1;
        }
    }
    count
}

/// Runs a file of raw signatures. `acceptable` ones are RSA signatures without the NULL of RFC 8017 §9.2: refused.
fn raw_signatures(name: &str, jwk: impl Fn(&Value) -> Value) {
    let Some(file) = wycheproof(name) else { return };
    let count = each(&file, |group, test| {
        let key = VerificationKey::parse(jwk(group).to_string().as_bytes()).unwrap();
        let holds = key.verify(&hex(&test["msg"]), &hex(&test["sig"])).is_ok();
        assert_eq!(
            holds,
            test["result"] == "valid",
            "{name} {}: {}",
            test["tcId"],
            test["comment"]
        );
    });
    assert_eq!(count as u64, file["numberOfTests"].as_u64().unwrap());
}

#[test]
fn ecdsa_on_p256() {
    // The file's own JWKs leave out leading zeros, which RFC 7518 §6.2.1.2 forbids.
    raw_signatures("ecdsa_secp256r1_sha256_p1363_test.json", |group| {
        let point = hex(&group["publicKey"]["uncompressed"]);
        let (x, y) = (base64url::encode(&point[1..33]), base64url::encode(&point[33..]));
        json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
    });
}

#[test]
fn ed25519() {
    raw_signatures("ed25519_test.json", |group| group["publicKeyJwk"].clone());
}

#[test]
fn rsa_of_2048_bits() {
    let jwk = |group: &Value| {
        let trimmed = |value: &Value| {
            let bytes = hex(value);
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            base64url::encode(&bytes[zeros..])
        };
        let key = &group["publicKey"];
        json!({ "kty": "RSA", "n": trimmed(&key["modulus"]), "e": trimmed(&key["publicExponent"]) })
    };
    raw_signatures("rsa_signature_2048_sha256_test.json", jwk);
}

/// Valid signatures that we refuse, each for a reason.
const STRICTER: [(u64, &str); 1] = [(259, "an empty payload is a JWS, and never a JWT (RFC 7519 §7.2)")];

#[test]
fn json_web_signatures() {
    let Some(file) = wycheproof("json_web_signature_test.json") else {
        return;
    };
    let (mut held, mut refused, mut other) = (0, 0, 0);
    let count = each(&file, |group, test| {
        let id = test["tcId"].as_u64().unwrap();
        let public = group.get("public").unwrap_or(&group["private"]);
        // A token that is not text is a JSON serialisation.
        let token = test["jws"]
            .as_str()
            .map_or_else(|| test["jws"].to_string(), str::to_owned);
        let verdict = match VerificationKey::parse(public.to_string().as_bytes()) {
            Ok(key) => Unverified::parse(&token).and_then(|token| token.verify(&key).map(|_| ())),
            Err(KeyProblem::Unsupported | KeyProblem::AlgorithmMismatch) => {
                // HMAC, PSS, other hashes, other curves: the key is not for us, so no token can be either.
                other += 1;
                return;
            }
            Err(_) => Err(Error::Signature),
        };
        let stricter = STRICTER.iter().any(|(known, _)| *known == id);
        let expected = test["result"] == "valid" && !stricter;
        assert_eq!(verdict.is_ok(), expected, "{id}: {} {verdict:?}", test["comment"]);
        if expected { held += 1 } else { refused += 1 }
    });
    assert_eq!(count as u64, file["numberOfTests"].as_u64().unwrap());
    // Not a run that passes because nothing was read.
    assert!(
        held >= 8 && refused >= 260,
        "{held} held, {refused} were refused, {other} have keys of other algorithms"
    );
}
