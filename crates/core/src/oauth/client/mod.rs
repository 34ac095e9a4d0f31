//! The client half of OAuth 2.1 for MCP: `build_…` makes a request, `process_…` judges the answer.
//!
//! Takes: the server's address, responses, `now`, randomness. Gives: requests, validated documents, a code, tokens.
//! May use: `wire` (challenges), `jose` (strict JSON), ids, PKCE, time. Never: sends anything, opens a browser, keeps
//! a token.
//!
//! The order of the MCP authorization algorithm (2026-07-28) is the order of the types: each step takes what only the
//! step before it can make, so that a check cannot be left out.
//!
//! ```text
//! 401 ─process_challenge▶ Challenged ─protected_resource_urls─▶ process_protected_resource ─▶ metadata
//!     ─authorization_server_urls─▶ process_authorization_server ─▶ AuthorizationServer   (issuer, PKCE, endpoints held)
//!     ─plan_registration─▶ Client ─build_authorization─▶ Pending (state, verifier, issuer recorded)
//!     ─process_redirect─▶ Code ─build_code_exchange / process_tokens─▶ Tokens ─build_refresh─▶ …
//! ```

mod address;
mod authorization;
mod challenged;
mod discovery;
mod error;
mod form;
mod registration;
mod scope;
mod token;

#[cfg(test)]
mod tests;

pub use address::{Endpoint, ServerUrl};
pub use authorization::{Code, Pending, build_authorization, process_redirect};
pub use challenged::{Challenged, process_challenge};
pub use discovery::{
    AuthMethod, AuthorizationServer, IssParameter, authorization_server_urls, process_authorization_server,
    process_protected_resource, protected_resource_urls,
};
pub use error::{Error, OAuthError, RedirectRefused};
pub use registration::{
    Client, ClientAuth, ClientOrigin, Plan, Preregistered, build_registration, plan_registration,
    process_registration,
};
pub use scope::{initial_scope, step_up_scope};
pub use token::{Tokens, build_code_exchange, build_refresh, build_revocation, process_tokens};
