//! A nested JWT: what is inside of a message that opens is a stranger's text as well. The fuzzer cannot encrypt, so its
//! bytes are read as they are and once more as what was encrypted to a key of ours.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis_core::jose::jwe::{self, ContentEncryption, Protected};
use portcullis_core::jose::jwk::{DecryptionKey, EncryptionKey, VerificationKey};
use portcullis_core::jose::nested::Unopened;
use portcullis_core::random::{RandomUnavailable, SecureRandom};

static KEY: LazyLock<DecryptionKey> = LazyLock::new(|| {
    let jwk = r#"{"crv":"P-256","d":"VdS63QR-5N6WcRhovqAVUwak_k9Cx7TEIFqzFBOeKq8","kty":"EC","x":"-qcwRsZFjC5-fjb_Pg0xdLp9dkS9EVRYsKRPIPZ9RUU","y":"1iap6is-Dl6UV5lftVaexu-WdQU5E4S1XbL5XB1eaz8"}"#;
    DecryptionKey::from_jwk(jwk.as_bytes()).expect("a private JWK")
});
static RECIPIENT: LazyLock<EncryptionKey> = LazyLock::new(|| {
    let jwk = r#"{"crv":"P-256","kty":"EC","x":"-qcwRsZFjC5-fjb_Pg0xdLp9dkS9EVRYsKRPIPZ9RUU","y":"1iap6is-Dl6UV5lftVaexu-WdQU5E4S1XbL5XB1eaz8"}"#;
    EncryptionKey::parse(jwk.as_bytes()).expect("a public JWK")
});
static SIGNER: LazyLock<VerificationKey> = LazyLock::new(|| {
    let jwk = r#"{"crv":"P-256","kty":"EC","x":"PtPIeuu2Nds2DcqcRnLmfOG5c1w6kO9ZNL6iLNM8JYc","y":"gPNPCJMu3FemI2wwzVY5qvf-1B47Ga0mwVCgLlEohJs"}"#;
    VerificationKey::parse(jwk.as_bytes()).expect("a public JWK")
});

/// The same each time, so that an input always does the same.
struct Fixed;

impl SecureRandom for Fixed {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        out.fill(7);
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
    let protected = Protected {
        cty: Some("JWT"),
        ..Protected::new(ContentEncryption::A128Gcm)
    };
    if let Ok(message) = jwe::encrypt(&RECIPIENT, &protected, data, &Fixed) {
        read(&message);
    }
});

fn read(text: &str) {
    if let Ok(opened) = Unopened::parse(text).and_then(|read| read.open(&*KEY)) {
        drop(opened.verify(&SIGNER));
    }
}
