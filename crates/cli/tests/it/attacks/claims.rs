//! Section B: claims and time.

use portcullis_testkit::Outcome;
use serde_json::{Value, json};

use super::expect::{HOME, HOST, RESOURCE, expired, is, it, it_of_peer};
use super::forge::{Key, with, without};
use super::range::{Issuer, Range};

/// A day, in seconds.
const DAY: u64 = 86_400;

fn now() -> u64 {
    portcullis_testkit::proofs::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_time() -> Outcome {
    let other = Key::p256()?;
    let issuers = vec![Issuer::of("other", &json!([other.published("es", "ES256")]))];
    let mut range = Range::start("B", issuers, "").await?;
    times(&mut range).await?;
    issuer(&mut range, &other).await?;
    audience(&mut range).await?;
    people(&mut range).await?;
    range.finish().await
}

/// Each of these values of one claim is refused in one way.
async fn malformed(range: &mut Range, name: &str, values: &[Value]) -> Outcome {
    for value in values {
        let token = range.with_claims(&[(name, value.clone())]);
        let what = format!("{name}: {value}");
        range
            .refuses_token(&what, &token, it_of_peer("token.claim-malformed"))
            .await?;
    }
    Ok(())
}

async fn missing(range: &mut Range, name: &str) -> Outcome {
    let claims = without(Range::claims(), name).to_string();
    let token = range.home.token(Range::header().to_string(), claims);
    range
        .refuses_token(&format!("no `{name}`"), &token, it_of_peer("token.claim-missing"))
        .await
}

async fn times(range: &mut Range) -> Outcome {
    // Clocks may differ by the 30 seconds that are usual.
    range.row("CLM-01").await?;
    for past in [31, 3600, DAY] {
        let token = range.with_claims(&[("iat", json!(now() - past - 300)), ("exp", json!(now() - past))]);
        range
            .refuses_token(&format!("{past} seconds ago"), &token, expired())
            .await?;
    }
    let just = range.with_claims(&[("iat", json!(now() - 300)), ("exp", json!(now() - 10))]);
    range
        .passes("within the accepted difference", range.call(&just))
        .await?;

    range.row("CLM-02").await?;
    missing(range, "exp").await?;

    range.row("CLM-03").await?;
    let wrong = [
        json!("9999999999"),
        json!("never"),
        json!(true),
        json!([1]),
        json!({}),
        json!(null),
        json!(-1),
        json!(1e300),
    ];
    malformed(range, "exp", &wrong).await?;

    range.row("CLM-05").await?;
    let later = range.with_claims(&[("nbf", json!(now() + 3600))]);
    range
        .refuses_token("later", &later, it("token.not-yet-valid"))
        .await?;
    malformed(
        range,
        "nbf",
        &[json!("99999999999"), json!("0"), json!(null), json!([0])],
    )
    .await?;

    range.row("CLM-06").await?;
    let future = range.with_claims(&[("iat", json!(now() + DAY)), ("exp", json!(now() + DAY + 300))]);
    range
        .refuses_token("issued tomorrow", &future, it_of_peer("token.issued-in-future"))
        .await?;
    let old = range.with_claims(&[("iat", json!(now() - DAY))]);
    range
        .refuses_token("issued yesterday", &old, it_of_peer("token.lifetime"))
        .await?;
    missing(range, "iat").await?;
    malformed(range, "iat", &[json!("1"), json!(null)]).await?;

    range.row("CLM-07").await?;
    for life in [3601, 10 * 365 * DAY] {
        let issued = now();
        let token = range.with_claims(&[("iat", json!(issued)), ("exp", json!(issued + life))]);
        range
            .refuses_token(&format!("{life} seconds"), &token, it_of_peer("token.lifetime"))
            .await?;
    }
    let issued = now();
    let backwards = range.with_claims(&[("iat", json!(issued + 20)), ("exp", json!(issued + 10))]);
    range
        .refuses_token("less than none", &backwards, it_of_peer("token.lifetime"))
        .await?;
    let longest = range.with_claims(&[("iat", json!(issued)), ("exp", json!(issued + 3600))]);
    range.passes("the longest", range.call(&longest)).await
}

async fn issuer(range: &mut Range, other: &Key) -> Outcome {
    range.row("CLM-08").await?;
    let theirs = [("iss", json!("https://other.example"))];
    let crossed = range.with_claims(&theirs);
    range
        .refuses_token(
            "the name of one, the key of another",
            &crossed,
            it("token.signature"),
        )
        .await?;
    let crossed = other.token(Range::header().to_string(), Range::claims().to_string());
    range
        .refuses_token("and the reverse", &crossed, it("token.signature"))
        .await?;
    let right = other.token(
        Range::header().to_string(),
        with(Range::claims(), &theirs).to_string(),
    );
    range
        .passes("the name and the key of the other", range.call(&right))
        .await?;

    range.row("CLM-09").await?;
    for near in [
        "https://home",
        "https://home.exampl",
        "https://home.example.evil",
        "https://home.example/",
        "https://home.example//",
        "HTTPS://home.example",
        "https://HOME.example",
        "https://home.example:443",
        "http://home.example",
        " https://home.example",
        "https://home.example\0",
        "https://home.example#",
        "",
    ] {
        let token = range.with_claims(&[("iss", json!(near))]);
        range
            .refuses_token(near, &token, it("token.issuer-unknown"))
            .await?;
    }

    range.row("CLM-10").await?;
    let wrong = [
        json!(["https://evil.example", HOME]),
        json!([HOME]),
        json!({"iss": HOME}),
        json!(null),
        json!(1),
    ];
    malformed(range, "iss", &wrong).await?;
    missing(range, "iss").await
}

async fn audience(range: &mut Range) -> Outcome {
    range.row("CLM-12").await?;
    missing(range, "aud").await?;
    malformed(
        range,
        "aud",
        &[
            json!([]),
            json!({}),
            json!(1),
            json!(null),
            json!([[RESOURCE]]),
            json!(true),
        ],
    )
    .await?;
    for empty in [json!(""), json!([""])] {
        let token = range.with_claims(&[("aud", empty.clone())]);
        range
            .refuses_token(&empty.to_string(), &token, it("token.audience"))
            .await?;
    }

    // The rule is that of identifiers: the same string.
    range.row("CLM-13").await?;
    for near in [
        "https://gw.example/mcp/",
        "https://gw.example",
        "https://gw.example/",
        "HTTPS://GW.EXAMPLE/mcp",
        "https://gw.example:443/mcp",
        "https://gw.example/mcp?x",
        "https://gw.example/mcp#x",
        "https://gw.example/mcp2",
        "https://gw.example/mc",
        "https://gw.example/MCP",
        "https://gw.example/%6dcp",
        "http://gw.example/mcp",
        "https://gw.example/s/crm/mcp",
        "gw.example/mcp",
    ] {
        for aud in [json!(near), json!([near])] {
            let token = range.with_claims(&[("aud", aud)]);
            range.refuses_token(near, &token, it("token.audience")).await?;
        }
    }
    let listed = range.with_claims(&[("aud", json!([RESOURCE]))]);
    range.passes("a list of one", range.call(&listed)).await?;

    range.row("CLM-14").await?;
    for many in [
        json!([RESOURCE, "https://other.example"]),
        json!(["https://other.example", RESOURCE]),
        json!([RESOURCE, RESOURCE]),
        json!([RESOURCE, HOME]),
    ] {
        let token = range.with_claims(&[("aud", many.clone())]);
        range
            .refuses_token(&many.to_string(), &token, it("token.audiences"))
            .await?;
    }
    Ok(())
}

async fn people(range: &mut Range) -> Outcome {
    range.row("CLM-16").await?;
    missing(range, "sub").await?;
    missing(range, "client_id").await?;
    malformed(range, "sub", &[json!(""), json!(7), json!(null), json!(["ada"])]).await?;
    malformed(range, "client_id", &[json!(""), json!(["agent"]), json!(null)]).await?;
    // RFC 9068 §5: with a subject that is a client's identifier nobody is a user.
    let itself = range.with_claims(&[("sub", json!("agent"))]);
    let answer = range.arrives("the client itself", range.call(&itself)).await?;
    let records = range.records()?;
    let record = records
        .get(answer.header("x-request-id"))
        .cloned()
        .unwrap_or_default();
    range.same("the user on record", record.get("user").cloned(), None);
    range.same(
        "the agent on record",
        crate::text(&record, "/agent"),
        "agent".to_owned(),
    );

    // Access tokens are not for one use; their proofs are (DPOP-13). What makes a token recognisable has to be there.
    range.row("CLM-21").await?;
    missing(range, "jti").await?;
    malformed(range, "jti", &[json!(""), json!(1), json!(null), json!(["t-1"])]).await?;

    range.row("CLM-22").await?;
    let more = json!({"scope": "crm:irreversible", "sub": "root", "iss": HOME});
    for name in [
        "__proto__",
        "constructor",
        "toString",
        "prototype",
        "hasOwnProperty",
    ] {
        let token = range.with_claims(&[(name, more.clone())]);
        range.passes(name, range.call(&token)).await?;
        let wipe = range.tool("wipe").bearer(&token);
        range.refuses(name, wipe, is("crm:irreversible")).await?;
    }
    // A header of that name says nothing either.
    let header = range.with_header(&[("__proto__", json!({"alg": "none", "kid": "other"}))]);
    range
        .passes("in the header", range.call(&header).header("x-host", HOST))
        .await
}
