//! Cold validation of an access token against the bare signature check with a parsed key, in the same process, alternating.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::identity::{Candidate, IssuerTrust, Profile, TokenProfile, verify};
use portcullis_core::ids::{Issuer, ResourceUri};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::KeySet;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_core::wire::Presented;

use crate::load::Failure;

pub(crate) const ISSUER: &str = "https://as.example.com";
pub(crate) const RESOURCE: &str = "https://mcp.example.com/mcp";
pub(crate) const NOW: i64 = 1_800_000_000;

/// One algorithm's figures: medians over rounds, and the median of the rounds' own ratios.
pub(crate) struct Row {
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) bare: Duration,
    pub(crate) cold: Duration,
    pub(crate) ratio: f64,
}

pub(crate) struct Material {
    pub(crate) token: String,
    pub(crate) jwks: String,
    public: ParsedPublicKey,
}

/// Measures each algorithm for `rounds` rounds of `time` each, the two sides in turn.
pub(crate) fn measure(rounds: usize, time: Duration) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for algorithm in [
        SignatureAlgorithm::Rs256,
        SignatureAlgorithm::Es256,
        SignatureAlgorithm::EdDsa,
    ] {
        rows.push(row(algorithm, rounds, time)?);
    }
    Ok(rows)
}

fn row(algorithm: SignatureAlgorithm, rounds: usize, time: Duration) -> Result<Row, Failure> {
    let material = material(algorithm)?;
    let (message, signature) = material.token.rsplit_once('.').ok_or("not a token")?;
    let signature = URL_SAFE_NO_PAD.decode(signature)?;

    let keys = KeySet::parse(material.jwks.as_bytes())?;
    let trust = IssuerTrust {
        issuer: Issuer::parse(ISSUER)?,
        algorithms: BTreeSet::from([algorithm]),
        max_token_lifetime: Lifetime::from_hours(1),
        skew: Lifetime::from_secs(30),
        tokens: TokenProfile::of(Profile::Rfc9068),
    };
    let resource = ResourceUri::parse(RESOURCE)?;
    let mut headers = http::HeaderMap::new();
    headers.insert(
        http::header::AUTHORIZATION,
        format!("Bearer {}", material.token).parse()?,
    );
    let Presented::Bearer(presented) = Presented::parse(&headers, None)? else {
        return Err("no token".into());
    };
    let now = UnixTime::from_secs(NOW);
    let whole = || -> Result<(), Failure> {
        let candidate = Candidate::parse(black_box(&presented))?;
        black_box(verify(&candidate, &trust, &keys, &resource, now)?);
        Ok(())
    };
    whole()?;

    let (mut bare, mut cold, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let b = per_call(time, || {
            material
                .public
                .verify_sig(black_box(message.as_bytes()), black_box(&signature))
                .map_err(|_| "the bare check failed".into())
        })?;
        let c = per_call(time, whole)?;
        ratios.push(c.as_secs_f64() / b.as_secs_f64());
        bare.push(b);
        cold.push(c);
    }
    bare.sort_unstable();
    cold.sort_unstable();
    ratios.sort_by(f64::total_cmp);
    let middle = rounds / 2;
    let take = |times: &[Duration]| times.get(middle).copied().ok_or("no rounds");
    Ok(Row {
        algorithm,
        bare: take(&bare)?,
        cold: take(&cold)?,
        ratio: ratios.get(middle).copied().ok_or("no rounds")?,
    })
}

/// Mean time of one call, over at least `time`.
pub(crate) fn per_call(
    time: Duration,
    mut call: impl FnMut() -> Result<(), Failure>,
) -> Result<Duration, Failure> {
    const BATCH: u32 = 50;
    let started = Instant::now();
    let mut calls = 0_u32;
    while started.elapsed() < time {
        for _ in 0..BATCH {
            call()?;
        }
        calls += BATCH;
    }
    Ok(started.elapsed() / calls)
}

#[expect(clippy::disallowed_methods, reason = "throw-away keys of a measurement")]
pub(crate) fn material(algorithm: SignatureAlgorithm) -> Result<Material, Failure> {
    let header = format!(r#"{{"alg":"{}","typ":"at+jwt","kid":"bench"}}"#, algorithm.name());
    let claims = serde_json::json!({
        "iss": ISSUER, "sub": "user-7f3a", "aud": RESOURCE, "client_id": "client-19c2", "scope": "notes:read notes:write",
        "iat": NOW - 10, "exp": NOW + 290, "jti": "Zk3v9s1qPz0Yw8rT5uXcAg",
    });
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let random = SystemRandom::new();
    let (signature, jwk, public) = match algorithm {
        SignatureAlgorithm::Es256 => {
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
            let point = key.public_key().as_ref();
            let (x, y) = (point.get(1..33).ok_or("no x")?, point.get(33..65).ok_or("no y")?);
            let jwk = serde_json::json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)});
            let signature = key.sign(&random, message.as_bytes())?.as_ref().to_vec();
            (
                signature,
                jwk,
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)?,
            )
        }
        SignatureAlgorithm::EdDsa => {
            let key = Ed25519KeyPair::generate()?;
            let public = key.public_key().as_ref();
            let jwk = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": encode(public)});
            (
                key.sign(message.as_bytes()).as_ref().to_vec(),
                jwk,
                ParsedPublicKey::new(&ED25519, public)?,
            )
        }
        SignatureAlgorithm::Rs256 => {
            let key = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048)?;
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)?;
            let public = key.public_key();
            let jwk = serde_json::json!({
                "kty": "RSA",
                "n": encode(public.modulus().big_endian_without_leading_zero()),
                "e": encode(public.exponent().big_endian_without_leading_zero()),
            });
            (
                signature,
                jwk,
                ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public.as_ref())?,
            )
        }
        SignatureAlgorithm::Es384
        | SignatureAlgorithm::Es512
        | SignatureAlgorithm::Rs384
        | SignatureAlgorithm::Rs512
        | SignatureAlgorithm::Ps256
        | SignatureAlgorithm::Ps384
        | SignatureAlgorithm::Ps512
        | SignatureAlgorithm::MlDsa65 => return Err("no measurement of this algorithm".into()),
    };
    let mut jwk = jwk;
    if let Some(members) = jwk.as_object_mut() {
        members.insert("kid".to_owned(), "bench".into());
        members.insert("use".to_owned(), "sig".into());
        members.insert("alg".to_owned(), algorithm.name().into());
    }
    Ok(Material {
        token: format!("{message}.{}", encode(&signature)),
        jwks: serde_json::json!({"keys": [jwk]}).to_string(),
        public,
    })
}
