//! What agents call themselves, as the log itself has it: in registrations and consents.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::show::{Record, shown};
use super::{Lines, Next};
use crate::failure::Failure;

/// So much of the log, from its end, is searched for names.
const SEARCHED: u64 = 256 * 1024 * 1024;
/// So many agents are known by name at most.
const MOST: usize = 10_000;

/// Names of agents by their identifiers. An agent chose its name itself, so it stands beside the identifier and never in
/// its place.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// Those in the newest files of the log, given oldest first.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, Failure> {
        let mut left = SEARCHED;
        let recent = files.iter().rev().take_while(|path| {
            let within = left > 0;
            left = left.saturating_sub(std::fs::metadata(path).map_or(0, |found| found.len()));
            within
        });
        let recent: Vec<&PathBuf> = recent.collect();
        let mut names = Self::default();
        for path in recent.into_iter().rev() {
            let mut lines = Lines::open(path)?;
            while let Next::Line(line) = lines.next()? {
                names.learn(line);
            }
        }
        Ok(names)
    }

    /// Takes the name of a line that has one. The newest counts.
    pub(super) fn learn(&mut self, line: &[u8]) {
        // Most lines have none, and reading them costs more than looking for the word.
        const MEMBER: &[u8] = b"\"client_name\"";
        if !line.windows(MEMBER.len()).any(|window| window == MEMBER) {
            return;
        }
        let Some(record) = Record::parse(line) else { return };
        if let (Some(agent), Some(name)) = (record.text("agent"), record.text("client_name"))
            && !name.is_empty()
            && (self.0.len() < MOST || self.0.contains_key(agent))
        {
            self.0.insert(agent.to_owned(), name.to_owned());
        }
    }

    /// The identifier, with the name in quotes where it is known.
    pub(super) fn told(&self, agent: &str) -> String {
        match self.0.get(agent) {
            Some(name) => format!("{} \"{}\"", shown(agent), shown(name).replace('"', "'")),
            None => shown(agent),
        }
    }
}
