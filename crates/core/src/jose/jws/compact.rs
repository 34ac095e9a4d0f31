//! The compact serialisation (RFC 7515 §3.1).

use super::header::Header;
use super::{Error, PAYLOAD_BYTES, check};
use crate::ids::KeyId;
use crate::jose::base64url::exceeds;
use crate::jose::jwk::{SignatureHolds, VerificationKey};
use crate::jose::{SignatureAlgorithm, base64url};

/// The three parts of a token, each still in base64url, none empty.
pub(super) struct Parts<'t> {
    pub(super) header: &'t str,
    pub(super) payload: &'t str,
    pub(super) signing_input: &'t str,
    pub(super) signature: &'t str,
}

impl<'t> Parts<'t> {
    pub(super) fn of(token: &'t str) -> Result<Self, Error> {
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Error::NotCompact)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Error::NotCompact)?;
        // A fourth part leaves a dot in the payload, which is not base64url.
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Error::NotCompact);
        }
        Ok(Self {
            header,
            payload,
            signing_input,
            signature,
        })
    }
}

/// A token that was read and not believed. Shows what is needed to find the key.
pub struct Unverified<'t> {
    signing_input: &'t str,
    signature: &'t str,
    payload: Vec<u8>,
    header: Header,
}

impl<'t> Unverified<'t> {
    /// Reads the three parts and the header.
    ///
    /// # Errors
    /// [`Error`], except for the two that need a key.
    pub fn parse(token: &'t str) -> Result<Self, Error> {
        let Parts {
            header,
            payload,
            signing_input,
            signature,
        } = Parts::of(token)?;
        let header = Header::decode(header)?;
        if exceeds(payload, PAYLOAD_BYTES) {
            return Err(Error::TooLarge);
        }
        let payload = base64url::decode(payload).map_err(|_| Error::NotCompact)?;
        Ok(Self {
            signing_input,
            signature,
            payload,
            header,
        })
    }

    /// The algorithm that the header names. The key decides; this only helps to find it.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.header.algorithm
    }

    /// The key that the header names.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.header.kid.as_ref()
    }

    /// The two parts that are signed, as they came. Unlike the signature, nobody but the signer can change them.
    #[must_use]
    pub fn signing_input(&self) -> &'t str {
        self.signing_input
    }

    /// The payload before its signature was checked: to find out whose token it claims to be, and nothing else.
    pub(crate) fn dangerous_unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, for whoever checked the signature with [`Self::verify`] and wipes what was secret.
    pub(in crate::jose) fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`Error::OtherAlgorithm`] and [`Error::Signature`].
    pub fn verify(&self, key: &VerificationKey) -> Result<Verified<'_>, Error> {
        if self.header.algorithm != key.algorithm() {
            return Err(Error::OtherAlgorithm);
        }
        let holds = check(self.signing_input, self.signature, key)?;
        Ok(Verified::new(self, &holds))
    }
}

impl std::fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified")
            .field("algorithm", &self.header.algorithm)
            .field("kid", &self.header.kid)
            .finish_non_exhaustive()
    }
}

/// A token whose signature held.
#[derive(Clone, Copy)]
pub struct Verified<'u> {
    payload: &'u [u8],
    typ: Option<&'u str>,
}

impl<'u> Verified<'u> {
    /// Takes the proof, so that a caller of this cannot have forgotten the check.
    fn new(token: &'u Unverified<'_>, holds: &SignatureHolds) -> Self {
        Self::of(&token.payload, token.header.typ.as_deref(), holds)
    }

    pub(super) fn of(payload: &'u [u8], typ: Option<&'u str>, _holds: &SignatureHolds) -> Self {
        Self { payload, typ }
    }

    /// What was signed.
    #[must_use]
    pub fn payload(self) -> &'u [u8] {
        self.payload
    }

    /// The media type that the header declares (RFC 7515 §4.1.9).
    #[must_use]
    pub fn typ(self) -> Option<&'u str> {
        self.typ
    }
}

impl std::fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified")
            .field("typ", &self.typ)
            .finish_non_exhaustive()
    }
}
