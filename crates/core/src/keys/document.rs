//! The JWK Set that we publish.

use aws_lc_rs::digest;
use bytes::Bytes;
use serde_json::json;

use crate::jose::base64url;
use crate::jose::jwk::PublicJwk;

/// A JWK Set (RFC 7517 §5) as served: always the same bytes for the same keys, and their strong validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksDocument {
    bytes: Bytes,
    etag: String,
    empty: bool,
}

impl JwksDocument {
    /// Of these keys, in the order of their names.
    #[must_use]
    pub fn new(mut keys: Vec<PublicJwk>) -> Self {
        keys.sort_by(|a, b| a.kid.cmp(&b.kid));
        let keys: Vec<_> = keys.iter().map(PublicJwk::to_json).collect();
        let bytes = Bytes::from(json!({ "keys": keys }).to_string());
        let digest = digest::digest(&digest::SHA256, &bytes);
        Self {
            empty: keys.is_empty(),
            bytes,
            etag: format!("\"{}\"", base64url::encode(digest)),
        }
    }

    /// The JSON text. Media type `application/jwk-set+json` (RFC 7517 §8.5.2).
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Whether there is no key in it: nothing that a verifier should keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// The `ETag` with its quotes (RFC 9110 §8.8.3), a digest of the bytes: equal on every replica.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.etag
    }
}
