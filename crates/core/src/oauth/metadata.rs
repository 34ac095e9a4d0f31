//! Metadata documents: protected resource (RFC 9728), authorization server (RFC 8414, OpenID Connect Discovery).
//!
//! One type each for those who serve it and those who read it. Identities stay the strings they are, endpoints too: a
//! reader parses an endpoint when it is about to use it. Members we do not know are ignored (RFC 9728 §3.2, RFC 8414
//! §3.2); a member we know that appears twice is an error, since two readers would see two documents.

use serde::{Deserialize, Serialize};

use crate::ids::{Issuer, ResourceUri, Scope};
use crate::limits;

/// Where RFC 9728 §3 puts the document: before the path of the resource.
pub const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";
/// Where RFC 8414 §3 puts the document: before the path of the issuer.
pub const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";
/// Where OpenID Connect Discovery §4 puts the document: after the path of the issuer. MCP clients also look before it.
pub const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";

/// A document that is not the metadata it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not usable metadata: {0}")]
pub struct InvalidMetadata(String);

/// What a protected resource says about itself (RFC 9728 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectedResourceMetadata {
    /// The resource identifier, byte for byte what `resource` parameters and `aud` claims must say.
    pub resource: ResourceUri,
    /// Issuers whose tokens it takes. MCP requires at least one.
    #[serde(default)]
    pub authorization_servers: Vec<Issuer>,
    /// The scopes for basic use, which MCP clients ask for when a challenge names none; not a catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes_supported: Option<Vec<Scope>>,
    /// Ways to send a token: `header` here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_methods_supported: Option<Vec<String>>,
    /// The resource's own keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// Algorithms that DPoP proofs may be signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpop_signing_alg_values_supported: Option<Vec<String>>,
    /// Whether only tokens that are bound to a key by DPoP are taken. Absent means no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpop_bound_access_tokens_required: Option<bool>,
    /// Whether tokens that are bound to client certificates can be used here (RFC 8705); absent means not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_certificate_bound_access_tokens: Option<bool>,
}

impl ProtectedResourceMetadata {
    /// Reads a fetched document. That its `resource` is the one asked about is the reader's to check (RFC 9728 §3.3).
    ///
    /// # Errors
    /// [`InvalidMetadata`]: too large, not JSON, a known member twice or malformed, no authorization server.
    pub fn parse(document: &[u8]) -> Result<Self, InvalidMetadata> {
        let metadata: Self = read(document)?;
        if metadata.authorization_servers.is_empty() {
            return Err(InvalidMetadata("it names no authorization server".to_owned()));
        }
        Ok(metadata)
    }
}

/// What an authorization server says about itself (RFC 8414 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationServerMetadata {
    /// The issuer identifier, byte for byte what `iss` will say.
    pub issuer: Issuer,
    /// Where a browser is sent. Absent when no grant needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_endpoint: Option<String>,
    /// Where grants become tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// The keys that tokens are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// Dynamic client registration (RFC 7591).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_endpoint: Option<String>,
    /// Token revocation (RFC 7009).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// Scopes that may be asked for. Foreign servers list more than scope tokens here, so these are plain texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes_supported: Option<Vec<String>>,
    /// Response types; `code` is the only one of use here.
    #[serde(default)]
    pub response_types_supported: Vec<String>,
    /// Response modes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_modes_supported: Option<Vec<String>>,
    /// Grant types. Absent means `authorization_code` and `implicit` (RFC 8414 §2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_types_supported: Option<Vec<String>>,
    /// How clients authenticate at the token endpoint. Absent means `client_secret_basic` (RFC 8414 §2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// How clients authenticate at the revocation endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// PKCE methods. Absent means none, and an MCP client must then not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_challenge_methods_supported: Option<Vec<String>>,
    /// Whether a `client_id` may be the URL of a client ID metadata document.
    #[serde(default, skip_serializing_if = "is_false")]
    pub client_id_metadata_document_supported: bool,
    /// Whether authorization responses carry `iss` (RFC 9207 §3).
    #[serde(default, skip_serializing_if = "is_false")]
    pub authorization_response_iss_parameter_supported: bool,
    /// OpenID Connect Discovery §3 requires it of its form of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_types_supported: Option<Vec<String>>,
    /// OpenID Connect Discovery §3 requires it of its form of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token_signing_alg_values_supported: Option<Vec<String>>,
}

impl AuthorizationServerMetadata {
    /// A document with nothing but an issuer, to fill in.
    #[must_use]
    pub fn new(issuer: Issuer) -> Self {
        Self {
            issuer,
            authorization_endpoint: None,
            token_endpoint: None,
            jwks_uri: None,
            registration_endpoint: None,
            revocation_endpoint: None,
            scopes_supported: None,
            response_types_supported: Vec::new(),
            response_modes_supported: None,
            grant_types_supported: None,
            token_endpoint_auth_methods_supported: None,
            revocation_endpoint_auth_methods_supported: None,
            code_challenge_methods_supported: None,
            client_id_metadata_document_supported: false,
            authorization_response_iss_parameter_supported: false,
            subject_types_supported: None,
            id_token_signing_alg_values_supported: None,
        }
    }

    /// Reads a fetched document.
    ///
    /// # Errors
    /// [`InvalidMetadata`]: too large, not JSON, a known member twice or malformed, or an issuer other than the one
    /// that the URL was built from (RFC 8414 §3.3), compared as strings.
    pub fn parse(document: &[u8], expected: &Issuer) -> Result<Self, InvalidMetadata> {
        let metadata: Self = read(document)?;
        if metadata.issuer != *expected {
            return Err(InvalidMetadata(format!(
                "it is of issuer `{}`, not of `{expected}`",
                metadata.issuer
            )));
        }
        Ok(metadata)
    }
}

fn read<'de, T: Deserialize<'de>>(document: &'de [u8]) -> Result<T, InvalidMetadata> {
    if document.len() > limits::METADATA_BYTES {
        return Err(InvalidMetadata(format!(
            "it is larger than {} bytes",
            limits::METADATA_BYTES
        )));
    }
    serde_json::from_slice(document).map_err(|error| InvalidMetadata(error.to_string()))
}

fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        Issuer::parse("https://as.example").unwrap()
    }

    #[test]
    fn what_is_served_is_what_is_read() {
        let mut served = AuthorizationServerMetadata::new(issuer());
        served.token_endpoint = Some("https://as.example/token".to_owned());
        served.authorization_response_iss_parameter_supported = true;
        let document = serde_json::to_vec(&served).unwrap();
        assert_eq!(
            AuthorizationServerMetadata::parse(&document, &issuer()),
            Ok(served)
        );
    }

    #[test]
    fn absent_members_are_not_written() {
        let document = serde_json::to_string(&AuthorizationServerMetadata::new(issuer())).unwrap();
        assert_eq!(
            document,
            r#"{"issuer":"https://as.example","response_types_supported":[]}"#
        );
    }

    #[test]
    fn the_issuer_is_compared_as_a_string() {
        // RFC 8414 §3.3: "MUST be identical".
        for near in [
            "https://as.example/",
            "https://as.example:443",
            "https://AS.example",
        ] {
            let document = format!(r#"{{"issuer":"{near}"}}"#);
            assert!(
                AuthorizationServerMetadata::parse(document.as_bytes(), &issuer()).is_err(),
                "{near}"
            );
        }
    }

    #[test]
    fn a_known_member_twice_is_refused_and_an_unknown_one_ignored() {
        let twice = br#"{"issuer":"https://as.example","token_endpoint":"a","token_endpoint":"b"}"#;
        assert!(AuthorizationServerMetadata::parse(twice, &issuer()).is_err());
        let unknown = br#"{"issuer":"https://as.example","x":{"y":1}}"#;
        assert!(AuthorizationServerMetadata::parse(unknown, &issuer()).is_ok());
    }

    #[test]
    fn a_resource_without_an_authorization_server_is_of_no_use() {
        let none = br#"{"resource":"https://rs.example/mcp","authorization_servers":[]}"#;
        assert!(ProtectedResourceMetadata::parse(none).is_err());
        assert!(ProtectedResourceMetadata::parse(br#"{"resource":"https://rs.example/mcp"}"#).is_err());
        let one = br#"{"resource":"https://rs.example/mcp","authorization_servers":["https://as.example"]}"#;
        assert_eq!(
            ProtectedResourceMetadata::parse(one).unwrap().scopes_supported,
            None
        );
    }

    #[test]
    fn documents_at_the_limit_and_one_byte_past_it() {
        let document = |size: usize| {
            let frame = r#"{"issuer":"https://as.example","x":""}"#.len();
            format!(
                r#"{{"issuer":"https://as.example","x":"{}"}}"#,
                "x".repeat(size - frame)
            )
        };
        let read = |size: usize| AuthorizationServerMetadata::parse(document(size).as_bytes(), &issuer());
        assert!(read(limits::METADATA_BYTES).is_ok());
        assert!(read(limits::METADATA_BYTES + 1).is_err());
    }
}
