//! The gateway's own keys, for sealed fields.

use std::sync::Arc;

use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwe::PayloadOpener;
use portcullis_core::jose::jws::TokenSigner;
use portcullis_guard::SealingKeys;

use crate::custody::Keyring;

impl SealingKeys for Keyring {
    fn signer(&self) -> Arc<dyn TokenSigner> {
        Self::signer(self)
    }

    fn opener(&self, kid: &KeyId) -> Option<Arc<dyn PayloadOpener>> {
        Self::opener(self, kid)
    }
}
