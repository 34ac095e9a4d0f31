//! The built-in certification authority: one for all rings of a data folder or database, a ring of its own (`ca`) with
//! one key.
//!
//! It says which server a key belongs to, to whoever chooses to trust it. Tokens are not verified with it: their keys
//! come from the issuer's JWK Set. Its key is always kept under the master key, also where the others are in an HSM.
//!
//! The key has one certificate for each host that a ring's identity names, constrained to it (RFC 5280 §4.2.1.10), so
//! that servers with different names share a CA that may certify nobody else. The record's `chain` holds them all, the
//! newest first; a server's certificates go with the one that permits it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::Use;
use portcullis_core::keys::{
    CertificateFacts, Linted, Profile, Request, State, SubjectKey, authority_permits,
};
use portcullis_core::random::SecureRandom;
use portcullis_core::time::{Lifetime, UnixTime};
use url::{Host, Url};
use x509_parser::extensions::GeneralName;

use super::maker::spki_of;
use super::shelf::{Cause, Changed, KeyPurpose, KeyRecord, Shelf};
use super::signer::{self, CertificateSigner};
use super::uses::Uses;
use super::{Error, MasterKey};

/// The CA's one key.
const NAME: &str = "ca";

/// Certificates begin a little in the past, for clocks that are behind.
pub(super) const BACKDATED: Lifetime = Lifetime::from_minutes(5);

/// A certificate of the CA that ends sooner than this is followed by another: twice as long as the longest that it
/// signs, so that none of them outlives it.
const RENEWED_BEFORE: Lifetime = Lifetime::from_secs(2 * Profile::Leaf(Use::Signature).longest().as_secs());

/// Most certificates of the CA, for a deployment whose name changes again and again. One that went is made again.
const MOST: usize = 16;

/// Longest wait for another process that makes the same keys.
pub(super) const OTHERS: Duration = Duration::from_secs(30);
/// Between two looks whether it has.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// The CA, its key open, and its certificate for one server.
pub(super) struct Authority {
    issuer: rcgen::Issuer<'static, CertificateSigner>,
    certificate: Vec<u8>,
    not_after: UnixTime,
    public: Vec<u8>,
    uses: Arc<AtomicU64>,
}

impl Authority {
    /// Reads the CA, or makes it; and its certificate for the server with this identity, if it has none that lasts.
    pub(super) fn open(
        shelf: &dyn Shelf,
        master: &MasterKey,
        identity: &str,
        now: UnixTime,
        random: &dyn SecureRandom,
        uses: &Uses,
    ) -> Result<Self, Error> {
        let began = Instant::now();
        let (key, certificate) = loop {
            let shelved = shelf.read()?;
            if let Some(record) = find(&shelved.records)
                && let Some(certificate) = present(record, identity, now)
            {
                break (open_key(record, shelf, master)?, certificate.to_vec());
            }
            if let Some(_held) = shelf.lease()? {
                let mut shelved = shelf.read()?;
                let place = shelved
                    .records
                    .iter()
                    .position(|record| record.kid.as_str() == NAME);
                let made = match place.and_then(|place| shelved.records.get_mut(place)) {
                    // Somebody else was faster.
                    Some(record) if present(record, identity, now).is_some() => continue,
                    Some(record) => {
                        let key = open_key(record, shelf, master)?;
                        let name = common_name(record);
                        uses.counter(KeyPurpose::Certificates, &record.kid)
                            .fetch_add(1, Ordering::Relaxed);
                        let certificate = certificate_for(&key, name, identity, now, random)?;
                        let mut chain = vec![certificate.clone()];
                        chain.extend(
                            record
                                .chain
                                .drain(..)
                                .filter(|other| is_kept(other, identity, now)),
                        );
                        chain.truncate(MOST);
                        record.chain = chain;
                        (key, certificate)
                    }
                    None => {
                        let (record, key, certificate) = Self::make(master, identity, now, random)?;
                        shelved.records.push(record);
                        (key, certificate)
                    }
                };
                if let Changed::To(_) = shelf.change(shelved.generation, &shelved.records)? {
                    tracing::info!(
                        place = shelf.place(),
                        identity,
                        "made a certificate of the certification authority"
                    );
                    break made;
                }
            }
            if began.elapsed() > OTHERS {
                return Err(Error::Busy(shelf.place()));
            }
            std::thread::sleep(LOOK);
        };
        let kid = name()?;
        let damaged = |detail: &str| Error::record(&shelf.place(), &kid, detail);
        let facts = CertificateFacts::parse(&certificate).map_err(|error| damaged(&error.to_string()))?;
        let public = rcgen::PublicKeyData::subject_public_key_info(&key);
        let issuer = rcgen::Issuer::from_ca_cert_der(&certificate.as_slice().into(), key)
            .map_err(|_| damaged("its certificate is not that of a CA"))?;
        Ok(Self {
            issuer,
            certificate,
            not_after: facts.not_after,
            public,
            uses: uses.counter(KeyPurpose::Certificates, &kid),
        })
    }

    fn make(
        master: &MasterKey,
        identity: &str,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<(KeyRecord, CertificateSigner, Vec<u8>), Error> {
        let pkcs8 = signer::generate()?;
        let key = CertificateSigner::new(&pkcs8).ok_or(Error::Crypto("make a key"))?;
        let certificate = certificate_for(&key, None, identity, now, random)?;
        let record = KeyRecord {
            kid: name()?,
            purpose: KeyPurpose::Certificates,
            algorithm: SignatureAlgorithm::Es256.into(),
            state: State::Enabled,
            staged: now,
            enabled: Some(now),
            disabled: None,
            deleted: None,
            promote_at: None,
            cause: Cause::Schedule,
            public: rcgen::PublicKeyData::subject_public_key_info(&key),
            chain: vec![certificate.clone()],
            outside_chain: false,
            backend: "file".to_owned(),
            handle: master.seal(&context(), &pkcs8, random)?,
            revoked: None,
        };
        Ok((record, key, certificate))
    }

    /// The chain for a key: its certificate and the CA's.
    pub(super) fn certify(&self, linted: Linted, key: &SubjectKey) -> Result<Vec<Vec<u8>>, Error> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        let own = linted
            .signed_by(key, &self.issuer)
            .map_err(|_| Error::Crypto("sign a certificate"))?;
        Ok(vec![own, self.certificate.clone()])
    }

    /// Until when the CA's certificate is valid; what it signs ends by then.
    pub(super) fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// Whether it should be opened again, for a certificate that lasts longer.
    pub(super) fn is_due(&self, now: UnixTime) -> bool {
        self.not_after < now.plus(RENEWED_BEFORE)
    }

    /// Whether this is a certificate of the CA's key for the server with this identity, the present one or an earlier.
    pub(super) fn is_ours(&self, certificate: &[u8], identity: &str) -> bool {
        spki_of(certificate).as_deref() == Some(&self.public) && is_for(certificate, identity)
    }
}

fn name() -> Result<KeyId, Error> {
    KeyId::parse(NAME).map_err(|_| Error::Crypto("name a key"))
}

fn find(records: &[KeyRecord]) -> Option<&KeyRecord> {
    records.iter().find(|record| record.kid.as_str() == NAME)
}

fn open_key(record: &KeyRecord, shelf: &dyn Shelf, master: &MasterKey) -> Result<CertificateSigner, Error> {
    let damaged = |detail: &str| Error::record(&shelf.place(), &record.kid, detail);
    if record.purpose != KeyPurpose::Certificates {
        return Err(damaged("its key is not for certificates"));
    }
    let pkcs8 = master
        .open_sealed(&context(), &record.handle)?
        .ok_or_else(|| Error::OtherMasterKey {
            place: format!("the key `{NAME}` in {}", shelf.place()),
        })?;
    let key = CertificateSigner::new(&pkcs8).ok_or_else(|| damaged("its key is none"))?;
    if rcgen::PublicKeyData::subject_public_key_info(&key) != record.public {
        return Err(damaged("its private key is that of another key"));
    }
    Ok(key)
}

/// The CA's certificate for this server, if there is one that lasts long enough.
fn present<'a>(record: &'a KeyRecord, identity: &str, now: UnixTime) -> Option<&'a [u8]> {
    record.chain.iter().map(Vec::as_slice).find(|certificate| {
        spki_of(certificate).is_some_and(|public| public == record.public)
            && is_for(certificate, identity)
            && lasts_until(certificate).is_some_and(|end| end >= now.plus(RENEWED_BEFORE))
    })
}

/// A certificate of the CA for the server with this identity. All of them have one subject: they are of one CA.
fn certificate_for(
    key: &CertificateSigner,
    name: Option<String>,
    identity: &str,
    now: UnixTime,
    random: &dyn SecureRandom,
) -> Result<Vec<u8>, Error> {
    let mut serial = [0; 16];
    random
        .fill(&mut serial)
        .map_err(|_| Error::Crypto("make randomness"))?;
    let request = Request {
        profile: Profile::Authority,
        name: name.unwrap_or_else(|| format!("Portcullis CA {}", hex(&serial[..4]))),
        identity: identity.to_owned(),
        serial,
        not_before: now.minus(BACKDATED),
        lifetime: Profile::Authority.longest(),
    };
    // A CA without constraints is never made, and one for no server is of no use.
    wanted(identity).ok_or(portcullis_core::keys::Flaw::Identity)?;
    request
        .lint()?
        .self_signed(key)
        .map_err(|_| Error::Crypto("sign a certificate"))
}

/// Whether another certificate of the CA stays when one for `identity` comes: one that is for another server, and has
/// not ended. One without constraints, as they once were made, goes.
fn is_kept(certificate: &[u8], identity: &str, now: UnixTime) -> bool {
    permitted(certificate).is_some()
        && !is_for(certificate, identity)
        && lasts_until(certificate).is_some_and(|end| now < end)
}

/// Whether this CA certificate is for the server with this identity, and for no other host.
fn is_for(certificate: &[u8], identity: &str) -> bool {
    authority_permits(certificate, identity) == Some(true)
        && wanted(identity).is_some_and(|host| permitted(certificate) == Some(host))
}

/// The one name that a CA certificate permits: a host for URIs, or an IP address and its mask.
fn permitted(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let constraints = parsed.name_constraints().ok()??;
    let [only] = constraints.value.permitted_subtrees.as_deref()? else {
        return None;
    };
    if let GeneralName::URI(host) = &only.base {
        Some(host.as_bytes().to_vec())
    } else if let GeneralName::IPAddress(address) = &only.base {
        Some(address.to_vec())
    } else {
        None
    }
}

/// What [`permitted`] is of a CA certificate for this identity.
fn wanted(identity: &str) -> Option<Vec<u8>> {
    let address = |octets: &[u8]| [octets, &vec![0xff; octets.len()]].concat();
    Some(match Url::parse(identity).ok()?.host()? {
        Host::Domain(host) => host.as_bytes().to_vec(),
        Host::Ipv4(ip) => address(&ip.octets()),
        Host::Ipv6(ip) => address(&ip.octets()),
    })
}

fn lasts_until(certificate: &[u8]) -> Option<UnixTime> {
    CertificateFacts::parse(certificate)
        .ok()
        .map(|facts| facts.not_after)
}

/// The name that the CA has been given.
fn common_name(record: &KeyRecord) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(record.chain.first()?).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

/// What the ciphertext of the CA's key is bound to, as it always was.
fn context() -> Vec<u8> {
    format!("portcullis key\0{}\0{NAME}", KeyPurpose::Certificates.name()).into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
