//! JSON read strictly: UTF-8, one value, no member twice in any object, bounded depth and width.
//!
//! serde_json alone keeps the last of two equal members, so two readers of one token could see two tokens
//! (RFC 7515 §4 and RFC 7519 §4 leave it open; we refuse).

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::limits;

/// Most members in one object.
pub const MEMBERS: usize = 256;
/// Most values in one array. Far more than any key set, audience or list of tools has, and as many as an argument of a
/// tool may need that is a series of numbers; each takes the memory of a [`Value`].
pub const ITEMS: usize = 64 * 1024;

/// A text that is not one strict JSON object. Says where, and never what: the text may be a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a strict JSON object: {0}")]
pub struct NotStrict(String);

/// A JSON value, borrowed from its text wherever it has no escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer between -2^63 and 2^63 - 1.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object.
    Object(Object<'a>),
}

impl<'a> Value<'a> {
    /// The string, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The array, if it is one.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        if let Self::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }
}

impl From<Value<'_>> for serde_json::Value {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(bool) => Self::Bool(bool),
            Value::Integer(number) => Self::from(number),
            Value::Float(number) => Self::from(number),
            Value::Text(text) => Self::String(text.into_owned()),
            Value::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Value::Object(object) => Self::Object(object.into()),
        }
    }
}

/// A member that should be a string is none.
pub(super) struct NotText;

/// A JSON object without a member that appears twice, in the order of its text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Object<'a> {
    /// Reads a text that is one object and nothing else.
    ///
    /// # Errors
    /// [`NotStrict`]: malformed, not an object, a member twice, deeper than [`limits::JSON_DEPTH`], an object
    /// wider than [`MEMBERS`] or an array longer than [`ITEMS`].
    pub fn parse(text: &'a [u8]) -> Result<Self, NotStrict> {
        let mut members = Vec::new();
        each_member(text, |name, value| members.push((name, value)))?;
        Ok(Self(members))
    }

    /// The member of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value)
    }

    /// The member of this name, as a string: absent is an answer, another JSON type is not.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, NotText> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_text().map(Some).ok_or(NotText),
        }
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl<'a> IntoIterator for Object<'a> {
    type Item = (Cow<'a, str>, Value<'a>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<Object<'_>> for serde_json::Map<String, serde_json::Value> {
    fn from(object: Object<'_>) -> Self {
        object
            .into_iter()
            .map(|(name, value)| (name.into_owned(), value.into()))
            .collect()
    }
}

/// Reads a text that is one object and nothing else, and hands over each member of it. The members handed over are
/// worth nothing when this fails in the end.
///
/// # Errors
/// [`NotStrict`] as [`Object::parse`].
pub(crate) fn each_member<'a>(
    text: &'a [u8],
    each: impl FnMut(Cow<'a, str>, Value<'a>),
) -> Result<(), NotStrict> {
    let text = object_text(text)?;
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Members {
        depth: limits::JSON_DEPTH,
        each,
    })
    .map_err(not_strict)?;
    json.end().map_err(not_strict)
}

/// The first member of this name in an object, found without reading what follows it: for a look at a text that will be
/// read strictly later.
///
/// # Errors
/// [`NotStrict`] when the text is not an object up to there.
pub(crate) fn peek<'a>(text: &'a [u8], name: &str) -> Result<Option<Value<'a>>, NotStrict> {
    let text = object_text(text)?;
    let mut found = None;
    let ended = serde_json::Deserializer::from_str(text).deserialize_map(Peek {
        name,
        found: &mut found,
    });
    match (found, ended) {
        // Leaving the object early is an error to serde_json and none to us.
        (Some(value), Ok(()) | Err(_)) => Ok(Some(value)),
        (None, Ok(())) => Ok(None),
        (None, Err(error)) => Err(not_strict(error)),
    }
}

/// One check for the whole text lets serde_json borrow its strings without a check for each.
fn object_text(text: &[u8]) -> Result<&str, NotStrict> {
    let text = std::str::from_utf8(text).map_err(|_| NotStrict("it is not UTF-8".to_owned()))?;
    // serde_json's complaint about a wrong type would quote the value.
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err(NotStrict("it is not an object".to_owned()));
    }
    Ok(text)
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn not_strict(error: serde_json::Error) -> NotStrict {
    NotStrict(error.to_string())
}

/// Reads one object that may hold values `depth - 1` deep.
struct Members<F> {
    depth: usize,
    each: F,
}

impl<'de, F: FnMut(Cow<'de, str>, Value<'de>)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(Name(name)) = map.next_key_seed(NameSeed)? {
            names.add(name.clone()).map_err(A::Error::custom)?;
            let value = map.next_value_seed(ValueSeed {
                depth: self.depth.saturating_sub(1),
            })?;
            (self.each)(name, value);
        }
        Ok(())
    }
}

/// The names of an object so far: the first few without an allocation, which is all of them for a token.
#[derive(Default)]
struct Names<'de> {
    /// One bit for each shape of name that was seen: where the bit of a name is not set, the name is new.
    shapes: u64,
    few: [&'de str; 16],
    filled: usize,
    more: Vec<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    fn add(&mut self, name: Cow<'de, str>) -> Result<(), &'static str> {
        if self.filled + self.more.len() >= MEMBERS {
            return Err("an object has too many members");
        }
        let ends = name.bytes().next().zip(name.bytes().next_back());
        let (first, last) = ends.map_or((0, 0), |(first, last)| (usize::from(first), usize::from(last)));
        let shape = 1_u64 << (((first * 7) ^ (last * 3) ^ name.len()) & 63);
        if self.shapes & shape != 0 && self.contains(&name) {
            return Err("a member appears twice");
        }
        self.shapes |= shape;
        match (self.few.get_mut(self.filled), name) {
            (Some(place), Cow::Borrowed(name)) => {
                *place = name;
                self.filled += 1;
            }
            (Some(_) | None, name) => self.more.push(name),
        }
        Ok(())
    }

    fn contains(&self, name: &str) -> bool {
        let few = self.few.iter().take(self.filled);
        few.copied()
            .chain(self.more.iter().map(|name| &**name))
            .any(|earlier| earlier == name)
    }
}

/// Reads an object up to the member of one name.
struct Peek<'n, 'f, 'de> {
    name: &'n str,
    found: &'f mut Option<Value<'de>>,
}

impl<'de> Visitor<'de> for Peek<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key_seed(NameSeed)? {
            if name == self.name {
                *self.found = Some(map.next_value_seed(ValueSeed {
                    depth: limits::JSON_DEPTH - 1,
                })?);
                return Ok(());
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

struct Name<'de>(Cow<'de, str>);
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

#[derive(Clone, Copy)]
struct ValueSeed {
    depth: usize,
}

impl ValueSeed {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == 0 {
            Err(E::custom("it is nested too deeply"))
        } else {
            Ok(Self {
                depth: self.depth - 1,
            })
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "beyond 2^63 the exact value means nothing to any reader here"
        )]
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            if items.len() >= ITEMS {
                return Err(A::Error::custom("an array has too many values"));
            }
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value<'de>, A::Error> {
        self.deeper::<A::Error>()?;
        let mut members = Vec::new();
        Members {
            depth: self.depth,
            each: |name, value| members.push((name, value)),
        }
        .visit_map(map)?;
        Ok(Value::Object(Object(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_unique_at_every_level() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"\u0061":1,"a":2}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert!(Object::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Object::parse(br#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#).is_ok());
        assert!(Object::parse(br#"{"\u0061":1,"":2,"b":3}"#).is_ok());
        // whichever two of many
        for (first, second) in [(0, 1), (0, 15), (15, 16), (16, 17), (3, 40), (39, 40)] {
            let name = |i: usize| if i == second { first } else { i };
            let members: Vec<String> = (0..41).map(|i| format!("\"m{}\":1", name(i))).collect();
            assert!(
                Object::parse(format!("{{{}}}", members.join(",")).as_bytes()).is_err(),
                "{first} {second}"
            );
        }
    }

    #[test]
    fn only_one_object_and_nothing_else() {
        for bad in [
            "",
            "[]",
            "1",
            "null",
            "\"x\"",
            "{}{}",
            "{} x",
            "{\"a\":1,}",
            "{'a':1}",
            "{\"a\":NaN}",
            "{\"a\":01}",
            "/**/{}",
        ] {
            assert!(Object::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Object::parse(b" {} \n").is_ok());
    }

    #[test]
    fn only_utf_8_without_a_byte_order_mark() {
        let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bad in [
            b"\xef\xbb\xbf{}".as_slice(),
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\xc0\xaf\"}",
            br#"{"a":"\ud800"}"#,
            &utf16,
        ] {
            assert!(Object::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn depth_at_the_limit_and_one_past_it() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(Object::parse(nested(limits::JSON_DEPTH).as_bytes()).is_ok());
        assert!(Object::parse(nested(limits::JSON_DEPTH + 1).as_bytes()).is_err());
        assert!(Object::parse(nested(100_000).as_bytes()).is_err());
        let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(Object::parse(objects(limits::JSON_DEPTH).as_bytes()).is_ok());
        assert!(Object::parse(objects(limits::JSON_DEPTH + 1).as_bytes()).is_err());
    }

    #[test]
    fn width_at_the_limit_and_one_past_it() {
        let wide = |n: usize| {
            format!(
                "{{{}}}",
                (0..n)
                    .map(|i| format!("\"m{i}\":1"))
                    .collect::<Vec<_>>()
                    .join(",")
            )
        };
        assert!(Object::parse(wide(MEMBERS).as_bytes()).is_ok());
        assert!(Object::parse(wide(MEMBERS + 1).as_bytes()).is_err());
    }

    #[test]
    fn arrays_at_the_limit_and_one_past_it() {
        let long = |n: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(n - 1));
        assert!(Object::parse(long(ITEMS).as_bytes()).is_ok());
        assert!(Object::parse(long(ITEMS + 1).as_bytes()).is_err());
        let inside = format!("{{\"a\":[{}]}}", &long(ITEMS + 1));
        assert!(Object::parse(inside.as_bytes()).is_err());
    }

    #[test]
    fn a_peek_reads_no_further_than_the_member() {
        let text = |text: &str| peek(text.as_bytes(), "iss").map(|found| found.map(serde_json::Value::from));
        assert_eq!(text(r#"{"iss":"a","iss":"b"} x"#), Ok(Some("a".into())));
        assert_eq!(text(r#"{"x":{"iss":"b"},"iss":1,"#), Ok(Some(1.into())));
        assert_eq!(text(r#"{"x":1}"#), Ok(None));
        for bad in ["[]", "", "{", r#"{"iss":"#, r#"{"x":1,}"#, r#"{"iss":tru}"#] {
            assert!(text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_do_not_repeat_the_text() {
        let error = Object::parse(br#"{"hunter2":1,"hunter2":hunter2}"#)
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
        let error = Object::parse(br#"["hunter2"]"#).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        let error = Object::parse(br#""hunter2""#).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
