//! Section A: JWS and JWT, signature and header.

use portcullis_testkit::{Outcome, Site};
use serde_json::{Value, json};

use super::expect::{HOME, HOST, OTHER_RESOURCE, RESOURCE, expired, ir_malformed, it};
use super::forge::{Key, compact, hs256, text, with, without};
use super::range::{Issuer, Range};
use super::values;

/// The keys of the home issuer, beside `es`.
pub(super) struct Keys {
    pub(super) rs: Key,
    pub(super) bare: Key,
    pub(super) ed: Key,
    pub(super) p384: Key,
}

impl Keys {
    fn new() -> Outcome<Self> {
        Ok(Self {
            rs: Key::rsa()?,
            bare: Key::rsa()?,
            ed: Key::ed25519()?,
            p384: Key::p384()?,
        })
    }

    /// Published by the issuer, with some that are not what they say, or should never be taken.
    fn published(&self, es: &Key) -> Value {
        let with_kid = |jwk: Value, kid: &str| with(jwk, &[("kid", json!(kid))]);
        let p256_for_p384 = with(
            self.p384.jwk(),
            &[("kid", json!("es-384")), ("alg", json!("ES256"))],
        );
        let secp256k1 = with(es.jwk(), &[("kid", json!("k1")), ("crv", json!("secp256k1"))]);
        let ed448 = with(self.ed.jwk(), &[("kid", json!("ed448")), ("crv", json!("Ed448"))]);
        // The neutral element: with it a signature of zeros holds over anything, if nobody looks.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let small =
            json!({"kty": "OKP", "crv": "Ed25519", "x": text(neutral), "kid": "small", "alg": "EdDSA"});
        json!([
            es.published("es", "ES256"),
            self.rs.published("rs", "RS256"),
            with_kid(self.bare.jwk(), "bare"),
            self.ed.published("ed", "EdDSA"),
            p256_for_p384,
            secp256k1,
            ed448,
            small,
        ])
    }
}

pub(super) fn claims() -> String {
    Range::claims().to_string()
}

pub(super) fn named(algorithm: &str, kid: &str) -> String {
    json!({"alg": algorithm, "typ": "at+jwt", "kid": kid}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_and_headers() -> Outcome {
    let (home, keys) = (Key::p256()?, Keys::new()?);
    // Where a token may say its key is, or wherever it may be told to look.
    let canary = Site::mcp().await?;
    let published = Issuer::of("home", &keys.published(&home));
    let twins = [Key::p256()?, Key::p256()?];
    let [one, other] = &twins;
    let issuers = vec![
        Issuer::of(
            "twins",
            &json!([one.published("one", "ES256"), other.published("other", "ES256")]),
        ),
        Issuer::of(
            "double",
            &json!([
                one.published("same", "ES256"),
                keys.rs.published("same", "RS256"),
                other.published("fine", "ES256")
            ]),
        ),
        Issuer::of("brief", &json!([one.published("es", "ES256")])).and("clock_skew = \"1s\""),
        Issuer::with_text("rsa", &values::fixture()["jwks"].to_string()),
    ];
    let mut range = Range::with_home("A", home, published, issuers, "").await?;
    algorithms(&mut range, &keys).await?;
    keys_of_its_own(&mut range, canary.origin()).await?;
    names_of_keys(&mut range, &keys, &twins).await?;
    values::shown(&mut range, &keys).await?;
    parts(&mut range).await?;
    other_tokens(&mut range).await?;
    remembered(&mut range, one).await?;
    assert_eq!(canary.count(), 0, "somebody looked where a token said");
    range.finish().await
}

async fn algorithms(range: &mut Range, keys: &Keys) -> Outcome {
    range.row("JWS-03").await?;
    for none in ["none", "None", "NONE", "nOnE"] {
        let token = range.with_header(&[("alg", json!(none))]);
        range
            .refuses_token(none, &token, it("token.algorithm-unsupported"))
            .await?;
    }

    range.row("JWS-04").await?;
    for unknown in ["FOO256", "", "RS256\0", "ES256\0", "es256", "ES256 ", "HS256"] {
        let token = range.with_header(&[("alg", json!(unknown))]);
        range
            .refuses_token(unknown, &token, it("token.algorithm-unsupported"))
            .await?;
    }

    range.row("JWS-05").await?;
    let without_one = range
        .home
        .token(without(Range::header(), "alg").to_string(), claims());
    range
        .refuses_token("no `alg`", &without_one, it("token.algorithm-unsupported"))
        .await?;
    for wrong in [
        json!(null),
        json!(256),
        json!(["ES256"]),
        json!({"x": 1}),
        json!(true),
    ] {
        let token = range.with_header(&[("alg", wrong.clone())]);
        range
            .refuses_token(&wrong.to_string(), &token, it("token.header"))
            .await?;
    }

    range.row("JWS-06").await?;
    for (kid, key) in [("es", range.home.jwk()), ("rs", keys.rs.jwk())] {
        let secrets = if kid == "es" {
            range.home.as_secrets(&key)
        } else {
            keys.rs.as_secrets(&key)
        };
        for (number, secret) in secrets.iter().enumerate() {
            let token = compact(named("HS256", kid), claims(), |input| hs256(secret, input));
            let what = format!("the public key `{kid}` as a secret, spelling {number}");
            range
                .refuses_token(&what, &token, it("token.algorithm-unsupported"))
                .await?;
        }
    }

    range.row("JWS-08").await?;
    let confused = [
        ("RS512", keys.bare.rs512(b""), "token.key-unknown"),
        ("ES256", Vec::new(), "token.key-unknown"),
        ("PS256", Vec::new(), "token.key-unknown"),
    ];
    for (algorithm, _, reason) in confused {
        let token = match algorithm {
            "RS512" => compact(named(algorithm, "bare"), claims(), |input| keys.bare.rs512(input)),
            "ES256" => range.home.token(named(algorithm, "bare"), claims()),
            _ => keys.bare.token(named(algorithm, "bare"), claims()),
        };
        // Which algorithms are accepted of an issuer is said in the configuration; RS512 is not among them.
        let reason = if algorithm == "RS512" {
            "token.algorithm-not-allowed"
        } else {
            reason
        };
        range.refuses_token(algorithm, &token, it(reason)).await?;
    }
    let hmac = compact(named("HS256", "bare"), claims(), |input| hs256(b"", input));
    range
        .refuses_token("HS256", &hmac, it("token.algorithm-unsupported"))
        .await?;
    let right = keys.bare.token(named("RS256", "bare"), claims());
    range
        .passes("RS256, which a key without `alg` is for", range.call(&right))
        .await?;

    range.row("JWS-10").await?;
    for secret in [
        "",
        "secret",
        "your-256-bit-secret",
        "changeme",
        "00000000000000000000000000000000",
    ] {
        for kid in ["es", "rs", "none"] {
            let token = compact(named("HS256", kid), claims(), |input| {
                hs256(secret.as_bytes(), input)
            });
            range
                .refuses_token(secret, &token, it("token.algorithm-unsupported"))
                .await?;
        }
    }
    Ok(())
}

async fn keys_of_its_own(range: &mut Range, canary: &str) -> Outcome {
    let attacker = Key::p256()?;

    range.row("JWS-11").await?;
    for kid in [json!("es"), json!("mine")] {
        let header = with(Range::header(), &[("jwk", attacker.jwk()), ("kid", kid)]).to_string();
        range
            .refuses_token(
                "a key of its own",
                &attacker.token(header, claims()),
                it("token.header-refused"),
            )
            .await?;
    }
    let own = range.with_header(&[("jwk", range.home.jwk())]);
    range
        .refuses_token("the issuer's own key", &own, it("token.header-refused"))
        .await?;

    range.row("JWS-12").await?;
    for key in [&attacker, &Key::p256()?] {
        let header = with(Range::header(), &[("jku", json!(format!("{canary}/jwks")))]).to_string();
        range
            .refuses_token("jku", &key.token(header, claims()), it("token.header-refused"))
            .await?;
    }

    range.row("JWS-13").await?;
    let evil = canary.trim_start_matches("http://");
    for jku in [
        format!("{HOME}@{evil}/"),
        format!("{HOME}.{evil}/"),
        format!("{HOME}/jwks#@{evil}"),
        format!("{HOME}\\@{evil}"),
        format!("{HOME}/redirect?to=http://{evil}/"),
        format!("//{evil}"),
        format!("{HOME}/../../{evil}"),
        format!("{HOME}/jwks"),
        String::new(),
    ] {
        let header = with(Range::header(), &[("jku", json!(jku))]).to_string();
        range
            .refuses_token(
                &jku,
                &attacker.token(header, claims()),
                it("token.header-refused"),
            )
            .await?;
    }

    range.row("JWS-14").await?;
    for (name, value) in [
        ("x5u", json!(format!("{canary}/x5u.pem"))),
        ("x5u", json!("file:///etc/passwd")),
        ("x5u", json!(format!("gopher://{evil}/_GET"))),
        ("x5u", json!("http://169.254.169.254/latest/meta-data/")),
        ("x5c", json!(["MIIBAAAA"])),
    ] {
        let header = with(Range::header(), &[(name, value.clone())]).to_string();
        range
            .refuses_token(
                &value.to_string(),
                &attacker.token(header, claims()),
                it("token.header-refused"),
            )
            .await?;
    }

    range.row("JWS-16").await?;
    for name in ["x5t", "x5t#S256"] {
        // Which key it is, the issuer's set and `kid` say: this is ignored, and opens nothing.
        let wrong = json!(text([7; 32]));
        let good = range.with_header(&[(name, wrong.clone())]);
        range.passes(name, range.call(&good)).await?;
        let header = with(without(Range::header(), "kid"), &[(name, wrong)]).to_string();
        range
            .refuses_token(name, &attacker.token(header, claims()), it("token.signature"))
            .await?;
    }

    range.row("JWS-17").await?;
    for kid in [
        "../../../../dev/null",
        "..%2f..%2f..%2fdev%2fnull",
        "..\\..\\dev\\null",
        "/dev/null",
        "home.json",
        "./es",
        "es/",
        "es' OR '1'='1",
        "es\n",
    ] {
        let empty = compact(named("HS256", kid), claims(), |input| hs256(b"", input));
        let reason = if kid.contains('\n') {
            "token.header"
        } else {
            "token.algorithm-unsupported"
        };
        range.refuses_token(kid, &empty, it(reason)).await?;
        let signed = range.with_header(&[("kid", json!(kid))]);
        let reason = if kid.contains('\n') {
            "token.header"
        } else {
            "token.key-unknown"
        };
        range.refuses_token(kid, &signed, it(reason)).await?;
    }
    Ok(())
}

async fn names_of_keys(range: &mut Range, keys: &Keys, [one, other]: &[Key; 2]) -> Outcome {
    range.row("JWS-20").await?;
    let of = |issuer: &str| with(Range::claims(), &[("iss", json!(issuer))]).to_string();
    let bare = json!({"alg": "ES256", "typ": "at+jwt"}).to_string();
    for key in [one, other] {
        let token = key.token(&bare, of("https://twins.example"));
        range
            .refuses_token("two keys, and no name", &token, it("token.key-unknown"))
            .await?;
    }
    for (key, algorithm) in [(one, "ES256"), (&keys.rs, "RS256")] {
        let token = key.token(named(algorithm, "same"), of("https://double.example"));
        range
            .refuses_token("one name for two keys", &token, it("token.key-unknown"))
            .await?;
    }
    let crossed = one.token(named("ES256", "other"), of("https://twins.example"));
    range
        .refuses_token("the name of the other", &crossed, it("token.signature"))
        .await?;
    let of_another_type = range.with_header(&[("kid", json!("rs"))]);
    range
        .refuses_token("a key of another type", &of_another_type, it("token.key-unknown"))
        .await?;
    let right = other.token(named("ES256", "other"), of("https://twins.example"));
    range.passes("its own name", range.call(&right)).await?;

    range.row("JWS-21").await?;
    for kid in [
        json!(1),
        json!({}),
        json!(["es"]),
        json!(null),
        json!(""),
        json!(false),
    ] {
        let token = range.with_header(&[("kid", kid.clone())]);
        range
            .refuses_token(&kid.to_string(), &token, it("token.header"))
            .await?;
    }

    range.row("JWS-24").await?;
    for members in [
        vec![("b64", json!(false)), ("crit", json!(["b64"]))],
        vec![("b64", json!(false))],
        vec![("b64", json!(true)), ("crit", json!(["b64"]))],
        vec![("crit", json!(["exp"]))],
        vec![("crit", json!([]))],
    ] {
        let token = range.with_header(&members);
        range
            .refuses_token(&format!("{members:?}"), &token, it("token.header-refused"))
            .await?;
    }
    // RFC 7797 §5.2: the payload as it is. It has dots and quotes, so it is no token68.
    let header = text(
        with(
            Range::header(),
            &[("b64", json!(false)), ("crit", json!(["b64"]))],
        )
        .to_string(),
    );
    let input = format!("{header}.{}", claims());
    let token = format!("{input}.{}", text(range.home.sign(input.as_bytes())));
    range
        .refuses_token("a payload in clear", &token, ir_malformed())
        .await
}

async fn parts(range: &mut Range) -> Outcome {
    let good = range.good();
    let split: Vec<String> = good.split('.').map(str::to_owned).collect();
    let [header, payload, signature] = split.as_slice() else {
        return Ok(());
    };

    range.row("JWS-35").await?;
    for token in [
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.."),
        "..".to_owned(),
    ] {
        range
            .refuses_token("a part is missing", &token, it("token.not-compact"))
            .await?;
    }
    // White space at the end is none of the value's (RFC 9110 §5.5), and what is left has no signature.
    range
        .refuses_token(
            "a space for a signature",
            &format!("{header}.{payload}. "),
            it("token.not-compact"),
        )
        .await?;

    range.row("JWS-36").await?;
    let of_another = range.with_claims(&[("sub", json!("bob"))]);
    let theirs = of_another.rsplit('.').next().unwrap_or_default();
    range
        .refuses_token(
            "the signature of another",
            &format!("{header}.{payload}.{theirs}"),
            it("token.signature"),
        )
        .await?;

    range.row("JWS-37").await?;
    for (name, value) in [
        ("scope", json!("crm:irreversible")),
        ("aud", json!("https://other.example")),
        ("sub", json!("root")),
        ("exp", json!(9_999_999_999_u64)),
    ] {
        let changed = text(with(Range::claims(), &[(name, value)]).to_string());
        range
            .refuses_token(
                name,
                &format!("{header}.{changed}.{signature}"),
                it("token.signature"),
            )
            .await?;
    }

    let flattened = json!({"protected": header, "payload": payload, "signature": signature});
    range.row("JWS-38").await?;
    range
        .refuses_token(
            "base64url of JSON",
            &text(flattened.to_string()),
            it("token.not-compact"),
        )
        .await?;
    range
        .refuses_token("JSON", &flattened.to_string(), ir_malformed())
        .await?;
    // python-jwt took the claims from one form and the signature from the other.
    let both = format!(
        "{{\"{header}.{}.\":\"\",\"payload\":\"{payload}\"}}",
        text(claims())
    );
    range
        .refuses_token("JSON around a compact JWS", &both, ir_malformed())
        .await?;
    range
        .refuses_token("the same, encoded", &text(both), it("token.not-compact"))
        .await?;

    range.row("JWS-39").await?;
    let bad = json!({"protected": header, "signature": text([1; 64])});
    let right = json!({"protected": header, "signature": signature});
    for signatures in [json!([bad, right]), json!([right, bad])] {
        let general = json!({"payload": payload, "signatures": signatures}).to_string();
        range.refuses_token("JSON", &general, ir_malformed()).await?;
        range
            .refuses_token("base64url of JSON", &text(general), it("token.not-compact"))
            .await?;
    }

    range.row("JWS-40").await?;
    for unprotected in [json!({"alg": "none"}), json!({"kid": "rs"})] {
        let token = with(flattened.clone(), &[("header", unprotected)]).to_string();
        range.refuses_token("JSON", &token, ir_malformed()).await?;
        range
            .refuses_token("base64url of JSON", &text(token), it("token.not-compact"))
            .await?;
    }
    Ok(())
}

async fn other_tokens(range: &mut Range) -> Outcome {
    range.row("JWS-43").await?;
    let absent = range
        .home
        .token(without(Range::header(), "typ").to_string(), claims());
    range.refuses_token("no `typ`", &absent, it("token.type")).await?;
    for typ in [
        "JWT",
        "id_token",
        "jwt",
        "at+jwt ",
        "application/application/at+jwt",
        "at-jwt",
        "",
    ] {
        let token = range.with_header(&[("typ", json!(typ))]);
        range.refuses_token(typ, &token, it("token.type")).await?;
    }
    for typ in ["AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        let token = range.with_header(&[("typ", json!(typ))]);
        range.passes(typ, range.call(&token)).await?;
    }

    // What it is for an authorization server is for that; here it is the other way round.
    range.row("JWS-45").await?;
    for typ in [
        "dpop+jwt",
        "oauth-id-jag+jwt",
        "client-authentication+jwt",
        "oauth-authz-req+jwt",
        "logout+jwt",
    ] {
        let token = range.with_header(&[("typ", json!(typ))]);
        range.refuses_token(typ, &token, it("token.type")).await?;
    }
    let agent = portcullis_testkit::proofs::Key::generate()?;
    let proof = agent.proof(RESOURCE, &range.good(), &json!({}))?;
    range
        .refuses_token("a proof", &proof, it("token.header-refused"))
        .await
}

async fn remembered(range: &mut Range, brief: &Key) -> Outcome {
    let good = range.good();
    let (input, signature) = good.rsplit_once('.').unwrap_or_default();

    range.row("JWS-46").await?;
    range.passes("the first", range.call(&good)).await?;
    let (header, _) = input.split_once('.').unwrap_or_default();
    let other = text(with(Range::claims(), &[("sub", json!("root"))]).to_string());
    for (what, token) in [
        (
            "the same header, another payload",
            format!("{header}.{other}.{signature}"),
        ),
        (
            "all but the last byte",
            format!("{input}.{}A", signature.get(..85).unwrap_or_default()),
        ),
        ("one byte more", format!("{good}A")),
    ] {
        let last = token.ends_with('A') && token.len() == good.len();
        // 64 bytes end in two bits that have to be zero: `A` has them so, and may by chance be the right letter.
        if last && token == good {
            continue;
        }
        range.refuses_token(what, &token, it("token.signature")).await?;
    }

    range.row("JWS-47").await?;
    let elsewhere = portcullis_testkit::mcp::call(&format!("{}/s/crm/mcp", range.origin), "find", &json!({}));
    let elsewhere = elsewhere.header("host", HOST).bearer(&good);
    let refused =
        it("token.audience").at("https://gw.example/.well-known/oauth-protected-resource/s/crm/mcp");
    for _ in 0..2 {
        range
            .refuses("at the other address", elsewhere.clone(), refused.clone())
            .await?;
        range.passes("at its own", range.call(&good)).await?;
    }
    let theirs = range.with_claims(&[("aud", json!(OTHER_RESOURCE))]);
    for _ in 0..2 {
        range
            .refuses_token("the other's here", &theirs, it("token.audience"))
            .await?;
        range
            .passes(
                "the other's there",
                elsewhere.clone().without("authorization").bearer(&theirs),
            )
            .await?;
    }

    range.row("JWS-48").await?;
    let until = portcullis_testkit::proofs::now() + 1;
    let claims = with(
        Range::claims(),
        &[("iss", json!("https://brief.example")), ("exp", json!(until))],
    );
    let token = brief.token(Range::header().to_string(), claims.to_string());
    range.passes("while it lasts", range.call(&token)).await?;
    // And the second by which clocks may differ.
    while portcullis_testkit::proofs::now() <= until {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    range
        .refuses_token("a token that was remembered, from `exp` on", &token, expired())
        .await
}
