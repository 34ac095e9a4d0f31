//! Private keys as handles that count, and that say when they stopped working.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{KeyManagement, OpeningFailed, PayloadOpener, Wrapped};
use portcullis_core::jose::jwk::PublicKey;
use portcullis_core::jose::jws::{SigningUnavailable, TokenSigner};
use zeroize::Zeroizing;

/// A signer that counts.
pub(super) struct CountedSigner {
    pub(super) signer: Arc<dyn TokenSigner>,
    pub(super) uses: Arc<AtomicU64>,
    /// Set when it failed: the ring opens it again.
    pub(super) failed: Arc<AtomicBool>,
}

impl TokenSigner for CountedSigner {
    fn kid(&self) -> &KeyId {
        self.signer.kid()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.signer.algorithm()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        let signed = self.signer.sign(message);
        if signed.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        signed
    }

    fn is_quick(&self) -> bool {
        self.signer.is_quick()
    }
}

/// In place of a signer that cannot be had now.
pub(super) struct AbsentSigner {
    pub(super) kid: KeyId,
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) why: String,
}

impl TokenSigner for AbsentSigner {
    fn kid(&self) -> &KeyId {
        &self.kid
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
        Err(SigningUnavailable(self.why.clone()))
    }
}

/// An opener that counts.
pub(super) struct CountedOpener {
    pub(super) opener: Arc<dyn PayloadOpener>,
    pub(super) uses: Arc<AtomicU64>,
    /// Set when it was not to be had: the ring opens it again.
    pub(super) failed: Arc<AtomicBool>,
}

impl PayloadOpener for CountedOpener {
    fn kid(&self) -> &KeyId {
        self.opener.kid()
    }

    fn key(&self) -> &PublicKey {
        self.opener.key()
    }

    fn algorithm(&self) -> Option<KeyManagement> {
        self.opener.algorithm()
    }

    fn recover(&self, wrapped: Wrapped<'_>) -> Result<Zeroizing<Vec<u8>>, OpeningFailed> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        let recovered = self.opener.recover(wrapped);
        if matches!(recovered, Err(OpeningFailed::Unavailable(_))) {
            self.failed.store(true, Ordering::Relaxed);
        }
        recovered
    }
}

/// In place of an opener that cannot be had now.
pub(super) struct AbsentOpener {
    pub(super) kid: KeyId,
    pub(super) key: PublicKey,
    pub(super) why: String,
}

impl PayloadOpener for AbsentOpener {
    fn kid(&self) -> &KeyId {
        &self.kid
    }

    fn key(&self) -> &PublicKey {
        &self.key
    }

    fn recover(&self, _wrapped: Wrapped<'_>) -> Result<Zeroizing<Vec<u8>>, OpeningFailed> {
        Err(OpeningFailed::Unavailable(self.why.clone()))
    }
}
