//! Where private keys are: files of ours, an HSM or TPM behind PKCS #11, or a key service of somebody else.
//!
//! Takes: a purpose and an algorithm, then the handle that it gave. Gives: [`TokenSigner`]s and [`PayloadOpener`]s.
//! May use: the crypto library, PKCS #11 modules, `portcullis_net::fetch`. Never: gives a private key out, uses one for
//! two purposes, waits without an end.
//!
//! Every call here may block, for seconds where a key is made: call it on a thread for blocking work
//! (`portcullis_net::offload`). Signing and opening block too, unless [`TokenSigner::is_quick`] says otherwise.

pub(super) mod der;
mod error;
mod external;
mod file;
mod pkcs11;
mod secret;
mod trial;

use std::fmt::Debug;
use std::sync::Arc;

use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{KeyManagement, PayloadOpener};
use portcullis_core::jose::jwk::PublicKey;
use portcullis_core::jose::jws::TokenSigner;
use portcullis_core::random::SecureRandom;
use portcullis_net::clock::Clock;

use super::MasterKey;

pub use error::BackendError;
pub use external::{AwsCredentials, AwsKms, AwsKmsSettings};
pub use file::FileBackend;
pub use pkcs11::{Pkcs11Backend, Pkcs11Settings};
pub use secret::SecretSource;

/// A place for private keys.
///
/// `handle` is what the shelf keeps of a key. It is no secret outside of [`FileBackend`], where it is the private key
/// encrypted under the master key.
pub trait KeyBackend: Send + Sync + Debug {
    /// `file`, `pkcs11` or `external`.
    fn name(&self) -> &'static str;

    /// Makes a key that can sign and nothing else. `label` is for people who look into the HSM.
    ///
    /// # Errors
    /// [`BackendError::Refused`] where this place cannot do the algorithm; any other.
    fn make_signing(&self, algorithm: SignatureAlgorithm, label: &str) -> Result<NewKey, BackendError>;

    /// Makes a key that can open what was encrypted to it and nothing else.
    ///
    /// # Errors
    /// [`BackendError::Refused`] where this place cannot do the algorithm; any other.
    fn make_sealing(&self, algorithm: KeyManagement, label: &str) -> Result<NewKey, BackendError>;

    /// The key that signs. It is looked for now, so that a key that is gone is found out before a token is wanted.
    ///
    /// # Errors
    /// [`BackendError::Missing`] for a key that is gone, [`BackendError::Damaged`] for one made for another purpose or
    /// another algorithm; any other.
    fn signer(
        &self,
        kid: &KeyId,
        algorithm: SignatureAlgorithm,
        handle: &[u8],
    ) -> Result<Arc<dyn TokenSigner>, BackendError>;

    /// The key that opens. It is looked for now.
    ///
    /// # Errors
    /// As [`Self::signer`].
    fn opener(
        &self,
        kid: &KeyId,
        algorithm: KeyManagement,
        handle: &[u8],
    ) -> Result<Arc<dyn PayloadOpener>, BackendError>;

    /// Destroys the private key. A key that is not there any more is forgotten already.
    ///
    /// # Errors
    /// [`BackendError`]; the key is then still there.
    fn forget(&self, handle: &[u8]) -> Result<(), BackendError>;

    /// Takes in a signing key (PKCS#8) that was made elsewhere.
    ///
    /// # Errors
    /// [`BackendError::Refused`] where private keys never come in, and by default.
    fn import_signing(
        &self,
        _algorithm: SignatureAlgorithm,
        _pkcs8: &[u8],
        _label: &str,
    ) -> Result<NewKey, BackendError> {
        Err(self.no_import())
    }

    /// Takes in an encryption key (PKCS#8) that was made elsewhere.
    ///
    /// # Errors
    /// As [`Self::import_signing`].
    fn import_sealing(
        &self,
        _algorithm: KeyManagement,
        _pkcs8: &[u8],
        _label: &str,
    ) -> Result<NewKey, BackendError> {
        Err(self.no_import())
    }

    #[doc(hidden)]
    fn no_import(&self) -> BackendError {
        BackendError::Refused(format!(
            "custody `{}` takes in no private key: one that was outside is not safe by being moved inside; let it make \
             a new one",
            self.name()
        ))
    }
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// How the backend finds it again.
    pub handle: Vec<u8>,
    /// Its public half.
    pub public: PublicKey,
}

/// What `[keys]` says of the place for private keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Custody {
    /// In files, encrypted under the master key.
    File,
    /// In an HSM or TPM.
    Pkcs11(Pkcs11Settings),
    /// At AWS KMS, or what speaks its interface.
    AwsKms(AwsKmsSettings),
}

/// The place that the configuration names. Loads modules and reads credentials, so that what is wrong with them is said
/// at the start; a place that does not answer now is no error.
///
/// # Errors
/// [`BackendError`].
pub fn open(
    custody: &Custody,
    master: Arc<MasterKey>,
    random: Arc<dyn SecureRandom>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn KeyBackend>, BackendError> {
    Ok(match custody {
        Custody::File => Arc::new(FileBackend::new(master, random)),
        Custody::Pkcs11(settings) => Arc::new(Pkcs11Backend::open(settings.clone(), random)?),
        Custody::AwsKms(settings) => Arc::new(AwsKms::open(settings.clone(), clock)?),
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
