//! Wycheproof's raw signatures: wrong in one way each.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, EcdsaVerificationAlgorithm, UnparsedPublicKey,
};
use portcullis_core::jose::base64url;
use portcullis_core::jose::jwk::VerificationKey;
use serde_json::{Value, json};

use super::verdict::{Cases, Outcome};
use super::{hex, integer, reader, wycheproof};

/// Under our verification key, in the form of RFC 7518 §3.4: r ‖ s.
pub(super) fn ecdsa(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| {
        // The file's own JWKs leave out leading zeros, which RFC 7518 §6.2.1.2 forbids.
        let point = hex(&group["publicKey"]["uncompressed"]);
        let curve = match group["publicKey"]["curve"].as_str().unwrap() {
            "secp256r1" => "P-256",
            "secp384r1" => "P-384",
            "secp521r1" => "P-521",
            other => panic!("curve {other}"),
        };
        let (x, y) = point[1..].split_at(point.len() / 2);
        let jwk = json!({ "kty": "EC", "crv": curve, "x": base64url::encode(x), "y": base64url::encode(y) });
        verdict(&jwk, test)
    });
}

/// The ASN.1 form, of certificates: straight to the library.
pub(super) fn ecdsa_der(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| {
        let algorithm: &EcdsaVerificationAlgorithm = match group["publicKey"]["curve"].as_str().unwrap() {
            "secp256r1" => &ECDSA_P256_SHA256_ASN1,
            "secp384r1" => &ECDSA_P384_SHA384_ASN1,
            other => panic!("curve {other}"),
        };
        let key = UnparsedPublicKey::new(algorithm, hex(&group["publicKey"]["uncompressed"]));
        let holds = key.verify(&hex(&test["msg"]), &hex(&test["sig"])).is_ok();
        Outcome::of(holds, "the library says no")
    });
}

pub(super) fn ed25519(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| verdict(&group["publicKeyJwk"], test));
}

/// PKCS#1 v1.5.
pub(super) fn rsa(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| {
        let algorithm = format!("RS{}", bits(&group["sha"]));
        verdict(&rsa_jwk(group, &algorithm), test)
    });
}

/// RFC 7518 §3.5: MGF1 with the same hash, and a salt as long as it. What has other parameters must fail under each of
/// our algorithms.
pub(super) fn rsa_pss(text: &[u8], cases: &mut Cases) {
    wycheproof(text, cases, |group, test| {
        let hash = bits(&group["sha"]);
        let salt = group["sLen"].as_u64().unwrap() * 8;
        let registered = ["256", "384", "512"].contains(&hash)
            && group["sha"] == group["mgfSha"]
            && salt.to_string() == hash;
        if registered {
            return verdict(&rsa_jwk(group, &format!("PS{hash}")), test);
        }
        let held = ["PS256", "PS384", "PS512"]
            .into_iter()
            .find(|algorithm| matches!(verdict(&rsa_jwk(group, algorithm), test), Outcome::Held));
        match held {
            None => Outcome::not_offered("no registered algorithm has these parameters"),
            Some(_) => Outcome::Held,
        }
    });
}

fn bits(hash: &Value) -> &str {
    hash.as_str().unwrap().trim_start_matches("SHA-")
}

fn rsa_jwk(group: &Value, algorithm: &str) -> Value {
    let key = &group["publicKey"];
    json!({
        "kty": "RSA", "alg": algorithm,
        "n": base64url::encode(integer(&key["modulus"])), "e": base64url::encode(integer(&key["publicExponent"])),
    })
}

fn verdict(jwk: &Value, test: &Value) -> Outcome {
    let key = match VerificationKey::parse(jwk.to_string().as_bytes()) {
        Ok(key) => key,
        Err(problem) => return reader::key_problem(problem),
    };
    match key.verify(&hex(&test["msg"]), &hex(&test["sig"])) {
        Ok(_) => Outcome::Held,
        Err(error) => Outcome::refused(error),
    }
}
