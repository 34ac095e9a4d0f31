//! Where the guarded servers are served, and what resource each address is.

use portcullis_core::ids::{InvalidId, ResourceUri, ServerName};
use portcullis_core::oauth::metadata::PROTECTED_RESOURCE;

/// One address of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The path of the MCP endpoint.
    pub path: String,
    /// The server behind it.
    pub server: ServerName,
    /// The resource that tokens for this address name: the public URL and the path, exactly.
    pub resource: ResourceUri,
}

impl Address {
    /// The path of the resource's metadata document (RFC 9728 §3).
    #[must_use]
    pub fn metadata_path(&self) -> String {
        format!("{PROTECTED_RESOURCE}{}", self.path)
    }
}

/// The addresses of the servers at a public URL (without a trailing slash): `/s/{server}/mcp` for each, and
/// `/mcp` first when there is only one.
///
/// # Errors
/// [`InvalidId`]: the public URL is none that a resource identifier can begin with.
pub fn addresses(public_url: &str, servers: &[ServerName]) -> Result<Vec<Address>, InvalidId> {
    let at = |path: String, server: &ServerName| {
        let resource = ResourceUri::parse(&format!("{public_url}{path}"))?;
        Ok(Address {
            path,
            server: server.clone(),
            resource,
        })
    };
    let mut addresses = Vec::with_capacity(servers.len().saturating_add(1));
    if let [only] = servers {
        addresses.push(at("/mcp".to_owned(), only)?);
    }
    for server in servers {
        addresses.push(at(format!("/s/{server}/mcp"), server)?);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_has_the_short_address_too() {
        let name = |name: &str| ServerName::parse(name).unwrap();
        let paths = |servers: &[ServerName]| -> Vec<String> {
            addresses("https://gw.example", servers)
                .unwrap()
                .into_iter()
                .map(|address| address.resource.to_string())
                .collect()
        };
        assert_eq!(
            paths(&[name("notes")]),
            ["https://gw.example/mcp", "https://gw.example/s/notes/mcp"]
        );
        assert_eq!(
            paths(&[name("a"), name("b")]),
            ["https://gw.example/s/a/mcp", "https://gw.example/s/b/mcp"]
        );
        assert!(addresses("gw.example", &[name("a")]).is_err());
    }
}
