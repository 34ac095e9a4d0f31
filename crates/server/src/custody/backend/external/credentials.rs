//! Who we are at AWS: from the environment or a credentials file, nowhere else.

use std::fs;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::super::BackendError;
use super::super::secret::SecretSource;

/// Largest credentials file, in bytes.
const FILE_BYTES: usize = 64 * 1024;

/// Where the credentials are. Read anew for each request, so that they may be replaced without a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsCredentials {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary ones, `AWS_SESSION_TOKEN`.
    Environment,
    /// A profile of a shared credentials file.
    File {
        /// The file, private to its owner.
        path: PathBuf,
        /// The section in it.
        profile: String,
    },
}

pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) session: Option<Zeroizing<String>>,
}

impl AwsCredentials {
    pub(super) fn read(&self) -> Result<Credentials, BackendError> {
        match self {
            Self::Environment => {
                let variable = |name: &str| SecretSource::Env(name.to_owned()).read();
                Ok(Credentials {
                    id: variable("AWS_ACCESS_KEY_ID")?.to_string(),
                    secret: variable("AWS_SECRET_ACCESS_KEY")?,
                    session: variable("AWS_SESSION_TOKEN").ok(),
                })
            }
            Self::File { path, profile } => {
                crate::custody::files::check_private(path)
                    .map_err(|error| BackendError::Configuration(error.to_string()))?;
                let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
                    BackendError::Configuration(format!("cannot read `{}`: {error}", path.display()))
                })?;
                parse(&text, profile).ok_or_else(|| {
                    BackendError::Configuration(format!(
                        "`{}` has no profile `[{profile}]` with aws_access_key_id and aws_secret_access_key",
                        path.display()
                    ))
                })
            }
        }
    }
}

fn parse(text: &str, profile: &str) -> Option<Credentials> {
    if text.len() > FILE_BYTES {
        return None;
    }
    let (mut id, mut secret, mut session) = (None, None, None);
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = name.trim() == profile;
        } else if let (true, Some((name, value))) = (inside, line.split_once('=')) {
            let value = value.trim();
            match name.trim() {
                "aws_access_key_id" => id = Some(value.to_owned()),
                "aws_secret_access_key" => secret = Some(Zeroizing::new(value.to_owned())),
                "aws_session_token" => session = Some(Zeroizing::new(value.to_owned())),
                _ => {}
            }
        }
    }
    Some(Credentials {
        id: id.filter(|id| !id.is_empty())?,
        secret: secret.filter(|secret| !secret.is_empty())?,
        session,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_and_no_other() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key = B\n\n[signer]\n\
                    aws_access_key_id=C\naws_secret_access_key=D=\naws_session_token=E\n[half]\naws_access_key_id = F\n";
        let read = parse(text, "signer").unwrap();
        assert_eq!((read.id.as_str(), read.secret.as_str()), ("C", "D="));
        assert_eq!(read.session.as_ref().map(|session| session.as_str()), Some("E"));
        assert!(parse(text, "default").unwrap().session.is_none());
        assert!(parse(text, "half").is_none());
        assert!(parse(text, "none").is_none());
    }
}
