//! Authorization server metadata: RFC 8414, then OpenID Connect Discovery 1.0.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::ACCEPT;
use portcullis_core::fault::Fault;
use portcullis_core::ids::Issuer;
use portcullis_core::jose::json::Object;
use portcullis_core::limits;
use serde_json::{Map, Value};

use crate::fetch::{self, Fetcher, Limits};

/// Longest wait for a metadata document or a key set.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// No metadata to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The server could not be asked.
    #[error("the metadata of `{issuer}` cannot be fetched: {source}")]
    Unreachable {
        /// The issuer.
        issuer: Issuer,
        /// Why.
        source: fetch::Error,
    },
    /// None of the well-known addresses has a document.
    #[error("`{issuer}` publishes no metadata: {tried}")]
    Absent {
        /// The issuer.
        issuer: Issuer,
        /// The addresses, each with its answer.
        tried: String,
    },
    /// The document is not a strict JSON object, or a member that is needed is not of its type.
    #[error("the metadata at `{url}` is malformed: {detail}")]
    Malformed {
        /// Where.
        url: String,
        /// What is wrong.
        detail: String,
    },
    /// The document is of another issuer (RFC 8414 §3.3, OpenID Connect Discovery §4.3): it must not be used.
    #[error("the metadata at `{url}` is that of another issuer, not of `{issuer}`")]
    OtherIssuer {
        /// Where.
        url: String,
        /// The issuer that was asked for.
        issuer: Issuer,
    },
}

impl MetadataError {
    /// Stable slug.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "metadata.unreachable",
            Self::Absent { .. } => "metadata.absent",
            Self::Malformed { .. } => "metadata.malformed",
            Self::OtherIssuer { .. } => "metadata.other-issuer",
        }
    }

    /// Whose fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { .. }
            | Self::Absent { .. }
            | Self::Malformed { .. }
            | Self::OtherIssuer { .. } => Fault::Peer,
        }
    }
}

/// Fetches the metadata of an issuer: RFC 8414 §3.1 first, then OpenID Connect Discovery with the well-known part
/// inserted (RFC 8414 §5) and appended (Discovery §4.1), in the order that MCP's authorization specification gives. The
/// document's `issuer` equals the given one as a string.
///
/// # Errors
/// [`MetadataError`]. A document of another issuer ends the search.
pub async fn authorization_server_metadata(
    fetcher: &Fetcher,
    issuer: &Issuer,
) -> Result<Map<String, Value>, MetadataError> {
    let mut tried = Vec::new();
    for url in well_known(issuer) {
        match document(fetcher, issuer, &url).await? {
            Ok(metadata) => return Ok(metadata),
            Err(status) => tried.push(format!("`{url}` answered {status}")),
        }
    }
    Err(MetadataError::Absent {
        issuer: issuer.clone(),
        tried: tried.join(", "),
    })
}

/// The document at one address, or the status that was there instead.
async fn document(
    fetcher: &Fetcher,
    issuer: &Issuer,
    url: &str,
) -> Result<Result<Map<String, Value>, StatusCode>, MetadataError> {
    let malformed = |detail: String| MetadataError::Malformed {
        url: url.to_owned(),
        detail,
    };
    let request = http::Request::get(url)
        .header(ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| malformed(error.to_string()))?;
    let limits = Limits {
        body: limits::METADATA_BYTES,
        time: PATIENCE,
    };
    let answer = fetcher
        .send(request, limits)
        .await
        .map_err(|source| MetadataError::Unreachable {
            issuer: issuer.clone(),
            source,
        })?;
    if answer.status() != StatusCode::OK {
        return Ok(Err(answer.status()));
    }
    let object = Object::parse(answer.body()).map_err(|error| malformed(error.to_string()))?;
    match object.get("issuer").map(|value| value.as_text()) {
        Some(Some(named)) if named == issuer.as_str() => Ok(Ok(object.into())),
        Some(Some(_)) => Err(MetadataError::OtherIssuer {
            url: url.to_owned(),
            issuer: issuer.clone(),
        }),
        Some(None) | None => Err(malformed("it has no text `issuer`".to_owned())),
    }
}

/// The addresses of an issuer's metadata, best first, without repetition.
fn well_known(issuer: &Issuer) -> Vec<String> {
    let issuer = issuer.as_str();
    // RFC 8414 §3.1 and Discovery §4.1: a `/` at the end is removed first.
    let (origin, path) = split(issuer.split_once('?').map_or(issuer, |(before, _)| before));
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut addresses = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        addresses.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    addresses
}

/// The part before the path, and the path. Done on the text, because an issuer is a text: a URL library would rewrite it.
fn split(issuer: &str) -> (&str, &str) {
    let authority = issuer.find("://").map_or(0, |at| at + 3);
    let path = issuer
        .bytes()
        .enumerate()
        .skip(authority)
        .find(|(_, byte)| *byte == b'/')
        .map(|(at, _)| at);
    issuer.split_at(path.unwrap_or(issuer.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_the_order_of_the_specification() {
        let rows = [
            (
                "https://as.example",
                vec![
                    "https://as.example/.well-known/oauth-authorization-server",
                    "https://as.example/.well-known/openid-configuration",
                ],
            ),
            (
                "https://as.example/",
                vec![
                    "https://as.example/.well-known/oauth-authorization-server",
                    "https://as.example/.well-known/openid-configuration",
                ],
            ),
            (
                "http://127.0.0.1:8421/tenant/1/",
                vec![
                    "http://127.0.0.1:8421/.well-known/oauth-authorization-server/tenant/1",
                    "http://127.0.0.1:8421/.well-known/openid-configuration/tenant/1",
                    "http://127.0.0.1:8421/tenant/1/.well-known/openid-configuration",
                ],
            ),
        ];
        for (issuer, expected) in rows {
            assert_eq!(well_known(&Issuer::parse(issuer).unwrap()), expected, "{issuer}");
        }
    }
}
