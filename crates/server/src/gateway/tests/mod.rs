//! The gateway on real sockets.

mod calls;
mod house;
mod lists;
mod others;
mod sessions;
