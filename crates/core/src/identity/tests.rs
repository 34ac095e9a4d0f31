//! One row per way a token can be wrong. The names in the first column are the rows of the attack catalogue that
//! the project keeps for its scanner: JWS (signature and header), CLM (claims and time), ENC (encoding and JSON).

mod profiles;

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::*;
use crate::ids::{Issuer, ResourceUri};
use crate::jose::SignatureAlgorithm::{self, EdDsa, Es256, Ps256, Rs256};
use crate::jose::base64url::encode;
use crate::jose::jwk::testing::{public_jwk, signing_key};
use crate::jose::jwk::{KeySet, SigningKey};
use crate::jose::jws::TokenSigner as _;
use crate::time::{Lifetime, UnixTime};
use crate::wire::{AccessToken, Presented};

const ISSUER: &str = "https://as.example.test";
const RESOURCE: &str = "https://gw.example.test/mcp";
const NOW: i64 = 1_800_000_000;
const SKEW: i64 = 30;
const MAX_LIFETIME: i64 = 3600;

/// An issuer with one key of each algorithm.
struct Forge {
    signers: Vec<SigningKey>,
    keys: KeySet,
}

impl Forge {
    fn new() -> Self {
        let signers: Vec<SigningKey> = SignatureAlgorithm::ALL
            .into_iter()
            .map(|algorithm| signing_key(kid(algorithm), algorithm))
            .collect();
        let jwks: Vec<Value> = signers.iter().map(public_jwk).collect();
        let keys = KeySet::parse(json!({ "keys": jwks }).to_string().as_bytes()).unwrap();
        assert_eq!(keys.len(), SignatureAlgorithm::ALL.len());
        Self { signers, keys }
    }

    fn signer(&self, algorithm: SignatureAlgorithm) -> &SigningKey {
        let of_it = |signer: &&SigningKey| signer.algorithm() == algorithm;
        self.signers.iter().find(of_it).unwrap()
    }

    fn signature(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Vec<u8> {
        self.signer(algorithm).sign(message).unwrap()
    }

    /// A token with this header text and payload text, signed by the key of `algorithm`.
    fn raw(
        &self,
        algorithm: SignatureAlgorithm,
        header: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
    ) -> String {
        let input = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(algorithm, input.as_bytes());
        format!("{input}.{}", encode(signature))
    }

    fn token(&self, algorithm: SignatureAlgorithm, header: &Value, claims: &Value) -> String {
        self.raw(algorithm, header.to_string(), claims.to_string())
    }

    fn verdict(&self, token: &str) -> Result<VerifiedIdentity, Failed> {
        self.verdict_at(token, NOW)
    }

    fn verdict_at(&self, token: &str, now: i64) -> Result<VerifiedIdentity, Failed> {
        judge(token, &trust(), &self.keys, now)
    }
}

fn trust() -> IssuerTrust {
    IssuerTrust {
        issuer: Issuer::parse(ISSUER).unwrap(),
        algorithms: BTreeSet::from(SignatureAlgorithm::ALL),
        max_token_lifetime: Lifetime::from_secs(MAX_LIFETIME.unsigned_abs()),
        skew: Lifetime::from_secs(SKEW.unsigned_abs()),
        tokens: TokenProfile::of(Profile::Rfc9068),
    }
}

fn judge(token: &str, trust: &IssuerTrust, keys: &KeySet, now: i64) -> Result<VerifiedIdentity, Failed> {
    let token = bearer(token);
    let resource = ResourceUri::parse(RESOURCE).unwrap();
    let vouched = verify(
        &Candidate::parse(&token)?,
        trust,
        keys,
        &resource,
        UnixTime::from_secs(now),
    )?;
    Arc::new(vouched).confirm(None, None)
}

fn bearer(token: &str) -> AccessToken {
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    match Presented::parse(&headers, None).unwrap() {
        Presented::Bearer(token) => token,
        Presented::Absent | Presented::Dpop { .. } => panic!("the header was not read"),
    }
}

fn kid(algorithm: SignatureAlgorithm) -> &'static str {
    // The three that rows below spell out.
    let known = [(Es256, "es"), (Rs256, "rs"), (EdDsa, "ed")];
    known
        .into_iter()
        .find(|(of, _)| *of == algorithm)
        .map_or(algorithm.name(), |(_, kid)| kid)
}

fn header(algorithm: SignatureAlgorithm) -> Value {
    json!({ "alg": algorithm.name(), "typ": "at+jwt", "kid": kid(algorithm) })
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": RESOURCE, "exp": NOW + 300, "iat": NOW, "nbf": NOW,
        "sub": "alice", "client_id": "agent-1", "jti": "t-1", "scope": "notes:write notes:read",
    })
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

#[test]
fn a_correct_token_of_each_algorithm_is_believed() {
    let forge = Forge::new();
    for algorithm in SignatureAlgorithm::ALL {
        let identity = forge
            .verdict(&forge.token(algorithm, &header(algorithm), &claims()))
            .unwrap();
        assert_eq!(identity.issuer().as_str(), ISSUER);
        assert_eq!(identity.audience().as_str(), RESOURCE);
        assert_eq!(identity.subject().as_str(), "alice");
        assert_eq!(identity.client().as_str(), "agent-1");
        assert_eq!(identity.token_id().as_str(), "t-1");
        assert_eq!(identity.scopes().to_string(), "notes:read notes:write");
        assert_eq!(identity.expires(), UnixTime::from_secs(NOW + 300));
        assert_eq!(identity.issued(), UnixTime::from_secs(NOW));
        assert!(!identity.is_client_itself());
    }
}

#[test]
fn what_the_rfcs_leave_open_is_accepted() {
    let forge = Forge::new();
    let header =
        |typ: &str| json!({ "alg": "ES256", "typ": typ, "kid": "es", "x5t": "AAAA", "unknown": [1] });
    let rows = [
        // RFC 9068 §4 and RFC 7515 §4.1.9: media types have no case; unknown parameters are ignored (RFC 7515 §4).
        (header("AT+JWT"), claims()),
        (header("application/at+jwt"), claims()),
        (header("application/AT+jwt"), claims()),
        // RFC 7519 §4.1.3: one audience as an array; §2: dates with fractions; §4: unknown claims are ignored.
        (header("at+jwt"), with(claims(), "aud", json!([RESOURCE]))),
        (header("at+jwt"), with(claims(), "exp", json!(NOW as f64 + 0.5))),
        (
            header("at+jwt"),
            with(claims(), "__proto__", json!({ "scope": "notes:irreversible" })),
        ),
        (header("at+jwt"), without(claims(), "nbf")),
        (header("at+jwt"), without(claims(), "scope")),
        // the only key of its algorithm needs no name (RFC 7515 §4.1.4: `kid` is optional)
        (json!({ "alg": "ES256", "typ": "at+jwt" }), claims()),
    ];
    for (header, claims) in rows {
        assert!(
            forge.verdict(&forge.token(Es256, &header, &claims)).is_ok(),
            "{header} {claims}"
        );
    }
    let none = forge
        .verdict(&forge.token(Es256, &header("at+jwt"), &without(claims(), "scope")))
        .unwrap();
    assert!(none.scopes().is_empty());
    let itself = forge.token(Es256, &header("at+jwt"), &with(claims(), "sub", json!("agent-1")));
    assert!(forge.verdict(&itself).unwrap().is_client_itself());
}

#[test]
fn headers_that_are_refused() {
    let forge = Forge::new();
    let h = || header(Es256);
    let rows: Vec<(&str, Value, Failed)> = vec![
        (
            "JWS-03",
            with(h(), "alg", json!("none")),
            Failed::AlgorithmUnsupported,
        ),
        (
            "JWS-03",
            with(h(), "alg", json!("NONE")),
            Failed::AlgorithmUnsupported,
        ),
        (
            "JWS-04",
            with(h(), "alg", json!("FOO256")),
            Failed::AlgorithmUnsupported,
        ),
        (
            "JWS-04",
            with(h(), "alg", json!("")),
            Failed::AlgorithmUnsupported,
        ),
        (
            "JWS-04",
            with(h(), "alg", json!("ES256\0")),
            Failed::AlgorithmUnsupported,
        ),
        (
            "JWS-04",
            with(h(), "alg", json!("es256")),
            Failed::AlgorithmUnsupported,
        ),
        ("JWS-05", without(h(), "alg"), Failed::AlgorithmUnsupported),
        ("JWS-05", with(h(), "alg", json!(null)), Failed::Header),
        ("JWS-05", with(h(), "alg", json!(256)), Failed::Header),
        ("JWS-05", with(h(), "alg", json!(["ES256"])), Failed::Header),
        ("JWS-05", with(h(), "alg", json!({ "x": 1 })), Failed::Header),
        (
            "JWS-08",
            with(h(), "alg", json!("HS256")),
            Failed::AlgorithmUnsupported,
        ),
        (
            "JWS-08",
            with(h(), "alg", json!("RS1")),
            Failed::AlgorithmUnsupported,
        ),
        ("JWS-08", with(h(), "alg", json!("RS512")), Failed::KeyUnknown),
        (
            "JWS-29",
            with(h(), "alg", json!("ES256K")),
            Failed::AlgorithmUnsupported,
        ),
        (
            "JWS-33",
            with(h(), "alg", json!("RS1")),
            Failed::AlgorithmUnsupported,
        ),
        (
            "JWS-34",
            with(h(), "alg", json!("Ed25519")),
            Failed::AlgorithmUnsupported,
        ),
        (
            "JWS-11",
            with(h(), "jwk", json!({ "kty": "EC" })),
            Failed::HeaderRefused("jwk"),
        ),
        (
            "JWS-12",
            with(h(), "jku", json!("https://evil.example/jwks")),
            Failed::HeaderRefused("jku"),
        ),
        (
            "JWS-13",
            with(h(), "jku", json!("https://as.example.test@evil.example/")),
            Failed::HeaderRefused("jku"),
        ),
        (
            "JWS-14",
            with(h(), "x5u", json!("file:///etc/passwd")),
            Failed::HeaderRefused("x5u"),
        ),
        (
            "JWS-14",
            with(h(), "x5c", json!(["AAAA"])),
            Failed::HeaderRefused("x5c"),
        ),
        (
            "JWS-17",
            with(h(), "kid", json!("../../../../dev/null")),
            Failed::KeyUnknown,
        ),
        ("JWS-17", with(h(), "kid", json!("es'--")), Failed::KeyUnknown),
        ("JWS-21", with(h(), "kid", json!(1)), Failed::Header),
        ("JWS-21", with(h(), "kid", json!({})), Failed::Header),
        ("JWS-21", with(h(), "kid", json!(["es"])), Failed::Header),
        ("JWS-21", with(h(), "kid", json!(null)), Failed::Header),
        ("JWS-21", with(h(), "kid", json!("")), Failed::Header),
        (
            "JWS-23",
            with(h(), "crit", json!(["exp"])),
            Failed::HeaderRefused("crit"),
        ),
        (
            "JWS-23",
            with(h(), "crit", json!([])),
            Failed::HeaderRefused("crit"),
        ),
        (
            "JWS-24",
            with(with(h(), "b64", json!(false)), "crit", json!(["b64"])),
            Failed::HeaderRefused("b64"),
        ),
        (
            "JWS-24",
            with(h(), "b64", json!(false)),
            Failed::HeaderRefused("b64"),
        ),
        (
            "JWS-24",
            with(h(), "b64", json!(true)),
            Failed::HeaderRefused("b64"),
        ),
        // the right key of another algorithm
        ("JWS-20", with(h(), "kid", json!("rs")), Failed::KeyUnknown),
        ("JWS-43", with(h(), "typ", json!("JWT")), Failed::NotAnAccessToken),
        (
            "JWS-43",
            with(h(), "typ", json!("id_token")),
            Failed::NotAnAccessToken,
        ),
        (
            "JWS-43",
            with(h(), "typ", json!("at+jwt ")),
            Failed::NotAnAccessToken,
        ),
        (
            "JWS-43",
            with(h(), "typ", json!("application/application/at+jwt")),
            Failed::NotAnAccessToken,
        ),
        ("JWS-43", without(h(), "typ"), Failed::NotAnAccessToken),
        (
            "JWS-45",
            with(h(), "typ", json!("dpop+jwt")),
            Failed::NotAnAccessToken,
        ),
        ("JWS-45", with(h(), "typ", json!(["at+jwt"])), Failed::Header),
    ];
    for (row, header, failed) in rows {
        let token = forge.token(Es256, &header, &claims());
        assert_eq!(forge.verdict(&token).unwrap_err(), failed, "{row}: {header}");
    }
}

#[test]
fn claims_that_are_refused() {
    use ClaimName::{Aud, ClientId, Cnf, Exp, Iat, Iss, Jti, Nbf, Scope, Sub};
    use Failed::{ClaimMalformed, ClaimMissing};
    let forge = Forge::new();
    let c = claims;
    let mut rows: Vec<(&str, Value, Failed)> = vec![
        ("CLM-01", with(c(), "exp", json!(NOW - SKEW)), Failed::Expired),
        ("CLM-02", without(c(), "exp"), ClaimMissing(Exp)),
        ("CLM-05", with(c(), "nbf", json!(NOW + 3600)), Failed::NotYetValid),
        (
            "CLM-05",
            with(c(), "nbf", json!("99999999999")),
            ClaimMalformed(Nbf),
        ),
        ("CLM-05", with(c(), "nbf", json!(null)), ClaimMalformed(Nbf)),
        (
            "CLM-06",
            with(with(c(), "iat", json!(NOW + 86_400)), "exp", json!(NOW + 86_500)),
            Failed::IssuedInFuture,
        ),
        ("CLM-06", with(c(), "iat", json!(NOW - 86_400)), Failed::Lifetime),
        ("CLM-06", without(c(), "iat"), ClaimMissing(Iat)),
        ("CLM-06", with(c(), "iat", json!("1")), ClaimMalformed(Iat)),
        (
            "CLM-07",
            with(c(), "exp", json!(NOW + 10 * 365 * 86_400)),
            Failed::Lifetime,
        ),
        (
            "CLM-07",
            with(with(c(), "exp", json!(NOW)), "iat", json!(NOW)),
            Failed::Lifetime,
        ),
        (
            "CLM-08",
            with(c(), "iss", json!("https://other.example.test")),
            Failed::OtherIssuer,
        ),
        (
            "CLM-09",
            with(c(), "iss", json!("https://as.example")),
            Failed::OtherIssuer,
        ),
        (
            "CLM-09",
            with(c(), "iss", json!("https://as.example.test.evil")),
            Failed::OtherIssuer,
        ),
        (
            "CLM-09",
            with(c(), "iss", json!("https://as.example.test/")),
            Failed::OtherIssuer,
        ),
        (
            "CLM-09",
            with(c(), "iss", json!("HTTPS://AS.example.test")),
            Failed::OtherIssuer,
        ),
        (
            "CLM-09",
            with(c(), "iss", json!("https://as.example.test:443")),
            Failed::OtherIssuer,
        ),
        ("CLM-09", with(c(), "iss", json!("")), Failed::OtherIssuer),
        (
            "CLM-10",
            with(c(), "iss", json!(["https://evil.example", ISSUER])),
            ClaimMalformed(Iss),
        ),
        ("CLM-10", with(c(), "iss", json!([ISSUER])), ClaimMalformed(Iss)),
        ("CLM-10", without(c(), "iss"), ClaimMissing(Iss)),
        ("CLM-12", without(c(), "aud"), ClaimMissing(Aud)),
        ("CLM-12", with(c(), "aud", json!("")), Failed::OtherAudience),
        ("CLM-12", with(c(), "aud", json!([])), ClaimMalformed(Aud)),
        ("CLM-12", with(c(), "aud", json!([""])), Failed::OtherAudience),
        ("CLM-12", with(c(), "aud", json!({})), ClaimMalformed(Aud)),
        ("CLM-12", with(c(), "aud", json!(1)), ClaimMalformed(Aud)),
        ("CLM-12", with(c(), "aud", json!(null)), ClaimMalformed(Aud)),
        (
            "CLM-12",
            with(c(), "aud", json!([[RESOURCE]])),
            ClaimMalformed(Aud),
        ),
        (
            "CLM-14",
            with(c(), "aud", json!([RESOURCE, "https://other"])),
            Failed::ManyAudiences,
        ),
        (
            "CLM-14",
            with(c(), "aud", json!([RESOURCE, RESOURCE])),
            Failed::ManyAudiences,
        ),
        (
            "CLM-14",
            with(c(), "aud", json!([RESOURCE, 1])),
            ClaimMalformed(Aud),
        ),
        ("CLM-16", without(c(), "sub"), ClaimMissing(Sub)),
        ("CLM-16", with(c(), "sub", json!("")), ClaimMalformed(Sub)),
        ("CLM-16", with(c(), "sub", json!(7)), ClaimMalformed(Sub)),
        ("CLM-16", without(c(), "client_id"), ClaimMissing(ClientId)),
        (
            "CLM-16",
            with(c(), "client_id", json!(["agent-1"])),
            ClaimMalformed(ClientId),
        ),
        ("CLM-21", without(c(), "jti"), ClaimMissing(Jti)),
        ("CLM-21", with(c(), "jti", json!("")), ClaimMalformed(Jti)),
        ("CLM-21", with(c(), "jti", json!(1)), ClaimMalformed(Jti)),
        (
            "RFC 8693 §4.2",
            with(c(), "scope", json!(["notes:read"])),
            ClaimMalformed(Scope),
        ),
        (
            "RFC 6749 §3.3",
            with(c(), "scope", json!("notes:\"read")),
            ClaimMalformed(Scope),
        ),
        (
            "RFC 9449 §7.1",
            with(c(), "cnf", json!({ "jkt": "A".repeat(43) })),
            Failed::SenderConstrained,
        ),
        (
            "RFC 8705 §3",
            with(c(), "cnf", json!({ "x5t#S256": "A".repeat(43) })),
            Failed::CertificateMissing,
        ),
        (
            "RFC 7800 §3.1",
            with(c(), "cnf", json!(null)),
            ClaimMalformed(Cnf),
        ),
        // A proof does not make up for the certificate, nor what we know for what we do not.
        (
            "RFC 8705 §3",
            with(
                c(),
                "cnf",
                json!({ "x5t#S256": "A".repeat(43), "jkt": "A".repeat(43) }),
            ),
            Failed::CertificateMissing,
        ),
        (
            "RFC 7800 §3.1",
            with(c(), "cnf", json!({ "jkt": "A".repeat(43), "kid": "k" })),
            Failed::ConfirmationUnknown,
        ),
        (
            "RFC 7800 §3.1",
            with(c(), "cnf", json!({ "jwk": {} })),
            Failed::ConfirmationUnknown,
        ),
    ];
    for wrong in [
        json!({}),
        json!([]),
        json!("jkt"),
        json!({ "jkt": null }),
        json!({ "jkt": "A".repeat(42) }),
        json!({ "jkt": "A".repeat(44) }),
        json!({ "jkt": format!("{}=", "A".repeat(43)) }),
        json!({ "jkt": format!("{}B", "A".repeat(42)) }),
        json!({ "jkt": "ab".repeat(32) }),
        json!({ "jkt": ["A".repeat(43)] }),
        json!({ "x5t#S256": "AAAA" }),
    ] {
        rows.push(("DPOP-30", with(c(), "cnf", wrong), ClaimMalformed(Cnf)));
    }
    for wrong in [
        json!("9999999999"),
        json!("never"),
        json!(true),
        json!([1]),
        json!({}),
        json!(null),
        json!(-1),
        json!(1e300),
    ] {
        rows.push(("CLM-03", with(c(), "exp", wrong), ClaimMalformed(Exp)));
    }
    for near in ["/", "?x", "2", "/x"] {
        rows.push((
            "CLM-13",
            with(c(), "aud", json!(format!("{RESOURCE}{near}"))),
            Failed::OtherAudience,
        ));
    }
    for near in [
        "https://gw.example.test",
        "HTTPS://GW.example.test/mcp",
        "https://gw.example.test:443/mcp",
        "https://gw.example.test/mc",
    ] {
        rows.push(("CLM-13", with(c(), "aud", json!(near)), Failed::OtherAudience));
    }
    for (row, claims, failed) in rows {
        let token = forge.token(Es256, &header(Es256), &claims);
        assert_eq!(forge.verdict(&token).unwrap_err(), failed, "{row}: {claims}");
    }
}

#[test]
fn times_at_the_edge_and_one_past_it() {
    let forge = Forge::new();
    let token = |claims: Value| forge.token(Es256, &header(Es256), &claims);
    let good = token(claims());
    let expires = NOW + 300;
    assert!(forge.verdict_at(&good, expires + SKEW - 1).is_ok());
    assert_eq!(
        forge.verdict_at(&good, expires + SKEW).unwrap_err(),
        Failed::Expired
    );
    assert!(forge.verdict_at(&good, NOW - SKEW).is_ok());
    assert_eq!(
        forge.verdict_at(&good, NOW - SKEW - 1).unwrap_err(),
        Failed::NotYetValid
    );
    let no_nbf = token(without(claims(), "nbf"));
    assert!(forge.verdict_at(&no_nbf, NOW - SKEW).is_ok());
    assert_eq!(
        forge.verdict_at(&no_nbf, NOW - SKEW - 1).unwrap_err(),
        Failed::IssuedInFuture
    );
    assert!(
        forge
            .verdict(&token(with(claims(), "exp", json!(NOW + MAX_LIFETIME))))
            .is_ok()
    );
    assert_eq!(
        forge
            .verdict(&token(with(claims(), "exp", json!(NOW + MAX_LIFETIME + 1))))
            .unwrap_err(),
        Failed::Lifetime
    );
}

#[test]
fn encodings_that_are_refused() {
    let forge = Forge::new();
    let (h, p) = (header(Es256).to_string(), claims().to_string());
    let good = forge.raw(Es256, &h, &p);
    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let twice = |name: &str| format!("{},\"{name}\":1}}", p.strip_suffix('}').unwrap());
    let rows: Vec<(&str, String, Failed)> = vec![
        ("ENC-01", format!("{good}="), Failed::Signature),
        ("ENC-01", format!("{good}=="), Failed::Signature),
        (
            "ENC-02",
            format!("{head}.{body}+.{signature}"),
            Failed::NotCompact,
        ),
        (
            "ENC-02",
            format!("{head}.{body}/.{signature}"),
            Failed::NotCompact,
        ),
        ("ENC-05", format!("{good}.x"), Failed::NotCompact),
        ("ENC-05", format!("{good}."), Failed::NotCompact),
        ("ENC-05", ".".repeat(5000), Failed::NotCompact),
        (
            "JWE-02",
            format!("{head}.{body}.{body}.{body}.{signature}"),
            Failed::NotCompact,
        ),
        ("JWS-35", format!("{head}.{body}"), Failed::NotCompact),
        ("JWS-35", format!("{head}.{body}."), Failed::NotCompact),
        ("JWS-35", format!("{head}..{signature}"), Failed::NotCompact),
        ("JWS-35", format!(".{body}.{signature}"), Failed::NotCompact),
        (
            "JWS-38",
            encode(format!(
                r#"{{"protected":"{head}","payload":"{body}","signature":"{signature}"}}"#
            )),
            Failed::NotCompact,
        ),
        (
            "ENC-06",
            forge.raw(
                Es256,
                r#"{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"es"}"#,
                &p,
            ),
            Failed::Header,
        ),
        (
            "ENC-06",
            forge.raw(
                Es256,
                r#"{"alg":"ES256","alg":"none","typ":"at+jwt","kid":"es"}"#,
                &p,
            ),
            Failed::Header,
        ),
        (
            "ENC-06",
            forge.raw(
                Es256,
                r#"{"alg":"ES256","typ":"at+jwt","kid":"es","x":1,"x":1}"#,
                &p,
            ),
            Failed::Header,
        ),
        (
            "ENC-06",
            forge.raw(
                Es256,
                r#"{"alg":"ES256","typ":"at+jwt","kid":"es","\u0061lg":"ES256"}"#,
                &p,
            ),
            Failed::Header,
        ),
        ("ENC-06", forge.raw(Es256, &h, twice("iss")), Failed::Payload),
        ("ENC-06", forge.raw(Es256, &h, twice("scope")), Failed::Payload),
        (
            "ENC-06",
            forge.raw(Es256, &h, twice("x\":1,\"x")),
            Failed::Payload,
        ),
        (
            "ENC-06",
            forge.raw(Es256, &h, twice("x\":{\"y\":1,\"y\":2},\"z")),
            Failed::Payload,
        ),
        (
            "ENC-09",
            forge.raw(Es256, &h, b"{\"iss\":\"\xff\"}"),
            Failed::Payload,
        ),
        (
            "ENC-09",
            forge.raw(Es256, &h, r#"{"iss":"\ud800"}"#),
            Failed::Payload,
        ),
        (
            "ENC-09",
            forge.raw(Es256, &h, format!("\u{feff}{p}")),
            Failed::Payload,
        ),
        (
            "ENC-10",
            forge.raw(
                Es256,
                h.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
                &p,
            ),
            Failed::Header,
        ),
        (
            "ENC-10",
            forge.raw(Es256, format!("\u{feff}{h}"), &p),
            Failed::Header,
        ),
        (
            "ENC-12",
            forge.raw(Es256, &h, format!("/**/{p}")),
            Failed::Payload,
        ),
        (
            "ENC-12",
            forge.raw(Es256, &h, p.replace('"', "'")),
            Failed::Payload,
        ),
        (
            "ENC-12",
            forge.raw(Es256, &h, p.replace(&(NOW + 300).to_string(), "NaN")),
            Failed::Payload,
        ),
        ("ENC-13", forge.raw(Es256, &h, deep(2500)), Failed::Payload),
        (
            "ENC-13",
            forge.raw(Es256, &h, twice(&format!("x\":{},\"y", deep(64)))),
            Failed::Payload,
        ),
        (
            "ENC-13",
            forge.raw(Es256, format!("{{\"x\":{}}}", deep(300)), &p),
            Failed::Header,
        ),
        (
            "ENC-14",
            forge.raw(Es256, format!("{}{h}", " ".repeat(1024)), &p),
            Failed::Header,
        ),
        (
            "ENC-16",
            forge.raw(Es256, &h, p.replace(&(NOW + 300).to_string(), &"9".repeat(2000))),
            Failed::Payload,
        ),
        ("ENC-17", forge.raw(Es256, &h, "[]"), Failed::Payload),
        ("ENC-17", forge.raw(Es256, &h, "\"x\""), Failed::Payload),
        ("ENC-17", forge.raw(Es256, &h, "1"), Failed::Payload),
        ("ENC-17", forge.raw(Es256, &h, "null"), Failed::Payload),
        ("ENC-18", forge.raw(Es256, &h, "signed text"), Failed::Payload),
        ("ENC-18", forge.raw(Es256, &h, format!("{p}{p}")), Failed::Payload),
        (
            "ENC-19",
            forge.raw(Es256, &h, p.replace("as.example.test", "\u{430}s.example.test")),
            Failed::OtherIssuer,
        ),
    ];
    for (row, token, failed) in rows {
        assert_eq!(forge.verdict(&token).unwrap_err(), failed, "{row}: {token}");
    }
    assert!(forge.verdict(&good).is_ok());
    // a header of exactly the limit, and one byte more
    let padded = |length: usize| format!("{}{h}", " ".repeat(length - h.len()));
    assert!(
        forge
            .verdict(&forge.raw(Es256, padded(crate::jose::jws::HEADER_BYTES), &p))
            .is_ok()
    );
    let over = forge.raw(Es256, padded(crate::jose::jws::HEADER_BYTES + 1), &p);
    assert_eq!(forge.verdict(&over).unwrap_err(), Failed::Header);
}

#[test]
fn signatures_that_are_refused() {
    let forge = Forge::new();
    let input = |algorithm: SignatureAlgorithm, claims: &Value| {
        format!(
            "{}.{}",
            encode(header(algorithm).to_string()),
            encode(claims.to_string())
        )
    };
    let es = input(Es256, &claims());
    let good = forge.signature(Es256, es.as_bytes());
    let group_order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let one = {
        let mut one = [0; 32];
        one[31] = 1;
        one
    };
    let der = {
        let pkcs8 = forge.signer(Es256).dangerous_to_pkcs8().unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).unwrap();
        pair.sign_digest(&digest::digest(&digest::SHA256, es.as_bytes()))
            .unwrap()
            .as_ref()
            .to_vec()
    };
    let of_sha1 = {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, es.as_bytes());
        let mut padded = [0; 32];
        padded[..20].copy_from_slice(digest.as_ref());
        forge.signature(Es256, &padded)
    };
    let mut rows: Vec<(&str, Vec<u8>)> = vec![
        ("JWS-25", vec![0; 64]),
        ("JWS-25", [[0; 32], one].concat()),
        ("JWS-25", [one, [0; 32]].concat()),
        ("JWS-25", [group_order, one].concat()),
        ("JWS-25", [one, group_order].concat()),
        ("JWS-25", [group_order, group_order].concat()),
        ("JWS-25", vec![0xff; 64]),
        ("JWS-26", der),
        ("JWS-27", good[..63].to_vec()),
        ("JWS-27", [good.as_slice(), &[0]].concat()),
        ("JWS-27", [&[0], good.as_slice()].concat()),
        ("JWS-27", good.repeat(2)),
        ("JWS-33", of_sha1),
        (
            "JWS-36",
            forge.signature(
                Es256,
                input(Es256, &with(claims(), "sub", json!("bob"))).as_bytes(),
            ),
        ),
        ("JWS-29", Forge::new().signature(Es256, es.as_bytes())),
        ("limit", vec![1; crate::jose::jws::SIGNATURE_BYTES + 1]),
    ];
    rows.push(("JWS-27", vec![0]));
    for (row, signature) in rows {
        let token = format!("{es}.{}", encode(signature));
        assert_eq!(
            forge.verdict(&token).unwrap_err(),
            Failed::Signature,
            "{row}: {token}"
        );
    }
    assert!(forge.verdict(&format!("{es}.{}", encode(&good))).is_ok());

    // JWS-37: each claim changed after signing
    for (name, value) in [
        ("scope", json!("notes:irreversible")),
        ("aud", json!("https://x.example")),
        ("sub", json!("root")),
    ] {
        let changed = format!("{}.{}", input(Es256, &with(claims(), name, value)), encode(&good));
        assert_eq!(
            forge.verdict(&changed).unwrap_err(),
            Failed::Signature,
            "JWS-37 {name}"
        );
    }

    // JWS-32: PSS where PKCS#1 v1.5 is named
    let rs = input(Rs256, &claims());
    let pss = forge.signature(Ps256, rs.as_bytes());
    assert_eq!(
        forge.verdict(&format!("{rs}.{}", encode(pss))).unwrap_err(),
        Failed::Signature
    );

    // JWS-34: the same signature with S + L
    let ed = input(EdDsa, &claims());
    let mut scalar = forge.signature(EdDsa, ed.as_bytes());
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (digit, add) in scalar[32..].iter_mut().zip(order) {
        let sum = u16::from(*digit) + u16::from(add) + carry;
        *digit = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(
        forge.verdict(&format!("{ed}.{}", encode(scalar))).unwrap_err(),
        Failed::Signature
    );
}

#[test]
fn hmac_with_the_public_key_as_the_secret_is_refused() {
    // JWS-06: whatever spelling of the public key the forger takes as the secret
    let forge = Forge::new();
    let point = forge.signer(Es256).public().uncompressed().unwrap();
    for secret in [point.clone(), encode(&point).into_bytes(), Vec::new()] {
        let input = format!(
            "{}.{}",
            encode(r#"{"alg":"HS256","typ":"at+jwt","kid":"es"}"#),
            encode(claims().to_string())
        );
        let tag = aws_lc_rs::hmac::sign(
            &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret),
            input.as_bytes(),
        );
        assert_eq!(
            forge.verdict(&format!("{input}.{}", encode(tag))).unwrap_err(),
            Failed::AlgorithmUnsupported
        );
    }
}

#[test]
fn an_algorithm_that_configuration_does_not_accept_is_refused() {
    let forge = Forge::new();
    let trust = IssuerTrust {
        algorithms: BTreeSet::from([Rs256]),
        ..trust()
    };
    let token = |algorithm| forge.token(algorithm, &header(algorithm), &claims());
    assert!(judge(&token(Rs256), &trust, &forge.keys, NOW).is_ok());
    assert_eq!(
        judge(&token(Es256), &trust, &forge.keys, NOW).unwrap_err(),
        Failed::AlgorithmNotAllowed
    );
    assert_eq!(
        judge(&token(EdDsa), &trust, &forge.keys, NOW).unwrap_err(),
        Failed::AlgorithmNotAllowed
    );
}

#[test]
fn the_signature_is_checked_before_anything_the_payload_says() {
    let forge = Forge::new();
    let stranger = Forge::new();
    for claims in [
        with(claims(), "exp", json!(1)),
        with(claims(), "aud", json!("https://x.example")),
        without(claims(), "sub"),
    ] {
        let token = stranger.token(Es256, &header(Es256), &claims);
        assert_eq!(forge.verdict(&token).unwrap_err(), Failed::Signature, "{claims}");
    }
}

#[test]
fn codes_are_slugs_and_say_nothing_of_the_token() {
    let token = bearer("hunter2.hunter2.hunter2");
    let error = Candidate::parse(&token).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let forge = Forge::new();
    let good = bearer(&forge.token(Es256, &header(Es256), &claims()));
    let shown = format!("{:?}", Candidate::parse(&good).unwrap());
    assert!(
        !shown.contains(good.reveal().rsplit_once('.').unwrap().1),
        "{shown}"
    );
}
