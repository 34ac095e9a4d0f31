//! An issuer of real tokens: a [`VerifiedIdentity`] can be had in no other way, in tests neither.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::identity::{Candidate, IssuerTrust, Profile, TokenProfile, VerifiedIdentity, verify};
use portcullis_core::ids::{Issuer, ResourceUri};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::KeySet;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_core::wire::Presented;
use serde_json::json;

/// Who the tests' agents are registered with.
pub(crate) const ISSUER: &str = "https://as.example";
const NOW: i64 = 1_800_000_000;

/// The identity of an agent that acts for a user, or for itself when they are the same.
pub(crate) fn identity(issuer: &str, client: &str, subject: &str, scopes: &str) -> VerifiedIdentity {
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": encode(key.public_key().as_ref())}]});
    let keys = KeySet::parse(set.to_string().as_bytes()).unwrap();
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k"});
    let claims = json!({
        "iss": issuer, "aud": "https://gw.example/mcp", "sub": subject, "client_id": client, "scope": scopes,
        "jti": "t-1", "iat": NOW, "exp": NOW + 300,
    });
    let signed = format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let token = format!("{signed}.{}", encode(key.sign(signed.as_bytes()).as_ref()));

    let headers = http::HeaderMap::from_iter([(
        http::header::AUTHORIZATION,
        http::HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
    )]);
    let Presented::Bearer(token) = Presented::parse(&headers, None).unwrap() else {
        panic!("a token was presented")
    };
    let trust = IssuerTrust {
        issuer: Issuer::parse(issuer).unwrap(),
        algorithms: BTreeSet::from([SignatureAlgorithm::EdDsa]),
        max_token_lifetime: Lifetime::from_minutes(5),
        skew: Lifetime::from_secs(0),
        tokens: TokenProfile::of(Profile::Rfc9068),
    };
    let resource = ResourceUri::parse("https://gw.example/mcp").unwrap();
    let vouched = verify(
        &Candidate::parse(&token).unwrap(),
        &trust,
        &keys,
        &resource,
        UnixTime::from_secs(NOW),
    );
    Arc::new(vouched.unwrap()).confirm(None, None).unwrap()
}
