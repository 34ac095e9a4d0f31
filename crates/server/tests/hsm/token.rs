//! What is done with any PKCS #11 token, whatever is behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_net::random::System;
use portcullis_server::custody::backend::{KeyBackend, Pkcs11Backend, Pkcs11Settings, SecretSource};

use crate::contract::{kid, signs};
use crate::parts::until;

/// The user's PIN of every token here.
pub(crate) const PIN: &str = "12345678";
/// The label of every token here.
pub(crate) const LABEL: &str = "portcullis";

pub(crate) fn settings(module: &Path, pin_file: PathBuf) -> Pkcs11Settings {
    Pkcs11Settings {
        module: module.to_owned(),
        token: LABEL.to_owned(),
        pin: SecretSource::File(pin_file),
        sessions: 3,
        rsa_bits: 2048,
    }
}

pub(crate) fn open(settings: &Pkcs11Settings) -> Arc<dyn KeyBackend> {
    Arc::new(Pkcs11Backend::open(settings.clone(), Arc::new(System)).unwrap())
}

/// Writes the PIN where only we can read it.
pub(crate) fn pin_file(folder: &Path, pin: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("pin");
    std::fs::write(&path, format!("{pin}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Looks into the token past our own code: no private key of it can be read, and none says that it could.
pub(crate) fn private_keys_stay(module: &Path, backend: &dyn KeyBackend, algorithms: &[SignatureAlgorithm]) {
    let kept: Vec<_> = algorithms
        .iter()
        .map(|algorithm| backend.make_signing(*algorithm, "stays").unwrap())
        .collect();
    // The backend has initialised the module in this process, and is logged in for all of it.
    let library = Pkcs11::new(module).unwrap();
    let slot = library
        .get_slots_with_token()
        .unwrap()
        .into_iter()
        .find(|slot| {
            library
                .get_token_info(*slot)
                .is_ok_and(|info| info.label() == LABEL)
        })
        .unwrap();
    let session = library.open_rw_session(slot).unwrap();
    let found = session
        .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])
        .unwrap();
    assert_eq!(found.len(), kept.len());
    for key in found {
        assert_eq!(
            session
                .get_attributes(key, &[AttributeType::Extractable])
                .unwrap(),
            [Attribute::Extractable(false)]
        );
        assert_eq!(
            session.get_attributes(key, &[AttributeType::Sensitive]).unwrap(),
            [Attribute::Sensitive(true)]
        );
        // tpm2-pkcs11 takes any word for it into its own books; the chip gives nothing for that.
        session
            .update_attributes(key, &[Attribute::Extractable(true)])
            .ok();
        for secret in [
            AttributeType::Value,
            AttributeType::PrivateExponent,
            AttributeType::Prime1,
        ] {
            let read = session.get_attributes(key, &[secret]);
            assert!(
                read.as_ref().is_ok_and(Vec::is_empty) || read.is_err(),
                "{secret:?}: read"
            );
        }
    }
    for key in kept {
        backend.forget(&key.handle).unwrap();
    }
}

/// Signs on several threads while `lose` takes the token away and `restore` brings it back.
pub(crate) fn is_lost_and_comes_back(backend: &dyn KeyBackend, lose: impl FnOnce(), restore: impl FnOnce()) {
    let algorithm = SignatureAlgorithm::Es256;
    let key = backend.make_signing(algorithm, "load").unwrap();
    let signer = backend.signer(&kid("sig-1"), algorithm, &key.handle).unwrap();
    let (good, bad, stop) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match signer.sign(b"under load") {
                        Ok(_) => good.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            // What, and what happens next.
                            assert!(error.0.contains("cannot be reached now"), "{error}");
                            assert!(error.0.contains("PKCS #11 module"), "{error}");
                            std::thread::sleep(Duration::from_millis(20));
                            bad.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        let patience = Duration::from_secs(60);
        until("signatures before", patience, || {
            good.load(Ordering::Relaxed) > 20
        });
        lose();
        until("errors while it is away", patience, || {
            bad.load(Ordering::Relaxed) > 20
        });
        let error = backend.make_signing(algorithm, "none").unwrap_err();
        assert!(error.may_pass(), "{error:?}");
        assert_eq!(error.code(), "keys.unavailable");
        restore();
        let before = good.load(Ordering::Relaxed);
        until("signatures after", patience, || {
            good.load(Ordering::Relaxed) > before + 20
        });
        stop.store(true, Ordering::Relaxed);
    });
    signs(&*signer, &key);
    // The same object, the same key, and keys can be made again.
    let next = backend.make_signing(algorithm, "next").unwrap();
    backend.forget(&next.handle).unwrap();
    backend.forget(&key.handle).unwrap();
}
