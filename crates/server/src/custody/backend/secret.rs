//! Where a secret of a backend is: in a file or in the environment, never in the configuration.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::BackendError;
use crate::custody::files;

/// Longest PIN, token or secret key, in bytes.
const LONGEST: usize = 4096;

/// Where to read a secret, each time anew: it may be changed without a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that its owner alone can read, such as a systemd credential. A line break at its end does not count.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

impl SecretSource {
    /// The secret.
    pub(crate) fn read(&self) -> Result<Zeroizing<String>, BackendError> {
        let text = match self {
            Self::File(path) => {
                let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
                    BackendError::Configuration(format!(
                        "cannot read the secret in `{}`: {error}",
                        path.display()
                    ))
                })?;
                files::check_private(path).map_err(|error| BackendError::Configuration(error.to_string()))?;
                text
            }
            Self::Env(name) => read_variable(name)?,
        };
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() || secret.len() > LONGEST {
            return Err(BackendError::Configuration(format!(
                "{self} has {} bytes where a secret has 1 to {LONGEST}",
                secret.len()
            )));
        }
        Ok(Zeroizing::new(secret.to_owned()))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the configuration names the variable to read"
)]
fn read_variable(name: &str) -> Result<Zeroizing<String>, BackendError> {
    std::env::var(name).map(Zeroizing::new).map_err(|_| {
        BackendError::Configuration(format!(
            "the environment variable `{name}` is not set, or is not text"
        ))
    })
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file `{}`", path.display()),
            Self::Env(name) => write!(f, "environment variable `{name}`"),
        }
    }
}
