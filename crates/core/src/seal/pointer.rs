//! Which places of a value are sealed: JSON Pointers (RFC 6901), with `*` for every element or member.
//!
//! A member that is called exactly `*` cannot be named alone, and `-` (RFC 6901 §4: the element after the last) names
//! nothing. The empty pointer is refused: it names the whole value, and then nothing is left to route a call by.

use std::fmt;

use serde_json::Value;

/// Longest pointer, in bytes of its text.
pub const POINTER_BYTES: usize = 1024;
/// Most steps in one pointer.
pub const POINTER_STEPS: usize = 32;
/// Most pointers for the arguments, and for the result, of one tool.
pub const POINTERS: usize = 64;
/// Most places that the pointers of one tool may select in one value.
pub const PLACES: usize = 1024;

/// A pointer, or a list of them, that cannot be configured. The message is for whoever wrote the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPointer {
    /// The empty pointer.
    #[error("the pointer `` names the whole value; name its members, as in `/card/number` or `/*`")]
    Whole,
    /// Does not begin with `/`.
    #[error("the pointer `{0}` does not begin with `/` (RFC 6901 §3); write it as in `/card/number`")]
    NoSlash(String),
    /// A `~` that is neither `~0` nor `~1`.
    #[error("the pointer `{0}` has a `~` that is neither `~0` (for `~`) nor `~1` (for `/`), RFC 6901 §3")]
    Escape(String),
    /// A control character.
    #[error("the pointer `{0}` has a control character")]
    Control(String),
    /// Longer than [`POINTER_BYTES`].
    #[error("a pointer is longer than {POINTER_BYTES} bytes")]
    TooLong,
    /// More steps than [`POINTER_STEPS`].
    #[error("the pointer `{0}` has more than {POINTER_STEPS} steps")]
    TooManySteps(String),
    /// More pointers than [`POINTERS`].
    #[error("there are more than {POINTERS} pointers")]
    TooMany,
    /// Two pointers can name the same place, or one a place inside the other's.
    #[error(
        "the pointers `{0}` and `{1}` overlap: a place inside a sealed place is sealed already; keep the outer one"
    )]
    Overlap(String, String),
}

/// One configured pointer. Parsed once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    text: Box<str>,
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Every element of an array, every member of an object.
    Every,
    /// The member of this name, or the element of this index.
    Name {
        /// Unescaped.
        name: Box<str>,
        /// Where it is also an index without leading zeros (RFC 6901 §4).
        index: Option<usize>,
    },
}

impl Pointer {
    /// Reads a pointer of the configuration.
    ///
    /// # Errors
    /// [`InvalidPointer`], never [`InvalidPointer::Overlap`] or [`InvalidPointer::TooMany`].
    pub fn parse(text: &str) -> Result<Self, InvalidPointer> {
        if text.len() > POINTER_BYTES {
            return Err(InvalidPointer::TooLong);
        }
        if text.is_empty() {
            return Err(InvalidPointer::Whole);
        }
        let shown = || text.escape_debug().to_string();
        if text.chars().any(char::is_control) {
            return Err(InvalidPointer::Control(shown()));
        }
        let steps = text
            .strip_prefix('/')
            .ok_or_else(|| InvalidPointer::NoSlash(shown()))?;
        if steps.split('/').count() > POINTER_STEPS {
            return Err(InvalidPointer::TooManySteps(shown()));
        }
        let steps = steps.split('/').map(Step::parse).collect::<Option<_>>();
        Ok(Self {
            text: text.into(),
            steps: steps.ok_or_else(|| InvalidPointer::Escape(shown()))?,
        })
    }

    /// The text, as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether some value has a place that both name, or one of them a place inside the other's.
    fn overlaps(&self, other: &Self) -> bool {
        self.steps.iter().zip(&*other.steps).all(|pair| match pair {
            (Step::Every, _) | (_, Step::Every) => true,
            (Step::Name { name: one, .. }, Step::Name { name: two, .. }) => one == two,
        })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pointer({:?})", &*self.text)
    }
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Every);
        }
        let mut name = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            name.push(match character {
                '~' => match rest.next()? {
                    '0' => '~',
                    '1' => '/',
                    _ => return None,
                },
                plain => plain,
            });
        }
        // RFC 6901 §4: array-index = %x30 / ( %x31-39 *(%x30-39) )
        let digits =
            name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
        let index = if digits { name.parse().ok() } else { None };
        Some(Self::Name {
            name: name.into(),
            index,
        })
    }
}

/// A place in one value: a pointer without `*`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(Box<str>);

impl Place {
    /// The JSON Pointer.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name in it may be the sender's.
        write!(f, "{}", self.0.escape_debug())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({:?})", &*self.0)
    }
}

/// More places than [`PLACES`], or one whose pointer is longer than [`POINTER_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configured pointers select more than {PLACES} places, or one with too long a name")]
pub struct TooManyPlaces;

/// The pointers of one tool, for one direction. No two overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointers(Box<[Pointer]>);

impl Pointers {
    /// Takes the pointers of the configuration.
    ///
    /// # Errors
    /// [`InvalidPointer::TooMany`] and [`InvalidPointer::Overlap`].
    pub fn new(pointers: Vec<Pointer>) -> Result<Self, InvalidPointer> {
        if pointers.len() > POINTERS {
            return Err(InvalidPointer::TooMany);
        }
        for (index, one) in pointers.iter().enumerate() {
            if let Some(other) = pointers.iter().skip(index + 1).find(|other| one.overlaps(other)) {
                return Err(InvalidPointer::Overlap(one.to_string(), other.to_string()));
            }
        }
        Ok(Self(pointers.into()))
    }

    /// Reads the pointers of the configuration.
    ///
    /// # Errors
    /// [`InvalidPointer`].
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, InvalidPointer> {
        Self::new(texts.into_iter().map(Pointer::parse).collect::<Result<_, _>>()?)
    }

    /// The pointers, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Pointer> {
        self.0.iter()
    }

    /// Whether nothing is sealed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The places that exist in this value.
    ///
    /// # Errors
    /// [`TooManyPlaces`].
    pub fn select(&self, value: &Value) -> Result<Vec<Place>, TooManyPlaces> {
        Ok(self.look(value)?.into_iter().map(|(place, _)| place).collect())
    }

    /// The places that exist in this value, and what is there.
    ///
    /// # Errors
    /// [`TooManyPlaces`].
    pub fn look<'v>(&self, value: &'v Value) -> Result<Vec<(Place, &'v Value)>, TooManyPlaces> {
        let mut found = Vec::new();
        for pointer in &self.0 {
            let mut path = String::new();
            look(value, &pointer.steps, &mut path, &mut found)?;
        }
        Ok(found)
    }

    /// Hands each place that exists to `each`, always in the same order, and touches nothing else.
    pub(super) fn visit<E: From<TooManyPlaces>>(
        &self,
        value: &mut Value,
        mut each: impl FnMut(&str, &mut Value) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = PLACES;
        for pointer in &self.0 {
            let mut path = String::new();
            visit(value, &pointer.steps, &mut path, &mut |path, value| {
                left = left.checked_sub(1).ok_or(TooManyPlaces)?;
                if path.len() > POINTER_BYTES {
                    return Err(TooManyPlaces.into());
                }
                each(path, value)
            })?;
        }
        Ok(())
    }
}

fn look<'v>(
    value: &'v Value,
    steps: &[Step],
    path: &mut String,
    found: &mut Vec<(Place, &'v Value)>,
) -> Result<(), TooManyPlaces> {
    let Some((step, rest)) = steps.split_first() else {
        if found.len() >= PLACES || path.len() > POINTER_BYTES {
            return Err(TooManyPlaces);
        }
        found.push((Place::new(path), value));
        return Ok(());
    };
    let mark = path.len();
    match (step, value) {
        (Step::Every, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                push_index(path, index);
                look(item, rest, path, found)?;
                path.truncate(mark);
            }
        }
        (Step::Every, Value::Object(members)) => {
            for (name, member) in members {
                push_name(path, name);
                look(member, rest, path, found)?;
                path.truncate(mark);
            }
        }
        (Step::Name { index, .. }, Value::Array(items)) => {
            if let Some((index, item)) = index.and_then(|index| Some((index, items.get(index)?))) {
                push_index(path, index);
                look(item, rest, path, found)?;
            }
        }
        (Step::Name { name, .. }, Value::Object(members)) => {
            if let Some(member) = members.get(&**name) {
                push_name(path, name);
                look(member, rest, path, found)?;
            }
        }
        (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {}
    }
    path.truncate(mark);
    Ok(())
}

fn visit<E>(
    value: &mut Value,
    steps: &[Step],
    path: &mut String,
    each: &mut impl FnMut(&str, &mut Value) -> Result<(), E>,
) -> Result<(), E> {
    let Some((step, rest)) = steps.split_first() else {
        return each(path, value);
    };
    let mark = path.len();
    match (step, value) {
        (Step::Every, Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                push_index(path, index);
                visit(item, rest, path, each)?;
                path.truncate(mark);
            }
        }
        (Step::Every, Value::Object(members)) => {
            for (name, member) in members.iter_mut() {
                push_name(path, name);
                visit(member, rest, path, each)?;
                path.truncate(mark);
            }
        }
        (Step::Name { index, .. }, Value::Array(items)) => {
            if let Some((index, item)) = index.and_then(|index| Some((index, items.get_mut(index)?))) {
                push_index(path, index);
                visit(item, rest, path, each)?;
            }
        }
        (Step::Name { name, .. }, Value::Object(members)) => {
            if let Some(member) = members.get_mut(&**name) {
                push_name(path, name);
                visit(member, rest, path, each)?;
            }
        }
        (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {}
    }
    path.truncate(mark);
    Ok(())
}

pub(super) fn push_index(path: &mut String, index: usize) {
    path.push('/');
    path.push_str(&index.to_string());
}

pub(super) fn push_name(path: &mut String, name: &str) {
    path.push('/');
    for character in name.chars() {
        match character {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            plain => path.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(pointers: &[&str], value: &Value) -> Vec<String> {
        let found = Pointers::parse(pointers.iter().copied())
            .unwrap()
            .select(value)
            .unwrap();
        found.into_iter().map(|place| place.as_str().to_owned()).collect()
    }

    #[test]
    fn the_examples_of_rfc_6901_section_5() {
        let value = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8
        });
        for (pointer, expected) in [
            ("/foo", json!(["bar", "baz"])),
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/c%d", json!(2)),
            ("/e^f", json!(3)),
            ("/g|h", json!(4)),
            ("/i\\j", json!(5)),
            ("/k\"l", json!(6)),
            ("/ ", json!(7)),
            ("/m~0n", json!(8)),
        ] {
            let pointers = Pointers::parse([pointer]).unwrap();
            let found = pointers.look(&value).unwrap();
            assert_eq!(found, [(Place::new(pointer), &expected)], "{pointer}");
        }
        for nothing in [
            "/foo/2", "/foo/-", "/foo/00", "/foo/01", "/foo/+1", "/foo/bar", "/foo/0/x", "/nothing", "/m~01n",
        ] {
            assert_eq!(places(&[nothing], &value), Vec::<String>::new(), "{nothing}");
        }
    }

    #[test]
    fn a_star_is_every_element_and_every_member() {
        let value = json!({ "a": [{ "x": 1 }, { "y": 2 }, { "x": 3 }], "b": { "c~d": { "x": 4 }, "e/f": { "x": 5 } } });
        assert_eq!(
            places(&["/*/*/x"], &value),
            ["/a/0/x", "/a/2/x", "/b/c~0d/x", "/b/e~1f/x"]
        );
        assert_eq!(
            places(&["/b/*", "/a/1/*"], &value),
            ["/b/c~0d", "/b/e~1f", "/a/1/y"]
        );
    }

    #[test]
    fn visiting_touches_what_is_named_and_nothing_else() {
        let mut value = json!({ "a": [{ "x": 1, "y": 1 }, { "x": 2 }, 3], "b": 4 });
        let pointers = Pointers::parse(["/a/*/x"]).unwrap();
        let selected = pointers.select(&value).unwrap();
        let mut visited = Vec::new();
        let all: Result<(), TooManyPlaces> = pointers.visit(&mut value, |path, value| {
            visited.push(Place::new(path));
            *value = Value::Null;
            Ok(())
        });
        assert_eq!(all, Ok(()));
        assert_eq!(visited, selected);
        assert_eq!(
            value,
            json!({ "a": [{ "x": null, "y": 1 }, { "x": null }, 3], "b": 4 })
        );
    }

    #[test]
    fn what_cannot_be_configured_says_why() {
        let shown = |text: &str| Pointer::parse(text).unwrap_err().to_string();
        assert!(shown("").contains("names the whole value"));
        assert!(shown("a/b").contains("`a/b` does not begin with `/`"));
        assert!(shown("/a~b").contains("neither `~0`"));
        assert!(shown("/a~").contains("neither `~0`"));
        assert!(shown("/a\n").contains("`/a\\n` has a control character"));
        let long = |length: usize| format!("/{}", "x".repeat(length - 1));
        assert!(Pointer::parse(&long(POINTER_BYTES)).is_ok());
        assert_eq!(
            Pointer::parse(&long(POINTER_BYTES + 1)),
            Err(InvalidPointer::TooLong)
        );
        assert!(Pointer::parse(&"/x".repeat(POINTER_STEPS)).is_ok());
        assert!(shown(&"/x".repeat(POINTER_STEPS + 1)).contains("more than 32 steps"));
        let many = |count: usize| {
            (0..count)
                .map(|n| Pointer::parse(&format!("/{n}")).unwrap())
                .collect()
        };
        assert!(Pointers::new(many(POINTERS)).is_ok());
        assert_eq!(Pointers::new(many(POINTERS + 1)), Err(InvalidPointer::TooMany));
    }

    #[test]
    fn no_place_is_named_twice() {
        for (one, other) in [
            ("/a", "/a"),
            ("/a", "/a/b"),
            ("/a/b/c", "/a"),
            ("/*", "/a"),
            ("/a/*", "/a/0"),
            ("/a/*/x", "/*/0"),
            ("/*/b", "/a/*"),
        ] {
            let verdict = Pointers::parse([one, other]);
            assert_eq!(
                verdict,
                Err(InvalidPointer::Overlap(one.into(), other.into())),
                "{one} {other}"
            );
        }
        for (one, other) in [
            ("/a", "/b"),
            ("/a/b", "/a/c"),
            ("/a/*/x", "/a/*/y"),
            ("/a~1b", "/a/b"),
            ("/a", "/ab"),
        ] {
            assert!(Pointers::parse([one, other]).is_ok(), "{one} {other}");
        }
    }

    #[test]
    fn places_are_bounded() {
        let pointers = Pointers::parse(["/*"]).unwrap();
        let mut at = Value::Array(vec![Value::Null; PLACES]);
        assert_eq!(pointers.select(&at).unwrap().len(), PLACES);
        let visited: Result<(), TooManyPlaces> = pointers.visit(&mut at, |_, _| Ok(()));
        assert_eq!(visited, Ok(()));
        let mut past = Value::Array(vec![Value::Null; PLACES + 1]);
        assert_eq!(pointers.select(&past), Err(TooManyPlaces));
        let visited: Result<(), TooManyPlaces> = pointers.visit(&mut past, |_, _| Ok(()));
        assert_eq!(visited, Err(TooManyPlaces));
        let long = json!({ "x".repeat(POINTER_BYTES): 1 });
        assert_eq!(pointers.select(&long), Err(TooManyPlaces));
    }
}
