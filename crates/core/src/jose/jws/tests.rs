//! The compact serialisation, and every refusal that a token can earn. The JSON serialisations have a file of their own.

use aws_lc_rs::{digest, hmac};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ids::KeyId;
use crate::jose::SignatureAlgorithm::{self, EdDsa, Es256, Es384, Es512, Ps256, Rs256};
use crate::jose::base64url::encode;
use crate::jose::jwk::testing::{public_jwk, signing_key};
use crate::jose::jwk::{KeyProblem, SigningKey, VerificationKey};

fn pair(algorithm: SignatureAlgorithm) -> (SigningKey, VerificationKey) {
    let signer = signing_key("k", algorithm);
    let key = VerificationKey::parse(public_jwk(&signer).to_string().as_bytes()).unwrap();
    (signer, key)
}

/// A token with this header text, signed as it says or not.
fn signed(signer: &SigningKey, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let input = format!("{}.{}", encode(header), encode(payload));
    let signature = signer.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", encode(signature))
}

fn verdict(token: &str, key: &VerificationKey) -> Result<Vec<u8>, Error> {
    let unverified = Unverified::parse(token)?;
    unverified.verify(key).map(|verified| verified.payload().to_vec())
}

/// A good ES256 token whose header has this member more.
fn with_parameter(name: &str, value: &Value) -> Result<Vec<u8>, Error> {
    let (signer, key) = pair(Es256);
    let mut header = json!({ "alg": "ES256", "typ": "JWT" });
    header[name] = value.clone();
    verdict(&signed(&signer, header.to_string(), "{}"), &key)
}

#[test]
fn what_was_signed_is_what_is_shown() {
    for algorithm in SignatureAlgorithm::ALL {
        let (signer, key) = pair(algorithm);
        let claims = json!({ "sub": "alice", "n": 1 });
        let token = sign(&signer, "at+jwt", claims.as_object().unwrap()).unwrap();
        let unverified = Unverified::parse(&token).unwrap();
        assert_eq!(unverified.kid(), key.kid());
        assert_eq!(unverified.algorithm(), algorithm);
        let verified = unverified.verify(&key).unwrap();
        assert_eq!(verified.typ(), Some("at+jwt"));
        assert_eq!(
            serde_json::from_slice::<Value>(verified.payload()).unwrap(),
            claims
        );
    }
}

#[test]
fn another_key_is_no_key() {
    for algorithm in SignatureAlgorithm::ALL {
        let (signer, _) = pair(algorithm);
        let token = sign(&signer, "at+jwt", &serde_json::Map::new()).unwrap();
        // All RSA keys of these tests are one key, so that what differs is the algorithm alone.
        for other in SignatureAlgorithm::ALL {
            let expected = match (other == algorithm, signer.public().fits(Rs256)) {
                (true, true) => continue,
                (true, false) => Error::Signature,
                (false, _) => Error::OtherAlgorithm,
            };
            assert_eq!(verdict(&token, &pair(other).1).unwrap_err(), expected);
        }
    }
}

#[test]
fn an_algorithm_that_is_not_the_keys_is_refused_whatever_the_signature() {
    // The header names what the key is not for; the signature is made with the key's own algorithm, and with the other.
    let (signer, key) = pair(Rs256);
    let (pss, _) = pair(Ps256);
    for header in [r#"{"alg":"PS256"}"#, r#"{"alg":"RS512"}"#, r#"{"alg":"ES256"}"#] {
        assert_eq!(
            verdict(&signed(&signer, header, "{}"), &key).unwrap_err(),
            Error::OtherAlgorithm
        );
        assert_eq!(
            verdict(&signed(&pss, header, "{}"), &key).unwrap_err(),
            Error::OtherAlgorithm
        );
    }
    let crossed = signed(&pss, r#"{"alg":"RS256"}"#, "{}");
    assert_eq!(verdict(&crossed, &key).unwrap_err(), Error::Signature);
}

#[test]
fn none_is_refused() {
    let (_, key) = pair(Es256);
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let head = format!("{}.{}", encode(format!(r#"{{"alg":"{name}"}}"#)), encode("{}"));
        for token in [format!("{head}."), head.clone(), format!("{head}.AAAA")] {
            let error = verdict(&token, &key).unwrap_err();
            assert!(
                matches!(error, Error::NotCompact | Error::Algorithm),
                "{token}: {error:?}"
            );
        }
    }
    let unnamed = format!("{}.{}.AAAA", encode("{}"), encode("{}"));
    assert_eq!(verdict(&unnamed, &key).unwrap_err(), Error::Algorithm);
}

#[test]
fn hmac_with_a_public_key_as_the_secret_is_refused() {
    for algorithm in [Es256, Rs256, EdDsa] {
        let (signer, key) = pair(algorithm);
        let spki = signer.public().to_spki();
        let jwk = public_jwk(&signer).to_string().into_bytes();
        let raw = signer.public().uncompressed().or_else(|| signer.public().raw());
        for secret in [
            Some(spki.clone()),
            Some(encode(&spki).into_bytes()),
            Some(jwk),
            raw,
        ] {
            let Some(secret) = secret else { continue };
            for name in ["HS256", "HS384", "HS512", algorithm.name()] {
                let input = format!("{}.{}", encode(format!(r#"{{"alg":"{name}"}}"#)), encode("{}"));
                let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), input.as_bytes());
                // As it is, and as long as a signature of the key, so that it is not its length that is refused.
                let mut padded = tag.as_ref().to_vec();
                padded.resize(key.signature_bytes(), 0);
                for tag in [tag.as_ref(), &padded] {
                    let error = verdict(&format!("{input}.{}", encode(tag)), &key).unwrap_err();
                    assert!(matches!(error, Error::Algorithm | Error::Signature), "{error:?}");
                }
            }
        }
    }
    let symmetric = br#"{"kty":"oct","alg":"HS256","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMko"}"#;
    assert_eq!(
        VerificationKey::parse(symmetric).unwrap_err(),
        KeyProblem::Unsupported
    );
}

#[test]
fn a_key_that_the_token_brings_is_refused() {
    let jwk = public_jwk(&signing_key("theirs", Es256));
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://attacker.example/jwks")),
        ("x5u", json!("https://attacker.example/chain")),
        ("x5c", json!(["MA=="])),
        ("jwk", json!(null)),
        ("x5c", json!([])),
    ] {
        assert!(
            matches!(with_parameter(name, &value).unwrap_err(), Error::Refused(refused) if refused == name),
            "{name}"
        );
    }
    // Thumbprints only name a key; nothing is done with them.
    assert!(with_parameter("x5t#S256", &json!("AAAA")).is_ok());
}

#[test]
fn unknown_crit_is_refused() {
    for value in [
        json!(["exp"]),
        json!(["b64"]),
        json!([]),
        json!("exp"),
        json!(null),
    ] {
        assert_eq!(
            with_parameter("crit", &value).unwrap_err(),
            Error::Refused("crit")
        );
    }
}

#[test]
fn unencoded_payloads_are_refused() {
    for value in [json!(false), json!(true), json!("false")] {
        assert_eq!(with_parameter("b64", &value).unwrap_err(), Error::Refused("b64"));
    }
    // RFC 7797 §4.2: a detached payload leaves the middle empty
    let (signer, key) = pair(Es256);
    let signature = encode(signer.sign(b"x").unwrap());
    let detached = format!("{}..{signature}", encode(r#"{"alg":"ES256"}"#));
    assert_eq!(verdict(&detached, &key).unwrap_err(), Error::NotCompact);
}

#[test]
fn what_no_header_may_have_no_token_has() {
    for name in crate::jose::REFUSED {
        for value in [json!("DEF"), json!(4096), json!(null)] {
            assert_eq!(with_parameter(name, &value).unwrap_err(), Error::Refused(name));
        }
    }
    assert!(with_parameter("other", &json!("DEF")).is_ok());
}

#[test]
fn nothing_is_signed_that_its_reader_would_refuse() {
    let (signer, key) = pair(Es256);
    let claims = |length: usize| {
        let mut claims = serde_json::Map::new();
        claims.insert("a".to_owned(), "x".repeat(length - r#"{"a":""}"#.len()).into());
        claims
    };
    let token = sign(&signer, "JWT", &claims(PAYLOAD_BYTES)).unwrap();
    assert!(verdict(&token, &key).is_ok());
    assert!(sign(&signer, "JWT", &claims(PAYLOAD_BYTES + 1)).is_err());
    // The header has at most as many bytes as a reader takes, whatever it is made of.
    let room = HEADER_BYTES - r#"{"alg":"ES256","kid":"k","typ":""}"#.len();
    for (length, made) in [(room, true), (room + 1, false)] {
        let typ = "x".repeat(length);
        let token = sign(&signer, &typ, &claims(20));
        assert_eq!(token.is_ok(), made, "{length}");
        if let Ok(token) = token {
            assert!(verdict(&token, &key).is_ok());
        }
        let flattened = json::sign_flattened(&signer, Some(&typ), b"x");
        assert_eq!(flattened.is_ok(), made, "{length}");
    }
}

#[test]
fn password_schemes_are_refused() {
    let (signer, key) = pair(Es256);
    for name in ["PBES2-HS256+A128KW", "PBES2-HS384+A192KW", "PBES2-HS512+A256KW"] {
        let header = format!(r#"{{"alg":"{name}","p2c":2147483647,"p2s":"AAAA"}}"#);
        let token = signed(&signer, header, "{}");
        assert_eq!(verdict(&token, &key).unwrap_err(), Error::Refused("p2c"));
        let token = signed(&signer, format!(r#"{{"alg":"{name}"}}"#), "{}");
        assert_eq!(verdict(&token, &key).unwrap_err(), Error::Algorithm);
    }
}

#[test]
fn signatures_have_one_form() {
    // RFC 7518 §3.4: r ‖ s of 2n bytes and no other form; RFC 8017 §8.1.2, §8.2.2: as long as the modulus
    for (algorithm, half) in [(Es256, 32), (Es384, 48), (Es512, 66)] {
        let (signer, key) = pair(algorithm);
        let input = format!(
            "{}.{}",
            encode(format!(r#"{{"alg":"{}"}}"#, algorithm.name())),
            encode("{}")
        );
        let good = signer.sign(input.as_bytes()).unwrap();
        assert_eq!(good.len(), 2 * half);
        assert!(verdict(&format!("{input}.{}", encode(&good)), &key).is_ok());
        let (r, s) = good.split_at(half);
        let zero = vec![0; half];
        let full = vec![0xff; half];
        let der = |number: &[u8]| [&[2, u8::try_from(half + 1).unwrap(), 0], number].concat();
        let body = [der(r), der(s)].concat();
        let der = if body.len() < 128 {
            [&[0x30, u8::try_from(body.len()).unwrap()], &body[..]].concat()
        } else {
            [&[0x30, 0x81, u8::try_from(body.len()).unwrap()], &body[..]].concat()
        };
        for bad in [
            [&zero[..], s].concat(),
            [r, &zero].concat(),
            [&zero[..], &zero].concat(),
            [&full[..], s].concat(),
            [r, &full].concat(),
            [&[0], r, &[0], s].concat(),
            [&good[..], &[0]].concat(),
            good[1..].to_vec(),
            good[..good.len() - 1].to_vec(),
            der,
            [s, r].concat(),
            Vec::new(),
        ] {
            let error = verdict(&format!("{input}.{}", encode(&bad)), &key).unwrap_err();
            assert!(
                matches!(error, Error::Signature) || bad.is_empty(),
                "{algorithm:?} {bad:?}: {error:?}"
            );
        }
    }
    for algorithm in SignatureAlgorithm::ALL {
        let (signer, key) = pair(algorithm);
        let good = signer.sign(b"m").unwrap();
        assert!(key.verify(b"m", &good).is_ok());
        for bad in [
            [&[0][..], &good].concat(),
            [&good[..], &[0]].concat(),
            good[1..].to_vec(),
            Vec::new(),
        ] {
            assert!(
                key.verify(b"m", &bad).is_err(),
                "{algorithm:?} of {} bytes",
                bad.len()
            );
        }
    }
}

#[test]
fn an_ed25519_signature_with_a_second_scalar_is_refused() {
    // RFC 8032 §5.1.7: S is below L. S + L verifies under the same equation, and is another text for one signature.
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let (signer, key) = pair(EdDsa);
    let mut signature = signer.sign(b"m").unwrap();
    assert!(key.verify(b"m", &signature).is_ok());
    let mut carry = 0;
    for (digit, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*digit) + u16::from(add) + carry;
        *digit = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert!(key.verify(b"m", &signature).is_err());
}

#[test]
fn a_pss_salt_of_another_length_is_refused() {
    // RFC 7518 §3.5: the salt is as long as the hash. Signatures of "m" with SHA-256, MGF1 with SHA-256 and salts of these
    // lengths, made with another library (pyca/cryptography over OpenSSL) under one key.
    const N: &str = "hq50lb0_aKfTw1AFpLcoKTqZA9FCFZulnDd6W6vMJlwGF3xGHX5mxZqzvMWO3UOxct4vjepYPmM-WUrqjZdCPDqHMu6Szj3DiyFa5_0RXq60vZixjhhgQ291xt3hgSLSwU-xdHn2QjdY5YlaUGErbEp0eHYZgwBFnKCD-lDGwsOqpmnTM8eEwaLXPOvjPbuCEMRPn_-qtL8SmStfmKe1GcADKddXq_P599_-F5EL804LQm_ddgJRk_GM40uMkoIy2Bc_uWU72JW969SckCy6xNJXSIExv-TfwWc5wXCXGfFHS7YNkhaiVPZntneY2iKQTyitwMcuM8LJcb6KBGZzfw";
    const SALTS: [(usize, &str); 3] = [
        (
            32,
            "Cn5BDkFBVHbKtfiQbnn1qdwrf0dgaiE3t19BQyPhS53Uc7F8k6Sqbr4Clt8OrUyBmLP1tJ4KS60QXMypLp6VXdvXEF_2saoz2WkxJTmXgLYMS_sZdtXoUERHAiGwcMpmw-aPnX3s0jTWOKj1Kt2QTx6YhwT71vAj_jDUpp8MML5vuyN6IoEEoLKVOiawJdveqSpVttOjcg4TMhcRnZR_Hx3fbV9LYKlCWb2C76lBFsREEMa61rn788OFXQzTs1yigp6WacjTb5pfbiW69GUTVkGqfqxapRNCgFi4jH2ZEXWi-w2Sj75-L0I-omSTLF9VKS4y8qAcDiPyHQ8uKvcbpg",
        ),
        (
            20,
            "e1rn8wFmTYG22GWtrQKvnojLGJAo2yBlHGWaBzTVjXuU3YsWCxIsctJNOtdhmUxVDkd643gXXWHmK48e60wYsCPmFjcI2EQbze0Ywne2w0cYolPvS8SpXLVKml5zK2vca3etYBiXyQZithMj_q9NGComvR4WcA0Cl4P5gKS-d9V2cDrn8qUlUywgZvD-co_j6h0VF2Hb8w1aY1Dpq97bE2oBWHkojYZgJ6q3hYHel2N7YG0nLxrGakTXc0JWj1ho1EoSTVV_g5jbrOySsmdreY-lMN2WYdWTU_YQ21jcT6XLSI5bBh168H6I_HMaIXDvKVkNgcN92ZirkgisiVndtQ",
        ),
        (
            0,
            "NVi2mpXhTed4xAI1NeYU1KAXfJDzCuDDrew8naNposkkqMtzK-819SGMKTxWsOHlFa3VzNwDqgDBW7SaZf1qnmT7Lq_mq0ADW4Hd8m5XRShEKMRkASrIeC7K04soyQciiY3eTV9CAkicq9N0ED_WvWxgSbrmCNSkhaR37CkdjF5KXAGtb8hrpdfZODwU6LCSOUIyRjc0a9ngteakncojpEzR7zFL5rVFuf3zJRV08fI5rbM61fX5mc0Tp-GhlrSxkyIQLLAbZpdGBE7Ct4M-O2c3mOs0x76Nn23SqeDj0i4vB70OAO0BX-mqKib3VJHwh6WTKMAEVLZx_aCRfz6DsA",
        ),
    ];
    let jwk = json!({ "kty": "RSA", "alg": "PS256", "e": "AQAB", "n": N }).to_string();
    let key = VerificationKey::parse(jwk.as_bytes()).unwrap();
    for (salt, signature) in SALTS {
        let signature = base64url::decode(signature).unwrap();
        assert_eq!(key.verify(b"m", &signature).is_ok(), salt == 32, "{salt}");
    }
}

#[test]
fn a_signature_over_the_digest_is_none_over_the_message() {
    let (signer, key) = pair(Es256);
    let hashed = digest::digest(&digest::SHA256, b"m");
    assert!(key.verify(b"m", &signer.sign(hashed.as_ref()).unwrap()).is_err());
}

#[test]
fn oversized_parts_are_refused_and_the_largest_are_not() {
    let (signer, key) = pair(Es256);
    let padded = |length: usize| {
        let header = r#"{"alg":"ES256"}"#;
        format!("{header}{}", " ".repeat(length - header.len()))
    };
    assert!(verdict(&signed(&signer, padded(HEADER_BYTES), "{}"), &key).is_ok());
    assert_eq!(
        verdict(&signed(&signer, padded(HEADER_BYTES + 1), "{}"), &key).unwrap_err(),
        Error::Header
    );
    let payload = vec![b' '; PAYLOAD_BYTES + 1];
    let header = r#"{"alg":"ES256"}"#;
    assert!(verdict(&signed(&signer, header, &payload[1..]), &key).is_ok());
    assert_eq!(
        verdict(&signed(&signer, header, &payload), &key).unwrap_err(),
        Error::TooLarge
    );
    for algorithm in [Es256, SignatureAlgorithm::MlDsa65] {
        let (_, key) = pair(algorithm);
        let head = format!("{}.e30", encode(format!(r#"{{"alg":"{}"}}"#, algorithm.name())));
        for length in [
            SMALL_SIGNATURE_BYTES + 1,
            SIGNATURE_BYTES,
            SIGNATURE_BYTES + 1,
            1 << 20,
        ] {
            let token = format!("{head}.{}", encode(vec![1; length]));
            assert_eq!(verdict(&token, &key).unwrap_err(), Error::Signature);
        }
    }
}

#[test]
fn duplicate_header_members_are_refused() {
    let (signer, key) = pair(Es256);
    for header in [
        r#"{"alg":"ES256","alg":"ES256"}"#,
        r#"{"alg":"none","alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"a","kid":"b"}"#,
        r#"{"alg":"ES256","x":{"y":1,"y":2}}"#,
        r#"{"alg":"ES256","\u0061lg":"ES256"}"#,
    ] {
        let token = signed(&signer, header, "{}");
        assert_eq!(verdict(&token, &key).unwrap_err(), Error::Header, "{header}");
    }
}

#[test]
fn parts_have_one_spelling() {
    // ENC-01, ENC-02, ENC-04: what a request's reader lets through or not, this does not
    let (signer, key) = pair(Es256);
    let token = sign(&signer, "at+jwt", &serde_json::Map::new()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    for odd in ["=", "==", "+", "/", "\n", " ", "\u{e9}", "."] {
        for changed in [
            format!("{header}{odd}.{payload}.{signature}"),
            format!("{header}.{payload}{odd}.{signature}"),
        ] {
            assert_eq!(
                Unverified::parse(&changed).unwrap_err(),
                Error::NotCompact,
                "{odd:?}"
            );
        }
        let changed = format!("{token}{odd}");
        let error = verdict(&changed, &key).unwrap_err();
        assert!(matches!(error, Error::Signature | Error::NotCompact), "{odd:?}");
    }
    // 64 bytes leave four spare bits in the last of 86 characters
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.find(last).unwrap();
    let stem = token.strip_suffix(last).unwrap();
    for spare in 1..16 {
        let other = alphabet.chars().nth(value + spare).unwrap();
        let error = verdict(&format!("{stem}{other}"), &key).unwrap_err();
        assert_eq!(error, Error::Signature, "{spare}");
    }
}

#[test]
fn a_key_for_encryption_neither_verifies_nor_signs() {
    let signer = signing_key("k", Es256);
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("key_ops", json!(["wrapKey"])),
        ("key_ops", json!(["deriveKey"])),
        ("key_ops", json!(["deriveBits"])),
    ] {
        let mut jwk = public_jwk(&signer);
        jwk.as_object_mut().unwrap().remove("use");
        jwk[name] = value;
        let text = jwk.to_string();
        assert_eq!(
            VerificationKey::parse(text.as_bytes()).unwrap_err(),
            KeyProblem::NotForVerifying
        );
        jwk["d"] = json!(encode([1; 32]));
        let text = jwk.to_string();
        assert_eq!(
            SigningKey::from_jwk(text.as_bytes()).unwrap_err(),
            KeyProblem::NotForSigning
        );
    }
}

#[test]
fn debug_shows_no_payload() {
    let (signer, _) = pair(Es256);
    let token = sign(
        &signer,
        "at+jwt",
        json!({ "sub": "hunter2" }).as_object().unwrap(),
    )
    .unwrap();
    let shown = format!("{:?}", Unverified::parse(&token).unwrap());
    assert!(
        !shown.contains("hunter2") && !shown.contains(token.split('.').nth(1).unwrap()),
        "{shown}"
    );
}

#[test]
fn signers_in_memory_are_quick() {
    struct Elsewhere(KeyId);
    impl TokenSigner for Elsewhere {
        fn kid(&self) -> &KeyId {
            &self.0
        }
        fn algorithm(&self) -> SignatureAlgorithm {
            Es256
        }
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
            Err(SigningUnavailable("it is away".to_owned()))
        }
        fn is_quick(&self) -> bool {
            false
        }
    }
    assert!(signing_key("k", Es256).is_quick());
    let away = Elsewhere(KeyId::parse("k").unwrap());
    assert!(!away.is_quick());
    let error = sign(&away, "JWT", &serde_json::Map::new()).unwrap_err();
    assert_eq!(error.to_string(), "the signing key cannot be used: it is away");
}

fn flipped(token: &str, byte: usize, bit: u32) -> Option<String> {
    let mut bytes = token.as_bytes().to_vec();
    let at = byte % bytes.len();
    bytes[at] ^= 1 << bit;
    // What is not UTF-8 cannot even be asked about.
    String::from_utf8(bytes).ok()
}

#[test]
fn every_single_bit_flip_of_a_token_is_refused() {
    for algorithm in SignatureAlgorithm::ALL {
        let (signer, key) = pair(algorithm);
        let token = sign(&signer, "JWT", json!({ "a": 1 }).as_object().unwrap()).unwrap();
        assert!(verdict(&token, &key).is_ok());
        // The signature of ML-DSA-65 is long and slow to check: every 16th byte of it, and all of the rest.
        let signature = token.rfind('.').unwrap();
        let sparse = if algorithm == SignatureAlgorithm::MlDsa65 {
            16
        } else {
            1
        };
        for byte in (0..token.len()).filter(|byte| *byte <= signature || byte % sparse == 0) {
            for bit in 0..8 {
                if let Some(changed) = flipped(&token, byte, bit) {
                    assert!(verdict(&changed, &key).is_err(), "{algorithm:?}: {byte} {bit}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_payload_survives_and_no_flip_of_it_does(
        payload in proptest::collection::vec(any::<u8>(), 1..200),
        byte in any::<usize>(),
        bit in 0_u32..8,
    ) {
        // RSA once: the six differ in the padding alone, and a new key takes its time in each process.
        for algorithm in [Es256, Es384, Es512, EdDsa, Ps256, SignatureAlgorithm::MlDsa65] {
            let (signer, key) = pair(algorithm);
            let token = signed(&signer, format!(r#"{{"alg":"{}"}}"#, algorithm.name()), &payload);
            prop_assert_eq!(&verdict(&token, &key).unwrap(), &payload);
            if let Some(changed) = flipped(&token, byte, bit) {
                prop_assert!(verdict(&changed, &key).is_err());
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}", parts in proptest::collection::vec("[A-Za-z0-9_-]{0,40}", 0..5)) {
        let (_, key) = pair(EdDsa);
        prop_assert!(verdict(&text, &key).is_err());
        prop_assert!(verdict(&parts.join("."), &key).is_err());
    }
}
