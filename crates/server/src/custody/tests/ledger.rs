//! What is known of keys beside their shelf.

use portcullis_core::audit::Event;
use portcullis_core::keys::Use;

use super::rings::{House, Log, finish, verifies};
use super::*;
use crate::custody::shelf::{Folder, Shelf as _};

fn record(ring: &Keyring, log: &Log, is_known: bool) {
    finish(async { ring.record_changes(log, &|_| is_known).await.unwrap() });
}

/// The transitions into this state: of which key, from where, why, when.
fn into(log: &Log, state: &str) -> Vec<(String, &'static str, Option<String>, Option<String>)> {
    let events = log.0.lock().unwrap();
    let found = |event: &Event| {
        if let Event::KeyTransition(key) = event
            && key.to == state
        {
            let (reason, happened) = (key.reason.clone(), key.happened.clone());
            Some((key.kid.clone(), key.from, reason, happened))
        } else {
            None
        }
    };
    events.iter().filter_map(found).collect()
}

fn alarms(log: &Log) -> Vec<String> {
    let events = log.0.lock().unwrap();
    let alarm = |event: &Event| {
        if let Event::System(system) = event
            && system.what == "keys.revived"
        {
            Some(system.detail.clone())
        } else {
            None
        }
    };
    events.iter().filter_map(alarm).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn what_nobody_was_there_to_record_is_recorded_by_the_next_start_and_once() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let first = Log::default();
    record(&ring, &first, false);
    assert_eq!(into(&first, "enabled").len(), 2);
    let kid = ring.signer().kid().clone();
    drop(ring);
    // revoked while no server runs, by somebody who could not record it
    house
        .operator()
        .revoke(&kid, "seen in a log", NOW, &System)
        .unwrap();
    let later = NOW.plus(Lifetime::from_hours(5));
    let log = Log::default();
    record(&house.start(later), &log, false);
    assert_eq!(
        into(&log, "deleted"),
        [(
            kid.to_string(),
            "enabled",
            Some("seen in a log".to_owned()),
            Some("2026-11-21T10:00:00Z".to_owned())
        )]
    );
    assert_eq!(into(&log, "enabled").len(), 1, "its replacement is on record too");
    let again = Log::default();
    record(&house.start(later), &again, false);
    assert!(again.0.lock().unwrap().is_empty(), "{:?}", again.0);
}

#[test]
fn a_start_that_died_before_its_first_record_is_made_up_for() {
    let house = House::in_folder();
    // made, and nobody came to record it
    drop(house.start(NOW));
    let log = Log::default();
    record(&house.start(NOW), &log, false);
    assert_eq!(into(&log, "enabled").len(), 2);
}

#[test]
fn what_the_log_has_already_is_noted_and_not_recorded_again() {
    let house = House::in_folder();
    let log = Log::default();
    // died between the record and the note
    record(&house.start(NOW), &log, true);
    record(&house.start(NOW), &log, false);
    assert!(log.0.lock().unwrap().is_empty(), "{:?}", log.0);
}

/// JWK-17 and KEY-13 of the attack catalogue.
#[test]
fn a_folder_from_before_a_revocation_does_not_bring_the_key_back() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let log = Log::default();
    record(&ring, &log, false);
    let (keys, backup) = (house.data.0.join("keys"), house.data.0.join("backup"));
    let kid = ring.signer().kid().clone();
    copy(&keys, &backup);
    house.operator().revoke(&kid, "stolen", NOW, &System).unwrap();
    ring.reload(NOW).unwrap();
    record(&ring, &log, false);
    let restore = || {
        fs::remove_dir_all(&keys).unwrap();
        copy(&backup, &keys);
    };
    let mended = || {
        let shelved = Folder::existing(&house.data.ring()).read().unwrap();
        let record = shelved.records.into_iter().find(|record| record.kid == kid);
        record.and_then(|record| record.revoked).is_some()
    };

    // under a running server
    restore();
    assert!(!mended());
    ring.reload(NOW).unwrap();
    assert!(ring.revoked().contains(&kid));
    assert!(!String::from_utf8_lossy(&ring.jwks().bytes()).contains(kid.as_str()));
    ring.reload(NOW).unwrap();
    ring.advance(NOW, &System).unwrap();
    assert!(mended(), "the shelf has its tombstone again");
    assert!(verifies(&ring, &ring.jwks()));
    assert_ne!(*ring.signer().kid(), kid);
    record(&ring, &log, false);
    let told = alarms(&log);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains(kid.as_str()) && told[0].contains("stays revoked"),
        "{told:?}"
    );

    // and before a start
    restore();
    let ring = house.start(NOW);
    let log = Log::default();
    record(&ring, &log, false);
    assert!(ring.revoked().contains(&kid) && mended());
    assert!(!String::from_utf8_lossy(&ring.jwks().bytes()).contains(kid.as_str()));
    assert!(verifies(&ring, &ring.jwks()));
    assert_eq!(alarms(&log).len(), 1);
    // its new keys are those of a start, and it is told once
    let again = Log::default();
    record(&house.start(NOW), &again, false);
    assert!(again.0.lock().unwrap().is_empty(), "{:?}", again.0);
}

#[test]
fn a_gateway_that_watches_does_not_take_a_revoked_key_again() {
    let house = House::in_folder();
    let kid = house.start(NOW).signer().kid().clone();
    let (keys, backup) = (house.data.0.join("keys"), house.data.0.join("backup"));
    copy(&keys, &backup);
    let open = || {
        let ledger = Arc::new(Ledger::open(&house.data.0.join("gateway-audit"), "authority").unwrap());
        Watcher::open(Arc::new(Folder::existing(&house.data.ring())), ledger).unwrap()
    };
    let watcher = open();
    house.operator().revoke(&kid, "stolen", NOW, &System).unwrap();
    watcher.look().unwrap();
    assert!(watcher.revoked().contains(&kid));
    fs::remove_dir_all(&keys).unwrap();
    copy(&backup, &keys);
    watcher.look().unwrap();
    assert!(watcher.revoked().contains(&kid));
    assert!(open().revoked().contains(&kid), "nor after a new start");
}

#[test]
fn a_ledger_that_is_none_is_refused() {
    let house = House::in_folder();
    record(&house.start(NOW), &Log::default(), false);
    let file = house.data.0.join("audit/keys-authority.json");
    let text = fs::read_to_string(&file).unwrap();
    for other in [
        String::new(),
        text.replace("\"version\": 1", "\"version\": 2"),
        "{}".to_owned(),
    ] {
        fs::write(&file, &other).unwrap();
        let error = Ledger::open(&house.data.0.join("audit"), "authority").unwrap_err();
        assert_eq!(error.code(), "keys.ledger", "{other}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&file, &text).unwrap();
    assert!(house.operator().rotate(Use::Signature, NOW, &System).is_ok());
}

#[test]
fn a_torn_key_file_is_read_from_the_last_change() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let path = house.data.file_of("signing");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    // as operators' commands and watchers open it, without changing anything
    let existing = Folder::existing(&house.data.ring());
    assert_eq!(list_shelf(&existing).unwrap(), ring.describe());
    assert_ne!(fs::read(&path).unwrap(), whole);
    // and whoever opens it for more mends it
    drop(Folder::open(&house.data.ring()).unwrap());
    assert_eq!(fs::read(&path).unwrap(), whole);
}
