//! One level of a JSON object that came from a server.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{Name, Refused, looks_like};

/// The members of one object as they stand: names unescaped, all different, none like one of `wanted` but in case;
/// values unread but well-formed. For a peer's documents that pass on byte for byte, where only the levels we
/// read must be unambiguous.
pub(crate) fn members<'de>(
    object: &'de str,
    wanted: &[&'static str],
) -> Result<Vec<(Cow<'de, str>, &'de RawValue)>, Refused> {
    let mut json = serde_json::Deserializer::from_str(object);
    let found = json.deserialize_map(Flat).map_err(|_| Refused::NotJson)?;
    json.end().map_err(|_| Refused::NotJson)?;
    let mut names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
    for name in &names {
        if let Some(expected) = wanted
            .iter()
            .find(|wanted| *wanted != name && looks_like(wanted, name))
        {
            return Err(Refused::LooksLike(expected));
        }
    }
    names.sort_unstable();
    if names.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        return Err(Refused::Twice);
    }
    Ok(found)
}

struct Flat;

impl<'de> Visitor<'de> for Flat {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            found.push((name, map.next_value()?));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_members_are_unique_and_raw() {
        let found = members(r#" {"a": {"x":1, "x":2} ,"\u0062":[1]} "#, &["a"]).unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (&**name, value.get())).collect();
        assert_eq!(found, [("a", r#"{"x":1, "x":2}"#), ("b", "[1]")]);
        assert_eq!(members(r#"{"a":1,"\u0061":1}"#, &[]).unwrap_err(), Refused::Twice);
        assert_eq!(
            members(r#"{"A":1}"#, &["a"]).unwrap_err(),
            Refused::LooksLike("a")
        );
        for text in ["[]", "{} {}", "1", "{\"a\":}"] {
            assert_eq!(members(text, &[]).unwrap_err(), Refused::NotJson, "{text}");
        }
    }
}
