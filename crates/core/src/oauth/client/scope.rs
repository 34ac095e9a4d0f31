//! Which scopes to ask for.

use crate::ids::{Scope, ScopeSet};
use crate::oauth::metadata::ProtectedResourceMetadata;

use super::{AuthorizationServer, Challenged};

/// What asks for a refresh token where an authorization server wants to be asked (OpenID Connect Core §11).
const OFFLINE_ACCESS: &str = "offline_access";

/// The scopes of a first authorization: those of the challenge, else all that the resource's metadata lists, else the
/// parameter is left out. `offline_access` is asked for exactly when the authorization server lists it.
#[must_use]
pub fn initial_scope(
    challenged: &Challenged,
    resource: &ProtectedResourceMetadata,
    server: &AuthorizationServer,
) -> Option<ScopeSet> {
    let supported = || {
        resource
            .scopes_supported
            .as_ref()
            .map(|scopes| scopes.iter().cloned().collect())
    };
    let wanted: ScopeSet = challenged.scope.clone().or_else(supported)?;
    with_offline_access(&wanted, server)
}

/// The scopes of a step-up: everything asked for before and everything challenged now, so that no earlier permission is
/// lost with the new token.
#[must_use]
pub fn step_up_scope(
    requested: Option<&ScopeSet>,
    challenged: &ScopeSet,
    server: &AuthorizationServer,
) -> Option<ScopeSet> {
    let wanted = requested.map_or_else(|| challenged.clone(), |requested| requested.union(challenged));
    with_offline_access(&wanted, server)
}

/// An empty set is no parameter: an empty `scope` is malformed (RFC 6749 §3.3).
fn with_offline_access(wanted: &ScopeSet, server: &AuthorizationServer) -> Option<ScopeSet> {
    let mut scopes: ScopeSet = wanted
        .iter()
        .filter(|scope| scope.as_str() != OFFLINE_ACCESS)
        .cloned()
        .collect();
    if scopes.is_empty() {
        return None;
    }
    if server.offers_scope(OFFLINE_ACCESS)
        && let Ok(scope) = Scope::parse(OFFLINE_ACCESS)
    {
        scopes.insert(scope);
    }
    Some(scopes)
}
