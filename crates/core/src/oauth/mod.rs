//! OAuth 2.1 messages and state machines, without transport: `client` for the agent, `server` for the authority.
//!
//! Takes: parsed parameters, stored state, `now`, randomness. Gives: the next state or a refusal. May use: `wire`,
//! `jose`, ids, time. Never: opens sockets, reads state from anywhere.
pub mod client;
pub mod metadata;
pub mod pkce;
pub mod server;
