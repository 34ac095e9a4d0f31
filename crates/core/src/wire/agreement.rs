//! The headers that repeat what the body says, and which era the two together speak.
//!
//! The decision is made on the body alone; a header that disagrees is refused because someone between the caller
//! and the tool may go by it (MCP 2026-07-28, Streamable HTTP, "Header validation").

use std::borrow::Cow;

use base64_simd::STANDARD;
use http::HeaderMap;

use super::Error;
use super::call::{Kind, RequestId};
use super::envelope::{META_CAPABILITIES, META_VERSION, Params};
use super::json::Shape;
use super::method::{Era, Method};
use crate::limits;

/// The stateless revisions spoken here.
pub const MODERN_VERSIONS: &[&str] = &["2026-07-28"];
/// The revisions with `initialize` spoken here, oldest first. A legacy message without a version means the first.
pub const LEGACY_VERSIONS: &[&str] = &["2025-03-26", "2025-06-18", "2025-11-25"];

const PROTOCOL_VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

/// What headers have to say, and whose message it is.
pub(super) struct Mirror<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) id: Option<&'a RequestId>,
}

impl Mirror<'_> {
    /// The era: a message is stateless when its `_meta` or its version header says so.
    pub(super) fn era(&self, params: &Params<'_>) -> Result<Era, Error> {
        if params.inner.version.is_some() {
            return Ok(Era::Modern);
        }
        let version = self.single(PROTOCOL_VERSION, "MCP-Protocol-Version")?;
        Ok(if version.is_some_and(is_modern) {
            Era::Modern
        } else {
            Era::Legacy
        })
    }

    /// The version of a stateless message, in the order that official servers check: header there, `_meta` there,
    /// the two equal, supported.
    pub(super) fn modern_version(&self, kind: Kind, params: &Params<'_>) -> Result<(), Error> {
        const HEADER: &str = "MCP-Protocol-Version";
        let header = self
            .single(PROTOCOL_VERSION, HEADER)?
            .ok_or_else(|| self.mismatch(HEADER))?;
        let meta = &params.inner;
        let missing = |key| Error::MissingMeta {
            key,
            id: self.id.cloned(),
        };
        let version = match &meta.version {
            Some(shape) => Some(shape.text().ok_or_else(|| missing(META_VERSION))?),
            // Required of requests only.
            None if kind == Kind::Request => return Err(missing(META_VERSION)),
            None => None,
        };
        if kind == Kind::Request && meta.capabilities != Some(Shape::Object) {
            return Err(missing(META_CAPABILITIES));
        }
        if version.is_some_and(|version| version != header) {
            return Err(self.mismatch(HEADER));
        }
        self.supported(header, MODERN_VERSIONS)
    }

    /// The version header of a legacy message, where there is one.
    pub(super) fn legacy_version(&self) -> Result<(), Error> {
        match self.single(PROTOCOL_VERSION, "MCP-Protocol-Version")? {
            Some(version) => self.supported(version, LEGACY_VERSIONS),
            None => Ok(()),
        }
    }

    /// GET and DELETE exist in legacy revisions only.
    pub(super) fn transport_version(&self) -> Result<(), Error> {
        if self
            .single(PROTOCOL_VERSION, "MCP-Protocol-Version")?
            .is_some_and(is_modern)
        {
            return Err(Error::PostOnly);
        }
        self.legacy_version()
    }

    /// `Mcp-Method` and `Mcp-Name`: in a stateless request they must be there, and wherever they are, they must
    /// say what the body says.
    pub(super) fn method_and_name(
        &self,
        era: Era,
        kind: Kind,
        method: &Method,
        params: &Params<'_>,
    ) -> Result<(), Error> {
        let required = era == Era::Modern && kind == Kind::Request;
        match self.single(METHOD, "Mcp-Method")? {
            Some(value) if value == method.as_str() => {}
            None if !required => {}
            Some(_) | None => return Err(self.mismatch("Mcp-Method")),
        }
        let header = self.single(NAME, "Mcp-Name")?;
        // What the method is not aimed at, no header can contradict; `forward` leaves it behind.
        let Some(aim) = method.aim() else { return Ok(()) };
        match (header, params.aim(aim).and_then(Shape::text)) {
            (Some(header), Some(name)) if decoded(header).is_some_and(|header| header == name) => Ok(()),
            (None, Some(_)) if !required => Ok(()),
            // The missing member is reported as such, by whoever needs it.
            (None, None) => Ok(()),
            (Some(_) | None, Some(_)) | (Some(_), None) => Err(self.mismatch("Mcp-Name")),
        }
    }

    /// `Mcp-Session-Id` of a legacy message: visible ASCII, once, not longer than a name (MCP 2025-11-25, Session
    /// Management).
    pub(super) fn session(&self) -> Result<Option<Box<str>>, Error> {
        self.opaque("mcp-session-id", "Mcp-Session-Id", |b| b.is_ascii_graphic())
    }

    /// `Last-Event-ID` of a legacy message: as a session, but an event's id may have spaces inside.
    pub(super) fn last_event_id(&self) -> Result<Option<Box<str>>, Error> {
        self.opaque("last-event-id", "Last-Event-ID", |b| {
            b.is_ascii_graphic() || b == b' '
        })
    }

    fn opaque(
        &self,
        name: &str,
        header: &'static str,
        allowed: impl Fn(u8) -> bool,
    ) -> Result<Option<Box<str>>, Error> {
        let bad = || Error::BadSession {
            header,
            id: self.id.cloned(),
        };
        let Some(value) = self.single(name, header).map_err(|_| bad())? else {
            return Ok(None);
        };
        let sound = !value.is_empty() && value.len() <= limits::NAME_BYTES && value.bytes().all(allowed);
        if sound { Ok(Some(value.into())) } else { Err(bad()) }
    }

    /// A header's only value, without white space around it (RFC 9110 §5.5).
    fn single(&self, name: &str, header: &'static str) -> Result<Option<&str>, Error> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        match (value.to_str(), values.next()) {
            (Ok(value), None) => Ok(Some(value.trim_matches([' ', '\t']))),
            (Ok(_) | Err(_), _) => Err(self.mismatch(header)),
        }
    }

    fn supported(&self, version: &str, spoken: &[&str]) -> Result<(), Error> {
        if spoken.contains(&version) {
            Ok(())
        } else {
            Err(Error::UnsupportedVersion {
                requested: version.into(),
                id: self.id.cloned(),
            })
        }
    }

    fn mismatch(&self, header: &'static str) -> Error {
        Error::HeaderMismatch {
            header,
            id: self.id.cloned(),
        }
    }
}

/// Whether a revision is later than the last with `initialize`, known here or not: revisions are dates, and
/// dates written so compare as strings.
fn is_modern(version: &str) -> bool {
    let date = version.len() == 10
        && version.bytes().enumerate().all(|(at, b)| {
            if at == 4 || at == 7 {
                b == b'-'
            } else {
                b.is_ascii_digit()
            }
        });
    date && LEGACY_VERSIONS.last().is_some_and(|last| version > *last)
}

/// A text as the value of `Mcp-Name` or `Mcp-Param-…`: itself, or `=?base64?…?=` where no header could hold it as it is, or
/// where it would be read as that (MCP 2026-07-28, Streamable HTTP, "Value encoding").
#[must_use]
pub fn encoded(text: &str) -> Cow<'_, str> {
    let sayable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let trimmed = text.starts_with(' ') || text.ends_with(' ');
    let misread = text.starts_with("=?base64?") && text.ends_with("?=");
    if sayable && !trimmed && !misread {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("=?base64?{}?=", STANDARD.encode_to_string(text)))
    }
}

/// The text that an `Mcp-Name` value stands for: itself, or what `=?base64?…?=` encodes. `None` when that is not
/// canonical base64 of UTF-8.
fn decoded(value: &str) -> Option<Cow<'_, str>> {
    // Nothing longer can stand for a name within bounds, and nothing longer is decoded.
    if value.len() > limits::NAME_BYTES.saturating_mul(2) {
        return None;
    }
    match value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    {
        Some(encoded) => String::from_utf8(STANDARD.decode_to_vec(encoded).ok()?)
            .ok()
            .map(Cow::Owned),
        None => Some(Cow::Borrowed(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_after_the_last_legacy_revision_are_modern() {
        for version in ["2026-07-28", "2025-11-26", "9999-99-99"] {
            assert!(is_modern(version), "{version}");
        }
        for version in [
            "2025-11-25",
            "2024-11-05",
            "1900-01-01",
            "",
            "draft",
            "2026-07-28 ",
            "2026/07/28",
            "20260-7-28",
        ] {
            assert!(!is_modern(version), "{version}");
        }
    }

    #[test]
    fn names_in_headers_are_decoded_before_they_are_compared() {
        for (value, text) in [
            ("add_note", Some("add_note")),
            ("", Some("")),
            ("=?base64?5pel5pys?=", Some("日本")),
            ("=?base64?IGE=?=", Some(" a")),
            ("=?base64??=", Some("")),
            // Only a prefix, only a suffix, other case: literal.
            ("=?base64?YQ==", Some("=?base64?YQ==")),
            ("YQ==?=", Some("YQ==?=")),
            ("=?base64?=", Some("=?base64?=")),
            ("=?BASE64?YQ==?=", Some("=?BASE64?YQ==?=")),
            // Padding, alphabet, trailing bits, UTF-8.
            ("=?base64?YQ?=", None),
            ("=?base64?YQ=?=", None),
            ("=?base64?Y-_=?=", None),
            ("=?base64?YR==?=", None),
            ("=?base64?/w==?=", None),
            ("=?base64? YQ==?=", None),
        ] {
            assert_eq!(decoded(value).as_deref(), text, "{value}");
        }
        for (text, value) in [
            ("add_note", "add_note"),
            ("a b", "a b"),
            ("", ""),
            ("日本", "=?base64?5pel5pys?="),
            (" a", "=?base64?IGE=?="),
            ("a\n", "=?base64?YQo=?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
            ("=?base64?YQ==", "=?base64?YQ=="),
        ] {
            assert_eq!(encoded(text), value);
            assert_eq!(decoded(value).as_deref(), Some(text));
        }
        let long = |n: usize| "x".repeat(n);
        assert!(decoded(&long(limits::NAME_BYTES * 2)).is_some());
        assert!(decoded(&long(limits::NAME_BYTES * 2 + 1)).is_none());
    }
}
