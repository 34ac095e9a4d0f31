//! Tests of the two halves of an encryption key.

use aws_lc_rs::encoding::AsDer as _;
use serde_json::{Value as Json, json};

use super::*;
use crate::jose::base64url;
use crate::jose::jwe::tests::{RANDOM, every_kind, key};
use crate::jose::jwk::EncryptionKey;

// RFC 7518 §C
const BOB: &str = r#"{"kty":"EC","crv":"P-256","x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ","y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck","d":"VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw"}"#;
// RFC 8037 §A.6
const BOB_X25519: &str = r#"{"kty":"OKP","crv":"X25519","x":"3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08","d":"XasIfmJKikt54X-Lg4AO5m87sSkmGLb9HC-LJ_-I4Os"}"#;

fn with(jwk: &str, name: &str, value: Json) -> Vec<u8> {
    let mut jwk: Json = serde_json::from_str(jwk).unwrap();
    jwk[name] = value;
    jwk.to_string().into_bytes()
}

fn without(jwk: &str, name: &str) -> Vec<u8> {
    let mut jwk: Json = serde_json::from_str(jwk).unwrap();
    jwk.as_object_mut().unwrap().remove(name);
    jwk.to_string().into_bytes()
}

#[test]
fn a_key_comes_back_from_its_pkcs8() {
    for (algorithm, kind) in every_kind() {
        let key = key(algorithm, kind);
        let pkcs8 = key.dangerous_to_pkcs8().unwrap();
        let again = DecryptionKey::from_pkcs8(key.kid().clone(), algorithm, &pkcs8).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(again.dangerous_to_pkcs8().unwrap(), pkcs8);
    }
    // RFC 8410 §10.3, with the public key, for X25519
    let key = key(KeyManagement::EcdhEs, DecryptionKind::X25519);
    let pkcs8 = key.dangerous_to_pkcs8().unwrap();
    let second = [
        &X25519_PKCS8_V2.0[..],
        &pkcs8[16..],
        &X25519_PKCS8_V2.1,
        &key.public().raw().unwrap(),
    ]
    .concat();
    let again = DecryptionKey::from_pkcs8(key.kid().clone(), KeyManagement::EcdhEs, &second).unwrap();
    assert_eq!(again.public(), key.public());
}

#[test]
fn what_is_no_pkcs8_of_ours_is_refused() {
    let kid = || KeyId::parse("k").unwrap();
    let x25519 = key(KeyManagement::EcdhEs, DecryptionKind::X25519)
        .dangerous_to_pkcs8()
        .unwrap();
    let p521 = agreement::PrivateKey::generate(&agreement::ECDH_P521).unwrap();
    let p521: Pkcs8V1Der<'_> = p521.as_der().unwrap();
    for bad in [
        &b""[..],
        b"x",
        &x25519[..47],
        &[&x25519[..], &[0]].concat(),
        p521.as_ref(),
    ] {
        assert_eq!(
            DecryptionKey::from_pkcs8(kid(), KeyManagement::EcdhEs, bad).unwrap_err(),
            KeyProblem::Unacceptable
        );
    }
    // good keys for something they do not do
    for (kind, algorithm) in [
        (DecryptionKind::X25519, KeyManagement::RsaOaep256),
        (DecryptionKind::P256, KeyManagement::Dir),
        (DecryptionKind::P384, KeyManagement::RsaOaep256),
    ] {
        let pkcs8 = key(KeyManagement::EcdhEs, kind).dangerous_to_pkcs8().unwrap();
        assert_eq!(
            DecryptionKey::from_pkcs8(kid(), algorithm, &pkcs8).unwrap_err(),
            KeyProblem::AlgorithmMismatch
        );
        assert_eq!(
            DecryptionKey::generate(kid(), algorithm, kind, &RANDOM).unwrap_err(),
            jwe::Error::OtherAlgorithm
        );
    }
}

#[test]
fn private_jwks_are_read() {
    for jwk in [BOB, BOB_X25519] {
        let key = DecryptionKey::from_jwk(jwk.as_bytes()).unwrap();
        assert_eq!(PayloadOpener::algorithm(&key), Some(KeyManagement::EcdhEs));
        assert_eq!(key.kid().as_str(), key.public().thumbprint().to_string());
        let named = DecryptionKey::from_jwk(&with(jwk, "kid", json!("bob"))).unwrap();
        assert_eq!(named.kid().as_str(), "bob");
        for algorithm in [KeyManagement::EcdhEsA128Kw, KeyManagement::EcdhEsA256Kw] {
            let key = DecryptionKey::from_jwk(&with(jwk, "alg", json!(algorithm.name()))).unwrap();
            assert_eq!(PayloadOpener::algorithm(&key), Some(algorithm));
        }
        DecryptionKey::from_jwk(&with(jwk, "key_ops", json!(["deriveBits"]))).unwrap();
        DecryptionKey::from_jwk(&with(jwk, "use", json!("enc"))).unwrap();
    }
}

#[test]
fn a_private_jwk_of_rsa_has_all_its_numbers_and_they_belong_together() {
    // The library gives no numbers back, so they are taken out of its PKCS #8: after four headers and an algorithm,
    // 0, n, e, d, p, q, dp, dq, qi (RFC 8017 §A.1.2).
    let key = key(KeyManagement::RsaOaep256, DecryptionKind::Rsa2048);
    let pkcs8 = key.dangerous_to_pkcs8().unwrap();
    let mut rest = &pkcs8[30..];
    let mut integer = || {
        assert_eq!(rest[0], 2);
        let (length, header) = match rest[1] {
            0x82 => (usize::from(rest[2]) << 8 | usize::from(rest[3]), 4),
            0x81 => (usize::from(rest[2]), 3),
            short => (usize::from(short), 2),
        };
        let value = &rest[header..header + length];
        rest = &rest[header + length..];
        base64url::encode(value.strip_prefix(&[0]).unwrap_or(value))
    };
    assert_eq!(integer(), base64url::encode([]));
    let numbers: Vec<String> = (0..8).map(|_| integer()).collect();
    let mut jwk = json!({ "kty": "RSA" });
    for (name, number) in ["n", "e", "d", "p", "q", "dp", "dq", "qi"]
        .into_iter()
        .zip(&numbers)
    {
        jwk[name] = json!(number);
    }
    let text = jwk.to_string();
    let again = DecryptionKey::from_jwk(text.as_bytes()).unwrap();
    assert_eq!(again.public(), key.public());
    assert_eq!(again.dangerous_to_pkcs8().unwrap(), pkcs8);
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        assert!(DecryptionKey::from_jwk(&without(&text, name)).is_err(), "{name}");
        let other = base64url::encode([3; 128]);
        assert!(
            DecryptionKey::from_jwk(&with(&text, name, json!(other))).is_err(),
            "{name}"
        );
    }
    assert_eq!(
        DecryptionKey::from_jwk(&with(&text, "oth", json!([]))).unwrap_err(),
        KeyProblem::Unsupported
    );
}

#[test]
fn private_jwks_for_something_else_are_refused() {
    for (name, value, problem) in [
        ("use", json!("sig"), KeyProblem::NotForDecrypting),
        ("use", json!(1), KeyProblem::Malformed),
        ("key_ops", json!(["sign"]), KeyProblem::NotForDecrypting),
        (
            "key_ops",
            json!(["deriveKey", "sign"]),
            KeyProblem::NotForDecrypting,
        ),
        (
            "key_ops",
            json!(["deriveKey", "deriveKey"]),
            KeyProblem::Malformed,
        ),
        ("key_ops", json!([]), KeyProblem::NotForDecrypting),
        ("alg", json!("ES256"), KeyProblem::Unsupported),
        ("alg", json!("RSA-OAEP-256"), KeyProblem::AlgorithmMismatch),
        ("alg", json!("dir"), KeyProblem::AlgorithmMismatch),
        ("kid", json!(""), KeyProblem::Malformed),
        ("d", json!(base64url::encode([1; 32])), KeyProblem::Inconsistent),
        ("d", json!(base64url::encode([1; 31])), KeyProblem::Unacceptable),
        (
            "d",
            json!(base64url::encode([0xff; 32])),
            KeyProblem::Unacceptable,
        ),
        ("d", json!("AA=="), KeyProblem::Malformed),
        ("crv", json!("secp256k1"), KeyProblem::Unsupported),
    ] {
        let verdict = DecryptionKey::from_jwk(&with(BOB, name, value.clone())).unwrap_err();
        assert_eq!(verdict, problem, "{name} {value}");
    }
    assert_eq!(
        DecryptionKey::from_jwk(&without(BOB, "d")).unwrap_err(),
        KeyProblem::Public
    );
    let ed25519 = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    assert_eq!(
        DecryptionKey::from_jwk(ed25519.as_bytes()).unwrap_err(),
        KeyProblem::Unsupported
    );
}

#[test]
fn recipients_are_read_and_those_for_something_else_are_not() {
    let public = String::from_utf8(without(BOB, "d")).unwrap();
    let read = |jwk: &[u8]| EncryptionKey::parse(jwk);
    let key = read(public.as_bytes()).unwrap();
    assert_eq!((key.algorithm(), key.kid()), (KeyManagement::EcdhEs, None));
    assert_eq!(key.thumbprint(), &key.public().thumbprint());
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!([])),
        ("key_ops", json!(["deriveKey"])),
        ("alg", json!("ECDH-ES+A128KW")),
    ] {
        assert!(read(&with(&public, name, value)).is_ok(), "{name}");
    }
    for (name, value, problem) in [
        ("use", json!("sig"), KeyProblem::NotForEncrypting),
        ("use", json!("ENC"), KeyProblem::NotForEncrypting),
        ("key_ops", json!(["verify"]), KeyProblem::NotForEncrypting),
        (
            "key_ops",
            json!(["deriveKey", "verify"]),
            KeyProblem::NotForEncrypting,
        ),
        ("key_ops", json!("deriveKey"), KeyProblem::Malformed),
        ("alg", json!("ES256"), KeyProblem::Unsupported),
        ("alg", json!("RSA-OAEP"), KeyProblem::Unsupported),
        ("alg", json!("RSA-OAEP-256"), KeyProblem::AlgorithmMismatch),
        ("alg", json!("dir"), KeyProblem::AlgorithmMismatch),
        ("d", json!("AA"), KeyProblem::Private),
        ("y", json!(base64url::encode([1; 32])), KeyProblem::Unacceptable),
    ] {
        assert_eq!(
            read(&with(&public, name, value.clone())).unwrap_err(),
            problem,
            "{name} {value}"
        );
    }
    let rsa = crate::jose::jwe::tests::key(KeyManagement::RsaOaep256, DecryptionKind::Rsa2048);
    let mut jwk = json!({});
    for (name, value) in rsa.public().members() {
        jwk[name] = json!(value);
    }
    let jwk = jwk.to_string();
    assert_eq!(
        read(jwk.as_bytes()).unwrap().algorithm(),
        KeyManagement::RsaOaep256
    );
    assert!(read(&with(&jwk, "key_ops", json!(["wrapKey"]))).is_ok());
    assert!(read(&with(&jwk, "key_ops", json!(["encrypt"]))).is_ok());
    assert_eq!(
        read(&with(&jwk, "key_ops", json!([]))).unwrap_err(),
        KeyProblem::NotForEncrypting
    );
    assert_eq!(
        read(&with(&jwk, "alg", json!("ECDH-ES"))).unwrap_err(),
        KeyProblem::AlgorithmMismatch
    );
}

#[test]
fn debug_shows_nothing_of_a_private_key() {
    let key = DecryptionKey::from_jwk(BOB.as_bytes()).unwrap();
    let shown = format!("{key:?}");
    assert!(
        shown.starts_with("DecryptionKey { kid:") && !shown.contains("VEmD"),
        "{shown}"
    );
}
