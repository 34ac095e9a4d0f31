//! JSON read strictly in one pass, keeping only what a caller asks for.
//!
//! serde_json keeps the last of two equal names, other parsers the first, and some match names without regard to
//! case. A message that two parsers read differently is an attack, whatever it says (CVE-2026-27896), so it is
//! refused at every level. Token parts and key documents are read by `jose`, which keeps the whole tree.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits;

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not one JSON text.
    NotJson,
    /// A name twice in one object, compared after unescaping.
    Twice,
    /// A name that a case-insensitive reader takes for this one.
    LooksLike(&'static str),
    /// Deeper than [`limits::JSON_DEPTH`].
    TooDeep,
}

/// What a value is, and its text if it is a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape<'de> {
    Null,
    Bool,
    Number,
    Text(Cow<'de, str>),
    Array,
    Object,
}

impl Shape<'_> {
    /// The string, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool | Self::Number | Self::Array | Self::Object => None,
        }
    }
}

/// Whoever wants something of an object's members.
pub(crate) trait Members<'de> {
    /// The names it looks for. Others that differ from one of these in case only are refused.
    const NAMES: &'static [&'static str];

    /// Takes one member: exactly one of [`Member`]'s methods must be called.
    fn member<A: MapAccess<'de>>(&mut self, name: &str, value: Member<'_, 'de, A>) -> Result<(), A::Error>;
}

/// Wants nothing: the walk alone.
pub(crate) struct Nothing;

impl<'de> Members<'de> for Nothing {
    const NAMES: &'static [&'static str] = &[];

    fn member<A: MapAccess<'de>>(&mut self, _name: &str, value: Member<'_, 'de, A>) -> Result<(), A::Error> {
        value.walk().map(drop)
    }
}

/// Reads a text that is one value, handing the members of the outermost object to `members`.
pub(crate) fn read<'de, M: Members<'de>>(text: &'de str, members: &mut M) -> Result<Shape<'de>, Refused> {
    let mut state = State {
        names: Vec::with_capacity(16),
        refused: None,
    };
    let shape = state.value(text, 0, members);
    shape.ok_or_else(|| state.refused.unwrap_or(Refused::NotJson))
}

/// The names of all objects that are open, innermost last, and why the walk stopped.
struct State<'de> {
    names: Vec<Cow<'de, str>>,
    refused: Option<Refused>,
}

impl<'de> State<'de> {
    fn value<M: Members<'de>>(
        &mut self,
        text: &'de str,
        depth: usize,
        members: &mut M,
    ) -> Option<Shape<'de>> {
        let mut json = serde_json::Deserializer::from_str(text);
        let shape = Walk {
            state: self,
            depth,
            members,
        }
        .deserialize(&mut json)
        .ok()?;
        json.end().ok()?;
        Some(shape)
    }

    fn refuse<E: serde::de::Error>(&mut self, why: Refused) -> E {
        self.refused = Some(why);
        E::custom("refused")
    }

    /// Forgets the names of the object that began at `mark`, and says whether they were all different.
    fn close(&mut self, mark: usize) -> Result<(), Refused> {
        let mut unique = true;
        if let Some(names) = self.names.get_mut(mark..) {
            names.sort_unstable();
            unique = names.windows(2).all(|pair| !matches!(pair, [a, b] if a == b));
        }
        self.names.truncate(mark);
        if unique { Ok(()) } else { Err(Refused::Twice) }
    }
}

/// The value of a member, still unread.
pub(crate) struct Member<'r, 'de, A> {
    state: &'r mut State<'de>,
    depth: usize,
    map: &'r mut A,
}

impl<'de, A: MapAccess<'de>> Member<'_, 'de, A> {
    /// Reads it for its shape.
    pub(crate) fn walk(self) -> Result<Shape<'de>, A::Error> {
        self.object(&mut Nothing)
    }

    /// Reads it, handing its members on if it is an object.
    pub(crate) fn object<M: Members<'de>>(self, members: &mut M) -> Result<Shape<'de>, A::Error> {
        self.map.next_value_seed(Walk {
            state: self.state,
            depth: self.depth,
            members,
        })
    }

    /// Its text as it stands, read as strictly as everything else.
    pub(crate) fn raw(self) -> Result<&'de str, A::Error> {
        let text = self.map.next_value::<&'de RawValue>()?.get();
        match self.state.value(text, self.depth, &mut Nothing) {
            Some(_shape) => Ok(text),
            None => Err(A::Error::custom("refused")),
        }
    }
}

/// Reads one value that lies inside `depth` others.
struct Walk<'r, 'de, M> {
    state: &'r mut State<'de>,
    depth: usize,
    members: &'r mut M,
}

impl<'de, M: Members<'de>> DeserializeSeed<'de> for Walk<'_, 'de, M> {
    type Value = Shape<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: Members<'de>> Visitor<'de> for Walk<'_, 'de, M> {
    type Value = Shape<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Shape<'de>, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape<'de>, E> {
        Ok(Shape::Bool)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape<'de>, E> {
        Ok(Shape::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape<'de>, E> {
        Ok(Shape::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape<'de>, E> {
        Ok(Shape::Number)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Shape<'de>, E> {
        Ok(Shape::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape<'de>, E> {
        Ok(Shape::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape<'de>, A::Error> {
        let depth = self.depth.saturating_add(1);
        if depth > limits::JSON_DEPTH {
            return Err(self.state.refuse(Refused::TooDeep));
        }
        let nothing = &mut Nothing;
        while items
            .next_element_seed(Walk {
                state: self.state,
                depth,
                members: nothing,
            })?
            .is_some()
        {}
        Ok(Shape::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape<'de>, A::Error> {
        let depth = self.depth.saturating_add(1);
        if depth > limits::JSON_DEPTH {
            return Err(self.state.refuse(Refused::TooDeep));
        }
        let mark = self.state.names.len();
        while let Some(name) = map.next_key_seed(Name)? {
            if let Some(expected) = M::NAMES
                .iter()
                .find(|wanted| **wanted != name && looks_like(wanted, &name))
            {
                return Err(self.state.refuse(Refused::LooksLike(expected)));
            }
            self.members.member(
                &name,
                Member {
                    state: self.state,
                    depth,
                    map: &mut map,
                },
            )?;
            self.state.names.push(name);
        }
        self.state.close(mark).map_err(|why| self.state.refuse(why))?;
        Ok(Shape::Object)
    }
}

/// Reads a member's name.
pub(super) struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Whether some reader that ignores case takes `found` for `expected`, an ASCII name.
pub(super) fn looks_like(expected: &str, found: &str) -> bool {
    expected.chars().map(folded).eq(found.chars().map(folded))
}

/// Case folding as the most generous of the common readers do it: Go's `encoding/json` folds the long s and the
/// Kelvin sign, Java's `equalsIgnoreCase` the dotless and the dotted i.
fn folded(c: char) -> char {
    match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        'ı' | 'İ' => 'i',
        _ => c.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(text: &str) -> Result<Shape<'_>, Refused> {
        read(text, &mut Nothing)
    }

    #[test]
    fn a_name_twice_is_refused_at_every_level() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"[[{"a":1,"a":2}]]"#,
            r#"{"a":{"b":1},"c":[{"d":{"e":1,"\u0065":2}}]}"#,
        ] {
            assert_eq!(walk(text), Err(Refused::Twice), "{text}");
        }
        for text in [
            r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#,
            r#"{"a":1,"A":2}"#,
            "{}",
            r#"{"":1}"#,
        ] {
            assert_eq!(walk(text), Ok(Shape::Object), "{text}");
        }
    }

    #[test]
    fn only_one_json_text() {
        for text in [
            "",
            " ",
            "{",
            "{}{}",
            "{} x",
            "{\"a\":1,}",
            "[1,]",
            "{'a':1}",
            "{a:1}",
            "NaN",
            "01",
            "+1",
            "1.",
            ".5",
            "1e999",
            "\u{feff}{}",
            "// x\n{}",
            r#""\ud800""#,
            r#""\udc00\ud800""#,
            r#"{"\ud800":1}"#,
            "\"\n\"",
            "nul",
            "\u{c}{}",
        ] {
            assert_eq!(walk(text), Err(Refused::NotJson), "{text:?}");
        }
        assert_eq!(walk(" \t\r\n1 "), Ok(Shape::Number));
        assert_eq!(walk(r#""\ud83d\ude00""#), Ok(Shape::Text("😀".into())));
    }

    #[test]
    fn depth_at_the_limit_and_one_past_it() {
        let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert_eq!(walk(&arrays(limits::JSON_DEPTH)), Ok(Shape::Array));
        assert_eq!(walk(&objects(limits::JSON_DEPTH)), Ok(Shape::Object));
        for depth in [limits::JSON_DEPTH + 1, 200, 100_000] {
            assert_eq!(walk(&arrays(depth)), Err(Refused::TooDeep), "{depth}");
            assert_eq!(walk(&objects(depth)), Err(Refused::TooDeep), "{depth}");
        }
    }

    #[test]
    fn names_that_some_reader_takes_for_each_other() {
        for found in ["METHOD", "Method", "methoD"] {
            assert!(looks_like("method", found), "{found}");
        }
        for (expected, found) in [
            ("params", "param\u{17f}"),
            ("taskId", "tas\u{212a}id"),
            ("id", "ıd"),
            ("id", "İD"),
        ] {
            assert!(looks_like(expected, found), "{found}");
        }
        for found in ["methods", "metho", "meth0d", "m\u{435}thod", ""] {
            assert!(!looks_like("method", found), "{found}");
        }
    }
}
