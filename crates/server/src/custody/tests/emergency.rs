//! Revoking with nothing but the shelf.

use portcullis_core::keys::{RotationPolicy, Use};
use tokio_util::sync::CancellationToken;

use super::rings::{House, Log, finish, rotate, until, verifies};
use super::*;
use crate::custody::ring::{Alone, Revoked, revoke_alone};
use crate::custody::shelf::Folder;

#[test]
fn a_key_is_void_without_master_key_or_ca_and_the_server_makes_another() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let kid = ring.signer().kid().clone();
    let stop = CancellationToken::new();
    let log = Arc::new(Log::default());
    let rotating = rotate(&ring, &log, NOW, &stop);
    // neither is read: another master key is in place of the one that was, and of the CA nothing is left
    fs::write(house.data.0.join("master.key"), [7; 32]).unwrap();
    fs::rename(house.data.0.join("keys/ca"), house.data.0.join("ca")).unwrap();
    let shelf = Folder::existing(&house.data.ring());
    let alone = Alone {
        role: "authority",
        shelf: &shelf,
        policy: RotationPolicy::default(),
        ledger: None,
    };
    let revoked = revoke_alone(&alone, &kid, "stolen", "the master key is lost", NOW).unwrap();
    let Revoked::Now { changes, unreplaced } = revoked else {
        panic!("it was not revoked before");
    };
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].reason.as_deref(), Some("stolen"));
    assert_eq!(unreplaced.as_deref(), Some("the master key is lost"));
    // the running server has all that it needs
    until("another key signs", || {
        *ring.signer().kid() != kid && ring.signer().sign(b"x").is_ok()
    });
    assert!(ring.revoked().contains(&kid));
    assert!(!String::from_utf8_lossy(&ring.jwks().bytes()).contains(kid.as_str()));
    assert!(verifies(&ring, &ring.jwks()));
    stop.cancel();
    finish(rotating.finished());
    let text = fs::read_to_string(house.data.ring().join(format!("{kid}.json"))).unwrap();
    assert!(
        text.contains("\"handle\": \"\""),
        "its private half was not destroyed: {text}"
    );
    let again = revoke_alone(&alone, &kid, "again", "", NOW).unwrap();
    assert!(matches!(again, Revoked::Before(first) if first.reason == "stolen"));
}

#[test]
fn a_staged_key_takes_the_place_though_nothing_can_be_made() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let kid = ring.signer().kid().clone();
    house.operator().rotate(Use::Signature, NOW, &System).unwrap();
    let shelf = Folder::existing(&house.data.ring());
    let alone = Alone {
        role: "authority",
        shelf: &shelf,
        policy: RotationPolicy::default(),
        ledger: None,
    };
    let revoked = revoke_alone(&alone, &kid, "stolen", "no reason", NOW).unwrap();
    let Revoked::Now {
        changes,
        unreplaced: None,
    } = revoked
    else {
        panic!("{revoked:?}");
    };
    assert_eq!(changes.len(), 2, "{changes:?}");
    ring.reload(NOW).unwrap();
    assert_ne!(*ring.signer().kid(), kid);
    assert!(verifies(&ring, &ring.jwks()));
    // one that is not there, and no reason
    let nobody = KeyId::parse("sig-2026-11-00000000").unwrap();
    let error = revoke_alone(&alone, &nobody, "stolen", "", NOW).unwrap_err();
    assert!(error.to_string().contains("no key"), "{error}");
    let error = revoke_alone(&alone, ring.signer().kid(), " ", "", NOW).unwrap_err();
    assert!(error.to_string().contains("say why"), "{error}");
}

#[test]
fn with_every_key_revoked_and_none_made_there_is_no_set_to_keep_and_the_next_key_is_published() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    house.away.store(true, Ordering::SeqCst);
    let shelf = Folder::existing(&house.data.ring());
    let alone = Alone {
        role: "authority",
        shelf: &shelf,
        policy: RotationPolicy::default(),
        ledger: None,
    };
    for key in ring.describe() {
        let revoked = revoke_alone(&alone, &key.kid, "stolen", "the HSM is away", NOW).unwrap();
        assert!(matches!(
            revoked,
            Revoked::Now {
                unreplaced: Some(_),
                ..
            }
        ));
    }
    ring.reload(NOW).unwrap();
    assert!(ring.jwks().is_empty(), "answered with 503, see `JwksPage`");
    assert!(ring.signer().sign(b"x").is_err());
    house.away.store(false, Ordering::SeqCst);
    ring.advance(NOW, &System).unwrap();
    assert!(verifies(&ring, &ring.jwks()));
}
