//! The built-in certification authority: one for all keyrings of a data folder, in the folder `ca` beside them.
//!
//! It says which server a key belongs to, to whoever chooses to trust it. Tokens are not verified with it: their keys
//! come from the issuer's JWK Set.

use std::path::Path;

use portcullis_core::ids::KeyId;
use portcullis_core::keys::{Linted, Profile, Request, State};
use portcullis_core::random::SecureRandom;
use portcullis_core::time::{Lifetime, UnixTime};

use super::record::{KeyPurpose, Record};
use super::signer::{self, CertificateSigner, PublicPoint};
use super::{Error, MasterKey, files};

/// The CA's one key.
const NAME: &str = "ca";

/// Certificates begin a little in the past, for clocks that are behind.
pub(super) const BACKDATED: Lifetime = Lifetime::from_minutes(5);

/// The CA, its key open.
pub(super) struct Authority {
    issuer: rcgen::Issuer<'static, CertificateSigner>,
    certificate: Vec<u8>,
}

impl Authority {
    /// Reads the CA, or makes it.
    pub(super) fn open(
        folder: &Path,
        master: &MasterKey,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<Self, Error> {
        files::private_folder(folder)?;
        let _held = files::lock(folder)?;
        files::remove_unfinished(folder)?;
        let existing = Record::read_all(folder)?
            .into_iter()
            .find(|record| record.kid.as_str() == NAME);
        let record = match existing {
            Some(record) => record,
            None => Self::make(folder, master, now, random)?,
        };
        let path = record.path(folder);
        let damaged = |detail: &str| Error::Damaged {
            path: path.clone(),
            detail: detail.to_owned(),
        };
        if record.purpose != KeyPurpose::Certificates {
            return Err(damaged("its key is not for certificates"));
        }
        let key = CertificateSigner::new(&record.open(folder, master)?)
            .ok_or_else(|| damaged("its key is none"))?;
        let certificate = record
            .chain
            .first()
            .cloned()
            .ok_or_else(|| damaged("it has no certificate"))?;
        let issuer = rcgen::Issuer::from_ca_cert_der(&certificate.as_slice().into(), key)
            .map_err(|_| damaged("its certificate is not that of a CA"))?;
        Ok(Self { issuer, certificate })
    }

    fn make(
        folder: &Path,
        master: &MasterKey,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<Record, Error> {
        let (pkcs8, _) = signer::generate()?;
        let key = CertificateSigner::new(&pkcs8).ok_or(Error::Crypto("make a key"))?;
        let mut serial = [0; 16];
        random
            .fill(&mut serial)
            .map_err(|_| Error::Crypto("make randomness"))?;
        let name = format!("Portcullis CA {}", hex(&serial[..4]));
        let request = Request {
            profile: Profile::Authority,
            name,
            identity: String::new(),
            serial,
            not_before: now.minus(BACKDATED),
            lifetime: Profile::Authority.longest(),
        };
        let certificate = request
            .lint()?
            .self_signed(&key)
            .map_err(|_| Error::Crypto("sign a certificate"))?;
        let record = Record {
            purpose: KeyPurpose::Certificates,
            kid: KeyId::parse(NAME).map_err(|_| Error::Crypto("name a key"))?,
            state: State::Enabled,
            created: now,
            chain: vec![certificate],
            sealed: Vec::new(),
        }
        .seal(&pkcs8, master, random)?;
        record.write(folder, random)?;
        tracing::info!(folder = %folder.display(), "made the certification authority");
        Ok(record)
    }

    /// The chain for a key: its certificate and the CA's.
    pub(super) fn certify(&self, linted: Linted, key: &PublicPoint) -> Result<Vec<Vec<u8>>, Error> {
        let own = linted
            .signed_by(key, &self.issuer)
            .map_err(|_| Error::Crypto("sign a certificate"))?;
        Ok(vec![own, self.certificate.clone()])
    }

    /// The CA's own certificate in DER.
    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
