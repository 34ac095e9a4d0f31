//! The keys of one role.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwk::{PublicJwk, PublicKey, Use};
use portcullis_core::jose::jws::TokenSigner;
use portcullis_core::keys::{
    CertificateFacts, JwksDocument, Profile, Purpose, Request, Sealing, Signing, State,
};
use portcullis_core::random::SecureRandom;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::Clock;

use super::authority::{Authority, BACKDATED};
use super::list::KeyDescription;
use super::record::{KeyPurpose, Record};
use super::signer::{self, Es256Signer, PublicPoint};
use super::{Error, MasterKey, files};

/// A certificate with less than this to live is renewed when the keyring opens.
const RENEW_BEFORE: Lifetime = Lifetime::from_days(30);

/// The keys of one role (authority or gateway): one that signs, one that others encrypt to, each with a certificate.
pub struct Keyring {
    signer: Arc<Es256Signer>,
    jwks: Arc<JwksDocument>,
    descriptions: Vec<KeyDescription>,
    made: Vec<KeyId>,
}

/// What opening a keyring works with.
struct Workshop<'a> {
    folder: &'a Path,
    master: &'a MasterKey,
    identity: &'a str,
    authority: Authority,
    now: UnixTime,
    random: &'a dyn SecureRandom,
}

impl Keyring {
    /// Opens the keyring in `dir`, making the folder and what keys are missing. The CA is in `ca` beside `dir`. `identity`
    /// is the server's public URL, as it is written into certificates. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error`]: the disk, a damaged file, another master key. Nothing is made in place of what cannot be read.
    pub fn open(
        dir: &Path,
        master: &MasterKey,
        identity: &str,
        clock: &dyn Clock,
        random: &dyn SecureRandom,
    ) -> Result<Arc<Self>, Error> {
        files::private_folder(dir)?;
        let now = clock.now();
        let beside = dir
            .parent()
            .map_or_else(|| PathBuf::from("ca"), |keys| keys.join("ca"));
        let authority = Authority::open(&beside, master, now, random)?;
        let workshop = Workshop {
            folder: dir,
            master,
            identity,
            authority,
            now,
            random,
        };
        let _held = files::lock(dir)?;
        files::remove_unfinished(dir)?;
        let mut records = Record::read_all(dir)?;
        let known: Vec<KeyId> = records.iter().map(|record| record.kid.clone()).collect();
        workshop.complete::<Signing>(&mut records)?;
        workshop.complete::<Sealing>(&mut records)?;
        let new = records
            .iter()
            .map(|record| &record.kid)
            .filter(|kid| !known.contains(kid));
        let made = new.cloned().collect();
        records.sort_by(|a, b| a.kid.cmp(&b.kid));
        workshop.assemble(&records, made)
    }

    /// Signs tokens with the enabled signing key.
    #[must_use]
    pub fn signer(&self) -> Arc<dyn TokenSigner> {
        Arc::<Es256Signer>::clone(&self.signer)
    }

    /// The published keys: to sign and to encrypt to, with their certificates.
    #[must_use]
    pub fn jwks(&self) -> Arc<JwksDocument> {
        Arc::clone(&self.jwks)
    }

    /// The keys that were not there when the keyring was opened. To be put on record.
    #[must_use]
    pub fn made(&self) -> &[KeyId] {
        &self.made
    }

    /// All keys, for people.
    #[must_use]
    pub fn describe(&self) -> Vec<KeyDescription> {
        self.descriptions.clone()
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("keys", &self.descriptions)
            .finish_non_exhaustive()
    }
}

impl Workshop<'_> {
    /// Makes sure that there is one enabled key of this purpose, and that its certificate is current.
    fn complete<P: Purpose>(&self, records: &mut Vec<Record>) -> Result<(), Error> {
        let purpose = key_purpose(P::USE);
        let enabled = |record: &&mut Record| record.purpose == purpose && record.state == State::Enabled;
        let Some(record) = records.iter_mut().find(enabled) else {
            records.push(self.make::<P>()?);
            return Ok(());
        };
        let path = record.path(self.folder);
        let facts = record.certificate(&path)?;
        if self.is_current(record, &facts) {
            return Ok(());
        }
        let point = self.check(record, &facts)?;
        record.chain = self.certify::<P>(record.kid.as_str(), &point)?;
        record.write(self.folder, self.random)?;
        tracing::info!(kid = %record.kid, identity = self.identity, "renewed the certificate");
        Ok(())
    }

    /// A certificate for this server, of this CA, that does not end soon.
    fn is_current(&self, record: &Record, facts: &CertificateFacts) -> bool {
        facts.identities == [self.identity]
            && facts.not_after > self.now.plus(RENEW_BEFORE)
            && record
                .chain
                .get(1)
                .is_some_and(|above| above == self.authority.certificate())
    }

    fn make<P: Purpose>(&self) -> Result<Record, Error> {
        let (pkcs8, point) = signer::generate()?;
        let public = PublicKey::from_uncompressed(point.as_bytes()).ok_or(Error::Crypto("make a key"))?;
        let (year, month) = self.month()?;
        let kid = P::kid(year, month, &public.thumbprint()).map_err(|_| Error::Crypto("name a key"))?;
        let record = Record {
            purpose: key_purpose(P::USE),
            chain: self.certify::<P>(kid.as_str(), &point)?,
            kid,
            state: State::Enabled,
            created: self.now,
            sealed: Vec::new(),
        }
        .seal(&pkcs8, self.master, self.random)?;
        record.write(self.folder, self.random)?;
        tracing::info!(kid = %record.kid, purpose = P::NAME, "made a key");
        Ok(record)
    }

    fn certify<P: Purpose>(&self, name: &str, point: &PublicPoint) -> Result<Vec<Vec<u8>>, Error> {
        let mut serial = [0; 16];
        self.random
            .fill(&mut serial)
            .map_err(|_| Error::Crypto("make randomness"))?;
        let profile = Profile::Leaf(P::USE);
        let request = Request {
            profile,
            name: name.to_owned(),
            identity: self.identity.to_owned(),
            serial,
            not_before: self.now.minus(BACKDATED),
            lifetime: profile.longest(),
        };
        self.authority.certify(request.lint()?, point)
    }

    /// Opens the private key and makes sure that it is the one that name and certificate speak of.
    fn check(&self, record: &Record, facts: &CertificateFacts) -> Result<PublicPoint, Error> {
        let damaged = |detail: &str| Error::Damaged {
            path: record.path(self.folder),
            detail: detail.to_owned(),
        };
        let pkcs8 = record.open(self.folder, self.master)?;
        let point = PublicPoint::of(&pkcs8).ok_or_else(|| damaged("its private key is none"))?;
        if facts.public_key != point.as_bytes() {
            return Err(damaged("its certificate is for another key"));
        }
        let public = PublicKey::from_uncompressed(point.as_bytes())
            .ok_or_else(|| damaged("its public key is none"))?;
        if !record.kid.as_str().ends_with(&public.thumbprint().short()) {
            return Err(damaged("its name is that of another key"));
        }
        Ok(point)
    }

    fn assemble(&self, records: &[Record], made: Vec<KeyId>) -> Result<Arc<Keyring>, Error> {
        let mut signer = None;
        let mut published = Vec::new();
        let mut descriptions = Vec::new();
        for record in records {
            let path = record.path(self.folder);
            let damaged = |detail: &str| Error::Damaged {
                path: path.clone(),
                detail: detail.to_owned(),
            };
            let purpose = match record.purpose {
                KeyPurpose::Signing => Use::Signature,
                KeyPurpose::Encryption => Use::Encryption,
                KeyPurpose::Certificates => {
                    return Err(damaged("a key for certificates does not belong here"));
                }
            };
            let facts = record.certificate(&path)?;
            descriptions.push(KeyDescription::new(record, &facts, path.clone()));
            if !record.state.is_published() {
                continue;
            }
            let point = self.check(record, &facts)?;
            let key = PublicKey::from_uncompressed(point.as_bytes())
                .ok_or_else(|| damaged("its public key is none"))?;
            published.push(PublicJwk {
                key,
                purpose,
                kid: record.kid.clone(),
                chain: record.chain.clone(),
            });
            if purpose == Use::Signature && record.state == State::Enabled {
                if signer.is_some() {
                    return Err(damaged("another signing key is enabled too"));
                }
                let pkcs8 = record.open(self.folder, self.master)?;
                signer = Es256Signer::new(record.kid.clone(), &pkcs8);
            }
        }
        Ok(Arc::new(Keyring {
            signer: Arc::new(signer.ok_or(Error::Crypto("find the signing key"))?),
            jwks: Arc::new(JwksDocument::new(published)),
            descriptions,
            made,
        }))
    }

    fn month(&self) -> Result<(i16, i8), Error> {
        let now =
            jiff::Timestamp::from_second(self.now.as_secs()).map_err(|_| Error::Crypto("read the clock"))?;
        let today = now.to_zoned(jiff::tz::TimeZone::UTC);
        Ok((today.year(), today.month()))
    }
}

fn key_purpose(purpose: Use) -> KeyPurpose {
    match purpose {
        Use::Signature => KeyPurpose::Signing,
        Use::Encryption => KeyPurpose::Encryption,
    }
}
