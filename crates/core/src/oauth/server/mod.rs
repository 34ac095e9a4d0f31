//! The server half of OAuth: requests and grants as values that only move forward.
//!
//! Takes: parsed parameters, stored clients, codes and refresh tokens, `now`, randomness. Gives: the next state, or a
//! [`Refusal`]. May use: `ids`, `jose`, `pkce`, time. Never: opens a socket, keeps anything, knows an HTTP status.
//!
//! ```text
//! Addressed ─▶ AuthorizationRequest ─▶ Authenticated ─▶ Asking ─▶ Consented ─▶ Code ─▶ Grant ─▶ access token
//!  (client and redirect URI hold)          (user)      └────────────▲ (remembered)       └▶ refresh token family
//! ```
//!
//! Every transition consumes the state before it. Whatever fails before [`authorization::Addressed`] is shown to
//! the user and never sent anywhere: nobody proved that the redirect URI is the client's (RFC 9700 §4.11).

pub mod access_token;
pub mod authorization;
pub mod client;
pub mod code;
pub mod document;
pub mod opaque;
pub mod parameters;
pub mod redirect;
pub mod refresh;
mod refusal;
pub mod registration;
#[cfg(test)]
mod tests;
pub mod token;

pub use refusal::Refusal;
