//! Keys under the master key.

use std::sync::Arc;

use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::KeyManagement;
use portcullis_net::clock;
use portcullis_net::random::System;
use portcullis_server::custody::MasterKey;
use portcullis_server::custody::backend::{self, BackendError, Custody, KeyBackend};

use crate::contract::{self, Place, kid};
use crate::parts::Folder;

fn open(folder: &Folder, name: &str) -> Arc<dyn KeyBackend> {
    let master = Arc::new(MasterKey::open(&folder.path().join(name), &System).unwrap());
    backend::open(&Custody::File, master, Arc::new(System), Arc::new(clock::System)).unwrap()
}

#[test]
fn files_keep_the_contract() {
    let folder = Folder::new("file");
    contract::holds(&Place {
        open: &|| open(&folder, "master.key"),
        signing: &[
            SignatureAlgorithm::Es256,
            SignatureAlgorithm::Es384,
            SignatureAlgorithm::EdDsa,
            SignatureAlgorithm::Rs256,
            SignatureAlgorithm::Ps256,
        ],
        sealing: &[
            KeyManagement::EcdhEs,
            KeyManagement::EcdhEsA256Kw,
            KeyManagement::RsaOaep256,
        ],
        refused_signing: &[],
        refused_sealing: &[],
        stops: true,
        bears_others: true,
        longest: 10_000,
        owns: false,
    });
}

#[test]
fn another_master_key_does_not_open_a_handle_and_is_named() {
    let folder = Folder::new("file-other");
    let key = open(&folder, "master.key")
        .make_signing(SignatureAlgorithm::Es256, "key")
        .unwrap();
    let error = open(&folder, "other.key")
        .signer(&kid("sig-1"), SignatureAlgorithm::Es256, &key.handle)
        .err()
        .unwrap();
    assert!(matches!(error, BackendError::OtherMasterKey), "{error:?}");
}
