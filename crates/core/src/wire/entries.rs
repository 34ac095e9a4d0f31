//! One level of a JSON object that is changed in places and kept byte for byte elsewhere.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::flat;
use super::json::Refused;

/// An object's members in order, each with the text of its value.
#[derive(Clone)]
pub(crate) struct Entries<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

#[cfg_attr(
    not(feature = "policy"),
    expect(dead_code, reason = "most of it is what policy needs: an agent has none")
)]
impl<'a> Entries<'a> {
    /// Reads an object: every name once, and none like one of `wanted` but in case.
    pub(crate) fn read(object: &'a str, wanted: &[&'static str]) -> Result<Self, Refused> {
        let members = flat::members(object, wanted)?;
        Ok(Self(
            members
                .into_iter()
                .map(|(name, value)| (name, Cow::Borrowed(value)))
                .collect(),
        ))
    }

    /// The value as it was read; `None` if there is none or it was replaced.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .find(|(candidate, _)| candidate == name)
            .and_then(|(_, value)| match value {
                Cow::Borrowed(raw) => Some(*raw),
                Cow::Owned(_) => None,
            })
    }

    /// The text of the value as it is now.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value.get())
    }

    /// Puts a value in place of the one that is there, or at the end.
    pub(crate) fn put(&mut self, name: &'a str, value: &impl Serialize) -> Result<(), Refused> {
        let value = to_raw_value(value).map_err(|_| Refused::NotJson)?;
        match self.0.iter_mut().find(|(candidate, _)| candidate == name) {
            Some((_, old)) => *old = Cow::Owned(value),
            None => self.0.push((Cow::Borrowed(name), Cow::Owned(value))),
        }
        Ok(())
    }

    /// Takes a member out, and says whether it was there.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(candidate, _)| candidate != name);
        self.0.len() < before
    }

    /// Members that are owned elsewhere.
    pub(crate) fn of(members: &'a [(String, Box<RawValue>)]) -> Self {
        let borrowed = |(name, value): &'a (String, Box<RawValue>)| {
            (Cow::Borrowed(name.as_str()), Cow::Borrowed(&**value))
        };
        Self(members.iter().map(borrowed).collect())
    }

    /// The members in order, each with the text of its value as it is now.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.get()))
    }

    /// The members in order, each on its own.
    pub(crate) fn into_owned(self) -> Vec<(String, Box<RawValue>)> {
        let owned =
            |(name, value): (Cow<'a, str>, Cow<'a, RawValue>)| (name.into_owned(), value.into_owned());
        self.0.into_iter().map(owned).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
