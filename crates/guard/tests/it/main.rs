//! The layer around a server of rmcp's, over real sockets.
// `cfg(test)` always holds here; it tells clippy that the helpers are tests too.

#[cfg(test)]
mod document;
#[cfg(test)]
mod house;
#[cfg(test)]
mod layer;
#[cfg(test)]
#[path = "../../examples/rmcp_server.rs"]
#[expect(dead_code, reason = "its `main` is for whoever runs it")]
mod rmcp_server;
