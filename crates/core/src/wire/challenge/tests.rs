use proptest::prelude::*;

use super::*;

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

/// Challenges in short form: `Scheme name=value|name=value`.
fn short(values: &[&str]) -> Result<Vec<String>, InvalidChallenge> {
    let all = Challenge::parse_all(&headers(values))?;
    Ok(all
        .iter()
        .map(|challenge| {
            let params: Vec<String> = challenge
                .params
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{} {}", challenge.scheme(), params.join("|"))
                .trim_end()
                .to_owned()
        })
        .collect())
}

#[test]
fn the_challenge_of_a_protected_resource() {
    let challenge = Challenge::bearer()
        .with("error", "insufficient_scope")
        .with("scope", "notes:read notes:write")
        .with(
            "resource_metadata",
            "https://gw.example/.well-known/oauth-protected-resource/mcp",
        )
        .with("scope", "ignored");
    assert_eq!(
        challenge.to_header_value(),
        "Bearer error=\"insufficient_scope\", scope=\"notes:read notes:write\", \
         resource_metadata=\"https://gw.example/.well-known/oauth-protected-resource/mcp\""
    );
    assert_eq!(Challenge::bearer().to_header_value(), "Bearer");
}

/// RFC 9449 §7.2.
#[test]
fn two_schemes_in_one_header() {
    let both = [
        Challenge::bearer().with("scope", "a, DPoP b"),
        Challenge::of(Scheme::Dpop).with("algs", "ES256 EdDSA"),
    ];
    let written = Challenge::join(&both);
    assert_eq!(written, r#"Bearer scope="a, DPoP b", DPoP algs="ES256 EdDSA""#);
    let read = Challenge::parse_all(&HeaderMap::from_iter([(WWW_AUTHENTICATE, written)]));
    assert_eq!(read.unwrap(), both);
    let bare = [Challenge::bearer(), Challenge::of(Scheme::Dpop)];
    assert_eq!(Challenge::join(&bare), "Bearer, DPoP");
}

#[test]
fn nothing_in_a_value_ends_the_string_or_the_header() {
    for (value, written) in [
        ("a\"b", r#"Bearer scope="a\"b""#),
        ("a\\", r#"Bearer scope="a\\""#),
        ("a\r\nSet-Cookie: x", r#"Bearer scope="a??Set-Cookie: x""#),
        ("\0\t\u{7f}", r#"Bearer scope="???""#),
        ("日", r#"Bearer scope="?""#),
        ("", r#"Bearer scope="""#),
    ] {
        assert_eq!(
            Challenge::bearer().with("scope", value).to_header_value(),
            written,
            "{value:?}"
        );
    }
}

#[test]
fn challenges_are_told_apart() {
    let rows: &[(&[&str], &[&str])] = &[
        (&[], &[]),
        (&[""], &[]),
        (&["Bearer"], &["Bearer"]),
        (&["Bearer "], &["Bearer"]),
        (&["bearer realm=\"x\""], &["bearer realm=x"]),
        (
            &["Bearer realm=\"x\", scope=\"a b\""],
            &["Bearer realm=x|scope=a b"],
        ),
        (
            &["Bearer  realm = \"x\" ,\tscope=\"a\""],
            &["Bearer realm=x|scope=a"],
        ),
        // Unknown schemes first, on one line or several.
        (
            &["Negotiate, Bearer scope=\"a\""],
            &["Negotiate", "Bearer scope=a"],
        ),
        (
            &["Negotiate YIIa==, Bearer scope=\"a\""],
            &["Negotiate", "Bearer scope=a"],
        ),
        (&["NTLM abc, Bearer"], &["NTLM", "Bearer"]),
        (
            &["Basic realm=\"a, Bearer scope=\\\"x\\\"\", Bearer scope=\"y\""],
            &["Basic realm=a, Bearer scope=\"x\"", "Bearer scope=y"],
        ),
        (
            &["Basic realm=\"x\"", "Bearer scope=\"y\""],
            &["Basic realm=x", "Bearer scope=y"],
        ),
        // Escapes.
        (&[r#"Bearer realm="a\"b\\c\d""#], &[r#"Bearer realm=a"b\cd"#]),
        (&["Bearer realm=\"\""], &["Bearer realm="]),
        // Values that should have been quoted.
        (&["Bearer error=invalid_token"], &["Bearer error=invalid_token"]),
        (
            &["Bearer resource_metadata=https://a.example/x?y=z, error=e"],
            &["Bearer resource_metadata=https://a.example/x?y=z|error=e"],
        ),
        // Empty list elements (RFC 9110 §5.6.1).
        (
            &[", ,Bearer realm=\"x\",, scope=\"y\",,"],
            &["Bearer realm=x|scope=y"],
        ),
        (&["Bearer realm=\"é\""], &["Bearer realm=é"]),
    ];
    for (values, wanted) in rows {
        assert_eq!(short(values).unwrap(), *wanted, "{values:?}");
    }
}

#[test]
fn what_has_no_one_meaning_is_refused() {
    for (value, wanted) in [
        ("Bearer realm=\"x\", realm=\"y\"", InvalidChallenge::Duplicate),
        ("Bearer realm=\"x\", Realm=\"x\"", InvalidChallenge::Duplicate),
        ("Bearer realm=\"x", InvalidChallenge::Malformed),
        ("Bearer realm=\"x\\", InvalidChallenge::Malformed),
        ("Bearer realm=\"x\"y", InvalidChallenge::Malformed),
        ("Bearer realm=\"x\" scope=\"y\"", InvalidChallenge::Malformed),
        ("Bearer realm=x\"y", InvalidChallenge::Malformed),
        ("Bearer a b", InvalidChallenge::Malformed),
        ("realm=\"x\"", InvalidChallenge::Malformed),
        ("=x", InvalidChallenge::Malformed),
        ("\"x\"", InvalidChallenge::Malformed),
        ("Bearer realm=é", InvalidChallenge::Malformed),
        ("Bearer;x", InvalidChallenge::Malformed),
    ] {
        assert_eq!(short(&[value]), Err(wanted), "{value}");
    }
    // A parameter at the start of a line belongs to no challenge of an earlier line.
    assert_eq!(
        short(&["Bearer", "realm=\"x\""]),
        Err(InvalidChallenge::Malformed)
    );
    let invalid_utf8 = HeaderMap::from_iter([(
        WWW_AUTHENTICATE,
        HeaderValue::from_bytes(b"Bearer realm=\"\xff\"").unwrap(),
    )]);
    assert_eq!(
        Challenge::parse_all(&invalid_utf8),
        Err(InvalidChallenge::Malformed)
    );
}

#[test]
fn sizes_at_the_limit_and_one_past_it() {
    let long = |n: usize| format!("Bearer realm=\"{}\"", "x".repeat(n - "Bearer realm=\"\"".len()));
    assert!(short(&[&long(CHALLENGE_BYTES)]).is_ok());
    assert_eq!(
        short(&[&long(CHALLENGE_BYTES + 1)]),
        Err(InvalidChallenge::TooLarge)
    );
    assert_eq!(
        short(&[&long(CHALLENGE_BYTES), "x"]),
        Err(InvalidChallenge::TooLarge)
    );

    let many = |n: usize| vec!["Bearer"; n].join(", ");
    assert_eq!(short(&[&many(CHALLENGES)]).unwrap().len(), CHALLENGES);
    assert_eq!(short(&[&many(CHALLENGES + 1)]), Err(InvalidChallenge::TooLarge));

    let wide = |n: usize| {
        format!(
            "Bearer {}",
            (0..n).map(|i| format!("p{i}=x")).collect::<Vec<_>>().join(", ")
        )
    };
    assert!(short(&[&wide(CHALLENGE_PARAMS)]).is_ok());
    assert_eq!(
        short(&[&wide(CHALLENGE_PARAMS + 1)]),
        Err(InvalidChallenge::TooLarge)
    );
}

#[test]
fn names_and_schemes_ignore_case() {
    let all = Challenge::parse_all(&headers(&["bEARER Scope=\"a\""])).unwrap();
    let [challenge] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert!(challenge.is("Bearer") && !challenge.is("DPoP"));
    assert_eq!(challenge.param("scope"), Some("a"));
    assert_eq!(challenge.param("error"), None);
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(realm in "[ -~]{0,40}", scope in "[ -~]{0,40}") {
        let written = Challenge::bearer().with("realm", &realm).with("scope", &scope);
        let read = Challenge::parse_all(&HeaderMap::from_iter([(WWW_AUTHENTICATE, written.to_header_value())]));
        prop_assert_eq!(read, Ok(vec![written]));
    }

    #[test]
    fn any_bytes_are_read_or_refused(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = HeaderValue::from_bytes(&value)
            && let Ok(found) = Challenge::parse_all(&HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]))
        {
            prop_assert!(found.len() <= CHALLENGES);
        }
    }
}
