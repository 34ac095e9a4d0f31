//! Which tools each server was seen to offer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use portcullis_core::ids::{ServerName, ToolName};

/// Most tools remembered of one server.
pub const TOOLS: usize = 10_000;

/// The tools that went by in lists, kept or filtered out. For a person who decides what an agent may do: what
/// it may not see is part of that. Never a reason to allow anything.
#[derive(Debug, Default)]
pub struct Catalogue(Mutex<BTreeMap<ServerName, BTreeSet<ToolName>>>);

impl Catalogue {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tools of a server, in order.
    #[must_use]
    pub fn seen(&self, server: &ServerName) -> Vec<ToolName> {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers
            .get(server)
            .map(|tools| tools.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Notes a page of a list. Tools past [`TOOLS`] are not remembered.
    pub(super) fn note(&self, server: &ServerName, tools: Vec<ToolName>) {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = servers.entry(server.clone()).or_default();
        for tool in tools {
            if known.len() >= TOOLS {
                return;
            }
            known.insert(tool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_kept_by_server_up_to_the_limit() {
        let catalogue = Catalogue::new();
        let server = |name: &str| ServerName::parse(name).unwrap();
        let tools = |range: std::ops::Range<usize>| {
            range
                .map(|i| ToolName::parse(&format!("t{i}")).unwrap())
                .collect()
        };
        catalogue.note(&server("a"), tools(0..TOOLS - 1));
        assert!(catalogue.seen(&server("b")).is_empty());
        catalogue.note(&server("a"), tools(TOOLS - 1..TOOLS));
        assert_eq!(catalogue.seen(&server("a")).len(), TOOLS);
        catalogue.note(&server("a"), tools(TOOLS..TOOLS + 1));
        assert_eq!(catalogue.seen(&server("a")).len(), TOOLS);
    }
}
