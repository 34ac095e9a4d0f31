//! Tokens: for a code, for a refresh token, and no longer wanted (RFC 6749 §4.1.3, §5, §6; RFC 8707; RFC 7009).

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use crate::ids::{ResourceUri, ScopeSet};
use crate::jose::json::{Object, Value};
use crate::limits;
use crate::secret::Secret;
use crate::time::{Lifetime, UnixTime};

use super::form;
use super::{Client, Code, Endpoint, Error, OAuthError, Pending};

const WHAT: &str = "token response";
/// Longest lifetime believed. A server that says more is asked again after this.
const LONGEST: u64 = 365 * 24 * 3600;

/// What a token endpoint gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: Secret,
    /// The refresh token, when there is one: the new one after a rotation, and it replaces the old one.
    pub refresh: Option<Secret>,
    /// When the access token ends, if the server said.
    pub expires_at: Option<UnixTime>,
    /// What was granted, if it is known: never more than was asked for or held.
    pub granted: Option<ScopeSet>,
}

/// The request that trades a code for tokens, with the verifier of the same login and the same `resource`.
#[must_use]
pub fn build_code_exchange(
    endpoint: &Endpoint,
    client: &Client,
    pending: &Pending,
    code: &Code,
) -> Request<Bytes> {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.0.reveal()),
        ("redirect_uri", &pending.redirect_uri),
        ("code_verifier", pending.verifier.reveal()),
        ("resource", pending.resource.as_str()),
    ];
    form::authenticated(endpoint, client, &fields)
}

/// The request that trades a refresh token for new tokens. It names no scope: a refresh never widens one (RFC 6749 §6).
#[must_use]
pub fn build_refresh(
    endpoint: &Endpoint,
    client: &Client,
    refresh: &Secret,
    resource: &ResourceUri,
) -> Request<Bytes> {
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.reveal()),
        ("resource", resource.as_str()),
    ];
    form::authenticated(endpoint, client, &fields)
}

/// The request that ends a refresh token, and with it the grant (RFC 7009 §2.1).
#[must_use]
pub fn build_revocation(endpoint: &Endpoint, client: &Client, refresh: &Secret) -> Request<Bytes> {
    form::authenticated(
        endpoint,
        client,
        &[("token", refresh.reveal()), ("token_type_hint", "refresh_token")],
    )
}

/// Reads a token response. `asked` is what was asked for, or held when a refresh was asked for: the grant when the
/// response names no scope (RFC 6749 §5.1), and the bound of it when it does.
///
/// # Errors
/// [`Error::TokenRefused`] for an OAuth error, whatever its status; [`Error::Answer`] for anything but a complete
/// `Bearer` response.
pub fn process_tokens(
    answer: &Response<Bytes>,
    asked: Option<&ScopeSet>,
    now: UnixTime,
) -> Result<Tokens, Error> {
    if answer.status() != StatusCode::OK {
        return Err(Error::TokenRefused(OAuthError::of(answer)));
    }
    let object = form::object(answer, WHAT)?;
    if object.get("error").is_some() {
        return Err(Error::TokenRefused(OAuthError::of(answer)));
    }
    let malformed = |reason| Error::Answer { what: WHAT, reason };
    let text = |name| object.get(name).and_then(Value::as_text);
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer")) {
        return Err(malformed("its `token_type` is not `Bearer`"));
    }
    let access = text("access_token")
        .filter(|token| sendable(token))
        .ok_or(malformed("it has no usable `access_token`"))?;
    let refresh = match object.get("refresh_token") {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            value
                .as_text()
                .filter(|token| sendable(token))
                .ok_or(malformed("its `refresh_token` is unusable"))?,
        ),
    };
    Ok(Tokens {
        access: Secret::new(access),
        refresh: refresh.map(Secret::new),
        expires_at: lifetime(&object)
            .map_err(malformed)?
            .map(|lifetime| now.plus(lifetime)),
        granted: granted(text("scope"), asked).map_err(malformed)?,
    })
}

/// RFC 6749 §5.1: a number of seconds. Absent is unknown; anything that is no whole number is no answer.
fn lifetime(object: &Object<'_>) -> Result<Option<Lifetime>, &'static str> {
    let seconds = match object.get("expires_in") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Integer(seconds)) => u64::try_from(*seconds).ok(),
        Some(_) => None,
    };
    let seconds = seconds.ok_or("its `expires_in` is not a whole number of seconds")?;
    Ok(Some(Lifetime::from_secs(seconds.min(LONGEST))))
}

fn granted(scope: Option<&str>, asked: Option<&ScopeSet>) -> Result<Option<ScopeSet>, &'static str> {
    let Some(text) = scope else {
        return Ok(asked.cloned());
    };
    let said = ScopeSet::parse(text).map_err(|_| "its `scope` is malformed")?;
    Ok(Some(match asked {
        Some(asked) => said.intersection(asked),
        None => said,
    }))
}

/// What fits into a header and a form without a second meaning (RFC 6749 appendix A.12: visible ASCII).
fn sendable(token: &str) -> bool {
    !token.is_empty()
        && token.len() <= limits::AUTHORIZATION_BYTES
        && token.bytes().all(|b| b.is_ascii_graphic())
}
