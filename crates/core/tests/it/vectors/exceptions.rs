//! `tests/vectors/exceptions.toml`: cases of which we say something else than the file, each with a reason.

use std::fmt;

use serde::Deserialize;

const FILE: &str = include_str!("../../vectors/exceptions.toml");

/// What we say of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Held,
    Refused,
    NotOffered,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "held",
            Self::Refused => "refused",
            Self::NotOffered => "not-offered",
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    exception: Vec<Exception>,
}

/// Some cases of one file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    file: String,
    /// `1-94, 100`
    cases: String,
    verdict: Verdict,
    reason: String,
}

impl Exception {
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn cases(&self) -> impl Iterator<Item = u64> {
        self.cases.split(',').flat_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                text.trim()
                    .parse::<u64>()
                    .unwrap_or_else(|_| panic!("`{part}` is not a case or a range of cases"))
            };
            let (first, last) = (number(first), number(last));
            assert!(first <= last, "`{part}` is no range");
            first..=last
        })
    }
}

pub(super) fn all() -> Vec<Exception> {
    parse(FILE)
}

pub(super) fn parse(text: &str) -> Vec<Exception> {
    toml::from_str::<File>(text).unwrap().exception
}

pub(super) fn of(file: &str) -> Vec<Exception> {
    all()
        .into_iter()
        .filter(|exception| exception.file == file)
        .collect()
}
