//! Section C: encoding and JSON.

use portcullis_testkit::Outcome;
use serde_json::json;

use super::expect::{HOST, ir_malformed, is, it, it_of_peer, refused};
use super::forge::text;
use super::range::Range;

#[tokio::test(flavor = "multi_thread")]
async fn encodings_and_json() -> Outcome {
    let mut range = Range::start("C", Vec::new(), "").await?;
    base64(&mut range).await?;
    json_texts(&mut range).await?;
    sizes(&mut range).await?;
    lists(&mut range).await?;
    lookalikes(&mut range).await?;
    range.finish().await
}

fn header() -> String {
    Range::header().to_string()
}

fn claims() -> String {
    Range::claims().to_string()
}

async fn base64(range: &mut Range) -> Outcome {
    let good = range.good();
    let split: Vec<String> = good.split('.').map(str::to_owned).collect();
    let [head, body, signature] = split.as_slice() else {
        return Ok(());
    };

    range.row("ENC-01").await?;
    for padding in ["=", "=="] {
        range
            .refuses_token("at the end", &format!("{good}{padding}"), it("token.signature"))
            .await?;
        for token in [
            format!("{head}{padding}.{body}.{signature}"),
            format!("{head}.{body}{padding}.{signature}"),
        ] {
            // `=` may end a token68 and not stand in it.
            range
                .refuses_token("in the middle", &token, ir_malformed())
                .await?;
        }
    }

    range.row("ENC-02").await?;
    for letter in ['+', '/'] {
        for (what, token, reason) in [
            (
                "in the header",
                format!("{head}{letter}.{body}.{signature}"),
                "token.not-compact",
            ),
            (
                "in the payload",
                format!("{head}.{body}{letter}.{signature}"),
                "token.not-compact",
            ),
            (
                "in the signature",
                format!("{head}.{body}.{letter}{}", signature.get(1..).unwrap_or_default()),
                "token.signature",
            ),
        ] {
            range.refuses_token(what, &token, it(reason)).await?;
        }
    }

    range.row("ENC-04").await?;
    for white in [" ", "\t", "%0a", "%20", "\\n"] {
        let token = format!("{head}.{body}{white}.{signature}");
        range.refuses_token(white, &token, ir_malformed()).await?;
    }
    // A folded line is none of a header's (RFC 9112 §5.2).
    let folded = format!(
        "POST /mcp HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAuthorization: Bearer {head}.\r\n {body}.{signature}\r\nContent-Length: 0\r\n\r\n"
    );
    range.refuses_unread("folded", folded.as_bytes(), &[400]).await?;

    range.row("ENC-05").await?;
    for token in [
        format!("{good}.x"),
        format!("{good}."),
        format!("{good}.."),
        ".".repeat(8000),
        format!(".{good}"),
    ] {
        range
            .refuses_token("more parts", &token, it("token.not-compact"))
            .await?;
    }
    let dots = ".".repeat(10_000);
    range
        .refuses_token(
            "10,000 dots",
            &dots,
            refused(431, "request.authorization-too-long"),
        )
        .await
}

/// The text of an object with one member more.
fn and(object: &str, member: &str) -> String {
    format!("{},{member}}}", object.strip_suffix('}').unwrap_or_default())
}

async fn json_texts(range: &mut Range) -> Outcome {
    range.row("ENC-06").await?;
    for header in [
        r#"{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"es"}"#,
        r#"{"alg":"ES256","alg":"none","typ":"at+jwt","kid":"es"}"#,
        r#"{"alg":"ES256","typ":"at+jwt","kid":"es","kid":"other"}"#,
        r#"{"alg":"ES256","typ":"at+jwt","kid":"es","x":1,"x":1}"#,
        r#"{"alg":"ES256","typ":"at+jwt","kid":"es","\u0061lg":"ES256"}"#,
    ] {
        let token = range.home.token(header, claims());
        range.refuses_token(header, &token, it("token.header")).await?;
    }
    for member in [
        r#""iss":"https://home.example""#,
        r#""scope":"crm:irreversible""#,
        r#""\u0073cope":"crm:irreversible""#,
        r#""x":1,"x":2"#,
        r#""x":{"y":1,"y":2}"#,
    ] {
        let token = range.home.token(header(), and(&claims(), member));
        range.refuses_token(member, &token, it("token.payload")).await?;
    }

    range.row("ENC-09").await?;
    for payload in [
        b"{\"iss\":\"\xff\"}".to_vec(),
        b"{\"iss\":\"\xc0\xaf\"}".to_vec(),
        br#"{"iss":"\ud800"}"#.to_vec(),
        br#"{"iss":"\udc00\ud800"}"#.to_vec(),
        format!("\u{feff}{}", claims()).into_bytes(),
    ] {
        let what = String::from_utf8_lossy(&payload).into_owned();
        let token = range.home.token(header(), payload);
        range.refuses_token(&what, &token, it("token.payload")).await?;
    }

    range.row("ENC-10").await?;
    let wide = |text: String| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let token = range.home.token(wide(header()), claims());
    range
        .refuses_token("a header in UTF-16", &token, it("token.header"))
        .await?;
    let token = range.home.token(header(), wide(claims()));
    range
        .refuses_token("a payload in UTF-16", &token, it("token.payload"))
        .await?;
    let token = range.home.token(format!("\u{feff}{}", header()), claims());
    range
        .refuses_token("a byte order mark", &token, it("token.header"))
        .await?;

    range.row("ENC-12").await?;
    for payload in [
        format!("/**/{}", claims()),
        format!("{}//", claims()),
        claims().replace('"', "'"),
        and(&claims(), "\"x\":NaN"),
        and(&claims(), "\"x\":Infinity"),
        and(&claims(), "\"x\":0x10"),
        and(&claims(), "\"x\":+1"),
        and(&claims(), "\"x\":.5"),
        and(&claims(), "\"x\":1,"),
        and(&claims(), "x:1"),
    ] {
        let token = range.home.token(header(), &payload);
        range.refuses_token(&payload, &token, it("token.payload")).await?;
    }

    range.row("ENC-17").await?;
    for payload in ["[]", "\"x\"", "1", "null", "true", "[{}]"] {
        let token = range.home.token(header(), payload);
        range.refuses_token(payload, &token, it("token.payload")).await?;
    }
    let empty = range.home.token(header(), "");
    range
        .refuses_token("empty", &empty, it("token.not-compact"))
        .await?;

    range.row("ENC-18").await?;
    for payload in [
        "signed text".to_owned(),
        format!("{0}{0}", claims()),
        " ".to_owned(),
    ] {
        let token = range.home.token(header(), &payload);
        range.refuses_token(&payload, &token, it("token.payload")).await?;
    }
    Ok(())
}

async fn sizes(range: &mut Range) -> Outcome {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let too_long = || refused(431, "request.authorization-too-long");

    range.row("ENC-13").await?;
    let token = range.home.token(header(), deep(2500));
    range
        .refuses_token("an array, 2,500 deep", &token, it("token.payload"))
        .await?;
    let token = range
        .home
        .token(header(), and(&claims(), &format!("\"x\":{}", deep(64))));
    range
        .refuses_token("one level too many", &token, it("token.payload"))
        .await?;
    let token = range
        .home
        .token(header(), and(&claims(), &format!("\"x\":{}", deep(63))));
    range.passes("as deep as may be", range.call(&token)).await?;
    let token = range.home.token(format!("{{\"x\":{}}}", deep(400)), claims());
    range
        .refuses_token("a header, 400 deep", &token, it("token.header"))
        .await?;
    let token = range.home.token(header(), deep(20_000));
    range
        .refuses_token("an array, 20,000 deep", &token, too_long())
        .await?;

    range.row("ENC-14").await?;
    let padded = |bytes: usize| "A".repeat(bytes - "Bearer ".len());
    range
        .refuses_token("as long as may be", &padded(8 * 1024), it("token.not-compact"))
        .await?;
    for bytes in [8 * 1024 + 1, 16 * 1024, 32 * 1024, 60 * 1024] {
        range
            .refuses_token(&format!("{bytes} bytes"), &padded(bytes), too_long())
            .await?;
    }
    // More than the whole head may have never becomes a request.
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        padded(1 << 20)
    );
    range.refuses_unread("1 MiB", head.as_bytes(), &[431]).await?;

    range.row("ENC-16").await?;
    for (what, digits) in [("2,000 digits", 2000), ("400 digits", 400)] {
        let token = range
            .home
            .token(header(), and(&claims(), &format!("\"x\":{}", "9".repeat(digits))));
        range.refuses_token(what, &token, it("token.payload")).await?;
    }
    let token = range
        .home
        .token(header(), and(&claims(), &format!("\"x\":{}", "9".repeat(40_000))));
    range.refuses_token("40,000 digits", &token, too_long()).await
}

async fn lists(range: &mut Range) -> Outcome {
    range.row("DOS-02").await?;
    let audiences = range.with_claims(&[("aud", json!(vec!["https://a.example"; 250]))]);
    range
        .refuses_token("250 audiences", &audiences, it("token.audiences"))
        .await?;
    let scopes = |count: usize| {
        (0..count)
            .map(|number| format!("s{number}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let most = range.with_claims(&[("scope", json!(format!("{} crm:read", scopes(127))))]);
    range
        .passes("as many scopes as may be", range.call(&most))
        .await?;
    for count in [129, 900] {
        let token = range.with_claims(&[("scope", json!(scopes(count)))]);
        range
            .refuses_token(
                &format!("{count} scopes"),
                &token,
                it_of_peer("token.claim-malformed"),
            )
            .await?;
    }
    let longer = range.with_claims(&[("scope", json!(scopes(100_000)))]);
    range
        .refuses(
            "100,000 scopes",
            range.call(longer.get(..60_000).unwrap_or_default()),
            refused(431, "request.authorization-too-long"),
        )
        .await
        .map(drop)
}

async fn lookalikes(range: &mut Range) -> Outcome {
    range.row("ENC-19").await?;
    for issuer in [
        "https://h\u{43e}me.example",
        "https://home\u{200b}.example",
        "https://xn--hme-6cd.example",
    ] {
        let token = range.with_claims(&[("iss", json!(issuer))]);
        range
            .refuses_token(issuer, &token, it("token.issuer-unknown"))
            .await?;
    }
    // A tool that looks like one that may be called is another tool, with the rule of those that are not listed; one that
    // looks like a listed one does not get its rule either.
    let writes = range.with_claims(&[("scope", json!("crm:write"))]);
    let irreversible = range.tool("wipe").bearer(&writes);
    range
        .refuses("its own name", irreversible, is("crm:irreversible"))
        .await?;
    // A subject's name is what it is on record, byte for byte.
    for subject in ["\u{430}da", "a\u{308}da", "\u{e4}da", "ada\u{202e}"] {
        let token = range.with_claims(&[("sub", json!(subject))]);
        let answer = range.arrives(subject, range.call(&token)).await?;
        let records = range.records()?;
        let record = records
            .get(answer.header("x-request-id"))
            .cloned()
            .unwrap_or_default();
        range.same("on record", crate::text(&record, "/user"), subject.to_owned());
    }
    // Not what was signed, however alike.
    let good = range.good();
    let other = text(claims().replace("ada", "\u{430}da"));
    let forged = good
        .split('.')
        .enumerate()
        .map(|(at, part)| if at == 1 { other.as_str() } else { part });
    let forged: Vec<_> = forged.collect();
    range
        .refuses_token("another name", &forged.join("."), it("token.signature"))
        .await
}
