//! The JOSE header (RFC 7516 §4).

use serde_json::{Map, Value as Json};

use super::alg::not_offered;
use super::{ContentEncryption, Error, KeyManagement, PARTY_BYTES, Protected, agree};
use crate::ids::KeyId;
use crate::jose::json::{Object, Value};
use crate::jose::jwk::PublicKey;
use crate::jose::{REFUSED, base64url};

/// Parameters that are ours to set.
const OURS: [&str; 8] = ["alg", "enc", "kid", "typ", "cty", "epk", "apu", "apv"];

/// What the header says.
pub(super) struct Header {
    pub(super) algorithm: KeyManagement,
    pub(super) encryption: ContentEncryption,
    pub(super) kid: Option<KeyId>,
    /// From the protected header alone.
    pub(super) typ: Option<String>,
    /// From the protected header alone.
    pub(super) cty: Option<String>,
    pub(super) epk: Option<PublicKey>,
    pub(super) apu: Vec<u8>,
    pub(super) apv: Vec<u8>,
}

impl Header {
    /// Reads the protected header and the others, which have no member in common (RFC 7516 §7.2.1).
    pub(super) fn read(protected: &Object<'_>, others: &[&Object<'_>]) -> Result<Self, Error> {
        let algorithm = named(protected, "alg", KeyManagement::from_name)?;
        let encryption = named(protected, "enc", ContentEncryption::from_name)?;
        let mut header = Self {
            algorithm,
            encryption,
            kid: None,
            typ: None,
            cty: None,
            epk: None,
            apu: Vec::new(),
            apv: Vec::new(),
        };
        for (name, value) in protected.iter() {
            header.take(name, value, true)?;
        }
        for (index, other) in others.iter().enumerate() {
            for (name, value) in other.iter() {
                let earlier = others.iter().take(index);
                if protected.get(name).is_some() || earlier.clone().any(|earlier| earlier.get(name).is_some())
                {
                    return Err(Error::Twice);
                }
                header.take(name, value, false)?;
            }
        }
        if header.algorithm.agrees() == header.epk.is_some() {
            Ok(header)
        } else {
            Err(Error::EphemeralKey)
        }
    }

    fn take(&mut self, name: &str, value: &Value<'_>, protected: bool) -> Result<(), Error> {
        match name {
            "kid" => {
                let kid = value.as_text().and_then(|kid| KeyId::parse(kid).ok());
                self.kid = Some(kid.ok_or(Error::Header("`kid` is not a key id"))?);
            }
            "typ" | "cty" => {
                let text = value
                    .as_text()
                    .ok_or(Error::Header("`typ` and `cty` are strings"))?;
                // Outside of the protected header they are anybody's.
                if protected {
                    let place = if name == "typ" {
                        &mut self.typ
                    } else {
                        &mut self.cty
                    };
                    *place = Some(text.to_owned());
                }
            }
            "epk" => self.epk = Some(ephemeral(value)?),
            "apu" => self.apu = party(value)?,
            "apv" => self.apv = party(value)?,
            "enc" | "alg" if !protected => {
                return Err(Error::Header("`alg` and `enc` belong into the protected header"));
            }
            name => {
                if let Some(refused) = REFUSED.into_iter().find(|refused| *refused == name) {
                    return Err(Error::Refused(refused));
                }
            }
        }
        Ok(())
    }
}

fn named<T>(
    header: &Object<'_>,
    member: &str,
    from_name: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Error> {
    let name = header.get(member).and_then(Value::as_text);
    let name = name.ok_or(Error::Header(
        "the protected header needs `alg` and `enc`, both strings",
    ))?;
    from_name(name).ok_or(Error::NotOffered(not_offered(name)))
}

/// RFC 7518 §4.6.1.2 and §4.6.1.3.
fn party(value: &Value<'_>) -> Result<Vec<u8>, Error> {
    const WRONG: Error = Error::Header("`apu` and `apv` are short base64url strings");
    let text = value.as_text().ok_or(WRONG)?;
    let bytes = base64url::decode(text).map_err(|_| WRONG)?;
    if bytes.len() > PARTY_BYTES {
        return Err(WRONG);
    }
    Ok(bytes)
}

/// RFC 7518 §4.6.1.1: a public key of a curve that is offered. Members besides the key itself say nothing to us, and yet
/// must be what RFC 7517 §4 makes of them: a key that two readers could read differently is none.
fn ephemeral(value: &Value<'_>) -> Result<PublicKey, Error> {
    let Value::Object(jwk) = value else {
        return Err(Error::EphemeralKey);
    };
    let well_typed = jwk.iter().all(|(name, value)| match name {
        "use" => value.as_text() == Some("enc"),
        "alg" | "kid" | "x5u" | "x5t" | "x5t#S256" => value.as_text().is_some(),
        "key_ops" | "x5c" => value
            .as_array()
            .is_some_and(|items| items.iter().all(|item| item.as_text().is_some())),
        "ext" => matches!(value, Value::Bool(_)),
        // A symmetric key has no public half.
        "k" => false,
        _ => true,
    });
    let key = PublicKey::from_jwk(jwk).map_err(|_| Error::EphemeralKey)?;
    if well_typed && agree::primitive(&key).is_some() {
        Ok(key)
    } else {
        Err(Error::EphemeralKey)
    }
}

/// What is in every header of a message: algorithms and media types.
pub(super) fn of_message(
    algorithm: KeyManagement,
    protected: &Protected<'_>,
) -> Result<Map<String, Json>, Error> {
    let mut header = Map::new();
    header.insert("alg".to_owned(), algorithm.name().into());
    header.insert("enc".to_owned(), protected.enc.name().into());
    for (name, value) in [("typ", protected.typ), ("cty", protected.cty)] {
        if let Some(value) = value {
            header.insert(name.to_owned(), value.into());
        }
    }
    if algorithm.agrees() {
        for (name, value) in [("apu", protected.apu), ("apv", protected.apv)] {
            if value.len() > PARTY_BYTES {
                return Err(Error::Header("`apu` and `apv` are short"));
            }
            if !value.is_empty() {
                header.insert(name.to_owned(), base64url::encode(value).into());
            }
        }
    }
    Ok(header)
}

/// What is of one recipient: the name of the key, and the ephemeral key.
pub(super) fn of_recipient(header: &mut Map<String, Json>, kid: Option<&KeyId>, epk: Option<&PublicKey>) {
    if let Some(kid) = kid {
        header.insert("kid".to_owned(), kid.as_str().into());
    }
    if let Some(epk) = epk {
        let members = epk.members().into_iter();
        let jwk: Map<String, Json> = members
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        header.insert("epk".to_owned(), jwk.into());
    }
}

/// Whether a sender may set this parameter itself.
pub(super) fn free(name: &str) -> Result<(), Error> {
    match OURS.into_iter().chain(REFUSED).find(|taken| *taken == name) {
        Some(taken) => Err(Error::Refused(taken)),
        None => Ok(()),
    }
}
