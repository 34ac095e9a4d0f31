//! Our JOSE objects and those of two implementations that share no code with us, npm `jose` and PyPI `jwcrypto`: a
//! thousand random tokens each way for each algorithm (of encryption: in three parts, one for each curve or content
//! encryption), and fewer in the JSON serialisations, nested, and of keys. Both have every algorithm; one that lacks it fails.

mod command;
mod ours;
mod peer;
mod random;

use std::io::Write as _;

use ours::{Encryption, Form};
use peer::{Peer, member, text};
use portcullis_core::jose::{SignatureAlgorithm, base64url};
use portcullis_testkit::{Failure, Outcome};
use random::Random;
use serde_json::{Value, json};

use crate::parts::{Language, Parts};

/// Compact tokens each way, of each algorithm, on all its curves together.
const EACH: usize = 1000;
/// In each of the JSON serialisations.
const EACH_JSON: usize = 50;
/// Signed, then encrypted.
const NESTED: usize = 50;

const FORMS: [(Form, usize); 3] = [
    (Form::Compact, EACH),
    (Form::Flattened, EACH_JSON),
    (Form::General, EACH_JSON),
];

fn progress(peer: &Peer, what: &str) -> Outcome {
    Ok(writeln!(std::io::stderr(), "{}: {what}", peer.name())?)
}

/// Says why, when the other side did not give what it was asked for.
fn bytes(answer: &Value, name: &str) -> Outcome<Vec<u8>> {
    base64url::decode(text(answer, name)?).map_err(|_| Failure::new(format!("`{name}` is not base64url")))
}

/// The peer verifies what we sign.
async fn peer_verifies(peer: &mut Peer, random: &mut Random) -> Outcome {
    for algorithm in SignatureAlgorithm::ALL {
        let alg = algorithm.name();
        let signer = ours::signing_key(algorithm, alg)?;
        let jwk = ours::published(&signer);
        peer.import(alg, &jwk, Some(&ours::thumbprint(&signer))).await?;
        for (form, count) in FORMS {
            let mut tasks = Vec::with_capacity(count);
            let mut signed = Vec::with_capacity(count);
            for _ in 0..count {
                let claims = random.claims();
                let token = ours::sign(&signer, &claims, form)?;
                tasks.push(json!({ "do": "verify", "key": alg, "alg": alg, "token": token }));
                signed.push(serde_json::to_vec(&claims)?);
            }
            for (answer, payload) in peer.ask_all(&tasks).await?.iter().zip(&signed) {
                assert_eq!(bytes(answer, "payload")?, *payload, "{alg} {form:?}");
                assert_eq!(text(answer, "typ")?, ours::TYP, "{alg} {form:?}");
            }
        }
        progress(
            peer,
            &format!("verified {EACH} {alg} tokens of ours, and {EACH_JSON} in each JSON form"),
        )?;
    }
    Ok(())
}

/// We verify what the peer signs, and sign with a key that it made.
async fn we_verify(peer: &mut Peer, random: &mut Random) -> Outcome {
    for algorithm in SignatureAlgorithm::ALL {
        let alg = algorithm.name();
        let (jwk, thumbprint) = peer.generate(alg, alg, None).await?;
        let key = ours::verification_key(&jwk)?;
        assert_eq!(key.thumbprint().to_string(), thumbprint, "{alg}");
        for (form, count) in FORMS {
            let mut tasks = Vec::with_capacity(count);
            let mut signed = Vec::with_capacity(count);
            for _ in 0..count {
                let payload = serde_json::to_vec(&random.claims())?;
                tasks.push(json!({
                    "do": "sign", "key": alg, "alg": alg, "typ": ours::TYP,
                    "payload": base64url::encode(&payload), "form": form.name(),
                }));
                signed.push(payload);
            }
            for (answer, payload) in peer.ask_all(&tasks).await?.iter().zip(&signed) {
                let read = ours::verify(member(answer, "token")?, &jwk)?;
                assert_eq!(read, *payload, "{alg} {form:?}");
            }
        }
        // The private half, as the peer writes it.
        let said = peer.ask(json!({ "do": "private", "key": alg })).await?;
        let signer = ours::imported(member(&said, "jwk")?, alg)?;
        let token = ours::sign(&signer, &random.claims(), Form::Compact)?;
        ours::verify(&token, &jwk)?;
        progress(
            peer,
            &format!("signed {EACH} {alg} tokens that we verified, and {EACH_JSON} in each JSON form"),
        )?;
    }
    Ok(())
}

/// The peer decrypts what we encrypt.
async fn peer_decrypts(peer: &mut Peer, random: &mut Random) -> Outcome {
    for kind in ours::encryptions() {
        let key = kind.key();
        let recipient = match kind.shared_key()? {
            Some(own) => {
                peer.import(&key, &own.jwk()?, None).await?;
                ours::recipient(&own.jwk()?)?
            }
            None => {
                let (jwk, thumbprint) = peer.generate(&key, kind.alg(), kind.crv()).await?;
                let recipient = ours::recipient(&jwk)?;
                assert_eq!(recipient.thumbprint(), Some(thumbprint), "{key}");
                recipient
            }
        };
        for (form, count) in kind.forms(&FORMS) {
            let mut tasks = Vec::with_capacity(count);
            let mut sent = Vec::with_capacity(count);
            for index in 0..count {
                let (enc, plaintext) = (kind.enc(index), random.bytes());
                let token = ours::encrypt(&recipient, enc, &plaintext, form)?;
                tasks.push(json!({ "do": "decrypt", "key": key, "alg": kind.alg(), "token": token }));
                sent.push((enc, plaintext));
            }
            for (answer, (enc, plaintext)) in peer.ask_all(&tasks).await?.iter().zip(&sent) {
                assert_eq!(bytes(answer, "plaintext")?, *plaintext, "{key} {form:?}");
                assert_eq!(text(answer, "enc")?, enc.name(), "{key} {form:?}");
            }
        }
        progress(
            peer,
            &format!("decrypted {} {key} messages of ours", kind.share(EACH)),
        )?;
    }
    Ok(())
}

/// We decrypt what the peer encrypts.
async fn we_decrypt(peer: &mut Peer, random: &mut Random) -> Outcome {
    for kind in ours::encryptions() {
        let key = kind.key();
        let own = kind.own_key()?;
        peer.import(&key, &own.jwk()?, own.thumbprint().as_deref())
            .await?;
        for (form, count) in kind.forms(&FORMS) {
            let mut tasks = Vec::with_capacity(count);
            let mut sent = Vec::with_capacity(count);
            for index in 0..count {
                let plaintext = random.bytes();
                tasks.push(json!({
                    "do": "encrypt", "key": key, "alg": kind.alg(), "enc": kind.enc(index).name(),
                    "plaintext": base64url::encode(&plaintext), "form": form.name(),
                }));
                sent.push(plaintext);
            }
            for (answer, plaintext) in peer.ask_all(&tasks).await?.iter().zip(&sent) {
                assert_eq!(own.open(member(answer, "token")?)?, *plaintext, "{key} {form:?}");
            }
        }
        progress(
            peer,
            &format!("encrypted {} {key} messages that we decrypted", kind.share(EACH)),
        )?;
    }
    Ok(())
}

/// Nested JWTs (RFC 7519 §5.2) of ours: the peer decrypts, sees that it is a JWT, and verifies.
async fn peer_reads_nested(peer: &mut Peer, random: &mut Random) -> Outcome {
    let signer = ours::signing_key(SignatureAlgorithm::Es256, "nested-sig")?;
    let kind = Encryption::nested();
    peer.import(
        "nested-sig",
        &ours::published(&signer),
        Some(&ours::thumbprint(&signer)),
    )
    .await?;
    let (jwk, _) = peer.generate("nested-enc", kind.alg(), kind.crv()).await?;
    let recipient = ours::recipient(&jwk)?;
    for index in 0..NESTED {
        let claims = random.claims();
        let token = ours::nest(&signer, &recipient, kind.enc(index), &claims)?;
        let outer = json!({ "do": "decrypt", "key": "nested-enc", "alg": kind.alg(), "token": token });
        let outer = peer.ask(outer).await?;
        assert_eq!(text(&outer, "cty")?, "JWT");
        let inner = String::from_utf8(bytes(&outer, "plaintext")?).map_err(|_| Failure::new("not text"))?;
        let inner = json!({ "do": "verify", "key": "nested-sig", "alg": "ES256", "token": inner });
        let inner = peer.ask(inner).await?;
        assert_eq!(bytes(&inner, "payload")?, serde_json::to_vec(&claims)?);
    }
    progress(peer, &format!("read {NESTED} nested JWTs of ours"))
}

async fn we_read_nested(peer: &mut Peer, random: &mut Random) -> Outcome {
    let kind = Encryption::nested();
    let own = kind.own_key()?;
    let (jwk, _) = peer.generate("nested-sig", "ES256", None).await?;
    peer.import("nested-enc", &own.jwk()?, own.thumbprint().as_deref())
        .await?;
    for index in 0..NESTED {
        let payload = serde_json::to_vec(&random.claims())?;
        let inner = json!({
            "do": "sign", "key": "nested-sig", "alg": "ES256", "typ": ours::TYP, "form": "compact",
            "payload": base64url::encode(&payload),
        });
        let inner = peer.ask(inner).await?;
        let outer = json!({
            "do": "encrypt", "key": "nested-enc", "alg": kind.alg(), "enc": kind.enc(index).name(), "cty": "JWT",
            "plaintext": base64url::encode(text(&inner, "token")?), "form": "compact",
        });
        let outer = peer.ask(outer).await?;
        assert_eq!(own.open_nested(text(&outer, "token")?, &jwk)?, payload);
    }
    progress(peer, &format!("made {NESTED} nested JWTs that we read"))
}

async fn ours_to(language: Language) -> Outcome {
    let Some(parts) = Parts::find()? else {
        return Ok(());
    };
    let (mut peer, mut random) = (Peer::start(&parts, language).await?, Random::new()?);
    peer_verifies(&mut peer, &mut random).await?;
    peer_decrypts(&mut peer, &mut random).await?;
    peer_reads_nested(&mut peer, &mut random).await
}

async fn theirs_to_us(language: Language) -> Outcome {
    let Some(parts) = Parts::find()? else {
        return Ok(());
    };
    let (mut peer, mut random) = (Peer::start(&parts, language).await?, Random::new()?);
    we_verify(&mut peer, &mut random).await?;
    we_decrypt(&mut peer, &mut random).await?;
    we_read_nested(&mut peer, &mut random).await
}

#[tokio::test]
async fn real_client_jose_reads_ours() -> Outcome {
    ours_to(Language::TypeScript).await
}

#[tokio::test]
async fn real_client_jose_is_read() -> Outcome {
    theirs_to_us(Language::TypeScript).await
}

#[tokio::test]
async fn real_client_jwcrypto_reads_ours() -> Outcome {
    ours_to(Language::Python).await
}

#[tokio::test]
async fn real_client_jwcrypto_is_read() -> Outcome {
    theirs_to_us(Language::Python).await
}
