//! The JOSE header of a JWS (RFC 7515 §4).

use super::{Error, HEADER_BYTES};
use crate::ids::KeyId;
use crate::jose::json::{self, Object, Value};
use crate::jose::{REFUSED, SignatureAlgorithm, base64url};

/// What a header says to us. Every other parameter is ignored (RFC 7515 §4).
pub(super) struct Header {
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) kid: Option<KeyId>,
    pub(super) typ: Option<String>,
}

impl Header {
    /// Reads a protected header in its base64url text, without an allocation for what is ignored.
    pub(super) fn decode(text: &str) -> Result<Self, Error> {
        let mut buffer = [0; HEADER_BYTES];
        if base64url::exceeds(text, HEADER_BYTES) {
            return Err(Error::Header);
        }
        let json = base64url::decode_into(text, &mut buffer).map_err(|_| Error::NotCompact)?;
        let mut reading = Reading::default();
        json::each_member(json, |name, value| reading.member(&name, value)).map_err(|_| Error::Header)?;
        reading.finish()
    }

    /// As [`Self::decode`], of members that were read already.
    pub(super) fn read(members: Object<'_>) -> Result<Self, Error> {
        let mut reading = Reading::default();
        for (name, value) in members {
            reading.member(&name, value);
        }
        reading.finish()
    }
}

#[derive(Default)]
struct Reading {
    algorithm: Option<SignatureAlgorithm>,
    kid: Option<KeyId>,
    typ: Option<String>,
    wrong: Option<Error>,
}

impl Reading {
    fn member(&mut self, name: &str, value: Value<'_>) {
        match (name, value) {
            // RFC 7515 §4.1.1: REQUIRED, a case-sensitive string. Any other type names nothing we support.
            ("alg", Value::Text(named)) => self.algorithm = SignatureAlgorithm::from_name(&named),
            ("kid", Value::Text(named)) => match KeyId::parse(&named) {
                Ok(named) => self.kid = Some(named),
                Err(_) => self.wrong = Some(Error::Header),
            },
            ("typ", Value::Text(named)) => self.typ = Some(named.into_owned()),
            ("alg" | "kid" | "typ", _) => self.wrong = Some(Error::Header),
            (name, _) => {
                if let Some(refused) = REFUSED.into_iter().find(|refused| *refused == name) {
                    self.wrong = self.wrong.or(Some(Error::Refused(refused)));
                }
            }
        }
    }

    fn finish(self) -> Result<Header, Error> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        Ok(Header {
            algorithm: self.algorithm.ok_or(Error::Algorithm)?,
            kid: self.kid,
            typ: self.typ,
        })
    }
}
