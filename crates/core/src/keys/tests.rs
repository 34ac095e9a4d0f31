//! The rules of keys, one by one.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::*;
use crate::ids::KeyId;
use crate::jose::SignatureAlgorithm;
use crate::jose::jwk::{EcCurve, PublicJwk, PublicKey, Use, VerificationKey};
use crate::time::{Lifetime, UnixTime};

const IDENTITY: &str = "https://gw.example.test";

fn request(profile: Profile) -> Request {
    Request {
        profile,
        name: "sig-2026-11-0badcafe".to_owned(),
        identity: IDENTITY.to_owned(),
        serial: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        not_before: UnixTime::from_secs(1_800_000_000),
        lifetime: profile.longest(),
    }
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

#[test]
fn a_key_only_moves_forward() {
    use State::{Deleted, Disabled, Enabled, Staged};
    let all = [Staged, Enabled, Disabled, Deleted];
    let allowed = [
        (Staged, Enabled),
        (Enabled, Disabled),
        (Staged, Deleted),
        (Enabled, Deleted),
        (Disabled, Deleted),
    ];
    let at = UnixTime::from_secs(7);
    for from in all {
        for to in all {
            let kid = KeyId::parse("k").unwrap();
            let mut key = KeyView::made(kid, Use::Signature, Birth::Staged, at, at);
            key.state = from;
            let moved = key.become_state(to, at);
            assert_eq!(moved.is_ok(), allowed.contains(&(from, to)), "{from} -> {to}");
            assert_eq!(key.state, if moved.is_ok() { to } else { from });
        }
    }
}

#[test]
fn senders_find_the_primary_alone_and_verifiers_every_key() {
    use State::{Deleted, Disabled, Enabled, Staged};
    for (state, verifies, sealed_for, opens) in [
        (Staged, true, false, true),
        (Enabled, true, true, true),
        (Disabled, true, false, true),
        (Deleted, false, false, false),
    ] {
        assert_eq!(state.is_published(Use::Signature), verifies, "{state}");
        assert_eq!(state.is_published(Use::Encryption), sealed_for, "{state}");
        assert_eq!(state.opens(), opens, "{state}");
    }
    let end = UnixTime::from_secs(7);
    let kid = KeyId::parse("k").unwrap();
    let key = KeyView::made(kid, Use::Signature, Birth::Enabled, end, end);
    assert!(key.is_published(UnixTime::from_secs(6)));
    assert!(!key.is_published(end), "past its certificate");
}

#[test]
fn names_say_purpose_month_and_key() {
    let jwk = br#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let thumbprint = *VerificationKey::parse(jwk).unwrap().thumbprint();
    // RFC 8037 §A.3: the thumbprint begins with 90fa caf e...
    assert_eq!(
        Signing::kid(2026, 11, &thumbprint).unwrap().as_str(),
        "sig-2026-11-90facafe"
    );
    assert_eq!(
        Sealing::kid(2027, 1, &thumbprint).unwrap().as_str(),
        "enc-2027-01-90facafe"
    );
}

#[test]
fn certificates_say_what_their_profile_says() {
    let authority_key = p256();
    let authority = request(Profile::Authority)
        .lint()
        .unwrap()
        .self_signed(&authority_key)
        .unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_der(&authority.as_slice().into(), &authority_key).unwrap();
    for (purpose, usages, purposes) in [
        (
            Use::Signature,
            "Digital Signature",
            vec!["1.3.6.1.5.5.7.3.37", "1.3.6.1.5.5.7.3.39"],
        ),
        (Use::Encryption, "Key Agreement", vec!["1.3.6.1.5.5.7.3.38"]),
    ] {
        let key = p256();
        let der = request(Profile::Leaf(purpose))
            .lint()
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let facts = CertificateFacts::parse(&der).unwrap();
        assert_eq!(facts.identities, [IDENTITY]);
        assert_eq!(facts.public_key, key.public_key_raw());
        assert_eq!(facts.not_before, UnixTime::from_secs(1_800_000_000));
        assert_eq!(
            facts.not_after,
            facts.not_before.plus(Profile::Leaf(purpose).longest())
        );
        let (_, read) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert!(!read.is_ca());
        assert_eq!(read.key_usage().unwrap().unwrap().value.to_string(), usages);
        let extended = read.extended_key_usage().unwrap().unwrap().value;
        let others: Vec<String> = extended.other.iter().map(ToString::to_string).collect();
        assert_eq!(others, purposes);
        assert!(!extended.any && !extended.server_auth && !extended.client_auth);
        let (_, above) = x509_parser::parse_x509_certificate(&authority).unwrap();
        assert_eq!(read.issuer(), above.subject());
        assert!(above.is_ca());
        assert_eq!(
            above
                .basic_constraints()
                .unwrap()
                .unwrap()
                .value
                .path_len_constraint,
            Some(0)
        );
    }
}

#[test]
fn certificates_that_are_not_made() {
    let leaf = || request(Profile::Leaf(Use::Signature));
    let day = Lifetime::from_secs(1);
    let over = |profile: Profile| Lifetime::from_secs(profile.longest().as_secs() + day.as_secs());
    let rows = [
        (
            Request {
                lifetime: over(leaf().profile),
                ..leaf()
            },
            Flaw::Validity(over(leaf().profile)),
        ),
        (
            Request {
                lifetime: over(Profile::Authority),
                ..request(Profile::Authority)
            },
            Flaw::Validity(over(Profile::Authority)),
        ),
        (
            Request {
                lifetime: Lifetime::from_secs(0),
                ..leaf()
            },
            Flaw::Validity(Lifetime::from_secs(0)),
        ),
        (
            Request {
                not_before: UnixTime::from_secs(-1),
                ..leaf()
            },
            Flaw::Dates,
        ),
        (
            Request {
                not_before: UnixTime::from_secs(253_402_300_799),
                ..leaf()
            },
            Flaw::Dates,
        ),
        (
            Request {
                identity: "not a URI".to_owned(),
                ..leaf()
            },
            Flaw::Identity,
        ),
        (
            Request {
                identity: "https://gw.example.test/ü".to_owned(),
                ..leaf()
            },
            Flaw::Identity,
        ),
        (
            Request {
                identity: String::new(),
                ..leaf()
            },
            Flaw::Identity,
        ),
        (
            Request {
                name: String::new(),
                ..leaf()
            },
            Flaw::Subject,
        ),
        (
            Request {
                name: "x".repeat(65),
                ..leaf()
            },
            Flaw::Subject,
        ),
        (
            Request {
                name: "a\nb".to_owned(),
                ..leaf()
            },
            Flaw::Subject,
        ),
        (
            Request {
                serial: [0; 16],
                ..leaf()
            },
            Flaw::Serial,
        ),
    ];
    for (request, flaw) in rows {
        assert_eq!(request.lint().unwrap_err(), flaw, "{request:?}");
    }
    assert!(
        Request {
            name: "x".repeat(64),
            ..leaf()
        }
        .lint()
        .is_ok()
    );
}

/// JWK-20 of the attack catalogue.
#[test]
fn only_one_certificate_is_read() {
    let key = p256();
    let mut der = request(Profile::Authority)
        .lint()
        .unwrap()
        .self_signed(&key)
        .unwrap();
    assert!(CertificateFacts::parse(&der).is_ok());
    der.push(0);
    assert!(CertificateFacts::parse(&der).is_err());
    assert!(CertificateFacts::parse(b"").is_err());
}

#[test]
fn the_document_is_the_same_for_the_same_keys() {
    let jwk = |kid: &str, pair: &KeyPair| PublicJwk {
        key: PublicKey::from_uncompressed(EcCurve::P256, pair.public_key_raw()).unwrap(),
        algorithm: SignatureAlgorithm::Es256.into(),
        kid: KeyId::parse(kid).unwrap(),
        chain: vec![],
    };
    let (a, b) = (p256(), p256());
    let one = JwksDocument::new(vec![jwk("a", &a), jwk("b", &b)]);
    let other = JwksDocument::new(vec![jwk("b", &b), jwk("a", &a)]);
    assert_eq!(one, other);
    assert!(one.etag().starts_with('"') && one.etag().ends_with('"') && !one.etag().starts_with("W/"));
    assert_ne!(one.etag(), JwksDocument::new(vec![jwk("a", &a)]).etag());
    let keys = crate::jose::jwk::KeySet::parse(&one.bytes()).unwrap();
    assert_eq!(keys.len(), 2);
}
