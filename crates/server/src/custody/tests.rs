//! Keyrings on a real disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::{KeyProblem, KeySet};
use portcullis_core::jose::jws;
use portcullis_core::keys::State;
use portcullis_core::random::{RandomUnavailable, SecureRandom};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::Clock;
use portcullis_net::random::System;
use serde_json::{Value, json};

use super::*;

mod authority;
mod emergency;
mod ledger;
mod operator;
pub(crate) mod postgres;
pub(crate) mod rings;

const IDENTITY: &str = "http://127.0.0.1:8421";
/// 2026-11-21T10:00:00Z
const NOW: UnixTime = UnixTime::from_secs(1_795_255_200);

pub(crate) struct At(UnixTime);

impl Clock for At {
    fn now(&self) -> UnixTime {
        self.0
    }
}

/// A data folder that goes when it is dropped.
pub(crate) struct Data(PathBuf);

impl Data {
    fn new() -> Self {
        let name = portcullis_core::random::token::<12>(&System).unwrap();
        let path = std::env::temp_dir().join(format!("portcullis-custody-{name}"));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn ring(&self) -> PathBuf {
        self.0.join("keys/authority")
    }

    fn master(&self) -> MasterKey {
        MasterKey::open(&self.0.join("master.key"), &System).unwrap()
    }

    fn open(&self) -> Result<Arc<Keyring>, Error> {
        self.open_as(IDENTITY, NOW)
    }

    fn open_as(&self, identity: &str, now: UnixTime) -> Result<Arc<Keyring>, Error> {
        Keyring::open(&self.ring(), &self.master(), identity, &At(now), &System)
    }

    fn file_of(&self, purpose: &str) -> PathBuf {
        let keys = list(&self.ring()).unwrap();
        let key = keys.iter().find(|key| key.purpose == purpose).unwrap();
        self.ring().join(format!("{}.json", key.kid))
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn kids(ring: &Keyring) -> Vec<KeyId> {
    ring.describe().into_iter().map(|key| key.kid).collect()
}

#[test]
fn a_first_start_makes_one_key_for_each_purpose() {
    let data = Data::new();
    let ring = data.open().unwrap();
    let keys = ring.describe();
    let told: Vec<_> = keys.iter().map(|key| (key.purpose, key.state)).collect();
    assert_eq!(
        told,
        [("signing", State::Enabled), ("encryption", State::Enabled)]
    );
    for key in &keys {
        let prefix = if key.purpose == "signing" {
            "sig-2026-11-"
        } else {
            "enc-2026-11-"
        };
        assert!(key.kid.as_str().starts_with(prefix), "{}", key.kid);
        assert_eq!(key.kid.as_str().len(), prefix.len() + 8);
        assert_eq!(key.identities, [IDENTITY]);
        assert!(key.not_before <= NOW && NOW < key.not_after);
        assert!(key.issuer.contains("Portcullis CA"), "{}", key.issuer);
    }
}

#[test]
fn tokens_of_the_signer_verify_with_the_published_set() {
    let data = Data::new();
    let ring = data.open().unwrap();
    let signer = ring.signer();
    let token = jws::sign(&*signer, "at+jwt", &serde_json::Map::new()).unwrap();
    let keys = KeySet::parse(&ring.jwks().bytes()).unwrap();
    let key = keys.find(Some(signer.kid()), SignatureAlgorithm::Es256).unwrap();
    assert!(jws::Unverified::parse(&token).unwrap().verify(key).is_ok());
    // the other key is published, and no verifier takes it
    assert_eq!(keys.len(), 1);
    assert_eq!(
        keys.skipped().iter().map(|key| key.problem).collect::<Vec<_>>(),
        [KeyProblem::NotForVerifying]
    );
}

#[test]
fn the_published_set_has_chains_and_nothing_private() {
    let data = Data::new();
    let set: Value = serde_json::from_slice(&data.open().unwrap().jwks().bytes()).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        let mut members: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(
            members,
            [
                "alg", "crv", "key_ops", "kid", "kty", "use", "x", "x5c", "x5t#S256", "y"
            ]
        );
        assert_eq!(key["x5c"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_second_start_finds_the_same_keys() {
    let data = Data::new();
    let first = data.open().unwrap();
    let second = data.open().unwrap();
    assert_eq!(kids(&first), kids(&second));
    assert_eq!(first.jwks(), second.jwks());
}

#[test]
fn two_at_the_same_time_make_the_same_keys() {
    let data = Data::new();
    let rings: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| data.open().unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for ring in &rings {
        assert_eq!(ring.jwks(), rings[0].jwks());
    }
    assert_eq!(list(&data.ring()).unwrap().len(), 2);
}

/// Randomness that ends after some draws: every file that is written draws, so opening stops at each of its steps.
struct Runs {
    left: AtomicUsize,
}

impl SecureRandom for Runs {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        let had_some = |left: usize| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, had_some)
            .map_err(|_| RandomUnavailable)?;
        System.fill(out)
    }
}

#[test]
fn whatever_the_step_it_stopped_at_the_next_start_works() {
    let mut stopped = 0;
    for draws in 0.. {
        let data = Data::new();
        let random = Runs {
            left: AtomicUsize::new(draws),
        };
        let outcome = MasterKey::open(&data.0.join("master.key"), &random)
            .and_then(|master| Keyring::open(&data.ring(), &master, IDENTITY, &At(NOW), &random));
        if outcome.is_err() {
            stopped += 1;
        }
        let keys = data.open().unwrap().describe();
        assert_eq!(keys.len(), 2, "stopped at {draws}");
        assert!(keys.iter().all(|key| key.state == State::Enabled));
        if outcome.is_ok() {
            break;
        }
    }
    assert!(stopped > 4, "{stopped}");
}

#[test]
fn what_a_dead_process_left_unfinished_is_removed() {
    let data = Data::new();
    let before = kids(&data.open().unwrap());
    let torn = data.ring().join(".unfinished-abc");
    fs::write(&torn, b"{\"version\":1,").unwrap();
    assert_eq!(kids(&data.open().unwrap()), before);
    assert!(!torn.exists());
}

#[test]
fn a_torn_key_file_of_which_there_is_no_copy_is_named_and_not_replaced() {
    let data = Data::new();
    drop(data.open().unwrap());
    let path = data.file_of("signing");
    fs::remove_file(data.ring().join("change")).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 2] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = data.open().unwrap_err();
        assert_eq!(error.code(), "keys.damaged");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(list(&data.ring()).is_err());
        assert_eq!(fs::read(&path).unwrap(), &whole[..length]);
    }
    fs::write(&path, &whole).unwrap();
    assert!(data.open().is_ok());
}

#[test]
fn files_that_are_none_of_ours_are_left_alone() {
    let data = Data::new();
    drop(data.open().unwrap());
    fs::write(data.ring().join("README"), "hello").unwrap();
    fs::write(data.ring().join("key.json.bak"), "hello").unwrap();
    assert_eq!(data.open().unwrap().describe().len(), 2);
    assert!(data.ring().join("README").exists());
    let stranger = data.ring().join("stranger.json");
    fs::write(&stranger, "{}").unwrap();
    assert_eq!(data.open().unwrap_err().code(), "keys.damaged");
}

#[test]
fn key_files_that_were_changed_are_refused() {
    type Change = fn(&mut Value);
    let rows: [(Change, &str); 9] = [
        (|file| file["purpose"] = json!("encryption"), "keys.damaged"),
        (|file| file["kid"] = json!("sig-2026-11-00000000"), "keys.damaged"),
        (|file| file["version"] = json!(3), "keys.damaged"),
        (|file| file["extra"] = json!(1), "keys.damaged"),
        (|file| file["state"] = json!("paused"), "keys.damaged"),
        (|file| file["certificates"] = json!([]), "keys.damaged"),
        (|file| file["certificates"] = json!(["AAAA"]), "keys.damaged"),
        (|file| file["handle"] = json!("AAAA"), "keys.other-master-key"),
        (
            |file| {
                let mut text = file["handle"].as_str().unwrap().to_owned();
                let other = if text.ends_with("AAA=") { "BBB=" } else { "AAA=" };
                text.replace_range(text.len() - 4.., other);
                file["handle"] = json!(text);
            },
            "keys.other-master-key",
        ),
    ];
    for (index, (change, code)) in rows.into_iter().enumerate() {
        let data = Data::new();
        drop(data.open().unwrap());
        edit(&data.file_of("signing"), change);
        assert_eq!(data.open().unwrap_err().code(), code, "row {index}");
    }
}

#[test]
fn the_certificate_of_another_key_is_refused() {
    let data = Data::new();
    drop(data.open().unwrap());
    let other: Value = serde_json::from_slice(&fs::read(data.file_of("encryption")).unwrap()).unwrap();
    edit(&data.file_of("signing"), |file| {
        file["certificates"] = other["certificates"].clone()
    });
    let error = data.open().unwrap_err();
    assert!(
        error.to_string().contains("certificate is for another key"),
        "{error}"
    );
}

#[test]
fn of_two_enabled_signing_keys_one_retires() {
    let data = Data::new();
    drop(data.open().unwrap());
    let first = data.file_of("signing");
    let kept = fs::read(&first).unwrap();
    fs::remove_file(&first).unwrap();
    drop(data.open().unwrap());
    fs::write(&first, kept).unwrap();
    // both are published, and one signs
    let ring = data.open().unwrap();
    let keys = ring.describe();
    let told: Vec<_> = keys
        .iter()
        .filter(|key| key.purpose == "signing")
        .map(|key| key.state)
        .collect();
    assert_eq!(told.len(), 2);
    assert!(told.contains(&State::Enabled) && told.contains(&State::Disabled));
    assert_eq!(KeySet::parse(&ring.jwks().bytes()).unwrap().len(), 2);
    // a deleted one is not published
    let retired = keys.iter().find(|key| key.state == State::Disabled).unwrap();
    edit(&data.ring().join(format!("{}.json", retired.kid)), |file| {
        file["state"] = json!("deleted")
    });
    assert_eq!(
        KeySet::parse(&data.open().unwrap().jwks().bytes()).unwrap().len(),
        1
    );
}

#[test]
fn another_master_key_opens_nothing() {
    let data = Data::new();
    drop(data.open().unwrap());
    fs::remove_file(data.0.join("master.key")).unwrap();
    assert_eq!(data.open().unwrap_err().code(), "keys.other-master-key");
}

#[test]
fn a_new_public_url_gets_a_new_certificate_for_the_same_key() {
    let data = Data::new();
    let before = data.open().unwrap();
    let after = data.open_as("https://gw.example.test", NOW).unwrap();
    assert_eq!(kids(&before), kids(&after));
    assert_ne!(before.jwks().etag(), after.jwks().etag());
    assert!(
        after
            .describe()
            .iter()
            .all(|key| key.identities == ["https://gw.example.test"])
    );
}

#[test]
fn a_public_url_that_is_no_uri_makes_no_certificate() {
    let data = Data::new();
    assert_eq!(
        data.open_as("not a URI", NOW).unwrap_err().code(),
        "keys.certificate"
    );
}

#[test]
fn everything_is_for_the_owner_alone() {
    let data = Data::new();
    drop(data.open().unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data.0.join("master.key")), 0o600);
    assert_eq!(mode(&data.ring()), 0o700);
    assert_eq!(mode(&data.0.join("keys/ca")), 0o700);
    for key in list(&data.ring()).unwrap() {
        assert_eq!(mode(&data.ring().join(format!("{}.json", key.kid))), 0o600);
    }
}

#[test]
fn a_master_key_that_others_can_read_or_of_another_length_is_refused() {
    let data = Data::new();
    let path = data.0.join("master.key");
    drop(data.master());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(
        MasterKey::open(&path, &System).unwrap_err().code(),
        "keys.exposed"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, [7; 31]).unwrap();
    assert_eq!(
        MasterKey::open(&path, &System).unwrap_err().code(),
        "keys.damaged"
    );
}

#[test]
fn a_master_key_that_is_not_where_it_should_be_is_refused_in_words() {
    for (source, part) in [
        (
            MasterKeySource::Env("PORTCULLIS_NO_SUCH_VARIABLE".to_owned()),
            "`PORTCULLIS_NO_SUCH_VARIABLE` is not set",
        ),
        (
            MasterKeySource::Env("PATH".to_owned()),
            "`PATH` is not a master key",
        ),
        (
            MasterKeySource::Credential("master".to_owned()),
            "LoadCredential=master:PATH",
        ),
    ] {
        let error = MasterKey::from_source(&source, &System).unwrap_err();
        assert_eq!(error.code(), "keys.master-key");
        assert!(error.to_string().contains(part), "{error}");
    }
    let data = Data::new();
    let path = data.0.join("master.key");
    let made = MasterKey::from_source(&MasterKeySource::File(path.clone()), &System).unwrap();
    let text = portcullis_core::jose::base64url::encode(fs::read(&path).unwrap());
    let read = MasterKey::from_text(&format!("{text}=\n")).unwrap();
    assert_eq!(made.derive("a").unwrap(), read.derive("a").unwrap());
    let shorter: String = text.chars().skip(1).collect();
    assert!(MasterKey::from_text(&shorter).is_none());
}

#[test]
fn keys_derived_for_two_purposes_differ() {
    let data = Data::new();
    let (first, again) = (data.master(), data.master());
    assert_eq!(first.derive("a").unwrap(), again.derive("a").unwrap());
    assert_ne!(first.derive("a").unwrap(), first.derive("b").unwrap());
    assert_ne!(
        first.derive("a").unwrap().as_slice(),
        fs::read(data.0.join("master.key")).unwrap()
    );
}

#[test]
fn the_ca_is_one_for_both_roles() {
    let data = Data::new();
    let authority = data.open().unwrap();
    let beside = data.0.join("keys/gateway");
    let gateway = Keyring::open(&beside, &data.master(), IDENTITY, &At(NOW), &System).unwrap();
    assert_eq!(authority.describe()[0].issuer, gateway.describe()[0].issuer);
    let ca = list(&data.0.join("keys/ca")).unwrap();
    assert_eq!(ca.len(), 1);
    assert_eq!(
        (ca[0].purpose, ca[0].subject.as_str()),
        ("certificates", authority.describe()[0].issuer.as_str())
    );
}

#[test]
fn debug_shows_no_key() {
    let data = Data::new();
    assert_eq!(format!("{:?}", data.master()), "MasterKey(hidden)");
    let shown = format!("{:?}", data.open().unwrap());
    let file: Value = serde_json::from_slice(&fs::read(data.file_of("signing")).unwrap()).unwrap();
    assert!(!shown.contains(file["handle"].as_str().unwrap()), "{shown}");
}
