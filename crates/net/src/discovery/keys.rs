//! The keys of one issuer, cached.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::StatusCode;
use http::header::ACCEPT;
use portcullis_core::ids::{Issuer, KeyId};
use portcullis_core::jose::jwk::{self, KeySet};
use portcullis_core::limits;
use portcullis_core::time::{Lifetime, UnixTime};
use tokio::sync::{Mutex as Turn, MutexGuard as OurTurn};
use url::Url;

use super::freshness;
use super::metadata::{PATIENCE, authorization_server_metadata};
use crate::clock::Clock;
use crate::fetch::{Fetcher, Limits};
use crate::offload;

/// Shortest time between two fetches, whatever tokens name: a flood of unknown names costs the issuer nothing.
const COOLDOWN: Lifetime = Lifetime::from_secs(30);
/// The same before there ever was a set: an issuer that starts a moment after us is found soon.
const FIRST_COOLDOWN: Lifetime = Lifetime::from_secs(1);
/// How long after a key was withdrawn the time between two fetches does not count: its replacement may be published a
/// moment later than the withdrawal is known here, and tokens of it must not be refused for half a minute. One fetch at a
/// time all the same.
const EAGER: Lifetime = Lifetime::from_secs(10);
/// How long the last good set is used when the issuer does not answer.
const LAST_RESORT: Lifetime = Lifetime::from_hours(24);
/// The last part of a set's time, in which it is fetched anew while it goes on being used: one fifth.
const AHEAD: u64 = 5;
/// How long a set from a file is used before the file is read again.
const FILE_FRESH: Lifetime = Lifetime::from_minutes(1);

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub enum KeysFrom {
    /// A JWK Set at this URL.
    Url(Url),
    /// The issuer's metadata (RFC 8414, then OpenID Connect Discovery) names it.
    Metadata,
    /// A file.
    File(PathBuf),
}

/// No keys to verify with now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys of issuer `{issuer}` cannot be had: {detail}")]
pub struct KeysUnavailable {
    /// The issuer.
    pub issuer: String,
    /// What went wrong at the last attempt.
    pub detail: String,
}

/// The cached keys of one configured issuer.
pub struct IssuerKeys {
    issuer: Issuer,
    from: KeysFrom,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    snapshot: ArcSwapOption<Snapshot>,
    /// Keys that are void, whatever the issuer's document says. Only ever grows.
    withdrawn: Mutex<BTreeSet<KeyId>>,
    /// Until then (in seconds of the clock) every name that is not in the set makes us ask the issuer.
    eager_until: AtomicI64,
    /// Held while fetching: one fetch at a time.
    turn: Turn<Attempts>,
}

/// A good set and its times.
struct Snapshot {
    keys: Arc<KeySet>,
    /// What they were read from, to read it again without a key that was withdrawn.
    text: Bytes,
    fetched: UnixTime,
    /// From then on it is fetched anew in the background.
    refresh_from: UnixTime,
    fresh_until: UnixTime,
}

/// What a fetch brought.
struct Fetched {
    keys: KeySet,
    text: Bytes,
    fresh_for: Lifetime,
}

/// What is remembered of fetching.
#[derive(Default)]
struct Attempts {
    last: Option<UnixTime>,
    trouble: String,
}

impl Attempts {
    /// A clock that was set back must not stop fetching for good.
    fn is_cooling(&self, now: UnixTime, cooldown: Lifetime) -> bool {
        self.last
            .is_some_and(|last| last <= now && now < last.plus(cooldown))
    }
}

impl IssuerKeys {
    /// For one issuer. Nothing is fetched before it is needed.
    #[must_use]
    pub fn new(issuer: Issuer, from: KeysFrom, fetcher: Fetcher, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer,
            from,
            fetcher,
            clock,
            snapshot: ArcSwapOption::empty(),
            withdrawn: Mutex::default(),
            eager_until: AtomicI64::new(i64::MIN),
            turn: Turn::default(),
        }
    }

    /// These keys are void from now on: what they signed is refused at once, tokens that were verified with them are
    /// verified again, and the set is stale, so that their replacement is found with the next token. Other keys
    /// stay usable though the issuer does not answer.
    pub fn withdraw(&self, kids: impl IntoIterator<Item = KeyId>) {
        let mut withdrawn = self.withdrawn();
        let before = withdrawn.len();
        withdrawn.extend(kids);
        if withdrawn.len() == before {
            return;
        }
        let eager_until = self.clock.now().plus(EAGER);
        self.eager_until.store(eager_until.as_secs(), Ordering::SeqCst);
        if let Some(held) = self.snapshot.load_full() {
            // The text was read before. If it could not be read now, no key would be better than a withdrawn one.
            let left = KeySet::parse(&held.text).ok().map(|mut keys| {
                keys.remove(&withdrawn);
                Arc::new(Snapshot {
                    keys: Arc::new(keys),
                    text: held.text.clone(),
                    fetched: held.fetched,
                    refresh_from: held.fetched,
                    fresh_until: held.fetched,
                })
            });
            self.snapshot.store(left);
        }
    }

    /// Held while a snapshot is put in place, so that no fetch brings back what was withdrawn while it ran.
    fn withdrawn(&self) -> MutexGuard<'_, BTreeSet<KeyId>> {
        self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The set to verify a token with that names `kid`: the cached one when it has the key, else one refetch
    /// (single flight, with cooldown), else the cached one. A set that will soon be stale is fetched in the background.
    ///
    /// # Errors
    /// [`KeysUnavailable`] when there never was a usable set, or none in the last 24 hours.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn for_kid(self: &Arc<Self>, kid: Option<&KeyId>) -> Result<Arc<KeySet>, KeysUnavailable> {
        let now = self.clock.now();
        let held = self.snapshot.load_full();
        let turn = match &held {
            Some(snapshot) if snapshot.has(kid) => {
                // Fetched later than now: the clock was set back, and says nothing about how fresh it is.
                if snapshot.fetched <= now && now < snapshot.fresh_until {
                    if now >= snapshot.refresh_from {
                        self.refresh_ahead(snapshot);
                    }
                    return Ok(Arc::clone(&snapshot.keys));
                }
                // It has the key and may be stale: whoever finds the turn free asks again, the others go on.
                match self.turn.try_lock() {
                    Ok(turn) => turn,
                    Err(_) if now < snapshot.fetched.plus(LAST_RESORT) => {
                        return Ok(Arc::clone(&snapshot.keys));
                    }
                    Err(_) => self.turn.lock().await,
                }
            }
            Some(_) | None => self.turn.lock().await,
        };
        self.refresh(held.as_ref(), turn).await
    }

    /// The cached set, if any, without waiting. Its pointer identity changes when the set changes.
    #[must_use]
    pub fn cached(&self) -> Option<Arc<KeySet>> {
        self.snapshot
            .load()
            .as_ref()
            .map(|snapshot| Arc::clone(&snapshot.keys))
    }

    /// Fetches without anybody waiting for it, unless somebody is at it.
    fn refresh_ahead(self: &Arc<Self>, held: &Arc<Snapshot>) {
        match self.turn.try_lock() {
            Ok(turn) if !turn.is_cooling(self.clock.now(), COOLDOWN) => {}
            Ok(_) | Err(_) => return,
        }
        let (keys, held) = (Arc::clone(self), Arc::clone(held));
        tokio::spawn(async move {
            // Whoever was faster has done it. What goes wrong is in the log, and the set is still fresh.
            if let Ok(turn) = keys.turn.try_lock() {
                drop(keys.refresh(Some(&held), turn).await);
            }
        });
    }

    /// Fetches unless someone just did, and gives the best set there is.
    async fn refresh(
        &self,
        held: Option<&Arc<Snapshot>>,
        mut turn: OurTurn<'_, Attempts>,
    ) -> Result<Arc<KeySet>, KeysUnavailable> {
        // The time now, not when the turn was asked for: another may have fetched in between.
        let now = self.clock.now();
        let current = self.snapshot.load_full();
        let replaced = match (held, &current) {
            (Some(held), Some(current)) => !Arc::ptr_eq(held, current),
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let cooldown = if current.is_some() {
            COOLDOWN
        } else {
            FIRST_COOLDOWN
        };
        let cooling = turn.is_cooling(now, cooldown);
        let eager = now.as_secs() < self.eager_until.load(Ordering::SeqCst);
        if !replaced && (!cooling || eager) {
            // Noted before the wait: a caller that goes away leaves the cooldown behind.
            turn.last = Some(now);
            "the last fetch was given up".clone_into(&mut turn.trouble);
            match self.fetch().await {
                Ok(fetched) => {
                    turn.trouble.clear();
                    return Ok(self.keep(fetched, now, current.as_deref()));
                }
                Err(trouble) => {
                    tracing::warn!(issuer = %self.issuer, %trouble, "the issuer's keys could not be fetched");
                    turn.trouble = trouble;
                }
            }
        }
        match current {
            Some(current) if now < current.fetched.plus(LAST_RESORT) => Ok(Arc::clone(&current.keys)),
            Some(_) | None => Err(KeysUnavailable {
                issuer: self.issuer.as_str().to_owned(),
                detail: turn.trouble.clone(),
            }),
        }
    }

    /// Puts a fetched set in place. When it says what the old one said, the old one stays: whatever was verified with
    /// it stays verified.
    fn keep(&self, fetched: Fetched, now: UnixTime, old: Option<&Snapshot>) -> Arc<KeySet> {
        let Fetched {
            mut keys,
            text,
            fresh_for,
        } = fetched;
        for skipped in keys.skipped() {
            tracing::debug!(issuer = %self.issuer, index = skipped.index, problem = %skipped.problem, "a key is left out");
        }
        let withdrawn = self.withdrawn();
        keys.remove(&withdrawn);
        let keys = match old {
            Some(old) if same(&old.keys, &keys) => Arc::clone(&old.keys),
            Some(_) | None => Arc::new(keys),
        };
        let snapshot = Snapshot {
            keys: Arc::clone(&keys),
            text,
            fetched: now,
            refresh_from: now
                .plus(fresh_for)
                .minus(Lifetime::from_secs(fresh_for.as_secs() / AHEAD)),
            fresh_until: now.plus(fresh_for),
        };
        self.snapshot.store(Some(Arc::new(snapshot)));
        keys
    }

    async fn fetch(&self) -> Result<Fetched, String> {
        let (text, fresh_for) = match &self.from {
            KeysFrom::Url(url) => self.fetch_from(url).await?,
            KeysFrom::Metadata => self.fetch_from(&self.named_by_metadata().await?).await?,
            KeysFrom::File(path) => (read(path.clone()).await?, FILE_FRESH),
        };
        let keys = KeySet::parse(&text).map_err(|error| {
            if error == jwk::Error::Private {
                tracing::error!(issuer = %self.issuer, "THE ISSUER PUBLISHES A PRIVATE KEY: its key set is refused; its keys must be replaced");
            }
            error.to_string()
        })?;
        // An empty set is what a broken issuer publishes; taking it would lock everyone out.
        if keys.is_empty() {
            Err("it has no usable key".to_owned())
        } else {
            Ok(Fetched {
                keys,
                text,
                fresh_for,
            })
        }
    }

    async fn named_by_metadata(&self) -> Result<Url, String> {
        let metadata = authorization_server_metadata(&self.fetcher, &self.issuer)
            .await
            .map_err(|e| e.to_string())?;
        self.keys_at(&metadata)
    }

    /// Where this metadata says that the keys are.
    pub(super) fn keys_at(
        &self,
        metadata: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Url, String> {
        let url = metadata.get("jwks_uri").and_then(serde_json::Value::as_str);
        let url = url.ok_or_else(|| "its metadata has no text `jwks_uri`".to_owned())?;
        let url = Url::parse(url).map_err(|error| format!("its `jwks_uri` is not a URL: {error}"))?;
        // RFC 8414 §2: keys that come over http are those of whoever is in between. On a developer's machine an issuer is
        // at http itself.
        if self.issuer.as_str().starts_with("https:") && url.scheme() != "https" {
            return Err("its `jwks_uri` is not an https URL".to_owned());
        }
        Ok(url)
    }

    async fn fetch_from(&self, url: &Url) -> Result<(Bytes, Lifetime), String> {
        let request = http::Request::get(url.as_str())
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .body(Bytes::new())
            .map_err(|error| error.to_string())?;
        let limits = Limits {
            body: limits::JWKS_BYTES,
            time: PATIENCE,
        };
        let answer = self
            .fetcher
            .send(request, limits)
            .await
            .map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("`{url}` answered {}", answer.status()));
        }
        let fresh_for = freshness::lifetime(answer.headers());
        Ok((answer.into_body(), fresh_for))
    }
}

impl Snapshot {
    /// Whether a token that names this key can be verified without asking again.
    fn has(&self, kid: Option<&KeyId>) -> bool {
        kid.is_none_or(|kid| self.keys.names(kid))
    }
}

impl std::fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuerKeys")
            .field("issuer", &self.issuer)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// Whether two sets hold the same keys under the same names, in the same order.
fn same(old: &KeySet, new: &KeySet) -> bool {
    let named = |set: &KeySet| {
        set.iter()
            .map(|key| (key.kid().cloned(), *key.thumbprint()))
            .collect::<Vec<_>>()
    };
    named(old) == named(new)
}

async fn read(path: PathBuf) -> Result<Bytes, String> {
    let at = path.display().to_string();
    let text = offload::run(move || read_bounded(&path))
        .await
        .map_err(|lost| lost.to_string())?;
    text.map(Bytes::from)
        .map_err(|error| format!("`{at}` cannot be read: {error}"))
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    // One byte more than allowed, so that the parser sees that it is too much.
    let most = u64::try_from(limits::JWKS_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    std::fs::File::open(path)?.take(most).read_to_end(&mut text)?;
    Ok(text)
}
