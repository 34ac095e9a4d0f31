//! A client of one era before a server of the other: every duty of the bridge, with raw HTTP on both sides.

mod before_legacy;
mod before_modern;
mod changes;
mod rounds;
mod sse;
mod stage;
