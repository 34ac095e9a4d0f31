//! Signed texts in the JSON serialisations, under a set with two keys. The keys are those that the seeds were made for.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_core::jose::jwk::KeySet;
use portcullis_core::jose::jws::json::{JSON_BYTES, Required, SIGNATURES, UnverifiedJson};

static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let set = r#"{"keys":[{"crv":"P-256","kty":"EC","x":"PtPIeuu2Nds2DcqcRnLmfOG5c1w6kO9ZNL6iLNM8JYc","y":"gPNPCJMu3FemI2wwzVY5qvf-1B47Ga0mwVCgLlEohJs","kid":"k"},{"crv":"Ed25519","kty":"OKP","x":"U5-Et8N1zgYFbuRgESfvwzC_QzL7EG5C8_8EK315c18","kid":"e"}]}"#;
    KeySet::parse(set.as_bytes()).expect("a JWK Set")
});

fuzz_target!(|data: &[u8]| {
    let Ok(read) = UnverifiedJson::parse(data) else {
        return;
    };
    assert!(data.len() <= JSON_BYTES);
    assert!(read.signatures().count() <= SIGNATURES);
    if let Ok(verified) = read.verify(&KEYS, Required::All) {
        assert_eq!(verified.signers().len(), read.signatures().count());
        assert!(verified.payload().len() < data.len());
    }
});
