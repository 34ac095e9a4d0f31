//! The gateway on real sockets.

mod bounds;
mod calls;
mod house;
mod lists;
mod others;
mod sealed;
mod sessions;
