//! What is kept of one key, and its JSON form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::KeyManagement;
use portcullis_core::jose::jwk::{KeyAlgorithm, Use};
use portcullis_core::keys::{CertificateFacts, State};
use portcullis_core::time::UnixTime;
use serde::{Deserialize, Serialize};

/// The form that is written.
const VERSION: u8 = 2;
/// The form before: one key per purpose, always P-256, always under the master key.
const FIRST_VERSION: u8 = 1;

/// One key of a ring. It holds no secret that is open.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its name.
    pub kid: KeyId,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Its one algorithm.
    pub algorithm: KeyAlgorithm,
    /// Where it is in its life.
    pub state: State,
    /// When it was made.
    pub staged: UnixTime,
    /// When it became the one in use.
    pub enabled: Option<UnixTime>,
    /// When it was retired.
    pub disabled: Option<UnixTime>,
    /// When it ended. Its record stays for a while, and for good when it was revoked.
    pub deleted: Option<UnixTime>,
    /// A rotation that an operator asked for: the staged key takes over at this time, or later.
    pub promote_at: Option<UnixTime>,
    /// Why it is in its state.
    pub cause: Cause,
    /// The public key: a SubjectPublicKeyInfo (RFC 5280 §4.1) in DER.
    pub public: Vec<u8>,
    /// Certificates in DER, the key's own first, each under the next. The CA's: one for each server's host, the newest
    /// first.
    pub chain: Vec<Vec<u8>>,
    /// Whether the chain is from a CA that is not ours.
    pub outside_chain: bool,
    /// Which backend has the private key.
    pub backend: String,
    /// What that backend finds it by; for files, the private key itself, encrypted. Empty once it is destroyed.
    pub handle: Vec<u8>,
    /// That an operator declared it void. It never comes back.
    pub revoked: Option<Revocation>,
}

/// Why and when a key was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The operator's words.
    pub reason: String,
    /// When.
    #[serde(with = "seconds")]
    pub at: UnixTime,
}

/// What caused a key's last transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Time passed.
    Schedule,
    /// An operator asked for a rotation or an import.
    Operator,
    /// An operator revoked a key.
    Emergency,
}

impl Cause {
    /// The lower-case name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Operator => "operator",
            Self::Emergency => "emergency",
        }
    }
}

/// The purposes that a kept key can have. Never two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPurpose {
    /// Signs tokens.
    Signing,
    /// Opens what others encrypted to it.
    Encryption,
    /// Signs certificates: the built-in CA's.
    Certificates,
}

impl KeyPurpose {
    /// The lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Encryption => "encryption",
            Self::Certificates => "certificates",
        }
    }

    /// Whether a key of this purpose can have this algorithm.
    #[must_use]
    pub const fn fits(self, algorithm: KeyAlgorithm) -> bool {
        matches!(
            (self, algorithm.purpose()),
            (Self::Signing | Self::Certificates, Use::Signature) | (Self::Encryption, Use::Encryption)
        )
    }

    /// `use` of its JWK; none for the CA's, which is not published.
    #[must_use]
    pub const fn jwk_use(self) -> Option<Use> {
        match self {
            Self::Signing => Some(Use::Signature),
            Self::Encryption => Some(Use::Encryption),
            Self::Certificates => None,
        }
    }
}

impl From<Use> for KeyPurpose {
    fn from(purpose: Use) -> Self {
        match purpose {
            Use::Signature => Self::Signing,
            Use::Encryption => Self::Encryption,
        }
    }
}

impl std::fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRecord")
            .field("kid", &self.kid)
            .field("purpose", &self.purpose)
            .field("algorithm", &self.algorithm)
            .field("state", &self.state)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// Why a text is no record.
#[derive(Debug)]
pub(in crate::custody) enum Unreadable {
    /// It ends too early or is not JSON at all: what a torn write leaves.
    Torn(String),
    /// It is JSON that we did not write.
    Damaged(String),
}

impl Unreadable {
    pub(in crate::custody) fn into_detail(self) -> String {
        match self {
            Self::Torn(detail) | Self::Damaged(detail) => detail,
        }
    }
}

impl KeyRecord {
    /// The JSON form, a line feed at its end.
    pub(super) fn to_json(&self) -> String {
        // Names, numbers and base64 only: this cannot fail.
        let mut text = serde_json::to_string_pretty(&Shape::from(self)).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads the JSON form, of this version or the first.
    pub(super) fn from_json(text: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            version: u8,
        }
        let of = |error: serde_json::Error| {
            if error.is_eof() || error.is_syntax() {
                Unreadable::Torn(error.to_string())
            } else {
                Unreadable::Damaged(error.to_string())
            }
        };
        let Version { version } = serde_json::from_slice(text).map_err(of)?;
        match version {
            VERSION => serde_json::from_slice::<Shape>(text).map_err(of)?.try_into(),
            FIRST_VERSION => serde_json::from_slice::<FirstShape>(text).map_err(of)?.try_into(),
            other => Err(Unreadable::Damaged(format!(
                "its version is {other} and this program reads {FIRST_VERSION} and {VERSION}"
            ))),
        }
    }

    /// What the key's own certificate says.
    pub(crate) fn certificate(&self) -> Result<CertificateFacts, String> {
        let own = self.chain.first().ok_or("it has no certificate")?;
        CertificateFacts::parse(own).map_err(|error| error.to_string())
    }

    /// Until when the key can be used: the earliest end in its chain. The CA's certificates are no chain.
    pub(crate) fn not_after(&self) -> Result<UnixTime, String> {
        let mut end = self.certificate()?.not_after;
        if self.purpose != KeyPurpose::Certificates {
            for above in self.chain.iter().skip(1) {
                let facts = CertificateFacts::parse(above).map_err(|error| error.to_string())?;
                end = end.min(facts.not_after);
            }
        }
        Ok(end)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::custody) struct Shape {
    version: u8,
    purpose: KeyPurpose,
    kid: KeyId,
    algorithm: String,
    state: State,
    #[serde(with = "seconds")]
    staged: UnixTime,
    #[serde(default, with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    enabled: Option<UnixTime>,
    #[serde(default, with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    disabled: Option<UnixTime>,
    #[serde(default, with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    deleted: Option<UnixTime>,
    #[serde(default, with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    promote_at: Option<UnixTime>,
    cause: Cause,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<Revocation>,
    public_key: String,
    certificates: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    outside_certificate: bool,
    backend: String,
    handle: String,
}

/// The form of version 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstShape {
    #[serde(rename = "version")]
    _version: u8,
    purpose: KeyPurpose,
    kid: KeyId,
    state: State,
    #[serde(with = "seconds")]
    created: UnixTime,
    certificates: Vec<String>,
    private_key: String,
}

impl From<&KeyRecord> for Shape {
    fn from(record: &KeyRecord) -> Self {
        Self {
            version: VERSION,
            purpose: record.purpose,
            kid: record.kid.clone(),
            algorithm: record.algorithm.name().to_owned(),
            state: record.state,
            staged: record.staged,
            enabled: record.enabled,
            disabled: record.disabled,
            deleted: record.deleted,
            promote_at: record.promote_at,
            cause: record.cause,
            revoked: record.revoked.clone(),
            public_key: STANDARD.encode(&record.public),
            certificates: record.chain.iter().map(|der| STANDARD.encode(der)).collect(),
            outside_certificate: record.outside_chain,
            backend: record.backend.clone(),
            handle: STANDARD.encode(&record.handle),
        }
    }
}

impl TryFrom<Shape> for KeyRecord {
    type Error = Unreadable;

    fn try_from(shape: Shape) -> Result<Self, Unreadable> {
        let algorithm = KeyAlgorithm::from_name(&shape.algorithm)
            .filter(|algorithm| shape.purpose.fits(*algorithm))
            .ok_or_else(|| {
                let (name, purpose) = (&shape.algorithm, shape.purpose.name());
                Unreadable::Damaged(format!("its algorithm `{name}` is none for {purpose}"))
            })?;
        let record = Self {
            kid: shape.kid,
            purpose: shape.purpose,
            algorithm,
            state: shape.state,
            staged: shape.staged,
            enabled: shape.enabled,
            disabled: shape.disabled,
            deleted: shape.deleted,
            promote_at: shape.promote_at,
            cause: shape.cause,
            public: decode(&shape.public_key)?,
            chain: decode_all(&shape.certificates)?,
            outside_chain: shape.outside_certificate,
            backend: shape.backend,
            handle: decode(&shape.handle)?,
            revoked: shape.revoked,
        };
        record.certificate().map_err(Unreadable::Damaged)?;
        // A revoked key that is anything but deleted was edited back to life.
        if record.revoked.is_some() && record.state != State::Deleted {
            return Err(Unreadable::Damaged(format!(
                "it is revoked and {}; a revoked key never comes back",
                record.state
            )));
        }
        Ok(record)
    }
}

impl TryFrom<FirstShape> for KeyRecord {
    type Error = Unreadable;

    fn try_from(shape: FirstShape) -> Result<Self, Unreadable> {
        let chain = decode_all(&shape.certificates)?;
        let own = chain
            .first()
            .ok_or_else(|| Unreadable::Damaged("it has no certificate".to_owned()))?;
        let damaged = |error: &dyn std::fmt::Display| Unreadable::Damaged(error.to_string());
        CertificateFacts::parse(own).map_err(|error| damaged(&error))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(own).map_err(|error| damaged(&error))?;
        let since = |states: &[State]| states.contains(&shape.state).then_some(shape.created);
        Ok(Self {
            public: certificate.public_key().raw.to_vec(),
            algorithm: match shape.purpose {
                KeyPurpose::Signing | KeyPurpose::Certificates => SignatureAlgorithm::Es256.into(),
                KeyPurpose::Encryption => KeyManagement::EcdhEs.into(),
            },
            kid: shape.kid,
            purpose: shape.purpose,
            state: shape.state,
            staged: shape.created,
            enabled: since(&[State::Enabled, State::Disabled]),
            disabled: since(&[State::Disabled]),
            deleted: since(&[State::Deleted]),
            promote_at: None,
            cause: Cause::Schedule,
            chain,
            outside_chain: false,
            backend: "file".to_owned(),
            handle: decode(&shape.private_key)?,
            revoked: None,
        })
    }
}

fn decode(text: &String) -> Result<Vec<u8>, Unreadable> {
    STANDARD
        .decode(text)
        .map_err(|error| Unreadable::Damaged(error.to_string()))
}

fn decode_all(texts: &[String]) -> Result<Vec<Vec<u8>>, Unreadable> {
    texts.iter().map(decode).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

mod seconds {
    use portcullis_core::time::UnixTime;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixTime, D::Error> {
        i64::deserialize(deserializer).map(UnixTime::from_secs)
    }
}

mod maybe_seconds {
    use portcullis_core::time::UnixTime;
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Option<UnixTime>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(UnixTime::as_secs).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UnixTime>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(UnixTime::from_secs))
    }
}
