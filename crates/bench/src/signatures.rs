//! Signing and verifying a token, per algorithm, against the crypto library's own functions over the same bytes.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, ML_DSA_65, ML_DSA_65_SIGNING,
    ParsedPublicKey, PqdsaKeyPair, RsaEncoding, RsaKeyPair, VerificationAlgorithm,
};
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::base64url;
use portcullis_core::jose::jwk::{KeyAlgorithm, PublicJwk, SigningKey, VerificationKey};
use portcullis_core::jose::jws::{self, Unverified};
use serde_json::json;

use crate::load::Failure;
use crate::validation::per_call;

type Signer = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, Failure>>;

/// The section of the page.
pub(crate) fn section(rounds: usize, time: Duration) -> Result<String, Failure> {
    let mut text = format!(
        "## Signatures\n\nSign: a token of ten claims, from the claims to the text. Verify: from the text to the claims' bytes, with a parsed key. The bare functions are the crypto library's over the same bytes. \
         RSA with 3072 bits. Median of {rounds} alternating rounds.\n\n\
         | | sign, bare | sign | ratio | verify, bare | verify | ratio |\n|---|---|---|---|---|---|---|\n"
    );
    for algorithm in SignatureAlgorithm::ALL {
        let [bare_sign, sign, bare_verify, verify] = row(algorithm, rounds, time)?;
        writeln!(
            text,
            "| {} | {} | {} | {:.2} | {} | {} | {:.2} |",
            algorithm.name(),
            crate::micros(bare_sign),
            crate::micros(sign),
            sign.as_secs_f64() / bare_sign.as_secs_f64(),
            crate::micros(bare_verify),
            crate::micros(verify),
            verify.as_secs_f64() / bare_verify.as_secs_f64()
        )?;
    }
    text.push('\n');
    Ok(text)
}

fn row(algorithm: SignatureAlgorithm, rounds: usize, time: Duration) -> Result<[Duration; 4], Failure> {
    let kid = KeyId::parse("bench")?;
    let (key, pkcs8) = SigningKey::generate(kid.clone(), algorithm)?;
    let jwk = PublicJwk {
        key: key.public().clone(),
        algorithm: KeyAlgorithm::Signature(algorithm),
        kid,
        chain: Vec::new(),
    };
    let verifier = VerificationKey::parse(serde_json::to_string(&jwk.to_json())?.as_bytes())?;
    let claims = json!({
        "iss": "https://as.example.com", "sub": "user-7f3a", "aud": "https://mcp.example.com/mcp",
        "client_id": "client-19c2", "scope": "notes:read notes:write", "iat": 1_800_000_000, "exp": 1_800_000_300,
        "jti": "Zk3v9s1qPz0Yw8rT5uXcAg", "auth_time": 1_799_999_000, "acr": "1",
    });
    let claims = claims.as_object().ok_or("claims")?;
    let token = jws::sign(&key, "at+jwt", claims)?;
    let (message, signature) = token.rsplit_once('.').ok_or("not a token")?;
    let signature = base64url::decode(signature)?;
    let (bare_sign, bare_verify) = bare(algorithm, &pkcs8)?;

    let mut runs: [Vec<Duration>; 4] = Default::default();
    for _ in 0..rounds {
        let measured = [
            per_call(time, || {
                black_box(bare_sign(black_box(message.as_bytes()))?);
                Ok(())
            })?,
            per_call(time, || {
                black_box(jws::sign(&key, "at+jwt", black_box(claims))?);
                Ok(())
            })?,
            per_call(time, || {
                bare_verify
                    .verify_sig(black_box(message.as_bytes()), black_box(&signature))
                    .map_err(|_| "the bare check failed".into())
            })?,
            per_call(time, || {
                let unverified = Unverified::parse(black_box(&token))?;
                black_box(unverified.verify(&verifier)?.payload());
                Ok(())
            })?,
        ];
        for (run, time) in runs.iter_mut().zip(measured) {
            run.push(time);
        }
    }
    Ok(runs.map(|mut run| {
        run.sort_unstable();
        run.get(run.len() / 2).copied().unwrap_or_default()
    }))
}

/// The crypto library's own functions with the same key.
#[expect(clippy::disallowed_methods, reason = "a measurement of the bare library")]
fn bare(algorithm: SignatureAlgorithm, pkcs8: &[u8]) -> Result<(Signer, ParsedPublicKey), Failure> {
    use SignatureAlgorithm::{EdDsa, Es256, Es384, Es512, MlDsa65, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    let random = SystemRandom::new();
    let ecdsa = |parameters: &'static EcdsaSigningAlgorithm,
                 verify: &'static dyn VerificationAlgorithm|
     -> Result<(Signer, ParsedPublicKey), Failure> {
        let pair = EcdsaKeyPair::from_pkcs8(parameters, pkcs8)?;
        let public = ParsedPublicKey::new(verify, pair.public_key().as_ref())?;
        let random = random.clone();
        Ok((
            Box::new(move |message| Ok(pair.sign(&random, message)?.as_ref().to_vec())),
            public,
        ))
    };
    let rsa = |encoding: &'static dyn RsaEncoding,
               verify: &'static dyn VerificationAlgorithm|
     -> Result<(Signer, ParsedPublicKey), Failure> {
        let pair = RsaKeyPair::from_pkcs8(pkcs8)?;
        let public = ParsedPublicKey::new(verify, pair.public_key().as_ref())?;
        let random = random.clone();
        let sign = move |message: &[u8]| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &random, message, &mut signature)?;
            Ok(signature)
        };
        Ok((Box::new(sign), public))
    };
    match algorithm {
        Es256 => ecdsa(
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            &signature::ECDSA_P256_SHA256_FIXED,
        ),
        Es384 => ecdsa(
            &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            &signature::ECDSA_P384_SHA384_FIXED,
        ),
        Es512 => ecdsa(
            &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            &signature::ECDSA_P521_SHA512_FIXED,
        ),
        EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8)?;
            let public = ParsedPublicKey::new(&signature::ED25519, pair.public_key().as_ref())?;
            Ok((
                Box::new(move |message| Ok(pair.sign(message).as_ref().to_vec())),
                public,
            ))
        }
        Rs256 => rsa(
            &signature::RSA_PKCS1_SHA256,
            &signature::RSA_PKCS1_2048_8192_SHA256,
        ),
        Rs384 => rsa(
            &signature::RSA_PKCS1_SHA384,
            &signature::RSA_PKCS1_2048_8192_SHA384,
        ),
        Rs512 => rsa(
            &signature::RSA_PKCS1_SHA512,
            &signature::RSA_PKCS1_2048_8192_SHA512,
        ),
        Ps256 => rsa(&signature::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256),
        Ps384 => rsa(&signature::RSA_PSS_SHA384, &signature::RSA_PSS_2048_8192_SHA384),
        Ps512 => rsa(&signature::RSA_PSS_SHA512, &signature::RSA_PSS_2048_8192_SHA512),
        MlDsa65 => {
            let pair = PqdsaKeyPair::from_pkcs8(&ML_DSA_65_SIGNING, pkcs8)?;
            let public = ParsedPublicKey::new(&ML_DSA_65, pair.public_key().as_ref())?;
            let sign = move |message: &[u8]| {
                let mut signature = vec![0; ML_DSA_65_SIGNING.signature_len()];
                let length = pair.sign(message, &mut signature)?;
                signature.truncate(length);
                Ok(signature)
            };
            Ok((Box::new(sign), public))
        }
    }
}
