//! The built-in CA: what it may certify, and for how long. Judged by the check that outside chains have to pass.

use aws_lc_rs::signature::{
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    UnparsedPublicKey,
};
use portcullis_core::jose::jwe::KeyManagement;
use portcullis_core::jose::jwk::PublicKey;
use portcullis_core::keys::{
    CertificateFacts, LONGEST_VALIDITY, RotationPolicy, Timing, authority_permits, check_chain,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::rings::House;
use super::*;
use crate::custody::maker::spki_of;
use crate::custody::ring::RequestFor;
use crate::custody::shelf::{Folder, KeyRecord, Shelf};

const OTHER: &str = "https://gw.example.test";

pub(super) fn records(dir: &Path) -> Vec<KeyRecord> {
    Folder::existing(dir).read().unwrap().records
}

/// Each chain is one of the built-in CA, for this identity, and the CA may certify no other host.
pub(super) fn check(records: &[KeyRecord], identity: &str, now: UnixTime) {
    let mut checked = 0;
    for record in records.iter().filter(|record| record.state != State::Deleted) {
        let key = PublicKey::from_spki(&record.public).unwrap();
        let accepted = check_chain(
            &record.chain,
            &[],
            &key,
            record.algorithm.purpose(),
            identity,
            now,
        )
        .unwrap_or_else(|flaw| panic!("{}: {flaw}", record.kid));
        let own = record.certificate().unwrap();
        assert_eq!(accepted.not_after(), own.not_after, "it outlives its CA");
        let (_, above) = x509_parser::parse_x509_certificate(&record.chain[1]).unwrap();
        let constraints = above.name_constraints().unwrap().expect("constraints");
        assert!(constraints.critical);
        assert_eq!(constraints.value.permitted_subtrees.as_ref().unwrap().len(), 1);
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn the_ca_may_certify_this_server_alone() {
    for identity in [
        IDENTITY,
        OTHER,
        "http://[::1]:8421",
        "http://localhost:8421",
        "https://gw.example.test:8443/mcp",
    ] {
        let data = Data::new();
        drop(data.open_as(identity, NOW).unwrap());
        check(&records(&data.ring()), identity, NOW);
        let [ca] = records(&data.0.join("keys/ca")).try_into().unwrap();
        assert_eq!(ca.chain.len(), 1);
        assert_eq!(authority_permits(&ca.chain[0], identity), Some(true));
        if !identity.contains("1]") && !identity.contains("127.") {
            assert_eq!(authority_permits(&ca.chain[0], "https://evil.test"), Some(false));
        }
    }
}

#[test]
fn servers_with_different_names_share_a_ca_and_each_has_its_certificate() {
    let data = Data::new();
    let gateway = data.0.join("keys/gateway");
    let open_gateway = || Keyring::open(&gateway, &data.master(), OTHER, &At(NOW), &System).unwrap();
    let (one, other) = (data.open().unwrap(), open_gateway());
    check(&records(&data.ring()), IDENTITY, NOW);
    check(&records(&gateway), OTHER, NOW);
    assert_eq!(one.describe()[0].issuer, other.describe()[0].issuer);
    let [ca] = records(&data.0.join("keys/ca")).try_into().unwrap();
    assert_eq!(ca.chain.len(), 2);
    for certificate in &ca.chain {
        assert_eq!(spki_of(certificate).unwrap(), ca.public);
    }
    // both start again, in turn, and nothing changes
    for _ in 0..2 {
        assert_eq!(open_gateway().jwks(), other.jwks());
        assert_eq!(data.open().unwrap().jwks(), one.jwks());
    }
    let [after] = records(&data.0.join("keys/ca")).try_into().unwrap();
    assert_eq!(after.chain, ca.chain);
}

#[test]
fn a_name_that_changes_all_the_time_does_not_fill_the_shelf() {
    let data = Data::new();
    for number in 0..20 {
        let identity = format!("https://gw-{number}.example.test");
        drop(data.open_as(&identity, NOW).unwrap());
        check(&records(&data.ring()), &identity, NOW);
    }
    let [ca] = records(&data.0.join("keys/ca")).try_into().unwrap();
    assert_eq!(ca.chain.len(), 16);
}

#[test]
fn the_ca_is_renewed_before_anything_outlives_it() {
    let data = Data::new();
    let ring = data.open().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    // for longer than a certificate of the CA lasts, without a new start
    for day in std::iter::once(0).chain((2820..3700).step_by(20)) {
        let now = NOW.plus(Lifetime::from_days(day));
        ring.advance(now, &System).unwrap();
        let records = records(&data.ring());
        check(&records, IDENTITY, now);
        seen.extend(records.iter().map(|record| record.chain[1].clone()));
    }
    assert_eq!(seen.len(), 2);
    let [ca] = records(&data.0.join("keys/ca")).try_into().unwrap();
    assert_eq!(ca.chain.len(), 1, "the one before went");
    let subjects = seen
        .iter()
        .map(|der| CertificateFacts::parse(der).unwrap().subject);
    assert_eq!(subjects.collect::<std::collections::BTreeSet<_>>().len(), 1);
    // and by a new start
    let data = Data::new();
    drop(data.open().unwrap());
    let later = NOW.plus(Lifetime::from_days(3650 - 500));
    drop(data.open_as(IDENTITY, later).unwrap());
    let [ca] = records(&data.0.join("keys/ca")).try_into().unwrap();
    let facts = CertificateFacts::parse(&ca.chain[0]).unwrap();
    assert!(facts.not_after > later.plus(Lifetime::from_days(3000)));
}

#[test]
fn a_certificate_lasts_as_long_as_the_policy_says_and_a_little_more() {
    for validity in [Lifetime::from_days(90), LONGEST_VALIDITY] {
        let house = House::in_folder();
        let mut settings = house.settings();
        settings.policy = RotationPolicy::new(Timing::of(validity)).unwrap();
        let ring = Keyring::start(settings, NOW, &System).unwrap();
        for key in ring.describe() {
            assert!(key.not_before < NOW);
            assert_eq!(key.not_after, NOW.plus(validity));
        }
    }
}

/// Each with the length of its salt.
const PSS: [(SignatureAlgorithm, &RsaParameters, u32); 3] = [
    (SignatureAlgorithm::Ps256, &RSA_PSS_2048_8192_SHA256, 32),
    (SignatureAlgorithm::Ps384, &RSA_PSS_2048_8192_SHA384, 48),
    (SignatureAlgorithm::Ps512, &RSA_PSS_2048_8192_SHA512, 64),
];

#[test]
fn keys_of_every_kind_are_certified_for_what_they_do() {
    for (signing, quick) in [
        (SignatureAlgorithm::MlDsa65, true),
        (SignatureAlgorithm::EdDsa, true),
        (SignatureAlgorithm::Es512, true),
        (SignatureAlgorithm::Rs256, false),
        (SignatureAlgorithm::Ps256, false),
        (SignatureAlgorithm::Ps384, false),
        (SignatureAlgorithm::Ps512, false),
    ] {
        let house = House::in_folder();
        let mut settings = house.settings();
        settings.signing = signing;
        settings.encryption = KeyManagement::RsaOaep256;
        let files = crate::custody::backend::FileBackend::new(Arc::clone(&settings.master), Arc::new(System));
        settings.backends = vec![Arc::new(files)];
        let ring = Keyring::start(settings.clone(), NOW, &System).unwrap();
        // the check wants keyEncipherment of an RSA key
        check(&house.shelf("authority").read().unwrap().records, IDENTITY, NOW);
        assert_eq!(ring.signer().is_quick(), quick, "{signing:?}");
        let operator = crate::custody::ring::open_for_operator(settings, NOW, &System).unwrap();
        let of = RequestFor::Key(ring.signer().kid().clone());
        let (_, request) = operator.csr(&of, NOW, &System).unwrap();
        assert!(request.lines().all(|line| line.len() <= 64), "{request}");
        let (_, der) = x509_parser::pem::parse_x509_pem(request.as_bytes()).unwrap();
        assert_eq!(der.label, "CERTIFICATE REQUEST");
        if let Some((_, verification, salt)) = PSS.iter().find(|(algorithm, _, _)| *algorithm == signing) {
            // What a CA does with it: the signature, by the algorithm that the request names.
            let (_, parsed) = X509CertificationRequest::from_der(&der.contents).unwrap();
            let info = &parsed.certification_request_info;
            UnparsedPublicKey::new(*verification, &info.subject_pki.subject_public_key.data)
                .verify(info.raw, &parsed.signature_value.data)
                .unwrap();
            let named = &parsed.signature_algorithm;
            assert_eq!(named.algorithm.to_id_string(), "1.2.840.113549.1.1.10");
            let named = x509_parser::signature_algorithm::RsaSsaPssParams::try_from(
                named.parameters.as_ref().unwrap(),
            )
            .unwrap();
            assert_eq!(named.salt_length(), *salt);
            assert_eq!(named.trailer_field(), 1);
            assert!(named.hash_algorithm().is_some() && named.mask_gen_algorithm().is_ok());
        }
    }
}

/// What the page on custody says of replacing the CA.
#[test]
fn a_ca_that_was_removed_is_followed_by_another_and_keys_keep_their_names() {
    let data = Data::new();
    let before = data.open().unwrap();
    let old = records(&data.ring());
    fs::remove_dir_all(data.0.join("keys/ca")).unwrap();
    let after = data.open().unwrap();
    assert_eq!(kids(&before), kids(&after));
    check(&records(&data.ring()), IDENTITY, NOW);
    for (old, new) in old.iter().zip(records(&data.ring())) {
        assert_eq!(old.public, new.public);
        assert_ne!(
            spki_of(&old.chain[1]),
            spki_of(&new.chain[1]),
            "still of the old CA"
        );
    }
}
