//! Access tokens that are JWTs, checked in the order of RFC 9068 §4.

use std::collections::BTreeSet;

use aws_lc_rs::digest;

use super::claims::{Audience, Claim, Claims, Cnf, claimed_issuer};
use super::profile::{TokenIds, WithoutSubject};
use super::verified::Bound;
use super::{AccessTokenHash, ClaimName, Failed, TokenProfile, Vouched};
use crate::ids::{Issuer, KeyId, Principal, ResourceUri, Subject, TokenId};
use crate::jose::jwk::KeySet;
use crate::jose::jws::Unverified;
use crate::jose::{SignatureAlgorithm, base64url};
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
    /// What its tokens look like.
    pub tokens: TokenProfile,
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

    // RFC 9068 §4: `typ` is `at+jwt`, unless the issuer is known to have another.
    if !trust.tokens.accepts_type(signature_held.typ()) {
        return Err(Failed::NotAnAccessToken);
    }
    // No claim is looked at before the signature held.
    let claims = Claims::read(signature_held.payload(), &trust.tokens)?;
    // RFC 9068 §4: `iss` exactly matches. The trust was looked up by this name; this makes sure.
    if *claims.issuer.as_ref().required(ClaimName::Iss)? != trust.issuer.as_str() {
        return Err(Failed::OtherIssuer);
    }
    vouch(
        claims,
        (candidate.token, candidate.jws.signing_input()),
        trust,
        resource,
        now,
    )
}

/// What holds of every access token, whoever said its claims: the issuer by its signature, or in its answer. Beside the token is
/// what its issuer fixed of it: of a JWS the part that is signed, of an opaque token all.
pub(super) fn vouch(
    claims: Claims<'_>,
    (token, fixed): (&AccessToken, &str),
    trust: &IssuerTrust,
    resource: &ResourceUri,
    now: UnixTime,
) -> Result<Vouched, Failed> {
    check_audience(claims.audience, trust, resource)?;
    let (issued, expires) = check_times(claims.issued, claims.expires, claims.not_before, trust, now)?;
    let subject = match (
        claims.subject.optional(ClaimName::Sub)?,
        trust.tokens.without_subject(),
    ) {
        (None, WithoutSubject::Refused) => return Err(Failed::ClaimMissing(ClaimName::Sub)),
        (subject, WithoutSubject::Refused | WithoutSubject::Client) => subject,
    };
    let client = claims.client.required(ClaimName::ClientId)?;
    let subject = match subject {
        Some(subject) => subject,
        None => Subject::parse(client.as_str()).map_err(|_| Failed::ClaimMalformed(ClaimName::Sub))?,
    };
    let token_id = match (trust.tokens.token_ids(), claims.token_id) {
        (TokenIds::OrHash, Claim::Absent) => named_by_hash(fixed)?,
        (TokenIds::OrHash | TokenIds::Required, named) => named.required(ClaimName::Jti)?,
    };
    let scopes = claims.scopes.optional(ClaimName::Scope)?.unwrap_or_default();
    let client_keys = claims.client_keys.optional(ClaimName::ClientKeys)?;
    let groups = claims.groups.optional(ClaimName::Groups)?.unwrap_or_default();
    let roles = claims.roles.optional(ClaimName::Roles)?.unwrap_or_default();
    let tenant = claims.tenant.optional(ClaimName::Tenant)?;
    let grant = claims.grant.optional(ClaimName::GrantId)?;
    let bound = match claims.confirmation.optional(ClaimName::Cnf)? {
        None => Bound::default(),
        Some(Cnf::Known { jkt, x5t }) => Bound {
            // Hashed here, where the token is at hand, and only for those that need it.
            jkt: jkt.map(|jkt| (jkt, AccessTokenHash::of(token))),
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
        groups,
        roles,
        tenant,
        grant,
        workload: None,
        bound,
    })
}

/// The name of a token whose issuer gave it none. Nobody finds the token by it. The signature is no part of it: of one ECDSA
/// signature anybody can make another that holds, and a revoked token must not get a new name by that.
pub(super) fn named_by_hash(fixed: &str) -> Result<TokenId, Failed> {
    let hash = base64url::encode(digest::digest(&digest::SHA256, fixed.as_bytes()));
    TokenId::parse(&format!("sha-256:{hash}")).map_err(|_| Failed::ClaimMalformed(ClaimName::Jti))
}

/// RFC 9068 §4: `aud` must contain this resource. It must also contain nothing else (RFC 9700 §2.3): a token that
/// several servers accept lets each of them act as the user at the others. The issuer itself is no other server.
fn check_audience(
    audience: Claim<Audience<'_>>,
    trust: &IssuerTrust,
    resource: &ResourceUri,
) -> Result<(), Failed> {
    let ours = trust.tokens.audience().unwrap_or(resource.as_str());
    match audience.required(ClaimName::Aud)? {
        Audience::One(audience) if audience == ours => Ok(()),
        Audience::One(_) => Err(Failed::OtherAudience),
        Audience::Many(audiences) => match audiences.as_slice() {
            [one, other] | [other, one]
                if *one == ours && trust.tokens.is_companion(other, trust.issuer.as_str()) =>
            {
                Ok(())
            }
            _ => Err(Failed::ManyAudiences),
        },
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
