//! SoftHSM 2.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::KeyManagement;
use portcullis_net::random::System;
use portcullis_server::custody::backend::{BackendError, Pkcs11Backend};

use crate::contract::{self, Place, kid, signs};
use crate::parts::{self, Folder, inside, library, program, run, run_inside, variable};
use crate::token::{self, LABEL, PIN};

const FOLDER: &str = "PORTCULLIS_HSM_FOLDER";
const PHASE: &str = "PORTCULLIS_HSM_PHASE";

fn module() -> Option<PathBuf> {
    library("libsofthsm2.so", "softhsm2")
}

/// A token of its own, and the test inside, once for each phase.
fn within(test: &str, phases: &[&str]) {
    let (Some(_), Some(tool)) = (module(), program("softhsm2-util", "softhsm2")) else {
        return;
    };
    let folder = Folder::new("softhsm");
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let configuration = folder.path().join("softhsm2.conf");
    std::fs::write(
        &configuration,
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            tokens.display()
        ),
    )
    .unwrap();
    run(Command::new(tool)
        .args([
            "--init-token",
            "--free",
            "--label",
            LABEL,
            "--so-pin",
            "87654321",
            "--pin",
            PIN,
        ])
        .env("SOFTHSM2_CONF", &configuration));
    for phase in phases {
        run_inside(
            test,
            &[
                ("SOFTHSM2_CONF", configuration.to_str().unwrap()),
                (FOLDER, folder.path().to_str().unwrap()),
                (PHASE, phase),
            ],
        );
    }
}

#[test]
fn softhsm_keeps_the_contract() {
    let test = "softhsm::softhsm_keeps_the_contract";
    if !inside(test) {
        return within(test, &[""]);
    }
    let folder = variable(FOLDER);
    let module = module().unwrap();
    let settings = token::settings(&module, token::pin_file(&folder, PIN));
    contract::holds(&Place {
        open: &|| token::open(&settings),
        signing: &[
            SignatureAlgorithm::Es256,
            SignatureAlgorithm::Es384,
            SignatureAlgorithm::Es512,
            SignatureAlgorithm::EdDsa,
            SignatureAlgorithm::Rs256,
            SignatureAlgorithm::Rs384,
            SignatureAlgorithm::Rs512,
            SignatureAlgorithm::Ps256,
            SignatureAlgorithm::Ps384,
            SignatureAlgorithm::Ps512,
        ],
        sealing: &[
            KeyManagement::EcdhEs,
            KeyManagement::EcdhEsA128Kw,
            KeyManagement::EcdhEsA256Kw,
        ],
        refused_signing: &[(SignatureAlgorithm::MlDsa65, "ES256")],
        // It lists RSA-OAEP, and does it with SHA-1 alone.
        refused_sealing: &[(KeyManagement::RsaOaep256, "ECDH-ES")],
        stops: true,
        bears_others: true,
        longest: 10_000,
        owns: true,
    });
    token::private_keys_stay(
        &module,
        &*token::open(&settings),
        &[SignatureAlgorithm::Es256, SignatureAlgorithm::Rs256],
    );
}

#[test]
fn a_longer_rsa_key_is_made_where_it_is_asked_for() {
    let test = "softhsm::a_longer_rsa_key_is_made_where_it_is_asked_for";
    if !inside(test) {
        return within(test, &[""]);
    }
    let mut settings = token::settings(&module().unwrap(), token::pin_file(&variable(FOLDER), PIN));
    settings.rsa_bits = 3072;
    let backend = token::open(&settings);
    let key = backend.make_signing(SignatureAlgorithm::Ps384, "long").unwrap();
    let signer = backend
        .signer(&kid("sig-1"), SignatureAlgorithm::Ps384, &key.handle)
        .unwrap();
    assert_eq!(signer.sign(b"x").unwrap().len(), 384);
}

#[test]
fn keys_are_found_again_by_another_process() {
    let test = "softhsm::keys_are_found_again_by_another_process";
    if !inside(test) {
        return within(test, &["make", "find"]);
    }
    let folder = variable(FOLDER);
    let backend = token::open(&token::settings(
        &module().unwrap(),
        token::pin_file(&folder, PIN),
    ));
    let (handle, spki) = (folder.join("handle"), folder.join("spki"));
    if variable(PHASE).ends_with("make") {
        let key = backend.make_signing(SignatureAlgorithm::Es256, "kept").unwrap();
        std::fs::write(handle, &key.handle).unwrap();
        std::fs::write(spki, key.public.to_spki()).unwrap();
        return;
    }
    let key = portcullis_server::custody::backend::NewKey {
        handle: std::fs::read(handle).unwrap(),
        public: portcullis_core::jose::jwk::PublicKey::from_spki(&std::fs::read(spki).unwrap()).unwrap(),
    };
    let signer = backend
        .signer(&kid("sig-1"), SignatureAlgorithm::Es256, &key.handle)
        .unwrap();
    signs(&*signer, &key);
}

#[test]
fn a_token_that_goes_away_under_load_comes_back_without_a_restart() {
    let test = "softhsm::a_token_that_goes_away_under_load_comes_back_without_a_restart";
    if !inside(test) {
        return within(test, &[""]);
    }
    let folder = variable(FOLDER);
    let backend = token::open(&token::settings(
        &module().unwrap(),
        token::pin_file(&folder, PIN),
    ));
    let (tokens, away) = (folder.join("tokens"), folder.join("away"));
    token::is_lost_and_comes_back(
        &*backend,
        || std::fs::rename(&tokens, &away).unwrap(),
        || std::fs::rename(&away, &tokens).unwrap(),
    );
}

#[test]
fn a_wrong_pin_is_tried_once_and_a_right_one_helps_at_once() {
    let test = "softhsm::a_wrong_pin_is_tried_once_and_a_right_one_helps_at_once";
    if !inside(test) {
        return within(test, &[""]);
    }
    let folder = variable(FOLDER);
    let settings = token::settings(&module().unwrap(), token::pin_file(&folder, "1111"));
    let backend = token::open(&settings);
    for _ in 0..20 {
        let error = backend.make_signing(SignatureAlgorithm::Es256, "x").unwrap_err();
        assert!(
            matches!(&error, BackendError::Configuration(text) if text.contains("refuses the PIN")),
            "{error:?}"
        );
        assert!(!error.to_string().contains("1111"), "{error}");
    }
    token::pin_file(&folder, PIN);
    backend.make_signing(SignatureAlgorithm::Es256, "x").unwrap();

    // A token that is not there, and a PIN that others can read.
    let mut other = settings.clone();
    other.token = "elsewhere".to_owned();
    let error = token::open(&other)
        .make_signing(SignatureAlgorithm::Es256, "x")
        .unwrap_err();
    assert!(
        error.may_pass() && error.to_string().contains("`portcullis`"),
        "{error}"
    );
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder.join("pin"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = token::open(&settings)
        .make_signing(SignatureAlgorithm::Es256, "x")
        .unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn a_path_that_is_no_module_is_said_in_words() {
    let folder = Folder::new("no-module");
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    let Some(other) = parts::part(
        "libm",
        "it is part of the C library",
        &[
            PathBuf::from("/lib/x86_64-linux-gnu/libm.so.6"),
            PathBuf::from("/lib/aarch64-linux-gnu/libm.so.6"),
        ],
    ) else {
        return;
    };
    for path in [folder.path().join("nothing.so"), text, other] {
        let settings = token::settings(&path, folder.path().join("pin"));
        let error = Pkcs11Backend::open(settings, Arc::new(System)).unwrap_err();
        assert!(matches!(error, BackendError::Configuration(_)), "{error:?}");
        assert_eq!(error.code(), "keys.configuration");
        let text = error.to_string();
        assert!(
            text.contains(&*path.to_string_lossy()) && text.contains("[keys.pkcs11]"),
            "{text}"
        );
    }
}
