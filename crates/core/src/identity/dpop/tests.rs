//! One row per way a proof can be wrong, by the names of the attack catalogue that the project keeps for its scanner.

use serde_json::{Value, json};

use super::*;
use crate::jose::SignatureAlgorithm::{EdDsa, Es256, MlDsa65, Ps256, Rs256, Rs384};
use crate::jose::base64url::encode;
use crate::jose::jwk::SigningKey;
use crate::jose::jwk::testing::{public_jwk, signing_key};
use crate::jose::jws::TokenSigner as _;
use crate::wire::Presented;

const HTU: &str = "https://gw.example.test/mcp";
const NOW: i64 = 1_800_000_000;
const TOKEN: &str = "an-access-token";

fn access_token(text: &str) -> AccessToken {
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {text}").parse().unwrap());
    match Presented::parse(&headers, None).unwrap() {
        Presented::Bearer(token) => token,
        Presented::Absent | Presented::Dpop { .. } => panic!("another scheme"),
    }
}

fn wired(proof: &str) -> Proof {
    let mut headers = http::HeaderMap::new();
    headers.insert("dpop", proof.parse().unwrap());
    Proof::parse(&headers).unwrap()
}

/// The members of a key and no other.
fn jwk(key: &SigningKey) -> Value {
    let members = key.public().members().into_iter();
    members
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn header(key: &SigningKey) -> Value {
    json!({ "typ": "dpop+jwt", "alg": key.algorithm().name(), "jwk": jwk(key) })
}

fn claims() -> Value {
    let ath = encode(digest::digest(&digest::SHA256, TOKEN.as_bytes()));
    json!({ "jti": "p-1", "htm": "POST", "htu": HTU, "iat": NOW, "ath": ath })
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

fn raw(key: &SigningKey, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let input = format!("{}.{}", encode(header), encode(payload));
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", encode(signature))
}

fn proof(key: &SigningKey, header: &Value, claims: &Value) -> String {
    raw(key, header.to_string(), claims.to_string())
}

fn verdict_at(proof: &str, now: UnixTime) -> Result<ProofHeld, Failed> {
    let (proof, token) = (wired(proof), AccessTokenHash::of(&access_token(TOKEN)));
    let expected = Expected {
        method: "POST",
        target: &HttpTarget::of(HTU),
        token: Some(&token),
        window: WINDOW,
        now,
    };
    let candidate = Candidate::parse(&proof)?;
    candidate.verify(&*candidate.key(None)?, &expected)
}

fn verdict(proof: &str) -> Result<ProofHeld, Failed> {
    verdict_at(proof, UnixTime::from_secs(NOW))
}

/// The verdict on a proof with other claims.
fn claiming(key: &SigningKey, claims: &Value) -> Result<(), Failed> {
    verdict(&proof(key, &header(key), claims)).map(drop)
}

#[test]
fn a_correct_proof_of_each_algorithm_holds() {
    for algorithm in ALGORITHMS {
        let key = signing_key("k", algorithm);
        let claims = with(claims(), "nonce", json!("n-1"));
        let held = verdict(&proof(&key, &header(&key), &claims)).unwrap();
        assert_eq!(*held.key(), key.public().thumbprint(), "{algorithm:?}");
        assert_eq!((held.jti(), held.nonce()), ("p-1", Some("n-1")));
        assert_eq!(held.issued(), UnixTime::from_secs(NOW));
        assert_eq!(held.until(), UnixTime::from_secs(NOW + 60));
        assert_eq!(held.token(), Some(&AccessTokenHash::of(&access_token(TOKEN))));
    }
    // A key may say what it is for, and have a name.
    let key = signing_key("k", Es256);
    assert!(
        verdict(&proof(
            &key,
            &with(header(&key), "jwk", public_jwk(&key)),
            &claims()
        ))
        .is_ok()
    );
}

/// The examples of RFC 9449: §4.1 for a token endpoint, §7.1 for a resource.
#[test]
fn the_examples_of_the_rfc_hold() {
    const AT_TOKEN_ENDPOINT: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    const AT_RESOURCE: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    let token = AccessTokenHash::of(&access_token("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"));
    for (text, method, url, secs, token) in [
        (
            AT_TOKEN_ENDPOINT,
            "POST",
            "https://server.example.com/token",
            1_562_262_616,
            None,
        ),
        (
            AT_RESOURCE,
            "GET",
            "https://resource.example.org/protectedresource",
            1_562_262_618,
            Some(&token),
        ),
    ] {
        let proof = wired(text);
        let candidate = Candidate::parse(&proof).unwrap();
        let expected = Expected {
            method,
            target: &HttpTarget::of(url),
            token,
            window: WINDOW,
            now: UnixTime::from_secs(secs),
        };
        let key = candidate.key(None).unwrap();
        let held = candidate.verify(&key, &expected).unwrap();
        assert_eq!(
            held.key().to_string(),
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
        );
        assert_eq!(held.token(), token);
    }
}

#[test]
fn headers_that_are_refused() {
    let key = signing_key("k", Es256);
    let h = || header(&key);
    let j = || jwk(&key);
    let rows: Vec<(&str, Value, Failed)> = vec![
        ("JWS-01", with(h(), "alg", json!("none")), Failed::Algorithm),
        ("JWS-06", with(h(), "alg", json!("HS256")), Failed::Algorithm),
        ("JWS-05", with(h(), "alg", json!(256)), Failed::Header),
        ("JWS-05", without(h(), "alg"), Failed::Algorithm),
        ("JWS-29", with(h(), "alg", json!("ES384")), Failed::Key),
        ("JWS-32", with(h(), "alg", json!("RS256")), Failed::Key),
        ("RFC 9449 §4.2", with(h(), "typ", json!("JWT")), Failed::Type),
        ("RFC 9449 §4.2", with(h(), "typ", json!("DPoP+jwt")), Failed::Type),
        ("RFC 9449 §4.2", with(h(), "typ", json!("at+jwt")), Failed::Type),
        (
            "RFC 9449 §4.2",
            with(h(), "typ", json!(["dpop+jwt"])),
            Failed::Header,
        ),
        ("RFC 9449 §4.2", without(h(), "typ"), Failed::Type),
        ("RFC 9449 §4.2", without(h(), "jwk"), Failed::KeyMissing),
        ("RFC 9449 §4.2", with(h(), "jwk", json!("k")), Failed::Key),
        ("RFC 9449 §4.2", with(h(), "jwk", json!({})), Failed::Key),
        (
            "DPOP-07",
            with(h(), "jwk", with(j(), "d", json!("AA"))),
            Failed::KeyPrivate,
        ),
        (
            "DPOP-07",
            with(h(), "jwk", with(j(), "d", json!(null))),
            Failed::KeyPrivate,
        ),
        (
            "DPOP-07",
            with(h(), "jwk", with(j(), "k", json!("AA"))),
            Failed::KeyPrivate,
        ),
        (
            "DPOP-07",
            with(h(), "jwk", json!({ "kty": "oct", "k": "AA" })),
            Failed::KeyPrivate,
        ),
        (
            "JWK",
            with(h(), "jwk", with(j(), "use", json!("enc"))),
            Failed::Key,
        ),
        (
            "JWK",
            with(h(), "jwk", with(j(), "key_ops", json!(["encrypt"]))),
            Failed::Key,
        ),
        (
            "JWK",
            with(h(), "jwk", with(j(), "alg", json!("ES512"))),
            Failed::Key,
        ),
        (
            "JWK",
            with(h(), "jwk", with(j(), "crv", json!("P-384"))),
            Failed::Key,
        ),
        (
            "JWK",
            with(h(), "jwk", with(j(), "x", j()["y"].clone())),
            Failed::Key,
        ),
        ("JWK", with(h(), "jwk", without(j(), "y")), Failed::Key),
        (
            "JWS-23",
            with(h(), "crit", json!(["jwk"])),
            Failed::HeaderRefused("crit"),
        ),
        (
            "JWS-24",
            with(h(), "b64", json!(false)),
            Failed::HeaderRefused("b64"),
        ),
        (
            "JWS-12",
            with(h(), "jku", json!("https://evil.example")),
            Failed::HeaderRefused("jku"),
        ),
        (
            "JWS-14",
            with(h(), "x5u", json!("https://evil.example")),
            Failed::HeaderRefused("x5u"),
        ),
        ("JWS-21", with(h(), "kid", json!(7)), Failed::Header),
    ];
    for (row, header, failed) in rows {
        let verdict = verdict(&proof(&key, &header, &claims()));
        assert_eq!(verdict.unwrap_err(), failed, "{row}: {header}");
    }
    // Of the algorithms that there are, those that are not for proofs.
    for algorithm in [Rs384, MlDsa65] {
        let key = signing_key("k", algorithm);
        let verdict = verdict(&proof(&key, &header(&key), &claims()));
        // A header of ML-DSA is longer than one may be.
        let failed = if algorithm == MlDsa65 {
            Failed::Header
        } else {
            Failed::Algorithm
        };
        assert_eq!(verdict.unwrap_err(), failed);
    }
}

#[test]
fn texts_that_are_refused() {
    let key = signing_key("k", Es256);
    let (h, c) = (header(&key).to_string(), claims().to_string());
    let twice = |text: &str, member: &str| text.replacen('{', &format!("{{{member},"), 1);
    let deep = format!(
        r#""x":{}{},"#,
        "[".repeat(limits::JSON_DEPTH),
        "]".repeat(limits::JSON_DEPTH)
    );
    let inside = |text: &str, more: &str| text.replacen('{', &format!("{{{more}"), 1);
    let rows: Vec<(&str, String, Failed)> = vec![
        (
            "JWS-35",
            proof(&key, &header(&key), &claims())
                .rsplit_once('.')
                .unwrap()
                .0
                .to_owned(),
            Failed::NotCompact,
        ),
        (
            "JWS-35",
            format!("{}.{}.", encode(&h), encode(&c)),
            Failed::NotCompact,
        ),
        (
            "four parts",
            format!("{}.x", raw(&key, &h, &c)),
            Failed::NotCompact,
        ),
        ("no parts", "...".to_owned(), Failed::NotCompact),
        (
            "ENC",
            raw(&key, twice(&h, r#""alg":"ES256""#), &c),
            Failed::Header,
        ),
        (
            "ENC",
            raw(&key, h.replace(r#""kty":"EC""#, r#""kty":"EC","kty":"EC""#), &c),
            Failed::Header,
        ),
        ("ENC", raw(&key, &h, twice(&c, r#""jti":"p-2""#)), Failed::Payload),
        (
            "ENC",
            raw(&key, &h, twice(&c, r#""\u006ati":"p-2""#)),
            Failed::Payload,
        ),
        ("ENC", raw(&key, inside(&h, &deep), &c), Failed::Header),
        ("ENC", raw(&key, &h, inside(&c, &deep)), Failed::Payload),
        ("ENC", raw(&key, &h, "[]"), Failed::Payload),
        ("ENC", raw(&key, &h, format!("{c}{c}")), Failed::Payload),
        ("ENC", raw(&key, &h, b"\xff"), Failed::Payload),
    ];
    for (row, proof, failed) in rows {
        assert_eq!(verdict(&proof).unwrap_err(), failed, "{row}");
    }
    // Sizes at the limit and one past it.
    let padded = |text: &str, bytes: usize| {
        let more = format!(
            r#""p":"{}","#,
            "a".repeat(bytes - text.len() - r#""p":"","#.len())
        );
        inside(text, &more)
    };
    let (header_bytes, payload_bytes) = (own_key::OWN_HEADER_BYTES, own_key::OWN_PAYLOAD_BYTES);
    assert!(verdict(&raw(&key, padded(&h, header_bytes), &c)).is_ok());
    assert_eq!(
        verdict(&raw(&key, padded(&h, header_bytes + 1), &c)).unwrap_err(),
        Failed::Header
    );
    assert!(verdict(&raw(&key, &h, padded(&c, payload_bytes))).is_ok());
    let long = raw(&key, &h, padded(&c, payload_bytes + 1));
    assert_eq!(verdict(&long).unwrap_err(), Failed::NotCompact);
}

#[test]
fn dpop_05_only_the_key_in_the_header_signs() {
    let (key, other) = (signing_key("k", Es256), signing_key("k", Es256));
    let foreign = proof(&other, &header(&key), &claims());
    assert_eq!(verdict(&foreign).unwrap_err(), Failed::Signature);
    // JWS-25, JWS-36: no signature, and that of another proof
    let good = proof(&key, &header(&key), &claims());
    let input = good.rsplit_once('.').unwrap().0;
    let another = proof(&key, &header(&key), &with(claims(), "jti", json!("p-2")));
    for signature in [
        encode([0; 64]),
        encode([1; 63]),
        another.rsplit_once('.').unwrap().1.to_owned(),
    ] {
        let verdict = verdict(&format!("{input}.{signature}"));
        assert_eq!(verdict.unwrap_err(), Failed::Signature);
    }
    // A key that was parsed for one header is none for another, whatever it is.
    let (first, second) = (wired(&good), wired(&another));
    let (first, second) = (
        Candidate::parse(&first).unwrap(),
        Candidate::parse(&second).unwrap(),
    );
    let known = first.key(None).unwrap();
    assert!(Arc::ptr_eq(&first.key(Some(&known)).unwrap(), &known));
    assert!(
        Arc::ptr_eq(&second.key(Some(&known)).unwrap(), &known),
        "the same header"
    );
    let others = wired(&proof(&other, &header(&other), &claims()));
    let others = Candidate::parse(&others).unwrap();
    assert!(!Arc::ptr_eq(&others.key(Some(&known)).unwrap(), &known));
    let target = HttpTarget::of(HTU);
    let expected = Expected {
        method: "POST",
        target: &target,
        token: None,
        window: WINDOW,
        now: UnixTime::from_secs(NOW),
    };
    assert!(first.verify(&known, &expected).is_ok());
    // By the same key, too: what was read of the one header is not what the other says.
    let untyped = wired(&proof(&key, &with(header(&key), "typ", json!("JWT")), &claims()));
    let untyped = Candidate::parse(&untyped).unwrap();
    assert_eq!(untyped.verify(&known, &expected).unwrap_err(), Failed::Signature);
    assert_eq!(others.verify(&known, &expected).unwrap_err(), Failed::Signature);
}

#[test]
fn dpop_09_htm_is_the_method_byte_for_byte() {
    let key = signing_key("k", Es256);
    for other in ["GET", "post", "Post", "POST ", ""] {
        let verdict = claiming(&key, &with(claims(), "htm", json!(other)));
        assert_eq!(verdict, Err(Failed::OtherMethod), "{other:?}");
    }
}

/// The spellings themselves are rows of `HttpTarget`.
#[test]
fn dpop_10_htu_mismatch() {
    let key = signing_key("k", EdDsa);
    for same in ["HTTPS://GW.example.test:443/./mcp?x#y", HTU] {
        assert_eq!(
            claiming(&key, &with(claims(), "htu", json!(same))),
            Ok(()),
            "{same}"
        );
    }
    for other in [
        "https://gw.example.test/mcp/",
        "https://evil.test/mcp",
        "http://gw.example.test/mcp",
        "/mcp",
        "",
    ] {
        let verdict = claiming(&key, &with(claims(), "htu", json!(other)));
        assert_eq!(verdict, Err(Failed::OtherTarget), "{other}");
    }
}

#[test]
fn dpop_12_and_21_iat_within_the_window() {
    let key = signing_key("k", Es256);
    let text = proof(&key, &header(&key), &claims());
    let at = |millis: i64| verdict_at(&text, UnixTime::from_millis(NOW * 1000 + millis)).map(drop);
    for (millis, expected) in [
        (-600_000, Err(Failed::Future)),
        (-5_001, Err(Failed::Future)),
        (-5_000, Ok(())),
        (0, Ok(())),
        (59_999, Ok(())),
        (60_000, Err(Failed::Stale)),
        (600_000, Err(Failed::Stale)),
    ] {
        assert_eq!(at(millis), expected, "{millis}");
    }
    for wrong in [
        json!("1800000000"),
        json!(1.8e9),
        json!(1_800_000_000.5),
        json!(null),
        json!(-1),
        json!(i64::MAX),
    ] {
        let verdict = claiming(&key, &with(claims(), "iat", wrong.clone()));
        assert_eq!(verdict, Err(Failed::ClaimMalformed(ProofClaim::Iat)), "{wrong}");
    }
}

#[test]
fn a_shorter_window_counts_and_a_longer_one_does_not() {
    let key = signing_key("k", Es256);
    let proof = wired(&proof(&key, &header(&key), &claims()));
    let candidate = Candidate::parse(&proof).unwrap();
    for (window, after, held) in [
        (10, 9, true),
        (10, 10, false),
        (3600, 59, true),
        (3600, 60, false),
    ] {
        let expected = Expected {
            method: "POST",
            target: &HttpTarget::of(HTU),
            token: None,
            window: Lifetime::from_secs(window),
            now: UnixTime::from_secs(NOW + after),
        };
        let verdict = candidate.verify(&candidate.key(None).unwrap(), &expected);
        assert_eq!(verdict.is_ok(), held, "{window} {after}");
    }
}

#[test]
fn dpop_17_a_jti_has_1_to_256_bytes() {
    let key = signing_key("k", Es256);
    for (jti, held) in [
        ("a".repeat(256), true),
        ("a".repeat(257), false),
        (String::new(), false),
        ("ä".repeat(129), false),
    ] {
        let verdict = claiming(&key, &with(claims(), "jti", json!(jti)));
        let expected = if held {
            Ok(())
        } else {
            Err(Failed::ClaimMalformed(ProofClaim::Jti))
        };
        assert_eq!(verdict, expected, "{}", jti.len());
    }
}

#[test]
fn dpop_18_ath_is_the_base64url_hash_of_this_token() {
    let key = signing_key("k", Es256);
    let hash = digest::digest(&digest::SHA256, TOKEN.as_bytes());
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let of_another = encode(digest::digest(&digest::SHA256, b"another"));
    for wrong in [
        hex,
        of_another,
        format!("{}=", encode(hash)),
        encode(&hash.as_ref()[..31]),
        String::new(),
    ] {
        let verdict = claiming(&key, &with(claims(), "ath", json!(wrong)));
        assert_eq!(verdict, Err(Failed::OtherToken), "{wrong}");
    }
}

#[test]
fn each_claim_is_there_and_a_text() {
    use ProofClaim::{Ath, Htm, Htu, Iat, Jti, Nonce};
    let key = signing_key("k", Ps256);
    for claim in [Jti, Htm, Htu, Iat, Ath] {
        let verdict = claiming(&key, &without(claims(), &claim.to_string()));
        assert_eq!(verdict, Err(Failed::ClaimMissing(claim)));
    }
    for claim in [Jti, Htm, Htu, Ath, Nonce] {
        for wrong in [json!(null), json!(1), json!(["p-1"]), json!({})] {
            let verdict = claiming(&key, &with(claims(), &claim.to_string(), wrong));
            assert_eq!(verdict, Err(Failed::ClaimMalformed(claim)));
        }
    }
    // RFC 9449 §4.2: other claims may be there.
    assert_eq!(claiming(&key, &with(claims(), "exp", json!("x"))), Ok(()));
}

/// DPOP-30: one thumbprint for all spellings of a key, over its required members alone.
#[test]
fn dpop_30_the_thumbprint_is_of_the_key_and_nothing_else() {
    let key = signing_key("k", Rs256);
    let spelled = with(with(jwk(&key), "x-more", json!("1")), "kid", json!("a name"));
    let held = verdict(&proof(&key, &with(header(&key), "jwk", spelled), &claims())).unwrap();
    assert_eq!(*held.key(), key.public().thumbprint());
}
