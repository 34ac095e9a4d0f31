//! Whose fault an error is.

/// Who has to act to make an error go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The one who sent the request.
    Caller,
    /// Another party we depend on: an issuer, an upstream server, a client's metadata host.
    Peer,
    /// Whoever runs this Portcullis: configuration, disk, keys.
    Operator,
    /// Us. Report it.
    Bug,
}

impl Fault {
    /// The stable lower-case name, as written into audit records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Peer => "peer",
            Self::Operator => "operator",
            Self::Bug => "bug",
        }
    }
}
