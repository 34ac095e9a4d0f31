//! Tests of messages: every way to make and open one, and everything that is refused.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::digest;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::ids::KeyId;
use crate::jose::base64url;
use crate::jose::jwk::{DecryptionKey, DecryptionKind, EncryptionKey, KeyProblem, PublicKey};
use crate::random::{RandomUnavailable, SecureRandom};

/// The SHA-256 digests of a counter.
pub(in crate::jose) struct Counted(AtomicU64);

impl Counted {
    pub(in crate::jose) const fn new(start: u64) -> Self {
        Self(AtomicU64::new(start))
    }
}

impl SecureRandom for Counted {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        for chunk in out.chunks_mut(32) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            chunk.copy_from_slice(&digest::digest(&digest::SHA256, &next).as_ref()[..chunk.len()]);
        }
        Ok(())
    }
}

pub(in crate::jose) static RANDOM: Counted = Counted::new(1);

/// One key of each kind, made once: RSA is slow to make. Its algorithm does not matter to its owner.
fn rsa_pkcs8() -> &'static [u8] {
    static KEY: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let kid = KeyId::parse("rsa").unwrap();
        DecryptionKey::generate(kid, KeyManagement::RsaOaep256, DecryptionKind::Rsa2048, &RANDOM)
            .unwrap()
            .dangerous_to_pkcs8()
            .unwrap()
            .to_vec()
    });
    &KEY
}

pub(in crate::jose) fn key(algorithm: KeyManagement, kind: DecryptionKind) -> DecryptionKey {
    let kid = KeyId::parse("enc-1").unwrap();
    if kind == DecryptionKind::Rsa2048 {
        return DecryptionKey::from_pkcs8(kid, algorithm, rsa_pkcs8()).unwrap();
    }
    DecryptionKey::generate(kid, algorithm, kind, &RANDOM).unwrap()
}

pub(in crate::jose) fn recipient(key: &DecryptionKey) -> EncryptionKey {
    let algorithm = key.algorithm().unwrap();
    EncryptionKey::from_public(key.public().clone(), algorithm, Some(key.kid().clone())).unwrap()
}

/// Every algorithm with every kind of key that does it.
pub(in crate::jose) fn every_kind() -> Vec<(KeyManagement, DecryptionKind)> {
    let mut all = vec![(KeyManagement::RsaOaep256, DecryptionKind::Rsa2048)];
    for algorithm in KeyManagement::ALL {
        if algorithm.agrees() {
            for kind in [DecryptionKind::P256, DecryptionKind::P384, DecryptionKind::X25519] {
                all.push((algorithm, kind));
            }
        }
    }
    assert_eq!(all.len(), 10);
    all
}

fn p256() -> (DecryptionKey, EncryptionKey) {
    let key = key(KeyManagement::EcdhEs, DecryptionKind::P256);
    let recipient = recipient(&key);
    (key, recipient)
}

const A256: Protected<'_> = Protected::new(ContentEncryption::A256Gcm);

/// The header of a message, and the message with another.
fn header_of(message: &str) -> Json {
    let header = message.split('.').next().unwrap();
    serde_json::from_slice(&base64url::decode(header).unwrap()).unwrap()
}

fn with_header(message: &str, header: &str) -> String {
    let (_, rest) = message.split_once('.').unwrap();
    format!("{}.{rest}", base64url::encode(header))
}

fn with_part(message: &str, index: usize, part: &[u8]) -> String {
    let part = base64url::encode(part);
    let mut parts: Vec<&str> = message.split('.').collect();
    parts[index] = &part;
    parts.join(".")
}

/// Why a message with this member in its header is refused before any key.
fn refusal(change: impl Fn(&mut serde_json::Map<String, Json>)) -> Error {
    let (_, recipient) = p256();
    let message = encrypt(&recipient, &A256, b"x", &RANDOM).unwrap();
    let mut header = header_of(&message);
    change(header.as_object_mut().unwrap());
    Unopened::parse(&with_header(&message, &header.to_string())).unwrap_err()
}

fn refused_member(name: &str, value: Json) -> Error {
    refusal(|header| {
        header.insert(name.to_owned(), value.clone());
    })
}

#[test]
fn what_goes_in_comes_out_for_every_algorithm_curve_and_cipher() {
    for (algorithm, kind) in every_kind() {
        let key = key(algorithm, kind);
        let recipient = recipient(&key);
        for enc in ContentEncryption::ALL {
            for length in [0, 1, 2, 3, 4, 31, 3071, 3072, 3073, 9000] {
                let plaintext: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
                let protected = Protected {
                    typ: Some("t"),
                    cty: Some("c"),
                    apu: b"Alice",
                    apv: b"Bob",
                    ..Protected::new(enc)
                };
                let message = encrypt(&recipient, &protected, &plaintext, &RANDOM).unwrap();
                let unopened = Unopened::parse(&message).unwrap();
                assert_eq!((unopened.algorithm(), unopened.encryption()), (algorithm, enc));
                assert_eq!((unopened.typ(), unopened.cty()), (Some("t"), Some("c")));
                assert_eq!(unopened.kid(), Some(key.kid()));
                let opened = unopened.open(&key).unwrap();
                assert_eq!(
                    opened.plaintext(),
                    plaintext,
                    "{algorithm:?} {kind:?} {enc:?} {length}"
                );
                assert_eq!((opened.typ(), opened.cty()), (Some("t"), Some("c")));
                assert_eq!(opened.into_plaintext(), plaintext);
            }
        }
    }
}

#[test]
fn a_detached_message_is_the_compact_one_apart() {
    for (algorithm, kind) in every_kind() {
        let key = key(algorithm, kind);
        let plaintext = [7_u8; 100];
        let mut buffer = plaintext;
        let parts = seal_detached(&recipient(&key), &A256, &mut buffer, &RANDOM).unwrap();
        let compact = [
            parts.header.clone(),
            base64url::encode(&parts.encrypted_key),
            base64url::encode(parts.iv),
            base64url::encode(buffer),
            base64url::encode(parts.tag),
        ]
        .join(".");
        assert_eq!(
            Unopened::parse(&compact).unwrap().open(&key).unwrap().plaintext(),
            plaintext
        );
        let mut changed = buffer;
        changed[0] ^= 1;
        assert_eq!(open_detached(&key, &parts, &mut changed), Err(Error::Opening));
        open_detached(&key, &parts, &mut buffer).unwrap();
        assert_eq!(buffer, plaintext);
    }
}

#[test]
fn a_shared_key_encrypts_the_content_itself() {
    for enc in ContentEncryption::ALL {
        let key = SharedKey::generate(Some(KeyId::parse("s").unwrap()), enc, &RANDOM).unwrap();
        let message = encrypt_shared(&key, &Protected::new(enc), b"hello", &RANDOM).unwrap();
        assert_eq!(message.split('.').nth(1), Some(""));
        let unopened = Unopened::parse(&message).unwrap();
        assert_eq!(
            (unopened.algorithm(), unopened.kid()),
            (KeyManagement::Dir, key.kid())
        );
        assert_eq!(unopened.open_shared(&key).unwrap().plaintext(), b"hello");
        // another key of the same size, of the other size, and a key pair
        let other = SharedKey::generate(None, enc, &RANDOM).unwrap();
        assert_eq!(unopened.open_shared(&other).unwrap_err(), Error::Opening);
        let other = ContentEncryption::ALL
            .into_iter()
            .find(|other| *other != enc)
            .unwrap();
        let of_other_size = SharedKey::generate(None, other, &RANDOM).unwrap();
        assert_eq!(
            unopened.open_shared(&of_other_size).unwrap_err(),
            Error::OtherAlgorithm
        );
        assert_eq!(
            encrypt_shared(&of_other_size, &Protected::new(enc), b"", &RANDOM).unwrap_err(),
            Error::OtherAlgorithm
        );
        assert_eq!(unopened.open(&p256().0).unwrap_err(), Error::OtherAlgorithm);
    }
}

#[test]
fn a_shared_key_has_the_size_of_its_cipher() {
    for (bytes, fits) in [
        (0, false),
        (15, false),
        (16, true),
        (17, false),
        (24, false),
        (32, true),
        (64, false),
    ] {
        let jwk = json!({ "kty": "oct", "k": base64url::encode(vec![1; bytes]) }).to_string();
        assert_eq!(SharedKey::parse(jwk.as_bytes()).is_ok(), fits, "{bytes}");
        let key = vec![1; bytes];
        assert_eq!(
            SharedKey::from_bytes(None, ContentEncryption::A128Gcm, &key).is_some(),
            bytes == 16
        );
    }
    let k = base64url::encode([1; 32]);
    for (jwk, problem) in [
        (
            json!({ "kty": "oct", "k": k, "use": "sig" }),
            KeyProblem::NotForEncrypting,
        ),
        (
            json!({ "kty": "oct", "k": k, "key_ops": ["sign"] }),
            KeyProblem::NotForEncrypting,
        ),
        (
            json!({ "kty": "oct", "k": k, "key_ops": ["encrypt", "sign"] }),
            KeyProblem::NotForEncrypting,
        ),
        (
            json!({ "kty": "oct", "k": k, "alg": "HS256" }),
            KeyProblem::AlgorithmMismatch,
        ),
        (
            json!({ "kty": "oct", "k": k, "alg": "A128GCM" }),
            KeyProblem::AlgorithmMismatch,
        ),
        (
            json!({ "kty": "oct", "k": format!("{k}=") }),
            KeyProblem::Malformed,
        ),
        (json!({ "kty": "oct" }), KeyProblem::Malformed),
        (json!({ "kty": "EC", "k": k }), KeyProblem::Unsupported),
    ] {
        assert_eq!(
            SharedKey::parse(jwk.to_string().as_bytes()).unwrap_err(),
            problem,
            "{jwk}"
        );
    }
    let named = json!({ "kty": "oct", "k": k, "use": "enc", "alg": "dir", "kid": "s", "key_ops": ["encrypt", "decrypt"] });
    let key = SharedKey::parse(named.to_string().as_bytes()).unwrap();
    assert_eq!(key.encryption(), ContentEncryption::A256Gcm);
    let shown = format!("{key:?}");
    assert!(!shown.contains(&k) && !shown.contains("1, 1"), "{shown}");
}

#[test]
fn no_two_messages_share_a_key_or_an_iv() {
    for (algorithm, kind) in every_kind() {
        let recipient = recipient(&key(algorithm, kind));
        let parts = |message: String| message.split('.').map(str::to_owned).collect::<Vec<_>>();
        let one = parts(encrypt(&recipient, &A256, b"same", &RANDOM).unwrap());
        let two = parts(encrypt(&recipient, &A256, b"same", &RANDOM).unwrap());
        assert_ne!(one[2], two[2]);
        assert_ne!(one[3], two[3]);
        if algorithm.agrees() {
            assert_ne!(one[0], two[0]);
        }
    }
}

#[test]
fn zip_is_refused() {
    assert_eq!(refused_member("zip", json!("DEF")), Error::Refused("zip"));
    assert_eq!(refused_member("zip", json!(null)), Error::Refused("zip"));
}

#[test]
fn unknown_crit_is_refused() {
    for crit in [json!(["exp"]), json!([]), json!("exp"), json!(["alg"])] {
        assert_eq!(refused_member("crit", crit), Error::Refused("crit"));
    }
}

#[test]
fn keys_in_the_header_are_refused() {
    for name in ["jku", "jwk", "x5u", "x5c"] {
        for value in [json!("https://x.example"), json!({}), json!([])] {
            assert!(matches!(refused_member(name, value), Error::Refused(refused) if refused == name));
        }
    }
}

#[test]
fn password_based_schemes_are_refused() {
    for name in ["PBES2-HS256+A128KW", "PBES2-HS384+A192KW", "PBES2-HS512+A256KW"] {
        assert_eq!(refused_member("alg", json!(name)), Error::NotOffered(name));
    }
    assert_eq!(refused_member("p2c", json!(1)), Error::Refused("p2c"));
    assert_eq!(refused_member("p2s", json!("AA")), Error::Refused("p2s"));
}

#[test]
fn rsa1_5_and_rsa_oaep_with_sha_1_are_not_offered() {
    assert_eq!(
        refused_member("alg", json!("RSA1_5")),
        Error::NotOffered("RSA1_5")
    );
    assert_eq!(
        refused_member("alg", json!("RSA-OAEP")),
        Error::NotOffered("RSA-OAEP")
    );
    assert!(Error::NotOffered("RSA1_5").to_string().contains("RSA1_5"));
    // the headers of RFC 7516 §A.1 and §A.2
    for (header, name) in [
        ("eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ", "RSA-OAEP"),
        ("eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0", "RSA1_5"),
    ] {
        let message = format!("{header}.AAAA.48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYA.XFBoMYUZodetZdvTiFvSkQ");
        assert_eq!(Unopened::parse(&message).unwrap_err(), Error::NotOffered(name));
    }
}

#[test]
fn cbc_with_hmac_is_not_offered() {
    for name in ["A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512"] {
        assert_eq!(refused_member("enc", json!(name)), Error::NotOffered(name));
    }
}

#[test]
fn alg_and_enc_are_required_strings_of_our_tables() {
    for member in ["alg", "enc"] {
        for value in [json!(null), json!(1), json!(["ECDH-ES"]), json!({})] {
            assert!(matches!(refused_member(member, value), Error::Header(_)));
        }
        let absent = refusal(|header| {
            header.remove(member);
        });
        assert!(matches!(absent, Error::Header(_)));
        for name in ["", "none", "ecdh-es", "a256gcm", "hunter2"] {
            assert_eq!(
                refused_member(member, json!(name)),
                Error::NotOffered("an unknown algorithm")
            );
        }
    }
}

#[test]
fn alg_not_that_of_the_key_is_refused() {
    let kinds = every_kind();
    for (algorithm, kind) in &kinds {
        let made_for = key(*algorithm, *kind);
        let message = encrypt(&recipient(&made_for), &A256, b"x", &RANDOM).unwrap();
        let unopened = Unopened::parse(&message).unwrap();
        for (other, other_kind) in &kinds {
            if other != algorithm {
                let verdict = unopened.open(&key(*other, *other_kind)).unwrap_err();
                assert_eq!(verdict, Error::OtherAlgorithm, "{algorithm:?} with {other:?}");
            }
        }
    }
}

/// A key that says nothing of its algorithm is still not one of another type.
#[test]
fn a_key_of_another_type_is_refused() {
    struct Silent(DecryptionKey);
    impl PayloadOpener for Silent {
        fn kid(&self) -> &KeyId {
            self.0.kid()
        }
        fn key(&self) -> &PublicKey {
            PayloadOpener::key(&self.0)
        }
        fn recover(&self, wrapped: Wrapped<'_>) -> Result<zeroize::Zeroizing<Vec<u8>>, OpeningFailed> {
            self.0.recover(wrapped)
        }
    }
    let rsa = key(KeyManagement::RsaOaep256, DecryptionKind::Rsa2048);
    let to_rsa = encrypt(&recipient(&rsa), &A256, b"x", &RANDOM).unwrap();
    let (point, to) = p256();
    let to_point = encrypt(&to, &A256, b"x", &RANDOM).unwrap();
    let (rsa, point) = (Silent(rsa), Silent(point));
    assert_eq!(
        Unopened::parse(&to_rsa).unwrap().open(&point).unwrap_err(),
        Error::OtherAlgorithm
    );
    assert_eq!(
        Unopened::parse(&to_point).unwrap().open(&rsa).unwrap_err(),
        Error::OtherAlgorithm
    );
    Unopened::parse(&to_rsa).unwrap().open(&rsa).unwrap();
    Unopened::parse(&to_point).unwrap().open(&point).unwrap();
}

#[test]
fn enc_that_is_not_the_one_it_was_made_with_is_refused() {
    for (algorithm, kind) in every_kind() {
        let key = key(algorithm, kind);
        let message = encrypt(&recipient(&key), &A256, b"x", &RANDOM).unwrap();
        let mut header = header_of(&message);
        header["enc"] = json!("A128GCM");
        let changed = with_header(&message, &header.to_string());
        let verdict = Unopened::parse(&changed).unwrap().open(&key).unwrap_err();
        assert!(
            matches!(verdict, Error::Opening | Error::Length("encrypted key")),
            "{verdict}"
        );
    }
}

#[test]
fn epk_off_the_curve_is_refused() {
    let off = refusal(|header| {
        let y = base64url::decode(header["epk"]["y"].as_str().unwrap()).unwrap();
        let mut y = y;
        y[31] ^= 1;
        header["epk"]["y"] = json!(base64url::encode(y));
    });
    assert_eq!(off, Error::EphemeralKey);
    for (name, value) in [
        ("x", json!(base64url::encode([0; 32]))),
        ("y", json!("")),
        ("y", json!(1)),
    ] {
        let off = refusal(|header| header["epk"][name] = value.clone());
        assert_eq!(off, Error::EphemeralKey);
    }
}

#[test]
fn epk_on_another_curve_than_the_key_is_refused() {
    let kinds = [DecryptionKind::P256, DecryptionKind::P384, DecryptionKind::X25519];
    for algorithm in [
        KeyManagement::EcdhEs,
        KeyManagement::EcdhEsA128Kw,
        KeyManagement::EcdhEsA256Kw,
    ] {
        for kind in kinds {
            let message = encrypt(&recipient(&key(algorithm, kind)), &A256, b"x", &RANDOM).unwrap();
            for other in kinds.into_iter().filter(|other| *other != kind) {
                let verdict = Unopened::parse(&message).unwrap().open(&key(algorithm, other));
                assert_eq!(verdict.unwrap_err(), Error::EphemeralKey);
            }
        }
    }
    // curves that agree on nothing here
    let ed25519 =
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    assert_eq!(refused_member("epk", ed25519), Error::EphemeralKey);
    let p521 = json!({ "kty": "EC", "crv": "P-521",
        "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
        "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1" });
    assert_eq!(refused_member("epk", p521), Error::EphemeralKey);
}

#[test]
fn epk_with_a_private_member_is_refused() {
    let private = refusal(|header| header["epk"]["d"] = json!(base64url::encode([1; 32])));
    assert_eq!(private, Error::EphemeralKey);
    let symmetric = refusal(|header| header["epk"]["k"] = json!("AA"));
    assert_eq!(symmetric, Error::EphemeralKey);
}

#[test]
fn epk_with_wrongly_typed_members_is_refused() {
    for (name, value) in [
        ("kid", json!(1)),
        ("alg", json!({})),
        ("use", json!("sig")),
        ("use", json!(1)),
        ("key_ops", json!("deriveKey")),
        ("key_ops", json!([1])),
        ("ext", json!("true")),
        ("x5c", json!("AA")),
        ("crv", json!(256)),
        ("kty", json!(null)),
    ] {
        let verdict = refusal(|header| header["epk"][name] = value.clone());
        assert_eq!(verdict, Error::EphemeralKey, "{name} {value}");
    }
    for epk in [json!(null), json!("AA"), json!([]), json!({})] {
        assert_eq!(refused_member("epk", epk), Error::EphemeralKey);
    }
    let absent = refusal(|header| {
        header.remove("epk");
    });
    assert_eq!(absent, Error::EphemeralKey);
    // and one where no key is agreed on
    let beside_rsa = refusal(|header| header["alg"] = json!("RSA-OAEP-256"));
    assert_eq!(beside_rsa, Error::EphemeralKey);
}

#[test]
fn epk_members_that_say_nothing_are_no_obstacle() {
    let (key, recipient) = p256();
    let message = encrypt(&recipient, &A256, b"x", &RANDOM).unwrap();
    let mut header = header_of(&message);
    header["epk"]["kid"] = json!("e");
    header["epk"]["ext"] = json!(true);
    header["epk"]["key_ops"] = json!([]);
    let changed = with_header(&message, &header.to_string());
    // read, and refused by the tag alone
    assert_eq!(
        Unopened::parse(&changed).unwrap().open(&key).unwrap_err(),
        Error::Opening
    );
}

#[test]
fn all_zero_x25519_results_are_refused() {
    let points = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let key = key(KeyManagement::EcdhEs, DecryptionKind::X25519);
    let message = encrypt(&recipient(&key), &A256, b"x", &RANDOM).unwrap();
    for point in points {
        let digits: Vec<char> = point.chars().collect();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap())
            .collect();
        let x = base64url::encode(&bytes);
        // as a recipient
        let jwk = json!({ "kty": "OKP", "crv": "X25519", "x": x }).to_string();
        assert_eq!(
            EncryptionKey::parse(jwk.as_bytes()).unwrap_err(),
            KeyProblem::Unacceptable,
            "{point}"
        );
        // as a sender, with the very message that an all-zero secret would open
        let mut header = header_of(&message);
        header["epk"]["x"] = json!(x);
        let header = base64url::encode(header.to_string());
        let cek = agree::concat_kdf(&[0; 32], "A256GCM", (&[], &[]), 32).unwrap();
        let mut ciphertext = *b"forged";
        let content = (ContentEncryption::A256Gcm, &**cek);
        let tag = content::seal_in_place(content, [0; 12], header.as_bytes(), &mut ciphertext).unwrap();
        let forged = [
            header,
            String::new(),
            base64url::encode([0; 12]),
            base64url::encode(ciphertext),
            base64url::encode(tag),
        ]
        .join(".");
        assert_eq!(
            Unopened::parse(&forged).unwrap_err(),
            Error::EphemeralKey,
            "{point}"
        );
        // whatever else takes such a point one day: nothing is agreed on with it
        let private = PrivateKey::from_private_key(&X25519, &[1; 32]).unwrap();
        if let Ok(peer) = UnparsedPublicKey::new(&X25519, bytes).try_into() {
            assert!(agree::shared_secret(&private, peer).is_none(), "{point}");
        }
    }
}

#[test]
fn a_tag_of_another_length_than_128_bits_is_refused() {
    let (_, recipient) = p256();
    let message = encrypt(&recipient, &A256, b"x", &RANDOM).unwrap();
    let tag = base64url::decode(message.rsplit('.').next().unwrap()).unwrap();
    for length in (0..16).chain([17, 32, 1000]) {
        let mut tag = tag.clone();
        tag.resize(length, 0);
        let verdict = Unopened::parse(&with_part(&message, 4, &tag)).unwrap_err();
        assert_eq!(verdict, Error::Length("tag"), "{length}");
    }
}

#[test]
fn an_iv_of_another_length_than_96_bits_is_refused() {
    let (_, recipient) = p256();
    let message = encrypt(&recipient, &A256, b"x", &RANDOM).unwrap();
    for length in [0, 8, 11, 13, 16, 1000] {
        let verdict = Unopened::parse(&with_part(&message, 2, &vec![0; length])).unwrap_err();
        assert_eq!(verdict, Error::Length("initialization vector"), "{length}");
    }
}

#[test]
fn an_encrypted_key_beside_an_agreed_or_shared_one_is_refused() {
    let (key, recipient) = p256();
    let message = encrypt(&recipient, &A256, b"x", &RANDOM).unwrap();
    let changed = with_part(&message, 1, &[1; 40]);
    assert_eq!(
        Unopened::parse(&changed).unwrap().open(&key).unwrap_err(),
        Error::Length("encrypted key")
    );
    let shared = SharedKey::generate(None, ContentEncryption::A256Gcm, &RANDOM).unwrap();
    let message = encrypt_shared(&shared, &A256, b"x", &RANDOM).unwrap();
    let changed = with_part(&message, 1, &[1]);
    assert_eq!(
        Unopened::parse(&changed)
            .unwrap()
            .open_shared(&shared)
            .unwrap_err(),
        Error::Length("encrypted key")
    );
}

#[test]
fn oversized_input_is_refused() {
    let (key, recipient) = p256();
    let message = encrypt(&recipient, &A256, &vec![0; SMALL_BYTES], &RANDOM).unwrap();
    assert_eq!(
        Unopened::parse(&message).unwrap_err(),
        Error::TooLarge { limit: SMALL_BYTES }
    );
    assert!(Unopened::parse_within(&message, message.len() - 1).is_err());
    let unopened = Unopened::parse_within(&message, message.len()).unwrap();
    assert_eq!(unopened.open(&key).unwrap().plaintext().len(), SMALL_BYTES);
    // the header, the encrypted key and the parties have limits of their own
    assert!(matches!(
        refused_member("x", json!("y".repeat(HEADER_BYTES))),
        Error::Header(_)
    ));
    let small = encrypt(&recipient, &A256, b"x", &RANDOM).unwrap();
    let at_the_limit = with_part(&small, 1, &vec![0; ENCRYPTED_KEY_BYTES]);
    assert!(Unopened::parse(&at_the_limit).is_ok());
    let changed = with_part(&small, 1, &vec![0; ENCRYPTED_KEY_BYTES + 1]);
    assert_eq!(
        Unopened::parse(&changed).unwrap_err(),
        Error::Length("encrypted key")
    );
    let header = header_of(&small).to_string();
    let padded = |length: usize| format!("{header}{}", " ".repeat(length - header.len()));
    assert!(Unopened::parse(&with_header(&small, &padded(HEADER_BYTES))).is_ok());
    assert!(matches!(
        Unopened::parse(&with_header(&small, &padded(HEADER_BYTES + 1))).unwrap_err(),
        Error::Header(_)
    ));
    for name in ["apu", "apv"] {
        let long = base64url::encode(vec![0; PARTY_BYTES + 1]);
        assert!(matches!(refused_member(name, json!(long)), Error::Header(_)));
        assert!(matches!(refused_member(name, json!("AA=")), Error::Header(_)));
        assert!(matches!(refused_member(name, json!(1)), Error::Header(_)));
    }
}

#[test]
fn nothing_is_made_that_its_reader_would_refuse() {
    let (_, recipient) = p256();
    let long = "x".repeat(HEADER_BYTES);
    let party = [0; PARTY_BYTES + 1];
    for protected in [
        Protected {
            cty: Some(&long),
            ..A256
        },
        Protected {
            typ: Some(&long),
            ..A256
        },
        Protected { apu: &party, ..A256 },
        Protected { apv: &party, ..A256 },
    ] {
        let verdict = encrypt(&recipient, &protected, b"x", &RANDOM).unwrap_err();
        assert!(matches!(verdict, Error::Header(_)));
    }
}

#[test]
fn duplicate_members_are_refused() {
    let (_, recipient) = p256();
    let message = encrypt(&recipient, &A256, b"x", &RANDOM).unwrap();
    let header = header_of(&message).to_string();
    for twice in [
        header.replacen('{', r#"{"alg":"dir","#, 1),
        header.replacen('{', r#"{"\u0061lg":"ECDH-ES","#, 1),
        header.replacen(r#""epk":{"#, r#""epk":{"x":"AA","#, 1),
    ] {
        assert_ne!(twice, header);
        let verdict = Unopened::parse(&with_header(&message, &twice)).unwrap_err();
        assert!(matches!(verdict, Error::Header(_)), "{verdict}");
    }
}

#[test]
fn non_canonical_base64url_is_refused() {
    let (key, recipient) = p256();
    let message = encrypt(&recipient, &A256, b"xx", &RANDOM).unwrap();
    for part in 0..5 {
        for odd in ["=", "+", "/", "\n", " ", "\u{e9}", "."] {
            let mut parts: Vec<String> = message.split('.').map(str::to_owned).collect();
            parts[part].push_str(odd);
            let changed = parts.join(".");
            let verdict = Unopened::parse(&changed).and_then(|unopened| unopened.open(&key));
            assert_eq!(verdict.unwrap_err(), Error::NotCompact, "{part} {odd:?}");
        }
    }
    // spare bits set: two bytes have three characters, of whose last two bits nothing depends; 128 bits have four
    for part in [3, 4] {
        let mut parts: Vec<String> = message.split('.').map(str::to_owned).collect();
        let last = parts[part].pop().unwrap();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
        parts[part].push(next);
        let changed = parts.join(".");
        let verdict = Unopened::parse(&changed).and_then(|unopened| unopened.open(&key));
        assert_eq!(verdict.unwrap_err(), Error::NotCompact, "{part}");
    }
    for shape in [
        "",
        ".",
        "....",
        "a.b.c.d",
        "a.b.c.d.e.f",
        message.split_once('.').unwrap().1,
        &message.replace('.', ""),
    ] {
        assert!(Unopened::parse(shape).is_err(), "{shape:?}");
    }
}

#[test]
fn every_failure_of_decryption_looks_alike() {
    // RSA: a padding that does not hold, a key of the wrong size under a good padding, a wrong tag
    let rsa = key(KeyManagement::RsaOaep256, DecryptionKind::Rsa2048);
    let to = recipient(&rsa);
    let message = encrypt(&to, &A256, b"x", &RANDOM).unwrap();
    let crate::jose::jwk::Recipient::Rsa(public) = to.recipient() else {
        panic!()
    };
    let wrap = |key: &[u8]| {
        let mut out = vec![0; 256];
        public
            .encrypt(&aws_lc_rs::rsa::OAEP_SHA256_MGF1SHA256, key, &mut out, None)
            .unwrap();
        out
    };
    let bad_padding = with_part(&message, 1, &[1; 256]);
    let mut failures = vec![
        bad_padding,
        with_part(&message, 1, &wrap(&[1; 16])),
        with_part(&message, 1, &wrap(&[1; 33])),
        with_part(&message, 1, &wrap(&[])),
        with_part(&message, 1, &wrap(&[1; 32])),
        with_part(&message, 4, &[0; 16]),
    ];
    // too long or too short for the modulus
    failures.push(with_part(&message, 1, &[1; 255]));
    failures.push(with_part(&message, 1, &[0xff; 256]));
    for failure in failures {
        assert_eq!(
            Unopened::parse(&failure).unwrap().open(&rsa).unwrap_err(),
            Error::Opening
        );
    }
    // key wrap: one that does not unwrap, a wrong tag
    let point = key(KeyManagement::EcdhEsA256Kw, DecryptionKind::P256);
    let message = encrypt(&recipient(&point), &A256, b"x", &RANDOM).unwrap();
    for failure in [with_part(&message, 1, &[1; 40]), with_part(&message, 4, &[0; 16])] {
        assert_eq!(
            Unopened::parse(&failure).unwrap().open(&point).unwrap_err(),
            Error::Opening
        );
    }
    // another key of the same kind
    let other = key(KeyManagement::EcdhEsA256Kw, DecryptionKind::P256);
    assert_eq!(
        Unopened::parse(&message).unwrap().open(&other).unwrap_err(),
        Error::Opening
    );
}

#[test]
fn a_key_that_cannot_be_used_now_says_so() {
    struct Gone(DecryptionKey);
    impl PayloadOpener for Gone {
        fn kid(&self) -> &KeyId {
            self.0.kid()
        }
        fn key(&self) -> &PublicKey {
            PayloadOpener::key(&self.0)
        }
        fn recover(&self, _: Wrapped<'_>) -> Result<zeroize::Zeroizing<Vec<u8>>, OpeningFailed> {
            Err(OpeningFailed::Unavailable("the token is gone".to_owned()))
        }
    }
    let (key, recipient) = p256();
    let message = encrypt(&recipient, &A256, b"x", &RANDOM).unwrap();
    let verdict = Unopened::parse(&message).unwrap().open(&Gone(key)).unwrap_err();
    assert_eq!(verdict, Error::Unavailable("the token is gone".to_owned()));
    assert_eq!(verdict.fault(), crate::fault::Fault::Operator);
}

#[test]
fn every_flipped_bit_is_refused() {
    for (algorithm, kind) in every_kind() {
        let key = key(algorithm, kind);
        let message = encrypt(&recipient(&key), &A256, b"hello", &RANDOM).unwrap();
        let parts: Vec<Vec<u8>> = message
            .split('.')
            .map(|part| base64url::decode(part).unwrap())
            .collect();
        for (index, part) in parts.iter().enumerate() {
            // RSA takes its time: every eleventh bit of its long part
            let step = if part.len() >= 256 && index == 1 { 11 } else { 1 };
            for bit in (0..part.len() * 8).step_by(step) {
                let mut changed = part.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let changed = with_part(&message, index, &changed);
                let verdict = Unopened::parse(&changed).and_then(|unopened| unopened.open(&key));
                assert!(
                    verdict.is_err(),
                    "{algorithm:?} {kind:?}, part {index}, bit {bit}"
                );
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_the_text_is_refused() {
    let (key, recipient) = p256();
    let message = encrypt(&recipient, &A256, b"hello", &RANDOM).unwrap();
    for bit in 0..message.len() * 7 {
        let mut changed = message.clone().into_bytes();
        changed[bit / 7] ^= 1 << (bit % 7);
        let changed = String::from_utf8(changed).unwrap();
        let verdict = Unopened::parse(&changed).and_then(|unopened| unopened.open(&key));
        assert!(verdict.is_err(), "bit {bit}");
    }
}

#[test]
fn scalars_are_drawn_again_when_the_library_refuses() {
    struct First(AtomicU64, u8, u64);
    impl SecureRandom for First {
        fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
            if self.0.fetch_add(1, Ordering::Relaxed) < self.2 {
                out.fill(self.1);
                Ok(())
            } else {
                RANDOM.fill(out)
            }
        }
    }
    for kind in [DecryptionKind::P256, DecryptionKind::P384] {
        let kid = || KeyId::parse("k").unwrap();
        let make = |random: &First| DecryptionKey::generate(kid(), KeyManagement::EcdhEs, kind, random);
        for refused in [0, 0xff] {
            let random = First(AtomicU64::new(0), refused, 1);
            make(&random).unwrap();
            assert_eq!(random.0.load(Ordering::Relaxed), 2);
            // and not for ever
            let verdict = make(&First(AtomicU64::new(0), refused, u64::MAX)).unwrap_err();
            assert!(matches!(verdict, Error::Primitive(_)));
        }
    }
}

#[test]
fn without_randomness_nothing_is_encrypted() {
    struct Dry;
    impl SecureRandom for Dry {
        fn fill(&self, _: &mut [u8]) -> Result<(), RandomUnavailable> {
            Err(RandomUnavailable)
        }
    }
    for (algorithm, kind) in every_kind() {
        let recipient = recipient(&key(algorithm, kind));
        assert_eq!(
            encrypt(&recipient, &A256, b"x", &Dry).unwrap_err(),
            Error::Random(RandomUnavailable)
        );
    }
}

#[test]
fn debug_and_errors_show_nothing_of_the_content() {
    let (key, recipient) = p256();
    let message = encrypt(&recipient, &A256, b"hunter2", &RANDOM).unwrap();
    let unopened = Unopened::parse(&message).unwrap();
    let opened = unopened.open(&key).unwrap();
    let shown = format!("{unopened:?} {opened:?} {key:?} {recipient:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("104, 117"),
        "{shown}"
    );
    for part in message.split('.').filter(|part| !part.is_empty()) {
        assert!(!shown.contains(part), "{shown}");
    }
}

#[test]
fn recipients_are_taken_from_a_set_and_never_guessed() {
    let point = |kid: &str, more: Json| {
        let key = key(KeyManagement::EcdhEs, DecryptionKind::P256);
        let mut jwk = json!({ "kid": kid });
        for (name, value) in key.public().members() {
            jwk[name] = json!(value);
        }
        for (name, value) in more.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    let enc = |kid: &str| point(kid, json!({ "use": "enc", "alg": "ECDH-ES", "key_ops": [] }));
    let find = |keys: Json, kid: Option<&str>, algorithm| {
        let kid = kid.map(|kid| KeyId::parse(kid).unwrap());
        recipient_of(
            json!({ "keys": keys }).to_string().as_bytes(),
            kid.as_ref(),
            algorithm,
        )
        .map(|key| key.kid().unwrap().as_str().to_owned())
    };
    let signing = || point("s", json!({ "use": "sig", "alg": "ES256" }));
    let silent = || point("n", json!({}));
    assert_eq!(
        find(json!([signing(), silent(), enc("a")]), None, None),
        Ok("a".to_owned())
    );
    assert_eq!(
        find(json!([signing(), silent()]), None, None),
        Err(NoRecipient::Missing)
    );
    assert_eq!(
        find(json!([silent()]), Some("n"), None),
        Err(NoRecipient::Missing)
    );
    assert_eq!(
        find(json!([enc("a"), enc("b")]), None, None),
        Err(NoRecipient::Several)
    );
    assert_eq!(
        find(json!([enc("a"), enc("a")]), Some("a"), None),
        Err(NoRecipient::Several)
    );
    assert_eq!(
        find(json!([enc("a"), enc("b")]), Some("b"), None),
        Ok("b".to_owned())
    );
    assert_eq!(
        find(json!([enc("a")]), Some("c"), None),
        Err(NoRecipient::Missing)
    );
    let wrapping = point("w", json!({ "use": "enc", "alg": "ECDH-ES+A256KW" }));
    let open = point("o", json!({ "use": "enc" }));
    let wanted = Some(KeyManagement::EcdhEsA256Kw);
    assert_eq!(
        find(json!([enc("a"), wrapping]), None, wanted),
        Ok("w".to_owned())
    );
    assert_eq!(find(json!([enc("a"), open]), None, wanted), Ok("o".to_owned()));
    let private = point("p", json!({ "use": "sig", "d": base64url::encode([1; 32]) }));
    assert_eq!(
        find(json!([enc("a"), private]), None, None),
        Err(NoRecipient::Private)
    );
    let confused = point("x", json!({ "use": "enc", "key_ops": ["verify"] }));
    assert_eq!(
        find(json!([enc("a"), confused.clone()]), None, None),
        Ok("a".to_owned())
    );
    assert_eq!(
        find(json!([confused]), Some("x"), None),
        Err(NoRecipient::Key(KeyProblem::NotForEncrypting))
    );
    assert!(matches!(
        recipient_of(b"{}", None, None),
        Err(NoRecipient::NotAKeySet(_))
    ));
    assert!(matches!(
        recipient_of(b"[]", None, None),
        Err(NoRecipient::NotAKeySet(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_the_reader_fall(text in ".{0,200}") {
        let _ = Unopened::parse(&text).is_ok();
        let _ = json::Unopened::parse(text.as_bytes()).is_ok();
    }

    #[test]
    fn what_goes_in_comes_out(plaintext in proptest::collection::vec(any::<u8>(), 0..7000)) {
        let key = key(KeyManagement::EcdhEsA128Kw, DecryptionKind::X25519);
        let message = encrypt(&recipient(&key), &A256, &plaintext, &RANDOM).unwrap();
        let opened = Unopened::parse(&message).unwrap().open(&key).unwrap();
        prop_assert_eq!(opened.plaintext(), &*plaintext);
    }
}
