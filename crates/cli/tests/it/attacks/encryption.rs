//! Section E: encryption. A resource server takes signed tokens, so a token with five parts opens nothing, whatever its header
//! says, and before anything of it is opened. Sealed payloads, which are opened, have tests of their own (see the catalogue).

use portcullis_testkit::Outcome;
use serde_json::{Value, json};

use super::expect::{ir_malformed, it};
use super::forge::{compact, hs256, text};
use super::range::Range;

/// A header, and the other four parts.
type Parts<'p> = (Value, [&'p [u8]; 4]);

/// A compact JWE with this header: nobody could open the rest.
fn jwe(header: &Value, parts: [&[u8]; 4]) -> String {
    let parts = parts.map(text);
    format!("{}.{}", text(header.to_string()), parts.join("."))
}

/// Parts are split and the header is read before anything else. What it says names nothing that signs, or asks for what no token
/// may ask for.
fn reason(header: &Value) -> &'static str {
    if ["zip", "p2c", "crit"]
        .iter()
        .any(|name| header.get(name).is_some())
    {
        "token.header-refused"
    } else if crate::text(header, "/alg") == "ES256" {
        "token.not-compact"
    } else {
        "token.algorithm-unsupported"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_tokens_open_nothing() -> Outcome {
    let mut range = Range::start("E", Vec::new(), "").await?;
    let (key, iv, body, tag): (&[u8], &[u8], &[u8], &[u8]) = (&[1; 256], &[2; 12], &[3; 64], &[4; 16]);
    let epk = range.home.jwk();
    let agreed = |epk: Value| json!({"alg": "ECDH-ES", "enc": "A256GCM", "epk": epk, "typ": "at+jwt"});
    let pbes2 = |count: u64, salt: &[u8]| json!({"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": count, "p2s": text(salt)});
    let point = |x: &[u8]| json!({"kty": "OKP", "crv": "X25519", "x": text(x)});
    let rows: Vec<(&str, Vec<Parts<'_>>)> = vec![
        (
            "JWE-02",
            vec![
                (
                    json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "cty": "JWT"}),
                    [key, iv, body, tag],
                ),
                (
                    json!({"alg": "ES256", "typ": "at+jwt", "kid": "es"}),
                    [key, iv, body, tag],
                ),
            ],
        ),
        (
            "JWE-03",
            vec![
                (
                    json!({"alg": "dir", "enc": "A256GCM", "kid": "es"}),
                    [&[], iv, body, tag],
                ),
                (
                    json!({"alg": "A128KW", "enc": "A128GCM", "kid": "es"}),
                    [key, iv, body, tag],
                ),
            ],
        ),
        (
            "JWE-04",
            vec![(
                json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "zip": "DEF"}),
                [key, iv, body, tag],
            )],
        ),
        (
            "JWE-05",
            vec![(pbes2(2_147_483_647, &[5; 16]), [key, iv, body, tag])],
        ),
        (
            "JWE-06",
            vec![
                (pbes2(1, &[5; 16]), [key, iv, body, tag]),
                (pbes2(1000, &[5; 4]), [key, iv, body, tag]),
            ],
        ),
        (
            "JWE-07",
            vec![
                (json!({"alg": "RSA1_5", "enc": "A256GCM"}), [key, iv, body, tag]),
                (
                    json!({"alg": "RSA1_5", "enc": "A128CBC-HS256"}),
                    [&[0; 256], &[2; 16], body, tag],
                ),
            ],
        ),
        (
            "JWE-09",
            vec![
                (
                    agreed(json!({"kty": "EC", "crv": "P-256", "x": text([1; 32]), "y": text([1; 32])})),
                    [&[], iv, body, tag],
                ),
                (agreed(point(&[0; 32])), [&[], iv, body, tag]),
                (agreed(point(&[1; 32])), [&[], iv, body, tag]),
            ],
        ),
        (
            "JWE-10",
            vec![
                (
                    agreed(json!({"kty": "EC", "crv": "P-384", "x": text([1; 48]), "y": text([1; 48])})),
                    [&[], iv, body, tag],
                ),
                (
                    agreed(super::forge::with(epk.clone(), &[("d", json!(text([1; 32])))])),
                    [&[], iv, body, tag],
                ),
                (json!({"alg": "ECDH-ES", "enc": "A256GCM"}), [&[], iv, body, tag]),
            ],
        ),
        (
            "JWE-11",
            vec![
                (agreed(epk.clone()), [&[], iv, body, &[4; 4]]),
                (agreed(epk.clone()), [&[], iv, body, &[4; 12]]),
                (agreed(epk.clone()), [&[], iv, body, &[]]),
            ],
        ),
        (
            "JWE-16",
            vec![(
                json!({"alg": "dir", "enc": "A128CBC-HS256"}),
                [&[], iv, body, tag],
            )],
        ),
        (
            "JWE-17",
            vec![(json!({"alg": "dir", "enc": "A256GCM"}), [key, iv, body, tag])],
        ),
        (
            "JWE-20",
            vec![(
                json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "crit": ["exp"]}),
                [key, iv, body, tag],
            )],
        ),
    ];
    for (row, variants) in rows {
        range.row(row).await?;
        for (header, parts) in variants {
            let expected = match parts {
                [.., []] => it("token.not-compact"),
                _ => it(reason(&header)),
            };
            range
                .refuses_token(&header.to_string(), &jwe(&header, parts), expected)
                .await?;
        }
    }
    // And a signed token whose header is that of an encrypted one.
    range.row("JWE-03").await?;
    let header = json!({"alg": "dir", "enc": "A256GCM", "typ": "at+jwt", "kid": "es"}).to_string();
    let token = compact(header, Range::claims().to_string(), |input| hs256(b"", input));
    range
        .refuses_token("three parts", &token, it("token.algorithm-unsupported"))
        .await?;

    for (row, json) in [
        (
            "JWE-18",
            json!({"unprotected": {"alg": "dir", "enc": "A256GCM"}, "iv": "AA", "ciphertext": "AA", "tag": "AA"}),
        ),
        (
            "JWE-19",
            json!({"recipients": vec![json!({"encrypted_key": "AA"}); 200], "ciphertext": "AA"}),
        ),
    ] {
        range.row(row).await?;
        range
            .refuses_token("JSON", &json.to_string(), ir_malformed())
            .await?;
        range
            .refuses_token("encoded", &text(json.to_string()), it("token.not-compact"))
            .await?;
    }
    range.finish().await
}
