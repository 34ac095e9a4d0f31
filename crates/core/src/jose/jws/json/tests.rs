use serde_json::{Value as Json, json};

use super::super::Error as Part;
use super::*;
use crate::jose::SignatureAlgorithm::{EdDsa, Es256, MlDsa65, Ps256};
use crate::jose::base64url::{decode, encode};
use crate::jose::jwk::SigningKey;
use crate::jose::jwk::testing::{public_jwk, signing_key};

fn set(keys: &[&SigningKey]) -> KeySet {
    let keys: Vec<Json> = keys.iter().map(|key| public_jwk(key)).collect();
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn kid(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

fn verdict(jws: &Json, keys: &KeySet, required: Required<'_>) -> Result<Vec<u8>, Error> {
    let jws = UnverifiedJson::parse(jws.to_string().as_bytes())?;
    jws.verify(keys, required)
        .map(|verified| verified.payload().to_vec())
}

/// One key, its set, and a flattened JWS of it.
fn one() -> (SigningKey, KeySet, Json) {
    let key = signing_key("a", Es256);
    let keys = set(&[&key]);
    let jws = Json::from(sign_flattened(&key, Some("JWT"), b"text").unwrap());
    (key, keys, jws)
}

/// A flattened JWS with these two headers, whose signature holds over the protected one.
fn with_headers(key: &SigningKey, protected: &str, unprotected: Option<Json>) -> Json {
    let (protected, payload) = (encode(protected), encode("text"));
    let signature = encode(key.sign(format!("{protected}.{payload}").as_bytes()).unwrap());
    let mut jws = json!({ "payload": payload, "protected": protected, "signature": signature });
    if let Some(unprotected) = unprotected {
        jws["header"] = unprotected;
    }
    jws
}

#[test]
fn both_serialisations_are_read_back() {
    let (a, b, c) = (
        signing_key("a", Es256),
        signing_key("b", EdDsa),
        signing_key("c", MlDsa65),
    );
    let keys = set(&[&a, &b, &c]);
    let flattened = Json::from(sign_flattened(&a, None, b"text").unwrap());
    assert_eq!(verdict(&flattened, &keys, Required::default()).unwrap(), b"text");
    let general = Json::from(sign_general(&[&a, &b, &c], Some("JWT"), b"text").unwrap());
    let jws = UnverifiedJson::parse(general.to_string().as_bytes()).unwrap();
    assert_eq!(
        jws.signatures().map(|named| named.algorithm).collect::<Vec<_>>(),
        [Es256, EdDsa, MlDsa65]
    );
    let verified = jws.verify(&keys, Required::All).unwrap();
    let signers: Vec<_> = verified
        .signers()
        .iter()
        .map(|signer| signer.key().kid().unwrap().as_str())
        .collect();
    assert_eq!(signers, ["a", "b", "c"]);
    assert!(
        verified
            .signers()
            .iter()
            .all(|signer| signer.typ() == Some("JWT"))
    );
    // RFC 7515 §7.2.1: members of other names are ignored
    let mut more = general;
    more["x"] = json!(1);
    more["signatures"][0]["y"] = json!(1);
    assert!(verdict(&more, &keys, Required::All).is_ok());
}

#[test]
fn the_compact_form_and_the_flattened_one_hold_the_same_parts() {
    let (key, keys, _) = one();
    let claims = json!({ "a": 1 });
    let token = crate::jose::jws::sign(&key, "JWT", claims.as_object().unwrap()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let jws = json!({ "protected": parts[0], "payload": parts[1], "signature": parts[2] });
    assert_eq!(
        verdict(&jws, &keys, Required::All).unwrap(),
        claims.to_string().as_bytes()
    );
}

#[test]
fn all_that_are_present_must_hold_unless_keys_are_named() {
    let (a, b, stranger) = (
        signing_key("a", Es256),
        signing_key("b", EdDsa),
        signing_key("b", EdDsa),
    );
    let keys = set(&[&a, &b]);
    let jws = Json::from(sign_general(&[&a, &stranger], None, b"text").unwrap());
    let failed = Error::Signature {
        index: 1,
        error: Part::Signature,
    };
    assert_eq!(verdict(&jws, &keys, Required::All).unwrap_err(), failed);
    assert!(verdict(&jws, &keys, Required::Keys(&[kid("a")])).is_ok());
    assert_eq!(
        verdict(&jws, &keys, Required::Keys(&[kid("a"), kid("b")])).unwrap_err(),
        failed
    );
    assert_eq!(
        verdict(&jws, &keys, Required::Keys(&[kid("c")])).unwrap_err(),
        Error::NotSigned
    );
    // nothing required is nothing checked
    assert_eq!(
        verdict(&jws, &keys, Required::Keys(&[])).unwrap_err(),
        Error::NotSigned
    );
    assert_eq!(
        verdict(&jws, &set(&[&a]), Required::All).unwrap_err(),
        Error::KeyUnknown(1)
    );
    // a false signature under a key's name does not hide the true one
    let jws = Json::from(sign_general(&[&stranger, &b], None, b"text").unwrap());
    assert!(verdict(&jws, &keys, Required::Keys(&[kid("b")])).is_ok());
    assert!(verdict(&jws, &keys, Required::All).is_err());
}

#[test]
fn a_parameter_in_both_headers_is_refused() {
    let (key, keys, _) = one();
    for (protected, unprotected) in [
        (r#"{"alg":"ES256","kid":"a"}"#, json!({ "kid": "a" })),
        (r#"{"alg":"ES256","x":1}"#, json!({ "x": 1 })),
        (r#"{"alg":"ES256"}"#, json!({ "alg": "ES256" })),
    ] {
        let jws = with_headers(&key, protected, Some(unprotected));
        assert_eq!(
            verdict(&jws, &keys, Required::All).unwrap_err(),
            Error::ParameterTwice
        );
    }
}

#[test]
fn what_the_signature_must_cover_is_refused_outside_of_it() {
    let (key, keys, _) = one();
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("jwk", json!({})),
        ("jku", json!("https://attacker.example")),
        ("x5u", json!("https://attacker.example")),
        ("x5c", json!([])),
        ("typ", json!("JWT")),
        ("cty", json!("JWT")),
    ] {
        let jws = with_headers(&key, r#"{"alg":"ES256"}"#, Some(json!({ name: value })));
        assert_eq!(
            verdict(&jws, &keys, Required::All).unwrap_err(),
            Error::Unprotected(name)
        );
    }
    // RFC 7515 §A.6: `alg` in the protected header, or nobody signed it
    for protected in ["{}", r#"{"kid":"a"}"#] {
        let jws = with_headers(&key, protected, Some(json!({ "alg": "ES256" })));
        assert_eq!(
            verdict(&jws, &keys, Required::All).unwrap_err(),
            Error::Unprotected("alg")
        );
        let jws = with_headers(&key, protected, None);
        assert_eq!(
            verdict(&jws, &keys, Required::All).unwrap_err(),
            Error::Unprotected("alg")
        );
    }
    let mut jws = with_headers(&key, "{}", Some(json!({ "alg": "ES256" })));
    jws.as_object_mut().unwrap().remove("protected");
    assert_eq!(
        verdict(&jws, &keys, Required::All).unwrap_err(),
        Error::Unprotected("alg")
    );
    // the key's name may be outside (RFC 7515 §A.6.2): it only helps to find the key
    let jws = with_headers(&key, r#"{"alg":"ES256"}"#, Some(json!({ "kid": "a" })));
    assert!(verdict(&jws, &keys, Required::Keys(&[kid("a")])).is_ok());
    let jws = with_headers(&key, r#"{"alg":"ES256"}"#, Some(json!({ "kid": "b" })));
    assert_eq!(
        verdict(&jws, &keys, Required::All).unwrap_err(),
        Error::KeyUnknown(0)
    );
}

#[test]
fn protected_headers_are_read_as_those_of_a_token() {
    let (key, keys, _) = one();
    for (protected, error) in [
        (r#"{"alg":"none"}"#, Part::Algorithm),
        (r#"{"alg":"HS256"}"#, Part::Algorithm),
        (r#"{"alg":"PBES2-HS256+A128KW"}"#, Part::Algorithm),
        (r#"{"alg":"PBES2-HS256+A128KW","p2c":1}"#, Part::Refused("p2c")),
        (r#"{"alg":"ES256","zip":"DEF"}"#, Part::Refused("zip")),
        (r#"{"alg":"ES256","alg":"ES256"}"#, Part::Header),
        (r#"{"alg":1}"#, Part::Header),
        (r#"{"alg":"ES256","kid":1}"#, Part::Header),
        (r#"{"alg":"ES256","crit":["exp"]}"#, Part::Refused("crit")),
        (r#"{"alg":"ES256","b64":false}"#, Part::Refused("b64")),
        (r#"{"alg":"ES256","jwk":{}}"#, Part::Refused("jwk")),
        ("[]", Part::Header),
    ] {
        let jws = with_headers(&key, protected, None);
        let expected = Error::Signature { index: 0, error };
        assert_eq!(
            verdict(&jws, &keys, Required::All).unwrap_err(),
            expected,
            "{protected}"
        );
    }
    let other = with_headers(&signing_key("a", Ps256), r#"{"alg":"PS256"}"#, None);
    assert_eq!(
        verdict(&other, &keys, Required::All).unwrap_err(),
        Error::KeyUnknown(0)
    );
}

#[test]
fn what_is_no_jws_in_json_is_refused() {
    let (_, keys, good) = one();
    let changed = |name: &str, value: Json| {
        let mut jws = good.clone();
        jws[name] = value;
        jws
    };
    let without = |name: &str| {
        let mut jws = good.clone();
        jws.as_object_mut().unwrap().remove(name);
        jws
    };
    let inner = || json!({ "protected": good["protected"], "signature": good["signature"] });
    let general = |signatures: Json| json!({ "payload": good["payload"], "signatures": signatures });
    assert!(verdict(&general(json!([inner()])), &keys, Required::All).is_ok());
    for bad in [
        json!([]),
        json!("text"),
        json!({}),
        without("payload"),
        without("signature"),
        changed("payload", json!("")),
        changed("payload", json!(null)),
        changed("payload", json!("dGV4dA==")),
        changed("payload", json!("dGV4dB")),
        changed("signature", json!("")),
        changed("signature", json!(1)),
        changed("protected", json!({ "alg": "ES256" })),
        changed("header", json!("x")),
        changed("header", json!(null)),
        // RFC 7515 §7.2.2: both serialisations at once
        changed("signatures", json!([inner()])),
        changed("signatures", json!([])),
        general(json!([])),
        general(json!({})),
        general(json!([1])),
        general(json!([[]])),
        general(json!([{}])),
        general(json!([inner(), {}])),
    ] {
        assert!(verdict(&bad, &keys, Required::All).is_err(), "{bad}");
    }
    let text = good.to_string();
    let twice = text.replacen('{', r#"{"payload":"dGV4dA","#, 1);
    assert!(UnverifiedJson::parse(twice.as_bytes()).is_err());
}

#[test]
fn at_the_limits_and_one_past_them() {
    let (key, keys, good) = one();
    let signers = |n: usize| vec![&key as &dyn TokenSigner; n];
    let many = Json::from(sign_general(&signers(SIGNATURES), None, b"text").unwrap());
    assert!(verdict(&many, &keys, Required::All).is_ok());
    assert!(sign_general(&signers(SIGNATURES + 1), None, b"text").is_err());
    assert!(sign_general(&[], None, b"text").is_err());
    assert!(sign_flattened(&key, None, b"").is_err());
    let mut more = many;
    let one_more = more["signatures"][0].clone();
    more["signatures"].as_array_mut().unwrap().push(one_more);
    assert_eq!(
        verdict(&more, &keys, Required::All).unwrap_err(),
        Error::TooManySignatures
    );

    let payload = vec![b' '; PAYLOAD_BYTES + 1];
    let large = Json::from(sign_flattened(&key, None, &payload[1..]).unwrap());
    assert!(verdict(&large, &keys, Required::All).is_ok());
    assert!(sign_flattened(&key, None, &payload).is_err());
    let mut large = large;
    large["payload"] = json!(encode(&payload));
    assert_eq!(
        verdict(&large, &keys, Required::All).unwrap_err(),
        Error::TooLarge
    );

    let padded = |length: usize| format!("{:length$}", r#"{"alg":"ES256"}"#);
    let jws = with_headers(&key, &padded(HEADER_BYTES), None);
    assert!(verdict(&jws, &keys, Required::All).is_ok());
    let jws = with_headers(&key, &padded(HEADER_BYTES + 1), None);
    assert!(verdict(&jws, &keys, Required::All).is_err());

    let mut long = good.clone();
    long["signature"] = json!(encode(vec![1; SIGNATURE_BYTES + 1]));
    assert!(verdict(&long, &keys, Required::All).is_err());

    let text = good.to_string();
    let at = format!("{text}{}", " ".repeat(JSON_BYTES - text.len()));
    assert!(UnverifiedJson::parse(at.as_bytes()).is_ok());
    assert_eq!(
        UnverifiedJson::parse(format!("{at} ").as_bytes()).unwrap_err(),
        Error::TooLarge
    );
}

#[test]
fn every_single_bit_flip_of_a_covered_part_is_refused() {
    let (a, b) = (signing_key("a", Es256), signing_key("b", EdDsa));
    let keys = set(&[&a, &b]);
    let good = Json::from(sign_general(&[&a, &b], None, b"text").unwrap());
    let flips = |text: &str| -> Vec<String> {
        (0..text.len() * 8)
            .filter_map(|at| {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at / 8] ^= 1 << (at % 8);
                String::from_utf8(bytes).ok()
            })
            .collect()
    };
    for pointer in [
        "/payload",
        "/signatures/0/protected",
        "/signatures/0/signature",
        "/signatures/1/protected",
        "/signatures/1/signature",
    ] {
        for changed in flips(good.pointer(pointer).unwrap().as_str().unwrap()) {
            let mut jws = good.clone();
            *jws.pointer_mut(pointer).unwrap() = changed.into();
            assert!(verdict(&jws, &keys, Required::All).is_err(), "{jws}");
        }
    }
}

#[test]
fn nothing_is_shown_before_its_time() {
    let (_, _, good) = one();
    let jws = UnverifiedJson::parse(good.to_string().as_bytes()).unwrap();
    assert!(!format!("{jws:?}").contains("text"));
    assert_eq!(decode(good["payload"].as_str().unwrap()).unwrap(), b"text");
}
