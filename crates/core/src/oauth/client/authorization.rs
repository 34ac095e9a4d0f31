//! Through the browser and back: the authorization request, and what its redirect brings (RFC 6749 §4.1, RFC 9207).

use std::borrow::Cow;

use aws_lc_rs::constant_time;

use crate::ids::{ClientId, Issuer, ResourceUri, ScopeSet};
use crate::limits;
use crate::oauth::pkce::{self, Verifier};
use crate::random::{self, SecureRandom};
use crate::secret::Secret;

use super::{AuthorizationServer, Client, Error, IssParameter, OAuthError, RedirectRefused};

/// A login that waits for its redirect: everything the answer is checked against, recorded before the browser left.
#[derive(Clone)]
pub struct Pending {
    pub(super) redirect_uri: String,
    pub(super) resource: ResourceUri,
    pub(super) verifier: Verifier,
    url: String,
    issuer: Issuer,
    iss: IssParameter,
    state: Secret,
    requested: Option<ScopeSet>,
}

impl Pending {
    /// Where to send the browser. Always https, or http on loopback, so that no part of it can be taken for an option of
    /// the program that opens it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The scopes asked for.
    #[must_use]
    pub fn requested(&self) -> Option<&ScopeSet> {
        self.requested.as_ref()
    }
}

impl std::fmt::Debug for Pending {
    /// Without the address: `state` is in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("issuer", &self.issuer)
            .field("resource", &self.resource)
            .field("requested", &self.requested)
            .finish_non_exhaustive()
    }
}

/// An authorization code, from the recorded issuer, for the recorded state.
#[derive(Clone, Debug)]
pub struct Code(pub(super) Secret);

/// An authorization request: PKCE S256, a fresh `state`, and `resource` byte for byte as the server's metadata spells it.
///
/// # Errors
/// [`Error::Random`].
pub fn build_authorization(
    server: &AuthorizationServer,
    client: &Client,
    redirect_uri: &str,
    resource: &ResourceUri,
    scope: Option<&ScopeSet>,
    random: &dyn SecureRandom,
) -> Result<Pending, Error> {
    let verifier = Verifier::generate(random)?;
    let state = random::token::<32>(random)?;
    let mut url = server.authorization_endpoint().url().clone();
    authorization_query(
        &mut url,
        &client.id,
        redirect_uri,
        scope,
        &state,
        &verifier,
        resource,
    );
    Ok(Pending {
        redirect_uri: redirect_uri.to_owned(),
        resource: resource.clone(),
        verifier,
        url: url.into(),
        issuer: server.issuer().clone(),
        iss: server.iss(),
        state: Secret::new(state),
        requested: scope.cloned(),
    })
}

/// Adds to a query that the endpoint may have of its own (RFC 6749 §3.1).
fn authorization_query(
    url: &mut url::Url,
    client: &ClientId,
    redirect_uri: &str,
    scope: Option<&ScopeSet>,
    state: &str,
    verifier: &Verifier,
    resource: &ResourceUri,
) {
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", client.as_str())
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("state", state)
        .append_pair("code_challenge", verifier.challenge().as_str())
        .append_pair("code_challenge_method", pkce::METHOD)
        .append_pair("resource", resource.as_str());
    if let Some(scope) = scope {
        query.append_pair("scope", &scope.to_string());
    }
}

/// Judges the query of a redirect, before anything in it is used or shown: first whether it is this login's, then
/// whether the recorded issuer sent it, errors included, then what it says.
///
/// # Errors
/// [`RedirectRefused`].
pub fn process_redirect(pending: &Pending, query: &str) -> Result<Code, RedirectRefused> {
    let parameters = Parameters::read(query)?;
    let state = parameters
        .one("state")
        .map_err(|_| RedirectRefused::NotOurs)?
        .unwrap_or_default();
    if constant_time::verify_slices_are_equal(state.as_bytes(), pending.state.reveal().as_bytes()).is_err() {
        return Err(RedirectRefused::NotOurs);
    }
    // RFC 9207 §2.4: a simple string comparison of the decoded value. Same for error responses.
    let held = match (parameters.one("iss")?, pending.iss) {
        (Some(iss), IssParameter::Promised | IssParameter::NotPromised) => iss == pending.issuer.as_str(),
        (None, IssParameter::Promised) => false,
        (None, IssParameter::NotPromised) => true,
    };
    if !held {
        return Err(RedirectRefused::Issuer {
            expected: pending.issuer.clone(),
        });
    }
    let (code, error) = (parameters.one("code")?, parameters.one("error")?);
    match (code, error) {
        (_, Some(error)) => {
            let description = parameters.one("error_description")?;
            Err(RedirectRefused::Denied(OAuthError::new(error, description)))
        }
        (Some(""), None) | (None, None) => {
            Err(RedirectRefused::Malformed("it has neither a code nor an error"))
        }
        (Some(code), None) => Ok(Code(Secret::new(code))),
    }
}

struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    fn read(query: &'a str) -> Result<Self, RedirectRefused> {
        if query.len() > limits::AUTHORIZATION_BYTES {
            return Err(RedirectRefused::NotOurs);
        }
        Ok(Self(url::form_urlencoded::parse(query.as_bytes()).collect()))
    }

    /// RFC 6749 §3.1: no parameter more than once.
    fn one(&self, name: &str) -> Result<Option<&str>, RedirectRefused> {
        let mut values = self
            .0
            .iter()
            .filter(|(candidate, _)| candidate == name)
            .map(|(_, value)| &**value);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(RedirectRefused::Malformed("a parameter is there twice")),
        }
    }
}
