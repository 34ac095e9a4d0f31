//! What a key is for, as a type.

use crate::ids::{InvalidId, KeyId};
use crate::jose::jwk::{Thumbprint, Use};

/// One purpose of a key. Sealed: there are two.
pub trait Purpose: sealed::Sealed + Send + Sync + 'static {
    /// `use` in a JWK.
    const USE: Use;
    /// What people and key files call it.
    const NAME: &'static str;
    /// How a `kid` begins.
    const PREFIX: &'static str;

    /// The name of a key made in this month: `sig-2026-11-0badcafe`. Readable in a log, and bound to the key by the
    /// first digits of its thumbprint.
    ///
    /// # Errors
    /// None for a real year; the type is that of every `kid`.
    fn kid(year: i16, month: i8, thumbprint: &Thumbprint) -> Result<KeyId, InvalidId> {
        KeyId::parse(&format!(
            "{}-{year:04}-{month:02}-{}",
            Self::PREFIX,
            thumbprint.short()
        ))
    }
}

/// The key signs tokens; others verify with its public part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {}

/// Others encrypt to the key's public part; it opens what they sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {}

impl Purpose for Signing {
    const USE: Use = Use::Signature;
    const NAME: &'static str = "signing";
    const PREFIX: &'static str = "sig";
}

impl Purpose for Sealing {
    const USE: Use = Use::Encryption;
    const NAME: &'static str = "encryption";
    const PREFIX: &'static str = "enc";
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Signing {}
    impl Sealed for super::Sealing {}
}
