//! An encrypted message in any serialisation. The keys are those that the seeds were made for, and no secret.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_core::jose::jwe::{self, PayloadOpener as _, SharedKey, Unopened};
use portcullis_core::jose::jwk::DecryptionKey;

static KEYS: LazyLock<[DecryptionKey; 2]> = LazyLock::new(|| {
    [
        r#"{"crv":"P-256","d":"VdS63QR-5N6WcRhovqAVUwak_k9Cx7TEIFqzFBOeKq8","kty":"EC","x":"-qcwRsZFjC5-fjb_Pg0xdLp9dkS9EVRYsKRPIPZ9RUU","y":"1iap6is-Dl6UV5lftVaexu-WdQU5E4S1XbL5XB1eaz8"}"#,
        r#"{"crv":"X25519","d":"AIZydi1Ppz6sa5u5Gw_RojYYyFTRRYOkYaN2Ldij6Wo","kty":"OKP","x":"cjlmEW3jf09JJUbqJdYVjsfkI2qfKloOLQun97aaYE0"}"#,
    ]
    .map(|jwk| DecryptionKey::from_jwk(jwk.as_bytes()).expect("a private JWK"))
});
static SHARED: LazyLock<SharedKey> = LazyLock::new(|| {
    let jwk = r#"{"k":"EZCnGp_dEEhTWfmlaXQLMEWspi4q5-E6ynOf20DS85M","kty":"oct"}"#;
    SharedKey::parse(jwk.as_bytes()).expect("a symmetric JWK")
});

fuzz_target!(|data: &[u8]| {
    if let Some(message) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| Unopened::parse(text).ok())
    {
        assert!(data.len() <= jwe::SMALL_BYTES);
        for key in KEYS.iter() {
            // What opens was as long: no message says how much memory it needs.
            if let Ok(opened) = message.open(key) {
                assert!(opened.plaintext().len() < data.len());
            }
        }
        drop(message.open_shared(&SHARED));
    }
    if let Ok(message) = jwe::json::Unopened::parse(data) {
        assert!(data.len() <= jwe::SMALL_BYTES);
        assert!(message.kids().count() <= jwe::RECIPIENTS);
        for key in KEYS.iter() {
            assert!(!key.kid().as_str().is_empty());
            drop(message.open(key));
        }
    }
});
