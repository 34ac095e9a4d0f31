//! The audit log on disk: JSON Lines files, one chained record a line.
//!
//! Takes: [`Event`](portcullis_core::audit::Event)s. Gives: sequence numbers, once a record is as durable as asked.
//! May use: `core::audit`, the clock. Never: drops a record it acknowledged, answers for one it could not keep, waits
//! for room.
//!
//! Every record passes through one queue, in whose order it is chained, and one thread that writes: all that waits is
//! written at once, and one `fdatasync` serves all who asked for it. When the disk fails, every call that needs a
//! record fails with it, until writing succeeds again; what was acknowledged before is written again from memory,
//! since Linux forgets pages whose sync failed.
//!
//! One process writes a folder, by a lock on a file in it. After a crash the last line may be torn, without its line
//! feed: it is set aside in a file of its own, never deleted, and a record says so. A line with its line feed that does
//! not hold was changed by somebody: the log does not open.

mod folder;
mod log;
mod queue;
mod transitions;
mod writer;

pub use folder::{Error, Writing, files, writer};
pub use log::AuditLog;
pub use transitions::{KeyTransition, key_transitions, revocations};
