//! Opaque access tokens, by what their issuer answers when it is asked (RFC 7662 §2.2).

use super::bearer::vouch;
use super::claims::Claims;
use super::{ClaimName, Failed, IssuerTrust, Vouched};
use crate::ids::ResourceUri;
use crate::jose::json::{Object, Value};
use crate::time::UnixTime;
use crate::wire::AccessToken;

/// Reads the answer that the issuer's own endpoint gave for this token, and holds it to what a JWT is held to: audience,
/// times, subject, client, `cnf`. `iss` may be absent, because it is the issuer that answers. `trust.tokens` is
/// [`super::TokenProfile::of_introspection`].
///
/// # Errors
/// [`Failed::Inactive`], [`Failed::IntrospectionAnswer`], [`Failed::NotAnAccessToken`], and those of [`super::verify`]
/// that are about claims.
pub fn introspected(
    token: &AccessToken,
    answer: &[u8],
    trust: &IssuerTrust,
    resource: &ResourceUri,
    now: UnixTime,
) -> Result<Vouched, Failed> {
    let members = Object::parse(answer).map_err(|_| Failed::IntrospectionAnswer)?;
    // RFC 7662 §2.2: a boolean. What only looks like one says nothing (`"true"`, 1), and neither does its absence.
    match members.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Err(Failed::Inactive),
        Some(_) | None => return Err(Failed::IntrospectionAnswer),
    }
    let is_dpop = check_type(&members)?;
    let claims = Claims::read(answer, &trust.tokens)?;
    let issuer = claims.issuer.as_ref().optional(ClaimName::Iss)?;
    if issuer.is_some_and(|issuer| *issuer != trust.issuer.as_str()) {
        return Err(Failed::OtherIssuer);
    }
    let vouched = vouch(claims, (token, token.reveal()), trust, resource, now)?;
    // RFC 9449 §6.2: it is bound to a key, which `cnf` has to name. A binding that nobody can check is none.
    if is_dpop && vouched.bound.jkt.is_none() {
        return Err(Failed::ClaimMissing(ClaimName::Cnf));
    }
    Ok(vouched)
}

/// `token_type` (RFC 7662 §2.2, RFC 6749 §5.1), where there is one, is that of an access token; so is `token_use`, with
/// which some servers tell refresh tokens, about which they answer as well, from access tokens. Says whether it is `DPoP`.
fn check_type(members: &Object<'_>) -> Result<bool, Failed> {
    let text = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(value) => value.as_text().map(Some).ok_or(Failed::IntrospectionAnswer),
    };
    if text("token_use")?.is_some_and(|token_use| !matches!(token_use, "access" | "access_token")) {
        return Err(Failed::NotAnAccessToken);
    }
    match text("token_type")? {
        None => Ok(false),
        Some(kind) if kind.eq_ignore_ascii_case("Bearer") => Ok(false),
        Some(kind) if kind.eq_ignore_ascii_case("DPoP") => Ok(true),
        Some(_) => Err(Failed::NotAnAccessToken),
    }
}
