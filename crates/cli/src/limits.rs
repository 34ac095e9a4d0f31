//! The bounds of a configuration, for the guard and the listeners.

use portcullis_guard::Rates;
use portcullis_server::config::Config;
use portcullis_server::http::{Limits, raise_descriptors};

/// The quotas of `[limits]` and of tools.
pub(crate) fn rates(config: &Config) -> Rates {
    let limits = &config.limits;
    let tools = config.servers.iter().flat_map(|server| {
        let rates = server.rates.iter();
        rates.map(|(tool, rate)| ((server.name.clone(), tool.clone()), *rate))
    });
    Rates {
        per_address: limits.per_address,
        per_client: limits.per_client,
        per_user: limits.per_user,
        per_tool: limits.per_tool,
        tools: tools.collect(),
    }
}

/// The bounds of each of so many listeners.
pub(crate) fn connections(config: &Config, listeners: u64) -> Limits {
    Limits::sharing(raise_descriptors(), listeners)
        .at_most(config.limits.connections, config.limits.connections_per_address)
}
