//! An `Authorization` value, and the token in it: nothing is verified, so nothing may be believed or panic.
#![no_main]

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis_core::identity::Candidate;
use portcullis_core::limits;
use portcullis_core::wire::Presented;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    let Ok(Presented::Bearer(token)) = Presented::parse(&headers, std::str::from_utf8(data).ok()) else {
        return;
    };
    assert!(token.reveal().len() < limits::AUTHORIZATION_BYTES);
    if let Ok(candidate) = Candidate::parse(&token) {
        drop((
            candidate.issuer().to_string(),
            candidate.kid().cloned(),
            candidate.algorithm().name(),
        ));
    }
});
