//! Section A, where the numbers of a signature or a key are not as they should be.

use std::collections::BTreeMap;

use aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
use portcullis_testkit::Outcome;
use serde_json::{Value, json};

use super::expect::{expired, it};
use super::forge::{compact, hash, list, text};
use super::range::Range;
use super::signature::{Keys, claims, named};

/// The order of P-256 (FIPS 186-5, SP 800-186 §3.2.1.3).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// The order of Ed25519's base point (RFC 8032 §5.1), little-endian.
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The rows of section A that are about values.
pub(super) async fn shown(range: &mut Range, keys: &Keys) -> Outcome {
    elliptic(range, keys).await?;
    rsa(range, keys).await?;
    edwards(range, keys).await
}

async fn elliptic(range: &mut Range, keys: &Keys) -> Outcome {
    let input = format!("{}.{}", text(Range::header().to_string()), text(claims()));
    let good = range.home.sign(input.as_bytes());
    let with_signature = |signature: &[u8]| format!("{input}.{}", text(signature));
    let mut one = [0; 32];
    one[31] = 1;
    let (r, s) = good.split_at(32);

    range.row("JWS-25").await?;
    for (what, signature) in [
        ("zeros", vec![0; 64]),
        ("r is zero", [&[0; 32], s].concat()),
        ("s is zero", [r, &[0; 32]].concat()),
        ("r is the order", [&P256_ORDER[..], s].concat()),
        ("s is the order", [r, &P256_ORDER[..]].concat()),
        ("both are the order", [P256_ORDER, P256_ORDER].concat()),
        ("r is one, s the order", [one, P256_ORDER].concat()),
        ("both beyond the order", vec![0xff; 64]),
    ] {
        range
            .refuses_token(what, &with_signature(&signature), it("token.signature"))
            .await?;
    }

    range.row("JWS-26").await?;
    let der = compact(Range::header().to_string(), claims(), |input| {
        range.home.der(input)
    });
    range
        .refuses_token("a SEQUENCE", &der, it("token.signature"))
        .await?;

    range.row("JWS-27").await?;
    for (what, signature) in [
        ("63 bytes", good.iter().copied().take(63).collect()),
        ("65 bytes", [&good[..], &[0]].concat()),
        ("a zero before", [&[0], &good[..]].concat()),
        ("zeros before each", [&[0], r, &[0], s].concat()),
        ("twice", good.repeat(2)),
        ("one byte", vec![0]),
        ("longer than any", vec![1; 5000]),
    ] {
        range
            .refuses_token(what, &with_signature(&signature), it("token.signature"))
            .await?;
    }
    range
        .refuses_token("nothing", &format!("{input}."), it("token.not-compact"))
        .await?;

    range.row("JWS-28").await?;
    // The other s of the same signature holds as well. What is remembered of the token is its name and not its text, so it is
    // the same token to the record.
    let token = with_signature(&good);
    let mirrored = with_signature(&[r, &minus(&P256_ORDER, s)[..]].concat());
    let mut names = Vec::new();
    for token in [&token, &mirrored] {
        let answer = range.arrives("either spelling", range.call(token)).await?;
        names.push(answer.header("x-request-id").to_owned());
    }
    let records = range.records()?;
    let tokens: Vec<_> = names
        .iter()
        .map(|name| records.get(name).map(|record| crate::text(record, "/token")))
        .collect();
    range.same("the token's name on record", tokens.first(), tokens.last());
    range.same(
        "it has one",
        tokens
            .first()
            .is_some_and(|name| name.as_deref().is_some_and(|name| name.len() == 32)),
        true,
    );

    range.row("JWS-29").await?;
    for (what, token) in [
        (
            "a P-384 key for ES256",
            keys.p384.token(named("ES256", "es-384"), claims()),
        ),
        (
            "the same key for ES384",
            keys.p384.token(named("ES384", "es-384"), claims()),
        ),
        (
            "a P-256 key for ES384",
            range.with_header(&[("alg", json!("ES384"))]),
        ),
        ("secp256k1", range.with_header(&[("kid", json!("k1"))])),
    ] {
        range.refuses_token(what, &token, it("token.key-unknown")).await?;
    }
    for kid in ["es", "k1"] {
        let token = range.with_header(&[("alg", json!("ES256K")), ("kid", json!(kid))]);
        range
            .refuses_token("ES256K", &token, it("token.algorithm-unsupported"))
            .await?;
    }
    Ok(())
}

/// Tokens that were made once, with what libraries do not sign.
pub(super) fn fixture() -> Value {
    serde_json::from_str(include_str!("rsa.json")).unwrap_or_default()
}

async fn rsa(range: &mut Range, keys: &Keys) -> Outcome {
    let mut by_row: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for token in list(&fixture(), "/tokens") {
        let variant = (crate::text(&token, "/what"), crate::text(&token, "/token"));
        by_row
            .entry(crate::text(&token, "/row"))
            .or_default()
            .push(variant);
    }
    let mut variants = |row: &str| by_row.remove(row).unwrap_or_default();
    let controls = variants("control");

    range.row("JWS-30").await?;
    // What is signed as it should be is refused for its age: the rest would be too, if its signature was taken.
    range.same("controls", controls.len(), 2);
    for (what, token) in controls {
        range.refuses_token(&what, &token, expired()).await?;
    }
    for (what, token) in variants("JWS-30") {
        range.refuses_token(&what, &token, it("token.signature")).await?;
    }

    range.row("JWS-31").await?;
    for (what, token) in variants("JWS-31") {
        range
            .refuses_token(&what, &token, it("token.key-unknown"))
            .await?;
    }

    range.row("JWS-32").await?;
    for (what, token) in variants("JWS-32") {
        range.refuses_token(&what, &token, it("token.signature")).await?;
    }
    let swapped = keys.rs.token(named("PS256", "rs"), claims());
    range
        .refuses_token("PS256 with a key for RS256", &swapped, it("token.key-unknown"))
        .await?;

    range.row("JWS-33").await?;
    for (what, token) in variants("JWS-33") {
        range.refuses_token(&what, &token, it("token.signature")).await?;
    }
    for short in ["RS1", "HS1", "ES1"] {
        let token = range.with_header(&[("alg", json!(short))]);
        range
            .refuses_token(short, &token, it("token.algorithm-unsupported"))
            .await?;
    }
    let over_sha1 = compact(Range::header().to_string(), claims(), |input| {
        let mut padded = vec![0; 12];
        padded.extend(hash(&SHA1_FOR_LEGACY_USE_ONLY, input));
        range.home.sign(&padded)
    });
    range
        .refuses_token("ES256 over a SHA-1 digest", &over_sha1, it("token.signature"))
        .await
}

async fn edwards(range: &mut Range, keys: &Keys) -> Outcome {
    range.row("JWS-34").await?;
    let input = format!("{}.{}", text(named("EdDSA", "ed")), text(claims()));
    let good = keys.ed.sign(input.as_bytes());
    range
        .passes("EdDSA", range.call(&format!("{input}.{}", text(&good))))
        .await?;
    let (r, s) = good.split_at(32);
    let beyond = plus(s, &ED25519_ORDER);
    let mut neutral = [0; 32];
    neutral[0] = 1;
    // y = p + 1: another spelling of the neutral element.
    let mut not_reduced = [0xff; 32];
    not_reduced[0] = 0xee;
    not_reduced[31] = 0x7f;
    for (what, signature) in [
        ("S + L", [r, &beyond[..]].concat()),
        ("S = 0", [r, &[0; 32]].concat()),
        ("R is the neutral element", [&neutral[..], s].concat()),
        ("R is not reduced", [&not_reduced[..], s].concat()),
        ("zeros", vec![0; 64]),
    ] {
        let token = format!("{input}.{}", text(signature));
        range.refuses_token(what, &token, it("token.signature")).await?;
    }
    let forged = compact(named("EdDSA", "small"), claims(), |_| [neutral, [0; 32]].concat());
    range
        .refuses_token("a key of small order", &forged, it("token.key-unknown"))
        .await?;
    let forged = keys.ed.token(named("EdDSA", "ed448"), claims());
    range
        .refuses_token("Ed448", &forged, it("token.key-unknown"))
        .await?;
    for name in ["Ed25519", "Ed448"] {
        let token = keys.ed.token(named(name, "ed"), claims());
        range
            .refuses_token(name, &token, it("token.algorithm-unsupported"))
            .await?;
    }
    Ok(())
}

/// `a - b`, of big-endian numbers of one length.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let digits = a.iter().rev().zip(b.iter().rev()).map(|(a, b)| {
        let difference = i16::from(*a) - i16::from(*b) - borrow;
        borrow = i16::from(difference < 0);
        difference.rem_euclid(256).to_le_bytes()[0]
    });
    let mut digits: Vec<u8> = digits.collect();
    digits.reverse();
    digits
}

/// `a + b`, of little-endian numbers of one length.
fn plus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    a.iter()
        .zip(b)
        .map(|(a, b)| {
            let sum = u16::from(*a) + u16::from(*b) + carry;
            carry = sum >> 8;
            sum.to_le_bytes()[0]
        })
        .collect()
}
