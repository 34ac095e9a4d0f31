//! What a 401 or 403 asks for.

use http::HeaderMap;

use crate::ids::ScopeSet;
use crate::wire::challenge::Challenge;

use super::Error;

/// What the server wants, from its `WWW-Authenticate` (RFC 6750 §3, RFC 9728 §5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenged {
    /// Where its metadata is, as it says.
    pub resource_metadata: Option<String>,
    /// The scopes it wants.
    pub scope: Option<ScopeSet>,
    /// Its error code.
    pub error: Option<String>,
}

impl Challenged {
    /// Whether a token with more scope would be let through (RFC 6750 §3.1).
    #[must_use]
    pub fn wants_scope(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }
}

/// Reads the challenge of a response: `Bearer` if there is one, else `DPoP`, since its metadata is found the same way.
/// Without either, an empty answer, and the well-known addresses are tried.
///
/// # Errors
/// [`Error::Challenge`], and [`Error::Scope`] for a scope that cannot be requested.
pub fn process_challenge(headers: &HeaderMap) -> Result<Challenged, Error> {
    let challenges = Challenge::parse_all(headers)?;
    let of = |scheme| challenges.iter().find(|challenge| challenge.is(scheme));
    let Some(challenge) = of("Bearer").or_else(|| of("DPoP")) else {
        return Ok(Challenged::default());
    };
    Ok(Challenged {
        resource_metadata: challenge.param("resource_metadata").map(str::to_owned),
        scope: challenge
            .param("scope")
            .map(ScopeSet::parse)
            .transpose()
            .map_err(Error::Scope)?,
        error: challenge.param("error").map(str::to_owned),
    })
}
