//! Reading the compact serialisation (RFC 7516 §7.1).

use zeroize::Zeroizing;

use super::content::{self, IV_BYTES, TAG_BYTES};
use super::header::Header;
use super::{ContentEncryption, Detached, Error, HEADER_BYTES, KeyManagement, SharedKey, wrap};
use super::{ENCRYPTED_KEY_BYTES, SMALL_BYTES};
use crate::ids::KeyId;
use crate::jose::base64url;
use crate::jose::json::Object;
use crate::jose::jwe::PayloadOpener;

/// A message that was read and not opened. Shows its header, which is what is needed to find the key.
pub struct Unopened<'t> {
    header: Header,
    sealed: Sealed<'t>,
}

impl<'t> Unopened<'t> {
    /// Reads a message of at most [`SMALL_BYTES`]: for headers, fields and tokens.
    ///
    /// # Errors
    /// [`Error`], except for those that need a key.
    pub fn parse(text: &'t str) -> Result<Self, Error> {
        Self::parse_within(text, SMALL_BYTES)
    }

    /// Reads a message of at most `limit` bytes of text: for files and other large payloads.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_within(text: &'t str, limit: usize) -> Result<Self, Error> {
        if text.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        let (rest, tag) = text.rsplit_once('.').ok_or(Error::NotCompact)?;
        let mut parts = rest.splitn(4, '.');
        let mut part = || parts.next().ok_or(Error::NotCompact);
        let (protected, encrypted_key, iv, ciphertext) = (part()?, part()?, part()?, part()?);
        if ciphertext.contains('.') {
            return Err(Error::NotCompact);
        }
        let header = read_protected(protected, Error::NotCompact)?;
        let header = Header::read(
            &Object::parse(&header).map_err(|_| Error::Header(NOT_AN_OBJECT))?,
            &[],
        )?;
        Ok(Self {
            header,
            sealed: Sealed {
                aad: protected.as_bytes(),
                encrypted_key: read_encrypted_key(encrypted_key, Error::NotCompact)?,
                iv: exactly(iv, "initialization vector", Error::NotCompact)?,
                tag: exactly(tag, "tag", Error::NotCompact)?,
                ciphertext,
            },
        })
    }

    /// How the content key reaches its recipient, as the header says. The key decides; this only helps to find it.
    #[must_use]
    pub fn algorithm(&self) -> KeyManagement {
        self.header.algorithm
    }

    /// How the content is encrypted.
    #[must_use]
    pub fn encryption(&self) -> ContentEncryption {
        self.header.encryption
    }

    /// The key that the header names.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.header.kid.as_ref()
    }

    /// The media type of the message that the header declares (RFC 7516 §4.1.11), not believed yet.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }

    /// The media type of the content that the header declares (RFC 7516 §4.1.12), not believed yet.
    #[must_use]
    pub fn cty(&self) -> Option<&str> {
        self.header.cty.as_deref()
    }

    /// Opens the message with a private key.
    ///
    /// # Errors
    /// [`Error::OtherAlgorithm`], [`Error::EphemeralKey`] and [`Error::Length`] from the header and the key's public half
    /// alone; [`Error::NotCompact`] for a ciphertext that is not base64url; [`Error::Unavailable`]; [`Error::Opening`]
    /// for everything else.
    pub fn open(&self, opener: &dyn PayloadOpener) -> Result<Opened, Error> {
        let key = wrap::content_key(&self.header, &self.sealed.encrypted_key, opener)?;
        self.sealed.open(&self.header, &key, Error::NotCompact)
    }

    /// Opens the message with a shared key (`dir`).
    ///
    /// # Errors
    /// [`Error::OtherAlgorithm`] for another `alg` than `dir` or another `enc` than the key is for, [`Error::Length`] when
    /// there is an encrypted key, [`Error::Opening`].
    pub fn open_shared(&self, key: &SharedKey) -> Result<Opened, Error> {
        let key = key.content_key(&self.header, &self.sealed.encrypted_key)?;
        self.sealed.open(&self.header, key, Error::NotCompact)
    }
}

impl std::fmt::Debug for Unopened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unopened")
            .field("algorithm", &self.header.algorithm)
            .field("encryption", &self.header.encryption)
            .field("kid", &self.header.kid)
            .finish_non_exhaustive()
    }
}

/// A message whose tag held: whoever made it had the recipient's public key, or the shared key. Who that is, a
/// signature inside says.
pub struct Opened {
    plaintext: Zeroizing<Vec<u8>>,
    typ: Option<String>,
    cty: Option<String>,
    kid: Option<KeyId>,
}

impl Opened {
    /// What was encrypted.
    #[must_use]
    pub fn plaintext(&self) -> &[u8] {
        &self.plaintext
    }

    /// What was encrypted. It is the caller's to wipe.
    #[must_use]
    pub fn into_plaintext(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.plaintext)
    }

    /// `typ` of the protected header.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// `cty` of the protected header.
    #[must_use]
    pub fn cty(&self) -> Option<&str> {
        self.cty.as_deref()
    }

    /// The key that the header named.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("typ", &self.typ)
            .field("cty", &self.cty)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Opens a message whose ciphertext is kept apart, where the ciphertext is.
///
/// # Errors
/// As [`Unopened::parse`] and [`Unopened::open`]; the buffer is then worth nothing.
pub fn open_detached(opener: &dyn PayloadOpener, message: &Detached, buffer: &mut [u8]) -> Result<(), Error> {
    let header = read_protected(&message.header, Error::NotCompact)?;
    let header = Header::read(
        &Object::parse(&header).map_err(|_| Error::Header(NOT_AN_OBJECT))?,
        &[],
    )?;
    let key = wrap::content_key(&header, &message.encrypted_key, opener)?;
    content::open_in_place(
        (header.encryption, &key),
        message.iv,
        message.header.as_bytes(),
        message.tag,
        buffer,
    )
}

pub(super) const NOT_AN_OBJECT: &str = "it is not a strict JSON object";

/// What is left of a message once its header is read.
pub(super) struct Sealed<'t> {
    pub(super) aad: &'t [u8],
    pub(super) encrypted_key: Vec<u8>,
    pub(super) iv: [u8; IV_BYTES],
    pub(super) tag: [u8; TAG_BYTES],
    pub(super) ciphertext: &'t str,
}

impl Sealed<'_> {
    fn open(&self, header: &Header, key: &[u8], malformed: Error) -> Result<Opened, Error> {
        let content = (header.encryption, key);
        open_text(content, self.iv, self.aad, self.tag, self.ciphertext, malformed)
            .map(|plaintext| opened(header, plaintext))
    }
}

pub(super) fn opened(header: &Header, plaintext: Zeroizing<Vec<u8>>) -> Opened {
    Opened {
        plaintext,
        typ: header.typ.clone(),
        cty: header.cty.clone(),
        kid: header.kid.clone(),
    }
}

/// Decodes and decrypts in the one place that becomes the plaintext.
pub(super) fn open_text(
    (encryption, key): (ContentEncryption, &[u8]),
    iv: [u8; IV_BYTES],
    aad: &[u8],
    tag: [u8; TAG_BYTES],
    ciphertext: &str,
    malformed: Error,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut buffer = Zeroizing::new(base64url::decode(ciphertext).map_err(|_| malformed)?);
    content::open_in_place((encryption, key), iv, aad, tag, &mut buffer)?;
    Ok(buffer)
}

/// The JSON of a protected header.
pub(super) fn read_protected(text: &str, malformed: Error) -> Result<Vec<u8>, Error> {
    if base64url::exceeds(text, HEADER_BYTES) {
        return Err(Error::Header("it is too long"));
    }
    base64url::decode(text).map_err(|_| malformed)
}

/// The encrypted key: of the sender's length, so bounded first.
pub(super) fn read_encrypted_key(text: &str, malformed: Error) -> Result<Vec<u8>, Error> {
    if base64url::exceeds(text, ENCRYPTED_KEY_BYTES) {
        return Err(Error::Length("encrypted key"));
    }
    base64url::decode(text).map_err(|_| malformed)
}

/// RFC 7518 §5.3: the IV has exactly 96 bits and the tag exactly 128. A library that takes what it is given takes a tag
/// of 32 bits as well.
pub(super) fn exactly<const N: usize>(
    text: &str,
    what: &'static str,
    malformed: Error,
) -> Result<[u8; N], Error> {
    // A long text is not worth decoding; one that is a little longer may be no base64url at all, which is said first.
    if base64url::exceeds(text, 2 * N) {
        return Err(Error::Length(what));
    }
    let bytes = base64url::decode(text).map_err(|_| malformed)?;
    bytes.try_into().map_err(|_| Error::Length(what))
}
