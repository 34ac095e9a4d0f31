//! Certificates of every kind of key, and chains that are taken and that are not.

use rcgen::{CidrSubnet, GeneralSubtree, Issuer, KeyPair, NameConstraints, RsaKeySize};

use super::*;
use crate::jose::jwk::PublicKey;

const IDENTITY: &str = "https://gw.example.test";
const BEGIN: i64 = 1_800_000_000;
const NOW: UnixTime = UnixTime::from_secs(BEGIN + 86_400);

fn request(profile: Profile, identity: &str) -> Request {
    Request {
        profile,
        name: "sig-2026-11-0badcafe".to_owned(),
        identity: identity.to_owned(),
        serial: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        not_before: UnixTime::from_secs(BEGIN),
        lifetime: Lifetime::from_days(90),
    }
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn public(key: &KeyPair) -> PublicKey {
    PublicKey::from_spki(&key.subject_public_key_info()).unwrap()
}

/// The built-in CA of this identity.
fn built_in(identity: &str, key: &KeyPair) -> Vec<u8> {
    request(Profile::Authority, identity)
        .lint()
        .unwrap()
        .self_signed(key)
        .unwrap()
}

fn certified(purpose: Use, identity: &str, key: &KeyPair, ca: &[u8], ca_key: &KeyPair) -> Vec<u8> {
    let issuer = Issuer::from_ca_cert_der(&ca.into(), ca_key).unwrap();
    let subject = SubjectKey::new(&public(key)).unwrap();
    request(Profile::Leaf(purpose), identity)
        .lint()
        .unwrap()
        .signed_by(&subject, &issuer)
        .unwrap()
}

/// Parameters of an outside CA.
fn outside(name: &str, most_below: Option<u8>) -> CertificateParams {
    let mut params = dated();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(match most_below {
        Some(most) => BasicConstraints::Constrained(most),
        None => BasicConstraints::Unconstrained,
    });
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn dated() -> CertificateParams {
    let mut params = CertificateParams::default();
    let begin = u64::try_from(BEGIN).unwrap();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + std::time::Duration::from_secs(begin);
    params.not_after = epoch + std::time::Duration::from_secs(begin + 90 * 86_400);
    params.distinguished_name = DistinguishedName::new();
    params
}

/// Parameters of a signing key's certificate as an outside CA makes it.
fn leaf() -> CertificateParams {
    let mut params = dated();
    params.distinguished_name.push(DnType::CommonName, "a server");
    params.subject_alt_names = vec![SanType::URI(IDENTITY.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

/// With these a certificate may have other names, since nothing but tokens is signed with its key.
fn for_tokens() -> Vec<ExtendedKeyUsagePurpose> {
    vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 37])]
}

struct World {
    root_key: KeyPair,
    root: CertificateParams,
    middle_key: KeyPair,
    middle: CertificateParams,
    key: KeyPair,
    leaf: CertificateParams,
}

impl World {
    fn new() -> Self {
        Self {
            root_key: p256(),
            root: outside("root", None),
            middle_key: p256(),
            middle: outside("middle", Some(0)),
            key: p256(),
            leaf: leaf(),
        }
    }

    fn chain(&self) -> Vec<Vec<u8>> {
        let root = self.root.self_signed(&self.root_key).unwrap();
        let issuer = Issuer::from_params(&self.root, &self.root_key);
        let middle = self.middle.signed_by(&self.middle_key, &issuer).unwrap();
        let issuer = Issuer::from_params(&self.middle, &self.middle_key);
        let leaf = self.leaf.signed_by(&self.key, &issuer).unwrap();
        [leaf, middle, root]
            .iter()
            .map(|certificate| certificate.der().to_vec())
            .collect()
    }

    fn check(&self) -> Result<Checked, ChainFlaw> {
        check_chain(
            &self.chain(),
            &[],
            &public(&self.key),
            Use::Signature,
            IDENTITY,
            NOW,
        )
    }
}

fn flaw(number: usize, problem: ChainProblem) -> Result<Checked, ChainFlaw> {
    Err(ChainFlaw { number, problem })
}

#[test]
fn every_kind_of_key_is_certified_and_its_chain_holds() {
    let rsa = || KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let of = |algorithm| KeyPair::generate_for(algorithm).unwrap();
    let keys = [
        (p256(), true),
        (of(&rcgen::PKCS_ECDSA_P384_SHA384), true),
        (of(&rcgen::PKCS_ECDSA_P521_SHA512), true),
        (rsa(), true),
        (of(&rcgen::PKCS_ED25519), false),
        (of(&rcgen::PKCS_ML_DSA_65), false),
    ];
    // Each of them as the CA's key too.
    for (ca_key, _) in &keys {
        let ca = built_in(IDENTITY, ca_key);
        for (key, encrypts) in &keys {
            for purpose in [Use::Signature, Use::Encryption] {
                if purpose == Use::Encryption && !encrypts {
                    let issuer = Issuer::from_ca_cert_der(&ca.as_slice().into(), ca_key).unwrap();
                    let linted = request(Profile::Leaf(purpose), IDENTITY).lint().unwrap();
                    assert!(
                        linted
                            .signed_by(&SubjectKey::new(&public(key)).unwrap(), &issuer)
                            .is_err()
                    );
                    continue;
                }
                let own = certified(purpose, IDENTITY, key, &ca, ca_key);
                let chain = [own, ca.clone()];
                let checked = check_chain(&chain, &[], &public(key), purpose, IDENTITY, NOW).unwrap();
                assert_eq!(checked.chain(), chain);
                assert_eq!(checked.not_after(), UnixTime::from_secs(BEGIN + 90 * 86_400));
                let other = match purpose {
                    Use::Signature => Use::Encryption,
                    Use::Encryption => Use::Signature,
                };
                let refused = check_chain(&chain, &[], &public(key), other, IDENTITY, NOW).unwrap_err();
                assert!(matches!(refused.problem, ChainProblem::Usage(_)), "{refused}");
            }
        }
    }
}

#[test]
fn the_built_in_authority_certifies_its_own_server_alone() {
    let (ca_key, key) = (p256(), p256());
    for (identity, other) in [
        (IDENTITY, "https://other.example.test"),
        (IDENTITY, "https://x.gw.example.test"),
        ("http://localhost:8420", "http://localhost.example.test"),
    ] {
        let ca = built_in(identity, &ca_key);
        assert_eq!(authority_permits(&ca, identity), Some(true));
        assert_eq!(authority_permits(&ca, other), Some(false));
        assert_eq!(
            authority_permits(&ca, "http://127.0.0.1:8420"),
            Some(false),
            "no address under a host"
        );
        let chain = [certified(Use::Signature, other, &key, &ca, &ca_key), ca];
        assert_eq!(
            check_chain(&chain, &[], &public(&key), Use::Signature, other, NOW),
            flaw(2, ChainProblem::NameConstraints)
        );
    }
    // RFC 5280 §4.2.1.10 has no constraint of URIs for addresses: DNS names are forbidden instead.
    for identity in ["http://127.0.0.1:8420", "http://[::1]:8420"] {
        let ca = built_in(identity, &ca_key);
        let chain = [
            certified(Use::Signature, identity, &key, &ca, &ca_key),
            ca.clone(),
        ];
        assert!(check_chain(&chain, &[], &public(&key), Use::Signature, identity, NOW).is_ok());
        for name in [
            SanType::DnsName("gw.example.test".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
        ] {
            let mut params = leaf();
            params.extended_key_usages = for_tokens();
            params.subject_alt_names = vec![SanType::URI(identity.try_into().unwrap()), name];
            let issuer = Issuer::from_ca_cert_der(&ca.as_slice().into(), &ca_key).unwrap();
            let own = params.signed_by(&key, &issuer).unwrap().der().to_vec();
            assert_eq!(
                check_chain(
                    &[own, ca.clone()],
                    &[],
                    &public(&key),
                    Use::Signature,
                    identity,
                    NOW
                ),
                flaw(2, ChainProblem::NameConstraints)
            );
        }
    }
    assert_eq!(authority_permits(&built_in("", &ca_key), IDENTITY), Some(true));
    assert_eq!(
        request(Profile::Authority, "no URL").lint().unwrap_err(),
        Flaw::Identity
    );
}

#[test]
fn an_outside_chain_is_taken_up_to_its_root_or_a_trusted_certificate() {
    let world = World::new();
    let chain = world.chain();
    let check = |chain: &[Vec<u8>], anchors: &[Vec<u8>]| {
        check_chain(chain, anchors, &public(&world.key), Use::Signature, IDENTITY, NOW)
    };
    assert!(check(&chain, &[]).is_ok());
    assert!(check(&chain, &chain[2..]).is_ok());
    assert!(check(&chain[..2], &chain[2..]).is_ok());
    assert!(check(&chain[..2], &chain[1..2]).is_ok());
    assert!(check(&chain[..1], &chain[1..2]).is_ok());
    assert_eq!(check(&chain[..2], &[]), flaw(2, ChainProblem::Unanchored));
    assert_eq!(check(&chain[..1], &chain[..1]), flaw(1, ChainProblem::Unanchored));
    let other = World::new().chain();
    assert_eq!(check(&chain, &other[2..]), flaw(3, ChainProblem::Unanchored));
    assert_eq!(check(&[], &[]), flaw(1, ChainProblem::Missing));
    // Same names, other keys.
    let forged = [chain[0].clone(), other[1].clone(), other[2].clone()];
    assert_eq!(check(&forged, &[]), flaw(2, ChainProblem::Signature));
    let swapped = [chain[0].clone(), chain[2].clone(), chain[1].clone()];
    assert_eq!(check(&swapped, &[]), flaw(2, ChainProblem::Order));
    let many = vec![chain[0].clone(); LONGEST_CHAIN + 1];
    assert_eq!(check(&many, &[]), flaw(LONGEST_CHAIN + 1, ChainProblem::TooMany));
    assert_eq!(
        check(&[vec![0x30; LONGEST_CERTIFICATE + 1]], &[]),
        flaw(1, ChainProblem::TooLong)
    );
    let key = public(&p256());
    assert_eq!(
        check_chain(&chain, &[], &key, Use::Signature, IDENTITY, NOW),
        flaw(1, ChainProblem::OtherKey)
    );
    for (now, problem) in [
        (BEGIN - 1, ChainProblem::NotYet),
        (BEGIN + 90 * 86_400, ChainProblem::Ended),
    ] {
        let now = UnixTime::from_secs(now);
        assert_eq!(
            check_chain(&chain, &[], &public(&world.key), Use::Signature, IDENTITY, now),
            flaw(1, problem)
        );
    }
}

#[test]
fn chains_that_are_not_taken() {
    type Change = fn(&mut World);
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    assert!(World::new().check().is_ok());
    let usage = |flaw: &ChainProblem| matches!(flaw, ChainProblem::Usage(_));
    type Is = Box<dyn Fn(&ChainProblem) -> bool>;
    let rows: Vec<(Change, usize, Is)> = vec![
        (
            |w| w.leaf.subject_alt_names.clear(),
            1,
            Box::new(|p| matches!(p, ChainProblem::Identity(_))),
        ),
        (
            |w| {
                w.leaf
                    .subject_alt_names
                    .push(SanType::URI("https://other.test".try_into().unwrap()))
            },
            1,
            Box::new(|p| matches!(p, ChainProblem::Identity(_))),
        ),
        (
            |w| w.leaf.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            1,
            Box::new(|p| *p == ChainProblem::IsAuthority),
        ),
        (|w| w.leaf.key_usages.clear(), 1, Box::new(usage)),
        (
            |w| w.leaf.key_usages.push(KeyUsagePurpose::KeyAgreement),
            1,
            Box::new(usage),
        ),
        (
            |w| w.leaf.key_usages.push(KeyUsagePurpose::KeyCertSign),
            1,
            Box::new(usage),
        ),
        (
            |w| w.leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            1,
            Box::new(usage),
        ),
        (
            |w| w.leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any],
            1,
            Box::new(usage),
        ),
        (
            |w| {
                w.leaf.extended_key_usages =
                    vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 38])]
            },
            1,
            Box::new(usage),
        ),
        (
            |w| w.middle.is_ca = IsCa::ExplicitNoCa,
            2,
            Box::new(|p| *p == ChainProblem::NotAuthority),
        ),
        (
            |w| w.middle.is_ca = IsCa::NoCa,
            2,
            Box::new(|p| *p == ChainProblem::NotAuthority),
        ),
        (
            |w| w.middle.key_usages = vec![KeyUsagePurpose::DigitalSignature],
            2,
            Box::new(|p| *p == ChainProblem::NotAuthority),
        ),
        (
            |w| w.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            3,
            Box::new(|p| *p == ChainProblem::PathLength),
        ),
        (
            |w| {
                let mut unknown =
                    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
                unknown.set_criticality(true);
                w.middle.custom_extensions = vec![unknown];
            },
            2,
            Box::new(|p| *p == ChainProblem::Critical("1.3.6.1.4.1.99999.1".to_owned())),
        ),
        (
            |w| w.middle.not_after = rcgen::date_time_ymd(2027, 1, 16),
            2,
            Box::new(|p| *p == ChainProblem::Ended),
        ),
    ];
    for (index, (change, number, is)) in rows.iter().enumerate() {
        let mut world = World::new();
        change(&mut world);
        let refused = world.check().unwrap_err();
        assert!(
            refused.number == *number && is(&refused.problem),
            "{index}: {refused}"
        );
    }
    let mut world = World::new();
    world.leaf.extended_key_usages = for_tokens();
    world.leaf.subject_alt_names = vec![
        uri(IDENTITY),
        SanType::DnsName("gw.example.test".try_into().unwrap()),
    ];
    assert!(world.check().is_ok(), "a DNS name beside the URI harms nobody");
}

#[test]
fn without_an_extended_key_usage_there_is_no_name_for_tls() {
    for name in [
        SanType::DnsName("gw.example.test".try_into().unwrap()),
        SanType::IpAddress("10.1.2.3".parse().unwrap()),
        SanType::Rfc822Name("gw@example.test".try_into().unwrap()),
    ] {
        let mut world = World::new();
        world.leaf.subject_alt_names.push(name.clone());
        let refused = world.check().unwrap_err();
        assert_eq!(refused.number, 1);
        assert!(matches!(refused.problem, ChainProblem::Usage(_)), "{refused}");
        world.leaf.extended_key_usages = for_tokens();
        assert!(world.check().is_ok(), "{name:?}");
    }
}

#[test]
fn a_trusted_certificate_outside_of_the_chain_ends_it_too() {
    let mut world = World::new();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let until = |secs: i64| epoch + std::time::Duration::from_secs(u64::try_from(secs).unwrap());
    let sooner = BEGIN + 2 * 86_400;
    let later = BEGIN + 3 * 86_400;
    let long = world.chain();
    world.root.not_after = until(sooner);
    let short = world.chain();
    let ends = |anchors: &[Vec<u8>], chain: &[Vec<u8>]| {
        let checked = check_chain(chain, anchors, &public(&world.key), Use::Signature, IDENTITY, NOW);
        checked.unwrap().not_after()
    };
    // The chain itself says 90 days.
    assert_eq!(ends(&short[2..], &long[..2]), UnixTime::from_secs(sooner));
    assert_eq!(
        ends(&long[2..], &long[..2]),
        UnixTime::from_secs(BEGIN + 90 * 86_400)
    );
    // Of two, one is enough.
    let mut other = World::new();
    other.root.not_after = until(later);
    other.root_key = KeyPair::try_from(world.root_key.serialize_der()).unwrap();
    let longer = other.root.self_signed(&other.root_key).unwrap().der().to_vec();
    for anchors in [
        [short[2].clone(), longer.clone()],
        [longer.clone(), short[2].clone()],
    ] {
        assert_eq!(ends(&anchors, &long[..2]), UnixTime::from_secs(later));
    }
}

#[test]
fn the_built_in_authority_certifies_no_dns_name_even_below_its_host() {
    let (ca_key, key) = (p256(), p256());
    let ca = built_in(IDENTITY, &ca_key);
    let issuer = Issuer::from_ca_cert_der(&ca.as_slice().into(), &ca_key).unwrap();
    for name in [
        "gw.example.test",
        "www.gw.example.test",
        "example.test",
        "other.test",
    ] {
        let mut params = leaf();
        params.extended_key_usages = for_tokens();
        params
            .subject_alt_names
            .push(SanType::DnsName(name.try_into().unwrap()));
        let own = params.signed_by(&key, &issuer).unwrap().der().to_vec();
        assert_eq!(
            check_chain(
                &[own, ca.clone()],
                &[],
                &public(&key),
                Use::Signature,
                IDENTITY,
                NOW
            ),
            flaw(2, ChainProblem::NameConstraints),
            "{name}"
        );
    }
}

#[test]
fn the_lint_reads_what_will_be_signed() {
    type Change = fn(&mut CertificateParams);
    let leaf_request = request(Profile::Leaf(Use::Signature), IDENTITY);
    let ca_request = request(Profile::Authority, IDENTITY);
    for request in [&leaf_request, &ca_request] {
        assert_eq!(request.check(&request.build().unwrap()), Ok(()));
    }
    let both: Vec<(Change, Flaw)> = vec![
        (|p| p.not_before += std::time::Duration::from_secs(1), Flaw::Dates),
        (|p| p.not_after -= std::time::Duration::from_secs(1), Flaw::Dates),
        (
            |p| std::mem::swap(&mut p.not_before, &mut p.not_after),
            Flaw::Dates,
        ),
        (
            |p| p.not_after = p.not_before,
            Flaw::Validity(Lifetime::from_secs(0)),
        ),
        (|p| p.distinguished_name = DistinguishedName::new(), Flaw::Subject),
        (
            |p| p.distinguished_name.push(DnType::CommonName, "another"),
            Flaw::Subject,
        ),
        (
            |p| p.distinguished_name.push(DnType::CountryName, "XX"),
            Flaw::Subject,
        ),
        (|p| p.serial_number = None, Flaw::Serial),
        (
            |p| p.serial_number = Some(SerialNumber::from_slice(&[1, 2, 3, 4, 5, 6, 7, 8])),
            Flaw::Serial,
        ),
        (
            |p| p.serial_number = Some(SerialNumber::from_slice(&[0x80, 2, 3, 4, 5, 6, 7, 8, 9, 10])),
            Flaw::Serial,
        ),
        (|p| p.key_usages.clear(), Flaw::Usages),
        (
            |p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth),
            Flaw::Usages,
        ),
        (|p| p.is_ca = IsCa::NoCa, Flaw::BasicConstraints),
        (
            |p| {
                let any = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
                p.custom_extensions.push(any);
            },
            Flaw::Extensions,
        ),
        (
            |p| {
                p.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![],
                    excluded_subtrees: vec![],
                });
            },
            Flaw::Extensions,
        ),
    ];
    for (index, (change, flaw)) in both.iter().enumerate() {
        for request in [&leaf_request, &ca_request] {
            let mut params = request.build().unwrap();
            change(&mut params);
            assert_eq!(request.check(&params), Err(flaw.clone()), "{index} {request:?}");
        }
    }
    let ca: Vec<Change> = vec![
        |p| p.custom_extensions.clear(),
        |p| p.custom_extensions[0].set_criticality(false),
        |p| {
            let other = names::for_identity("https://other.test").unwrap();
            p.custom_extensions = vec![CustomExtension::from_oid_content(names::OID, other)];
            p.custom_extensions[0].set_criticality(true);
        },
    ];
    for change in ca {
        let mut params = ca_request.build().unwrap();
        change(&mut params);
        assert_eq!(ca_request.check(&params), Err(Flaw::Extensions));
    }
}

#[test]
fn a_certificate_is_signed_as_its_profile_says_and_in_no_other_way() {
    let (ca_key, key) = (p256(), p256());
    let ca = built_in(IDENTITY, &ca_key);
    let issuer = Issuer::from_ca_cert_der(&ca.as_slice().into(), &ca_key).unwrap();
    let linted = |profile| request(profile, IDENTITY).lint().unwrap();
    assert!(linted(Profile::Authority).signed_by(&key, &issuer).is_err());
    assert!(linted(Profile::Authority).request(&key).is_err());
    for purpose in [Use::Signature, Use::Encryption] {
        assert!(linted(Profile::Leaf(purpose)).self_signed(&key).is_err());
    }
}

#[test]
fn constraints_of_outside_authorities_are_kept_by_everything_below() {
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let rows = [
        (vec![dns("example.test")], vec![], true),
        (vec![dns(".example.test")], vec![], true),
        (vec![dns("gw.example.test")], vec![], true),
        (vec![dns("example.org")], vec![], false),
        (vec![dns("w.example.test")], vec![], false),
        (vec![], vec![dns("example.test")], false),
        (vec![], vec![dns("example.org")], true),
        (
            vec![],
            vec![GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(
                [10, 0, 0, 0],
                8,
            ))],
            false,
        ),
        (
            vec![GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(
                [10, 0, 0, 0],
                8,
            ))],
            vec![],
            true,
        ),
        (
            vec![GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(
                [192, 168, 0, 0],
                16,
            ))],
            vec![],
            false,
        ),
    ];
    for (permitted_subtrees, excluded_subtrees, taken) in rows {
        let mut world = World::new();
        world.leaf.extended_key_usages = for_tokens();
        world.leaf.subject_alt_names.extend([
            SanType::DnsName("gw.example.test".try_into().unwrap()),
            SanType::IpAddress("10.1.2.3".parse().unwrap()),
        ]);
        world.root.name_constraints = Some(NameConstraints {
            permitted_subtrees,
            excluded_subtrees,
        });
        let checked = world.check();
        assert_eq!(
            checked.is_ok(),
            taken,
            "{:?}: {checked:?}",
            world.root.name_constraints
        );
        if !taken {
            assert_eq!(checked, flaw(3, ChainProblem::NameConstraints));
        }
    }
    let mut world = World::new();
    let mut permitted = DistinguishedName::new();
    permitted.push(DnType::CommonName, "somebody else");
    world.root.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DirectoryName(permitted)],
        excluded_subtrees: vec![],
    });
    assert_eq!(world.check(), flaw(3, ChainProblem::NameConstraints));
}

#[test]
fn hostile_bytes_are_an_error_and_nothing_worse() {
    let world = World::new();
    let chain = world.chain();
    let key = public(&world.key);
    let check = |own: Vec<u8>| {
        let chain = [own, chain[1].clone(), chain[2].clone()];
        check_chain(&chain, &[], &key, Use::Signature, IDENTITY, NOW)
    };
    // Every bit flipped and every length cut: nothing of it is the certificate that was signed.
    for index in 0..chain[0].len() {
        for bit in [0, 3, 7] {
            let mut own = chain[0].clone();
            own[index] ^= 1 << bit;
            assert!(check(own).is_err(), "byte {index} bit {bit}");
        }
        assert!(check(chain[0][..index].to_vec()).is_err(), "cut at {index}");
    }
    let mut longer = chain[0].clone();
    longer.push(0);
    assert_eq!(
        check(longer),
        flaw(1, ChainProblem::Unreadable("bytes follow it"))
    );
}

#[test]
fn a_request_to_an_outside_authority_says_what_the_profile_says() {
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    for (key, purpose, usage) in [
        (p256(), Use::Signature, "Digital Signature"),
        (p256(), Use::Encryption, "Key Agreement"),
        (rsa, Use::Encryption, "Key Encipherment"),
    ] {
        let der = request(Profile::Leaf(purpose), IDENTITY)
            .lint()
            .unwrap()
            .request(&key)
            .unwrap();
        let (rest, read) =
            x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
        assert!(rest.is_empty());
        let info = &read.certification_request_info;
        assert_eq!(info.subject_pki.raw, key.subject_public_key_info());
        let extensions: Vec<String> = read
            .requested_extensions()
            .unwrap()
            .filter_map(|extension| {
                use x509_parser::extensions::ParsedExtension as Parsed;
                if let Parsed::KeyUsage(usage) = extension {
                    Some(usage.to_string())
                } else if let Parsed::SubjectAlternativeName(names) = extension {
                    Some(format!("{:?}", names.general_names))
                } else {
                    None
                }
            })
            .collect();
        assert!(extensions.contains(&usage.to_owned()), "{extensions:?}");
        assert!(
            extensions.iter().any(|text| text.contains(IDENTITY)),
            "{extensions:?}"
        );
    }
}
