//! One contract for all kinds of shelf, and what each kind must survive.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_core::ids::KeyId;
use portcullis_core::keys::{Profile, Request, State};
use portcullis_core::time::{Lifetime, UnixTime};

use super::*;
use crate::custody::Error;
use crate::custody::tests::postgres::Postgres;

const NOW: UnixTime = UnixTime::from_secs(1_795_255_200);

struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        let name = portcullis_core::random::token::<12>(&portcullis_net::random::System).unwrap();
        let path = std::env::temp_dir().join(format!("portcullis-shelf-{name}"));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn record(kid: &str, state: State) -> KeyRecord {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let request = Request {
        profile: Profile::Authority,
        name: "test".to_owned(),
        identity: String::new(),
        serial: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        not_before: NOW,
        lifetime: Lifetime::from_days(90),
    };
    KeyRecord {
        kid: KeyId::parse(kid).unwrap(),
        purpose: KeyPurpose::Signing,
        algorithm: portcullis_core::jose::SignatureAlgorithm::Es256.into(),
        state,
        staged: NOW,
        enabled: Some(NOW),
        disabled: None,
        deleted: None,
        promote_at: Some(NOW),
        cause: Cause::Operator,
        public: rcgen::PublicKeyData::subject_public_key_info(&key),
        chain: vec![request.lint().unwrap().self_signed(&key).unwrap()],
        outside_chain: true,
        backend: "file".to_owned(),
        handle: vec![0, 1, 2, 255],
        revoked: None,
    }
}

fn revoked(kid: &str) -> KeyRecord {
    KeyRecord {
        handle: vec![],
        deleted: Some(NOW),
        revoked: Some(Revocation {
            reason: "it was \"seen\" in a log\nand more".to_owned(),
            at: NOW,
        }),
        ..record(kid, State::Deleted)
    }
}

/// `open` opens the same ring anew each time, as another process would.
fn contract(open: impl Fn() -> Arc<dyn Shelf> + Sync) {
    let (one, other) = (open(), open());
    assert_eq!(one.read().unwrap(), Shelved::default());
    assert_eq!(one.generation().unwrap(), 0);

    // what is written is read, by others and after opening again, in the order of names
    let first = vec![
        record("b", State::Enabled),
        record("a", State::Staged),
        revoked("c"),
    ];
    assert_eq!(one.change(0, &first).unwrap(), Changed::To(1));
    let sorted = vec![first[1].clone(), first[0].clone(), first[2].clone()];
    for shelf in [&one, &other, &open()] {
        let read = shelf.read().unwrap();
        assert_eq!((read.generation, &read.records), (1, &sorted));
        assert_eq!(shelf.generation().unwrap(), 1);
    }

    // a change that was made from an older state does not happen, and nothing of it
    assert_eq!(
        other.change(0, &[record("x", State::Enabled)]).unwrap(),
        Changed::Conflict
    );
    assert_eq!(
        other.change(2, &[record("x", State::Enabled)]).unwrap(),
        Changed::Conflict
    );
    assert_eq!(one.read().unwrap().records, sorted);

    // a change takes the place of all that was there
    let second = vec![record("d", State::Enabled), revoked("c")];
    assert_eq!(other.change(1, &second).unwrap(), Changed::To(2));
    let names: Vec<String> = one
        .read()
        .unwrap()
        .records
        .iter()
        .map(|key| key.kid.to_string())
        .collect();
    assert_eq!(names, ["c", "d"]);

    // one lease at a time, free again when it is dropped
    let held = one.lease().unwrap().unwrap();
    assert!(other.lease().unwrap().is_none());
    assert!(open().lease().unwrap().is_none());
    drop(held);
    assert!(other.lease().unwrap().is_some());
    assert!(one.lease().unwrap().is_some());

    // of many that race from one state, exactly one wins each round
    let won = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for racer in 0..4 {
            let (won, open) = (&won, &open);
            scope.spawn(move || {
                let shelf = open();
                let mine = [record(&format!("racer-{racer}"), State::Enabled)];
                if shelf.change(2, &mine).unwrap() == Changed::To(3) {
                    won.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(won.load(Ordering::SeqCst), 1);
    assert_eq!(one.read().unwrap().records.len(), 1);

    // nobody ever reads half a change
    std::thread::scope(|scope| {
        let (open, one) = (&open, &one);
        let writer = scope.spawn(move || {
            for round in 3..20 {
                let pair: Vec<KeyRecord> = (0..6)
                    .map(|key| record(&format!("r{round}-{key}"), State::Staged))
                    .collect();
                assert_eq!(one.change(round, &pair).unwrap(), Changed::To(round + 1));
            }
        });
        let reader = open();
        while !writer.is_finished() {
            let seen = reader.read().unwrap();
            if seen.generation > 3 {
                let rounds: Vec<&str> = seen
                    .records
                    .iter()
                    .map(|key| key.kid.as_str().split_once('-').unwrap().0)
                    .collect();
                let round = format!("r{}", seen.generation - 1);
                assert_eq!(rounds, [round.as_str(); 6]);
            }
        }
    });
}

#[test]
fn a_folder_keeps_the_contract() {
    let at = Temporary::new();
    let path = at.0.join("keys/authority");
    contract(|| Arc::new(Folder::open(&path).unwrap()));
}

#[test]
fn a_table_in_sqlite_keeps_the_contract() {
    let at = Temporary::new();
    let url = format!("sqlite:{}", at.0.join("keys.db").display());
    contract(|| Arc::new(Table::new(Database::open(&url, "").unwrap(), "authority")));
}

#[test]
fn a_table_in_postgresql_keeps_the_contract() {
    let Some(server) = Postgres::start() else { return };
    let prefix = "team_a_";
    contract(|| {
        Arc::new(Table::new(
            Database::open(server.url(), prefix).unwrap(),
            "gateway",
        ))
    });
    // Others have tables of their own.
    let other = Table::new(Database::open(server.url(), "team_b_").unwrap(), "gateway");
    assert_eq!(other.read().unwrap(), Shelved::default());
}

#[test]
fn rings_of_one_database_are_apart() {
    let at = Temporary::new();
    let database = Database::open(&format!("sqlite:{}", at.0.join("keys.db").display()), "").unwrap();
    let one = Table::new(Arc::clone(&database), "authority");
    let other = Table::new(database, "gateway");
    assert_eq!(
        one.change(0, &[record("a", State::Enabled)]).unwrap(),
        Changed::To(1)
    );
    assert_eq!(other.read().unwrap(), Shelved::default());
    let _held = one.lease().unwrap().unwrap();
    assert!(other.lease().unwrap().is_some());
}

#[test]
fn a_database_is_never_named_with_its_password() {
    let error = Database::open("postgres://me:hunter2@127.0.0.1:1/test", "").unwrap_err();
    assert_eq!(error.code(), "keys.store");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn a_table_can_be_asked_and_dropped_inside_a_runtime() {
    let at = Temporary::new();
    let database = Database::open(&format!("sqlite:{}", at.0.join("keys.db").display()), "").unwrap();
    let table = Table::new(database, "authority");
    assert_eq!(table.generation().unwrap(), 0);
    drop(table);
}

// --- what a folder survives ---

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| !["lock", "lease"].contains(&entry.file_name().to_str().unwrap()))
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

fn put(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    drop(fs::remove_dir_all(folder));
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Every state of the disk between the steps of one change, in the order in which the steps happen.
fn states_between(
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
) -> Vec<BTreeMap<String, Vec<u8>>> {
    let mut state = before.clone();
    let mut states = Vec::new();
    let key = |name: &&String| name.ends_with(".json");
    let mut step = |state: &mut BTreeMap<String, Vec<u8>>, name: &str, bytes: Option<&Vec<u8>>| {
        if let Some(bytes) = bytes {
            // a file written beside its place, in part and whole
            for length in [bytes.len() / 2, bytes.len()] {
                let mut beside = state.clone();
                beside.insert(".unfinished-x".to_owned(), bytes[..length].to_vec());
                states.push(beside);
            }
            state.insert(name.to_owned(), bytes.clone());
        } else {
            state.remove(name);
        }
        states.push(state.clone());
    };
    step(&mut state, "change", after.get("change"));
    for name in after.keys().filter(key) {
        step(&mut state, name, after.get(name));
    }
    for name in before
        .keys()
        .filter(key)
        .filter(|name| !after.contains_key(*name))
    {
        step(&mut state, name, None);
    }
    step(&mut state, "generation", after.get("generation"));
    states
}

/// KEY-02 of the attack catalogue.
#[test]
fn whenever_the_writer_died_a_change_happened_whole_or_not_at_all() {
    let at = Temporary::new();
    let path = at.0.join("ring");
    let shelf = Folder::open(&path).unwrap();
    let first = [record("a", State::Enabled), record("b", State::Staged)];
    let second = [record("b", State::Enabled), record("c", State::Staged)];
    shelf.change(0, &first).unwrap();
    let before = files(&path);
    shelf.change(1, &second).unwrap();
    let after = files(&path);
    let states = states_between(&before, &after);
    assert!(states.len() >= 12, "{}", states.len());
    for (index, state) in states.into_iter().enumerate() {
        let happened = state.get("change") == after.get("change");
        put(&path, &state);
        // a reader that repairs nothing, then one that does, then a change from there
        for reader in [Folder::existing(&path), Folder::open(&path).unwrap()] {
            let read = reader.read().unwrap();
            if happened {
                assert_eq!(
                    (read.generation, read.records.as_slice()),
                    (2, &second[..]),
                    "{index}"
                );
            } else {
                assert_eq!(
                    (read.generation, read.records.as_slice()),
                    (1, &first[..]),
                    "{index}"
                );
            }
        }
        let repaired = files(&path);
        assert_eq!(
            repaired,
            if happened { after.clone() } else { before.clone() },
            "{index}"
        );
        let generation = if happened { 2 } else { 1 };
        let next = Folder::open(&path).unwrap().change(generation, &second).unwrap();
        assert_eq!(next, Changed::To(generation + 1));
    }
}

#[test]
fn a_torn_change_never_happened() {
    let at = Temporary::new();
    let path = at.0.join("ring");
    let shelf = Folder::open(&path).unwrap();
    let records = [record("a", State::Enabled)];
    shelf.change(0, &records).unwrap();
    let whole = fs::read(path.join("change")).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(path.join("change"), &whole[..length]).unwrap();
        assert_eq!(Folder::existing(&path).read().unwrap().records, records);
        assert_eq!(Folder::open(&path).unwrap().read().unwrap().records, records);
        assert!(!path.join("change").exists());
    }
}

#[test]
fn a_torn_key_file_is_written_again_and_an_edited_one_is_not() {
    let at = Temporary::new();
    let path = at.0.join("ring");
    let shelf = Folder::open(&path).unwrap();
    let records = [record("a", State::Enabled), record("b", State::Staged)];
    shelf.change(0, &records).unwrap();
    let file = shelf.file_of(&records[0].kid);
    let whole = fs::read(&file).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 3] {
        fs::write(&file, &whole[..length]).unwrap();
        assert_eq!(Folder::existing(&path).read().unwrap().records, records);
        assert_eq!(
            fs::read(&file).unwrap(),
            &whole[..length],
            "a reader repairs nothing"
        );
        assert_eq!(Folder::open(&path).unwrap().read().unwrap().records, records);
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
    let edited = String::from_utf8(whole)
        .unwrap()
        .replace("\"enabled\"", "\"paused\"");
    fs::write(&file, &edited).unwrap();
    let error = Folder::open(&path).unwrap().read().unwrap_err();
    assert!(
        matches!(&error, Error::Damaged { path, .. } if *path == file),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), edited);
}

#[test]
fn a_revoked_key_that_was_edited_back_to_life_is_refused() {
    let at = Temporary::new();
    let shelf = Folder::open(&at.0.join("ring")).unwrap();
    let records = [revoked("a")];
    shelf.change(0, &records).unwrap();
    let file = shelf.file_of(&records[0].kid);
    let edited = fs::read_to_string(&file)
        .unwrap()
        .replace("\"deleted\",", "\"enabled\",");
    fs::write(&file, edited).unwrap();
    let error = shelf.read().unwrap_err();
    assert!(error.to_string().contains("never comes back"), "{error}");
}

#[test]
fn the_first_file_format_is_read_without_loss() {
    let at = Temporary::new();
    let path = at.0.join("ring");
    let shelf = Folder::open(&path).unwrap();
    let known = record("sig-2026-11-0badcafe", State::Enabled);
    use base64::Engine as _;
    let standard = base64::engine::general_purpose::STANDARD;
    let old = serde_json::json!({
        "version": 1,
        "purpose": "signing",
        "kid": "sig-2026-11-0badcafe",
        "state": "enabled",
        "created": NOW.as_secs(),
        "certificates": [standard.encode(&known.chain[0])],
        "private_key": standard.encode(&known.handle),
    });
    let file = shelf.file_of(&known.kid);
    fs::write(&file, old.to_string()).unwrap();
    let expected = KeyRecord {
        promote_at: None,
        cause: Cause::Schedule,
        outside_chain: false,
        ..known
    };
    let read = Folder::open(&path).unwrap().read().unwrap();
    assert_eq!((read.generation, read.records.as_slice()), (0, &[expected][..]));
    // the first change writes it in the form of today, with all that it had
    assert_eq!(shelf.change(0, &read.records).unwrap(), Changed::To(1));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"version\": 2"), "{text}");
    assert_eq!(shelf.read().unwrap().records, read.records);
}
