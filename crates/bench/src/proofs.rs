//! A DPoP proof against the bare check of its signature.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::identity::{AccessTokenHash, HttpTarget, dpop};
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::{SigningKey, VerificationKey};
use portcullis_core::jose::jws::TokenSigner as _;
use portcullis_core::time::UnixTime;
use portcullis_core::wire::Presented;

use crate::load::Failure;
use crate::validation::{NOW, RESOURCE, per_call};

const TOKEN: &str = "a-token-of-no-matter";

/// What each proof costs after the first of its key, beside its one signature check.
pub(crate) fn section(rounds: usize, time: Duration) -> Result<String, Failure> {
    let mut page = String::from(
        "## A DPoP proof\n\nRead, its key recognised, signature and claims checked; the token and its key were seen before. Beside it the bare check of the signature \
         with a parsed key over the same bytes.\n\n| algorithm | bare check | proof | more | goal |\n|---|---|---|---|---|\n",
    );
    for algorithm in [SignatureAlgorithm::Es256, SignatureAlgorithm::EdDsa] {
        let (bare, proof) = row(algorithm, rounds, time)?;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        writeln!(
            page,
            "| {} | {:.1} µs | {:.1} µs | {:.1} µs | 5 µs |",
            algorithm.name(),
            micros(bare),
            micros(proof),
            micros(proof.saturating_sub(bare))
        )?;
    }
    page.push('\n');
    Ok(page)
}

fn row(
    algorithm: SignatureAlgorithm,
    rounds: usize,
    time: Duration,
) -> Result<(Duration, Duration), Failure> {
    let (signer, _) = SigningKey::generate(KeyId::parse("agent")?, algorithm)?;
    let text = proof(&signer)?;
    let (message, signature) = text.rsplit_once('.').ok_or("not a proof")?;
    let signature = URL_SAFE_NO_PAD.decode(signature)?;
    let public = VerificationKey::from_public(signer.public(), algorithm, None)?;

    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("DPoP {TOKEN}").parse()?);
    headers.insert("dpop", text.parse()?);
    let Presented::Dpop { token, proof } = Presented::parse(&headers, None)? else {
        return Err("no proof".into());
    };
    let (token, target) = (AccessTokenHash::of(&token), HttpTarget::of(RESOURCE));
    let expected = dpop::Expected {
        method: "POST",
        target: &target,
        token: Some(&token),
        window: dpop::WINDOW,
        now: UnixTime::from_secs(NOW),
    };
    let known = dpop::Candidate::parse(&proof)?.key(None)?;
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..=rounds {
        bare.push(per_call(time, || {
            black_box(public.verify(black_box(message.as_bytes()), black_box(&signature))?);
            Ok(())
        })?);
        whole.push(per_call(time, || {
            let candidate = dpop::Candidate::parse(black_box(&proof))?;
            let key = candidate.key(Some(&known))?;
            debug_assert!(Arc::ptr_eq(&key, &known));
            black_box(candidate.verify(&key, &expected)?);
            Ok(())
        })?);
    }
    let middle = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().ok_or("no rounds")
    };
    Ok((middle(bare)?, middle(whole)?))
}

fn proof(signer: &SigningKey) -> Result<String, Failure> {
    let members = signer.public().members().into_iter();
    let jwk: serde_json::Map<String, serde_json::Value> = members
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let header = serde_json::json!({ "typ": "dpop+jwt", "alg": signer.algorithm().name(), "jwk": jwk });
    let claims = serde_json::json!({
        "jti": "Zk3v9s1qPz0Yw8rT5uXcAg", "htm": "POST", "htu": RESOURCE, "iat": NOW,
        "ath": URL_SAFE_NO_PAD.encode(digest(&SHA256, TOKEN.as_bytes())),
    });
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    Ok(format!(
        "{input}.{}",
        URL_SAFE_NO_PAD.encode(signer.sign(input.as_bytes())?)
    ))
}
