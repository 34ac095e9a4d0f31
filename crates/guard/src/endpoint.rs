//! One guarded address.

use std::sync::Arc;

use portcullis_core::identity::HttpTarget;
use portcullis_core::ids::{ResourceUri, ServerName};

use crate::sessions::Sessions;

/// An address at which one server is guarded. A server may have several, each a resource of its own (RFC 8707
/// §2): a token for one is not good at another.
#[derive(Clone, Debug)]
pub struct Endpoint {
    server: ServerName,
    resource: ResourceUri,
    target: Arc<HttpTarget>,
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
            target: Arc::new(HttpTarget::of(resource.as_str())),
            resource,
            metadata_url,
            sessions,
        }
    }

    /// The same resource, called at an address below its own, such as `/seal`.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        Self {
            target: Arc::new(HttpTarget::of(&format!("{}{path}", self.resource))),
            ..self.clone()
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

    /// The URL that is called: what the proof of a call names (RFC 9449 §4.2, `htu`). As configured, and so the same behind
    /// any proxy.
    #[must_use]
    pub fn target(&self) -> &HttpTarget {
        &self.target
    }

    /// Where the resource's metadata is.
    #[must_use]
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    pub(crate) fn shared_sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// The server's legacy sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }
}
