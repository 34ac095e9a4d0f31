//! `WWW-Authenticate` header lines from a server; and any text as a parameter of our own challenge.
#![no_main]

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use libfuzzer_sys::fuzz_target;
use portcullis_core::wire::Challenge;
use portcullis_core::wire::challenge::CHALLENGES;

fuzz_target!(|data: &[u8]| {
    let lines = data
        .split(|b| *b == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok());
    let headers: HeaderMap = lines.map(|value| (WWW_AUTHENTICATE, value)).collect();
    if let Ok(found) = Challenge::parse_all(&headers) {
        assert!(found.len() <= CHALLENGES);
        assert!(found.iter().all(|challenge| !challenge.scheme().is_empty()));
    }

    let text = String::from_utf8_lossy(data);
    let written = Challenge::bearer().with("scope", &text).with("error", "x");
    let read = Challenge::parse_all(&HeaderMap::from_iter([(
        WWW_AUTHENTICATE,
        written.to_header_value(),
    )]));
    if let Ok([challenge]) = read.as_deref() {
        assert_eq!(challenge.param("error"), Some("x"));
        if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            assert_eq!(challenge, &written);
        }
    } else {
        assert!(data.len() > 4_000, "our own challenge is read as one: {read:?}");
    }
});
