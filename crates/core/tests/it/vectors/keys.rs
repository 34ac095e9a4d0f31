//! Keys in the forms that others publish them in.

use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::json::Object;
use portcullis_core::jose::jwe::SharedKey;
use portcullis_core::jose::jwk::{PublicKey, SigningKey, VerificationKey};
use portcullis_core::jose::jws::TokenSigner as _;
use serde_json::{Value, json};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::reader;
use super::verdict::{Cases, Expected, Outcome};

/// One JWK.
pub(super) fn single(text: &[u8], cases: &mut Cases) {
    let jwk: Value = serde_json::from_slice(text).unwrap();
    cases.next("the key", Expected::Holds, usable(&jwk));
}

/// Whether we can do with this key what it is for: a private one signs and its public half verifies that, or it opens
/// what was encrypted to its public half; a public one is read.
pub(super) fn usable(jwk: &Value) -> Outcome {
    let public = reader::public(jwk);
    if jwk["crv"] == "X25519" || (jwk["use"] == "enc" && jwk["kty"] != "oct") {
        return reader::round_trip(jwk);
    }
    // A symmetric key encrypts content here, and nothing else.
    if jwk["kty"] == "oct" && jwk["use"] != "sig" {
        return match SharedKey::parse(jwk.to_string().as_bytes()) {
            Ok(_) => Outcome::Held,
            Err(problem) => reader::key_problem(problem),
        };
    }
    let key = match VerificationKey::parse(public.to_string().as_bytes()) {
        Ok(key) => key,
        Err(problem) => return reader::key_problem(problem),
    };
    if jwk.get("d").is_none() && jwk.get("priv").is_none() {
        return Outcome::Held;
    }
    let mut private = jwk.clone();
    private["alg"] = key.algorithm().name().into();
    private["kid"] = jwk.get("kid").cloned().unwrap_or_else(|| "k".into());
    match SigningKey::from_jwk(private.to_string().as_bytes()) {
        Ok(signer) => signs_for(&signer, &key),
        Err(error) => Outcome::refused(error),
    }
}

fn signs_for(signer: &SigningKey, key: &VerificationKey) -> Outcome {
    let signature = signer.sign(b"message").unwrap();
    Outcome::of(
        key.verify(b"message", &signature).is_ok(),
        "the signature does not hold",
    )
}

fn read(jwk: &Value) -> Result<PublicKey, Outcome> {
    let text = reader::public(jwk).to_string();
    PublicKey::from_jwk(&Object::parse(text.as_bytes()).unwrap()).map_err(reader::key_problem)
}

pub(super) fn thumbprints(text: &[u8], cases: &mut Cases) {
    let file: Vec<Value> = serde_json::from_slice(text).unwrap();
    for entry in &file {
        let outcome = match read(&entry["jwk"]) {
            Ok(key) => Outcome::of(
                key.thumbprint().to_string() == entry["sha256"],
                "another thumbprint",
            ),
            Err(outcome) => outcome,
        };
        cases.next(entry["source"].as_str().unwrap(), Expected::Holds, outcome);
    }
}

/// The same key as JWK, SPKI, PKCS#8 and in a certificate, in this order.
pub(super) fn in_all_forms(text: &[u8], cases: &mut Cases) {
    let file: serde_json::Map<String, Value> = serde_json::from_slice(text).unwrap();
    for (name, forms) in &file {
        let jwk = &forms["jwk"];
        let key = read(jwk);
        let same = |other: Option<PublicKey>| match (&key, other) {
            (Ok(key), Some(other)) => Outcome::of(*key == other, "another key"),
            (Ok(_), None) => Outcome::refused("not read"),
            (Err(outcome), None) => outcome.clone(),
            (Err(_), Some(_)) => Outcome::Held,
        };
        let mut case =
            |form: &str, outcome| cases.next(&format!("{name} as {form}"), Expected::Holds, outcome);
        case("JWK", usable(jwk));
        case("SPKI", same(PublicKey::from_spki(&der(&forms["spki"]))));
        case("PKCS#8", by_pkcs8(name, jwk, &der(&forms["pkcs8"])));
        if let Some(certificate) = forms.get("x509") {
            let certificate = der(certificate);
            let (_, certificate) = X509Certificate::from_der(&certificate).unwrap();
            case(
                "certificate",
                same(PublicKey::from_spki(certificate.public_key().raw)),
            );
        }
    }
}

fn der(pem: &Value) -> Vec<u8> {
    let (pem, _) = Pem::read(std::io::Cursor::new(pem.as_str().unwrap())).unwrap();
    pem.contents
}

fn by_pkcs8(name: &str, jwk: &Value, pkcs8: &[u8]) -> Outcome {
    let kid = KeyId::parse("k").unwrap();
    let algorithms: &[&str] = match name {
        "Ed25519" => &["EdDSA"],
        "P256" => &["ES256"],
        "P384" => &["ES384"],
        "P521" => &["ES512"],
        "RSA" => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
        "X25519" => return reader::opens_by_pkcs8(jwk, pkcs8),
        other => &[other],
    };
    for algorithm in algorithms {
        let Some(known) = SignatureAlgorithm::from_name(algorithm) else {
            return Outcome::not_offered(algorithm);
        };
        let signer = match SigningKey::from_pkcs8(kid.clone(), known, pkcs8) {
            Ok(signer) => signer,
            Err(error) => return Outcome::refused(error),
        };
        let mut public = reader::public(jwk);
        public["alg"] = json!(algorithm);
        let key = VerificationKey::parse(public.to_string().as_bytes()).unwrap();
        let outcome = signs_for(&signer, &key);
        if !matches!(outcome, Outcome::Held) {
            return outcome;
        }
    }
    Outcome::Held
}
