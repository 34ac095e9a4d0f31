//! From TOML text to checked values: every unknown key, missing key and wrong kind is found before anything is used.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use portcullis_core::time::Lifetime;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::limits::is_rate;
use super::report::{Report, did_you_mean};
use super::shape::{COUNT, Key, Kind, Need, Section, Times};
use super::units;

/// A value of the kind its key wants, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) at: Range<usize>,
    pub(super) path: String,
}

#[derive(Clone, Debug)]
enum Checked {
    Text(String),
    Duration(Lifetime),
    Size(usize),
    Count(usize),
    Texts(Vec<Found<String>>),
}

/// One section as found, its values checked.
#[derive(Debug, Default)]
pub(super) struct Node {
    at: Range<usize>,
    path: String,
    values: BTreeMap<&'static str, Found<Checked>>,
    sections: BTreeMap<&'static str, Vec<(String, Node)>>,
}

impl Node {
    pub(super) fn at(&self) -> &Range<usize> {
        &self.at
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn text(&self, name: &str) -> Option<Found<&str>> {
        let found = self.values.get(name)?;
        match &found.value {
            Checked::Text(text) => Some(Found {
                value: text,
                at: found.at.clone(),
                path: found.path.clone(),
            }),
            Checked::Duration(_) | Checked::Size(_) | Checked::Count(_) | Checked::Texts(_) => None,
        }
    }

    pub(super) fn path_value(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|found| PathBuf::from(found.value))
    }

    pub(super) fn duration(&self, name: &str) -> Option<Lifetime> {
        match self.values.get(name)?.value {
            Checked::Duration(lifetime) => Some(lifetime),
            Checked::Text(_) | Checked::Size(_) | Checked::Count(_) | Checked::Texts(_) => None,
        }
    }

    pub(super) fn size(&self, name: &str) -> Option<usize> {
        match self.values.get(name)?.value {
            Checked::Size(bytes) => Some(bytes),
            Checked::Text(_) | Checked::Duration(_) | Checked::Count(_) | Checked::Texts(_) => None,
        }
    }

    pub(super) fn count(&self, name: &str) -> Option<usize> {
        match self.values.get(name)?.value {
            Checked::Count(count) => Some(count),
            Checked::Text(_) | Checked::Duration(_) | Checked::Size(_) | Checked::Texts(_) => None,
        }
    }

    pub(super) fn texts(&self, name: &str) -> Option<&[Found<String>]> {
        match &self.values.get(name)?.value {
            Checked::Texts(texts) => Some(texts),
            Checked::Text(_) | Checked::Duration(_) | Checked::Size(_) | Checked::Count(_) => None,
        }
    }

    /// The value as it would be written again.
    pub(super) fn written(&self, name: &str) -> Option<serde_json::Value> {
        Some(written(&self.values.get(name)?.value))
    }

    pub(super) fn one(&self, name: &str) -> Option<&Self> {
        self.sections.get(name)?.first().map(|(_, node)| node)
    }

    pub(super) fn many(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.sections
            .get(name)
            .into_iter()
            .flatten()
            .map(|(_, node)| node)
    }

    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = (&str, &Self)> {
        self.sections
            .get(name)
            .into_iter()
            .flatten()
            .map(|(key, node)| (key.as_str(), node))
    }
}

/// Reads the whole text. What is wrong goes to the report; what is right is in the node.
pub(super) fn read(text: &str, document: &'static Section, report: &mut Report) -> Node {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().unwrap_or(0..0);
        report.add(text, &at, "", format!("not TOML: {}", error.message()), None);
    }
    let mut reader = Reader { text, report };
    reader.section(table.get_ref(), 0..0, document, String::new())
}

struct Reader<'r> {
    text: &'r str,
    report: &'r mut Report,
}

impl Reader<'_> {
    fn section(
        &mut self,
        table: &DeTable<'_>,
        at: Range<usize>,
        section: &'static Section,
        path: String,
    ) -> Node {
        let mut node = Node {
            at: at.clone(),
            path: path.clone(),
            ..Node::default()
        };
        for (name, value) in table {
            let spelled = name.get_ref().as_ref();
            let inner_path = join(&path, spelled);
            if let Some(key) = section.keys.iter().find(|key| key.name == spelled) {
                if let Some(checked) = self.value(value, key, &inner_path) {
                    node.values.insert(
                        key.name,
                        Found {
                            value: checked,
                            at: value.span(),
                            path: inner_path,
                        },
                    );
                }
            } else if let Some(inner) = section.sections.iter().find(|inner| inner.name == spelled) {
                let found = self.inner(value, inner, &inner_path);
                node.sections.insert(inner.name, found);
            } else {
                let known = section
                    .keys
                    .iter()
                    .map(|key| key.name)
                    .chain(section.sections.iter().map(|inner| inner.name));
                let hint = match did_you_mean(spelled, known.clone()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("known here: {}", known.collect::<Vec<_>>().join(", ")),
                };
                self.report.add(
                    self.text,
                    &name.span(),
                    &inner_path,
                    format!("unknown key `{spelled}`"),
                    Some(hint),
                );
            }
        }
        for key in section.keys.iter().filter(|key| key.need == Need::Required) {
            if !table.iter().any(|(name, _)| name.get_ref().as_ref() == key.name) {
                let hint = Some(format!("add `{} = …`, {}", key.name, key.kind.wanted()));
                self.report.add(
                    self.text,
                    &at,
                    &join(&path, key.name),
                    format!("`{}` is missing", key.name),
                    hint,
                );
            }
        }
        node
    }

    fn inner(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        inner: &'static Section,
        path: &str,
    ) -> Vec<(String, Node)> {
        match (inner.times, value.get_ref()) {
            (Times::Once, DeValue::Table(table)) => {
                vec![(
                    String::new(),
                    self.section(table, value.span(), inner, path.to_owned()),
                )]
            }
            (Times::Many, DeValue::Array(items)) => {
                let mut nodes = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    if let DeValue::Table(table) = item.get_ref() {
                        nodes.push((String::new(), self.section(table, item.span(), inner, path)));
                    } else {
                        self.wrong(item, &path, "a table");
                    }
                }
                nodes
            }
            (Times::Named, DeValue::Table(table)) => {
                let mut nodes = Vec::new();
                for (name, item) in table {
                    let path = join(path, name.get_ref());
                    if let DeValue::Table(table) = item.get_ref() {
                        nodes.push((
                            name.get_ref().to_string(),
                            self.section(table, item.span(), inner, path),
                        ));
                    } else {
                        self.wrong(item, &path, "a table");
                    }
                }
                nodes
            }
            (times, _) => {
                let wanted = match times {
                    Times::Once => format!("a table, written `[{}]`", inner.name),
                    Times::Many => format!("tables, each written `[[{}]]`", inner.name),
                    Times::Named => format!("tables, each written `[{}.NAME]`", inner.name),
                };
                self.wrong(value, path, &wanted);
                Vec::new()
            }
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, key: &Key, path: &str) -> Option<Checked> {
        let checked = match (key.kind, value.get_ref()) {
            (Kind::Version, DeValue::Integer(number)) if number.as_str() == "1" => Some(Checked::Size(1)),
            (Kind::Count, DeValue::Integer(number)) => scalar(key.kind, number.as_str()),
            (Kind::Count, _) => None,
            (Kind::Texts, DeValue::Array(items)) => self.texts(items, None, path),
            (Kind::Words(words), DeValue::Array(items)) if !items.is_empty() => {
                self.texts(items, Some(words), path)
            }
            (kind, DeValue::String(text)) => scalar(kind, text),
            _ => None,
        };
        if checked.is_none() {
            self.wrong(value, path, &key.kind.wanted());
        }
        checked
    }

    fn texts(
        &mut self,
        items: &toml::de::DeArray<'_>,
        words: Option<&[&str]>,
        path: &str,
    ) -> Option<Checked> {
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let DeValue::String(text) = item.get_ref()
                && !text.is_empty()
                && words.is_none_or(|words| words.contains(&text.as_ref()))
            {
                texts.push(Found {
                    value: text.to_string(),
                    at: item.span(),
                    path,
                });
            } else {
                let wanted = words.map_or_else(
                    || "a text".to_owned(),
                    |words| format!("one of {}", words.join(", ")),
                );
                self.wrong(item, &path, &wanted);
            }
        }
        Some(Checked::Texts(texts))
    }

    fn wrong(&mut self, value: &Spanned<DeValue<'_>>, path: &str, wanted: &str) {
        self.report.add(
            self.text,
            &value.span(),
            path,
            format!("{} is not what belongs here", found(value.get_ref())),
            Some(format!("write {wanted}")),
        );
    }
}

/// What an absent key means, where that is a value that could be written, and no sentence.
pub(super) fn usual(kind: Kind, meaning: &str) -> Option<serde_json::Value> {
    match kind {
        Kind::Duration | Kind::Size | Kind::Rate | Kind::Count | Kind::Word(_) => {
            scalar(kind, meaning).as_ref().map(written)
        }
        Kind::Version
        | Kind::Text
        | Kind::Url
        | Kind::Address
        | Kind::Path
        | Kind::Texts
        | Kind::Words(_) => None,
    }
}

/// As a file would say it: a duration or size in its largest unit.
fn written(value: &Checked) -> serde_json::Value {
    match value {
        Checked::Text(text) => text.as_str().into(),
        Checked::Duration(length) => units::duration_text(*length).into(),
        Checked::Size(bytes) => units::size_text(*bytes).into(),
        Checked::Count(count) => (*count).into(),
        Checked::Texts(texts) => texts.iter().map(|found| found.value.as_str()).collect(),
    }
}

fn scalar(kind: Kind, text: &str) -> Option<Checked> {
    let as_text = || Some(Checked::Text(text.to_owned()));
    match kind {
        Kind::Text | Kind::Path if !text.is_empty() => as_text(),
        Kind::Url => {
            let url = url::Url::parse(text).ok()?;
            let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
            if plain && matches!(url.scheme(), "http" | "https") {
                as_text()
            } else {
                None
            }
        }
        Kind::Address => {
            let (host, port) = text.rsplit_once(':')?;
            if !host.is_empty() && port.parse::<u16>().is_ok() {
                as_text()
            } else {
                None
            }
        }
        Kind::Duration => units::duration(text).map(Checked::Duration),
        Kind::Size => units::size(text).map(Checked::Size),
        Kind::Count => {
            let count = text.parse().ok().filter(|count| (1..=COUNT).contains(count));
            count.map(Checked::Count)
        }
        Kind::Rate if is_rate(text) => as_text(),
        Kind::Word(words) if words.contains(&text) => as_text(),
        Kind::Version
        | Kind::Text
        | Kind::Path
        | Kind::Rate
        | Kind::Texts
        | Kind::Word(_)
        | Kind::Words(_) => None,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!(
            "`\"{}\"`",
            text.chars().take(60).collect::<String>().escape_debug()
        ),
        DeValue::Integer(number) => format!("`{number}`"),
        DeValue::Float(number) => format!("`{number}`"),
        DeValue::Boolean(flag) => format!("`{flag}`"),
        DeValue::Datetime(when) => format!("`{when}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
