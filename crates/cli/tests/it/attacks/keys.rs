//! Section D: keys, and where they come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_testkit::site::Page;
use portcullis_testkit::{Outcome, Request, Site};
use serde_json::{Value, json};

use super::expect::{HOST, it, unavailable};
use super::forge::{Key, compact, hs256, list, text, with};
use super::range::{Issuer, Range};
use super::values::fixture;

fn no_keys() -> super::expect::Expect {
    unavailable(503, "issuer.keys-unavailable", "peer")
}

/// A token of `https://{issuer}.example` by this key under this name.
fn token(key: &Key, issuer: &str, kid: &str) -> String {
    let claims = with(
        Range::claims(),
        &[("iss", json!(format!("https://{issuer}.example")))],
    );
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid});
    key.token(header.to_string(), claims.to_string())
}

/// Pages that issuers publish their keys on.
struct Pages {
    redirecting: Site,
    huge: Site,
    empty: Site,
    endless: Site,
    compressed: Site,
    flooded: Site,
}

impl Pages {
    async fn new(key: &Key, canary: &str) -> Outcome<Self> {
        let good = json!({"keys": [key.published("k", "ES256")]});
        let to = format!("{canary}/jwks");
        let redirecting = Site::start(move |asked| match asked.path.as_str() {
            "/internal" => Page::status(302).with("location", "http://169.254.169.254/latest/meta-data/"),
            _ => Page::status(302).with("location", to.clone()),
        });
        let large = with(good.clone(), &[("padding", json!("x".repeat(300 * 1024)))]);
        let endless = good.to_string();
        Ok(Self {
            redirecting: redirecting.await?,
            huge: Site::start(move |_| Page::json(&large)).await?,
            empty: Site::start(|_| Page::json(&json!({"keys": []}))).await?,
            endless: Site::start(move |_| Page::stream(endless.clone())).await?,
            compressed: Site::start(|_| gzip()).await?,
            flooded: Site::start(move |_| Page::json(&good)).await?,
        })
    }
}

/// Bytes that a decompressor would make something of (RFC 1952 §2.3.1).
fn gzip() -> Page {
    let bytes: &'static [u8] = &[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0,
    ];
    Page {
        body: bytes.into(),
        ..Page::status(200)
    }
    .with("content-encoding", "gzip")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_where_they_come_from() -> Outcome {
    let (key, other) = (Key::p256()?, Key::p256()?);
    let canary = Site::mcp().await?;
    let pages = Pages::new(&key, canary.origin()).await?;
    let mut issuers = files(&key, &other);
    for (name, site, path) in [
        ("away", &pages.redirecting, "jwks"),
        ("internal", &pages.redirecting, "internal"),
        ("huge", &pages.huge, "jwks"),
        ("empty", &pages.empty, "jwks"),
        ("endless", &pages.endless, "jwks"),
        ("compressed", &pages.compressed, "jwks"),
        ("flooded", &pages.flooded, "jwks"),
    ] {
        issuers.push(Issuer::at(name, &format!("{}/{path}", site.origin())));
    }
    let mut range = Range::start("D", issuers, "").await?;
    published(&mut range, &key, &other).await?;
    fetched(&mut range, &key, &pages).await?;
    assert_eq!(canary.count(), 0, "somebody followed a redirect");
    range.finish().await
}

/// Issuers with keys that are not what they should be, each beside one that is.
fn files(key: &Key, other: &Key) -> Vec<Issuer> {
    let named = |members: &[(&str, Value)]| with(key.published("k", "ES256"), members);
    let fine = other.published("fine", "ES256");
    let coordinate = |bytes: &[u8]| json!(text(bytes));
    let x = crate::text(&key.jwk(), "/x");
    let set = |wrong: Value| json!([wrong, fine]);
    vec![
        Issuer::of("off-curve", &set(named(&[("y", coordinate(&[1; 32]))]))),
        Issuer::of(
            "infinity",
            &set(named(&[("x", coordinate(&[0; 32])), ("y", coordinate(&[0; 32]))])),
        ),
        Issuer::of("too-large", &set(named(&[("x", coordinate(&[0xff; 32]))]))),
        Issuer::of("short", &set(named(&[("x", coordinate(&[1; 31]))]))),
        Issuer::of("long", &set(named(&[("x", coordinate(&[0; 33]))]))),
        Issuer::of("swapped", &set(named(&[("y", json!(x))]))),
        Issuer::of("private", &set(named(&[("d", coordinate(&[1; 32]))]))),
        Issuer::of(
            "symmetric",
            &set(json!({"kty": "oct", "kid": "k", "alg": "HS256", "k": text([7; 32])})),
        ),
        Issuer::of("for-encryption", &set(named(&[("use", json!("enc"))]))),
        Issuer::of("operations", &set(named(&[("key_ops", json!(["encrypt"]))]))),
        Issuer::of(
            "contradiction",
            &set(named(&[
                ("use", json!("sig")),
                ("key_ops", json!(["verify", "encrypt"])),
            ])),
        ),
        Issuer::of("another-algorithm", &set(named(&[("alg", json!("ES384"))]))),
        Issuer::of("rs512", &set(named(&[("alg", json!("RS512"))]))),
        Issuer::of("one", &json!([key.published("k", "ES256")])),
        Issuer::of("two", &json!([other.published("k", "ES256")])),
        Issuer::of(
            "same",
            &json!([
                key.published("k", "ES256"),
                other.published("k", "ES256"),
                other.published("fine", "ES256")
            ]),
        ),
        Issuer::with_text(
            "rsa",
            &fixture().get("jwks").cloned().unwrap_or_default().to_string(),
        ),
    ]
}

async fn left_out(range: &mut Range, key: &Key, other: &Key, issuers: &[&str]) -> Outcome {
    for issuer in issuers {
        range
            .refuses_token(issuer, &token(key, issuer, "k"), it("token.key-unknown"))
            .await?;
        // One bad key does not spoil the rest.
        range
            .passes(issuer, range.call(&token(other, issuer, "fine")))
            .await?;
    }
    Ok(())
}

async fn published(range: &mut Range, key: &Key, other: &Key) -> Outcome {
    range.row("JWK-01").await?;
    left_out(range, key, other, &["off-curve", "swapped"]).await?;
    range.row("JWK-02").await?;
    left_out(range, key, other, &["infinity", "too-large", "short", "long"]).await?;

    range.row("JWK-03").await?;
    for (key, kid) in [(key, "k"), (other, "fine")] {
        range
            .refuses_token("a set with a private key", &token(key, "private", kid), no_keys())
            .await?;
    }
    let own = Request::get(format!("{}/.well-known/jwks.json", range.origin)).header("host", HOST);
    let own = own.send().await?.json()?;
    let own = list(&own, "/keys");
    range.same("our own keys", own.len() >= 2, true);
    for key in &own {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k", "priv", "oth"] {
            range.same(private, key.get(private), None);
        }
    }

    range.row("JWK-04").await?;
    left_out(range, key, other, &["symmetric"]).await?;
    let claims = with(Range::claims(), &[("iss", json!("https://symmetric.example"))]).to_string();
    let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": "k"}).to_string();
    let hmac = compact(header, claims, |input| hs256(&[7; 32], input));
    range
        .refuses_token(
            "with the secret that is there",
            &hmac,
            it("token.algorithm-unsupported"),
        )
        .await?;

    range.row("JWK-05").await?;
    left_out(
        range,
        key,
        other,
        &["for-encryption", "operations", "contradiction"],
    )
    .await?;
    range.row("JWK-06").await?;
    left_out(range, key, other, &["another-algorithm", "rs512"]).await?;

    range.row("JWK-08").await?;
    range.passes("one", range.call(&token(key, "one", "k"))).await?;
    range.passes("two", range.call(&token(other, "two", "k"))).await?;
    range
        .refuses_token("the key of one", &token(key, "two", "k"), it("token.signature"))
        .await?;
    range
        .refuses_token("the key of two", &token(other, "one", "k"), it("token.signature"))
        .await?;
    for key in [key, other] {
        range
            .refuses_token(
                "two of one name",
                &token(key, "same", "k"),
                it("token.key-unknown"),
            )
            .await?;
    }

    range.row("JWK-09").await?;
    let mut guessed = list(&fixture(), "/tokens");
    guessed.retain(|token| crate::text(token, "/row") == "JWK-09");
    range.same("keys", guessed.len(), 1);
    for token in guessed {
        range
            .refuses_token(
                "a guessable key",
                &crate::text(&token, "/token"),
                it("token.key-unknown"),
            )
            .await?;
    }
    Ok(())
}

async fn fetched(range: &mut Range, key: &Key, pages: &Pages) -> Outcome {
    range.row("JWK-10").await?;
    for issuer in ["away", "internal"] {
        range
            .refuses_token(issuer, &token(key, issuer, "k"), no_keys())
            .await?;
    }

    range.row("JWK-11").await?;
    for issuer in ["huge", "compressed"] {
        range
            .refuses_token(issuer, &token(key, issuer, "k"), no_keys())
            .await?;
    }
    // While one waits for keys that never end, nobody else does.
    let never = tokio::spawn(range.call(&token(key, "endless", "k")).send());
    let good = range.good();
    range.passes("meanwhile", range.call(&good)).await?;
    range.same("still waiting", never.is_finished(), false);
    let answer = never.await??;
    range.same(
        "in the end",
        (answer.status, answer.header("retry-after")),
        (503, "5"),
    );
    range.same("asked once", pages.endless.count(), 1);

    range.row("JWK-12").await?;
    range
        .passes("the first", range.call(&token(key, "flooded", "k")))
        .await?;
    for number in 0..300 {
        let kid = format!("unknown-{number}");
        range
            .refuses_token(&kid, &token(key, "flooded", &kid), it("token.key-unknown"))
            .await?;
    }
    range
        .passes("after it", range.call(&token(key, "flooded", "k")))
        .await?;
    // The cool-down is 30 seconds.
    range.same("fetches", pages.flooded.count(), 1);

    range.row("JWK-14").await?;
    let begun = Instant::now();
    for number in 0..100 {
        range
            .refuses_token(
                "an empty set",
                &token(key, "empty", &format!("{number}")),
                no_keys(),
            )
            .await?;
    }
    // Without a set there ever was, it is asked for once in a second.
    let most = usize::try_from(begun.elapsed().as_secs())
        .unwrap_or(usize::MAX)
        .saturating_add(2);
    range.holds(
        "fetches",
        if pages.empty.count() <= most {
            Ok(())
        } else {
            Err(format!("{} in place of {most}", pages.empty.count()))
        },
    );
    Ok(())
}

/// What changes at an issuer after its keys were fetched. Nothing is fetched twice in 30 seconds, and so long this takes.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_change() -> Outcome {
    let (before, after) = (Key::p256()?, Key::p256()?);
    let changed = Arc::new(AtomicBool::new(false));
    let set = |key: &Key| json!({"keys": [key.published("k", "ES256")]});
    let switching = |then: Page| {
        let (changed, first) = (Arc::clone(&changed), Page::json(&set(&before)));
        Site::start(move |_| {
            if changed.load(Ordering::SeqCst) {
                then.clone()
            } else {
                first.clone()
            }
        })
    };
    let html = Page {
        body: "<html>maintenance</html>".into(),
        ..Page::status(200)
    };
    let broken = [
        ("fails", switching(Page::status(500)).await?),
        ("empties", switching(Page::json(&json!({"keys": []}))).await?),
        ("says-html", switching(html).await?),
        (
            "is-huge",
            switching(Page::json(&with(
                set(&before),
                &[("x", json!("x".repeat(300 * 1024)))],
            )))
            .await?,
        ),
    ];
    let replaced = switching(Page::json(&set(&after))).await?;
    let mut issuers: Vec<_> = broken
        .iter()
        .map(|(name, site)| Issuer::at(name, &format!("{}/jwks", site.origin())))
        .collect();
    issuers.push(Issuer::at("replaces", &format!("{}/jwks", replaced.origin())));
    let mut range = Range::start("D, later", issuers, "").await?;

    range.row("JWK-13").await?;
    let names: Vec<_> = broken.iter().map(|(name, _)| *name).chain(["replaces"]).collect();
    for name in &names {
        range.passes(name, range.call(&token(&before, name, "k"))).await?;
    }
    changed.store(true, Ordering::SeqCst);
    for (name, site) in broken.iter().chain([&("replaces", replaced)]) {
        let begun = Instant::now();
        // What nobody knows makes it ask again, once it may.
        while site.count() < 2 {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{name} was never asked again"
            );
            range
                .refuses_token(name, &token(&before, name, "unknown"), it("token.key-unknown"))
                .await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    for (name, _) in &broken {
        range.passes(name, range.call(&token(&before, name, "k"))).await?;
        range
            .refuses_token(name, &token(&after, name, "k"), it("token.signature"))
            .await?;
    }

    range.row("JWK-18").await?;
    range
        .passes("the new key", range.call(&token(&after, "replaces", "k")))
        .await?;
    range
        .refuses_token(
            "the old key",
            &token(&before, "replaces", "k"),
            it("token.signature"),
        )
        .await?;
    range.finish().await
}
