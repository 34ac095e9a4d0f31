//! The JSON serialisations (RFC 7516 §7.2), general and flattened.
//!
//! `alg` and `enc` are in the protected header, so that no recipient is told another algorithm than was authenticated;
//! recipients of one message are therefore of one algorithm. Each has its own `kid` and `epk`.

use serde_json::{Map, Value as Json};

use super::compact::{NOT_AN_OBJECT, exactly, open_text, opened, read_encrypted_key, read_protected};
use super::content::{self, IV_BYTES, TAG_BYTES};
use super::header::{self, Header};
use super::recipient::common_algorithm;
use super::seal::{Prepared, text_of};
use super::{ContentEncryption, Error, KeyManagement, Opened, PayloadOpener, Protected, SharedKey};
use super::{RECIPIENTS, SMALL_BYTES, wrap};
use crate::ids::KeyId;
use crate::jose::base64url;
use crate::jose::json::{Object, Value};
use crate::jose::jwk::EncryptionKey;
use crate::random::SecureRandom;

/// What the JSON forms carry besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Besides<'a> {
    /// Authenticated and not encrypted (RFC 7516 §7.2.1, `aad`). Empty is none.
    pub aad: Option<&'a [u8]>,
    /// Neither authenticated nor encrypted (`unprotected`).
    pub unprotected: Option<&'a Map<String, Json>>,
}

/// Encrypts to one recipient (RFC 7516 §7.2.2).
///
/// # Errors
/// [`Error::Refused`] for an unprotected parameter that is ours to set or that nobody may set; as [`super::encrypt`].
pub fn flattened(
    key: &EncryptionKey,
    protected: &Protected<'_>,
    besides: Besides<'_>,
    plaintext: &[u8],
    random: &dyn SecureRandom,
) -> Result<String, Error> {
    let prepared = Prepared::for_key(key, protected, random)?;
    let mut members = Map::new();
    if !prepared.encrypted_key.is_empty() {
        members.insert("encrypted_key".to_owned(), text(&prepared.encrypted_key));
    }
    write(&prepared, members, besides, plaintext)
}

/// Encrypts to several recipients (RFC 7516 §7.2.1), all of one algorithm.
///
/// # Errors
/// [`Error::Recipients`] for none or more than [`RECIPIENTS`], [`Error::OtherAlgorithm`] when they are not of one
/// algorithm, or are several and of one that carries no content key; and as [`flattened`].
pub fn general(
    keys: &[&EncryptionKey],
    protected: &Protected<'_>,
    besides: Besides<'_>,
    plaintext: &[u8],
    random: &dyn SecureRandom,
) -> Result<String, Error> {
    let algorithm = common_algorithm(keys)?;
    let parties = (protected.apu, protected.apv);
    let mut content_key = content::fresh(protected.enc, random)?;
    let mut recipients = Vec::with_capacity(keys.len());
    for key in keys {
        let carried = if algorithm.carries_content_key() {
            wrap::wrapped(key, &content_key, parties, random)?
        } else {
            let (agreed, carried) = wrap::agreed(key, protected.enc, parties, random)?;
            content_key = agreed;
            carried
        };
        let mut header = Map::new();
        header::of_recipient(&mut header, key.kid(), carried.epk.as_ref());
        let mut recipient = Map::new();
        if !header.is_empty() {
            recipient.insert("header".to_owned(), header.into());
        }
        if !carried.encrypted_key.is_empty() {
            recipient.insert("encrypted_key".to_owned(), text(&carried.encrypted_key));
        }
        recipients.push(Json::Object(recipient));
    }
    let prepared = Prepared {
        encryption: protected.enc,
        content_key,
        header: text_of(&header::of_message(algorithm, protected)?)?,
        encrypted_key: Vec::new(),
        iv: content::fresh_iv(random)?,
    };
    let mut members = Map::new();
    members.insert("recipients".to_owned(), recipients.into());
    write(&prepared, members, besides, plaintext)
}

fn write(
    prepared: &Prepared,
    mut members: Map<String, Json>,
    besides: Besides<'_>,
    plaintext: &[u8],
) -> Result<String, Error> {
    if let Some(unprotected) = besides.unprotected.filter(|map| !map.is_empty()) {
        unprotected.keys().try_for_each(|name| header::free(name))?;
        members.insert("unprotected".to_owned(), unprotected.clone().into());
    }
    // RFC 7516 §7.2.1: the member MUST be absent when the value would be empty.
    let aad = besides.aad.filter(|aad| !aad.is_empty()).map(base64url::encode);
    if let Some(aad) = &aad {
        members.insert("aad".to_owned(), aad.clone().into());
    }
    members.insert("iv".to_owned(), text(&prepared.iv));
    members.insert("protected".to_owned(), prepared.header.clone().into());
    let mut prefix = Json::from(members).to_string();
    // The large member comes last and is written where it belongs: nothing in base64url needs an escape.
    prefix.truncate(prefix.len().saturating_sub(1));
    prefix.push_str(",\"ciphertext\":\"");
    let authenticated = authenticated(&prepared.header, aad.as_deref());
    prepared.write(
        &prefix,
        authenticated.as_bytes(),
        plaintext,
        ["\",\"tag\":\"", "\"}"],
    )
}

/// RFC 7516 §5.1 (14).
fn authenticated(protected: &str, aad: Option<&str>) -> String {
    aad.map_or_else(|| protected.to_owned(), |aad| [protected, aad].join("."))
}

fn text(bytes: &[u8]) -> Json {
    base64url::encode(bytes).into()
}

/// A message in JSON that was read and not opened.
pub struct Unopened<'t> {
    members: Object<'t>,
    recipients: Vec<Recipient>,
    iv: [u8; IV_BYTES],
    tag: [u8; TAG_BYTES],
    aad: Option<Vec<u8>>,
}

/// What the message says to one recipient.
struct Recipient {
    header: Header,
    encrypted_key: Vec<u8>,
}

impl<'t> Unopened<'t> {
    /// Reads a message of at most [`SMALL_BYTES`].
    ///
    /// # Errors
    /// [`Error`], except for those that need a key.
    pub fn parse(text: &'t [u8]) -> Result<Self, Error> {
        Self::parse_within(text, SMALL_BYTES)
    }

    /// Reads a message of at most `limit` bytes of text.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_within(text: &'t [u8], limit: usize) -> Result<Self, Error> {
        if text.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        let members = Object::parse(text).map_err(|_| Error::NotJson(NOT_AN_OBJECT))?;
        let protected = string(&members, "protected")?.ok_or(Error::Header("`protected` is missing"))?;
        let protected = read_protected(protected, BAD_TEXT)?;
        let protected = Object::parse(&protected).map_err(|_| Error::Header(NOT_AN_OBJECT))?;
        let unprotected = object(&members, "unprotected")?;
        let recipients = match members.get("recipients") {
            None => vec![Recipient::read(&members, &protected, unprotected)?],
            Some(list) => {
                // RFC 7516 §7.2.2: a message is of one form or of the other.
                if members.get("header").is_some() || members.get("encrypted_key").is_some() {
                    return Err(Error::NotJson("it is general and flattened at once"));
                }
                let list = list
                    .as_array()
                    .ok_or(Error::NotJson("`recipients` is an array"))?;
                if list.is_empty() || list.len() > RECIPIENTS {
                    return Err(Error::Recipients);
                }
                let read = |recipient: &Value<'_>| {
                    let Value::Object(recipient) = recipient else {
                        return Err(Error::NotJson("each recipient is an object"));
                    };
                    Recipient::read(recipient, &protected, unprotected)
                };
                list.iter().map(read).collect::<Result<Vec<_>, _>>()?
            }
        };
        let alone = recipients.len() == 1;
        if !alone
            && recipients
                .iter()
                .any(|one| !one.header.algorithm.carries_content_key())
        {
            return Err(Error::Recipients);
        }
        let required =
            |name| string(&members, name)?.ok_or(Error::NotJson("`iv`, `ciphertext` or `tag` is missing"));
        let iv = exactly(required("iv")?, "initialization vector", BAD_TEXT)?;
        let tag = exactly(required("tag")?, "tag", BAD_TEXT)?;
        required("ciphertext")?;
        let aad = match string(&members, "aad")? {
            None => None,
            Some("") => return Err(Error::NotJson("`aad` is there and empty")),
            Some(aad) => Some(base64url::decode(aad).map_err(|_| BAD_TEXT)?),
        };
        Ok(Self {
            members,
            recipients,
            iv,
            tag,
            aad,
        })
    }

    /// How the content key reaches each recipient, as the header says.
    #[must_use]
    pub fn algorithm(&self) -> Option<KeyManagement> {
        self.recipients.first().map(|one| one.header.algorithm)
    }

    /// How the content is encrypted, as the header says.
    #[must_use]
    pub fn encryption(&self) -> Option<ContentEncryption> {
        self.recipients.first().map(|one| one.header.encryption)
    }

    /// The keys that the recipients' headers name, `None` for one that names none.
    pub fn kids(&self) -> impl Iterator<Item = Option<&KeyId>> {
        self.recipients.iter().map(|one| one.header.kid.as_ref())
    }

    /// Opens the message with a private key: as the recipient of its name where there is one, else as each that names
    /// no key and could be it.
    ///
    /// # Errors
    /// As [`super::Unopened::open`].
    pub fn open(&self, opener: &dyn PayloadOpener) -> Result<OpenedJson, Error> {
        let mine = |one: &&Recipient| one.header.kid.as_ref() == Some(opener.kid());
        let named = self.recipients.iter().find(mine);
        let candidates: Vec<&Recipient> = match (named, &*self.recipients) {
            (Some(named), _) => vec![named],
            // With one recipient the caller chose the key, whatever its sender called it.
            (None, [only]) => vec![only],
            (None, all) => all.iter().filter(|one| one.header.kid.is_none()).collect(),
        };
        let mut last = Error::Opening;
        for candidate in candidates {
            match self.open_as(candidate, opener) {
                Ok(opened) => return Ok(opened),
                Err(error @ (Error::Unavailable(_) | Error::NotJson(_))) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Opens the message with a shared key (`dir`), of which there is one recipient at most.
    ///
    /// # Errors
    /// As [`super::Unopened::open_shared`].
    pub fn open_shared(&self, key: &SharedKey) -> Result<OpenedJson, Error> {
        // Several recipients are of an algorithm that carries a content key: `dir` is not one.
        let recipient = self.recipients.first().ok_or(Error::Recipients)?;
        let key = key.content_key(&recipient.header, &recipient.encrypted_key)?;
        self.open_with(&recipient.header, key)
    }

    fn open_as(&self, recipient: &Recipient, opener: &dyn PayloadOpener) -> Result<OpenedJson, Error> {
        let key = wrap::content_key(&recipient.header, &recipient.encrypted_key, opener)?;
        self.open_with(&recipient.header, &key)
    }

    fn open_with(&self, header: &Header, key: &[u8]) -> Result<OpenedJson, Error> {
        // Both were there when the message was read.
        let protected = string(&self.members, "protected")?.unwrap_or_default();
        let ciphertext = string(&self.members, "ciphertext")?.unwrap_or_default();
        let aad = authenticated(protected, string(&self.members, "aad")?);
        let content = (header.encryption, key);
        let plaintext = open_text(content, self.iv, aad.as_bytes(), self.tag, ciphertext, BAD_TEXT)?;
        Ok(OpenedJson {
            message: opened(header, plaintext),
            aad: self.aad.clone(),
        })
    }
}

impl std::fmt::Debug for Unopened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unopened")
            .field("algorithm", &self.algorithm())
            .field("encryption", &self.encryption())
            .field("kids", &self.kids().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A message in JSON whose tag held.
#[derive(Debug)]
pub struct OpenedJson {
    /// What was encrypted, and what the protected header says of it.
    pub message: Opened,
    /// What was authenticated with it.
    pub aad: Option<Vec<u8>>,
}

const BAD_TEXT: Error = Error::NotJson("a member is not base64url without padding");

impl Recipient {
    /// The two members of a recipient, which in the flattened form are the message's own.
    fn read(
        object: &Object<'_>,
        protected: &Object<'_>,
        unprotected: Option<&Object<'_>>,
    ) -> Result<Self, Error> {
        let own = self::object(object, "header")?;
        let others: Vec<&Object<'_>> = unprotected.into_iter().chain(own).collect();
        let encrypted_key = string(object, "encrypted_key")?.unwrap_or_default();
        let header = Header::read(protected, &others)?;
        Ok(Self {
            header,
            encrypted_key: read_encrypted_key(encrypted_key, BAD_TEXT)?,
        })
    }
}

fn string<'o>(object: &'o Object<'_>, name: &str) -> Result<Option<&'o str>, Error> {
    object
        .text(name)
        .map_err(|_| Error::NotJson("a member that should be a string is none"))
}

fn object<'o, 't>(object: &'o Object<'t>, name: &str) -> Result<Option<&'o Object<'t>>, Error> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::Object(header)) => Ok(Some(header)),
        Some(_) => Err(Error::NotJson("a member that should be an object is none")),
    }
}

#[cfg(test)]
mod tests;
