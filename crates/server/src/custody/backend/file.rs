//! Private keys of ours: PKCS#8, encrypted under the master key. The encrypted key is the handle.

use std::sync::Arc;

use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{KeyManagement, PayloadOpener};
use portcullis_core::jose::jwk::{DecryptionKey, DecryptionKind, PublicKey, SigningKey, Thumbprint, Use};
use portcullis_core::jose::jws::TokenSigner;
use portcullis_core::random::SecureRandom;
use zeroize::Zeroizing;

use super::{BackendError, KeyBackend, NewKey, trial};
use crate::custody::{Error, MasterKey};

/// How a handle begins, before the thumbprint of its key. The first version had neither, and was bound to the `kid`.
const MAGIC: &[u8] = b"portcullis-key-2\0";

/// Keys in files, or wherever the shelf keeps handles.
pub struct FileBackend {
    master: Arc<MasterKey>,
    random: Arc<dyn SecureRandom>,
}

impl FileBackend {
    /// Under this master key.
    #[must_use]
    pub fn new(master: Arc<MasterKey>, random: Arc<dyn SecureRandom>) -> Self {
        Self { master, random }
    }

    fn seal(&self, purpose: Use, public: &PublicKey, pkcs8: &[u8]) -> Result<NewKey, BackendError> {
        let print = public.thumbprint();
        let sealed = self
            .master
            .seal(&context(purpose, &print), pkcs8, &*self.random)
            .map_err(|_| BackendError::Crypto("encrypt a private key"))?;
        Ok(NewKey {
            handle: [MAGIC, print.to_string().as_bytes(), b"\0", &sealed].concat(),
            public: public.clone(),
        })
    }

    /// The private key, bound to its purpose: a signing key does not open as another.
    fn open(&self, purpose: Use, kid: &KeyId, handle: &[u8]) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let (context, sealed) = match split(handle) {
            Some((print, sealed)) => (context_of(purpose, print), sealed),
            None => (first_context(purpose, kid), handle),
        };
        match self.master.open_sealed(&context, sealed) {
            Ok(Some(pkcs8)) => Ok(pkcs8),
            Ok(None) => Err(BackendError::OtherMasterKey),
            Err(Error::Crypto(what)) => Err(BackendError::Crypto(what)),
            Err(other) => Err(BackendError::Damaged(other.to_string())),
        }
    }
}

impl KeyBackend for FileBackend {
    fn name(&self) -> &'static str {
        "file"
    }

    fn make_signing(&self, algorithm: SignatureAlgorithm, _label: &str) -> Result<NewKey, BackendError> {
        let (key, pkcs8) =
            SigningKey::generate(trial::kid()?, algorithm).map_err(|_| BackendError::Crypto("make a key"))?;
        self.seal(Use::Signature, key.public(), &pkcs8)
    }

    fn make_sealing(&self, algorithm: KeyManagement, _label: &str) -> Result<NewKey, BackendError> {
        let kind = match algorithm {
            KeyManagement::RsaOaep256 => DecryptionKind::Rsa3072,
            KeyManagement::EcdhEs | KeyManagement::EcdhEsA128Kw | KeyManagement::EcdhEsA256Kw => {
                DecryptionKind::P256
            }
            KeyManagement::Dir => return Err(trial::no_public_key()),
        };
        let failed = BackendError::Crypto("make a key");
        let key = DecryptionKey::generate(trial::kid()?, algorithm, kind, &*self.random)
            .map_err(|_| failed.clone())?;
        let pkcs8 = key.dangerous_to_pkcs8().ok_or(failed)?;
        self.seal(Use::Encryption, key.public(), &pkcs8)
    }

    fn signer(
        &self,
        kid: &KeyId,
        algorithm: SignatureAlgorithm,
        handle: &[u8],
    ) -> Result<Arc<dyn TokenSigner>, BackendError> {
        let pkcs8 = self.open(Use::Signature, kid, handle)?;
        let key = SigningKey::from_pkcs8(kid.clone(), algorithm, &pkcs8)
            .map_err(|problem| BackendError::Damaged(problem.to_string()))?;
        Ok(Arc::new(key))
    }

    fn opener(
        &self,
        kid: &KeyId,
        algorithm: KeyManagement,
        handle: &[u8],
    ) -> Result<Arc<dyn PayloadOpener>, BackendError> {
        let pkcs8 = self.open(Use::Encryption, kid, handle)?;
        let key = DecryptionKey::from_pkcs8(kid.clone(), algorithm, &pkcs8)
            .map_err(|problem| BackendError::Damaged(problem.to_string()))?;
        Ok(Arc::new(key))
    }

    /// The handle is the key: whoever keeps it deletes it.
    fn forget(&self, _handle: &[u8]) -> Result<(), BackendError> {
        Ok(())
    }

    fn import_signing(
        &self,
        algorithm: SignatureAlgorithm,
        pkcs8: &[u8],
        _label: &str,
    ) -> Result<NewKey, BackendError> {
        let key = SigningKey::from_pkcs8(trial::kid()?, algorithm, pkcs8)
            .map_err(|problem| BackendError::Refused(format!("the key cannot be taken in: {problem}")))?;
        self.seal(Use::Signature, key.public(), pkcs8)
    }

    fn import_sealing(
        &self,
        algorithm: KeyManagement,
        pkcs8: &[u8],
        _label: &str,
    ) -> Result<NewKey, BackendError> {
        let key = DecryptionKey::from_pkcs8(trial::kid()?, algorithm, pkcs8)
            .map_err(|problem| BackendError::Refused(format!("the key cannot be taken in: {problem}")))?;
        self.seal(Use::Encryption, key.public(), pkcs8)
    }
}

impl std::fmt::Debug for FileBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileBackend")
    }
}

fn split(handle: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = handle.strip_prefix(MAGIC)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (print, sealed) = rest.split_at_checked(end)?;
    Some((print, sealed.strip_prefix(&[0])?))
}

/// What the ciphertext is bound to: the purpose, and the public half that the handle names.
fn context(purpose: Use, print: &Thumbprint) -> Vec<u8> {
    context_of(purpose, print.to_string().as_bytes())
}

fn context_of(purpose: Use, print: &[u8]) -> Vec<u8> {
    [b"portcullis key 2\0", purpose.name().as_bytes(), b"\0", print].concat()
}

/// As the first version bound it.
fn first_context(purpose: Use, kid: &KeyId) -> Vec<u8> {
    let purpose = match purpose {
        Use::Signature => "signing",
        Use::Encryption => "encryption",
    };
    format!("portcullis key\0{purpose}\0{kid}").into_bytes()
}
