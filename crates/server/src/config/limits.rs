//! `[limits]`, and the `rate` of tools.

use portcullis_core::ids::ToolName;
use portcullis_core::limits::BODY_BYTES;
use portcullis_guard::{Rate, Rates, STREAMS};

use super::build::Builder;
use super::document::Node;

/// `[limits]`. A rate that is `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Largest request body, in bytes.
    pub body: usize,
    /// Requests of one address without a credential that holds.
    pub per_address: Option<Rate>,
    /// Requests of one client.
    pub per_client: Option<Rate>,
    /// Requests of one user's clients.
    pub per_user: Option<Rate>,
    /// Permitted calls of one tool.
    pub per_tool: Option<Rate>,
    /// Most connections of one listener; without it, as many as there are files for.
    pub connections: Option<usize>,
    /// Most connections of one address; without it, a part of all.
    pub connections_per_address: Option<usize>,
    /// Most streams open at one server.
    pub streams: usize,
}

impl Default for LimitsConfig {
    /// More than an agent asks for, and less than a flood: this grants nothing.
    fn default() -> Self {
        let usual = Rates::usual();
        Self {
            body: BODY_BYTES,
            per_address: Rate::parse("6000/min").ok(),
            per_client: usual.per_client,
            per_user: usual.per_user,
            per_tool: usual.per_tool,
            connections: None,
            connections_per_address: None,
            streams: STREAMS,
        }
    }
}

impl Builder<'_> {
    pub(super) fn limits(&mut self, node: Option<&Node>) -> LimitsConfig {
        let usual = LimitsConfig::default();
        let Some(node) = node else {
            return usual;
        };
        let (all, each) = (node.count("connections"), node.count("connections_per_address"));
        if let (Some(all), Some(each)) = (all, each)
            && each > all
        {
            let hint = Some(format!("write {all} or less"));
            let message = "one address may have more connections than all may".to_owned();
            self.report.add(
                self.text,
                node.at(),
                "limits.connections_per_address",
                message,
                hint,
            );
        }
        LimitsConfig {
            body: node.size("body").unwrap_or(usual.body),
            per_address: rate(node, "per_address").unwrap_or(usual.per_address),
            per_client: rate(node, "per_client").unwrap_or(usual.per_client),
            per_user: rate(node, "per_user").unwrap_or(usual.per_user),
            per_tool: rate(node, "per_tool").unwrap_or(usual.per_tool),
            connections: all,
            connections_per_address: each,
            streams: node.count("streams").unwrap_or(usual.streams),
        }
    }
}

/// `[servers.tools.NAME] rate`, where it is given.
pub(super) fn tool_rate(name: &str, node: &Node) -> Option<(ToolName, Option<Rate>)> {
    Some((ToolName::parse(name).ok()?, rate(node, "rate")?))
}

/// Whether `text` is a rate, or says that there is none.
pub(super) fn is_rate(text: &str) -> bool {
    text == "none" || Rate::parse(text).is_ok()
}

fn rate(node: &Node, name: &str) -> Option<Option<Rate>> {
    node.text(name).map(|found| Rate::parse(found.value).ok())
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn limits(text: &str) -> Result<super::LimitsConfig, usize> {
        Config::parse(&format!("version = 1\n[limits]\n{text}"))
            .map(|config| config.limits)
            .map_err(|report| report.findings().len())
    }

    #[test]
    fn what_is_not_given_is_as_documented_and_what_is_given_counts() {
        assert_eq!(limits(""), Ok(super::LimitsConfig::default()));
        let documented = "per_address = \"6000/min\"\nper_client = \"6000/min\"\nper_user = \"12000/min\"\nper_tool = \"none\"\nstreams = 10000\nbody = \"4MiB\"\n";
        assert_eq!(limits(documented), Ok(super::LimitsConfig::default()));
        let given = limits(
            "per_client = \"none\"\nper_tool = \"5/s\"\nconnections = 8\nconnections_per_address = 8\n",
        )
        .unwrap();
        assert_eq!((given.per_client, given.per_tool.unwrap().count()), (None, 5));
        assert_eq!(
            (given.connections, given.connections_per_address),
            (Some(8), Some(8))
        );
    }

    #[test]
    fn what_is_no_rate_or_no_number_is_an_error() {
        for bad in [
            "per_client = \"600\"",
            "per_client = \"0/s\"",
            "per_user = 600",
            "streams = 0",
            "streams = -1",
            "streams = \"many\"",
            "connections = 1_000_000_000",
            "connections = 8\nconnections_per_address = 9",
        ] {
            assert_eq!(limits(bad), Err(1), "{bad}");
        }
    }

    #[test]
    fn a_tool_may_have_a_rate_of_its_own() {
        let text = "version = 1\n[[servers]]\nname = \"crm\"\nurl = \"http://127.0.0.1:1\"\n[servers.tools.a]\neffect = \"read\"\nrate = \"2/s\"\n[servers.tools.b]\neffect = \"read\"\nrate = \"none\"\n[servers.tools.c]\neffect = \"read\"\n";
        let rates = Config::parse(text).unwrap().servers.remove(0).rates;
        let rates: Vec<_> = rates
            .iter()
            .map(|(tool, rate)| (tool.as_str(), rate.map(|rate| rate.count())))
            .collect();
        assert_eq!(rates, [("a", Some(2)), ("b", None)]);
    }
}
