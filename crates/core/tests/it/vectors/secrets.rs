//! Secrets that people sign tokens with and others guess: none of them opens anything here, guessed or not.

use aws_lc_rs::hmac;
use portcullis_core::jose::base64url;
use portcullis_core::jose::jws::{Error, Unverified};

use super::verdict::{Cases, Expected, Outcome};

/// Each secret signs the same claims with HS256.
pub(super) fn list(text: &[u8], cases: &mut Cases) {
    let mut token = base64url::encode(br#"{"alg":"HS256","typ":"at+jwt"}"#);
    token.push('.');
    base64url::encode_onto(&mut token, br#"{"iss":"https://as.example.com","sub":"admin"}"#);
    let input = token.len();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for secret in text.split(|byte| *byte == b'\n') {
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, token.as_bytes());
        token.push('.');
        base64url::encode_onto(&mut token, tag);
        let outcome = match Unverified::parse(&token) {
            Err(Error::Algorithm) => Outcome::not_offered(Error::Algorithm),
            Err(error) => panic!("refused, and not for its algorithm: {error}"),
            Ok(_) => Outcome::Held,
        };
        cases.next("HS256", Expected::Fails, outcome);
        token.truncate(input);
    }
    assert_eq!(cases.len(), 103_979);
}
