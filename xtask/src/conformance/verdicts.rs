//! What the suite found: one status for each check of each scenario, read from its result files and compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::exceptions::Exceptions;
use crate::failure::{Failure, Outcome};
use crate::terminal;

/// The verdicts of one run: `scenario/check`, numbered where the suite uses a check twice, to a status.
#[derive(Default)]
pub(super) struct Verdicts {
    statuses: BTreeMap<String, String>,
    /// Scenarios that count, among those that ran.
    pub(super) scored: usize,
    /// Those of them with a failed check.
    pub(super) scored_failing: usize,
}

impl Verdicts {
    /// Reads `folder`, whose sub-folders are named `PREFIX SCENARIO - TIME`. `requirements` is the suite's list.
    pub(super) fn read(folder: &Path, prefix: &str, requirements: &str) -> Outcome<Self> {
        let scored = scored(requirements);
        let mut verdicts = Self::default();
        for entry in fs::read_dir(folder)
            .map_err(|error| Failure::new(format!("no results in `{}`: {error}", folder.display())))?
        {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let scenario = scenario(name.strip_prefix(prefix).unwrap_or(&name));
            let checks: Vec<Value> = serde_json::from_slice(&fs::read(entry.path().join("checks.json"))?)?;
            let failing = verdicts.add(&scenario, &checks);
            if scored.contains(&scenario.as_str()) {
                verdicts.scored += 1;
                verdicts.scored_failing += usize::from(failing);
            }
        }
        Ok(verdicts)
    }

    fn add(&mut self, scenario: &str, checks: &[Value]) -> bool {
        let mut failing = false;
        for check in checks {
            let text = |key: &str| check.get(key).and_then(Value::as_str).unwrap_or_default();
            let status = text("status").to_owned();
            failing |= status == "FAILURE";
            let mut key = format!("{scenario}/{}", text("id"));
            let mut again = 1;
            while self.statuses.contains_key(&key) {
                again += 1;
                key = format!("{scenario}/{}#{again}", text("id"));
            }
            self.statuses.insert(key, status);
        }
        failing
    }

    /// How many checks there are.
    pub(super) fn checks(&self) -> usize {
        self.statuses.len()
    }

    /// The checks that failed, warned or were left out.
    pub(super) fn not_passing(&self) -> Vec<String> {
        let bad = self
            .statuses
            .iter()
            .filter(|(_, status)| !matches!(status.as_str(), "SUCCESS" | "INFO"));
        bad.map(|(key, status)| format!("{status} {key}")).collect()
    }

    /// Passed and failed checks of each scenario.
    fn scenarios(&self) -> BTreeMap<&str, (usize, usize)> {
        let mut counts = BTreeMap::<&str, (usize, usize)>::new();
        for (key, status) in &self.statuses {
            let scenario = key.split('/').next().unwrap_or_default();
            let (passed, failed) = counts.entry(scenario).or_default();
            *passed += usize::from(status == "SUCCESS");
            *failed += usize::from(status == "FAILURE");
        }
        counts
    }
}

/// Prints the two runs side by side, and gives a complaint for every check on which they differ without an exception.
pub(super) fn compare(
    revision: &str,
    direct: &Verdicts,
    guarded: &Verdicts,
    exceptions: &Exceptions,
) -> Vec<String> {
    let (bare, through) = (direct.scenarios(), guarded.scenarios());
    terminal::say(&format!("\n{revision:<52} {:>14} {:>14}", "direct", "guarded"));
    terminal::say(&format!("{:<52} {:>14} {:>14}", "", "pass fail", "pass fail"));
    for (scenario, (passed, failed)) in &bare {
        let (through_passed, through_failed) = through.get(scenario).copied().unwrap_or_default();
        let counts = format!("{passed:>9} {failed:>4} {through_passed:>9} {through_failed:>4}");
        let same = (*passed, *failed) == (through_passed, through_failed);
        terminal::say(&format!(
            "{scenario:<52} {counts}{}",
            if same { "" } else { "  differs" }
        ));
    }
    let keys = direct.statuses.keys().chain(
        guarded
            .statuses
            .keys()
            .filter(|key| !direct.statuses.contains_key(*key)),
    );
    let mut wrong = Vec::new();
    let mut excepted = 0;
    for key in keys {
        let status = |verdicts: &Verdicts| {
            verdicts
                .statuses
                .get(key)
                .cloned()
                .unwrap_or_else(|| "absent".to_owned())
        };
        let (before, after) = (status(direct), status(guarded));
        if before == after {
            continue;
        }
        let key = format!("{revision} {key}");
        match exceptions.reason(&key) {
            Some(reason) => {
                excepted += 1;
                terminal::say(&format!("excepted: {key}: {before}, guarded {after}: {reason}"));
            }
            None => wrong.push(format!("{key}: {before} without Portcullis, {after} through it")),
        }
    }
    let (checks, scored) = (direct.checks(), direct.scored);
    let differing = wrong.len();
    terminal::say(&format!(
        "{revision}: {checks} checks, {scored} scored scenarios, {excepted} excepted, {differing} differ"
    ));
    wrong
}

/// `caching-2026-11-21T10-45-04-616Z` is a run of `caching`.
fn scenario(folder: &str) -> String {
    folder.rsplitn(7, '-').last().unwrap_or(folder).to_owned()
}

/// The server scenarios of a requirements file: the list below the line `server:`.
fn scored(requirements: &str) -> Vec<&str> {
    let below = requirements.lines().skip_while(|line| *line != "server:").skip(1);
    below.map_while(|line| line.trim().strip_prefix("- ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdicts(statuses: &[(&str, &str)]) -> Verdicts {
        let checks: Vec<_> = statuses
            .iter()
            .map(|(id, status)| json!({"id": id, "status": status}))
            .collect();
        let mut verdicts = Verdicts::default();
        verdicts.add("s", &checks);
        verdicts
    }

    #[test]
    fn the_time_is_cut_from_a_folder() {
        assert_eq!(
            scenario("json-schema-2020-12-2026-11-21T10-45-04-813Z"),
            "json-schema-2020-12"
        );
    }

    #[test]
    fn the_scored_scenarios_end_with_the_list() {
        assert_eq!(scored("# x\nserver:\n  - a\n  - b\nclient:\n  - c\n"), ["a", "b"]);
    }

    #[test]
    fn a_check_that_differs_is_a_complaint_unless_excepted() {
        let none = Exceptions::read("x", "").unwrap();
        let direct = verdicts(&[("a", "SUCCESS"), ("a", "SUCCESS"), ("b", "FAILURE")]);
        assert!(
            compare(
                "r",
                &direct,
                &verdicts(&[("a", "SUCCESS"), ("a", "SUCCESS"), ("b", "FAILURE")]),
                &none
            )
            .is_empty()
        );
        // The second of two checks with one name; a check that is gone; one that is new; one that got better.
        for other in [
            vec![("a", "SUCCESS"), ("a", "FAILURE"), ("b", "FAILURE")],
            vec![("a", "SUCCESS"), ("a", "SUCCESS")],
            vec![
                ("a", "SUCCESS"),
                ("a", "SUCCESS"),
                ("b", "FAILURE"),
                ("c", "SUCCESS"),
            ],
            vec![("a", "SUCCESS"), ("a", "SUCCESS"), ("b", "SUCCESS")],
        ] {
            assert_eq!(
                compare("r", &direct, &verdicts(&other), &none).len(),
                1,
                "{other:?}"
            );
        }
        let excepted = Exceptions::read("x", "\"r s/a#2\" = \"known\"\n").unwrap();
        let other = verdicts(&[("a", "SUCCESS"), ("a", "FAILURE"), ("b", "FAILURE")]);
        assert!(compare("r", &direct, &other, &excepted).is_empty());
        assert!(excepted.unused().is_empty());
    }
}
