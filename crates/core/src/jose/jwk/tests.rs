//! Rows JWK-* of the attack catalogue, and RFC 7517 §4 and §5 member by member.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;
use crate::ids::KeyId;
use crate::jose::SignatureAlgorithm::{self, Es256, Rs256};
use crate::jose::base64url::{decode, encode};
use crate::limits;

/// RFC 7638 §3.1.
const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
/// RFC 7517 §A.1.
const X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
/// RFC 8037 §A.2.
const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn ec() -> Value {
    json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y })
}

fn rsa() -> Value {
    json!({ "kty": "RSA", "n": N, "e": "AQAB" })
}

fn ed() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": ED })
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn parse(jwk: &Value) -> Result<VerificationKey, KeyProblem> {
    VerificationKey::parse(jwk.to_string().as_bytes())
}

fn set(keys: &[Value]) -> Result<KeySet, Error> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn kid(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

#[test]
fn a_key_has_the_algorithm_of_its_type() {
    for (jwk, algorithm) in [(ec(), Es256), (rsa(), Rs256), (ed(), SignatureAlgorithm::EdDsa)] {
        assert_eq!(parse(&jwk).unwrap().algorithm(), algorithm);
        let named = with(jwk, "alg", json!(algorithm.name()));
        assert_eq!(parse(&named).unwrap().algorithm(), algorithm);
    }
}

#[test]
fn thumbprints_of_the_rfcs() {
    // RFC 7638 §3.1, RFC 8037 §A.3
    assert_eq!(
        parse(&rsa()).unwrap().thumbprint().to_string(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    assert_eq!(
        parse(&ed()).unwrap().thumbprint().to_string(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    assert_eq!(
        parse(&ec()).unwrap().thumbprint().to_string(),
        "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
    );
}

#[test]
fn keys_that_are_refused() {
    use KeyProblem::{AlgorithmMismatch, Malformed, NotForVerifying, Private, Unacceptable, Unsupported};
    let short = encode(&decode(X).unwrap()[..31]);
    let long = encode([&[0][..], &decode(X).unwrap()].concat());
    let modulus = |bytes: usize, last: u8| {
        let mut n = vec![0xff; bytes];
        *n.last_mut().unwrap() = last;
        encode(n)
    };
    let zero = encode([0; 32]);
    let rows: Vec<(&str, Value, KeyProblem)> = vec![
        ("JWK-01", with(ec(), "y", json!(X)), Unacceptable),
        (
            "JWK-02",
            with(with(ec(), "x", json!(zero)), "y", json!(zero)),
            Unacceptable,
        ),
        ("JWK-02", with(ec(), "x", json!(encode([0xff; 32]))), Unacceptable),
        ("JWK-02", with(ec(), "x", json!(short)), Malformed),
        ("JWK-02", with(ec(), "x", json!(long)), Malformed),
        ("JWK-02", with(ec(), "x", json!("")), Malformed),
        ("JWK-03", with(ec(), "d", json!(X)), Private),
        ("JWK-03", with(rsa(), "qi", json!("AQAB")), Private),
        ("JWK-03", with(rsa(), "d", json!(null)), Private),
        ("JWK-04", json!({ "kty": "oct", "k": "AAAA" }), Unsupported),
        ("JWK-05", with(ec(), "use", json!("enc")), NotForVerifying),
        ("JWK-05", with(ec(), "use", json!("SIG")), NotForVerifying),
        ("JWK-05", with(ec(), "use", json!(1)), Malformed),
        (
            "JWK-05",
            with(ec(), "key_ops", json!(["encrypt"])),
            NotForVerifying,
        ),
        ("JWK-05", with(ec(), "key_ops", json!(["sign"])), NotForVerifying),
        ("JWK-05", with(ec(), "key_ops", json!([])), NotForVerifying),
        (
            "JWK-05",
            with(ec(), "key_ops", json!(["verify", "encrypt"])),
            NotForVerifying,
        ),
        (
            "JWK-05",
            with(with(ec(), "use", json!("sig")), "key_ops", json!(["deriveBits"])),
            NotForVerifying,
        ),
        (
            "RFC 7517 §4.3",
            with(ec(), "key_ops", json!(["verify", "verify"])),
            Malformed,
        ),
        ("RFC 7517 §4.3", with(ec(), "key_ops", json!("verify")), Malformed),
        ("RFC 7517 §4.3", with(ec(), "key_ops", json!([1])), Malformed),
        ("JWK-06", with(ec(), "alg", json!("RS256")), AlgorithmMismatch),
        ("JWK-06", with(rsa(), "alg", json!("ES256")), AlgorithmMismatch),
        ("JWK-06", with(rsa(), "alg", json!("RS512")), Unsupported),
        ("JWK-06", with(rsa(), "alg", json!("PS256")), Unsupported),
        ("JWK-06", with(rsa(), "alg", json!(null)), Malformed),
        ("JWS-29", with(ec(), "crv", json!("P-384")), Unsupported),
        ("JWS-29", with(ec(), "crv", json!("secp256k1")), Unsupported),
        ("JWS-34", with(ed(), "crv", json!("Ed448")), Unsupported),
        ("JWS-34", with(ed(), "crv", json!("X25519")), Unsupported),
        ("JWS-31", with(rsa(), "n", json!(modulus(64, 0xff))), Unacceptable),
        (
            "JWS-31",
            with(rsa(), "n", json!(modulus(128, 0xff))),
            Unacceptable,
        ),
        (
            "JWS-31",
            with(rsa(), "n", json!(modulus(255, 0xff))),
            Unacceptable,
        ),
        (
            "JWS-31",
            with(rsa(), "n", json!(modulus(1025, 0xff))),
            Unacceptable,
        ),
        (
            "JWS-31",
            with(rsa(), "n", json!(modulus(2048, 0xff))),
            Unacceptable,
        ),
        (
            "JWS-31",
            with(rsa(), "n", json!(modulus(256, 0xfe))),
            Unacceptable,
        ),
        ("JWS-31", with(rsa(), "e", json!("AQ")), Unacceptable),
        ("JWS-31", with(rsa(), "e", json!("Ag")), Unacceptable),
        ("JWS-31", with(rsa(), "e", json!("AQAA")), Unacceptable),
        (
            "JWS-31",
            with(rsa(), "e", json!(encode([1, 0, 0, 0, 1]))),
            Unacceptable,
        ),
        ("RFC 7518 §6.3.1", with(rsa(), "e", json!("AAEAAQ")), Malformed),
        ("RFC 7518 §6.3.1", with(rsa(), "e", json!("")), Malformed),
        (
            "RFC 7518 §6.3.1",
            with(
                rsa(),
                "n",
                json!(encode([&[0][..], &decode(N).unwrap()].concat())),
            ),
            Malformed,
        ),
        ("ENC-01", with(rsa(), "e", json!("AQAB=")), Malformed),
        ("ENC-02", with(rsa(), "n", json!(N.replace('_', "/"))), Malformed),
        ("JWK-13", json!({}), Malformed),
        ("RFC 7517 §4.1", with(ec(), "kty", json!("ec")), Unsupported),
        ("RFC 7517 §4.5", with(ec(), "kid", json!(1)), Malformed),
        ("RFC 7517 §4.5", with(ec(), "kid", json!("")), Malformed),
    ];
    for (row, jwk, problem) in rows {
        assert_eq!(parse(&jwk).unwrap_err(), problem, "{row}: {jwk}");
    }
    let twice = format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}","y":"{Y}"}}"#);
    assert_eq!(VerificationKey::parse(twice.as_bytes()).unwrap_err(), Malformed);
}

#[test]
fn rsa_at_the_limits() {
    for bytes in [256, 1024] {
        assert!(
            parse(&with(rsa(), "n", json!(encode(vec![0xff; bytes])))).is_ok(),
            "{bytes}"
        );
    }
    assert!(parse(&with(rsa(), "e", json!("Aw"))).is_ok());
}

#[test]
fn weak_points_of_ed25519_are_refused() {
    // Every encoding of a point whose order divides 8, with either sign of x, and y = p, p + 1 spelt in full:
    // https://eprint.iacr.org/2020/1244, table 1 and §5.
    let small = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    for hex in small {
        let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
        let bytes: Vec<u8> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect();
        assert_eq!(
            parse(&with(ed(), "x", json!(encode(bytes)))).unwrap_err(),
            KeyProblem::Unacceptable,
            "{hex}"
        );
    }
    let fresh = Ed25519KeyPair::generate().unwrap();
    assert!(parse(&with(ed(), "x", json!(encode(fresh.public_key().as_ref())))).is_ok());
}

#[test]
fn one_bad_key_does_not_spoil_the_set() {
    let keys = set(&[
        with(ec(), "kid", json!("good")),
        json!("not a key"),
        with(with(ec(), "use", json!("enc")), "kid", json!("for-encryption")),
        json!({ "kty": "oct", "k": "AAAA", "kid": "symmetric" }),
        with(rsa(), "kid", json!("also-good")),
    ])
    .unwrap();
    assert_eq!(keys.len(), 2);
    let skipped: Vec<_> = keys
        .skipped()
        .iter()
        .map(|skipped| (skipped.index, skipped.problem))
        .collect();
    assert_eq!(
        skipped,
        [
            (1, KeyProblem::Malformed),
            (2, KeyProblem::NotForVerifying),
            (3, KeyProblem::Unsupported)
        ]
    );
    assert!(keys.names(&kid("good")));
    assert!(!keys.names(&kid("symmetric")));
}

#[test]
fn a_private_key_spoils_the_set() {
    // JWK-03, also when the key itself would have been left out
    let private = with(with(ec(), "d", json!(X)), "use", json!("enc"));
    assert_eq!(set(&[rsa(), private]).unwrap_err(), Error::Private);
}

#[test]
fn keys_are_found_by_name_and_algorithm() {
    let keys = set(&[with(ec(), "kid", json!("e")), with(rsa(), "kid", json!("r"))]).unwrap();
    assert!(keys.find(Some(&kid("e")), Es256).is_some());
    assert!(keys.find(Some(&kid("e")), Rs256).is_none());
    assert!(keys.find(Some(&kid("x")), Es256).is_none());
    // JWS-20: without a name, only where there is no choice
    assert!(keys.find(None, Es256).is_some());
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = other.public_key().as_ref();
    let second =
        json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) });
    let keys = set(&[ec(), second, rsa()]).unwrap();
    assert!(keys.find(None, Es256).is_none());
    assert!(keys.find(None, Rs256).is_some());
}

#[test]
fn two_keys_of_one_name_are_both_refused() {
    // JWK-08, whatever their types
    let keys = set(&[
        with(ec(), "kid", json!("k")),
        with(rsa(), "kid", json!("k")),
        with(ed(), "kid", json!("other")),
    ])
    .unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys.find(Some(&kid("k")), Es256).is_none());
    assert!(
        keys.skipped()
            .iter()
            .all(|skipped| skipped.problem == KeyProblem::DuplicateKid)
    );
    assert_eq!(keys.skipped().len(), 2);
}

#[test]
fn sets_that_are_refused() {
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"keys":[],"keys":[]}"#,
        "<html>",
    ] {
        assert!(
            matches!(KeySet::parse(bad.as_bytes()), Err(Error::NotAKeySet(_))),
            "{bad}"
        );
    }
    assert!(set(&[]).unwrap().is_empty());
}

#[test]
fn sets_at_the_limits_and_one_past_them() {
    let many = |n: usize| vec![json!({}); n];
    assert!(set(&many(limits::JWKS_KEYS)).is_ok());
    assert_eq!(set(&many(limits::JWKS_KEYS + 1)).unwrap_err(), Error::TooManyKeys);
    let padded = |length: usize| format!("{{\"keys\":[]{}}}", " ".repeat(length - r#"{"keys":[]}"#.len()));
    assert!(KeySet::parse(padded(limits::JWKS_BYTES).as_bytes()).is_ok());
    assert_eq!(
        KeySet::parse(padded(limits::JWKS_BYTES + 1).as_bytes()).unwrap_err(),
        Error::TooLarge
    );
}

#[test]
fn what_we_publish_can_be_read_back() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let key = PublicKey::from_uncompressed(pair.public_key().as_ref()).unwrap();
    let jwk = |purpose| PublicJwk {
        key: key.clone(),
        purpose,
        kid: kid("k"),
        chain: vec![vec![0x30, 0xff], vec![0x30]],
    };
    let published = Value::from(jwk(Use::Signature).to_json());
    let read = parse(&published).unwrap();
    assert_eq!(read.kid(), Some(&kid("k")));
    assert_eq!(*read.thumbprint(), key.thumbprint());
    // RFC 7517 §4.7: base64; §4.9: base64url of the SHA-256 of the first certificate
    assert_eq!(published["x5c"], json!(["MP8=", "MA=="]));
    assert_eq!(decode(published["x5t#S256"].as_str().unwrap()).unwrap().len(), 32);
    let encryption = Value::from(jwk(Use::Encryption).to_json());
    assert_eq!(
        (&encryption["use"], &encryption["alg"]),
        (&json!("enc"), &json!("ECDH-ES"))
    );
    assert_eq!(parse(&encryption).unwrap_err(), KeyProblem::NotForVerifying);
}

#[test]
fn only_uncompressed_points_are_published() {
    for bad in [&[][..], &[4; 64], &[4; 66], &[2; 65]] {
        assert_eq!(PublicKey::from_uncompressed(bad), None);
    }
}
