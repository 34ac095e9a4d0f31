//! The shape of what is kept.

use std::collections::BTreeMap;

use portcullis_core::ids::{ClientId, Issuer, ResourceUri, ScopeSet};
use portcullis_core::oauth::client::{Client, ClientAuth, ClientOrigin, Tokens};
use portcullis_core::secret::Secret;
use portcullis_core::time::{Lifetime, UnixTime};
use serde::{Deserialize, Serialize};

use crate::sealing::{SealedFields, subject};

/// An access token is renewed this long before it ends, so that it does not end on its way.
const MARGIN: Lifetime = Lifetime::from_secs(30);

/// Everything in the file. Registrations are by issuer, since they are good there and nowhere else; grants are by the
/// address of the server as the person types it, so that a token never goes to another.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) clients: BTreeMap<String, ClientRecord>,
    pub(crate) grants: BTreeMap<String, Grant>,
}

/// What one login gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) issuer: Issuer,
    pub(crate) resource: ResourceUri,
    pub(crate) token_endpoint: String,
    pub(crate) revocation_endpoint: Option<String>,
    /// The client it was granted to, which another registration at the same issuer does not change.
    pub(crate) client: ClientRecord,
    /// What was asked for: a step-up asks for this and more.
    pub(crate) requested: Option<ScopeSet>,
    pub(crate) granted: Option<ScopeSet>,
    #[serde(with = "hidden")]
    pub(crate) access: Secret,
    #[serde(with = "hidden_option")]
    pub(crate) refresh: Option<Secret>,
    /// Seconds since the epoch.
    pub(crate) expires_at: Option<i64>,
    /// Which fields of which tools were once said to be sealed.
    #[serde(default)]
    pub(crate) sealed: BTreeMap<String, SealedFields>,
}

impl Grant {
    /// Whether the access token can still be sent: it does not end within moments, and is not the one just refused.
    pub(crate) fn is_usable(&self, now: UnixTime, refused: Option<&Secret>) -> bool {
        let alive = self
            .expires_at
            .is_none_or(|end| now < UnixTime::from_secs(end).minus(MARGIN));
        alive && refused != Some(&self.access)
    }

    /// Whether both are of one principal: the same user of the same issuer through the same client. Tokens that do not say
    /// whom they are about do not tell two users apart.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.client.id == other.client.id
            && subject(&self.access) == subject(&other.access)
    }

    /// Whether the earlier login was of somebody else. One at another authorization server may be of the same person: a server
    /// can send a person there at any time, so that nothing is forgotten for it.
    pub(crate) fn replaces_another_users(&self, earlier: &Self) -> bool {
        match (subject(&self.access), subject(&earlier.access)) {
            (Some(now), Some(then)) => self.issuer == earlier.issuer && now != then,
            (None, _) | (_, None) => false,
        }
    }

    /// Puts in the tokens of a refresh. Without a new refresh token the old one stays good (RFC 6749 §6).
    pub(crate) fn renew(&mut self, tokens: Tokens) {
        self.access = tokens.access;
        self.expires_at = tokens.expires_at.map(UnixTime::as_secs);
        self.granted = tokens.granted;
        if tokens.refresh.is_some() {
            self.refresh = tokens.refresh;
        }
    }
}

/// A registration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ClientRecord {
    id: ClientId,
    auth: AuthRecord,
    origin: OriginRecord,
    redirect_uri: Option<String>,
    secret_expires_at: Option<i64>,
    /// Its own, whose public halves are in the registration.
    #[serde(default)]
    keys: Option<KeysRecord>,
}

/// Private keys of a registration, as base64url of PKCS#8.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeysRecord {
    #[serde(with = "hidden")]
    pub(crate) signing: Secret,
    #[serde(with = "hidden")]
    pub(crate) opening: Secret,
}

impl ClientRecord {
    /// The same with these keys.
    pub(crate) fn with_keys(self, keys: Option<KeysRecord>) -> Self {
        Self { keys, ..self }
    }

    pub(crate) fn keys(&self) -> Option<&KeysRecord> {
        self.keys.as_ref()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AuthRecord {
    None,
    Basic(#[serde(with = "hidden")] Secret),
    Post(#[serde(with = "hidden")] Secret),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OriginRecord {
    Preregistered,
    MetadataDocument,
    Dynamic,
}

impl From<Client> for ClientRecord {
    fn from(client: Client) -> Self {
        Self {
            id: client.id,
            auth: match client.auth {
                ClientAuth::None => AuthRecord::None,
                ClientAuth::Basic(secret) => AuthRecord::Basic(secret),
                ClientAuth::Post(secret) => AuthRecord::Post(secret),
            },
            origin: match client.origin {
                ClientOrigin::Preregistered => OriginRecord::Preregistered,
                ClientOrigin::MetadataDocument => OriginRecord::MetadataDocument,
                ClientOrigin::Dynamic => OriginRecord::Dynamic,
            },
            redirect_uri: client.redirect_uri,
            secret_expires_at: client.secret_expires_at.map(UnixTime::as_secs),
            keys: None,
        }
    }
}

impl From<ClientRecord> for Client {
    fn from(record: ClientRecord) -> Self {
        Self {
            id: record.id,
            auth: match record.auth {
                AuthRecord::None => ClientAuth::None,
                AuthRecord::Basic(secret) => ClientAuth::Basic(secret),
                AuthRecord::Post(secret) => ClientAuth::Post(secret),
            },
            origin: match record.origin {
                OriginRecord::Preregistered => ClientOrigin::Preregistered,
                OriginRecord::MetadataDocument => ClientOrigin::MetadataDocument,
                OriginRecord::Dynamic => ClientOrigin::Dynamic,
            },
            redirect_uri: record.redirect_uri,
            secret_expires_at: record.secret_expires_at.map(UnixTime::from_secs),
        }
    }
}

/// A secret as text, for the one file that is encrypted.
mod hidden {
    use portcullis_core::secret::Secret;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.reveal())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

mod hidden_option {
    use portcullis_core::secret::Secret;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::reveal).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
    }
}
