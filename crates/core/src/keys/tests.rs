//! The rules of keys, one by one.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::*;
use crate::ids::KeyId;
use crate::jose::jwk::{PublicJwk, PublicKey, Use, VerificationKey};
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
    for from in all {
        for to in all {
            let slot = Slot::<Signing>::new(KeyId::parse("k").unwrap(), from);
            let moved = slot.become_state(to);
            assert_eq!(moved.is_ok(), allowed.contains(&(from, to)), "{from} -> {to}");
            if let Ok(moved) = moved {
                assert_eq!(moved.state(), to);
            }
        }
    }
    assert!(
        all.into_iter()
            .filter(|state| !state.is_published())
            .eq([Deleted])
    );
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
        assert_eq!(facts.not_after, facts.not_before.plus(Lifetime::from_days(90)));
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
        key: PublicKey::from_uncompressed(pair.public_key_raw()).unwrap(),
        purpose: Use::Signature,
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
