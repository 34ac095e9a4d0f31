//! conformance/exceptions.toml and conformance/bridged.toml: checks whose verdict behind the gateway may differ, each with its reason.
//! One that no longer applies fails the run, so the lists only shrink.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::failure::{Failure, Outcome};

/// `"REVISION SCENARIO/CHECK" = "reason"`, one to a line.
pub(super) struct Exceptions {
    file: &'static str,
    reasons: BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
}

impl Exceptions {
    /// Reads the file; every line must be empty, a comment, or a key with a reason.
    pub(super) fn read(file: &'static str, text: &str) -> Outcome<Self> {
        let mut reasons = BTreeMap::new();
        for (at, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            let fields: Vec<_> = line.split('"').collect();
            let ["", key, " = ", reason, ""] = fields.as_slice() else {
                let form = "\"REVISION SCENARIO/CHECK\" = \"reason\"";
                return Err(Failure::new(format!("{file}:{}: not of the form {form}", at + 1)));
            };
            if reason.trim().is_empty() || reasons.insert((*key).to_owned(), (*reason).to_owned()).is_some() {
                return Err(Failure::new(format!(
                    "{file}:{}: no reason, or listed twice",
                    at + 1
                )));
            }
        }
        Ok(Self {
            file,
            reasons,
            used: RefCell::default(),
        })
    }

    /// The reason why this check may differ.
    pub(super) fn reason(&self, key: &str) -> Option<&str> {
        let reason = self.reasons.get(key)?;
        self.used.borrow_mut().insert(key.to_owned());
        Some(reason)
    }

    /// A complaint for each line that no difference needed.
    pub(super) fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let unused = self.reasons.keys().filter(|key| !used.contains(*key));
        unused
            .map(|key| format!("{}: `{key}` no longer differs; remove the line", self.file))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_a_reason_is_refused() {
        for text in [
            "\"a b/c\" = \"\"\n",
            "\"a b/c\"\n",
            "a = b\n",
            "\"k\" = \"r\"\n\"k\" = \"r\"\n",
        ] {
            assert!(Exceptions::read("x", text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_needed_is_reported() {
        let exceptions =
            Exceptions::read("x", "# why\n\n\"r s/c\" = \"because\"\n\"r s/d\" = \"because\"\n").unwrap();
        assert_eq!(exceptions.reason("r s/c"), Some("because"));
        assert_eq!(exceptions.reason("r s/e"), None);
        assert_eq!(exceptions.unused().len(), 1);
    }
}
