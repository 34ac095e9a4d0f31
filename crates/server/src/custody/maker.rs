//! What a ring's keys are made with: the place for private keys, the CA, the server's name.

use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::KeyManagement;
use portcullis_core::jose::jwk::{KeyAlgorithm, PublicJwk, PublicKey, Use};
use portcullis_core::keys::{
    Birth, JwksDocument, KeyView, Linted, Profile, Purpose as _, Request, RotationPolicy, Sealing, Signing,
    State, SubjectKey,
};
use portcullis_core::random::SecureRandom;
use portcullis_core::time::{Lifetime, UnixTime};

use super::authority::{Authority, BACKDATED};
use super::backend::{KeyBackend, NewKey};
use super::shelf::{Cause, KeyPurpose, KeyRecord, Shelf};
use super::uses::Uses;
use super::{Error, Ledger, MasterKey};

/// Everything that a ring needs.
#[derive(Clone, Debug)]
pub struct RingSettings {
    /// `authority` or `gateway`: for messages, records and metrics.
    pub role: String,
    /// The server's public URL, as it is written into certificates.
    pub identity: String,
    /// Where the ring's records are.
    pub shelf: Arc<dyn Shelf>,
    /// Where the CA's are.
    pub ca: Arc<dyn Shelf>,
    /// What the CA's key is encrypted under.
    pub master: Arc<MasterKey>,
    /// Where private keys are: the first makes new ones, the others open those that they made before.
    pub backends: Vec<Arc<dyn KeyBackend>>,
    /// The algorithm of new signing keys.
    pub signing: SignatureAlgorithm,
    /// The algorithm of new encryption keys.
    pub encryption: KeyManagement,
    /// When keys change.
    pub policy: RotationPolicy,
    /// What is known of the ring beside its shelf.
    pub ledger: Arc<Ledger>,
}

/// Makes and certifies keys.
pub(super) struct Maker {
    pub(super) settings: RingSettings,
    authority: ArcSwap<Authority>,
    uses: Uses,
}

impl Maker {
    /// Opens the CA, or makes it.
    pub(super) fn open(
        settings: RingSettings,
        now: UnixTime,
        random: &dyn SecureRandom,
        uses: &Uses,
    ) -> Result<Self, Error> {
        let authority = open_authority(&settings, now, random, uses)?;
        Ok(Self {
            settings,
            authority: ArcSwap::from_pointee(authority),
            uses: uses.clone(),
        })
    }

    /// The CA, with a certificate that lasts: a server may run for longer than the one that it began with.
    fn authority(&self, now: UnixTime, random: &dyn SecureRandom) -> Result<Arc<Authority>, Error> {
        let present = self.authority.load_full();
        if !present.is_due(now) {
            return Ok(present);
        }
        let renewed = Arc::new(open_authority(&self.settings, now, random, &self.uses)?);
        self.authority.store(Arc::clone(&renewed));
        Ok(renewed)
    }

    pub(super) fn shelf(&self) -> &dyn Shelf {
        &*self.settings.shelf
    }

    pub(super) fn place(&self) -> String {
        self.settings.shelf.place()
    }

    /// The place that has this key.
    pub(super) fn backend_of(&self, record: &KeyRecord) -> Result<&Arc<dyn KeyBackend>, Error> {
        self.settings
            .backends
            .iter()
            .find(|backend| backend.name() == record.backend)
            .ok_or_else(|| {
                let detail = format!(
                    "its private key is in custody `{}`, which is not configured",
                    record.backend
                );
                Error::record(&self.place(), &record.kid, &detail)
            })
    }

    fn making(&self) -> Result<&Arc<dyn KeyBackend>, Error> {
        let none = || Error::Refused("there is no place to make private keys in".to_owned());
        self.settings.backends.first().ok_or_else(none)
    }

    /// Makes a key. Slow where an HSM does it.
    pub(super) fn make(
        &self,
        purpose: Use,
        birth: Birth,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<KeyRecord, Error> {
        let backend = self.making()?;
        let label = format!("portcullis {} {}", self.settings.role, purpose.name());
        let (made, algorithm) = match purpose {
            Use::Signature => (
                backend.make_signing(self.settings.signing, &label),
                self.settings.signing.into(),
            ),
            Use::Encryption => (
                backend.make_sealing(self.settings.encryption, &label),
                self.settings.encryption.into(),
            ),
        };
        let made = made.map_err(|source| Error::Backend {
            kid: format!("new, {}", KeyPurpose::from(purpose).name()),
            source,
        })?;
        self.record(made, algorithm, birth, now, random)
    }

    /// Takes in a private key from outside. It is staged.
    pub(super) fn import(
        &self,
        algorithm: KeyAlgorithm,
        pkcs8: &[u8],
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<KeyRecord, Error> {
        let backend = self.making()?;
        let label = format!("portcullis {} {}", self.settings.role, algorithm.purpose().name());
        let made = match algorithm {
            KeyAlgorithm::Signature(algorithm) => backend.import_signing(algorithm, pkcs8, &label),
            KeyAlgorithm::Encryption(algorithm) => backend.import_sealing(algorithm, pkcs8, &label),
        };
        let made = made.map_err(|source| Error::Backend {
            kid: "imported".to_owned(),
            source,
        })?;
        self.record(made, algorithm, Birth::Staged, now, random)
    }

    fn record(
        &self,
        made: NewKey,
        algorithm: KeyAlgorithm,
        birth: Birth,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<KeyRecord, Error> {
        let (year, month) = month(now)?;
        let thumbprint = made.public.thumbprint();
        let kid = match algorithm.purpose() {
            Use::Signature => Signing::kid(year, month, &thumbprint),
            Use::Encryption => Sealing::kid(year, month, &thumbprint),
        }
        .map_err(|_| Error::Crypto("name a key"))?;
        let enabled = birth == Birth::Enabled;
        let public = made.public.to_spki();
        let validity = self.settings.policy.timing().validity;
        let chain = self.certify(
            algorithm.purpose(),
            &kid,
            &made.public,
            now,
            now.plus(validity),
            random,
        );
        let chain = match chain {
            Ok(chain) => chain,
            Err(error) => {
                self.forget_made(&made.handle);
                return Err(error);
            }
        };
        Ok(KeyRecord {
            purpose: algorithm.purpose().into(),
            chain,
            kid,
            algorithm,
            state: if enabled { State::Enabled } else { State::Staged },
            staged: now,
            enabled: enabled.then_some(now),
            disabled: None,
            deleted: None,
            promote_at: (birth == Birth::Hastened).then_some(now),
            cause: Cause::Schedule,
            public,
            outside_chain: false,
            backend: self.making()?.name().to_owned(),
            handle: made.handle,
            revoked: None,
        })
    }

    /// A certificate of the built-in CA and the CA's own, valid from a little before now: so much is added to what
    /// was asked for, and the CA's own end is the latest.
    fn certify(
        &self,
        purpose: Use,
        kid: &KeyId,
        key: &PublicKey,
        now: UnixTime,
        not_after: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let authority = self.authority(now, random)?;
        let linted = self.request(purpose, kid, now, not_after.min(authority.not_after()), random)?;
        let key = SubjectKey::new(key).ok_or_else(|| {
            Error::Refused(format!(
                "the built-in CA cannot certify key `{kid}`: its algorithm has no certificates here"
            ))
        })?;
        authority.certify(linted, &key)
    }

    /// What a certificate for this key says: to be signed by the built-in CA, or asked for elsewhere.
    pub(super) fn request(
        &self,
        purpose: Use,
        kid: &KeyId,
        now: UnixTime,
        not_after: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<Linted, Error> {
        let mut serial = [0; 16];
        random
            .fill(&mut serial)
            .map_err(|_| Error::Crypto("make randomness"))?;
        let profile = Profile::Leaf(purpose);
        let not_before = now.minus(BACKDATED);
        let seconds = not_after.as_secs().saturating_sub(not_before.as_secs());
        // A key whose certificate was to last longer was made when the clock was wrong.
        let lifetime = Lifetime::from_secs(u64::try_from(seconds).unwrap_or(0)).min(profile.longest());
        let request = Request {
            profile,
            name: kid.as_str().to_owned(),
            identity: self.settings.identity.clone(),
            serial,
            not_before,
            lifetime,
        };
        Ok(request.lint()?)
    }

    /// Whether the certificate is for this server, and if it is of our CA, under a certificate of that which permits
    /// this server alone and lasts as long.
    pub(super) fn is_current(&self, record: &KeyRecord) -> bool {
        if record.outside_chain {
            return true;
        }
        let identity = self.settings.identity.as_str();
        let [_, above] = record.chain.as_slice() else {
            return false;
        };
        let named = record.certificate().is_ok_and(|facts| {
            facts.identities == [identity] && record.not_after().is_ok_and(|end| end == facts.not_after)
        });
        named && self.authority.load().is_ours(above, identity)
    }

    /// A new certificate for the same key, which does not live longer by it: the server's name changed, or the CA.
    pub(super) fn recertify(
        &self,
        record: &mut KeyRecord,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<(), Error> {
        let facts = record
            .certificate()
            .map_err(|detail| Error::record(&self.place(), &record.kid, &detail))?;
        let Some(purpose) = record.purpose.jwk_use() else {
            return Ok(());
        };
        if facts.not_after <= now {
            return Ok(());
        }
        let key = checked(record, &self.place())?;
        record.chain = self.certify(purpose, &record.kid, &key, now, facts.not_after, random)?;
        tracing::info!(kid = %record.kid, identity = self.settings.identity, "renewed the certificate");
        Ok(())
    }

    /// What the planner sees.
    pub(super) fn views(&self, records: &[KeyRecord]) -> Result<Vec<KeyView>, Error> {
        views_of(records, &self.place())
    }

    /// Destroys a private key that no record came to speak of.
    pub(super) fn forget_made(&self, handle: &[u8]) {
        if let Ok(backend) = self.making()
            && let Err(error) = backend.forget(handle)
        {
            tracing::warn!(%error, "a private key that is not needed could not be destroyed");
        }
    }
}

/// What the planner sees of the keys that are there.
pub(super) fn views_of(records: &[KeyRecord], place: &str) -> Result<Vec<KeyView>, Error> {
    let mut views = Vec::new();
    for record in records.iter().filter(|record| record.state != State::Deleted) {
        let purpose = record.purpose.jwk_use().ok_or_else(|| {
            let detail = "a key for certificates does not belong here";
            Error::record(place, &record.kid, detail)
        })?;
        views.push(KeyView {
            kid: record.kid.clone(),
            purpose,
            state: record.state,
            staged: record.staged,
            enabled: record.enabled,
            disabled: record.disabled,
            not_after: record
                .not_after()
                .map_err(|detail| Error::record(place, &record.kid, &detail))?,
            hastened: record.promote_at.is_some(),
        });
    }
    Ok(views)
}

/// What is published at this moment.
pub(super) fn jwks_of(records: &[KeyRecord], place: &str, now: UnixTime) -> Result<JwksDocument, Error> {
    let mut published = Vec::new();
    for view in views_of(records, place)?
        .iter()
        .filter(|view| view.is_published(now))
    {
        for record in records.iter().filter(|record| record.kid == view.kid) {
            published.push(PublicJwk {
                key: checked(record, place)?,
                algorithm: record.algorithm,
                kid: record.kid.clone(),
                chain: record.chain.clone(),
            });
        }
    }
    Ok(JwksDocument::new(published))
}

/// Checks that name, certificate and public key are of one key.
pub(super) fn checked(record: &KeyRecord, place: &str) -> Result<PublicKey, Error> {
    let damaged = |detail: &str| Error::record(place, &record.kid, detail);
    let own = record
        .chain
        .first()
        .and_then(|own| spki_of(own))
        .ok_or_else(|| damaged("it has no certificate"))?;
    let key = PublicKey::from_spki(&record.public).ok_or_else(|| damaged("its public key is not usable"))?;
    // An outside CA may spell the key in another way.
    if PublicKey::from_spki(&own).as_ref() != Some(&key) {
        return Err(damaged("its certificate is for another key"));
    }
    if !record.kid.as_str().ends_with(&key.thumbprint().short()) {
        return Err(damaged("its name is that of another key"));
    }
    Ok(key)
}

fn open_authority(
    settings: &RingSettings,
    now: UnixTime,
    random: &dyn SecureRandom,
    uses: &Uses,
) -> Result<Authority, Error> {
    let identity = settings.identity.as_str();
    Authority::open(&*settings.ca, &settings.master, identity, now, random, uses)
}

/// The SubjectPublicKeyInfo of a certificate.
pub(super) fn spki_of(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.public_key().raw.to_vec())
}

fn month(now: UnixTime) -> Result<(i16, i8), Error> {
    let now = jiff::Timestamp::from_second(now.as_secs()).map_err(|_| Error::Crypto("read the clock"))?;
    let today = now.to_zoned(jiff::tz::TimeZone::UTC);
    Ok((today.year(), today.month()))
}
