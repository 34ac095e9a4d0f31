//! What every place for private keys keeps to.

use std::sync::Arc;

use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{ContentEncryption, KeyManagement, Protected, Unopened, encrypt};
use portcullis_core::jose::jwk::{EncryptionKey, VerificationKey};
use portcullis_core::jose::jws::TokenSigner;
use portcullis_net::random::System;
use portcullis_server::custody::backend::{BackendError, KeyBackend, NewKey};

/// A place, and what it is known to do and not to do.
pub(crate) struct Place<'a> {
    /// Opens it, anew each time.
    pub(crate) open: &'a dyn Fn() -> Arc<dyn KeyBackend>,
    pub(crate) signing: &'a [SignatureAlgorithm],
    pub(crate) sealing: &'a [KeyManagement],
    /// What it refuses to make, with a word that the refusal has.
    pub(crate) refused_signing: &'a [(SignatureAlgorithm, &'a str)],
    pub(crate) refused_sealing: &'a [(KeyManagement, &'a str)],
    /// Whether a key that was forgotten stops at once where a signer for it is still held. moto goes on.
    pub(crate) stops: bool,
    /// Whether it bears to be given what was sealed for another key. The TPM of libtpms 0.9 goes into failure mode.
    pub(crate) bears_others: bool,
    /// Longest message to sign. Stand-ins for a key service do not take digests for what they are.
    pub(crate) longest: usize,
    /// Whether the private key is its own, so that it can destroy it: not so for files, where the handle is the key.
    pub(crate) owns: bool,
}

pub(crate) fn kid(name: &str) -> KeyId {
    KeyId::parse(name).unwrap()
}

/// Longer than what a key service signs without a digest.
fn message(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

pub(crate) fn signs(signer: &dyn TokenSigner, key: &NewKey) {
    signs_up_to(signer, key, 4000);
}

fn signs_up_to(signer: &dyn TokenSigner, key: &NewKey, longest: usize) {
    let verifier = VerificationKey::from_public(&key.public, signer.algorithm(), None).unwrap();
    for length in [1, longest] {
        let text = message(length);
        let signature = signer.sign(&text).unwrap();
        assert!(verifier.verify(&text, &signature).is_ok(), "{length} bytes");
        assert!(verifier.verify(&message(length + 1), &signature).is_err());
    }
}

pub(crate) fn sealed(key: &NewKey, algorithm: KeyManagement) -> String {
    let recipient = EncryptionKey::from_public(key.public.clone(), algorithm, Some(kid("enc"))).unwrap();
    let protected = Protected::new(ContentEncryption::A256Gcm);
    encrypt(&recipient, &protected, b"the payload", &System).unwrap()
}

pub(crate) fn opens(backend: &dyn KeyBackend, key: &NewKey, algorithm: KeyManagement) {
    let opener = backend.opener(&kid("enc"), algorithm, &key.handle).unwrap();
    assert_eq!(opener.key(), &key.public);
    assert_eq!(opener.kid(), &kid("enc"));
    let text = sealed(key, algorithm);
    let opened = Unopened::parse(&text).unwrap().open(&*opener).unwrap();
    assert_eq!(opened.plaintext(), b"the payload");
}

/// All of it.
pub(crate) fn holds(place: &Place<'_>) {
    for algorithm in place.signing {
        signing(place, *algorithm);
    }
    for algorithm in place.sealing {
        sealing(place, *algorithm);
    }
    two_purposes(place);
    let backend = (place.open)();
    for (algorithm, word) in place.refused_signing {
        refused(backend.make_signing(*algorithm, "refused"), word);
    }
    for (algorithm, word) in place.refused_sealing {
        refused(backend.make_sealing(*algorithm, "refused"), word);
    }
    refused(backend.make_sealing(KeyManagement::Dir, "refused"), "shared key");
}

fn refused(made: Result<NewKey, BackendError>, word: &str) {
    match made {
        Err(BackendError::Refused(text)) => assert!(text.contains(word), "{text}"),
        other => panic!("{word}: {other:?}"),
    }
}

fn signing(place: &Place<'_>, algorithm: SignatureAlgorithm) {
    let backend = (place.open)();
    let name = algorithm.name();
    let first = backend
        .make_signing(algorithm, "first")
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let old = backend.signer(&kid("sig-1"), algorithm, &first.handle).unwrap();
    assert_eq!((old.kid(), old.algorithm()), (&kid("sig-1"), algorithm));
    // Ed25519 is over the whole message, and a key service takes 4096 bytes of it.
    let longest = if algorithm == SignatureAlgorithm::EdDsa {
        4000
    } else {
        place.longest
    };
    signs_up_to(&*old, &first, longest);

    // Rotation: another one, and both work.
    let second = backend.make_signing(algorithm, "second").unwrap();
    assert_ne!(first.public, second.public, "{name}");
    let new = backend.signer(&kid("sig-2"), algorithm, &second.handle).unwrap();
    signs(&*new, &second);
    signs(&*old, &first);

    // Another one of the same place finds both again.
    let again = (place.open)();
    signs(
        &*again.signer(&kid("sig-1"), algorithm, &first.handle).unwrap(),
        &first,
    );
    signs(
        &*again.signer(&kid("sig-2"), algorithm, &second.handle).unwrap(),
        &second,
    );

    // A key of one algorithm is not one of another.
    let other = if algorithm == SignatureAlgorithm::Es384 {
        SignatureAlgorithm::Es256
    } else {
        SignatureAlgorithm::Es384
    };
    assert!(
        again.signer(&kid("sig-1"), other, &first.handle).is_err(),
        "{name}"
    );

    backend.forget(&first.handle).unwrap();
    backend.forget(&first.handle).unwrap();
    if place.owns {
        let gone = again
            .signer(&kid("sig-1"), algorithm, &first.handle)
            .err()
            .unwrap();
        assert!(matches!(gone, BackendError::Missing(_)), "{name}: {gone:?}");
        if place.stops {
            let error = old.sign(b"too late").unwrap_err();
            assert!(error.0.contains("not there any more"), "{name}: {error}");
        }
    }
    signs(&*new, &second);
    again.forget(&second.handle).unwrap();
}

fn sealing(place: &Place<'_>, algorithm: KeyManagement) {
    let backend = (place.open)();
    let name = algorithm.name();
    let first = backend
        .make_sealing(algorithm, "first")
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    opens(&*backend, &first, algorithm);
    let second = backend.make_sealing(algorithm, "second").unwrap();
    opens(&*backend, &second, algorithm);
    let again = (place.open)();
    opens(&*again, &first, algorithm);
    opens(&*again, &second, algorithm);

    // What was sealed for one does not open with the other.
    if place.bears_others {
        let other = again.opener(&kid("enc"), algorithm, &second.handle).unwrap();
        let text = sealed(&first, algorithm);
        assert!(Unopened::parse(&text).unwrap().open(&*other).is_err(), "{name}");
        // And that was no reason to be out of order.
        opens(&*again, &second, algorithm);
    }

    backend.forget(&first.handle).unwrap();
    if place.owns {
        let gone = again.opener(&kid("enc"), algorithm, &first.handle).err().unwrap();
        assert!(matches!(gone, BackendError::Missing(_)), "{name}: {gone:?}");
    }
    opens(&*again, &second, algorithm);
    again.forget(&second.handle).unwrap();
}

/// A key made for one purpose is not to be had for the other, in whatever words it is asked for.
fn two_purposes(place: &Place<'_>) {
    let (Some(&signs), Some(&seals)) = (place.signing.first(), place.sealing.first()) else {
        return;
    };
    let backend = (place.open)();
    let signing = backend.make_signing(signs, "sig").unwrap();
    let sealing = backend.make_sealing(seals, "enc").unwrap();
    assert!(backend.opener(&kid("x"), seals, &signing.handle).is_err());
    assert!(backend.signer(&kid("x"), signs, &sealing.handle).is_err());
    if place.owns {
        // With the purpose rewritten in the handle, the place itself says no.
        let swapped = |handle: &[u8], from: &str, to: &str| {
            let text = String::from_utf8(handle.to_vec()).unwrap();
            assert!(text.contains(from), "{text}");
            text.replacen(from, to, 1).into_bytes()
        };
        let (sig, enc) = if backend.name() == "pkcs11" {
            ("x-use=sig", "x-use=enc")
        } else {
            (":sig:", ":enc:")
        };
        assert!(
            backend
                .opener(&kid("x"), seals, &swapped(&signing.handle, sig, enc))
                .is_err()
        );
        assert!(
            backend
                .signer(&kid("x"), signs, &swapped(&sealing.handle, enc, sig))
                .is_err()
        );
    }
    for wrong in [
        &b""[..],
        b"nonsense",
        b"pkcs11:id=%zz",
        b"aws-kms:sig:",
        &[0xff; 100],
    ] {
        assert!(backend.signer(&kid("x"), signs, wrong).is_err());
        assert!(backend.opener(&kid("x"), seals, wrong).is_err());
    }
    backend.forget(&signing.handle).unwrap();
    backend.forget(&sealing.handle).unwrap();
    let refusal = backend.import_signing(signs, b"not a key", "import").unwrap_err();
    assert!(matches!(refusal, BackendError::Refused(_)), "{refusal:?}");
}
