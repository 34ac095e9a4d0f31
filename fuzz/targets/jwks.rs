//! A JWK Set from another party.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::jose::jwk::KeySet;
use portcullis_core::limits;

fuzz_target!(|data: &[u8]| {
    if let Ok(keys) = KeySet::parse(data) {
        assert!(data.len() <= limits::JWKS_BYTES);
        assert!(keys.len() <= limits::JWKS_KEYS);
    }
});
