//! What a file says of its cases, what this crate says, and whether that is in order.

use std::collections::BTreeMap;
use std::fmt;

use super::exceptions::{Exception, Verdict};

/// Most differences that a failing test prints.
const SHOWN: usize = 40;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Holds,
    Fails,
}

/// What this crate says, with its own words where it refuses.
#[derive(Clone)]
pub(super) enum Outcome {
    Held,
    Refused(String),
    /// Refused because of an algorithm, curve or key type that is not in our tables.
    NotOffered(String),
}

impl Outcome {
    pub(super) fn refused(why: impl std::fmt::Display) -> Self {
        Self::Refused(why.to_string())
    }

    pub(super) fn not_offered(why: impl std::fmt::Display) -> Self {
        Self::NotOffered(why.to_string())
    }

    /// Held when this holds.
    pub(super) fn of(holds: bool, else_why: &str) -> Self {
        if holds {
            Self::Held
        } else {
            Self::refused(else_why)
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Held => Verdict::Held,
            Self::Refused(_) => Verdict::Refused,
            Self::NotOffered(_) => Verdict::NotOffered,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("held"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::NotOffered(why) => write!(f, "not offered: {why}"),
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Case {
    comment: String,
    expected: Expected,
    outcome: Outcome,
}

impl Case {
    fn agrees(&self) -> bool {
        (self.expected == Expected::Holds) == matches!(self.outcome, Outcome::Held)
    }
}

/// `1-3, 5`, as the exceptions file spells it.
fn ranges(ids: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for id in ids {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *id => *last = *id,
            _ => runs.push((*id, *id)),
        }
    }
    let spell = |(first, last): &(u64, u64)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    runs.iter().map(spell).collect::<Vec<_>>().join(", ")
}

/// All cases of one file.
pub(super) struct Cases {
    file: &'static str,
    cases: BTreeMap<u64, Case>,
}

impl Cases {
    pub(super) fn of(file: &'static str) -> Self {
        Self {
            file,
            cases: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.cases.len() as u64
    }

    pub(super) fn add(&mut self, id: u64, comment: &str, expected: Expected, outcome: Outcome) {
        let case = Case {
            comment: comment.to_owned(),
            expected,
            outcome,
        };
        assert!(self.cases.insert(id, case).is_none(), "{} {id}: twice", self.file);
    }

    /// The next number.
    pub(super) fn next(&mut self, comment: &str, expected: Expected, outcome: Outcome) {
        self.add(self.len() + 1, comment, expected, outcome);
    }

    /// Fails when a case differs that no exception names, when an exception names one that does not differ in that
    /// way, or that is not there.
    pub(super) fn judge(&self, exceptions: &[Exception]) {
        assert!(!self.cases.is_empty(), "{}: no case was run", self.file);
        let mut wrong = Vec::new();
        let mut listed = BTreeMap::new();
        for exception in exceptions {
            for id in exception.cases() {
                if listed.insert(id, exception.verdict()).is_some() {
                    wrong.push(format!("{id}: listed twice"));
                }
            }
        }
        for (id, verdict) in &listed {
            match self.cases.get(id) {
                None => wrong.push(format!("{id}: listed, and there is no such case")),
                Some(case) if case.agrees() => {
                    wrong.push(format!(
                        "{id}: listed as `{verdict}`, and it agrees now ({})",
                        case.comment
                    ));
                }
                Some(case) if case.outcome.verdict() != *verdict => {
                    wrong.push(format!("{id}: listed as `{verdict}`, but {}", case.outcome));
                }
                Some(_) => {}
            }
        }
        let mut unlisted: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (id, case) in &self.cases {
            if !case.agrees() && !listed.contains_key(id) {
                let difference = format!(
                    "expected {:?}, but {} ({})",
                    case.expected, case.outcome, case.comment
                );
                unlisted.entry(difference).or_default().push(*id);
            }
        }
        wrong.extend(
            unlisted
                .into_iter()
                .map(|(difference, ids)| format!("{}: {difference}", ranges(&ids))),
        );
        let count = |verdict| {
            self.cases
                .values()
                .filter(|case| case.outcome.verdict() == verdict)
                .count()
        };
        println!(
            "{}: {} run, {} held, {} refused, {} not offered, {} exceptions",
            self.file,
            self.cases.len(),
            count(Verdict::Held),
            count(Verdict::Refused),
            count(Verdict::NotOffered),
            listed.len()
        );
        let more = wrong.len().saturating_sub(SHOWN);
        wrong.truncate(SHOWN);
        assert!(
            wrong.is_empty(),
            "{}:\n{}\nand {more} more",
            self.file,
            wrong.join("\n")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::exceptions;

    /// Case 1 agrees, 2 is refused and should hold, 3 holds and should not.
    fn judged(exceptions: &str) {
        let mut cases = Cases::of("f");
        cases.next("agrees", Expected::Holds, Outcome::Held);
        cases.next("stricter", Expected::Holds, Outcome::refused("no"));
        cases.next("laxer", Expected::Fails, Outcome::Held);
        cases.judge(&exceptions::parse(exceptions));
    }

    fn exception(cases: &str, verdict: &str) -> String {
        format!("[[exception]]\nfile = 'f'\ncases = '{cases}'\nverdict = '{verdict}'\nreason = 'a test'\n")
    }

    #[test]
    fn each_difference_needs_its_exception() {
        judged(&(exception("2", "refused") + &exception("3", "held")));
    }

    #[test]
    #[should_panic(expected = "3: expected Fails, but held")]
    fn an_unlisted_difference_fails() {
        judged(&exception("2", "refused"));
    }

    #[test]
    #[should_panic(expected = "1: listed as `refused`, and it agrees now")]
    fn an_exception_that_no_longer_applies_fails() {
        judged(&(exception("1-2", "refused") + &exception("3", "held")));
    }

    #[test]
    #[should_panic(expected = "2: listed as `not-offered`, but refused: no")]
    fn an_exception_of_another_verdict_fails() {
        judged(&(exception("2", "not-offered") + &exception("3", "held")));
    }

    #[test]
    #[should_panic(expected = "4: listed, and there is no such case")]
    fn an_exception_for_no_case_fails() {
        judged(&(exception("2, 4", "refused") + &exception("3", "held")));
    }
}
