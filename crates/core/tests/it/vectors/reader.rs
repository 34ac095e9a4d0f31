//! A JOSE object put to our readers.

use portcullis_core::ids::KeyId;
use portcullis_core::jose::base64url;
use portcullis_core::jose::jwe::{self, ContentEncryption, KeyManagement, SharedKey};
use portcullis_core::jose::jwk::{DecryptionKey, EncryptionKey, KeyProblem, KeySet, VerificationKey};
use portcullis_core::jose::jws::json::{Error as JsonError, Required, UnverifiedJson};
use portcullis_core::jose::jws::{Error, Unverified};
use portcullis_core::random::{RandomUnavailable, SecureRandom};
use serde_json::{Value, json};

use super::verdict::Outcome;

/// Members that make a JWK private.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

pub(super) fn key_problem(problem: KeyProblem) -> Outcome {
    if problem == KeyProblem::Unsupported {
        Outcome::not_offered(problem)
    } else {
        Outcome::refused(problem)
    }
}

pub(super) fn jws_error(error: Error) -> Outcome {
    if error == Error::Algorithm {
        Outcome::not_offered(error)
    } else {
        Outcome::refused(error)
    }
}

pub(super) fn jwe_error(error: &jwe::Error) -> Outcome {
    if matches!(error, jwe::Error::NotOffered(_)) {
        Outcome::not_offered(error)
    } else {
        Outcome::refused(error)
    }
}

/// The public half of a JWK.
pub(super) fn public(jwk: &Value) -> Value {
    let mut public = jwk.clone();
    if let Some(members) = public.as_object_mut() {
        members.retain(|name, _| !PRIVATE.contains(&name.as_str()));
    }
    public
}

/// A JWS in any serialisation under one key, and the payload that it must have, where that is known.
pub(super) fn jws(token: &Value, key: &Value, payload: Option<&[u8]>) -> Outcome {
    let Some(compact) = token.as_str() else {
        return jws_json(token, std::slice::from_ref(key), payload);
    };
    let token = match Unverified::parse(compact) {
        Ok(token) => token,
        Err(error) => return jws_error(error),
    };
    let key = match VerificationKey::parse(key.to_string().as_bytes()) {
        Ok(key) => key,
        Err(problem) => return key_problem(problem),
    };
    match token.verify(&key) {
        Ok(verified) => {
            if let Some(payload) = payload {
                assert_eq!(verified.payload(), payload);
            }
            Outcome::Held
        }
        Err(error) => jws_error(error),
    }
}

/// All signatures must hold. A key without a name gets the one that the signature in its place calls it by.
fn jws_json(token: &Value, keys: &[Value], payload: Option<&[u8]>) -> Outcome {
    let read = match UnverifiedJson::parse(token.to_string().as_bytes()) {
        Ok(read) => read,
        Err(error) => return jws_json_error(&error),
    };
    let named = |(index, key): (usize, &Value)| {
        let mut key = public(key);
        let signature = token["signatures"].get(index).unwrap_or(token);
        if key.get("kid").is_none()
            && let Some(kid) = named_by(signature)
        {
            key["kid"] = kid;
        }
        key
    };
    let set = json!({ "keys": keys.iter().enumerate().map(named).collect::<Vec<_>>() });
    let set = KeySet::parse(set.to_string().as_bytes()).unwrap();
    match read.verify(&set, Required::All) {
        Ok(verified) => {
            if let Some(payload) = payload {
                assert_eq!(verified.payload(), payload);
            }
            Outcome::Held
        }
        Err(error) => jws_json_error(&error),
    }
}

/// `kid` of either header.
fn named_by(signature: &Value) -> Option<Value> {
    let protected = base64url::decode(signature["protected"].as_str().unwrap_or_default()).ok()?;
    let protected: Value = serde_json::from_slice(&protected).unwrap_or_default();
    [&protected, &signature["header"]]
        .into_iter()
        .find_map(|header| header.get("kid"))
        .cloned()
}

fn jws_json_error(error: &JsonError) -> Outcome {
    let unknown = matches!(
        error,
        JsonError::Signature {
            error: Error::Algorithm,
            ..
        }
    );
    if unknown {
        Outcome::not_offered(error)
    } else {
        Outcome::refused(error)
    }
}

/// Under whichever of these private keys fits.
pub(super) fn jws_by_any(token: &Value, keys: &[Value], payload: Option<&[u8]>) -> Outcome {
    if token.is_string() {
        best(keys.iter().map(|key| jws(token, &public(key), payload)))
            .unwrap_or_else(|| jws(token, &json!({}), payload))
    } else {
        jws_json(token, keys, payload)
    }
}

fn best(mut outcomes: impl Iterator<Item = Outcome>) -> Option<Outcome> {
    let first = outcomes.next()?;
    Some(
        outcomes
            .find(|outcome| matches!(outcome, Outcome::Held))
            .unwrap_or(first),
    )
}

/// A JWE in any serialisation under one private key, and the plaintext that it must have, where that is known.
pub(super) fn jwe(token: &Value, key: &Value, plaintext: Option<&[u8]>) -> Outcome {
    let check = |opened: &jwe::Opened| {
        if let Some(plaintext) = plaintext {
            assert_eq!(opened.plaintext(), plaintext);
        }
        Outcome::Held
    };
    let text = key.to_string();
    let Some(compact) = token.as_str() else {
        let text_of_token = token.to_string();
        let read = match jwe::json::Unopened::parse(text_of_token.as_bytes()) {
            Ok(read) => read,
            Err(error) => return jwe_error(&error),
        };
        let opened = if key["kty"] == "oct" {
            match SharedKey::parse(text.as_bytes()) {
                Ok(key) => read.open_shared(&key),
                Err(problem) => return key_problem(problem),
            }
        } else {
            match DecryptionKey::from_jwk(text.as_bytes()) {
                Ok(key) => read.open(&key),
                Err(problem) => return key_problem(problem),
            }
        };
        return match opened {
            Ok(opened) => check(&opened.message),
            Err(error) => jwe_error(&error),
        };
    };
    let read = match jwe::Unopened::parse(compact) {
        Ok(read) => read,
        Err(error) => return jwe_error(&error),
    };
    let opened = if key["kty"] == "oct" {
        match SharedKey::parse(text.as_bytes()) {
            Ok(key) => read.open_shared(&key),
            Err(problem) => return key_problem(problem),
        }
    } else {
        match DecryptionKey::from_jwk(text.as_bytes()) {
            Ok(key) => read.open(&key),
            Err(problem) => return key_problem(problem),
        }
    };
    match opened {
        Ok(opened) => check(&opened),
        Err(error) => jwe_error(&error),
    }
}

pub(super) fn jwe_by_any(token: &Value, keys: &[Value], plaintext: &[u8]) -> Outcome {
    best(keys.iter().map(|key| jwe(token, key, Some(plaintext)))).expect("a key")
}

/// A compact JWE under a shared key.
pub(super) fn shared(token: &str, key: &[u8], plaintext: &[u8]) -> Outcome {
    let read = match jwe::Unopened::parse(token) {
        Ok(read) => read,
        Err(error) => return jwe_error(&error),
    };
    let Some(key) = ContentEncryption::ALL
        .into_iter()
        .find_map(|enc| SharedKey::from_bytes(None, enc, key))
    else {
        return Outcome::refused("no key of these is so long");
    };
    match read.open_shared(&key) {
        Ok(opened) => {
            assert_eq!(opened.plaintext(), plaintext);
            Outcome::Held
        }
        Err(error) => jwe_error(&error),
    }
}

/// RFC 7516 §7.1, of any parts.
pub(super) fn compact(
    header: &Value,
    encrypted_key: &[u8],
    iv: &[u8],
    ciphertext: &[u8],
    tag: &[u8],
) -> String {
    [header.to_string().as_bytes(), encrypted_key, iv, ciphertext, tag]
        .map(base64url::encode)
        .join(".")
}

/// The private key for this algorithm.
pub(super) fn decryption_key(jwk: &Value, algorithm: KeyManagement) -> Result<DecryptionKey, Outcome> {
    let mut jwk = jwk.clone();
    jwk["alg"] = algorithm.name().into();
    DecryptionKey::from_jwk(jwk.to_string().as_bytes()).map_err(key_problem)
}

/// Whether an encryption key does what it is for.
pub(super) fn round_trip(jwk: &Value) -> Outcome {
    match EncryptionKey::parse(public(jwk).to_string().as_bytes()) {
        Err(problem) => key_problem(problem),
        Ok(_) if jwk.get("d").is_none() => Outcome::Held,
        Ok(recipient) => match DecryptionKey::from_jwk(jwk.to_string().as_bytes()) {
            Ok(key) => opens(&recipient, &key),
            Err(problem) => key_problem(problem),
        },
    }
}

pub(super) fn opens_by_pkcs8(jwk: &Value, pkcs8: &[u8]) -> Outcome {
    let recipient = EncryptionKey::parse(public(jwk).to_string().as_bytes()).unwrap();
    let kid = KeyId::parse("k").unwrap();
    match DecryptionKey::from_pkcs8(kid, recipient.algorithm(), pkcs8) {
        Ok(key) => opens(&recipient, &key),
        Err(problem) => key_problem(problem),
    }
}

fn opens(recipient: &EncryptionKey, key: &DecryptionKey) -> Outcome {
    let protected = jwe::Protected::new(ContentEncryption::A256Gcm);
    let token = jwe::encrypt(recipient, &protected, b"text", &System).unwrap();
    jwe_to(&token, key)
}

fn jwe_to(token: &str, key: &DecryptionKey) -> Outcome {
    match jwe::Unopened::parse(token).unwrap().open(key) {
        Ok(opened) => Outcome::of(opened.plaintext() == b"text", "another text"),
        Err(error) => jwe_error(&error),
    }
}

struct System;

impl SecureRandom for System {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests: the library's randomness will do"
    )]
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        aws_lc_rs::rand::fill(out).map_err(|_| RandomUnavailable)
    }
}
