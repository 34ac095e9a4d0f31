//! What an operator does.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use portcullis_core::jose::jwk::PublicKey;
use portcullis_core::keys::{JwksDocument, SubjectKey, Use};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::rings::{House, until, verifies};
use super::*;
use crate::custody::ring::{self, Import, RequestFor, Revoked};
use crate::custody::shelf::{Folder, Shelf as _};

/// A CA that is not ours.
struct Outside {
    key: KeyPair,
    params: CertificateParams,
    pem: String,
}

impl Outside {
    fn new() -> Self {
        Self::until(2036)
    }

    fn until(year: i32) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "Example Corporation CA");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { key, params, pem }
    }

    fn chain(
        &self,
        key: &impl rcgen::PublicKeyData,
        usages: &[KeyUsagePurpose],
        identity: &str,
        until: i32,
    ) -> String {
        self.chain_with(key, usages, identity, until, |_| {})
    }

    fn chain_with(
        &self,
        key: &impl rcgen::PublicKeyData,
        usages: &[KeyUsagePurpose],
        identity: &str,
        until: i32,
        change: impl FnOnce(&mut CertificateParams),
    ) -> String {
        let mut params = CertificateParams::default();
        params.key_usages = usages.to_vec();
        params.subject_alt_names = vec![SanType::URI(identity.try_into().unwrap())];
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        change(&mut params);
        let issuer = rcgen::Issuer::from_params(&self.params, &self.key);
        let own = params.signed_by(key, &issuer).unwrap();
        format!("{}{}", own.pem(), self.pem)
    }
}

const SIGNS: &[KeyUsagePurpose] = &[KeyUsagePurpose::DigitalSignature];
const OPENS: &[KeyUsagePurpose] = &[KeyUsagePurpose::KeyAgreement];

#[test]
fn a_revoked_key_is_void_at_once_and_never_comes_back() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let operator = house.operator();
    let kid = ring.signer().kid().clone();
    let kept = fs::read(house.data.ring().join(format!("{kid}.json"))).unwrap();
    assert_eq!(
        operator.revoke(&kid, "  ", NOW, &System).unwrap_err().code(),
        "keys.refused"
    );
    let Revoked::Now {
        changes,
        unreplaced: None,
    } = operator.revoke(&kid, "seen in a log", NOW, &System).unwrap()
    else {
        panic!("a key that worked was not replaced");
    };
    let told: Vec<_> = changes.iter().map(|change| (change.from, change.to)).collect();
    assert_eq!(told.len(), 2, "{changes:?}");
    assert!(told.contains(&(Some(State::Enabled), State::Deleted)));
    assert!(told.contains(&(None, State::Enabled)));
    ring.reload(NOW).unwrap();
    assert_ne!(*ring.signer().kid(), kid);
    assert!(verifies(&ring, &ring.jwks()));
    assert!(ring.revoked().contains(&kid));
    assert!(!String::from_utf8_lossy(&ring.jwks().bytes()).contains(kid.as_str()));
    // its private key is gone from the disk, its tombstone stays through years of rotation and new starts
    let text = fs::read_to_string(house.data.ring().join(format!("{kid}.json"))).unwrap();
    assert!(
        text.contains("\"handle\": \"\"") && text.contains("seen in a log"),
        "{text}"
    );
    for year in 1..4 {
        let now = NOW.plus(Lifetime::from_days(365 * year));
        assert!(house.start(now).revoked().contains(&kid));
    }
    // revoking it again is no mistake, and changes nothing: not the reason, not the day
    let later = NOW.plus(Lifetime::from_days(1));
    let again = operator.revoke(&kid, "again", later, &System).unwrap();
    let Revoked::Before(first) = again else {
        panic!("it was revoked a second time: {again:?}");
    };
    assert_eq!((first.reason.as_str(), first.at), ("seen in a log", NOW));
    // it does not come back through a certificate, and not from a backup
    let outside = Outside::new();
    let anything = outside.chain(&outside.key, SIGNS, IDENTITY, 2030);
    assert!(
        operator
            .import(Import::ChainFor(&kid), anything.as_bytes(), NOW, &System)
            .is_err()
    );
    fs::write(house.data.ring().join(format!("{kid}.json")), kept).unwrap();
    assert!(
        Folder::existing(&house.data.ring())
            .read()
            .unwrap()
            .records
            .iter()
            .any(|record| record.kid == kid && record.revoked.is_some())
    );
    let ring = house.start(NOW.plus(Lifetime::from_days(365 * 3)));
    assert!(ring.revoked().contains(&kid), "a restored file revives it");
    assert!(!String::from_utf8_lossy(&ring.jwks().bytes()).contains(kid.as_str()));
    let text = fs::read_to_string(house.data.ring().join(format!("{kid}.json"))).unwrap();
    assert!(text.contains("seen in a log"), "the file was not mended: {text}");
}

#[test]
fn a_key_is_revoked_though_no_other_can_be_made() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let operator = house.operator();
    let kid = ring.signer().kid().clone();
    house.away.store(true, Ordering::SeqCst);
    let Revoked::Now { changes, unreplaced } = operator.revoke(&kid, "stolen", NOW, &System).unwrap() else {
        panic!("it was not revoked before");
    };
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(unreplaced.unwrap().contains("the cable is out"));
    assert_eq!(operator.take_changes(), changes);
    ring.reload(NOW).unwrap();
    assert!(ring.revoked().contains(&kid));
    assert!(!String::from_utf8_lossy(&ring.jwks().bytes()).contains(kid.as_str()));
    assert!(ring.signer().sign(b"x").is_err());
    house.away.store(false, Ordering::SeqCst);
    ring.advance(NOW, &System).unwrap();
    assert!(verifies(&ring, &ring.jwks()));
}

#[test]
fn a_rotation_that_is_under_way_is_not_begun_again() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let operator = house.operator();
    assert_eq!(operator.rotate(Use::Encryption, NOW, &System).unwrap().len(), 1);
    assert_eq!(operator.rotate(Use::Encryption, NOW, &System).unwrap(), []);
    let planned = operator.plan(NOW).unwrap();
    assert!(planned[0].at > NOW, "{planned:?}");
    ring.reload(NOW).unwrap();
    let before = ring.openers()[0].kid().clone();
    ring.advance(planned[0].at, &System).unwrap();
    assert_ne!(*ring.openers()[0].kid(), before);
    assert!(ring.opener(&before).is_some());
}

/// What a CA does with a request: sees that the key signed it, that it names this server and no other, and that it is
/// for signing.
fn requested_key(request: &str) -> SubjectKey {
    let (_, pem) = x509_parser::pem::parse_x509_pem(request.as_bytes()).unwrap();
    let (_, parsed) = X509CertificationRequest::from_der(&pem.contents).unwrap();
    let info = &parsed.certification_request_info;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &info.subject_pki.subject_public_key.data)
        .verify(info.raw, &parsed.signature_value.data)
        .unwrap();
    let (mut names, mut usages) = (0, 0);
    for extension in parsed.requested_extensions().unwrap() {
        if let ParsedExtension::SubjectAlternativeName(found) = extension {
            assert_eq!(found.general_names, [GeneralName::URI(IDENTITY)]);
            names += 1;
        } else if let ParsedExtension::KeyUsage(usage) = extension {
            assert_eq!(usage.to_string(), "Digital Signature");
            usages += 1;
        } else if let ParsedExtension::ExtendedKeyUsage(usage) = extension {
            assert!(!usage.server_auth && !usage.client_auth && !usage.any);
            usages += 1;
        }
    }
    assert_eq!((names, usages), (1, 2));
    SubjectKey::new(&PublicKey::from_spki(info.subject_pki.raw).unwrap()).unwrap()
}

#[test]
fn an_outside_ca_certifies_a_key_on_its_own_request() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let operator = house.operator();
    let (kid, request) = operator
        .csr(&RequestFor::New(Use::Signature), NOW, &System)
        .unwrap();
    assert_ne!(kid, *ring.signer().kid());
    // the CA checks the request's own signature
    let public_key = requested_key(&request);
    let outside = Outside::new();
    let good = outside.chain(&public_key, SIGNS, IDENTITY, 2027);
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let stranger = Outside::new();
    let tls = outside.chain_with(&public_key, SIGNS, IDENTITY, 2027, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let named = outside.chain_with(&public_key, SIGNS, IDENTITY, 2027, |params| {
        let host = SanType::DnsName("gw.example.test".try_into().unwrap());
        params.subject_alt_names.push(host);
    });
    let rows = [
        (tls, "such as TLS"),
        (named, "good for TLS too"),
        (
            outside.chain(&public_key, OPENS, IDENTITY, 2027),
            "is not for this purpose",
        ),
        (
            outside.chain(&public_key, &[SIGNS, OPENS].concat(), IDENTITY, 2027),
            "is not for this purpose",
        ),
        (
            outside.chain(&public_key, &[], IDENTITY, 2027),
            "it has no key usage",
        ),
        (outside.chain(&other, SIGNS, IDENTITY, 2027), "for another key"),
        (
            outside.chain(&public_key, SIGNS, "https://evil.test", 2027),
            "does not name the server",
        ),
        (
            outside.chain(&public_key, SIGNS, IDENTITY, 2026),
            "not valid any more",
        ),
        (good.replace(&outside.pem, ""), "leads to no trusted root"),
        (good.replace(&outside.pem, &stranger.pem), "did not sign"),
        (good.replace("CERTIFICATE", "PUBLIC KEY"), "only certificates"),
        (String::new(), "is missing"),
    ];
    for (chain, why) in rows {
        let error = operator
            .import(Import::ChainFor(&kid), chain.as_bytes(), NOW, &System)
            .unwrap_err();
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
    operator
        .import(Import::ChainFor(&kid), good.as_bytes(), NOW, &System)
        .unwrap();
    ring.reload(NOW).unwrap();
    let told = ring.describe();
    let key = told.iter().find(|key| key.kid == kid).unwrap();
    assert!(key.issuer.contains("Example Corporation"), "{}", key.issuer);
    // a start under the same name leaves it alone
    let again = house.start(NOW);
    assert!(again.describe().contains(key));
    // the CA of another chain ends first, and the key with it
    let short = Outside::until(2027).chain(&public_key, SIGNS, IDENTITY, 2030);
    operator
        .import(Import::ChainFor(&kid), short.as_bytes(), NOW, &System)
        .unwrap();
    ring.reload(NOW).unwrap();
    let told = ring.describe();
    let key = told.iter().find(|key| key.kid == kid).unwrap();
    // 2027-01-01T00:00:00Z
    assert_eq!(key.not_after, UnixTime::from_secs(1_798_761_600));
    let views =
        crate::custody::maker::views_of(&house.shelf("authority").read().unwrap().records, "").unwrap();
    let view = views.iter().find(|view| view.kid == kid).unwrap();
    assert_eq!(view.not_after, key.not_after);
    // an encryption key cannot sign a request
    let enc = again.openers()[0].kid().clone();
    for of in [RequestFor::Key(enc), RequestFor::New(Use::Encryption)] {
        let error = operator.csr(&of, NOW, &System).unwrap_err();
        assert!(error.to_string().contains("cannot sign"), "{error}");
    }
}

/// JWK-20 of the attack catalogue.
#[test]
fn a_private_key_comes_in_for_one_purpose_once() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let operator = house.operator();
    let outside = Outside::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let pkcs8 = key.serialize_pem();
    let import = |purpose, pkcs8: &[u8], chain: &str| {
        operator.import(
            Import::PrivateKey { purpose, pkcs8 },
            chain.as_bytes(),
            NOW,
            &System,
        )
    };
    // material for encryption is none for signing: by its certificate, and by its JWK
    let opens = outside.chain(&key, OPENS, IDENTITY, 2027);
    let signs = outside.chain(&key, SIGNS, IDENTITY, 2027);
    for (purpose, pkcs8, chain, why) in [
        (
            Use::Signature,
            pkcs8.as_bytes(),
            &opens,
            "is not for this purpose",
        ),
        (
            Use::Encryption,
            pkcs8.as_bytes(),
            &signs,
            "is not for this purpose",
        ),
        (
            Use::Signature,
            br#"{"kty":"EC","use":"enc"}"#.as_slice(),
            &signs,
            "no key for `sig`",
        ),
        (
            Use::Signature,
            b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
            &signs,
            "PKCS#8",
        ),
    ] {
        let error = import(purpose, pkcs8, chain).unwrap_err();
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
    let kid = import(Use::Signature, pkcs8.as_bytes(), &signs).unwrap();
    ring.reload(NOW).unwrap();
    let told = ring.describe();
    let key_told = told.iter().find(|key| key.kid == kid).unwrap();
    assert_eq!((key_told.purpose, key_told.state), ("signing", State::Staged));
    // a second time, and for the other purpose
    for (purpose, chain) in [(Use::Signature, &signs), (Use::Encryption, &opens)] {
        let error = import(purpose, pkcs8.as_bytes(), chain).unwrap_err();
        assert!(error.to_string().contains("here already"), "{error}");
    }
    // it takes over in its turn, and after it was revoked it does not come in again
    ring.advance(NOW.plus(Lifetime::from_days(16)), &System).unwrap();
    assert_eq!(*ring.signer().kid(), kid);
    assert!(verifies(&ring, &ring.jwks()));
    operator.revoke(&kid, "it was on a laptop", NOW, &System).unwrap();
    let error = import(Use::Signature, pkcs8.as_bytes(), &signs).unwrap_err();
    assert!(error.to_string().contains("never comes back"), "{error}");
}

#[test]
fn the_published_file_is_what_servers_serve() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let out = house.data.0.join("cdn");
    let path = house.operator().publish(&out, NOW).unwrap();
    assert_eq!(path, out.join("jwks.json"));
    assert_eq!(fs::read(&path).unwrap(), ring.jwks().bytes());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let document: JwksDocument = ring::jwks(&*house.shelf("authority"), NOW).unwrap();
    assert_eq!(document, *ring.jwks());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    until("nothing", || true);
    assert_eq!(house.shelf("authority").read().unwrap().records.len(), 2);
}
