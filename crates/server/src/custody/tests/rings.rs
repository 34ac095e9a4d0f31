//! Rings over time, and several on one shelf.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::{Duration, Instant};

use portcullis_core::audit::Event;
use portcullis_core::jose::jwe::{KeyManagement, PayloadOpener};
use portcullis_core::jose::jws::{SigningUnavailable, TokenSigner};
use portcullis_core::keys::{JwksDocument, RotationPolicy, Timing, Use};
use portcullis_guard::recorder::{Durability, Recorder, Recording};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::custody::backend::{BackendError, FileBackend, KeyBackend, NewKey};
use crate::custody::ring::{Operator, open_for_operator};
use crate::custody::shelf::{Database, Folder, KeyPurpose, Shelf, Table};
use crate::custody::tests::postgres::Postgres;

/// Longest that a test waits for what another thread does. No measure of anything.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < DEADLINE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Files, behind a switch.
#[derive(Debug)]
struct Away {
    files: FileBackend,
    away: Arc<AtomicBool>,
}

impl Away {
    fn answer(&self) -> Result<&FileBackend, BackendError> {
        if self.away.load(Ordering::SeqCst) {
            Err(BackendError::Unavailable("the cable is out".to_owned()))
        } else {
            Ok(&self.files)
        }
    }
}

/// A signer of an HSM: its key may be away at any use.
struct AwaySigner(Arc<dyn TokenSigner>, Arc<AtomicBool>);

impl TokenSigner for AwaySigner {
    fn kid(&self) -> &KeyId {
        self.0.kid()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
        if self.1.load(Ordering::SeqCst) {
            return Err(SigningUnavailable("the cable is out".to_owned()));
        }
        self.0.sign(message)
    }

    fn is_quick(&self) -> bool {
        false
    }
}

impl KeyBackend for Away {
    fn name(&self) -> &'static str {
        "file"
    }

    fn make_signing(&self, algorithm: SignatureAlgorithm, label: &str) -> Result<NewKey, BackendError> {
        self.answer()?.make_signing(algorithm, label)
    }

    fn make_sealing(&self, algorithm: KeyManagement, label: &str) -> Result<NewKey, BackendError> {
        self.answer()?.make_sealing(algorithm, label)
    }

    fn signer(
        &self,
        kid: &KeyId,
        algorithm: SignatureAlgorithm,
        handle: &[u8],
    ) -> Result<Arc<dyn TokenSigner>, BackendError> {
        let signer = self.answer()?.signer(kid, algorithm, handle)?;
        Ok(Arc::new(AwaySigner(signer, Arc::clone(&self.away))))
    }

    fn opener(
        &self,
        kid: &KeyId,
        algorithm: KeyManagement,
        handle: &[u8],
    ) -> Result<Arc<dyn PayloadOpener>, BackendError> {
        self.answer()?.opener(kid, algorithm, handle)
    }

    fn forget(&self, handle: &[u8]) -> Result<(), BackendError> {
        self.answer()?.forget(handle)
    }

    fn import_signing(
        &self,
        algorithm: SignatureAlgorithm,
        pkcs8: &[u8],
        label: &str,
    ) -> Result<NewKey, BackendError> {
        self.answer()?.import_signing(algorithm, pkcs8, label)
    }

    fn import_sealing(
        &self,
        algorithm: KeyManagement,
        pkcs8: &[u8],
        label: &str,
    ) -> Result<NewKey, BackendError> {
        self.answer()?.import_sealing(algorithm, pkcs8, label)
    }
}

/// A ring that many can open.
pub(crate) struct House {
    pub(super) data: Data,
    pub(crate) away: Arc<AtomicBool>,
    database: Option<String>,
    /// Lives as long as the house.
    _server: Option<Postgres>,
}

impl House {
    pub(crate) fn in_folder() -> Self {
        Self {
            data: Data::new(),
            away: Arc::default(),
            database: None,
            _server: None,
        }
    }

    /// `None` where there is no PostgreSQL and that is allowed.
    fn in_postgres() -> Option<Self> {
        let server = Postgres::start()?;
        Some(Self {
            database: Some(server.url().to_owned()),
            _server: Some(server),
            ..Self::in_folder()
        })
    }

    fn in_sqlite() -> Self {
        let data = Data::new();
        let database = Some(format!("sqlite:{}", data.0.join("keys.db").display()));
        Self {
            data,
            away: Arc::default(),
            database,
            _server: None,
        }
    }

    pub(super) fn shelf(&self, ring: &str) -> Arc<dyn Shelf> {
        match &self.database {
            Some(url) => Arc::new(Table::new(Database::open(url, "").unwrap(), ring)),
            None => Arc::new(Folder::open(&self.data.0.join("keys").join(ring)).unwrap()),
        }
    }

    pub(super) fn settings(&self) -> RingSettings {
        let master = Arc::new(self.data.master());
        RingSettings {
            role: "authority".to_owned(),
            identity: IDENTITY.to_owned(),
            shelf: self.shelf("authority"),
            ca: self.shelf("ca"),
            backends: vec![Arc::new(Away {
                files: FileBackend::new(Arc::clone(&master), Arc::new(System)),
                away: Arc::clone(&self.away),
            })],
            master,
            signing: SignatureAlgorithm::Es256,
            encryption: KeyManagement::EcdhEs,
            policy: RotationPolicy::default(),
            ledger: Arc::new(Ledger::open(&self.data.0.join("audit"), "authority").unwrap()),
        }
    }

    pub(crate) fn start(&self, now: UnixTime) -> Arc<Keyring> {
        Keyring::start(self.settings(), now, &System).unwrap()
    }

    pub(super) fn operator(&self) -> Operator {
        open_for_operator(self.settings(), NOW, &System).unwrap()
    }
}

struct Walking(AtomicI64);

impl Clock for Walking {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Default)]
pub(super) struct Log(pub(super) Mutex<Vec<Event>>);

impl Recorder for Log {
    fn record<'a>(&'a self, event: Event, _durability: Durability) -> Recording<'a> {
        self.0.lock().unwrap().push(event);
        Box::pin(async { Ok(1) })
    }
}

impl Log {
    fn transitions(&self) -> Vec<(String, &'static str, &'static str, &'static str)> {
        let events = self.0.lock().unwrap();
        let transition = |event: &Event| {
            if let Event::KeyTransition(key) = event {
                Some((key.kid.clone(), key.from, key.to, key.cause))
            } else {
                None
            }
        };
        events.iter().filter_map(transition).collect()
    }

    fn uses(&self) -> Vec<(&'static str, u64)> {
        let events = self.0.lock().unwrap();
        let uses = |event: &Event| {
            if let Event::KeyUse(key) = event {
                Some((key.purpose, key.count))
            } else {
                None
            }
        };
        events.iter().filter_map(uses).collect()
    }
}

pub(super) fn rotate(
    keyring: &Arc<Keyring>,
    log: &Arc<Log>,
    now: UnixTime,
    stop: &CancellationToken,
) -> Rotating {
    Rotator {
        keyring: Arc::clone(keyring),
        recorder: Arc::<Log>::clone(log),
        clock: Arc::new(Walking(AtomicI64::new(now.as_secs()))),
        random: Arc::new(System),
    }
    .spawn(stop.clone())
    .unwrap()
}

pub(super) fn finish(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work);
}

/// Verifies a fresh token of the ring with a set.
pub(super) fn verifies(ring: &Keyring, jwks: &JwksDocument) -> bool {
    let signer = ring.signer();
    let token = jws::sign(&*signer, "at+jwt", &serde_json::Map::new()).unwrap();
    let keys = KeySet::parse(&jwks.bytes()).unwrap();
    keys.find(Some(signer.kid()), signer.algorithm())
        .is_some_and(|key| jws::Unverified::parse(&token).unwrap().verify(key).is_ok())
}

fn states(ring: &Keyring, purpose: &str) -> Vec<State> {
    let keys = ring.describe();
    keys.iter()
        .filter(|key| key.purpose == purpose)
        .map(|key| key.state)
        .collect()
}

fn days(days: u64) -> UnixTime {
    NOW.plus(Lifetime::from_days(days))
}

#[test]
fn four_that_race_at_an_empty_shelf_make_one_set_of_keys() {
    for house in [House::in_folder(), House::in_sqlite()] {
        let rings: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| house.start(NOW))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        for ring in &rings {
            assert_eq!(ring.jwks(), rings[0].jwks());
            assert_eq!(ring.signer().kid(), rings[0].signer().kid());
            assert!(verifies(ring, &rings[0].jwks()));
        }
        assert_eq!(house.shelf("authority").read().unwrap().records.len(), 2);
        assert_eq!(house.shelf("ca").read().unwrap().records.len(), 1);
    }
}

#[test]
fn what_one_rotates_the_other_notices() {
    let houses = [
        Some(House::in_folder()),
        Some(House::in_sqlite()),
        House::in_postgres(),
    ];
    for house in houses.into_iter().flatten() {
        let (one, other) = (house.start(NOW), house.start(NOW));
        let stop = CancellationToken::new();
        let log = Arc::new(Log::default());
        let rotating = rotate(&other, &log, NOW, &stop);
        let first = one.signer().kid().clone();
        let mut changes = other.changes();
        changes.mark_unchanged();

        let later = NOW.plus(Lifetime::from_hours(1));
        let staged = house.operator().rotate(Use::Signature, NOW, &System).unwrap();
        assert_eq!(staged.len(), 1, "{staged:?}");
        assert_eq!((staged[0].from, staged[0].to), (None, State::Staged));
        until("the other knows the staged key", || {
            states(&other, "signing").len() == 2
        });
        assert!(changes.has_changed().unwrap());
        assert_eq!(*other.signer().kid(), first, "not before everybody knows it");

        one.advance(later, &System).unwrap();
        let second = staged[0].kid.clone();
        assert_eq!(*one.signer().kid(), second);
        until("the other signs with it", || *other.signer().kid() == second);
        assert_eq!(one.jwks(), other.jwks());
        assert_eq!(one.generation(), other.generation());
        assert!(verifies(&one, &other.jwks()) && verifies(&other, &one.jwks()));

        until("it is on record", || log.transitions().len() >= 5);
        let told = log.transitions();
        assert!(
            told.contains(&(second.to_string(), "none", "staged", "operator")),
            "{told:?}"
        );
        assert!(
            told.contains(&(second.to_string(), "staged", "enabled", "schedule")),
            "{told:?}"
        );
        assert!(
            told.contains(&(first.to_string(), "enabled", "disabled", "schedule")),
            "{told:?}"
        );
        stop.cancel();
        finish(rotating.finished());
    }
}

#[test]
fn a_ring_walks_through_staging_promotion_retirement_and_deletion() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let timing = Timing::default();
    let first = ring.signer().kid().clone();
    let (mut seen, mut three) = (BTreeSet::new(), 0);
    let mut before = ring.jwks();
    for day in 0..400 {
        let now = days(day);
        ring.advance(now, &System).unwrap();
        // what is signed now verifies with the set of now, and with that of yesterday
        assert!(verifies(&ring, &ring.jwks()), "day {day}");
        assert!(day == 0 || verifies(&ring, &before), "day {day}");
        before = ring.jwks();
        for purpose in ["signing", "encryption"] {
            let mut alive = states(&ring, purpose);
            alive.retain(|state| *state != State::Deleted);
            assert_eq!(
                alive.iter().filter(|state| **state == State::Enabled).count(),
                1,
                "day {day}"
            );
            assert!(alive.len() <= 3, "day {day}: {alive:?}");
            three += usize::from(alive.len() == 3);
        }
        let primary = ring.signer().kid().clone();
        let told = ring.describe();
        let key = told.iter().find(|key| key.kid == primary).unwrap();
        assert!(now < key.not_after, "day {day}");
        seen.insert(primary);
        // only the encryption key in use is published
        let published: Value = serde_json::from_slice(&ring.jwks().bytes()).unwrap();
        let enc = published["keys"].as_array().unwrap();
        let enc: Vec<_> = enc.iter().filter(|key| key["use"] == "enc").collect();
        assert_eq!(enc.len(), 1, "day {day}");
    }
    let period = timing.promote_after.as_secs() / 86_400;
    assert!(
        seen.len() > 400 / (usize::try_from(period).unwrap() + 2),
        "{seen:?}"
    );
    assert!(
        three > 600,
        "three certificates of each purpose nearly all the time: {three}"
    );
    let first_still = ring.describe().into_iter().any(|key| key.kid == first);
    assert!(!first_still, "its record went a day after it was deleted");
    let files = fs::read_dir(house.data.ring()).unwrap();
    let names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !names.iter().any(|name| name.starts_with(first.as_str())),
        "{names:?}"
    );
    // another that starts now has the same
    assert_eq!(house.start(days(399)).jwks(), ring.jwks());
}

#[test]
fn what_was_sealed_for_a_key_opens_while_it_is_retired_and_not_after() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let kid = ring.openers()[0].kid().clone();
    let retired = (0..200)
        .find(|day| {
            ring.advance(days(*day), &System).unwrap();
            *ring.openers()[0].kid() != kid
        })
        .unwrap();
    assert!(ring.opener(&kid).is_some(), "retired on day {retired}");
    let gone = (retired..400).find(|day| {
        ring.advance(days(*day), &System).unwrap();
        ring.opener(&kid).is_none()
    });
    assert!(gone.is_some());
}

#[test]
fn without_its_private_keys_a_ring_publishes_and_comes_back() {
    let house = House::in_folder();
    let before = house.start(NOW);
    // gone at the start
    house.away.store(true, Ordering::SeqCst);
    let ring = house.start(NOW);
    assert_eq!(ring.jwks(), before.jwks());
    assert!(ring.incomplete().unwrap().contains("the cable is out"));
    assert_eq!(ring.signer().kid(), before.signer().kid());
    let refused = ring.signer().sign(b"x").unwrap_err();
    assert!(refused.to_string().contains("the cable is out"), "{refused}");
    let stop = CancellationToken::new();
    let log = Arc::new(Log::default());
    let rotating = rotate(&ring, &log, NOW, &stop);
    house.away.store(false, Ordering::SeqCst);
    until("it signs again", || ring.signer().sign(b"x").is_ok());
    until("it is whole again", || ring.incomplete().is_none());
    // gone later
    house.away.store(true, Ordering::SeqCst);
    assert!(ring.signer().sign(b"x").is_err());
    until("it is noticed", || ring.incomplete().is_some());
    assert_eq!(ring.jwks(), before.jwks());
    house.away.store(false, Ordering::SeqCst);
    until("it signs again", || ring.signer().sign(b"x").is_ok());
    stop.cancel();
    finish(rotating.finished());
}

#[test]
fn a_first_start_without_a_place_for_private_keys_makes_them_when_it_is_there() {
    let house = House::in_folder();
    house.away.store(true, Ordering::SeqCst);
    let ring = house.start(NOW);
    assert!(ring.signer().sign(b"x").is_err());
    assert_eq!(ring.describe().len(), 0);
    let stop = CancellationToken::new();
    let log = Arc::new(Log::default());
    let rotating = rotate(&ring, &log, NOW, &stop);
    house.away.store(false, Ordering::SeqCst);
    until("there are keys", || ring.signer().sign(b"x").is_ok());
    assert!(verifies(&ring, &ring.jwks()));
    stop.cancel();
    finish(rotating.finished());
}

#[test]
fn uses_are_counted_and_go_on_record() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let stop = CancellationToken::new();
    let log = Arc::new(Log::default());
    let rotating = rotate(&ring, &log, NOW, &stop);
    for _ in 0..5 {
        ring.signer().sign(b"x").unwrap();
    }
    // a reload goes on counting where it was
    ring.reload(NOW).unwrap();
    ring.signer().sign(b"x").unwrap();
    let signed = ring
        .uses()
        .counts()
        .into_iter()
        .find(|uses| uses.purpose == KeyPurpose::Signing)
        .unwrap();
    assert_eq!((signed.count, &signed.kid), (6, ring.signer().kid()));
    let page = metrics([("authority", ring.uses())]);
    let line = format!(
        "portcullis_key_uses_total{{role=\"authority\",purpose=\"signing\",kid=\"{}\"}} 6\n",
        signed.kid
    );
    assert!(page.contains(&line), "{page}");
    assert!(page.contains("purpose=\"certificates\",kid=\"ca\"} 2"), "{page}");
    stop.cancel();
    finish(rotating.finished());
    let uses = log.uses();
    assert!(
        uses.contains(&("signing", 6)) && uses.contains(&("certificates", 2)),
        "{uses:?}"
    );
    assert_eq!(log.transitions().len(), 2, "the first keys are on record");
}

#[test]
fn another_that_only_watches_learns_of_a_revoked_key() {
    let house = House::in_folder();
    let ring = house.start(NOW);
    let watcher = Watcher::open(Arc::new(Folder::existing(&house.data.ring())), Arc::default()).unwrap();
    let stop = CancellationToken::new();
    watcher.spawn(stop.clone()).unwrap();
    let kid = ring.signer().kid().clone();
    assert!(watcher.revoked().is_empty());
    assert_eq!(watcher.states().get(&kid), Some(&State::Enabled));
    house
        .operator()
        .revoke(&kid, "it was seen in a log", NOW, &System)
        .unwrap();
    until("it is noticed", || watcher.revoked().contains(&kid));
    assert_eq!(watcher.states().get(&kid), Some(&State::Deleted));
    assert!(watcher.changes().borrow().to_owned() >= 2);
    stop.cancel();
}

#[test]
fn keys_of_the_first_version_go_on_signing_and_opening() {
    use base64::Engine as _;
    use portcullis_core::keys::{Profile, Purpose as _, Request, Sealing, Signing};
    let standard = base64::engine::general_purpose::STANDARD;
    let data = Data::new();
    let master = data.master();
    // as the first version made them: P-256, PKCS#8 under the master key, bound to purpose and kid
    let (ca, sig, enc) = [(); 3]
        .map(|()| rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap())
        .into();
    let request = |profile, name: &str| Request {
        profile,
        name: name.to_owned(),
        identity: match profile {
            Profile::Authority => String::new(),
            Profile::Leaf(_) => IDENTITY.to_owned(),
        },
        serial: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        not_before: NOW,
        lifetime: Lifetime::from_days(90),
    };
    let root = request(Profile::Authority, "Portcullis CA 01020304")
        .lint()
        .unwrap()
        .self_signed(&ca)
        .unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_der(&root.as_slice().into(), &ca).unwrap();
    let public = |key: &rcgen::KeyPair| {
        portcullis_core::jose::jwk::PublicKey::from_spki(&rcgen::PublicKeyData::subject_public_key_info(key))
            .unwrap()
            .thumbprint()
    };
    let put = |folder: &str, purpose: &str, kid: &str, key: &rcgen::KeyPair, chain: Vec<&[u8]>| {
        let folder = data.0.join("keys").join(folder);
        fs::create_dir_all(&folder).unwrap();
        let context = format!("portcullis key\0{purpose}\0{kid}");
        let sealed = master
            .seal(context.as_bytes(), key.serialized_der(), &System)
            .unwrap();
        let text = json!({
            "version": 1, "purpose": purpose, "kid": kid, "state": "enabled", "created": NOW.as_secs(),
            "certificates": chain.iter().map(|der| standard.encode(der)).collect::<Vec<_>>(),
            "private_key": standard.encode(sealed),
        });
        fs::write(folder.join(format!("{kid}.json")), text.to_string()).unwrap();
    };
    put("ca", "certificates", "ca", &ca, vec![&root]);
    let sig_kid = Signing::kid(2026, 11, &public(&sig)).unwrap();
    let enc_kid = Sealing::kid(2026, 11, &public(&enc)).unwrap();
    for (purpose, name, kid, key) in [
        (Use::Signature, "signing", &sig_kid, &sig),
        (Use::Encryption, "encryption", &enc_kid, &enc),
    ] {
        let own = request(Profile::Leaf(purpose), kid.as_str())
            .lint()
            .unwrap()
            .signed_by(key, &issuer)
            .unwrap();
        put("authority", name, kid.as_str(), key, vec![&own, &root]);
    }

    let ring = data.open().unwrap();
    assert_eq!(*ring.signer().kid(), sig_kid);
    assert!(verifies(&ring, &ring.jwks()));
    assert!(ring.opener(&enc_kid).is_some());
    assert_eq!(ring.describe().len(), 2);
    // the CA was one for any server: it has a certificate for this one alone now, with the same key and name
    super::authority::check(&super::authority::records(&data.ring()), IDENTITY, NOW);
    let [kept] = super::authority::records(&data.0.join("keys/ca"))
        .try_into()
        .unwrap();
    assert_eq!(kept.public, rcgen::PublicKeyData::subject_public_key_info(&ca));
    assert_eq!(kept.chain.len(), 1);
    assert_ne!(kept.chain[0], root);
    assert_eq!(
        kept.certificate().unwrap().subject,
        portcullis_core::keys::CertificateFacts::parse(&root)
            .unwrap()
            .subject
    );
    // and they rotate: both are there in the form of today, with what they had
    ring.advance(days(20), &System).unwrap();
    assert_eq!(states(&ring, "signing"), [State::Enabled, State::Staged]);
    assert_eq!(*ring.signer().kid(), sig_kid);
    let again = data.open_as(IDENTITY, days(20)).unwrap();
    assert_eq!(again.jwks(), ring.jwks());
    assert!(again.opener(&enc_kid).is_some());
    let text = fs::read_to_string(data.ring().join(format!("{sig_kid}.json"))).unwrap();
    assert!(text.contains("\"version\": 2"), "{text}");
}
