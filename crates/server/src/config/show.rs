//! A configuration file as people read it back: all keys of the sections that it has, in the order of the reference, with
//! what the absent ones mean.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::document::{Node, read, usual};
use super::report::Report;
use super::settings::Config;
use super::shape::{DOCUMENT, Key, Kind, Need, Section, Times};

/// A configuration that says nothing wrong, to be shown. Never has a secret: the file has none but a password in the URL
/// of a store, which is left out.
#[derive(Debug)]
pub struct Shown(Node);

impl Shown {
    /// Reads a configuration file's text.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse(text: &str) -> Result<Self, Report> {
        Config::parse(text)?;
        Ok(Self(read(text, &DOCUMENT, &mut Report::default())))
    }

    /// As TOML that means the same. What an absent key means is written as its value where it is one, else as a comment.
    #[must_use]
    pub fn toml(&self) -> String {
        let mut out = String::new();
        write_section(&self.0, &DOCUMENT, "", &mut out);
        out
    }

    /// As JSON. A key that is absent and has no usual value is `null`.
    #[must_use]
    pub fn json(&self) -> Value {
        section_json(&self.0, &DOCUMENT)
    }
}

/// What a key is set to.
enum Set {
    Given(Value),
    Usual(Value),
    Absent(&'static str),
}

fn set(node: &Node, key: &Key) -> Set {
    if key.kind == Kind::Version {
        return Set::Given(1.into());
    }
    match (node.written(key.name), key.need) {
        (Some(given), _) => Set::Given(without_password(given)),
        (None, Need::Absent(meaning)) => usual(key.kind, meaning).map_or(Set::Absent(meaning), Set::Usual),
        (None, Need::Required) => Set::Absent("missing"),
    }
}

/// A URL may have a password in it, which is nobody's to read.
fn without_password(value: Value) -> Value {
    let url = value.as_str().and_then(|text| url::Url::parse(text).ok());
    let Some(mut url) = url.filter(|url| url.password().is_some()) else {
        return value;
    };
    match url.set_password(Some("REDACTED")) {
        Ok(()) => url.as_str().into(),
        Err(()) => "REDACTED".into(),
    }
}

/// Whether a section of the document is absent and means something all the same. With `[mtls]` clients are asked for
/// certificates, whatever it says, and without it they are not.
fn is_usual(node: &Node, section: &Section, inner: &Section) -> bool {
    section.name.is_empty()
        && inner.name != "mtls"
        && inner.times == Times::Once
        && node.one(inner.name).is_none()
        && inner.keys.iter().all(|key| key.need != Need::Required)
}

fn write_section(node: &Node, section: &Section, path: &str, out: &mut String) {
    for key in section.keys {
        // Writing to a String cannot fail; the results carry no information.
        let _ = match set(node, key) {
            Set::Given(value) => writeln!(out, "{} = {}", key.name, literal(&value)),
            Set::Usual(value) => writeln!(out, "{} = {}  # not given", key.name, literal(&value)),
            Set::Absent(meaning) => writeln!(out, "# {} is not given: {meaning}", key.name),
        };
    }
    for inner in section.sections {
        let empty = Node::default();
        let usual = is_usual(node, section, inner).then_some(("", &empty));
        let path = if path.is_empty() {
            inner.name.to_owned()
        } else {
            format!("{path}.{}", inner.name)
        };
        for (name, node) in node.named(inner.name).chain(usual) {
            let (heading, path) = match inner.times {
                Times::Once => (format!("[{path}]"), path.clone()),
                Times::Many => (format!("[[{path}]]"), path.clone()),
                Times::Named => {
                    let path = format!("{path}.{}", literal(&name.into()));
                    (format!("[{path}]"), path)
                }
            };
            let _ = writeln!(out, "\n{heading}");
            write_section(node, inner, &path, out);
        }
    }
}

fn section_json(node: &Node, section: &Section) -> Value {
    let mut members = Map::new();
    for key in section.keys {
        let value = match set(node, key) {
            Set::Given(value) | Set::Usual(value) => value,
            Set::Absent(_) => Value::Null,
        };
        members.insert(key.name.to_owned(), value);
    }
    for inner in section.sections {
        let empty = Node::default();
        let usual = is_usual(node, section, inner).then_some(("", &empty));
        let mut found = node
            .named(inner.name)
            .chain(usual)
            .map(|(name, node)| (name, section_json(node, inner)));
        let value = match inner.times {
            Times::Once => found.next().map(|(_, value)| value),
            Times::Many => Some(found.map(|(_, value)| value).collect()),
            Times::Named => Some(found.map(|(name, value)| (name.to_owned(), value)).collect()),
        };
        members.extend(value.map(|value| (inner.name.to_owned(), value)));
    }
    members.into()
}

/// A JSON value as TOML writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => toml::Value::from(text.as_str()).to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = include_str!("../../../../examples/gateway.toml");
    const AUTHORITY: &str = include_str!("../../../../examples/authority.toml");

    #[test]
    fn what_is_shown_means_the_same() {
        for text in [GATEWAY, AUTHORITY] {
            let shown = Shown::parse(text).unwrap().toml();
            let meant = format!("{:?}", Config::parse(text).unwrap());
            assert_eq!(format!("{:?}", Config::parse(&shown).unwrap()), meant, "{shown}");
            assert_eq!(
                Shown::parse(&shown).unwrap().json(),
                Shown::parse(text).unwrap().json()
            );
        }
        let shown = Shown::parse(GATEWAY).unwrap();
        for expected in [
            "\n[[servers]]\nname = \"crm\"\n",
            "\nclock_skew = \"30s\"  # not given\n",
            "\n[limits]\nbody = \"4MiB\"  # not given\n",
            "\nmax_token_lifetime = \"15m\"\n",
        ] {
            assert!(
                shown.toml().contains(expected),
                "no {expected:?} in\n{}",
                shown.toml()
            );
        }
        let json = shown.json();
        assert_eq!(json["servers"][0]["tools"]["find_customer"]["effect"], "read");
        assert_eq!(json["keys"]["custody"], "file");
        assert_eq!(json["issuers"][0]["jwks_uri"], Value::Null);
    }

    #[test]
    fn a_password_in_a_url_is_left_out() {
        let text = "version = 1\n[store]\nurl = \"postgres://keys:hunter2@db.example/keys\"\n";
        let shown = Shown::parse(text).unwrap();
        for text in [shown.toml(), shown.json().to_string()] {
            assert!(!text.contains("hunter2") && text.contains("db.example"), "{text}");
        }
    }
}
