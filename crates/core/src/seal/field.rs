//! From a value to the same value with its fields sealed, and back. The same for both modes.

use serde_json::Value;

use super::binding::{ArgumentsDigest, Binding, BoundCall, Call, Direction};
use super::error::Error;
use super::form::{Form, Mode, find_sealed, is_sealed};
use super::pointer::{Place, Pointers};
use crate::ids::TokenId;

/// Whether a configured field may come in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clear {
    /// It must be sealed.
    Refuse,
    /// It may be in clear, from a client that cannot seal.
    Allow,
}

/// Seals one field.
pub trait Sealer {
    /// The text to put in place of `value`.
    ///
    /// # Errors
    /// [`Error`].
    fn seal(&mut self, binding: &Binding<'_>, place: &str, value: &Value) -> Result<String, Error>;
}

/// Opens one field.
pub trait Opener {
    /// What was sealed, after every check but the last.
    ///
    /// # Errors
    /// [`Error`].
    fn open(&mut self, binding: &Binding<'_>, place: &str, form: Form<'_>) -> Result<Value, Error>;

    /// The last check, over all fields of the message, before anything of it is released: once means once.
    ///
    /// # Errors
    /// [`Error::Replayed`] and its like.
    fn finish(&mut self) -> Result<Vec<TokenId>, Error>;
}

/// A value whose fields were opened.
#[derive(Debug, PartialEq)]
pub struct Opened {
    /// With what was sealed back in its places.
    pub value: Value,
    /// The places that were sealed, in the order they were opened.
    pub opened: Vec<Place>,
    /// The tokens, where each field is one. The memory that the opener was given has them.
    pub jtis: Vec<TokenId>,
}

/// Seals the configured fields of a call's arguments. Arguments that are absent are given as `null`, and are bound
/// as `{}`.
///
/// # Errors
/// [`Error::AlreadySealed`], [`Error::TooMany`], [`Error::NotExact`], and what the sealer says.
pub fn seal_arguments(
    arguments: Value,
    pointers: &Pointers,
    call: Call,
    sealer: &mut dyn Sealer,
) -> Result<(Value, BoundCall), Error> {
    refuse_sealed(&arguments)?;
    let taken = Taken::from(arguments, pointers)?;
    let bound = BoundCall::new(call, taken.digest()?);
    let sealed = taken.seal(pointers, &bound.binding(Direction::Arguments), sealer)?;
    Ok((sealed, bound))
}

/// Seals the configured fields of the result of a call.
///
/// # Errors
/// As [`seal_arguments`].
pub fn seal_result(
    result: Value,
    pointers: &Pointers,
    call: &BoundCall,
    sealer: &mut dyn Sealer,
) -> Result<Value, Error> {
    refuse_sealed(&result)?;
    Taken::from(result, pointers)?.seal(pointers, &call.binding(Direction::Result), sealer)
}

/// Opens the configured fields of a call's arguments.
///
/// # Errors
/// [`Error`]. Nothing of the value is given out unless every field of it held.
pub fn open_arguments(
    arguments: Value,
    pointers: &Pointers,
    clear: Clear,
    call: Call,
    opener: &mut dyn Opener,
) -> Result<(Opened, BoundCall), Error> {
    let taken = Taken::from(arguments, pointers)?;
    taken.as_configured(clear)?;
    let bound = BoundCall::new(call, taken.digest()?);
    let opened = taken.open(pointers, &bound.binding(Direction::Arguments), opener)?;
    Ok((opened, bound))
}

/// Opens the configured fields of the result of a call.
///
/// # Errors
/// As [`open_arguments`].
pub fn open_result(
    result: Value,
    pointers: &Pointers,
    clear: Clear,
    call: &BoundCall,
    opener: &mut dyn Opener,
) -> Result<Opened, Error> {
    let taken = Taken::from(result, pointers)?;
    taken.as_configured(clear)?;
    taken.open(pointers, &call.binding(Direction::Result), opener)
}

/// For a value without sealed fields: refuses one that has a sealed text all the same. A client that seals for a tool
/// that does not open is told so, instead of the tool being told ciphertext.
///
/// # Errors
/// [`Error::AlreadySealed`].
pub fn refuse_sealed(value: &Value) -> Result<(), Error> {
    find_sealed(value).map_or(Ok(()), |place| Err(Error::AlreadySealed(place)))
}

/// Which way the configured fields of this value claim to be sealed, so that the right opener can be found: [`None`]
/// when none of them is.
///
/// # Errors
/// [`Error::Form`], [`Error::TooMany`], and [`Error::Mode`] for more than one way.
pub fn mode(value: &Value, pointers: &Pointers) -> Result<Option<Mode>, Error> {
    let mut found = None;
    for (_, value) in pointers.look(value)? {
        let Some(text) = value.as_str().filter(|_| is_sealed(value)) else {
            continue;
        };
        let mode = match Form::parse(text)? {
            Form::Nested(_) => Mode::Nested,
            Form::Session { id, .. } => Mode::Session(id),
        };
        if found.is_some_and(|found| found != mode) {
            return Err(Error::Mode);
        }
        found = Some(mode);
    }
    Ok(found)
}

/// A value with `null` at every configured place, and what was there.
struct Taken {
    rest: Value,
    fields: Vec<(Place, Value)>,
}

impl Taken {
    fn from(mut value: Value, pointers: &Pointers) -> Result<Self, Error> {
        let mut fields = Vec::new();
        pointers.visit(&mut value, |path, value| {
            fields.push((Place::new(path), value.take()));
            Ok::<_, Error>(())
        })?;
        Ok(Self { rest: value, fields })
    }

    fn digest(&self) -> Result<ArgumentsDigest, Error> {
        if self.rest.is_null() {
            return ArgumentsDigest::of(&Value::Object(serde_json::Map::new()));
        }
        ArgumentsDigest::of(&self.rest)
    }

    /// Sealed where it is configured, and nowhere else. Configuration decides, before any key is used.
    fn as_configured(&self, clear: Clear) -> Result<(), Error> {
        if let Some(place) = find_sealed(&self.rest) {
            return Err(Error::Unexpected(place));
        }
        for (place, value) in &self.fields {
            if is_sealed(value) {
                continue;
            }
            match clear {
                Clear::Refuse => return Err(Error::InClear(place.clone())),
                Clear::Allow => inside(place, value)?,
            }
        }
        Ok(())
    }

    fn seal(
        self,
        pointers: &Pointers,
        binding: &Binding<'_>,
        sealer: &mut dyn Sealer,
    ) -> Result<Value, Error> {
        let mut sealed = Vec::with_capacity(self.fields.len());
        for (place, value) in &self.fields {
            sealed.push(Value::String(sealer.seal(binding, place.as_str(), value)?));
        }
        put_back(self.rest, pointers, sealed)
    }

    fn open(
        self,
        pointers: &Pointers,
        binding: &Binding<'_>,
        opener: &mut dyn Opener,
    ) -> Result<Opened, Error> {
        let mut values = Vec::with_capacity(self.fields.len());
        let mut opened = Vec::new();
        for (place, value) in self.fields {
            let Some(text) = value.as_str().filter(|_| is_sealed(&value)) else {
                // In clear, and allowed to be.
                values.push(value);
                continue;
            };
            let clear = opener.open(binding, place.as_str(), Form::parse(text)?)?;
            inside(&place, &clear)?;
            values.push(clear);
            opened.push(place);
        }
        let jtis = opener.finish()?;
        Ok(Opened {
            value: put_back(self.rest, pointers, values)?,
            opened,
            jtis,
        })
    }
}

/// A sealed text inside what was opened would go on as ciphertext.
fn inside(place: &Place, value: &Value) -> Result<(), Error> {
    find_sealed(value).map_or(Ok(()), |inner| {
        Err(Error::Unexpected(Place::new(&format!(
            "{}{}",
            place.as_str(),
            inner.as_str()
        ))))
    })
}

/// The places are visited in the order they were taken in, and `null` at one hides no other: no two overlap.
fn put_back(mut rest: Value, pointers: &Pointers, values: Vec<Value>) -> Result<Value, Error> {
    let mut values = values.into_iter();
    pointers.visit(&mut rest, |_, place| {
        *place = values.next().ok_or(Error::Bug)?;
        Ok::<_, Error>(())
    })?;
    if values.next().is_some() {
        return Err(Error::Bug);
    }
    Ok(rest)
}
