//! Rows JWK-* of the attack catalogue, and RFC 7517 §4 and §5 member by member.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::testing::{public_jwk, signing_key};
use super::*;
use crate::ids::KeyId;
use crate::jose::SignatureAlgorithm::{self, Es256, Rs256};
use crate::jose::base64url::{decode, encode};
use crate::jose::jwe::KeyManagement;
use crate::jose::jws::TokenSigner as _;
use crate::limits;

/// RFC 7638 §3.1.
const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
/// RFC 7517 §A.1.
const X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
/// RFC 8037 §A.2.
const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// The key of RFC 7515 §A.2.1: `n`, `d`, `p`, `q`, `dp`, `dq`, `qi`.
const RSA_OF_RFC_7515: (&str, &str, &str, &str, &str, &str, &str) = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
    "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
    "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
    "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
    "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
    "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U",
);

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
            with(rsa(), "key_ops", json!(["wrapKey"])),
            NotForVerifying,
        ),
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
        ("JWK-06", with(ec(), "alg", json!("ES384")), AlgorithmMismatch),
        ("JWK-06", with(ec(), "alg", json!("EdDSA")), AlgorithmMismatch),
        ("JWK-06", with(ed(), "alg", json!("PS256")), AlgorithmMismatch),
        (
            "JWK-06",
            with(rsa(), "alg", json!("ML-DSA-65")),
            AlgorithmMismatch,
        ),
        ("JWK-06", with(rsa(), "alg", json!("HS256")), Unsupported),
        ("JWK-06", with(rsa(), "alg", json!("RS1")), Unsupported),
        (
            "JWK-06",
            with(rsa(), "alg", json!("RSA-OAEP-256")),
            NotForVerifying,
        ),
        ("JWK-06", with(ec(), "alg", json!("ECDH-ES")), NotForVerifying),
        ("JWK-06", with(rsa(), "alg", json!(null)), Malformed),
        ("JWS-29", with(ec(), "crv", json!("P-384")), Malformed),
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
    // 65537, and the odd numbers next to it; 2^32 - 1.
    for (exponent, accepted) in [
        ("AQAB", true),
        ("AQAD", true),
        ("_____w", true),
        ("__8", false),
        ("Aw", false),
    ] {
        assert_eq!(
            parse(&with(rsa(), "e", json!(exponent))).is_ok(),
            accepted,
            "{exponent}"
        );
    }
}

#[test]
fn a_long_list_of_operations_is_refused_before_it_is_compared() {
    // As many as a set may hold: compared with one another they would take minutes.
    let many: Vec<String> = (0..10_000).map(|number| format!("op{number}")).collect();
    for operations in [json!(many), json!(vec!["verify"; 10_000])] {
        assert_eq!(
            parse(&with(ec(), "key_ops", operations)).unwrap_err(),
            KeyProblem::NotForVerifying
        );
    }
    assert_eq!(
        parse(&with(ec(), "key_ops", json!(["verify", "sign", "verify"]))).unwrap_err(),
        KeyProblem::NotForVerifying
    );
    assert!(parse(&with(ec(), "key_ops", json!(["verify", "sign"]))).is_ok());
    assert_eq!(
        parse(&with(ec(), "key_ops", json!(["verify", "verify"]))).unwrap_err(),
        KeyProblem::Malformed
    );
}

#[test]
fn weak_and_second_spellings_of_x25519_are_refused() {
    let of = |point: [u8; 32]| {
        let jwk = json!({ "kty": "OKP", "crv": "X25519", "x": encode(point) }).to_string();
        PublicKey::from_jwk(&crate::jose::json::Object::parse(jwk.as_bytes()).unwrap())
    };
    // p = 2^255 - 19; 9 is the base point, and any u with a set top bit or u >= p is another spelling of one below p.
    let below_p = |by: u8| {
        let mut point = [0xff; 32];
        point[0] = 0xed_u8.wrapping_sub(by);
        point[31] = 0x7f;
        point
    };
    let mut nine = [0; 32];
    nine[0] = 9;
    let mut nine_and_top = nine;
    nine_and_top[31] |= 0x80;
    let nine_and_p = {
        let mut point = below_p(0);
        point[0] += 9;
        point
    };
    assert!(of(nine).is_ok() && of(below_p(2)).is_ok());
    for point in [
        nine_and_top,
        nine_and_p,
        below_p(0),
        below_p(1),
        [0; 32],
        [0xff; 32],
    ] {
        assert_eq!(of(point).unwrap_err(), KeyProblem::Unacceptable, "{point:02x?}");
        assert_eq!(PublicKey::from_raw(OkpCurve::X25519, &point), None);
    }
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
    for algorithm in SignatureAlgorithm::ALL {
        let key = signing_key("k", algorithm);
        let mut jwk = PublicJwk {
            key: key.public().clone(),
            algorithm: algorithm.into(),
            kid: kid("k"),
            chain: vec![vec![0x30, 0xff], vec![0x30]],
        };
        let published = Value::from(jwk.to_json());
        assert_eq!(
            (&published["use"], &published["alg"], &published["key_ops"]),
            (&json!("sig"), &json!(algorithm.name()), &json!(["verify"]))
        );
        let read = parse(&published).unwrap();
        assert_eq!(read.kid(), Some(&kid("k")));
        assert_eq!(read.algorithm(), algorithm);
        assert_eq!(*read.thumbprint(), key.public().thumbprint());
        // RFC 7517 §4.7: base64; §4.9: base64url of the SHA-256 of the first certificate
        assert_eq!(published["x5c"], json!(["MP8=", "MA=="]));
        assert_eq!(decode(published["x5t#S256"].as_str().unwrap()).unwrap().len(), 32);
        jwk.chain.clear();
        assert!(!jwk.to_json().contains_key("x5c") && !jwk.to_json().contains_key("x5t#S256"));
    }
}

#[test]
fn what_we_publish_for_encryption_never_verifies() {
    // RFC 7517 §4.3: a content key is wrapped under RSA-OAEP (and Web Cryptography calls it encrypting); in a key
    // agreement the public half takes no part by name
    let rows = [
        (KeyManagement::RsaOaep256, Rs256, json!(["encrypt", "wrapKey"])),
        (KeyManagement::EcdhEs, Es256, json!([])),
        (KeyManagement::EcdhEsA128Kw, SignatureAlgorithm::Es384, json!([])),
        (KeyManagement::EcdhEsA256Kw, Es256, json!([])),
    ];
    for (algorithm, type_of, operations) in rows {
        let jwk = PublicJwk {
            key: signing_key("k", type_of).public().clone(),
            algorithm: algorithm.into(),
            kid: kid("k"),
            chain: Vec::new(),
        };
        assert_eq!(jwk.algorithm.purpose(), Use::Encryption);
        let mut published = Value::from(jwk.to_json());
        assert_eq!(published["use"], json!("enc"));
        assert_eq!(published["alg"], json!(algorithm.name()));
        assert_eq!(published["key_ops"], operations);
        // Each of the three members alone keeps it from verifying.
        for kept in ["use", "alg", "key_ops"] {
            let mut jwk = published.clone();
            for other in ["use", "alg", "key_ops"]
                .into_iter()
                .filter(|other| *other != kept)
            {
                jwk.as_object_mut().unwrap().remove(other);
            }
            assert_eq!(parse(&jwk).unwrap_err(), KeyProblem::NotForVerifying, "{jwk}");
        }
        assert_eq!(parse(&published).unwrap_err(), KeyProblem::NotForVerifying);
        published["d"] = json!("AAAA");
        assert_eq!(
            SigningKey::from_jwk(published.to_string().as_bytes()).unwrap_err(),
            KeyProblem::NotForSigning
        );
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    for (algorithm, curve) in [
        (Es256, EcCurve::P256),
        (SignatureAlgorithm::Es384, EcCurve::P384),
        (SignatureAlgorithm::Es512, EcCurve::P521),
    ] {
        let jwk = public_jwk(&signing_key("k", algorithm));
        let (x, y) = (jwk["x"].as_str().unwrap(), jwk["y"].as_str().unwrap());
        let mut off = decode(y).unwrap();
        *off.last_mut().unwrap() ^= 1;
        // beyond the field, and on it only modulo the prime
        let beyond = vec![0xff; curve.bytes()];
        let zero = vec![0; curve.bytes()];
        for (x, y) in [
            (decode(x).unwrap(), off.clone()),
            (decode(y).unwrap(), decode(x).unwrap()),
            (beyond.clone(), decode(y).unwrap()),
            (zero.clone(), zero),
        ] {
            let point = [&[4][..], &x, &y].concat();
            assert_eq!(PublicKey::from_uncompressed(curve, &point), None);
            let changed = with(with(jwk.clone(), "x", json!(encode(&x))), "y", json!(encode(&y)));
            assert_eq!(
                parse(&changed).unwrap_err(),
                KeyProblem::Unacceptable,
                "{changed}"
            );
        }
        for other in EcCurve::ALL.into_iter().filter(|other| *other != curve) {
            let changed = with(with(jwk.clone(), "crv", json!(other.name())), "alg", json!(null));
            assert!(parse(&changed).is_err(), "{changed}");
        }
    }
}

#[test]
fn only_uncompressed_points_are_points() {
    let on_the_curve = signing_key("k", Es256).public().uncompressed().unwrap();
    let mut compressed = on_the_curve[..33].to_vec();
    compressed[0] = 2;
    let mut hybrid = on_the_curve.clone();
    hybrid[0] = 6;
    for bad in [&[][..], &[4; 64], &[4; 66], &[2; 65], &[0], &compressed, &hybrid] {
        assert_eq!(PublicKey::from_uncompressed(EcCurve::P256, bad), None);
    }
    assert!(PublicKey::from_uncompressed(EcCurve::P256, &on_the_curve).is_some());
}

#[test]
fn every_public_key_survives_its_certificate_form() {
    let x25519 = PublicKey::from_raw(OkpCurve::X25519, &[9; 32]).unwrap();
    let keys = SignatureAlgorithm::ALL
        .map(|algorithm| signing_key("k", algorithm).public().clone())
        .into_iter()
        .chain([x25519]);
    for key in keys {
        let der = key.to_spki();
        assert_eq!(PublicKey::from_spki(&der), Some(key.clone()), "{key:?}");
        // DER has one spelling: nothing after it, nothing missing, no other length form
        assert_eq!(PublicKey::from_spki(&[&der[..], &[0]].concat()), None);
        assert_eq!(PublicKey::from_spki(&der[..der.len() - 1]), None);
        for at in [0, 1, 4, 8, 10] {
            let mut other = der.clone();
            other[at] ^= 1;
            assert_eq!(PublicKey::from_spki(&other), None, "{at} of {key:?}");
        }
    }
    assert_eq!(PublicKey::from_spki(&[]), None);
}

#[test]
fn rsa_under_2048_bits_is_refused_everywhere() {
    // a real key of 1024 bits, made with `openssl genpkey`
    const PKCS8: &str = include_str!("testdata/rsa1024.txt");
    let pkcs8 = decode(PKCS8.trim()).unwrap();
    assert!(SigningKey::from_pkcs8(kid("k"), Rs256, &pkcs8).is_err());
    let n = [&[0xc1][..], &[0x55; 126], &[0x57]].concat();
    assert_eq!(PublicKey::from_numbers(&n, &[1, 0, 1]), None);
    // 2047 bits: the first bit of 256 bytes is not set
    let n = [&[0x7f][..], &[0x55; 254], &[0x57]].concat();
    assert_eq!(PublicKey::from_numbers(&n, &[1, 0, 1]), None);
    let n = [&[0x80][..], &[0x55; 254], &[0x57]].concat();
    assert!(PublicKey::from_numbers(&[&[0, 0][..], &n].concat(), &[0, 1, 0, 1]).is_some());
}

#[test]
fn thumbprints_have_a_uri() {
    // RFC 9278 §4, with the key of RFC 7638 §3.1
    let thumbprint = *parse(&rsa()).unwrap().thumbprint();
    let uri = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    assert_eq!(thumbprint.uri(), uri);
    assert_eq!(Thumbprint::from_uri(uri), Some(thumbprint));
    for bad in [
        "",
        "urn:ietf:params:oauth:jwk-thumbprint:sha-256:",
        "urn:ietf:params:oauth:jwk-thumbprint:sha-512:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        // set spare bits, padding, a byte less
        "urn:ietf:params:oauth:jwk-thumbprint:sha-256:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xt",
        "urn:ietf:params:oauth:jwk-thumbprint:sha-256:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs=",
        "urn:ietf:params:oauth:jwk-thumbprint:sha-256:NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9",
    ] {
        assert_eq!(Thumbprint::from_uri(bad), None, "{bad}");
    }
    // RFC 9964 §6: of an algorithm key pair, `alg`, `kty` and `pub`
    let key = signing_key("k", SignatureAlgorithm::MlDsa65);
    let public = public_jwk(&key)["pub"].as_str().unwrap().to_owned();
    let text = format!(r#"{{"alg":"ML-DSA-65","kty":"AKP","pub":"{public}"}}"#);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    assert_eq!(key.public().thumbprint().as_bytes(), digest.as_ref());
}

#[test]
fn an_algorithm_key_pair_is_its_algorithm() {
    let jwk = public_jwk(&signing_key("k", SignatureAlgorithm::MlDsa65));
    assert_eq!(parse(&jwk).unwrap().algorithm(), SignatureAlgorithm::MlDsa65);
    let without = |name: &str| {
        let mut jwk = jwk.clone();
        jwk.as_object_mut().unwrap().remove(name);
        jwk
    };
    // RFC 9964 §3: `alg` is REQUIRED
    assert_eq!(parse(&without("alg")).unwrap_err(), KeyProblem::Malformed);
    assert_eq!(parse(&without("pub")).unwrap_err(), KeyProblem::Malformed);
    let rows = [
        ("alg", json!("ES256"), KeyProblem::AlgorithmMismatch),
        ("alg", json!("ML-DSA-44"), KeyProblem::Unsupported),
        ("pub", json!(encode([7; 1951])), KeyProblem::Malformed),
        ("pub", json!(encode([7; 1312])), KeyProblem::Malformed),
        ("priv", json!(encode([7; 32])), KeyProblem::Private),
    ];
    for (name, value, problem) in rows {
        assert_eq!(
            parse(&with(jwk.clone(), name, value)).unwrap_err(),
            problem,
            "{name}"
        );
    }
}

/// The private JWK of RFC 7517 §A.2, first key.
fn private_ec() -> Value {
    with(ec(), "d", json!("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"))
}

fn private(jwk: &Value) -> Result<SigningKey, KeyProblem> {
    SigningKey::from_jwk(jwk.to_string().as_bytes())
}

#[test]
fn private_keys_are_read_from_jwk() {
    let key = private(&private_ec()).unwrap();
    assert_eq!(key.algorithm(), Es256);
    assert_eq!(key.kid().as_str(), key.public().thumbprint().to_string());
    // RFC 8037 §A.1 and §A.4
    let ed = with(ed(), "d", json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"));
    let key = private(&with(ed.clone(), "kid", json!("ed"))).unwrap();
    assert_eq!(key.kid(), &kid("ed"));
    let signature = key
        .sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc")
        .unwrap();
    assert_eq!(
        encode(signature),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
    // An ML-DSA key is its seed.
    let seed = [42; 32];
    let pair = aws_lc_rs::signature::PqdsaKeyPair::from_seed(&aws_lc_rs::signature::ML_DSA_65_SIGNING, &seed)
        .unwrap();
    let mut jwk = json!({
        "kty": "AKP", "alg": "ML-DSA-65", "pub": encode(pair.public_key().as_ref()), "priv": encode(seed),
    });
    let key = private(&jwk).unwrap();
    assert_eq!(key.algorithm(), SignatureAlgorithm::MlDsa65);
    jwk["priv"] = json!(encode([43; 32]));
    assert_eq!(private(&jwk).unwrap_err(), KeyProblem::Inconsistent);
    jwk["priv"] = json!(encode([43; 31]));
    assert_eq!(private(&jwk).unwrap_err(), KeyProblem::Malformed);
}

#[test]
fn private_keys_that_are_refused() {
    use KeyProblem::{
        AlgorithmMismatch, Inconsistent, Malformed, NotForSigning, Public, Unacceptable, Unsupported,
    };
    let good = private_ec;
    let short = encode(&decode("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE").unwrap()[1..]);
    let rows = [
        (ec(), Public),
        (with(good(), "use", json!("enc")), NotForSigning),
        (with(good(), "key_ops", json!(["verify"])), NotForSigning),
        (with(good(), "key_ops", json!(["encrypt"])), NotForSigning),
        (with(good(), "key_ops", json!(["sign", "decrypt"])), NotForSigning),
        (with(good(), "key_ops", json!(["deriveBits"])), NotForSigning),
        (with(good(), "key_ops", json!(["sign", "sign"])), Malformed),
        (with(good(), "alg", json!("ECDH-ES")), NotForSigning),
        (with(good(), "alg", json!("ES384")), AlgorithmMismatch),
        (with(good(), "alg", json!("HS256")), Unsupported),
        (with(good(), "d", json!(short)), Malformed),
        (with(good(), "d", json!(encode([0; 32]))), Inconsistent),
        (with(good(), "d", json!(encode([0xff; 32]))), Inconsistent),
        (with(good(), "d", json!(encode([1; 32]))), Inconsistent),
        (with(good(), "y", json!(X)), Unacceptable),
        (with(ed(), "d", json!(encode([1; 32]))), Inconsistent),
        (with(ed(), "d", json!(encode([1; 33]))), Malformed),
        (
            with(with(ed(), "d", json!(encode([1; 32]))), "crv", json!("X25519")),
            Unsupported,
        ),
        (with(rsa(), "d", json!("AQAB")), Malformed),
        (json!({ "kty": "oct", "k": "AAAA" }), Unsupported),
    ];
    for (jwk, problem) in rows {
        assert_eq!(private(&jwk).unwrap_err(), problem, "{jwk}");
    }
    assert!(private(&with(good(), "key_ops", json!(["sign", "verify"]))).is_ok());
    assert!(
        private(&with(
            with(good(), "use", json!("sig")),
            "key_ops",
            json!(["sign"])
        ))
        .is_ok()
    );
}

#[test]
fn rsa_without_alg_is_for_rs256_and_with_it_for_that() {
    for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let key = parse(&with(rsa(), "alg", json!(name))).unwrap();
        assert_eq!(key.algorithm().name(), name);
    }
    assert_eq!(parse(&rsa()).unwrap().algorithm(), Rs256);
}

#[test]
fn private_keys_survive_pkcs8_and_show_nothing() {
    for algorithm in SignatureAlgorithm::ALL {
        let key = signing_key("k", algorithm);
        let pkcs8 = key.dangerous_to_pkcs8().unwrap();
        let again = SigningKey::from_pkcs8(kid("k"), algorithm, &pkcs8).unwrap();
        assert_eq!(again.public(), key.public());
        let signature = again.sign(b"message").unwrap();
        let verifier = VerificationKey::from_public(key.public(), algorithm, None).unwrap();
        assert!(verifier.verify(b"message", &signature).is_ok(), "{algorithm:?}");
        assert_eq!(signature.len(), verifier.signature_bytes());
        assert!(verifier.verify(b"messag", &signature).is_err());
        assert_eq!(
            format!("{key:?}"),
            format!(r#"SigningKey {{ kid: KeyId("k"), algorithm: {algorithm:?}, .. }}"#)
        );
        for other in SignatureAlgorithm::ALL
            .into_iter()
            .filter(|other| !key.public().fits(*other))
        {
            assert!(
                SigningKey::from_pkcs8(kid("k"), other, &pkcs8).is_err(),
                "{algorithm:?} as {other:?}"
            );
            assert_eq!(
                VerificationKey::from_public(key.public(), other, None).unwrap_err(),
                KeyProblem::AlgorithmMismatch
            );
        }
        assert!(SigningKey::from_pkcs8(kid("k"), algorithm, &pkcs8[1..]).is_err());
        assert!(SigningKey::from_pkcs8(kid("k"), algorithm, &[]).is_err());
    }
}

#[test]
fn keys_that_we_make_are_long_enough() {
    let (key, pkcs8) = SigningKey::generate(kid("k"), SignatureAlgorithm::Ps256).unwrap();
    assert_eq!(key.sign(b"x").unwrap().len(), 384);
    let again = SigningKey::from_pkcs8(kid("k"), SignatureAlgorithm::Ps256, &pkcs8).unwrap();
    assert_eq!(again.public(), key.public());
}

#[test]
fn private_rsa_from_jwk() {
    // RFC 7515 §A.2.1
    let (n, d, p, q, dp, dq, qi) = RSA_OF_RFC_7515;
    let jwk = json!({
        "kty": "RSA", "n": n, "e": "AQAB", "d": d, "p": p, "q": q, "dp": dp, "dq": dq, "qi": qi,
    });
    let key = private(&jwk).unwrap();
    assert_eq!(key.algorithm(), Rs256);
    assert!(private(&with(jwk.clone(), "p", json!(q))).is_err());
    assert!(private(&with(jwk.clone(), "d", json!("AQAB"))).is_err());
    assert_eq!(
        private(&with(jwk.clone(), "oth", json!([]))).unwrap_err(),
        KeyProblem::Unsupported
    );
    let pss = private(&with(jwk, "alg", json!("PS512"))).unwrap();
    assert_eq!(pss.algorithm(), SignatureAlgorithm::Ps512);
}
