//! JWE (RFC 7516): hybrid encryption, a fresh content key for each message.
//!
//! Takes: keys of one algorithm, bytes and a source of randomness. Gives: messages, and [`Unopened`] ones that show
//! their header until a private key opens them. May use: `jwk`, `json`, `base64url`.
//! Never: picks an algorithm or a key from a header, unpacks (`zip`), computes for as long as a message says (PBES2),
//! says why a message did not open.

mod agree;
mod alg;
mod compact;
mod content;
mod error;
mod header;
pub mod json;
mod opener;
mod recipient;
mod seal;
mod shared;
mod wrap;

pub(super) use agree::{draw, parsed, primitive, public_half, shared_secret};
pub use alg::{ContentEncryption, KeyManagement};
pub use compact::{Opened, Unopened, open_detached};
pub use content::{IV_BYTES, TAG_BYTES};
pub use error::{Error, NoRecipient};
pub use opener::{OpeningFailed, PayloadOpener, Wrapped};
pub use recipient::recipient_of;
pub use seal::{Detached, encrypt, encrypt_shared, seal_detached};
pub use shared::SharedKey;

/// Largest message that is read where nothing else is said, in bytes of its text: for headers, fields and tokens.
pub const SMALL_BYTES: usize = 64 * 1024;
/// Largest protected header, in bytes of its JSON.
pub const HEADER_BYTES: usize = 4 * 1024;
/// Most recipients of one message.
pub const RECIPIENTS: usize = 16;
/// Largest encrypted key, in bytes: RSA of 8192 bits.
pub const ENCRYPTED_KEY_BYTES: usize = 1024;
/// Longest `apu` and `apv`, in bytes.
pub const PARTY_BYTES: usize = 512;

/// What the protected header of a new message says, besides the algorithm and the name of the key.
#[derive(Clone, Copy, Debug)]
pub struct Protected<'a> {
    /// How the content is encrypted.
    pub enc: ContentEncryption,
    /// The media type of the message (RFC 7516 §4.1.11).
    pub typ: Option<&'a str>,
    /// The media type of the content (RFC 7516 §4.1.12).
    pub cty: Option<&'a str>,
    /// About the sender, at most [`PARTY_BYTES`]: goes into the derived key (RFC 7518 §4.6.1.2). Empty is none. Without
    /// effect where no key is agreed on.
    pub apu: &'a [u8],
    /// About the recipient, likewise (RFC 7518 §4.6.1.3).
    pub apv: &'a [u8],
}

impl Protected<'_> {
    /// Nothing but the content encryption.
    #[must_use]
    pub const fn new(enc: ContentEncryption) -> Self {
        Self {
            enc,
            typ: None,
            cty: None,
            apu: &[],
            apv: &[],
        }
    }
}

#[cfg(test)]
pub(in crate::jose) mod tests;
