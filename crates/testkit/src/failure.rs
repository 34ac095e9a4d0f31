//! The one error of the test kit: a sentence. Tests end at the first of them.

use std::fmt;
use std::path::Path;

/// Why a step of a test could not be done. Its `Debug` is its message, because that is what a test prints.
#[derive(thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

/// What every function of the kit, and every test that uses `?`, gives.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure that reads as `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The same failure, preceded by what was being done.
    #[must_use]
    pub fn during(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }

    /// An I/O error together with the file or folder it is about.
    pub(crate) fn at(path: &Path, error: &std::io::Error) -> Self {
        Self(format!("`{}`: {error}", path.display()))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(error: tokio::task::JoinError) -> Self {
        Self(format!("task: {error}"))
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        // What was wrong with the connection is behind what was wrong with the request.
        let mut text = format!("http: {error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Self(text)
    }
}

impl From<::http::Error> for Failure {
    fn from(error: ::http::Error) -> Self {
        Self(format!("http: {error}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("json: {error}"))
    }
}

impl From<url::ParseError> for Failure {
    fn from(error: url::ParseError) -> Self {
        Self(format!("url: {error}"))
    }
}
