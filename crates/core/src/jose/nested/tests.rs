//! Tests of nested JWTs.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::*;
use crate::jose::jwe::tests::{RANDOM, every_kind, key, recipient};
use crate::jose::jwe::{KeyManagement, encrypt};
use crate::jose::jwk::{DecryptionKey, DecryptionKind};

struct Signer(EcdsaKeyPair, KeyId);

impl TokenSigner for Signer {
    fn kid(&self) -> &KeyId {
        &self.1
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Es256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
        let digest = digest::digest(&digest::SHA256, message);
        Ok(self.0.sign_digest(&digest).unwrap().as_ref().to_vec())
    }
}

fn signer() -> (Signer, KeySet) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "s",
        "x": base64url::encode(&point[1..33]), "y": base64url::encode(&point[33..]),
    });
    let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    (Signer(pair, KeyId::parse("s").unwrap()), keys)
}

fn ours() -> (DecryptionKey, EncryptionKey) {
    let key = key(KeyManagement::EcdhEs, DecryptionKind::P256);
    let recipient = recipient(&key);
    (key, recipient)
}

fn with_cty<'a>(cty: Option<&'a str>) -> Protected<'a> {
    Protected {
        cty,
        ..Protected::new(ContentEncryption::A256Gcm)
    }
}

#[test]
fn what_was_signed_and_encrypted_comes_out() {
    let (signer, keys) = signer();
    let claims = json!({ "sub": "alice", "n": 1 });
    for (algorithm, kind) in every_kind() {
        let key = key(algorithm, kind);
        let message = seal(
            &signer,
            &recipient(&key),
            ContentEncryption::A256Gcm,
            "sealed-field+jwt",
            claims.as_object().unwrap(),
            &RANDOM,
        )
        .unwrap();
        let unopened = Unopened::parse(&message).unwrap();
        assert_eq!(unopened.outer().cty(), Some("JWT"));
        assert_eq!(unopened.kid(), Some(key.kid()));
        let opened = unopened.open(&key).unwrap();
        assert_eq!(opened.kid().map(KeyId::as_str), Some("s"));
        assert_eq!(opened.algorithm(), SignatureAlgorithm::Es256);
        assert_eq!(opened.recipient(), key.kid());
        let verified = opened.verify_with(&keys).unwrap();
        assert_eq!(verified.typ(), Some("sealed-field+jwt"));
        assert_eq!(
            serde_json::from_slice::<Json>(verified.payload()).unwrap(),
            claims
        );
        let shown = format!("{unopened:?} {opened:?} {verified:?}");
        assert!(!shown.contains("alice"), "{shown}");
    }
}

#[test]
fn another_signer_or_recipient_is_refused() {
    let (one, keys) = signer();
    let (other, others) = signer();
    let (key, recipient) = ours();
    let make = |signer| {
        seal(
            signer,
            &recipient,
            ContentEncryption::A128Gcm,
            "t",
            &Map::new(),
            &RANDOM,
        )
        .unwrap()
    };
    let message = make(&one);
    let opened = Unopened::parse(&message).unwrap().open(&key).unwrap();
    assert!(opened.verify_with(&keys).is_ok());
    assert_eq!(
        opened.verify_with(&others).unwrap_err(),
        Error::Jws(jws::Error::Signature)
    );
    let (stranger, _) = ours();
    let verdict = Unopened::parse(&message).unwrap().open(&stranger).unwrap_err();
    assert_eq!(verdict, Error::Jwe(jwe::Error::Opening));
    let unknown = make(&Signer(other.0, KeyId::parse("u").unwrap()));
    let opened = Unopened::parse(&unknown).unwrap().open(&key).unwrap();
    assert_eq!(opened.verify_with(&keys).unwrap_err(), Error::KeyUnknown);
}

#[test]
fn the_outer_cty_is_exactly_jwt() {
    let (signer, _) = signer();
    let (key, recipient) = ours();
    let token = jws::sign(&signer, "t", &Map::new()).unwrap();
    let make = |cty| encrypt(&recipient, &with_cty(cty), token.as_bytes(), &RANDOM).unwrap();
    // RFC 7519 §5.2: media type names are not case-sensitive
    for cty in ["JWT", "jwt", "Jwt"] {
        assert!(Unopened::parse(&make(Some(cty))).unwrap().open(&key).is_ok());
    }
    for cty in [
        None,
        Some(""),
        Some("application/jwt"),
        Some("JWT "),
        Some("json"),
        Some("at+jwt"),
        Some("JWTs"),
    ] {
        assert_eq!(
            Unopened::parse(&make(cty)).unwrap_err(),
            Error::NotNested,
            "{cty:?}"
        );
    }
}

#[test]
fn what_is_inside_is_a_signed_token() {
    let (key, recipient) = ours();
    let (signer, _) = signer();
    let inside = |inner: &[u8]| {
        let message = encrypt(&recipient, &with_cty(Some("JWT")), inner, &RANDOM).unwrap();
        Unopened::parse(&message).unwrap().open(&key).map(drop)
    };
    let token = jws::sign(&signer, "t", &Map::new()).unwrap();
    assert_eq!(inside(token.as_bytes()), Ok(()));
    // another message, with a signed token in it or not
    let deeper = encrypt(&recipient, &with_cty(Some("JWT")), token.as_bytes(), &RANDOM).unwrap();
    assert!(matches!(inside(deeper.as_bytes()), Err(Error::Jws(_))));
    for inner in [&b"{}"[..], b"", b"\xff", b"a.b.c", b"{\"sub\":\"alice\"}"] {
        assert!(matches!(inside(inner), Err(Error::Jws(_))), "{inner:?}");
    }
    // unsigned
    let none = format!(
        "{}.{}.",
        base64url::encode(r#"{"alg":"none"}"#),
        base64url::encode("{}")
    );
    assert!(matches!(inside(none.as_bytes()), Err(Error::Jws(_))));
    let none = format!("{none}AA");
    assert_eq!(inside(none.as_bytes()), Err(Error::Jws(jws::Error::Algorithm)));
}

#[test]
fn a_token_inside_of_the_token_is_refused() {
    let (key, recipient) = ours();
    let inside = |cty: Json| {
        let header = json!({ "alg": "ES256", "kid": "s", "cty": cty });
        let token = format!(
            "{}.{}.AAAA",
            base64url::encode(header.to_string()),
            base64url::encode("x")
        );
        let message = encrypt(&recipient, &with_cty(Some("JWT")), token.as_bytes(), &RANDOM).unwrap();
        Unopened::parse(&message).unwrap().open(&key).map(drop)
    };
    for cty in ["JWT", "jwt", "application/jwt"] {
        assert_eq!(inside(json!(cty)), Err(Error::Deeper));
    }
    assert!(matches!(inside(json!(1)), Err(Error::Jws(jws::Error::Header))));
    assert_eq!(inside(json!("json")), Ok(()));
}

#[test]
fn oversized_nested_tokens_are_refused() {
    let (key, recipient) = ours();
    let (signer, keys) = signer();
    let claims = json!({ "val": "x".repeat(jwe::SMALL_BYTES) });
    let claims = claims.as_object().unwrap();
    let message = seal(
        &signer,
        &recipient,
        ContentEncryption::A256Gcm,
        "t",
        claims,
        &RANDOM,
    )
    .unwrap();
    assert!(matches!(
        Unopened::parse(&message).unwrap_err(),
        Error::Jwe(jwe::Error::TooLarge { .. })
    ));
    let unopened = Unopened::parse_within(&message, message.len()).unwrap();
    unopened.open(&key).unwrap().verify_with(&keys).unwrap();
}
