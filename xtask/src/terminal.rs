//! Lines for a person. A closed terminal is no reason to fail.

use std::io::{self, Write as _};

/// A line on stdout.
pub(crate) fn say(line: &str) {
    drop(writeln!(io::stdout().lock(), "{line}"));
}

/// A line on stderr.
pub(crate) fn complain(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}
