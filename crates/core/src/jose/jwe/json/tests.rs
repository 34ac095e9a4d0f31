//! Tests of the JSON serialisations.

use serde_json::json;

use super::*;
use crate::jose::jwe::tests::{RANDOM, every_kind, key, recipient};
use crate::jose::jwe::{ContentEncryption, KeyManagement, Wrapped};
use crate::jose::jwk::{DecryptionKey, DecryptionKind};

const A256: Protected<'_> = Protected::new(ContentEncryption::A256Gcm);
const KINDS: [DecryptionKind; 3] = [DecryptionKind::P256, DecryptionKind::P384, DecryptionKind::X25519];

fn named(kid: &str, kind: DecryptionKind) -> DecryptionKey {
    let kid = KeyId::parse(kid).unwrap();
    DecryptionKey::generate(kid, KeyManagement::EcdhEsA256Kw, kind, &RANDOM).unwrap()
}

fn open(message: &str, key: &DecryptionKey) -> Result<OpenedJson, Error> {
    Unopened::parse(message.as_bytes())?.open(key)
}

/// A message with something changed in its JSON.
fn changed(message: &str, change: impl FnOnce(&mut Json)) -> String {
    let mut json: Json = serde_json::from_str(message).unwrap();
    change(&mut json);
    json.to_string()
}

fn flat() -> (DecryptionKey, String) {
    let key = key(KeyManagement::EcdhEsA256Kw, DecryptionKind::P256);
    let message = flattened(&recipient(&key), &A256, Besides::default(), b"hello", &RANDOM).unwrap();
    (key, message)
}

fn several() -> ([DecryptionKey; 3], String) {
    let [a, b, c] = KINDS;
    let keys = [named("a", a), named("b", b), named("c", c)];
    let recipients: Vec<_> = keys.iter().map(recipient).collect();
    let recipients: Vec<_> = recipients.iter().collect();
    let message = general(&recipients, &A256, Besides::default(), b"hello", &RANDOM).unwrap();
    (keys, message)
}

#[test]
fn flattened_for_every_algorithm() {
    for (algorithm, kind) in every_kind() {
        let key = key(algorithm, kind);
        let unprotected = json!({ "note": "seen by all" });
        for aad in [None, Some(&b""[..]), Some(b"bound")] {
            let besides = Besides {
                aad,
                unprotected: unprotected.as_object(),
            };
            let message = flattened(&recipient(&key), &A256, besides, b"hello", &RANDOM).unwrap();
            let opened = open(&message, &key).unwrap();
            assert_eq!(opened.message.plaintext(), b"hello");
            // RFC 7516 §7.2.1: there is no empty one.
            let aad = aad.filter(|aad| !aad.is_empty());
            assert_eq!(opened.aad.as_deref(), aad);
            let json: Json = serde_json::from_str(&message).unwrap();
            assert_eq!(json.get("aad").is_some(), aad.is_some());
            assert_eq!(json["unprotected"], unprotected);
            assert_eq!(
                json.get("encrypted_key").is_some(),
                algorithm.carries_content_key()
            );
        }
    }
}

#[test]
fn each_of_several_recipients_opens_it() {
    let (keys, message) = several();
    for key in &keys {
        assert_eq!(open(&message, key).unwrap().message.plaintext(), b"hello");
    }
    let kids = |message: &str| -> Vec<_> {
        Unopened::parse(message.as_bytes())
            .unwrap()
            .kids()
            .map(|kid| kid.map(|kid| kid.as_str().to_owned()))
            .collect()
    };
    assert_eq!(kids(&message), ["a", "b", "c"].map(|kid| Some(kid.to_owned())));
    // one who is none of them, and one who only has the name
    let stranger = named("d", DecryptionKind::P256);
    assert_eq!(open(&message, &stranger).unwrap_err(), Error::Opening);
    let namesake = named("a", DecryptionKind::P256);
    assert_eq!(open(&message, &namesake).unwrap_err(), Error::Opening);
    // where the names are missing, each that could be it is tried
    let nameless = changed(&message, |json| {
        for recipient in json["recipients"].as_array_mut().unwrap() {
            recipient["header"].as_object_mut().unwrap().remove("kid");
        }
    });
    for key in &keys {
        assert_eq!(open(&nameless, key).unwrap().message.plaintext(), b"hello");
    }
}

#[test]
fn one_recipient_in_the_general_form() {
    for (algorithm, kind) in every_kind() {
        let key = key(algorithm, kind);
        let message = general(&[&recipient(&key)], &A256, Besides::default(), b"hello", &RANDOM).unwrap();
        assert_eq!(open(&message, &key).unwrap().message.plaintext(), b"hello");
    }
}

#[test]
fn several_recipients_need_a_content_key_and_one_algorithm() {
    let make = |algorithm, kind| recipient(&key(algorithm, kind));
    let direct = make(KeyManagement::EcdhEs, DecryptionKind::P256);
    let wrap = make(KeyManagement::EcdhEsA256Kw, DecryptionKind::P256);
    let rsa = make(KeyManagement::RsaOaep256, DecryptionKind::Rsa2048);
    let all = |keys: &[&EncryptionKey]| general(keys, &A256, Besides::default(), b"x", &RANDOM).map(drop);
    assert_eq!(all(&[&direct, &direct]), Err(Error::OtherAlgorithm));
    assert_eq!(all(&[&wrap, &rsa]), Err(Error::OtherAlgorithm));
    assert_eq!(all(&[]), Err(Error::Recipients));
    assert_eq!(all(&[&wrap; RECIPIENTS + 1]), Err(Error::Recipients));
    assert_eq!(all(&[&wrap; RECIPIENTS]), Ok(()));
    // and a reader says the same
    let message = general(&[&direct], &A256, Besides::default(), b"x", &RANDOM).unwrap();
    let twice = changed(&message, |json| {
        let one = json["recipients"][0].clone();
        json["recipients"].as_array_mut().unwrap().push(one);
    });
    assert_eq!(Unopened::parse(twice.as_bytes()).unwrap_err(), Error::Recipients);
}

#[test]
fn recipients_are_bounded() {
    let (_, message) = several();
    for count in [0, RECIPIENTS + 1] {
        let message = changed(&message, |json| {
            let one = json["recipients"][0].clone();
            json["recipients"] = vec![one; count].into();
        });
        assert_eq!(
            Unopened::parse(message.as_bytes()).unwrap_err(),
            Error::Recipients,
            "{count}"
        );
    }
}

#[test]
fn a_parameter_in_two_of_the_headers_is_refused() {
    let (_, message) = flat();
    for member in ["unprotected", "header"] {
        for name in ["kid", "epk", "enc", "alg"] {
            let twice = changed(&message, |json| json[member] = json!({ name: "x" }));
            assert_eq!(
                Unopened::parse(twice.as_bytes()).unwrap_err(),
                Error::Twice,
                "{member} {name}"
            );
        }
    }
    let both = changed(&message, |json| {
        json["unprotected"] = json!({ "note": 1 });
        json["header"] = json!({ "note": 1 });
    });
    assert_eq!(Unopened::parse(both.as_bytes()).unwrap_err(), Error::Twice);
    let (_, message) = several();
    let both = changed(&message, |json| json["unprotected"] = json!({ "kid": "a" }));
    assert_eq!(Unopened::parse(both.as_bytes()).unwrap_err(), Error::Twice);
}

#[test]
fn a_member_twice_is_refused() {
    let (_, message) = flat();
    for name in ["protected", "iv", "tag", "ciphertext", "encrypted_key"] {
        let twice = message.replacen('{', &format!("{{\"{name}\":\"\","), 1);
        assert!(
            matches!(Unopened::parse(twice.as_bytes()).unwrap_err(), Error::NotJson(_)),
            "{name}"
        );
    }
}

#[test]
fn alg_and_enc_outside_of_the_protected_header_are_refused() {
    let (_, message) = flat();
    for name in ["alg", "enc"] {
        for member in ["unprotected", "header"] {
            let moved = changed(&message, |json| {
                let protected = base64url::decode(json["protected"].as_str().unwrap()).unwrap();
                let mut header: Json = serde_json::from_slice(&protected).unwrap();
                let value = header.as_object_mut().unwrap().remove(name).unwrap();
                json["protected"] = json!(base64url::encode(header.to_string()));
                json[member] = json!({ name: value });
            });
            assert!(matches!(
                Unopened::parse(moved.as_bytes()).unwrap_err(),
                Error::Header(_)
            ));
        }
    }
    let none = changed(&message, |json| {
        drop(json.as_object_mut().unwrap().remove("protected"))
    });
    assert!(matches!(
        Unopened::parse(none.as_bytes()).unwrap_err(),
        Error::Header(_)
    ));
}

#[test]
fn what_no_header_may_bring_no_part_of_it_may() {
    let (_, message) = flat();
    for name in crate::jose::REFUSED {
        for member in ["unprotected", "header"] {
            let with = changed(&message, |json| json[member] = json!({ name: "x" }));
            assert_eq!(
                Unopened::parse(with.as_bytes()).unwrap_err(),
                Error::Refused(name)
            );
        }
        let unprotected = json!({ name: "x" });
        let besides = Besides {
            unprotected: unprotected.as_object(),
            ..Besides::default()
        };
        let recipient = recipient(&key(KeyManagement::EcdhEs, DecryptionKind::P256));
        let verdict = flattened(&recipient, &A256, besides, b"x", &RANDOM).unwrap_err();
        assert_eq!(verdict, Error::Refused(name));
    }
    let ours = json!({ "enc": "A128GCM" });
    let besides = Besides {
        unprotected: ours.as_object(),
        ..Besides::default()
    };
    let recipient = recipient(&key(KeyManagement::EcdhEs, DecryptionKind::P256));
    let verdict = flattened(&recipient, &A256, besides, b"x", &RANDOM).unwrap_err();
    assert_eq!(verdict, Error::Refused("enc"));
}

#[test]
fn general_and_flattened_at_once_is_refused() {
    let (_, message) = several();
    for (member, value) in [("header", json!({})), ("encrypted_key", json!(""))] {
        let both = changed(&message, |json| json[member] = value);
        assert!(matches!(
            Unopened::parse(both.as_bytes()).unwrap_err(),
            Error::NotJson(_)
        ));
    }
}

#[test]
fn wrongly_typed_and_missing_members_are_refused() {
    let (_, message) = flat();
    for name in [
        "protected",
        "iv",
        "tag",
        "ciphertext",
        "encrypted_key",
        "aad",
        "header",
        "unprotected",
        "recipients",
    ] {
        for value in [json!(null), json!(1), json!([1]), json!(true)] {
            let bad = changed(&message, |json| json[name] = value.clone());
            assert!(Unopened::parse(bad.as_bytes()).is_err(), "{name} {value}");
        }
    }
    for name in ["iv", "tag", "ciphertext"] {
        let bad = changed(&message, |json| drop(json.as_object_mut().unwrap().remove(name)));
        assert!(matches!(
            Unopened::parse(bad.as_bytes()).unwrap_err(),
            Error::NotJson(_)
        ));
    }
    for text in ["", "{}", "[]", "null", "\"a.b.c.d.e\"", "{"] {
        assert!(Unopened::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn lengths_and_spellings_are_those_of_the_compact_form() {
    let (key, message) = flat();
    let with = |name: &str, value: String| changed(&message, |json| json[name] = json!(value));
    let verdict = |message: &str| open(message, &key).unwrap_err();
    for length in [0, 4, 12, 15, 17] {
        let tag = with("tag", base64url::encode(vec![0; length]));
        assert_eq!(verdict(&tag), Error::Length("tag"));
    }
    let iv = with("iv", base64url::encode([0; 16]));
    assert_eq!(verdict(&iv), Error::Length("initialization vector"));
    let short = with("encrypted_key", base64url::encode([0; 8]));
    assert_eq!(verdict(&short), Error::Length("encrypted key"));
    let long = with("encrypted_key", base64url::encode([0; 2000]));
    assert_eq!(verdict(&long), Error::Length("encrypted key"));
    for name in ["protected", "iv", "tag", "ciphertext", "encrypted_key", "aad"] {
        let padded = with(name, "AA==".to_owned());
        assert!(matches!(verdict(&padded), Error::NotJson(_)), "{name}");
    }
}

#[test]
fn what_is_authenticated_cannot_be_changed() {
    let key = key(KeyManagement::EcdhEsA256Kw, DecryptionKind::P256);
    let besides = Besides {
        aad: Some(b"bound"),
        unprotected: None,
    };
    let message = flattened(&recipient(&key), &A256, besides, b"hello", &RANDOM).unwrap();
    let other = changed(&message, |json| json["aad"] = json!(base64url::encode("other")));
    assert_eq!(open(&other, &key).unwrap_err(), Error::Opening);
    let none = changed(&message, |json| drop(json.as_object_mut().unwrap().remove("aad")));
    assert_eq!(open(&none, &key).unwrap_err(), Error::Opening);
    let (key, message) = flat();
    let added = changed(&message, |json| json["aad"] = json!(base64url::encode("x")));
    assert_eq!(open(&added, &key).unwrap_err(), Error::Opening);
    let empty = changed(&message, |json| json["aad"] = json!(""));
    assert!(matches!(open(&empty, &key).unwrap_err(), Error::NotJson(_)));
}

#[test]
fn a_shared_key_opens_either_form() {
    let shared = |fill| SharedKey::from_bytes(None, ContentEncryption::A256Gcm, &[fill; 32]).unwrap();
    let compact = crate::jose::jwe::encrypt_shared(&shared(1), &A256, b"hello", &RANDOM).unwrap();
    let parts: Vec<&str> = compact.split('.').collect();
    let flattened = json!({ "protected": parts[0], "iv": parts[2], "ciphertext": parts[3], "tag": parts[4] });
    let mut general = flattened.clone();
    general["recipients"] = json!([{}]);
    for message in [&flattened, &general] {
        let text = message.to_string();
        let unopened = Unopened::parse(text.as_bytes()).unwrap();
        assert_eq!(unopened.algorithm(), Some(KeyManagement::Dir));
        let opened = unopened.open_shared(&shared(1)).unwrap();
        assert_eq!(opened.message.plaintext(), b"hello");
        assert_eq!(unopened.open_shared(&shared(2)).unwrap_err(), Error::Opening);
        let shorter = SharedKey::from_bytes(None, ContentEncryption::A128Gcm, &[1; 16]).unwrap();
        assert_eq!(unopened.open_shared(&shorter).unwrap_err(), Error::OtherAlgorithm);
        let own = key(KeyManagement::EcdhEs, DecryptionKind::P256);
        assert_eq!(unopened.open(&own).unwrap_err(), Error::OtherAlgorithm);
    }
    // RFC 7518 §4.5: there is no encrypted key.
    let mut keyed = flattened.clone();
    keyed["encrypted_key"] = json!("AA");
    let text = keyed.to_string();
    assert_eq!(
        Unopened::parse(text.as_bytes())
            .unwrap()
            .open_shared(&shared(1))
            .unwrap_err(),
        Error::Length("encrypted key")
    );
    let mut several = general;
    several["recipients"] = json!([{}, {}]);
    let text = several.to_string();
    assert_eq!(Unopened::parse(text.as_bytes()).unwrap_err(), Error::Recipients);
    let (_, agreed) = flat();
    assert_eq!(
        Unopened::parse(agreed.as_bytes())
            .unwrap()
            .open_shared(&shared(1))
            .unwrap_err(),
        Error::OtherAlgorithm
    );
}

#[test]
fn media_types_outside_of_the_protected_header_are_not_shown() {
    let (key, message) = flat();
    let claimed = changed(&message, |json| {
        json["unprotected"] = json!({ "cty": "JWT", "typ": "x" })
    });
    let opened = open(&claimed, &key).unwrap();
    assert_eq!((opened.message.cty(), opened.message.typ()), (None, None));
    let wrong = changed(&message, |json| json["unprotected"] = json!({ "cty": 1 }));
    assert!(matches!(
        Unopened::parse(wrong.as_bytes()).unwrap_err(),
        Error::Header(_)
    ));
}

#[test]
fn oversized_json_is_refused() {
    let key = key(KeyManagement::EcdhEs, DecryptionKind::P256);
    let plaintext = vec![7; SMALL_BYTES];
    let message = flattened(&recipient(&key), &A256, Besides::default(), &plaintext, &RANDOM).unwrap();
    assert_eq!(
        Unopened::parse(message.as_bytes()).unwrap_err(),
        Error::TooLarge { limit: SMALL_BYTES }
    );
    let unopened = Unopened::parse_within(message.as_bytes(), message.len()).unwrap();
    assert_eq!(unopened.open(&key).unwrap().message.plaintext(), plaintext);
}

#[test]
fn members_that_nobody_knows_are_ignored() {
    // RFC 7516 §7.2.1: Additional members MUST be ignored.
    let (key, message) = flat();
    let more = changed(&message, |json| json["more"] = json!({ "a": [1] }));
    assert_eq!(open(&more, &key).unwrap().message.plaintext(), b"hello");
}

#[test]
fn an_unavailable_key_is_not_a_wrong_one() {
    struct Gone(DecryptionKey);
    impl PayloadOpener for Gone {
        fn kid(&self) -> &KeyId {
            self.0.kid()
        }
        fn key(&self) -> &crate::jose::jwk::PublicKey {
            self.0.public()
        }
        fn recover(
            &self,
            _: Wrapped<'_>,
        ) -> Result<zeroize::Zeroizing<Vec<u8>>, crate::jose::jwe::OpeningFailed> {
            Err(crate::jose::jwe::OpeningFailed::Unavailable("gone".to_owned()))
        }
    }
    let (keys, message) = several();
    let [first, ..] = keys;
    let verdict = Unopened::parse(message.as_bytes())
        .unwrap()
        .open(&Gone(first))
        .unwrap_err();
    assert_eq!(verdict, Error::Unavailable("gone".to_owned()));
}
