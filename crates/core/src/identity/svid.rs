//! Workloads of SPIFFE trust domains, by a certificate of their connection (X.509-SVID) or by a token (JWT-SVID).
//!
//! A workload is client and subject at once, and its domain is the issuer. What it may do is no claim of its document:
//! configuration says it, as a [`Grant`].

use std::collections::BTreeSet;

use base64_simd::STANDARD;
use serde_json::{Value, json};

use super::claims::{Audience, Claims, Cnf};
use super::profile::TokenProfile;
use super::verified::Bound;
use super::{AccessTokenHash, ClaimName, ClientCertificate, Failed, Names, Vouched};
use crate::ids::{KeyId, Principal, ResourceUri, ScopeSet, SpiffeId, TokenId, TrustDomain};
use crate::jose::jwk::KeySet;
use crate::jose::jws::Unverified;
use crate::jose::{SignatureAlgorithm, json as strict};
use crate::limits;
use crate::time::{Lifetime, UnixTime};
use crate::wire::AccessToken;

/// What we hold true about a trust domain. From configuration only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainTrust {
    /// Its name.
    pub domain: TrustDomain,
    /// Algorithms of JWT-SVIDs; none, and no JWT-SVID is taken.
    pub algorithms: BTreeSet<SignatureAlgorithm>,
    /// Longest time that a JWT-SVID may be good for.
    pub max_token_lifetime: Lifetime,
    /// Accepted difference of clocks.
    pub skew: Lifetime,
}

/// What a workload has at one server, by configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Scopes.
    pub scopes: ScopeSet,
    /// Roles, for policies.
    pub roles: Names,
}

/// The workload that the certificate of a connection names, without any token.
///
/// # Errors
/// [`Failed::CertificateMissing`] for a certificate that names none; [`Failed::NotYetValid`], [`Failed::Expired`].
pub fn x509_svid(
    certificate: &ClientCertificate,
    grant: Grant,
    resource: &ResourceUri,
    now: UnixTime,
) -> Result<Vouched, Failed> {
    let id = certificate.workload().ok_or(Failed::CertificateMissing)?;
    if now < certificate.not_before() {
        return Err(Failed::NotYetValid);
    }
    if now >= certificate.not_after() {
        return Err(Failed::Expired);
    }
    let token_id = TokenId::parse(&format!("x5t#S256:{}", certificate.thumbprint()))
        .map_err(|_| Failed::ClaimMalformed(ClaimName::Jti))?;
    let bound = Bound {
        jkt: None,
        x5t: Some(*certificate.thumbprint()),
    };
    let times = (certificate.not_before(), certificate.not_after());
    Ok(vouched(id, grant, resource, token_id, times, bound))
}

/// A token that claims to be about a workload. Read, and not believed.
#[derive(Debug)]
pub struct WorkloadToken<'t> {
    token: &'t AccessToken,
    jws: Unverified<'t>,
    id: SpiffeId,
}

impl<'t> WorkloadToken<'t> {
    /// Reads whom a token is about; none, where that is no workload, or the token none of ours to read.
    #[must_use]
    pub fn parse(token: &'t AccessToken) -> Option<Self> {
        let jws = Unverified::parse(token.reveal()).ok()?;
        let sub = strict::peek(jws.dangerous_unverified_payload(), "sub").ok()??;
        let id = SpiffeId::parse(sub.as_text()?).ok()?;
        Some(Self { token, jws, id })
    }

    /// The workload, as far as it says so itself: for finding the configuration.
    #[must_use]
    pub fn claimed(&self) -> &SpiffeId {
        &self.id
    }

    /// Verifies it as a JWT-SVID (§4) of its trust domain, whose keys for that use these are. What it gives is no identity
    /// yet: [`Vouched::confirm`] makes one of it.
    ///
    /// # Errors
    /// [`Failed`], naming the check.
    pub fn verify(
        &self,
        trust: &DomainTrust,
        keys: &KeySet,
        grant: Grant,
        resource: &ResourceUri,
        now: UnixTime,
    ) -> Result<Vouched, Failed> {
        let algorithm = self.jws.algorithm();
        if !trust.algorithms.contains(&algorithm) {
            return Err(Failed::AlgorithmNotAllowed);
        }
        let kid: Option<&KeyId> = self.jws.kid();
        let key = keys.find(kid, algorithm).ok_or(Failed::KeyUnknown)?;
        let held = self.jws.verify(key)?;
        // JWT-SVID §2.3: optional, and one of two.
        if !matches!(held.typ(), None | Some("JWT" | "JOSE")) {
            return Err(Failed::NotAnAccessToken);
        }
        let claims = Claims::read(held.payload(), &TokenProfile::of_jwt_svid())?;
        let subject = claims.subject.required(ClaimName::Sub)?;
        // JWT-SVID §3.1. What was peeked at is what was signed; this makes sure.
        if subject.as_str() != self.id.as_str() || *self.id.domain() != trust.domain {
            return Err(Failed::OtherIssuer);
        }
        // JWT-SVID §3.2 requires it. For more than this resource it is refused like any token (RFC 9700 §2.3).
        match claims.audience.required(ClaimName::Aud)? {
            Audience::One(audience) if audience == resource.as_str() => {}
            Audience::One(_) => return Err(Failed::OtherAudience),
            Audience::Many(_) => return Err(Failed::ManyAudiences),
        }
        // JWT-SVID §3.3 requires it.
        let expires = claims.expires.required(ClaimName::Exp)?;
        if now >= expires.plus(trust.skew) {
            return Err(Failed::Expired);
        }
        let not_before = claims.not_before.optional(ClaimName::Nbf)?;
        if not_before.is_some_and(|not_before| now < not_before.minus(trust.skew)) {
            return Err(Failed::NotYetValid);
        }
        let issued = claims.issued.optional(ClaimName::Iat)?;
        if issued.is_some_and(|issued| now < issued.minus(trust.skew)) {
            return Err(Failed::IssuedInFuture);
        }
        if expires > issued.unwrap_or(now).plus(trust.max_token_lifetime) {
            return Err(Failed::Lifetime);
        }
        // One that does not say is as old as it may be: what is revoked until a time holds it (`nbf` may be after that time).
        let issued = issued.unwrap_or_else(|| expires.minus(trust.max_token_lifetime));
        let token_id = match claims.token_id.optional(ClaimName::Jti)? {
            Some(token_id) => token_id,
            None => super::bearer::named_by_hash(self.jws.signing_input())?,
        };
        let bound = match claims.confirmation.optional(ClaimName::Cnf)? {
            None => Bound::default(),
            Some(Cnf::Known { jkt, x5t }) => Bound {
                jkt: jkt.map(|jkt| (jkt, AccessTokenHash::of(self.token))),
                x5t,
            },
            Some(Cnf::Unknown) => return Err(Failed::ConfirmationUnknown),
        };
        Ok(vouched(
            &self.id,
            grant,
            resource,
            token_id,
            (issued, expires),
            bound,
        ))
    }
}

fn vouched(
    id: &SpiffeId,
    grant: Grant,
    resource: &ResourceUri,
    token_id: TokenId,
    (issued, expires): (UnixTime, UnixTime),
    bound: Bound,
) -> Vouched {
    Vouched {
        principal: Principal {
            issuer: id.domain().issuer(),
            subject: id.subject(),
            client: id.client(),
        },
        scopes: grant.scopes,
        audience: resource.clone(),
        token_id,
        issued,
        expires,
        client_keys: None,
        groups: Names::default(),
        roles: grant.roles,
        tenant: None,
        grant: None,
        workload: Some(id.clone()),
        bound,
    }
}

/// What a trust domain vouches with (SPIFFE Trust Domain and Bundle, §4).
#[derive(Debug)]
pub struct Bundle {
    authorities: Vec<Vec<u8>>,
    keys: KeySet,
}

/// Bytes that are no bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SPIFFE bundle: {0}")]
pub struct InvalidBundle(String);

impl Bundle {
    /// Reads a bundle. Entries of an unknown use are left out (§4.2.2); one that is known and cannot be read is an error:
    /// half a bundle would refuse half of the workloads.
    ///
    /// # Errors
    /// [`InvalidBundle`].
    pub fn parse(document: &[u8]) -> Result<Self, InvalidBundle> {
        let wrong = |what: &str| InvalidBundle(what.to_owned());
        if document.len() > limits::JWKS_BYTES {
            return Err(wrong("it is too large"));
        }
        // Strict first: no member twice.
        strict::Object::parse(document).map_err(|error| InvalidBundle(error.to_string()))?;
        let document: Value =
            serde_json::from_slice(document).map_err(|error| InvalidBundle(error.to_string()))?;
        let entries = document.get("keys").and_then(Value::as_array);
        let entries = entries.ok_or_else(|| wrong("it has no array `keys`"))?;
        if entries.len() > limits::JWKS_KEYS {
            return Err(wrong("it has too many keys"));
        }
        let (mut authorities, mut signing) = (Vec::new(), Vec::new());
        for entry in entries {
            if entry.get("d").is_some() {
                return Err(wrong("it holds a private key"));
            }
            match entry.get("use").and_then(Value::as_str) {
                Some("x509-svid") => authorities.push(authority(entry)?),
                Some("jwt-svid") => signing.push(verifying(entry)?),
                Some(_) | None => {}
            }
        }
        let signing = json!({ "keys": signing }).to_string();
        let keys = KeySet::parse(signing.as_bytes()).map_err(|error| InvalidBundle(error.to_string()))?;
        if let Some(skipped) = keys.skipped().first() {
            return Err(InvalidBundle(format!("a key for JWT-SVIDs: {}", skipped.problem)));
        }
        Ok(Self { authorities, keys })
    }

    /// Certificates of the authorities that sign X.509-SVIDs, in DER.
    #[must_use]
    pub fn authorities(&self) -> &[Vec<u8>] {
        &self.authorities
    }

    /// The keys that sign JWT-SVIDs.
    #[must_use]
    pub fn into_keys(self) -> KeySet {
        self.keys
    }
}

/// §4.2.3: `x5c` with exactly one certificate.
fn authority(entry: &Value) -> Result<Vec<u8>, InvalidBundle> {
    let wrong = || InvalidBundle("an entry for X.509-SVIDs has not exactly one certificate".to_owned());
    match entry.get("x5c").and_then(Value::as_array).map(Vec::as_slice) {
        Some([Value::String(certificate)]) => STANDARD.decode_to_vec(certificate).map_err(|_| wrong()),
        Some(_) | None => Err(wrong()),
    }
}

/// §4.2.4: with a `kid`. The use is the domain's own word for what others call `sig`.
fn verifying(entry: &Value) -> Result<Value, InvalidBundle> {
    let mut entry = entry.clone();
    let kid = entry
        .get("kid")
        .and_then(Value::as_str)
        .is_some_and(|kid| !kid.is_empty());
    match entry.as_object_mut() {
        Some(members) if kid => {
            members.insert("use".to_owned(), "sig".into());
            Ok(entry)
        }
        Some(_) | None => Err(InvalidBundle("a key for JWT-SVIDs has no `kid`".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7515 appendix A.3, as a key for JWT-SVIDs.
    fn signing() -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "use": "jwt-svid", "kid": "t",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    }

    fn certifying(certificates: &[&str]) -> Value {
        json!({"kty": "EC", "use": "x509-svid", "x5c": certificates})
    }

    fn parsed(keys: &[Value]) -> Result<(usize, usize), InvalidBundle> {
        let document = json!({"keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 60});
        let bundle = Bundle::parse(document.to_string().as_bytes())?;
        Ok((bundle.authorities().len(), bundle.into_keys().len()))
    }

    fn without(name: &str) -> Value {
        let mut key = signing();
        key.as_object_mut().unwrap().remove(name);
        key
    }

    fn with(name: &str, value: Value) -> Value {
        let mut key = signing();
        key[name] = value;
        key
    }

    #[test]
    fn a_bundle_has_authorities_and_keys_each_for_their_own_use() {
        assert_eq!(
            parsed(&[certifying(&["AQID"]), certifying(&["BAUG"]), signing()]),
            Ok((2, 1))
        );
        assert_eq!(parsed(&[]), Ok((0, 0)));
        // An unknown use is somebody else's.
        assert_eq!(
            parsed(&[with("use", json!("sig")), without("use"), signing()]),
            Ok((0, 1))
        );
    }

    #[test]
    fn half_a_bundle_is_none() {
        for keys in [
            vec![certifying(&[])],
            vec![certifying(&["AQID", "BAUG"])],
            vec![certifying(&["A"])],
            vec![without("kid")],
            vec![with("kid", json!(""))],
            vec![without("x")],
            vec![with("crv", json!("P-1"))],
            vec![with("alg", json!("HS256"))],
            vec![signing(), signing()],
            vec![with("d", json!("AQID"))],
            vec![json!({"use": "x509-svid", "x5c": ["AQID"], "d": "AQID"})],
        ] {
            assert!(parsed(&keys).is_err(), "{keys:?}");
        }
        for document in ["", "[]", "{}", "{\"keys\": {}}", "{\"keys\": [], \"keys\": []}"] {
            assert!(Bundle::parse(document.as_bytes()).is_err(), "{document}");
        }
    }

    #[test]
    fn bundles_at_the_limits_and_one_past_them() {
        let many = |count: usize| vec![certifying(&["AQID"]); count];
        assert!(parsed(&many(limits::JWKS_KEYS)).is_ok());
        assert!(parsed(&many(limits::JWKS_KEYS + 1)).is_err());
        let long = |length: usize| {
            let document = json!({"keys": []}).to_string();
            document.clone() + &" ".repeat(length - document.len())
        };
        assert!(Bundle::parse(long(limits::JWKS_BYTES).as_bytes()).is_ok());
        assert!(Bundle::parse(long(limits::JWKS_BYTES + 1).as_bytes()).is_err());
    }
}
