//! One guarded address.

use std::sync::Arc;

use portcullis_core::ids::{ResourceUri, ServerName};

use crate::sessions::Sessions;

/// An address at which one server is guarded. A server may have several, each a resource of its own (RFC 8707
/// §2): a token for one is not good at another.
#[derive(Clone, Debug)]
pub struct Endpoint {
    server: ServerName,
    resource: ResourceUri,
    metadata_url: String,
    sessions: Arc<Sessions>,
}

impl Endpoint {
    /// `metadata_url` is where the resource's RFC 9728 document is served: challenges point there. Endpoints
    /// of one server share `sessions`.
    #[must_use]
    pub fn new(
        server: ServerName,
        resource: ResourceUri,
        metadata_url: String,
        sessions: Arc<Sessions>,
    ) -> Self {
        Self {
            server,
            resource,
            metadata_url,
            sessions,
        }
    }

    /// The operator's name for the server.
    #[must_use]
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// The audience that tokens must have, as a string.
    #[must_use]
    pub fn resource(&self) -> &ResourceUri {
        &self.resource
    }

    /// Where the resource's metadata is.
    #[must_use]
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// The server's legacy sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }
}
