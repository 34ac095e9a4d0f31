//! The text that stands in place of a value.

use std::fmt;

use serde_json::Value;

use super::error::Error;
use super::pointer::{Place, push_index, push_name};
use crate::jose::base64url;
use crate::random::{RandomUnavailable, SecureRandom};

/// How every sealed text begins.
pub const PREFIX: &str = "portcullis-sealed:";
pub(super) const NESTED: &str = "portcullis-sealed:1:";
pub(super) const SESSION: &str = "portcullis-sealed:s1:";

macro_rules! random_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A new one.
            ///
            /// # Errors
            /// [`RandomUnavailable`].
            pub fn new(random: &dyn SecureRandom) -> Result<Self, RandomUnavailable> {
                let mut bytes = [0; 16];
                random.fill(&mut bytes)?;
                Ok(Self(bytes))
            }

            /// Reads the text form.
            ///
            /// # Errors
            /// [`Error::Form`].
            pub fn parse(text: &str) -> Result<Self, Error> {
                let mut bytes = [0; 16];
                match base64url::decode_into(text, &mut bytes) {
                    Ok(read) if read.len() == 16 => Ok(Self(bytes)),
                    Ok(_) | Err(_) => Err(Error::Form),
                }
            }
        }

        /// 22 characters of base64url.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&base64url::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

random_name! {
    /// The name of a session: 128 random bits. No secret; it tells nothing.
    SessionId
}
random_name! {
    /// The name of one message, made by the agent for each call: 128 random bits. No secret. Nobody can predict it, so
    /// that no two calls of one sender have the same binding, and no field of the one opens in the other.
    MessageId
}

/// A sealed text, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form<'t> {
    /// `portcullis-sealed:1:<compact JWE>`
    Nested(&'t str),
    /// `portcullis-sealed:s1:<session>.<counter>.<ciphertext and tag>`
    Session {
        /// Which session.
        id: SessionId,
        /// Which field of it.
        counter: u64,
        /// base64url.
        sealed: &'t str,
    },
}

impl<'t> Form<'t> {
    /// Reads a sealed text.
    ///
    /// # Errors
    /// [`Error::Form`].
    pub fn parse(text: &'t str) -> Result<Self, Error> {
        if let Some(token) = text.strip_prefix(NESTED) {
            return Ok(Self::Nested(token));
        }
        let session = text.strip_prefix(SESSION).ok_or(Error::Form)?;
        let mut parts = session.split('.');
        let (Some(id), Some(counter), Some(sealed), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::Form);
        };
        // One spelling: digits alone, no zero in front.
        let plain = counter.bytes().all(|byte| byte.is_ascii_digit())
            && (counter == "0" || !counter.starts_with('0'));
        Ok(Self::Session {
            id: SessionId::parse(id)?,
            counter: if plain { counter.parse().ok() } else { None }.ok_or(Error::Form)?,
            sealed,
        })
    }
}

/// Which way the fields of a value are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each field is a nested JWT.
    Nested,
    /// With the keys of this session.
    Session(SessionId),
}

/// Whether a value claims to be sealed.
pub(super) fn is_sealed(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with(PREFIX))
}

/// The first sealed text in a value, wherever it is.
pub(super) fn find_sealed(value: &Value) -> Option<Place> {
    let mut path = String::new();
    find(value, &mut path).then(|| Place::new(&path))
}

/// Leaves in `path` where it was found.
fn find(value: &Value, path: &mut String) -> bool {
    let mark = path.len();
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(_) => return is_sealed(value),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                push_index(path, index);
                if find(item, path) {
                    return true;
                }
                path.truncate(mark);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                push_name(path, name);
                if find(member, path) {
                    return true;
                }
                path.truncate(mark);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_spelling_per_text() {
        let id = "AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(Form::parse("portcullis-sealed:1:a.b"), Ok(Form::Nested("a.b")));
        let good = format!("{SESSION}{id}.18446744073709551615.xyz");
        let id_read = SessionId::parse(id).unwrap();
        assert_eq!(id_read.to_string(), id);
        assert_eq!(
            Form::parse(&good),
            Ok(Form::Session {
                id: id_read,
                counter: u64::MAX,
                sealed: "xyz"
            })
        );
        for rest in [
            "",
            "..",
            "1.2",
            &format!("{id}.1"),
            &format!("{id}.1.x.y"),
            &format!("{id}.01.x"),
            &format!("{id}.+1.x"),
            &format!("{id}..x"),
            &format!("{id}.18446744073709551616.x"),
            &format!("{id}A.1.x"),
            "AAAA.1.x",
            "AAAAAAAAAAAAAAAAAAAAAB.1.x",
        ] {
            assert_eq!(
                Form::parse(&format!("{SESSION}{rest}")),
                Err(Error::Form),
                "{rest}"
            );
        }
        for bad in [
            "",
            "portcullis-sealed:",
            "portcullis-sealed:2:x",
            "portcullis-sealed:s2:x",
            "Portcullis-sealed:1:x",
        ] {
            assert_eq!(Form::parse(bad), Err(Error::Form), "{bad}");
        }
    }

    #[test]
    fn a_sealed_text_is_found_wherever_it_is() {
        let value = json!({ "a": [1, { "b/c": "portcullis-sealed:zzz" }], "d": "see portcullis-sealed:1:x" });
        assert_eq!(find_sealed(&value), Some(Place::new("/a/1/b~1c")));
        assert_eq!(
            find_sealed(&json!([
                "portcullis-sealed",
                "x portcullis-sealed:1:",
                null,
                true,
                7
            ])),
            None
        );
        assert_eq!(find_sealed(&json!("portcullis-sealed:")), Some(Place::new("")));
    }
}
