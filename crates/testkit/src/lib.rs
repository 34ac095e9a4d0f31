//! For tests only: the real `portcullis` binary in a scratch folder, a small HTTP client that can also send what a
//! well-behaved client never would, a login without a browser, and an upstream MCP server that a test can script.
//!
//! Takes: the path of a built binary (`env!("CARGO_BIN_EXE_portcullis")`), URLs on loopback.
//! Gives: [`Running`], [`Answer`], [`Tokens`], [`Upstream`].
//! May use: sockets, files below the temporary folder, processes it started itself.
//! Never: links a crate of the product. A test kit that shared our decoders would repeat their mistakes.
//!
//! Nothing here panics: every function gives a [`Failure`] that says what was asked, what came, and where the
//! logs are, so that a failing test reads as a sentence.

mod failure;
pub mod http;
pub mod login;
pub mod mcp;
mod page;
mod process;
pub mod proofs;
mod scratch;
pub mod site;
pub mod tls;
pub mod upstream;

pub use failure::{Failure, Outcome};
pub use http::{Answer, Request};
pub use login::{Tokens, login};
pub use process::{Portcullis, Ready, Running};
pub use scratch::Scratch;
pub use site::Site;
pub use upstream::Upstream;
