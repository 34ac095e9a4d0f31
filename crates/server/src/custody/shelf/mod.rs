//! The shelf: the truth about the keys of one ring, for all processes that share it.
//!
//! A shelf holds all records of a ring and a generation number that grows with each change. A change names the
//! generation that it was made from and happens whole and durable, or not at all: two that plan the same transition
//! make it once. A lease lets one of them do the slow part (making keys) while the others wait; correctness does not
//! hang on it. There are two kinds, and one contract test for both: [`Folder`] and [`Table`]. All calls block.

mod folder;
mod record;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

pub use folder::Folder;
pub(super) use record::Shape as RecordShape;
pub use record::{Cause, KeyPurpose, KeyRecord, Revocation};
#[cfg(test)]
pub(super) use table::ANSWER;
pub use table::{Database, Table};

use super::Error;

/// Where the records of one ring are.
pub trait Shelf: Send + Sync + fmt::Debug {
    /// For messages: the folder, or the database and the ring.
    fn place(&self) -> String;

    /// The number of the last change: 0 when there was none. Cheap, for asking twice a second.
    ///
    /// # Errors
    /// [`Error`]: the disk or the database.
    fn generation(&self) -> Result<u64, Error>;

    /// All records, in the order of their names, and the generation that they are of.
    ///
    /// # Errors
    /// [`Error`]: the disk, the database, or a record that is damaged.
    fn read(&self) -> Result<Shelved, Error>;

    /// Puts `records` in place of all that are there, if the generation is still `expected`. When this returns
    /// [`Changed::To`], the change is durable.
    ///
    /// # Errors
    /// [`Error`]: the disk or the database. The change may have happened then: read again.
    fn change(&self, expected: u64, records: &[KeyRecord]) -> Result<Changed, Error>;

    /// Takes the lease, unless another holds it. It ends when it is dropped, and when its process dies.
    ///
    /// # Errors
    /// [`Error`]: the disk or the database.
    fn lease(&self) -> Result<Option<Lease>, Error>;
}

/// What a shelf holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelved {
    /// The number of the change that made it so.
    pub generation: u64,
    /// All records, in the order of their names.
    pub records: Vec<KeyRecord>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It happened, and this is the generation now.
    To(u64),
    /// Another change came first. Nothing happened.
    Conflict,
}

/// The right to make keys for a ring, until it is dropped.
pub struct Lease(Option<Box<dyn FnOnce() + Send>>);

impl Lease {
    fn new(release: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(release)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}
