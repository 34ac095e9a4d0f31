//! RFC 9068 access tokens, checked in the order of its §4.

use std::collections::BTreeSet;

use super::claims::{Audience, Claim, Claims, Cnf, claimed_issuer};
use super::verified::Bound;
use super::{AccessTokenHash, ClaimName, Failed, Vouched};
use crate::ids::{Issuer, KeyId, Principal, ResourceUri};
use crate::jose::SignatureAlgorithm;
use crate::jose::jwk::KeySet;
use crate::jose::jws::Unverified;
use crate::time::{Lifetime, UnixTime};
use crate::wire::AccessToken;

/// What we hold true about one issuer. From configuration only.
#[derive(Clone, Debug)]
pub struct IssuerTrust {
    /// The issuer identifier, compared as a string.
    pub issuer: Issuer,
    /// Algorithms accepted from it.
    pub algorithms: BTreeSet<SignatureAlgorithm>,
    /// Longest accepted `exp - iat`.
    pub max_token_lifetime: Lifetime,
    /// Accepted difference of clocks.
    pub skew: Lifetime,
}

/// A token split into its parts and read, but not believed: enough to find the issuer and the key.
#[derive(Debug)]
pub struct Candidate<'t> {
    token: &'t AccessToken,
    jws: Unverified<'t>,
    issuer: Box<str>,
}

impl<'t> Candidate<'t> {
    /// Splits and reads.
    ///
    /// # Errors
    /// Not a compact JWS of an access token.
    pub fn parse(token: &'t AccessToken) -> Result<Self, Failed> {
        let jws = Unverified::parse(token.reveal())?;
        let issuer = claimed_issuer(&jws)?;
        Ok(Self { token, jws, issuer })
    }

    /// The claimed issuer, whatever text it is: only for looking it up in configuration.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The named key.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.jws.kid()
    }

    /// The named algorithm.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.jws.algorithm()
    }
}

/// Verifies a candidate against the trust and keys of the issuer found in configuration. What it gives is no identity yet:
/// [`Vouched::confirm`] makes one of it.
///
/// # Errors
/// [`Failed`], naming the check.
pub fn verify(
    candidate: &Candidate<'_>,
    trust: &IssuerTrust,
    keys: &KeySet,
    resource: &ResourceUri,
    now: UnixTime,
) -> Result<Vouched, Failed> {
    // RFC 9068 §4: the algorithm is one that we accept from this issuer, and (in `find`) the key's own.
    let algorithm = candidate.algorithm();
    if !trust.algorithms.contains(&algorithm) {
        return Err(Failed::AlgorithmNotAllowed);
    }
    let key = keys.find(candidate.kid(), algorithm).ok_or(Failed::KeyUnknown)?;
    let signature_held = candidate.jws.verify(key)?;

    // RFC 9068 §4: `typ` is `at+jwt` or `application/at+jwt`; media types have no case (RFC 7515 §4.1.9).
    if !signature_held.typ().is_some_and(is_access_token_type) {
        return Err(Failed::NotAnAccessToken);
    }
    let claims = Claims::parse(signature_held)?;
    // RFC 9068 §4: `iss` exactly matches. The trust was looked up by this name; this makes sure.
    if claims.issuer.required(ClaimName::Iss)? != trust.issuer.as_str() {
        return Err(Failed::OtherIssuer);
    }
    check_audience(claims.audience, resource)?;
    let (issued, expires) = check_times(claims.issued, claims.expires, claims.not_before, trust, now)?;
    let subject = claims.subject.required(ClaimName::Sub)?;
    let client = claims.client.required(ClaimName::ClientId)?;
    let token_id = claims.token_id.required(ClaimName::Jti)?;
    let scopes = claims.scopes.optional(ClaimName::Scope)?.unwrap_or_default();
    let client_keys = claims.client_keys.optional(ClaimName::ClientKeys)?;
    let bound = match claims.confirmation.optional(ClaimName::Cnf)? {
        None => Bound::default(),
        Some(Cnf::Known { jkt, x5t }) => Bound {
            // Hashed here, where the token is at hand, and only for those that need it.
            jkt: jkt.map(|jkt| (jkt, AccessTokenHash::of(candidate.token))),
            x5t,
        },
        Some(Cnf::Unknown) => return Err(Failed::ConfirmationUnknown),
    };
    Ok(Vouched {
        principal: Principal {
            issuer: trust.issuer.clone(),
            subject,
            client,
        },
        scopes,
        audience: resource.clone(),
        token_id,
        issued,
        expires,
        client_keys,
        bound,
    })
}

fn is_access_token_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}

/// RFC 9068 §4: `aud` must contain this resource. It must also contain nothing else (RFC 9700 §2.3): a token that
/// several servers accept lets each of them act as the user at the others.
fn check_audience(audience: Claim<Audience<'_>>, resource: &ResourceUri) -> Result<(), Failed> {
    match audience.required(ClaimName::Aud)? {
        Audience::One(audience) if audience == resource.as_str() => Ok(()),
        Audience::One(_) => Err(Failed::OtherAudience),
        Audience::Many => Err(Failed::ManyAudiences),
    }
}

/// Gives `iat` and `exp`.
fn check_times(
    issued: Claim<UnixTime>,
    expires: Claim<UnixTime>,
    not_before: Claim<UnixTime>,
    trust: &IssuerTrust,
    now: UnixTime,
) -> Result<(UnixTime, UnixTime), Failed> {
    // RFC 7519 §4.1.4: not "on or after" `exp`.
    let expires = expires.required(ClaimName::Exp)?;
    if now >= expires.plus(trust.skew) {
        return Err(Failed::Expired);
    }
    // RFC 7519 §4.1.5: not before `nbf`.
    let not_before = not_before.optional(ClaimName::Nbf)?;
    if not_before.is_some_and(|not_before| now < not_before.minus(trust.skew)) {
        return Err(Failed::NotYetValid);
    }
    // RFC 9068 §2.2 requires `iat`, and with it the lifetime can be bounded.
    let issued = issued.required(ClaimName::Iat)?;
    if now < issued.minus(trust.skew) {
        return Err(Failed::IssuedInFuture);
    }
    if expires <= issued || expires > issued.plus(trust.max_token_lifetime) {
        return Err(Failed::Lifetime);
    }
    Ok((issued, expires))
}
