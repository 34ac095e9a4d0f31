//! Every named bound. Each has a test at the limit and one past it, in the room that enforces it.

/// Longest `Authorization` value read, in bytes (an ES256 access token is about 700).
pub const AUTHORIZATION_BYTES: usize = 8 * 1024;
/// Longest `DPoP` value read, in bytes (an ES256 proof is about 500).
pub const PROOF_BYTES: usize = 8 * 1024;
/// Longest `jti` of a DPoP proof, in bytes (RFC 9449 §11.1: what is remembered should not be the sender's to choose).
pub const PROOF_ID_BYTES: usize = 256;
/// Longest client certificate, in bytes (one with an ML-DSA-65 key and signature has about 6,000).
pub const CERTIFICATE_BYTES: usize = 16 * 1024;
/// Largest request body, in bytes, unless configured otherwise.
pub const BODY_BYTES: usize = 4 * 1024 * 1024;
/// Largest message whose fields are sealed or opened on the thread that reads it, in bytes. What is larger waits for one of
/// the bounded number of threads for slow work.
pub const SEAL_INLINE_BYTES: usize = 64 * 1024;
/// Deepest nesting of arrays and objects in a request body, a token or a metadata document.
pub const JSON_DEPTH: usize = 64;
/// Longest tool, prompt or resource name, in bytes.
pub const NAME_BYTES: usize = 1024;
/// Most that a client says of itself where a session keeps it: its capabilities, and its name and the like, in bytes of JSON
/// text each.
pub const CLIENT_BYTES: usize = 16 * 1024;
/// Most resources that one `subscriptions/listen` names. Each is judged on its own.
pub const SUBSCRIPTIONS: usize = 256;
/// Longest JSON-RPC id, in bytes of its JSON text.
pub const ID_BYTES: usize = 256;
/// Most scopes in one token or request.
pub const SCOPES: usize = 128;
/// Longest single scope token, in bytes.
pub const SCOPE_BYTES: usize = 256;
/// Most groups, and most roles, in one token (Microsoft Entra ID puts up to 200 groups into one).
pub const GROUPS: usize = 256;
/// Largest answer about an opaque token, in bytes.
pub const INTROSPECTION_BYTES: usize = 64 * 1024;
/// Largest JWK Set document, in bytes.
pub const JWKS_BYTES: usize = 256 * 1024;
/// Most keys read from one JWK Set.
pub const JWKS_KEYS: usize = 100;
/// Largest metadata document fetched from another party, in bytes.
pub const METADATA_BYTES: usize = 64 * 1024;
/// Largest client ID metadata document, in bytes (draft-ietf-oauth-client-id-metadata-document §6.6 advises 5 kB).
pub const CLIENT_METADATA_BYTES: usize = 5 * 1024;
