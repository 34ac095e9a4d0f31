//! Portcullis for agents: logs in to guarded MCP servers, keeps the tokens, and calls tools.
//!
//! Takes: a server's address, a person at a browser. Gives: tools, results, access tokens.
//! May use: `portcullis-core` (the client state machine decides every step), `portcullis-net`, one folder, one loopback
//! listener while a login waits, rmcp. Never: sends a token to another server than it was granted for, starts a shell,
//! decides a security question that the state machine has an answer for.
//!
//! ```no_run
//! # use std::sync::Arc;
//! struct Terminal;
//! impl portcullis_agent::Presenter for Terminal {
//!     fn authorize(&self, url: &str) {
//!         use std::io::Write as _;
//!         writeln!(std::io::stderr(), "open {url}").ok();
//!     }
//! }
//! # async fn example() -> Result<(), portcullis_agent::Error> {
//! let settings = portcullis_agent::Settings::new("/home/me/.local/share/portcullis/agent", Arc::new(Terminal));
//! let agent = portcullis_agent::Agent::open(settings).await?;
//! for tool in agent.tools("https://mcp.example.com/mcp").await? {
//!     tracing::info!(name = tool.name);
//! }
//! # Ok(())
//! # }
//! ```

mod agent;
pub mod browser;
mod callback;
mod error;
mod login;
mod mcp;
mod page;
mod pending;
mod reach;
mod refresh;
mod sealing;
mod tokens;
mod transport;

pub use agent::{Agent, LoggedOut, Login, Network, Presenter, Settings, Status};
pub use error::Error;
pub use mcp::{Called, Tool, printable};
pub use portcullis_core::oauth::client::Preregistered;
pub use sealing::{SealMode, SealedFields};
pub use tokens::StoreError;
