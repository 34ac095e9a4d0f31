//! The keys of one role, as the servers use them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use portcullis_core::audit;
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{KeyManagement, PayloadOpener};
use portcullis_core::jose::jwk::{KeyAlgorithm, Use};
use portcullis_core::jose::jws::TokenSigner;
use portcullis_core::keys::{JwksDocument, RotationPolicy, State, Transition, plan, primary};
use portcullis_core::random::SecureRandom;
use portcullis_core::time::UnixTime;
use portcullis_guard::recorder::{Durability, Recorder, RecorderUnavailable};
use portcullis_net::clock::Clock;
use portcullis_net::random::System;
use tokio::sync::watch;

use super::backend::FileBackend;
use super::change::{KeyChange, changes_since, states_of};
use super::list::{KeyDescription, describe};
use super::maker::{Maker, RingSettings, checked, jwks_of};
use super::opened::{AbsentOpener, AbsentSigner, CountedOpener, CountedSigner};
use super::rotator::Sight;
use super::shelf::{Cause, Folder, KeyPurpose, KeyRecord, Shelved};
use super::transition::{Urgency, Wanted};
use super::uses::Uses;
use super::{Error, MasterKey};

/// The keys of one role (authority or gateway). What it gives is of this moment: ask again for each use.
pub struct Keyring {
    maker: Maker,
    uses: Uses,
    snapshot: ArcSwap<Snapshot>,
    changed: watch::Sender<u64>,
    /// Changes that are not on record yet.
    unrecorded: Mutex<Vec<KeyChange>>,
    /// Of the shelf.
    sight: Sight,
}

/// All of a ring at one moment.
struct Snapshot {
    shelved: Shelved,
    signer: Arc<dyn TokenSigner>,
    openers: Vec<Arc<dyn PayloadOpener>>,
    jwks: Arc<JwksDocument>,
    revoked: Arc<BTreeSet<KeyId>>,
    descriptions: Vec<KeyDescription>,
    handles: BTreeMap<KeyId, Handle>,
    /// Some key could not be opened, because its place did not answer.
    incomplete: Option<String>,
}

/// A private key's handle, kept from one snapshot to the next while it works.
#[derive(Clone)]
struct Handle {
    of: Vec<u8>,
    key: OpenKey,
    failed: Arc<AtomicBool>,
}

#[derive(Clone)]
enum OpenKey {
    Signs(Arc<dyn TokenSigner>),
    Opens(Arc<dyn PayloadOpener>),
}

impl Keyring {
    /// Opens a ring in the folder `dir` with private keys in files, the CA in `ca` beside it: all that a server needs
    /// that was configured to no more. See [`Self::start`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn open(
        dir: &Path,
        master: &MasterKey,
        identity: &str,
        clock: &dyn Clock,
        random: &dyn SecureRandom,
    ) -> Result<Arc<Self>, Error> {
        let beside = dir
            .parent()
            .map_or_else(|| PathBuf::from("ca"), |keys| keys.join("ca"));
        let master = Arc::new(master.clone());
        let settings = RingSettings {
            role: dir
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            identity: identity.to_owned(),
            shelf: Arc::new(Folder::open(dir)?),
            ca: Arc::new(Folder::open(&beside)?),
            backends: vec![Arc::new(FileBackend::new(Arc::clone(&master), Arc::new(System)))],
            master,
            signing: SignatureAlgorithm::Es256,
            encryption: KeyManagement::EcdhEs,
            policy: RotationPolicy::default(),
            ledger: Arc::default(),
        };
        Self::start(settings, clock.now(), random)
    }

    /// Opens a ring, making what is missing, once for all that share its shelf. Blocks, on the disk or the network.
    ///
    /// A place for private keys that does not answer now is no error: published keys are served, and signing answers
    /// `SigningUnavailable` until it is back.
    ///
    /// # Errors
    /// [`Error`]: the shelf, a damaged record, another master key. Nothing is made in place of what cannot be read.
    pub fn start(
        settings: RingSettings,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<Arc<Self>, Error> {
        let uses = Uses::default();
        let maker = Maker::open(settings, now, random, &uses)?;
        let before = maker.shelf().read()?;
        let mut away = None;
        let shelved = match scheduled(&maker, Urgency::Now, now, random) {
            Ok((shelved, _)) => shelved,
            Err(error) if error.may_pass() => {
                tracing::warn!(code = error.code(), "a key could not be made: {error}");
                away = Some(error.to_string());
                maker.shelf().read()?
            }
            Err(error) => return Err(error),
        };
        let ledger = &maker.settings.ledger;
        // What nobody recorded, because the one who was to do it died first, is recorded now.
        let before = ledger.states().unwrap_or_else(|| states_of(&before.records));
        ledger.forget_all_but(&shelved.records);
        let shelved = guarded(&maker, shelved);
        let unrecorded = changes_since(&maker.settings.role, &before, &shelved.records);
        let mut snapshot = Snapshot::assemble(&maker, &uses, shelved, now, &BTreeMap::new())?;
        snapshot.incomplete = snapshot.incomplete.or(away);
        let (changed, _) = watch::channel(snapshot.shelved.generation);
        Ok(Arc::new(Self {
            maker,
            uses,
            snapshot: ArcSwap::from_pointee(snapshot),
            changed,
            unrecorded: Mutex::new(unrecorded),
            sight: Sight::default(),
        }))
    }

    /// `authority` or `gateway`.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.maker.settings.role
    }

    /// Signs tokens with the primary of this moment. There always is one to ask, and it may say that it cannot now.
    #[must_use]
    pub fn signer(&self) -> Arc<dyn TokenSigner> {
        Arc::clone(&self.snapshot.load().signer)
    }

    /// The private encryption key of this name, while it is staged, enabled or disabled.
    #[must_use]
    pub fn opener(&self, kid: &KeyId) -> Option<Arc<dyn PayloadOpener>> {
        let snapshot = self.snapshot.load();
        let opener = snapshot.openers.iter().find(|opener| opener.kid() == kid)?;
        Some(Arc::clone(opener))
    }

    /// All private encryption keys, the primary first.
    #[must_use]
    pub fn openers(&self) -> Vec<Arc<dyn PayloadOpener>> {
        self.snapshot.load().openers.clone()
    }

    /// The published keys: to verify with and to encrypt to, with their certificates.
    #[must_use]
    pub fn jwks(&self) -> Arc<JwksDocument> {
        Arc::clone(&self.snapshot.load().jwks)
    }

    /// The keys that were revoked. What they made is void, whatever its dates.
    #[must_use]
    pub fn revoked(&self) -> Arc<BTreeSet<KeyId>> {
        Arc::clone(&self.snapshot.load().revoked)
    }

    /// The generation, and a notice of each new one: the snapshot is the new one by then.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The number of the change that the snapshot is of.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.snapshot.load().shelved.generation
    }

    /// All keys, for people.
    #[must_use]
    pub fn describe(&self) -> Vec<KeyDescription> {
        self.snapshot.load().descriptions.clone()
    }

    /// How often each key was used, for the metrics page and the audit log.
    #[must_use]
    pub fn uses(&self) -> &Uses {
        &self.uses
    }

    /// Why private keys cannot be used now, when that is so.
    #[must_use]
    pub fn incomplete(&self) -> Option<String> {
        self.snapshot.load().incomplete.clone()
    }

    /// Puts on record what nobody put there yet, and notes it. `is_known` says what the log has already: a process may
    /// have died between the record and the note of it.
    ///
    /// # Errors
    /// [`RecorderUnavailable`]; what is not on record waits for the next call.
    pub async fn record_changes(
        &self,
        recorder: &dyn Recorder,
        is_known: &(dyn Fn(&KeyChange) -> bool + Sync),
    ) -> Result<(), RecorderUnavailable> {
        let ledger = &self.maker.settings.ledger;
        let mut alarms = ledger.take_alarms().into_iter();
        while let Some(detail) = alarms.next() {
            let event = audit::System {
                what: "keys.revived",
                detail: detail.clone(),
            };
            if let Err(error) = recorder.record(event.into(), Durability::Synced).await {
                ledger.put_back(std::iter::once(detail).chain(alarms).collect());
                return Err(error);
            }
        }
        let mut changes = std::mem::take(&mut *self.lock_unrecorded()).into_iter();
        while let Some(change) = changes.next() {
            if !is_known(&change)
                && let Err(error) = recorder.record(change.clone().into(), Durability::Synced).await
            {
                let mut later = self.lock_unrecorded();
                let rest: Vec<_> = std::iter::once(change).chain(changes).collect();
                later.splice(..0, rest);
                return Err(error);
            }
            ledger.note(&change);
        }
        Ok(())
    }

    fn lock_unrecorded(&self) -> MutexGuard<'_, Vec<KeyChange>> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the shelf was read when it was last looked at. While it is not, the keys stay as they were, and what others
    /// change, a revocation too, is not known here.
    ///
    /// # Errors
    /// The stable code of why not.
    pub fn is_followed(&self) -> Result<(), &'static str> {
        self.sight.is_clear()
    }

    /// Takes over what others changed. Tells what there was to take over.
    pub(super) fn follow(&self, now: UnixTime) -> Result<Stale, Error> {
        let looked = self.is_stale().and_then(|stale| {
            if stale == Stale::Moved {
                self.reload(now)?;
            }
            Ok(stale)
        });
        self.sight.note(&looked);
        looked
    }

    /// Whether the shelf moved on, or a key stopped working since it was opened. Cheap.
    fn is_stale(&self) -> Result<Stale, Error> {
        let snapshot = self.snapshot.load();
        if self.maker.shelf().generation()? != snapshot.shelved.generation {
            return Ok(Stale::Moved);
        }
        let failed = snapshot
            .handles
            .values()
            .any(|handle| handle.failed.load(Ordering::Relaxed));
        Ok(if failed || snapshot.incomplete.is_some() {
            Stale::Failed
        } else {
            Stale::No
        })
    }

    /// Reads the shelf and makes its state the one in use. On an error the one before stays.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn reload(&self, now: UnixTime) -> Result<(), Error> {
        self.replace(self.maker.shelf().read()?, now)
    }

    /// Does what is due at this moment, unless another process is at it, and makes the outcome the state in use.
    ///
    /// # Errors
    /// As [`Self::start`], and a place for private keys that does not answer.
    pub fn advance(&self, now: UnixTime, random: &dyn SecureRandom) -> Result<Vec<Transition>, Error> {
        match scheduled(&self.maker, Urgency::Whenever, now, random) {
            Ok((shelved, done)) => {
                self.replace(shelved, now)?;
                Ok(done)
            }
            Err(error) => {
                // What could be done of it was.
                self.reload(now)?;
                Err(error)
            }
        }
    }

    fn replace(&self, shelved: Shelved, now: UnixTime) -> Result<(), Error> {
        let before = self.snapshot.load_full();
        if shelved.generation < before.shelved.generation {
            tracing::warn!(
                place = self.maker.place(),
                "the keys are older than they were: was a backup put in place?"
            );
        }
        let shelved = guarded(&self.maker, shelved);
        let next = Snapshot::assemble(&self.maker, &self.uses, shelved, now, &before.handles)?;
        let changes = changes_since(
            &self.maker.settings.role,
            &states_of(&before.shelved.records),
            &next.shelved.records,
        );
        for change in &changes {
            tracing::info!(
                role = change.role,
                kid = %change.kid,
                from = change.from_name(),
                to = %change.to,
                cause = change.cause.as_str(),
                "a key changed"
            );
        }
        let generation = next.shelved.generation;
        let moved = generation != before.shelved.generation || next.jwks != before.jwks;
        self.snapshot.store(Arc::new(next));
        self.lock_unrecorded().extend(changes);
        if moved {
            self.changed.send_replace(generation);
        }
        Ok(())
    }
}

/// What the snapshot lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    No,
    /// The shelf has another generation.
    Moved,
    /// A key has to be opened again.
    Failed,
}

/// What a shelf holds, as the ledger lets it count: a key that was once revoked is, whatever the shelf says of it.
fn guarded(maker: &Maker, mut shelved: Shelved) -> Shelved {
    let ledger = &maker.settings.ledger;
    ledger.mend(&mut shelved.records, &maker.place());
    ledger.remember(&shelved.records);
    shelved
}

fn scheduled(
    maker: &Maker,
    urgency: Urgency,
    now: UnixTime,
    random: &dyn SecureRandom,
) -> Result<(Shelved, Vec<Transition>), Error> {
    let policy = maker.settings.policy;
    let wanted = Wanted {
        cause: Cause::Schedule,
        reason: None,
        urgency,
        plan: &|keys| Ok(plan(now, &policy, keys)),
        // Before the plan, so that another takes the place of a key that must not come back.
        edit: &|records| {
            maker.settings.ledger.mend(records, &maker.place());
            Ok(())
        },
    };
    maker.carry_out(wanted, now, random)
}

impl Snapshot {
    fn assemble(
        maker: &Maker,
        uses: &Uses,
        shelved: Shelved,
        now: UnixTime,
        before: &BTreeMap<KeyId, Handle>,
    ) -> Result<Self, Error> {
        let views = maker.views(&shelved.records)?;
        let enabled = |purpose: Use| {
            views
                .iter()
                .filter(move |view| view.purpose == purpose && view.state == State::Enabled)
        };
        for purpose in [Use::Signature, Use::Encryption] {
            if let (Some(_), Some(other)) = (enabled(purpose).next(), enabled(purpose).nth(1)) {
                let detail = format!(
                    "another key for {} is enabled too",
                    KeyPurpose::from(purpose).name()
                );
                return Err(Error::record(&maker.place(), &other.kid, &detail));
            }
        }
        let (mut openers, mut handles) = (Vec::new(), BTreeMap::new());
        let mut incomplete = None;
        for record in &shelved.records {
            let Some(view) = views.iter().find(|view| view.kid == record.kid) else {
                continue;
            };
            let key = checked(record, &maker.place())?;
            // Only the primary signs; what the others signed is verified with public keys.
            if view.purpose == Use::Signature && record.state != State::Enabled {
                continue;
            }
            let opened = match before.get(&record.kid) {
                Some(handle) if handle.of == record.handle && !handle.failed.load(Ordering::Relaxed) => {
                    Ok(handle.clone())
                }
                Some(_) | None => open(maker, uses, record),
            };
            match opened {
                Ok(handle) => {
                    if let OpenKey::Opens(opener) = &handle.key {
                        if *opener.key() != key {
                            let detail = "its private key is that of another key";
                            return Err(Error::record(&maker.place(), &record.kid, detail));
                        }
                        openers.push((record.state, Arc::clone(opener)));
                    }
                    handles.insert(record.kid.clone(), handle);
                }
                Err(error) if error.may_pass() => {
                    if view.purpose == Use::Encryption {
                        openers.push((
                            record.state,
                            Arc::new(AbsentOpener {
                                kid: record.kid.clone(),
                                key,
                                why: error.to_string(),
                            }),
                        ));
                    }
                    incomplete = incomplete.or(Some(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        // The one that others encrypt to is asked for most.
        openers.sort_by_key(|(state, _)| *state != State::Enabled);
        for purpose in [Use::Signature, Use::Encryption] {
            if primary(now, &views, purpose).is_none() {
                let name = KeyPurpose::from(purpose).name();
                incomplete =
                    incomplete.or_else(|| Some(format!("there is no key for {name} that is valid now")));
            }
        }
        let signing = primary(now, &views, Use::Signature).map(|view| &view.kid);
        let signer = Self::signer(maker, &shelved, signing, &handles, incomplete.as_deref())?;
        Ok(Self {
            signer,
            openers: openers.into_iter().map(|(_, opener)| opener).collect(),
            jwks: Arc::new(jwks_of(&shelved.records, &maker.place(), now)?),
            revoked: Arc::new(revoked(&shelved.records)),
            descriptions: describe(&shelved.records, &maker.place())?,
            handles,
            incomplete,
            shelved,
        })
    }

    fn signer(
        maker: &Maker,
        shelved: &Shelved,
        primary: Option<&KeyId>,
        handles: &BTreeMap<KeyId, Handle>,
        away: Option<&str>,
    ) -> Result<Arc<dyn TokenSigner>, Error> {
        if let Some(OpenKey::Signs(signer)) =
            primary.and_then(|kid| handles.get(kid)).map(|handle| &handle.key)
        {
            return Ok(Arc::clone(signer));
        }
        let record = primary.and_then(|kid| shelved.records.iter().find(|record| record.kid == *kid));
        let (kid, algorithm) = match record.map(|record| (record.kid.clone(), record.algorithm)) {
            Some((kid, KeyAlgorithm::Signature(algorithm))) => (kid, algorithm),
            Some((_, KeyAlgorithm::Encryption(_))) | None => (
                KeyId::parse("none").map_err(|_| Error::Crypto("name a key"))?,
                maker.settings.signing,
            ),
        };
        let why = away
            .unwrap_or("there is no signing key whose certificate is valid now")
            .to_owned();
        Ok(Arc::new(AbsentSigner { kid, algorithm, why }))
    }
}

/// The names of revoked keys.
pub(super) fn revoked(records: &[KeyRecord]) -> BTreeSet<KeyId> {
    records
        .iter()
        .filter(|record| record.revoked.is_some())
        .map(|record| record.kid.clone())
        .collect()
}

/// Opens a private key, as a handle that counts.
fn open(maker: &Maker, uses: &Uses, record: &KeyRecord) -> Result<Handle, Error> {
    let backend = maker.backend_of(record)?;
    let of = |source| Error::Backend {
        kid: record.kid.to_string(),
        source,
    };
    let failed = Arc::new(AtomicBool::new(false));
    let count = uses.counter(record.purpose, &record.kid);
    let key = match record.algorithm {
        KeyAlgorithm::Signature(algorithm) => OpenKey::Signs(Arc::new(CountedSigner {
            signer: backend
                .signer(&record.kid, algorithm, &record.handle)
                .map_err(of)?,
            uses: count,
            failed: Arc::clone(&failed),
        })),
        KeyAlgorithm::Encryption(algorithm) => OpenKey::Opens(Arc::new(CountedOpener {
            opener: backend
                .opener(&record.kid, algorithm, &record.handle)
                .map_err(of)?,
            uses: count,
            failed: Arc::clone(&failed),
        })),
    };
    Ok(Handle {
        of: record.handle.clone(),
        key,
        failed,
    })
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("keys", &self.describe())
            .finish_non_exhaustive()
    }
}
